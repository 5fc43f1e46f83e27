"""The whole pipeline: a real Prefect server, Dask workers, store and study."""

import os
import signal
import subprocess
from pathlib import Path

import httpx
import optuna
import pytest

from evo_core.config.parsing import ConfigError
from evo_core.records.chain import record_hash
from tasks.runs.run_store import RunStore
from tests.conftest import make_config
from tests.flows.conftest import ROOT, Cli, alive, descendants, workers_of
from tests.services import BUCKET, credentials, s3_server, wait_for
from tests.spreading import undisturbed

CONFIG = make_config()
SLOWER = make_config(**{"training.evo_steps": 4096, "training.max_steps": 36_864, "algorithm.update_epochs": 4})
ONE = ("--workers", "1")
"""For runs that test something other than their workers."""


@pytest.fixture(scope="module")
def oracle():
    return undisturbed(CONFIG)


@pytest.fixture(scope="module")
def slower_oracle():
    return undisturbed(SLOWER)


def files(directory: Path) -> dict[str, int]:
    return {str(p.relative_to(directory)): p.stat().st_mtime_ns for p in directory.rglob("*") if p.is_file()}


def test_the_flow_makes_the_chain_of_the_local_loop(finished, oracle):
    cli, result = finished
    run = cli.run_store("whole")
    assert [record_hash(commit) for commit in run.commits()] == [record_hash(commit) for commit in oracle.commits]
    assert list(run.commits()) == list(oracle.commits)
    assert run.blob(oracle.elite.blob) == oracle.checkpoint
    assert result["head"] == oracle.head
    assert result["status"] == "budget_spent"
    assert (result["train_steps"], result["generations"]) == (2304, 3)
    assert result["confirmed"]["mean"] == oracle.confirmed.mean
    assert result["elite"]["uid"] == oracle.elite.uid
    assert set(result) == {
        *("run_id", "status", "generations", "train_steps", "eval_steps", "wall_s", "elite", "confirmed", "head"),
        *("store", "study", "failures", "left_over_steps", "fitness"),
    }


def test_running_finished_work_again_changes_nothing(finished, oracle):
    cli, result = finished
    before = files(cli.directory / "runs" / "whole")
    again = cli.json("resume", "whole")
    assert again["head"] == oracle.head
    assert files(cli.directory / "runs" / "whole") == before
    assert len(optuna.load_study(study_name="whole", storage=result["study"]).trials) == 9


def test_another_configuration_under_the_same_id_is_refused_field_by_field(finished):
    cli, _ = finished
    before = files(cli.directory / "runs" / "whole")
    path = cli.config(CONFIG)
    refused = cli("run", "--config", path, "--run-id", "whole", "--algorithm.lr", "2e-3", "--seed", "9", expect=2)
    assert "algorithm.lr: 0.001 in the store, 0.002 given" in refused.stderr
    assert "seed: 1 in the store, 9 given" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert files(cli.directory / "runs" / "whole") == before


def test_status_shows_the_progress_of_a_run(finished, oracle):
    cli, _ = finished
    status = cli.json("status", "whole")
    assert (status["generations"], status["head"], status["train_steps"]) == (3, oracle.head, 2304)
    assert (status["status"], status["target"]) == ("budget_spent", None)
    shown = cli("status", "whole").stdout
    assert "generation   3/3" in shown
    assert oracle.commits[-1].elite.uid in shown
    assert cli("status").stdout.splitlines()[1].split()[:3] == ["whole", "CartPole-v1", "3/3"]
    assert "did you mean whole?" in cli("status", "wholee", expect=2).stderr


def test_the_study_has_one_finished_trial_per_member(finished, oracle):
    cli, result = finished
    study = optuna.load_study(study_name="whole", storage=result["study"])
    members = {member.uid: member for commit in oracle.commits for member in commit.members}
    assert sorted(trial.user_attrs["uid"] for trial in study.trials) == sorted(members)
    for trial in study.trials:
        member = members[trial.user_attrs["uid"]]
        assert trial.state.name == "COMPLETE"
        assert trial.value == member.fitness
        assert trial.user_attrs["parent"] == member.offspring.parent
        assert trial.user_attrs["mutation"] == member.offspring.mutation.kind
        assert trial.user_attrs["fitness_sem"] == member.evaluation.fitness_sem
        assert trial.user_attrs["train_steps"] == 256
        assert trial.user_attrs["checkpoint"] == member.training.blob.sha256
        assert trial.params["lr"] == member.offspring.genome.hyperparameters["lr"]
        timing = cli.run_store("whole").timings(member.offspring.generation).train[member.uid]
        assert trial.datetime_start == timing.start.astimezone().replace(tzinfo=None)
        assert trial.datetime_complete > trial.datetime_start


