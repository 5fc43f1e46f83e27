"""Verification of a run: read every object, check every hash, repeat every selection."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import get_args

from evo_core.config.run_config import RunConfig
from evo_core.evaluation.run_end import deliver, reaches_target
from evo_core.evolution.population import create_population, next_generation
from evo_core.records.chain import Confirmation, EliteRef, Generation, ReplayKind, config_hash, record_hash
from evo_core.spaces.spaces import Spaces
from tasks.runs import layout
from tasks.runs.findings import Finding, Verification, problem_of
from tasks.runs.object_checks import (
    check_blob,
    check_confirmation,
    check_records,
    check_released,
    check_replay,
    check_timings,
    check_unlisted,
    check_unnamed,
)
from tasks.runs.record_store import CONNECTIONS
from tasks.runs.run_records import Extension, Release
from tasks.runs.run_store import RunStore
from tasks.store import StoreError

Check = Callable[[], Iterable[Finding]]


def verify(run: RunStore, spaces: Spaces | None = None) -> Verification:
    """Check every object of a run. With `spaces`, the founders are recomputed as well."""
    result, config = Verification(checked=1), None
    try:
        config = run.run_file().config
    except StoreError as error:  # everything but selections can be checked without it
        result.findings.append(Finding("run", layout.RUN, problem_of(run, error)))
    released = _series(run, result)
    _chain(run, config, spaces, result)
    checks = list(_checks(run, result, released))
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for findings in pool.map(lambda check: list(check()), checks):
            result.findings += findings
    result.checked += len(checks)
    _absent_confirmations(run, result)
    return result


def _series(run: RunStore, result: Verification) -> set[str]:
    """Check extensions and releases; return the hashes of released checkpoints."""
    released: set[str] = set()
    for what, name, kind in (("extension", layout.extension, Extension), ("release", layout.release, Release)):
        last = run.last(name)
        listed = (_number(found) for found in _listed(run, name(0).partition("/")[0], result))
        last = max([-1 if last is None else last, *(number for number in listed if number is not None)])
        for number in range(last + 1):
            try:
                record = run.get(name(number), kind)
            except StoreError as error:
                result.findings.append(Finding(what, name(number), problem_of(run, error)))  # type: ignore[arg-type]
            else:
                released |= set(record.blobs) if isinstance(record, Release) else set()
            result.checked += 1
    return released


def _chain(run: RunStore, config: RunConfig | None, spaces: Spaces | None, result: Verification) -> None:
    """Check every COMMIT by itself, against its predecessor, and against the selection recomputed from its members."""
    last = _last_generation(run, result)
    if last is None:
        return
    result.last = last
    for generation in range(last + 1):
        name = layout.commit(generation)
        try:
            commit = run.get(name, Generation)
        except StoreError as error:
            result.findings.append(Finding("commit", name, problem_of(run, error), generation))
            continue
        problem = _link(config, commit, result.chain.get(generation - 1), spaces)
        if problem or commit.generation != generation:
            problem = problem or f"it says that it is generation {commit.generation}"
            result.findings.append(Finding("commit", name, f"{run.key(name)}: {problem}", generation))
            continue
        result.chain[generation] = commit
    result.checked += last + 1


def _last_generation(run: RunStore, result: Verification) -> int | None:
    """Return the last generation even if its COMMIT or an earlier one is missing: by direct reads and by listing.

    A confirmation proves a generation too, because only committed ones are confirmed.
    """
    head = run.last(layout.commit)
    listed = [int(name) for name in _listed(run, "gen", result) if name.isdigit()]
    behind = [g for g in sorted(listed, reverse=True) if g > (-1 if head is None else head)]
    proofs = (layout.commit, layout.confirmation)
    found = next((g for g in behind if any(run.exists(name(g)) for name in proofs)), None)
    return found if found is not None else head


def _listed(run: RunStore, prefix: str, result: Verification) -> list[str]:
    try:
        return run.store.children(run.key(prefix))
    except StoreError as error:
        result.findings.append(Finding("listing", prefix, f"{run.key(prefix)}: {problem_of(run, error)}"))
        return []


def _number(name: str) -> int | None:
    stem = name.removesuffix(".json")
    return int(stem) if stem.isdigit() and stem != name else None


def _link(
    config: RunConfig | None, commit: Generation, previous: Generation | None, spaces: Spaces | None
) -> str | None:
    """Return what is wrong with a COMMIT that is intact by itself; None if it is correct."""
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
    """Yield the checks of objects outside the chain. Vital checkpoints are needed even if they were released."""
    vital = {commit.elite.blob.sha256 for commit in result.chain.values() if commit.elite is not None}
    if result.last in result.chain:
        parents = (child.parent_blob for child in result.chain[result.last].offspring)
        vital |= {reference.sha256 for reference in parents if reference is not None}
    for generation in range(result.last + 1):
        yield partial(check_confirmation, run, generation, result.chain.get(generation))
    for commit in result.chain.values():
        for member in commit.members:
            yield partial(check_records, run, member)
            if member.training.blob is None:
                continue
            needed = member.training.blob.sha256 in vital
            if member.training.blob.sha256 in released and not needed:
                yield partial(check_released, run, member.training, result)
            else:
                yield partial(check_blob, run, member.training, result, needed=needed)
    named = {m.training.blob.sha256 for c in result.chain.values() for m in c.members if m.training.blob}
    size = max((len(commit.offspring) for commit in result.chain.values()), default=0)
    for generation in range(1, result.last + 2):
        yield partial(check_timings, run, generation, result.chain.get(generation), result)
        if generation not in result.chain:  # the running one, or one whose COMMIT is damaged
            required = generation <= result.last
            yield from (partial(check_unlisted, run, generation, i, result, required=required) for i in range(size))
    for sha in (name.removesuffix(".safetensors") for name in _listed(run, "blobs", result)):
        if sha not in named and sha not in released:
            yield partial(check_unnamed, run, sha)
    yield from _replays(run, result)


def _replays(run: RunStore, result: Verification) -> Iterator[Check]:
    for directory in _listed(run, "replay", result):
        for kind in get_args(ReplayKind):
            for name in _listed(run, f"replay/{directory}/{kind}", result):
                if (number := _number(name)) is not None:
                    yield partial(check_replay, run, directory.replace("-", "/", 1), kind, number)


def _absent_confirmations(run: RunStore, result: Verification) -> None:
    """List missing confirmations by which a finished run ended and chose its delivered agent."""
    absent: dict[str, Finding] = {}

    def confirm(elite: EliteRef) -> Confirmation | None:
        try:
            record = run.confirmation(elite.generation)
        except StoreError:  # reported as a finding already
            return None
        if record is None:
            name = layout.confirmation(elite.generation)
            problem = f"{run.key(name)}: not there; `evolve resume {run.run_id}` plays the confirmation of {elite.uid}"
            absent[name] = Finding("confirmation", name, problem, elite.generation, elite.uid)
        return record

    try:
        config = run.config()
    except StoreError:  # reported as a finding already
        return
    for commit in result.chain.values():
        reached = reaches_target(config, commit, confirm)
        finished = commit.generation == result.last and (reached or commit.generation >= config.max_generations)
        if finished and commit.elite is not None:
            deliver(commit, confirm)
    result.absent += absent.values()
