"""Checks of single objects of a run; each yields findings."""

from collections.abc import Iterator

from evo_core.records.canonical import sha256
from evo_core.records.chain import Confirmation, Generation, Member, Training
from evo_core.records.chain import uid as member_uid
from evo_core.records.replay_record import Replay, ReplayKind
from tasks.runs import layout
from tasks.runs.findings import Finding, Verification, problem_of
from tasks.runs.run_records import Timings
from tasks.runs.run_store import RunStore
from tasks.store import CorruptError, MissingError, StoreError


def check_confirmation(run: RunStore, generation: int, commit: Generation | None) -> Iterator[Finding]:
    """Check that a confirmation is of its generation's elite; with a front, those of elite and delivered member."""
    if commit is not None and commit.front:
        for elite in {one.uid: one for one in (commit.elite, commit.best) if one is not None}.values():
            yield from _check_confirmation(run, layout.confirmation_of(elite), generation, elite.uid)
    else:
        elite_uid = commit.elite.uid if commit is not None and commit.elite is not None else None
        name = layout.confirmation(generation)
        yield from _check_confirmation(run, name, generation, elite_uid, known=commit is not None)


def _check_confirmation(
    run: RunStore, name: str, generation: int, uid: str | None, *, known: bool = True
) -> Iterator[Finding]:
    try:
        record = run.find(name, Confirmation)
    except StoreError as error:
        yield Finding("confirmation", name, problem_of(run, error), generation)
        return
    if record is not None and known and record.uid != uid:
        yield Finding("confirmation", name, f"{run.key(name)}: it confirms {record.uid}", generation)


def check_records(run: RunStore, member: Member, numerics: dict[str, str]) -> Iterator[Finding]:
    """Check a committed member's own records against its COMMIT, which was made under these numerics."""
    generation, index = member.offspring.generation, member.offspring.index
    for what, name, kind, expected in (
        ("training", layout.training(generation, index), Training, member.training),
        ("member", layout.member(generation, index), Member, member),
    ):
        try:
            same = run.holds(name, expected, numerics) or run.get(name, kind) == expected
        except StoreError as error:
            yield Finding(what, name, problem_of(run, error), generation, member.uid)  # type: ignore[arg-type]
        else:
            if not same:
                problem = f"{run.key(name)}: it differs from what its COMMIT says"
                yield Finding(what, name, problem, generation, member.uid)  # type: ignore[arg-type]


def check_timings(run: RunStore, generation: int, commit: Generation | None, result: Verification) -> Iterator[Finding]:
    """Check that the timings are those of the generation's members; a missing record is no damage."""
    name = layout.timings(generation)
    try:
        record = run.find(name, Timings)
    except StoreError as error:
        yield Finding("timings", name, problem_of(run, error), generation)
        return
    if record is None and commit is not None:
        problem = f"{run.key(name)}: not there; when and where the members of generation {generation} ran is unknown"
        result.absent.append(Finding("timings", name, problem, generation))
    of_others = {uid for uid in (record.train | record.evaluate if record else {}) if not _is_of(uid, generation)}
    if of_others:
        problem = f"{run.key(name)}: it holds times of {min(of_others)}, a member of another generation"
        yield Finding("timings", name, problem, generation)


def check_replay(run: RunStore, uid: str, kind: ReplayKind, number: int) -> Iterator[Finding]:
    """Check that a replay is of its member and kind."""
    name = layout.replay(uid, kind, number)
    try:
        record = run.find(name, Replay)
    except StoreError as error:
        yield Finding("replay", name, problem_of(run, error))
        return
    if record is not None and (record.uid, record.kind) != (uid, kind):
        yield Finding("replay", name, f"{run.key(name)}: it is a replay of {record.uid}, {record.kind}")


def _is_of(uid: str, generation: int) -> bool:
    return uid.startswith(f"{member_uid(generation, 0).partition('/')[0]}/")


def check_blob(run: RunStore, training: Training, result: Verification, *, needed: bool) -> Iterator[Finding]:
    """Check a checkpoint. A run that continues meanwhile may release it, and no longer need it."""
    assert training.blob is not None
    sha = training.blob.sha256
    try:
        run.blob(training.blob)
    except MissingError as error:
        needed = needed and not run.exists(layout.commit(result.last + 1))
        if not needed and _was_released(run, sha):
            result.gone.append(sha)
        else:
            yield Finding("blob", layout.blob(sha), str(error), uid=training.uid)
    except StoreError as error:
        yield Finding("blob", layout.blob(sha), problem_of(run, error), uid=training.uid)


def _was_released(run: RunStore, sha: str) -> bool:
    try:
        return any(sha in record.blobs for record in run.releases())
    except (CorruptError, MissingError):  # reported as its own finding
        return False


def check_unnamed(run: RunStore, sha: str) -> Iterator[Finding]:
    """Check a checkpoint that no COMMIT references: left by a failed attempt, or its record is not written yet."""
    name = layout.blob(sha)
    try:
        intact = run.store.read(run.key(name), sha256) == sha
    except MissingError:  # a garbage collector was faster
        return
    except StoreError as error:
        yield Finding("orphan", name, problem_of(run, error))
        return
    if not intact:
        yield Finding("orphan", name, f"{run.key(name)}: its content does not match its name")


def check_unlisted(
    run: RunStore, generation: int, index: int, result: Verification, *, required: bool
) -> Iterator[Finding]:
    """Check a member without a COMMIT: existing records must be intact, and with `required` they must exist."""
    uid, found = member_uid(generation, index), []
    for what, name, kind in (
        ("training", layout.training(generation, index), Training),
        ("member", layout.member(generation, index), Member),
    ):
        try:
            found.append(run.get(name, kind) if required else run.find(name, kind))
        except StoreError as error:
            yield Finding(what, name, problem_of(run, error), generation, uid)  # type: ignore[arg-type]
    training = next(
        (r.training if isinstance(r, Member) else r for r in found if isinstance(r, Member | Training)), None
    )
    if training is not None and training.blob is not None:
        yield from check_blob(run, training, result, needed=True)
