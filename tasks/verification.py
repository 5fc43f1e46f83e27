"""Verifying a run: every object is read, every hash is taken, every selection is made again."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from evo_core.canonical import sha256
from evo_core.config import RunConfig
from evo_core.evolution.population import create_population, next_generation
from evo_core.networks.actor_critic import Spaces
from evo_core.records import Confirmation, Generation, Member, Training, config_hash, record_hash
from evo_core.records import uid as member_uid
from tasks import layout
from tasks.records import Extension, Release, Timings
from tasks.run_store import CONNECTIONS, RunStore
from tasks.store import CorruptError, MissingError

What = Literal[
    "run", "extension", "release", "commit", "confirmation", "training", "member", "timings", "blob", "orphan"
]


@dataclass(frozen=True, slots=True)
class Finding:
    """An object that is missing or damaged. `uid` names the member that it belongs to, if any."""

    what: What
    name: str
    problem: str
    generation: int = 0
    uid: str | None = None


@dataclass(slots=True)
class Verification:
    """What was looked at and found.

    `chain` holds the COMMITs that are whole, by generation; `last` is the last one; `gone` what was released.
    """

    checked: int = 0
    last: int = -1
    gone: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    chain: dict[int, Generation] = field(default_factory=dict)


Check = Callable[[], Iterable[Finding]]


def verify(run: RunStore, spaces: Spaces | None = None) -> Verification:
    """Check every object of a run. With `spaces`, the founders are drawn again as well."""
    result, config = Verification(checked=1), None
    try:
        config = run.run_file().config
    except (MissingError, CorruptError) as error:  # everything but selections can be checked without it
        result.findings.append(Finding("run", layout.RUN, str(error)))
    released = _series(run, result)
    _chain(run, config, spaces, result)
    checks = list(_checks(run, result, released))
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for findings in pool.map(lambda check: list(check()), checks):
            result.findings += findings
    result.checked += len(checks)
    return result


def _series(run: RunStore, result: Verification) -> set[str]:
    """Check extensions and releases; return the hashes of what was released."""
    released: set[str] = set()
    for what, name, kind in (("extension", layout.extension, Extension), ("release", layout.release, Release)):
        last = run.last(name)
        for number in range(0 if last is None else last + 1):
            try:
                record = run.get(name(number), kind)  # type: ignore[type-var]
            except (CorruptError, MissingError) as error:
                result.findings.append(Finding(what, name(number), str(error)))  # type: ignore[arg-type]
            else:
                released |= set(record.blobs) if isinstance(record, Release) else set()
            result.checked += 1
    return released


def _chain(run: RunStore, config: RunConfig | None, spaces: Spaces | None, result: Verification) -> None:
    """Check every COMMIT by itself, against the one before it, and against what selection makes of its members."""
    last = _last_generation(run)
    if last is None:
        return
    result.last = last
    for generation in range(last + 1):
        name = layout.commit(generation)
        try:
            commit = run.get(name, Generation)
        except (MissingError, CorruptError) as error:
            result.findings.append(Finding("commit", name, str(error), generation))
            continue
        problem = _link(config, commit, result.chain.get(generation - 1), spaces)
        if problem or commit.generation != generation:
            problem = problem or f"it says that it is generation {commit.generation}"
            result.findings.append(Finding("commit", name, f"{run.key(name)}: {problem}", generation))
            continue
        result.chain[generation] = commit
    result.checked += last + 1


def _last_generation(run: RunStore) -> int | None:
    """Find the last COMMIT even when one before it is missing: by direct reads, and by listing what may lie behind."""
    head = run.last(layout.commit)
    listed = [int(name) for name in run.store.children(run.key("gen")) if name.isdigit()]
    behind = [g for g in sorted(listed, reverse=True) if g > (-1 if head is None else head)]
    found = next((g for g in behind if run.exists(layout.commit(g))), None)
    return found if found is not None else head


def _link(
    config: RunConfig | None, commit: Generation, previous: Generation | None, spaces: Spaces | None
) -> str | None:
    """Say what is wrong with a COMMIT that is whole by itself; None when it is what it must be."""
    if commit.generation == 0 and config is not None:
        if commit.previous != config_hash(config):
            return f"its founders come from a configuration with hash {commit.previous}, run.json has another one"
        if spaces is not None and commit != create_population(config, spaces.observation):
            return "its founders are not those that the configuration and the seed give"
    if previous is None:
        return None
    if commit.previous != record_hash(previous):
        return f"it follows {commit.previous}, but COMMIT {previous.generation} has the hash {record_hash(previous)}"
    if [member.offspring for member in commit.members] != list(previous.offspring):
        return f"its members are not the offspring of COMMIT {previous.generation}"
    if config is not None and commit != next_generation(config, previous, commit.members):
        return "selection and mutation of its members give another one"
    return None


def _checks(run: RunStore, result: Verification, released: set[str]) -> Iterator[Check]:
    """List what is to be read beside the chain. A run needs what is vital, whatever was released."""
    vital = {commit.elite.blob.sha256 for commit in result.chain.values() if commit.elite is not None}
    if result.last in result.chain:
        parents = (child.parent_blob for child in result.chain[result.last].offspring)
        vital |= {reference.sha256 for reference in parents if reference is not None}
    for generation in range(result.last + 1):
        yield partial(_confirmation, run, generation, result.chain.get(generation))
    for commit in result.chain.values():
        for member in commit.members:
            yield partial(_records, run, member)
            if member.training.blob is None:
                continue
            needed = member.training.blob.sha256 in vital
            if member.training.blob.sha256 in released and not needed:
                yield partial(_released, run, member.training, result)
            else:
                yield partial(_blob, run, member.training, result, needed=needed)
    named = {m.training.blob.sha256 for c in result.chain.values() for m in c.members if m.training.blob}
    size = max((len(commit.offspring) for commit in result.chain.values()), default=0)
    for generation in range(1, result.last + 2):
        yield partial(_timings, run, generation)
        if generation not in result.chain:  # the running one, or one whose COMMIT is damaged
            required = generation <= result.last
            yield from (partial(_unlisted, run, generation, i, result, required=required) for i in range(size))
    for sha in (name.removesuffix(".safetensors") for name in run.store.children(run.key("blobs"))):
        if sha not in named and sha not in released:
            yield partial(_unnamed, run, sha)


def _confirmation(run: RunStore, generation: int, commit: Generation | None) -> Iterator[Finding]:
    name = layout.confirmation(generation)
    try:
        record = run.find(name, Confirmation)
    except CorruptError as error:
        yield Finding("confirmation", name, str(error), generation)
        return
    if record is not None and commit is not None and (commit.elite is None or record.uid != commit.elite.uid):
        yield Finding("confirmation", name, f"{run.key(name)}: it confirms {record.uid}", generation)


def _records(run: RunStore, member: Member) -> Iterator[Finding]:
    """Check a committed member's own records against its COMMIT."""
    generation, index = member.offspring.generation, member.offspring.index
    for what, name, kind, expected in (
        ("training", layout.training(generation, index), Training, member.training),
        ("member", layout.member(generation, index), Member, member),
    ):
        try:
            found = run.get(name, kind)  # type: ignore[type-var]
        except (MissingError, CorruptError) as error:
            yield Finding(what, name, str(error), generation, member.uid)  # type: ignore[arg-type]
        else:
            if found != expected:
                problem = f"{run.key(name)}: it differs from what its COMMIT says"
                yield Finding(what, name, problem, generation, member.uid)  # type: ignore[arg-type]


