"""Verification checks every object, whatever is in its place, and names missing views."""

import os
import shutil

import pytest

from tasks.runs import layout, verification
from tasks.runs.recomputation import Recomputer
from tasks.runs.ref import RunRef
from tasks.runs.repair import Repair, repair_all
from tasks.runs.run_records import Extension
from tasks.runs.verification import verify
from tasks.store import UnavailableError
from tasks.store import store as base
from tasks.store.file_backend import FileBackend
from tests.fake import SPACES, evolve, fake_config, fake_trainer

CONFIG = fake_config()


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    directory = tmp_path_factory.mktemp("origin")
    with fake_trainer():
        run = RunRef(directory.as_uri(), "run", CONFIG, "cpu")
        evolve(run)
        run.open().extend(Extension(max_steps=CONFIG.training.max_steps, target=None))
    return directory / "run"


@pytest.fixture
def directory(origin, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "PAUSE_S", 0.0)
    shutil.copytree(origin, tmp_path / "run")
    with fake_trainer():
        yield tmp_path / "run"


def opened(directory):
    return RunRef(directory.parent.as_uri(), "run", CONFIG, "cpu").open()


def names(findings):
    return sorted(finding.name for finding in findings)


def objects(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_a_directory_in_the_place_of_any_object_is_found_and_the_rest_is_checked(directory):
    whole = verify(opened(directory), SPACES)
    assert whole.findings == []
    kinds = {}
    for name in objects(directory):
        kinds.setdefault(name if name.startswith("gen/000002/") else name.partition("/")[0], name)
    assert {"run.json", "gen/000002/COMMIT.json", "blobs", "extend"} <= kinds.keys()
    other = directory / layout.member(1, 3)
    other.write_bytes(b"damaged")
    for name in kinds.values():
        kept = (directory / name).read_bytes()
        (directory / name).unlink()
        (directory / name).mkdir()
        result = verify(opened(directory), SPACES)
        assert {name, layout.member(1, 3)} <= set(names(result.findings)), name
        problem = next(finding.problem for finding in result.findings if finding.name == name)
        assert "expected a file, found a directory or device in its place; move it away" in problem
        assert result.last == 3
        (directory / name).rmdir()
        (directory / name).write_bytes(kept)


def test_a_file_in_the_place_of_a_directory_is_reported_for_every_object_in_it(directory):
    shutil.rmtree(directory / "gen" / "000002")
    (directory / "gen" / "000002").write_text("in the way")
    result = verify(opened(directory), SPACES)
    assert layout.commit(2) in names(result.findings)
    assert layout.member(2, 3) in names(result.findings)
    assert result.last == 3


def test_an_object_that_the_disk_cannot_read_is_a_finding_and_a_store_that_is_away_is_an_error(directory, monkeypatch):
    read, broken = FileBackend.read, {"run/" + layout.member(2, 1)}

    def failing(self, key):
        if key in broken:
            raise UnavailableError(f"{key}: Input/output error")
        return read(self, key)

    monkeypatch.setattr(FileBackend, "read", failing)
    run = opened(directory)
    run.store._patience_s = 0.0
    assert names(verify(run, SPACES).findings) == [layout.member(2, 1)]
    monkeypatch.setattr(FileBackend, "exists", failing)
    broken.add("run/run.json")
    with pytest.raises(UnavailableError):
        verify(run, SPACES)


def test_missing_views_are_named_and_are_no_damage(directory):
    run = opened(directory)
    complete = verify(run, SPACES)
    assert (complete.findings, complete.absent) == ([], [])
    (directory / layout.timings(2)).unlink()
    elites = {record.generation for record in (run.head().elite, run.head().best)}
    for generation in elites:
        (directory / layout.confirmation(generation)).unlink()
    result = verify(run, SPACES)
    assert result.findings == []
    assert set(names(result.absent)) == {layout.timings(2), *map(layout.confirmation, elites)}
    assert "`evolve resume run` plays the confirmation of" in "".join(view.problem for view in result.absent)


def test_timings_of_another_generation_are_reported_and_deleted_by_a_repair(directory):
    one, two = (directory / layout.timings(generation) for generation in (1, 2))
    os.rename(one, directory / "kept")
    os.rename(two, one)
    os.rename(directory / "kept", two)
    result = verify(opened(directory), SPACES)
    assert names(result.findings) == [layout.timings(1), layout.timings(2)]
    assert "it holds times of g0002/m00, a member of another generation" in result.findings[0].problem
    assert all(whole for _, _, whole in repair_all(Repair(opened(directory), result, recomputer(directory))))
    again = verify(opened(directory), SPACES)
    assert (again.findings, names(again.absent)) == ([], [layout.timings(1), layout.timings(2)])


def recomputer(directory):
    return Recomputer(opened(directory), CONFIG, SPACES)


def test_objects_implied_by_later_ones_are_reported_missing(directory):
    """The last COMMIT if its confirmation exists, and the first of two raised budgets."""
    opened(directory).extend(Extension(max_steps=CONFIG.training.max_steps + 1024, target=None))
    (directory / layout.commit(3)).unlink()
    (directory / layout.extension(0)).unlink()
    result = verify(opened(directory), SPACES)
    assert {layout.commit(3), layout.extension(0)} <= set(names(result.findings))
    repair_all(Repair(opened(directory), result, recomputer(directory)))
    assert names(verify(opened(directory), SPACES).findings) == [layout.extension(0)]


def test_several_processes_find_what_one_finds(directory, monkeypatch):
    (directory / layout.member(1, 3)).write_bytes(b"damaged")
    (directory / layout.timings(3)).unlink()
    (directory / layout.commit(2)).unlink()
    one = verify(opened(directory), SPACES)
    monkeypatch.setattr(verification, "SHARE", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    two = verify(opened(directory), SPACES)
    assert names(two.findings) == names(one.findings) and layout.member(1, 3) in names(one.findings)
    assert names(two.absent) == names(one.absent) == [layout.timings(3)]
    assert (two.checked, two.intact, two.named) == (one.checked, one.intact, one.named)


def test_a_replay_is_checked_too(directory):
    path = directory / layout.replay("g0003/m00", "fixed", 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    result = verify(opened(directory), SPACES)
    assert names(result.findings) == [layout.replay("g0003/m00", "fixed", 0)]
