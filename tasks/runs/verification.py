"""Verification of a run: read every object, check every hash, repeat every selection."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import get_args

from evo_core.config.run_config import RunConfig
from evo_core.records.replay_record import ReplayKind
from evo_core.spaces.spaces import Spaces
from tasks.runs import layout
from tasks.runs.findings import Finding, Verification, problem_of
from tasks.runs.generation_checks import Known, check_generations
from tasks.runs.object_checks import (
    check_confirmation,
    check_replay,
    check_timings,
    check_unlisted,
    check_unnamed,
)
from tasks.runs.record_store import CONNECTIONS
from tasks.runs.run_records import Extension, Release
from tasks.runs.run_store import RunStore
from tasks.store import StoreError, open_store

ObjectCheck = Callable[[], Iterable[Finding]]

SHARE = 500
"""Generations for which a process of their own is worth its start."""


def verify(run: RunStore, spaces: Spaces | None = None) -> Verification:
    """Check every object of a run. With `spaces`, the founders are recomputed as well."""
    result, config = Verification(checked=1), None
    try:
        config = run.run_file().config
    except StoreError as error:  # everything but selections can be checked without it
        result.findings.append(Finding("run", layout.RUN, problem_of(run, error)))
    released = _series(run, result)
    last = _last_generation(run, result)
    result.last = -1 if last is None else last
    blobs = {name.removesuffix(".safetensors") for name in _listed(run, "blobs", result)}
    known = Known(config, _extended(run), spaces, result.last, released, blobs, _parents(run, result.last))
    for part in _checked(run, known):
        result.add(part)
    checks = list(_other_checks(run, result, blobs - result.named - released))
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for findings in pool.map(lambda check: list(check()), checks):
            result.findings += findings
    result.checked += len(checks)
    result.absent = list(dict.fromkeys(result.absent))
    return result


def _checked(run: RunStore, known: Known) -> Iterator[Verification]:
    """Check all generations; those of a long run in as many processes as there are cores, because hashing is work."""
    count, processes = known.last + 1, min(os.cpu_count() or 1, (known.last + 1) // SHARE)
    if processes < 2 or run.store.url.startswith("memory:"):
        yield check_generations(run, known, range(count))
        return
    bounds = [count * number // processes for number in range(processes + 1)]
    check = partial(_check_in_process, run.store.url, run.run_id, known)
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:  # connections to stores do not survive a fork
        yield from pool.map(check, map(range, bounds, bounds[1:]))


def _check_in_process(url: str, run_id: str, known: Known, generations: range) -> Verification:
    return check_generations(RunStore(open_store(url), run_id), known, generations)


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


def _extended(run: RunStore) -> RunConfig | None:
    try:
        return run.config()
    except StoreError:  # becomes a finding
        return None


def _parents(run: RunStore, last: int) -> set[str]:
    """Return the checkpoints that the generation after the last one starts from."""
    try:
        offspring = run.commit(last).offspring if last >= 0 else ()
    except StoreError:  # becomes a finding
        return set()
    return {child.parent_blob.sha256 for child in offspring if child.parent_blob is not None}


def _other_checks(run: RunStore, result: Verification, unnamed: set[str]) -> Iterator[ObjectCheck]:
    """Yield the checks of objects that belong to no intact COMMIT."""
    most, config = max(result.sizes.values(), default=0), _extended(run)
    for generation in range(result.last + 2):
        if generation in result.intact:
            continue
        required = generation <= result.last  # else it is the running one
        if required:
            yield partial(check_confirmation, run, generation, None)
        if generation:
            yield partial(check_timings, run, generation, None, result)
            at_least = config.population.size_of(generation) if config is not None else 0
            size = result.sizes.get(generation, at_least)
            for i in range(max(most, size)):
                yield partial(check_unlisted, run, generation, i, result, required=required and i < size)
    yield from (partial(check_unnamed, run, sha) for sha in sorted(unnamed))
    yield from _replays(run, result)


def _replays(run: RunStore, result: Verification) -> Iterator[ObjectCheck]:
    for directory in _listed(run, "replay", result):
        for kind in get_args(ReplayKind):
            for name in _listed(run, f"replay/{directory}/{kind}", result):
                if (number := _number(name)) is not None:
                    yield partial(check_replay, run, directory.replace("-", "/", 1), kind, number)
