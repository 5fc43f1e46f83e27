import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from evo_core.numerics.provenance import numerics
from evo_core.records.chain import Training
from flows.cli.portable import portable, wants_portable
from flows.observers.numerics_check import compare_numerics, start_numerics_check
from flows.observers.observer import Observer, watched_by
from flows.settings import Settings
from tasks.member_tasks import evaluate_member, train_member
from tasks.runs import layout
from tasks.runs.ref import RunRef
from tasks.runs.run_records import Timing
from tasks.runs.run_store import RunStore
from tests.conftest import make_config
from tests.fake import fake_trainer
from tests.flows.conftest import EVOLVE


class Warnings(Observer):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def warned(self, message: str) -> None:
        self.heard.append(message)


@pytest.fixture
def run(tmp_path) -> RunRef:
    return RunRef(tmp_path.as_uri(), "run", make_config(), "cpu")


def on(host: str) -> Timing:
    return Timing(start=datetime.now(UTC), end=datetime.now(UTC), host=host, process=1)


def test_workers_with_other_numerics_are_named_once_with_the_differences(run):
    here, watcher = numerics("cpu", run.config.env), Warnings()
    changed = {**here, "python": "3.0.0", "fingerprint": here["fingerprint"].replace("qr ", "qr 0")}
    with watched_by(watcher):
        start_numerics_check(run, Settings(numerics="native"))
        compare_numerics(run, "g0001/m00", on("near"), here)
        compare_numerics(run, "g0001/m00", on("near"), {**here, "device": "cuda: T4", "cuda": "12"})
        assert watcher.heard == []
        for uid in ("g0001/m01", "g0001/m02"):
            compare_numerics(run, uid, on("far"), changed)
    assert watcher.heard == [
        f"workers on far compute with python 3.0.0, here is {here['python']}; other results of the same functions "
        "(qr), as processors of other makers give: the bits of g0001/m01 and other members may differ"
    ]


def test_a_member_of_an_unfinished_generation_made_under_other_numerics_is_named(run):
    watcher = Warnings()
    with fake_trainer():
        from tasks.generation_tasks import create_first_population
        from tests.fake import SPACES

        run.open().create_run(run.config)
        head = create_first_population.fn(run, SPACES)
        train_member.fn(run, head.offspring[0])
        stored = run.open()
        record = stored.training(1, 0)
        elsewhere = RunStore(stored.store, "run", lambda: {**stored.numerics, "torch": "1.0"})
        elsewhere.put_training(1, 1, record.model_copy(update={"uid": "g0001/m01"}))
        trained = [train_member.fn(run, offspring) for offspring in head.offspring[:2]]
        assert [one.numerics["torch"] for one in trained] == [numerics("cpu")["torch"], "1.0"]
        assert evaluate_member.fn(run, head.offspring[0], trained[0]).numerics == stored.numerics
    assert elsewhere.numerics_of(layout.training(1, 1), Training)["torch"] == "1.0"
    with watched_by(watcher):
        start_numerics_check(run, Settings(numerics="native"))
        for one in trained:
            compare_numerics(run, one.record.uid, one.timing, one.numerics)
    (said,) = watcher.heard
    assert said.startswith("g0001/m01 was found in the store, made with torch 1.0")


def test_a_process_that_should_be_portable_and_is_not_warns(run):
    watcher = Warnings()
    with watched_by(watcher):
        start_numerics_check(run, Settings(numerics="portable"))
    assert "evolve portable prefect worker start" in watcher.heard[0]


@pytest.mark.parametrize(
    ("tokens", "environment", "wanted"),
    [
        (["run", "--numerics", "portable"], {}, True),
        (["run", "--numerics=portable"], {}, True),
        (["run", "--numerics", "native"], {"EVOLVE_NUMERICS": "portable"}, False),
        (["verify", "run"], {"EVOLVE_NUMERICS": "portable"}, True),
        (["run", "--numerics"], {}, False),
        (["run"], {}, False),
    ],
)
def test_portable_numerics_are_asked_for_by_flag_or_else_by_environment(tokens, environment, wanted):
    assert wants_portable(tokens, environment) is wanted


def test_the_command_starts_again_with_portable_numerics_before_it_imports_anything():
    code = "import flows.cli.app as cli; cli._main = lambda tokens: cli.os.system('env') and 1; cli.main()"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MKL_", "ATEN_", "NPY_"))}
    command = [sys.executable, "-c", code, "run", "--numerics", "portable"]
    said = subprocess.run(command, env=clean, capture_output=True, text=True, check=True).stdout
    assert {"MKL_CBWR=COMPATIBLE", "ATEN_CPU_CAPABILITY=default"} <= set(said.splitlines())


def test_any_command_runs_with_portable_numerics(capfd):
    command = [
        EVOLVE,
        "portable",
        "python",
        "-c",
        "from evo_core.numerics.provenance import numerics; print(numerics('cpu'))",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "'mode': 'portable'" in said
    assert portable("no-such-program") == portable() == 2
    assert "got 'no-such-program', which is not found" in capfd.readouterr().err
