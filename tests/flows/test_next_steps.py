"""Commands that messages suggest can be pasted into a shell, whatever characters paths contain."""

import shlex

import pytest

from flows.cli.ending import ExitReport
from flows.next_steps import evolve_command
from flows.settings import BadInput, Settings
from flows.views.publish import dashboard_command, open_study
from tests.conftest import make_config


def test_every_word_of_a_command_is_quoted():
    command = evolve_command("run", "--dry-run", config="my files/it's.yaml", target=None)
    assert command == """evolve run --dry-run --config 'my files/it'"'"'s.yaml'"""
    assert shlex.split(command) == ["evolve", "run", "--dry-run", "--config", "my files/it's.yaml"]


def test_the_advice_of_an_interrupted_run_quotes_paths_with_spaces(tmp_path):
    settings = Settings(store=str(tmp_path / "my runs"), study="my study.db", workers="2")
    (tmp_path / "my runs" / "one").mkdir(parents=True)
    (tmp_path / "my runs" / "one" / "run.json").touch()
    advice = ExitReport("one", make_config(), settings, None, KeyboardInterrupt(), 1.0)._advice()[-1]
    words = ["evolve", "resume", "one", "--store", settings.store, "--study", "my study.db", "--workers", "2"]
    assert shlex.split(advice.partition("nothing is lost: ")[2]) == words


def test_the_dashboards_command_is_quoted(tmp_path, monkeypatch):
    settings = Settings(store=str(tmp_path / "my runs"))
    monkeypatch.setenv("EVOLVE_STORE", settings.store)
    (tmp_path / "my runs").mkdir()
    assert len(shlex.split(dashboard_command(settings))) == 4
    with pytest.raises(BadInput, match=r"evolve lineage rebuild one --store '.*my runs'"):
        open_study(settings, "one")