def _timings(run: RunStore, generation: int) -> Iterator[Finding]:
    name = layout.timings(generation)
    try:
        run.find(name, Timings)
    except CorruptError as error:
        yield Finding("timings", name, str(error), generation)


def _released(run: RunStore, training: Training, result: Verification) -> Iterator[Finding]:
    """A checkpoint that was released may be there again: made once more by a resumed run, or repaired."""
    assert training.blob is not None
    if run.exists(layout.blob(training.blob.sha256)):
        yield from _blob(run, training, result, needed=False)
    else:
        result.gone.append(training.blob.sha256)


def _blob(run: RunStore, training: Training, result: Verification, *, needed: bool) -> Iterator[Finding]:
    """Check a checkpoint. A run that goes on meanwhile may release it, and need it no longer."""
    assert training.blob is not None
    sha = training.blob.sha256
    try:
        run.blob(training.blob)
    except CorruptError as error:
        yield Finding("blob", layout.blob(sha), str(error), uid=training.uid)
    except MissingError as error:
        needed = needed and not run.exists(layout.commit(result.last + 1))
        if not needed and any(sha in record.blobs for record in run.releases()):
            result.gone.append(sha)
        else:
            yield Finding("blob", layout.blob(sha), str(error), uid=training.uid)


def _unnamed(run: RunStore, sha: str) -> Iterator[Finding]:
    """Check a checkpoint that no COMMIT names: left by a try that died, or its record is on the way."""
    name = layout.blob(sha)
    try:
        intact = run.store.read(run.key(name), sha256) == sha
    except MissingError:  # a collector was faster
        return
    if not intact:
        yield Finding("orphan", name, f"{run.key(name)}: its content is not what its name says")


def _unlisted(run: RunStore, generation: int, index: int, result: Verification, *, required: bool) -> Iterator[Finding]:
    """Check a member that no COMMIT speaks for: what is there must be whole, and if required it must be there."""
    uid, found = member_uid(generation, index), []
    for what, name, kind in (
        ("training", layout.training(generation, index), Training),
        ("member", layout.member(generation, index), Member),
    ):
        try:
            found.append(run.get(name, kind) if required else run.find(name, kind))  # type: ignore[type-var]
        except (MissingError, CorruptError) as error:
            yield Finding(what, name, str(error), generation, uid)  # type: ignore[arg-type]
    training = next((r.training if isinstance(r, Member) else r for r in found if r is not None), None)
    if training is not None and training.blob is not None:
        yield from _blob(run, training, result, needed=True)