def test_prefect_shows_every_generation_and_member(finished, prefect_url):
    cli, _ = finished

    def found(kind, **which):
        answer = httpx.post(f"{prefect_url}/{kind}/filter", json=which, auth=credentials())
        return answer.raise_for_status().json()

    def states(runs):
        return sorted((run["name"], run["state_type"]) for run in runs)

    named = found("flow_runs", flow_runs={"name": {"any_": ["cartpole-v1 · pop 3 · seed 1"]}})
    of_run = [run for run in named if run["parameters"].get("run_id") == "whole"]  # others are on this server too
    assert {run["state_type"] for run in of_run} == {"COMPLETED"}
    below = found("flow_runs", flow_runs={"parent_flow_run_id": {"any_": [run["id"] for run in of_run]}})
    generations = [run for run in below if run["name"].startswith("generation")]
    assert states(generations) == [(f"generation {g}", "COMPLETED") for g in (1, 2, 3)]
    # the last elite and the best one are confirmed together
    last = cli.run_store("whole").head()
    assert last.elite.blob != last.best.blob and cli.run_store("whole").confirmation(last.best) is not None
    confirmed = [run for run in below if run["name"].startswith("confirm")]
    assert states(confirmed) == [(f"confirm {last.elite.uid}", "COMPLETED")]
    which = {"flow_run_id": {"any_": [run["id"] for run in generations]}}
    members = [f"{phase} g{g}/m{m}" for phase in ("evaluate", "train") for g in (1, 2, 3) for m in range(3)]
    expected = [(name, "COMPLETED") for name in members]

    def shown():
        return [state for state in states(found("task_runs", task_runs=which)) if state[0] in members]

    wait_for(lambda: shown() == expected)  # the server works events off after they arrived


@pytest.mark.slow
def test_a_run_killed_in_mid_generation_on_s3_ends_with_the_chain_of_an_undisturbed_one(
    cli, slower_oracle, tmp_path_factory, monkeypatch
):
    with s3_server(tmp_path_factory.mktemp("weed")) as server:
        cli.environment |= {**server.environment, "EVOLVE_STORE": f"s3://{BUCKET}/runs"}
        arguments = ("run", "--config", cli.config(SLOWER), "--run-id", "killed", "--workers", "2")
        process = cli.start(*arguments)
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        store = open_s3(BUCKET)
        wait_for(lambda: any(store.exists(f"killed/gen/000002/m/{m:04d}.train.json") for m in range(3)), timeout_s=180)
        family = descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert store.exists("killed/gen/000001/COMMIT.json")
        assert not store.exists("killed/gen/000003/COMMIT.json")
        wait_for(lambda: not any(alive(pid) for pid in family), timeout_s=30)  # no orphan outlives the run
        finished = [m for m in range(3) if store.exists(f"killed/gen/000002/m/{m:04d}.train.json")]
        before = {m: store.backend.modified(f"killed/gen/000002/m/{m:04d}.train.json") for m in finished}
        (elsewhere := tmp_path_factory.mktemp("fresh-machine")).joinpath("config.yaml").write_text(  # only the bucket
            (cli.directory / "config.yaml").read_text()
        )
        cli.directory = elsewhere
        result = cli.json("run", "--config", "config.yaml", "--run-id", "killed", "--workers", "3")
        assert result["head"] == slower_oracle.head
        again = RunStore(store, "killed").timings(2).train
        for m, moment in before.items():  # finished members were not run again
            assert store.backend.modified(f"killed/gen/000002/m/{m:04d}.train.json") == moment
            assert f"g0002/m{m:02d}" not in again
        status = cli.json("status", "killed")
        assert (status["generations"], status["head"]) == (3, slower_oracle.head)
    trials = optuna.load_study(study_name="killed", storage=result["study"]).trials
    expected = [f"g{g:04d}/m{m:02d}" for g in (1, 2, 3) for m in range(3)]
    assert sorted(trial.user_attrs["uid"] for trial in trials) == expected


