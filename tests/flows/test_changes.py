"""Changes of a run are checked before anything is written, so a refused command leaves nothing behind."""

import os
import shutil

import pytest

from evo_core.config.parsing import ConfigError
from flows.cli.app import _main
from flows.cli.session import read_settings
from flows.run_changes import extend_run, fork_run
from flows.runs import begin_run, check_run, open_ref
from flows.settings import BadInput
from flows.views.publish import open_study
from tasks.runs.ref import RunRef
from tasks.store import GoneError
from tasks.views.study import delete_study, study_number
from tests.fake import evolve, fake_config, fake_trainer

CONFIG = fake_config()
STEPS = CONFIG.training.max_steps


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    directory = tmp_path_factory.mktemp("origin")
    with fake_trainer():
        evolve(RunRef(directory.as_uri(), "one", CONFIG, "cpu"))
    return directory


@pytest.fixture
def settings(origin, here, monkeypatch):
    shutil.copytree(origin, here / "runs")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(origin.parent / "prefect"))
    monkeypatch.setenv("EVOLVE_STORE", str(here / "runs"))
    return read_settings({})


def files(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


REFUSED = [
    (("--from-generation", "1", "--extend", "100"), "--extend: expected the new TOTAL of training steps"),
    (("--from-generation", "3", "--extend", str(STEPS + 1)), "run one would still be finished"),
    (("--from-generation", "3", "--extend", "100", "--run-id", "two"), "--extend: expected the new TOTAL"),
    (("--from-generation", "7"), "expected 0 to 3"),
    (("--from-generation", "1", "--run-id", "Not Valid"), "run id 'Not Valid': expected 1 to 63"),
    (("--from-generation", "1", "--run-id", "one"), "this run exists already"),
    (("--extend", "100"), "--extend: expected the new TOTAL of training steps"),
    (("--extend", str(STEPS + 1)), "run one would still be finished"),
    (("--run-id", "two"), "give both, or neither"),
    (("--from-generation", "1", "--study", "sqlite://x"), "--study: expected"),
    (("--from-generation", "1", "--engine", "tcp://far:8786"), "cannot reach this directory"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[" ".join(arguments) for arguments, _ in REFUSED])
def test_a_refused_change_leaves_nothing_behind(settings, here, capfd, arguments, message):
    before = files(here)
    assert _main(["resume", "one", *arguments]) == 2
    assert message in " ".join(capfd.readouterr().err.split())
    assert files(here) == before


def test_the_budget_of_a_decaying_learning_rate_is_final_and_its_target_is_not(settings, here):
    config = fake_config(**{"algorithm.lr_schedule": "linear", "training.target": 1e6})
    with fake_trainer():
        evolve(RunRef((here / "runs").as_uri(), "linear", config, "cpu"))
    before = files(here)
    for change in (
        lambda: extend_run(settings, "linear", 2 * STEPS, None),
        lambda: fork_run(settings, "linear", 1, "two", 2 * STEPS),
    ):
        with pytest.raises(BadInput, match="decays to zero over its budget of 3,072 steps"):
            change()
    assert files(here) == before
    fork_run(settings, "linear", 1, "two", None, 5e5)
    assert open_ref("two").open().last(lambda g: f"gen/{g:06d}/COMMIT.json") == 1


def test_an_environment_that_is_not_here_is_refused_before_a_run_is_changed(settings, here, monkeypatch):
    def missing(self):
        raise ConfigError(["env.id: no module named mygame"])

    monkeypatch.setattr(RunRef, "environment", missing)
    before = files(here)
    for change in (
        lambda: extend_run(settings, "one", 2 * STEPS, None),
        lambda: fork_run(settings, "one", 1, "two", 2 * STEPS),
    ):
        with pytest.raises(ConfigError, match="mygame"):
            change()
        assert files(here) == before


def test_a_change_that_is_accepted_is_made(settings, here):
    fork_run(settings, "one", 1, "two", 2 * STEPS)
    extend_run(settings, "two", 2 * STEPS, None)
    assert open_ref("two").config.training.max_steps == 2 * STEPS
    assert open_ref("two").open().last(lambda g: f"gen/{g:06d}/COMMIT.json") == 1
    extend_run(settings, "one", 2 * STEPS, None, dry_run=True)
    assert open_ref("one").config.training.max_steps == STEPS


def test_looking_for_a_study_does_not_create_it(settings, here):
    before = files(here)
    with pytest.raises(BadInput, match="has no study one; make it: evolve lineage rebuild one"):
        open_study(settings, "one")
    with pytest.raises(KeyError):
        study_number(settings.study_url, "one")
    assert not delete_study(open_ref("one").open(), settings.study_url)
    assert files(here) == before


def test_a_run_that_this_process_has_found_is_never_created_again(settings, here):
    """Servers start for up to half a minute between the checks of `evolve resume` and its flow."""
    open_ref("one")
    os.rename(here / "runs", here / "away")
    with pytest.raises(GoneError, match="the store is gone"):
        begin_run(settings, CONFIG, "one")
    with pytest.raises(GoneError):
        check_run(settings, CONFIG, "one")
    with pytest.raises(GoneError):
        open_ref("one")
    with pytest.raises(BadInput, match="is not in"):
        open_ref("never-seen")
    assert not (here / "runs").exists()
    os.rename(here / "away", here / "runs")
    assert begin_run(settings, CONFIG, "one").run_id == "one"
