"""Checks of generations: every COMMIT, its link to the one before, and what belongs to it."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from evo_core.config.run_config import RunConfig
from evo_core.evaluation.run_end import deliver, is_spent, reaches_target
from evo_core.evolution.population import create_population, next_generation
from evo_core.records.chain import Confirmation, EliteRef, Generation, config_hash
from evo_core.records.sealed import Sealed
from evo_core.spaces.spaces import Spaces
from tasks.runs import layout
from tasks.runs.findings import Finding, Verification, problem_of
from tasks.runs.object_checks import check_blob, check_confirmation, check_records, check_timings
from tasks.runs.record_store import CONNECTIONS
from tasks.runs.run_store import RunStore
from tasks.store import StoreError

BLOCK = 64
"""Number of generations that are read together: a run may have more than fit into memory."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the checks of one generation know of its run.

    `config` is None where it is damaged, `extended` has the last budget, and with `spaces` the founders are computed
    again. `last` is the last generation. Checkpoints: those that were `released`; the listed `blobs`, among which a
    released one may stand again, created by a resumed run, or repaired; the `parents` of the next generation.
    """

    config: RunConfig | None
    extended: RunConfig | None
    spaces: Spaces | None
    last: int
    released: set[str]
    blobs: set[str]
    parents: set[str]


def check_generations(run: RunStore, known: Known, generations: range) -> Verification:
    """Check consecutive generations: COMMITs, what belongs to the intact ones, and the links between them."""
    result = Verification(last=known.last)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for block in _chain(run, known, generations, result, pool):
            for count, findings in pool.map(lambda sealed: _belongings(run, sealed, known, result), block):
                result.checked += count
                result.findings += findings
            commits = [sealed.record for sealed in block]
            result.named |= {m.training.blob.sha256 for commit in commits for m in commit.members if m.training.blob}
            result.sizes |= {commit.generation + 1: len(commit.offspring) for commit in commits}
    return result


def _chain(
    run: RunStore, known: Known, generations: range, result: Verification, pool: ThreadPoolExecutor
) -> Iterator[list[Sealed[Generation]]]:
    """Check every COMMIT by itself, against its predecessor, and against the selection recomputed from its members.

    Yield the intact ones in blocks.
    """

    def read(generation: int) -> Sealed[Generation] | StoreError:
        try:
            return run.sealed(layout.commit(generation), Generation)
        except StoreError as error:
            return error

    before = read(generations.start - 1) if generations.start else None
    previous = before.record if isinstance(before, Sealed) else None
    for start in range(0, len(generations), BLOCK):
        asked, block = generations[start : start + BLOCK], []
        for generation, found in zip(asked, pool.map(read, asked), strict=True):
            name, parent, previous = layout.commit(generation), previous, None
            if isinstance(found, StoreError):
                result.findings.append(Finding("commit", name, problem_of(run, found), generation))
                continue
            problem = _link(known, found.record, parent)
            if problem or found.record.generation != generation:
                problem = problem or f"it says that it is generation {found.record.generation}"
                result.findings.append(Finding("commit", name, f"{run.key(name)}: {problem}", generation))
                continue
            block.append(found)
            result.intact.add(generation)
            previous = found.record
        result.checked += len(asked)
        yield block


def _link(known: Known, commit: Generation, previous: Generation | None) -> str | None:
    """Return what is wrong with a COMMIT that is intact by itself; None if it is correct."""
    config, spaces = known.config, known.spaces
    if commit.generation == 0 and config is not None:
        if commit.previous != config_hash(config):
            return f"its founders come from a configuration with hash {commit.previous}, run.json has another one"
        if spaces is not None and commit != create_population(config, spaces.observation):
            return "its founders are not those that the configuration and the seed give"
    if previous is None:
        return None
    if commit.previous != previous.sha256:
        return f"it follows {commit.previous}, but COMMIT {previous.generation} has the hash {previous.sha256}"
    if [member.offspring for member in commit.members] != list(previous.offspring):
        return f"its members are not the offspring of COMMIT {previous.generation}"
    if config is not None and commit != next_generation(config, previous, commit.members):
        return "selection and mutation of its members give another one"
    return None


def _belongings(
    run: RunStore, sealed: Sealed[Generation], known: Known, result: Verification
) -> tuple[int, list[Finding]]:
    """Check what belongs to an intact COMMIT; return how many objects were checked, and the findings.

    Checkpoints of elites, and those that the next generation starts from, are needed even if they were released.
    """
    commit = sealed.record
    findings = list(check_confirmation(run, commit.generation, commit))
    result.absent += _absent_confirmations(run, commit, known)
    if commit.generation:
        findings += check_timings(run, commit.generation, commit, result)
    elite = commit.elite.blob.sha256 if commit.elite else None
    for member in commit.members:
        findings += check_records(run, member, sealed.numerics)
        if member.training.blob is None:
            continue
        sha = member.training.blob.sha256
        needed = sha == elite or sha in known.parents
        if sha in known.released and sha not in known.blobs and not needed:
            result.gone.append(sha)
        else:
            findings += check_blob(run, member.training, result, needed=needed)
    return 2 + 2 * len(commit.members), findings


def _absent_confirmations(run: RunStore, commit: Generation, known: Known) -> Iterable[Finding]:
    """Return missing confirmations by which a finished run ended and chose its delivered agent."""
    absent: dict[str, Finding] = {}

    def confirm(elite: EliteRef) -> Confirmation | None:
        try:
            record = run.confirmation(elite)
        except StoreError:  # reported as a finding already
            return None
        if record is None:
            name = layout.confirmation_of(elite)
            problem = f"{run.key(name)}: not there; `evolve resume {run.run_id}` plays the confirmation of {elite.uid}"
            absent[name] = Finding("confirmation", name, problem, elite.generation, elite.uid)
        return record

    if (config := known.extended) is None:
        return ()
    reached = reaches_target(config, commit, confirm)
    finished = commit.generation == known.last and (reached or is_spent(config, commit))
    if finished and commit.elite is not None:
        deliver(config, commit, confirm)
    return absent.values()