def open_s3(bucket):
    import s3fs

    from tasks.store import open_store

    s3fs.S3FileSystem.clear_instance_cache()
    return open_store(f"s3://{bucket}/runs")


@pytest.mark.slow
def test_members_run_in_parallel_and_a_killed_worker_costs_one_task_and_not_the_run(cli, slower_oracle):
    process = cli.start("run", "--config", cli.config(SLOWER), "--run-id", "hit", "--workers", "2", "--json")
    run = cli.directory / "runs" / "hit"
    wait_for(lambda: list(run.glob("gen/000002/m/*.train.json")), timeout_s=180)  # of the first, all clocks are known
    os.kill(sorted(workers_of(process.pid))[0], signal.SIGKILL)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert slower_oracle.head in out
    store = cli.run_store("hit")
    timings = [timing for g in (1, 2, 3) for timing in store.timings(g).train.values()]
    assert len(timings) >= 8  # that of a task that died just when it had written its record is not known
    assert 2 <= len({timing.process for timing in timings}) <= 3
    assert process.pid not in {timing.process for timing in timings}
    overlaps = [a for a in timings for b in timings if a.process != b.process and a.start < b.end and b.start < a.end]
    assert len(overlaps) >= 2


@pytest.mark.slow
def test_without_a_prefect_api_a_run_starts_its_own_server_and_ends_it(cli, oracle):
    """One worker, in processes with another hash seed, also makes the same chain."""
    del cli.environment["PREFECT_API_URL"]
    cli.environment["PYTHONHASHSEED"] = "4321"
    cli.environment["PREFECT_HOME"] = str(cli.directory / "prefect")
    cli.environment |= {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "", "no_proxy": ""}  # not asked for our own
    process = cli.start("run", "--config", cli.config(CONFIG), "--workers", "1", "--json")
    seen: set[int] = set()
    while process.poll() is None:
        seen |= descendants(process.pid)
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert oracle.head in out
    assert len(seen) >= 3
    wait_for(lambda: not any(alive(pid) for pid in seen), timeout_s=20)
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_study_that_cannot_be_written_is_a_warning_and_exit_code_3(cli, oracle):
    result = cli.start(
        "run", "--config", cli.config(CONFIG), *ONE, "--study", "sqlite:////dev/null/no/study.db", "--json"
    )
    out, err = result.communicate(timeout=200)
    assert result.returncode == 3, err
    assert oracle.head in out
    assert "the study lacks generations" in err
    healed = cli.json("resume", cli_run_id(out), "--study", f"sqlite:///{cli.directory}/late.db")
    study = optuna.load_study(study_name=healed["run_id"], storage=healed["study"])
    assert len(study.trials) == 9


def cli_run_id(out):
    import json

    return json.loads(out)["run_id"]


@pytest.mark.slow
def test_the_target_ends_a_run_once_confirmed_and_stays_reached(cli):
    config = make_config(**{"training.target": 5.0})
    oracle = undisturbed(config)
    first = cli.json("run", "--config", cli.config(config), *ONE, "--run-id", "aim")
    assert first["status"] == oracle.status == "target_reached"
    assert (first["head"], first["generations"]) == (oracle.head, 1)
    assert first["confirmed"]["mean"] == oracle.confirmed.mean
    before = files(cli.directory / "runs" / "aim")
    again = cli.json("resume", "aim")
    assert (again["status"], again["head"]) == ("target_reached", oracle.head)
    assert files(cli.directory / "runs" / "aim") == before
    shown = cli("status", "aim").stdout
    assert "target reached, target 5" in shown
    assert "go on" not in shown


@pytest.mark.slow
def test_nothing_but_the_result_is_on_standard_output_even_when_an_environment_prints(cli):
    cli.environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests' / 'plugin'}"
    config = make_config("Probe/Faulty-v0", **{"env.kwargs": {"what": "print", "after": 0}})
    assert cli.json("run", "--config", cli.config(config), *ONE)["status"] == "budget_spent"


