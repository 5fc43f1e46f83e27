"""Changes of an existing run: extend, fork, verify, repair, release checkpoints, rebuild the study."""

import json
import shutil
import time

import optuna
import pytest

from evo_core.records.chain import record_hash
from tests.conftest import make_config
from tests.flows.conftest import Cli
from tests.spreading import undisturbed

EXTENDED = make_config(**{"training.max_steps": 3072})


@pytest.fixture(scope="module")
def origin(finished, tmp_path_factory, prefect_environment):
    """Copy the finished run to a store in which tests may create other runs."""
    directory = tmp_path_factory.mktemp("origin")
    shutil.copytree(finished[0].directory, directory, dirs_exist_ok=True)
    return Cli(directory, dict(prefect_environment))


@pytest.fixture
def one(origin, tmp_path):
    """Copy the finished run for one test, without a Prefect API."""
    shutil.copytree(origin.directory, tmp_path, dirs_exist_ok=True)
    return Cli(tmp_path, {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(tmp_path / "prefect")})


def chain(cli, run_id):
    return [record_hash(commit) for commit in cli.run_store(run_id).commits()]


def blobs(cli, run_id="whole"):
    return {path.stem: path for path in (cli.directory / "runs" / run_id / "blobs").iterdir()}


@pytest.mark.slow
def test_a_fork_with_a_higher_budget_has_the_chain_of_a_run_that_had_it_from_the_start(origin):
    before = chain(origin, "whole")
    arguments = ("--from-generation", "1", "--run-id", "two", "--extend", "3072", "--workers", "2")
    result = origin.json("resume", "whole", *arguments)
    oracle = undisturbed(EXTENDED)
    assert (result["run_id"], result["head"], result["train_steps"]) == ("two", oracle.head, 3072)
    assert chain(origin, "two") == [record_hash(commit) for commit in oracle.commits]
    assert chain(origin, "whole") == before
    two = origin.run_store("two").run_file()
    assert (two.forked_from.run_id, two.forked_from.generation) == ("whole", 1)
    assert two.forked_from.commit == before[1]
    assert "intact" in origin("verify", "two").stdout
    taken = origin("resume", "whole", "--from-generation", "2", "--run-id", "two", expect=2)
    assert "this run exists already" in taken.stderr


def test_bad_changes_are_refused_with_advice(one):
    config = one.config(EXTENDED, "more.yaml")
    refused = one("run", "--config", config, "--run-id", "whole", expect=2).stderr
    assert "training.max_steps: 2304 in the store, 3072 given" in refused
    assert "evolve resume whole --extend 3072" in refused
    assert "more than 2,304" in one("resume", "whole", "--extend", "100", expect=2).stderr
    assert "expected 0 to 3" in one("resume", "whole", "--from-generation", "7", expect=2).stderr
    assert "give both, or neither" in one("resume", "whole", "--run-id", "x", expect=2).stderr
    assert not (one.directory / "runs/whole/extend").exists()


def test_resuming_a_finished_run_starts_nothing_and_takes_seconds(one, origin):
    began = time.monotonic()
    result = one.json("resume", "whole")  # the Prefect API is away, and is not missed
    assert time.monotonic() - began < 30  # 5 s on an idle machine; starting an engine alone takes longer
    assert result["head"] == chain(origin, "whole")[-1]
    assert result["confirmed"]["episodes"] == 4
    again = one.json("run", "--config", "config.yaml", "--run-id", "whole")
    assert again["head"] == result["head"]


def test_verify_finds_a_flipped_bit_and_repair_brings_the_same_bytes_back(one):
    assert json.loads(one("verify", "whole", "--json").stdout)["whole"]
    head = one.run_store("whole").commit(2)
    path = blobs(one)[head.members[1].training.blob.sha256]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    record = one.directory / "runs/whole/gen/000001/m/0000.json"
    whole_record = record.read_bytes()
    record.unlink()
    found = one("verify", "whole", expect=1).stdout
    assert path.name in found
    assert "m/0000.json" in found
    assert "2 objects are missing or damaged" in found
    assert "evolve verify whole --repair" in found
    assert "repaired" in one("verify", "whole", "--repair").stdout
    assert path.read_bytes() == content
    assert record.read_bytes() == whole_record
    assert "the same checkpoint and record" in one("verify", "whole", "--recompute", "g0003/m01").stdout
    assert "expected a name such as g0003/m05" in one("verify", "whole", "--recompute", "five", expect=2).stderr


@pytest.mark.slow
def test_released_checkpoints_are_reported_as_released_and_can_be_computed_again(one):
    before = blobs(one)
    listed = one.json("gc", "whole", "--keep-generations", "1", "--dry-run")["blobs"]
    assert listed
    assert blobs(one) == before
    released = one.json("gc", "whole", "--keep-generations", "1")
    assert released["blobs"] == listed
    assert set(blobs(one)) == set(before) - set(listed)
    assert one.json("gc", "whole", "--keep-generations", "1")["blobs"] == []
    verified = one.json("verify", "whole")
    assert (verified["whole"], verified["released"]) == (True, len(listed))
    run = one.run_store("whole")
    victim = next(m for m in run.commit(1).members if m.training.blob.sha256 in listed)
    assert "the same checkpoint and record" in one("verify", "whole", "--recompute", victim.uid).stdout


@pytest.mark.slow
def test_a_damaged_configuration_does_not_keep_the_rest_from_being_checked(one):
    path = one.directory / "runs/whole/run.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"seed":1', b'"seed":3'))
    (one.directory / "runs/whole/gen/000002/m/0001.json").unlink()
    found = one("verify", "whole", expect=1).stdout
    assert "restore it from a copy" in found
    assert "m/0001.json" in found
    assert "restore that first" in one("verify", "whole", "--repair", expect=2).stderr
    path.write_bytes(whole)
    assert "restored from its COMMIT" in one("verify", "whole", "--repair").stdout
    assert "did you mean whole" in one("verify", "wholee", expect=2).stderr


def test_the_study_is_rebuilt_from_the_store_alone(one):
    study = one.directory / "runs/study.db"
    before = trials(study)
    study.unlink()
    assert one.json("lineage", "rebuild", "whole")["trials"] == 9
    assert trials(study) == before
    assert one.json("lineage", "rebuild", "whole")["trials"] == 9
    assert trials(study) == before


def trials(path):
    found = optuna.load_study(study_name="whole", storage=f"sqlite:///{path}").trials
    return [(t.user_attrs, t.values, t.params, t.state, t.datetime_start, t.datetime_complete) for t in found]


@pytest.mark.slow
def test_a_run_that_releases_as_it_goes_has_the_same_chain_and_few_checkpoints(origin):
    origin.json("run", "--config", "config.yaml", "--run-id", "lean", "--workers", "2", "--keep-generations", "1")
    assert chain(origin, "lean") == chain(origin, "whole")
    assert len(blobs(origin, "lean")) < len(blobs(origin))
    assert "intact" in origin("verify", "lean").stdout