@pytest.mark.slow
def test_a_failed_member_is_a_failed_trial_and_the_run_continues(cli):
    cli.environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests' / 'plugin'}"
    config = make_config(
        "Probe/Faulty-v0",
        **{
            "env.kwargs": {"what": "raise", "after": 10, "odds": 0.003},
            "population.size": 6,
            "population.min_survivors": 1,
            "training.max_steps": 4608,
        },
    )
    oracle = undisturbed(config)
    assert any(member.failure for commit in oracle.commits for member in commit.members)
    result = cli.json("run", "--config", cli.config(config), *ONE, "--run-id", "faulty")
    assert result["head"] == oracle.head
    states = {
        t.user_attrs["uid"]: t.state.name
        for t in optuna.load_study(study_name="faulty", storage=result["study"]).trials
    }
    assert states == {m.uid: "FAIL" if m.failure else "COMPLETE" for commit in oracle.commits for m in commit.members}


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_prints_how_to_continue(cli: Cli, slower_oracle, stop):
    process = cli.start("run", "--config", cli.config(SLOWER), *ONE, "--run-id", "stopped", "--json")
    wait_for(lambda: (cli.directory / "runs/stopped/gen/000001/m/0000.train.json").exists())
    family = descendants(process.pid)
    os.killpg(process.pid, stop)  # as a terminal does
    out, err = process.communicate(timeout=240)
    assert process.returncode == 1, err
    assert '"status": "interrupted"' in out
    assert "evolve resume stopped" in err
    wait_for(lambda: not any(alive(pid) for pid in family), timeout_s=30)
    if stop == signal.SIGTERM:  # both end it in the same way
        assert cli.json("resume", "stopped", "--workers", "2")["head"] == slower_oracle.head


@pytest.mark.slow
def test_a_store_that_disappears_stops_the_run_and_is_not_created_again(cli: Cli, slower_oracle):
    process = cli.start("run", "--config", cli.config(SLOWER), "--run-id", "gone", "--workers", "2", "--json")
    runs, away = cli.directory / "runs", cli.directory / "away"
    wait_for(lambda: (runs / "gone/gen/000001/m/0000.train.json").exists(), timeout_s=180)
    runs.rename(away)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 1, err
    assert '"status": "failed"' in out
    assert "the store is gone" in out
    assert "when it is back, nothing is lost: evolve resume gone" in " ".join(err.split())
    assert not runs.exists()
    away.rename(runs)
    assert cli.json("resume", "gone", "--workers", "2")["head"] == slower_oracle.head


@pytest.mark.slow
def test_environments_in_processes_of_their_own_run_on_daemonic_workers_and_leave_none(cli):
    config = make_config(**{"env.vectorization": "async", "env.num_envs": 2, "training.max_steps": 1536})
    process = cli.start("run", "--config", cli.config(config), "--run-id", "spawned", "--workers", "2", "--json")
    everyone: set[int] = set()

    def ended():
        everyone.update(descendants(process.pid))
        return process.poll() is not None

    wait_for(ended, timeout_s=180)
    assert process.returncode == 0, process.communicate()
    heads = [record_hash(commit) for commit in cli.run_store("spawned").commits()]
    assert heads == [record_hash(commit) for commit in undisturbed(config).commits]
    assert len(everyone) >= 4
    wait_for(lambda: not any(alive(pid) for pid in everyone), timeout_s=30)


def test_the_flow_refuses_a_module_that_is_not_allowed_before_it_is_imported(prefect_url, tmp_path, monkeypatch):
    (tmp_path / "canary_flow.py").write_text("from pathlib import Path; Path('imported').touch()")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVOLVE_STORE", str(tmp_path / "runs"))
    from flows.evolve import evolve

    for overrides in ({"env.id": "canary_flow:X-v0"}, {"env.wrappers": ["canary_flow:X"]}):
        with pytest.raises(ConfigError, match="package canary_flow is not allowed here"):
            evolve(make_config(**overrides), "refused")
    assert not (tmp_path / "imported").exists()
    assert not (tmp_path / "runs").exists()
