"""evolve report and evolve lineage on runs of a store."""

import json
import os
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import optuna
import pytest

from evo_core.records.chain import Generation
from flows.cli import app as cli
from tasks.runs.run_store import RunStore
from tasks.store import open_store
from tasks.views.phrases import describe_number
from tasks.views.study import open_storage, rebuild_study
from tests.conftest import make_config
from tests.flows.conftest import Cli, make_run
from tests.lineages import learns_by_lr_and_gamma, make_commits, make_lineage_config, store_lineage
from tests.services import chromium

FIGURES = {"fitness", "family_tree", "schedules", "worth", "importance", "health", "cost", "workers"}


@dataclass
class Told:
    """A directory whose store holds a finished run, an unfinished one and one without a generation."""

    directory: Path
    commits: list[Generation]
    capfd: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, expect: int = 0) -> str:
        """Run a command in this process; return standard output, or standard error if it is refused."""
        self.capfd.readouterr()
        assert cli._main(list(arguments)) == expect
        out, err = self.capfd.readouterr()
        return err if expect else out

    @property
    def winner(self) -> str:
        """Return the uid of the finished run's delivered agent."""
        return self.commits[-1].elite.uid


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    directory = tmp_path_factory.mktemp("told")
    config = make_lineage_config(8, 10)
    commits = make_commits(config, learns_by_lr_and_gamma)
    for run_id, stop in (("whole", 11), ("running", 2), ("new", 1)):
        store_lineage((directory / "runs").as_uri(), run_id, config, commits[:stop])
    return directory, config, commits


@pytest.fixture
def told(stored, capfd, monkeypatch):
    directory, _, commits = stored
    monkeypatch.chdir(directory)
    with patch.dict(os.environ):  # each command exports its settings
        yield Told(directory, commits, capfd)


@pytest.mark.slow
def test_a_report_is_one_page_that_makes_no_requests(stored):
    chromium()
    directory, _, commits = stored
    command = Cli(directory, {"PREFECT_API_URL": "http://127.0.0.1:9/api"})
    found = command.json("report", "whole")
    page = (directory / found["report"]).read_text()
    for name in FIGURES:
        assert f'id="{name}"' in page
    scripts = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.findall(r"""src\s*=|href\s*=(?!"data:)|@import|url\(""", scripts)
    assert commits[-1].elite.uid in page
    assert {name.rpartition("/")[2] for name in found["pictures"]} == {f"{name}.png" for name in FIGURES}
    assert all((directory / name).stat().st_size > 10_000 for name in found["pictures"])


def test_a_report_of_a_run_that_is_not_finished(told, monkeypatch):
    monkeypatch.setattr("flows.cli.report.find_spec", lambda name: None)
    told("report", "running", "--output", "out")
    page = (told.directory / "out" / "report.html").read_text()
    assert told.commits[1].elite.uid in page and "unfinished" in page and "no mutated member has" in page
    assert "has finished no generation yet" in told("report", "new", expect=2)
    assert "did you mean whole" in told("report", "wohle", expect=2)
    monkeypatch.setattr("flows.cli.extras.find_spec", lambda name: None)
    assert "pip install 'evolve-rl[dashboard]'" in told("report", "whole", "--dashboard", expect=2)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_the_report_of_a_real_run_agrees_with_its_records(told, tmp_path, monkeypatch, env):
    monkeypatch.setattr("flows.cli.report.find_spec", lambda name: None)
    light = {"training.max_steps": 2304, "evaluation.confirm_episodes": 2}
    make_run(tmp_path, "real", make_config(env, **light))
    told("report", "real", "--store", str(tmp_path), "--output", str(tmp_path / "out"))
    page = (tmp_path / "out" / "report.html").read_text()
    found = json.loads(told("lineage", "real", "--store", str(tmp_path), "--format", "json", "--all"))
    commits = list(RunStore(open_store(tmp_path.as_uri()), "real").commits())
    members = {m["uid"]: m for m in found["members"]}
    assert len(members) == 9 and found["winner"] in page and env in page
    assert all(members[m.uid]["fitness"] == m.fitness for commit in commits for m in commit.members)
    story = told("lineage", "real", found["winner"], "--store", str(tmp_path))
    shown = members[found["winner"]]["fitness"]
    assert describe_number(shown) in story


def test_without_a_browser_there_is_a_page_and_no_pictures(told, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", "/nowhere/chrome")
    monkeypatch.setenv("PATH", "/nowhere")
    said = told("report", "running", "--output", "blind")
    assert said == "blind/report.html\n"
    assert [path.name for path in (told.directory / "blind").iterdir()] == ["report.html"]


def test_figures_are_added_to_the_dashboard(told, stored, monkeypatch):
    monkeypatch.setattr("flows.cli.report.write_pictures", lambda figures, directory: ([], None))
    refused = told("report", "whole", "--dashboard", "--study", "nowhere.db", expect=2)
    assert "make it: evolve lineage rebuild whole" in refused
    url = f"sqlite:///{told.directory}/runs/study.db"
    rebuild_study(Cli(told.directory).run_store("whole"), stored[1], url)
    for _ in range(2):  # the same ones again, not twice as many
        told("report", "whole", "--dashboard", "--study", "runs/study.db")
    study = optuna.load_study(study_name="whole", storage=open_storage(url))
    shown = study._storage.get_study_system_attrs(study._study_id)
    assert {key.split(":")[2] for key in shown if key.startswith("dashboard:plot_data:")} == FIGURES


def test_the_tree_in_the_terminal_shows_living_members(told):
    shown = told("lineage", "whole")
    assert f"winner {told.winner}" in shown and shown.count(told.winner) >= 2
    assert told("lineage", "whole", "--all").count("/m") > 60 > shown.count("/m")


def test_a_member_is_explained(told):
    story = told("lineage", "whole", told.winner)
    assert re.search(
        rf"{told.winner} descends from founder g0001/m\d\d through 9 generations and \d mutations?\.", story
    )
    assert re.search(r"Best against unmutated siblings: .* at [\d,]+ training steps .*, \+\d+\.\d ± 1\.\d\.", story)
    assert "a generation of training earlier" in story
    assert "got g0001/m00 to g0010/m07" in told("lineage", "whole", "g0011/m00", expect=2)
    assert "is a founder" in told("lineage", "whole", "g0001/m02")


def test_every_format_names_every_edge(told):
    members = [member for commit in told.commits for member in commit.members]
    edges = {(m.offspring.parent, m.uid) for m in members if m.offspring.parent}
    found = json.loads(told("lineage", "whole", "--format", "json", "--all"))
    assert {(m["parent"], m["uid"]) for m in found["members"] if m["parent"]} == edges
    assert {m["uid"]: m["fitness"] for m in found["members"]} == {m.uid: m.fitness for m in members}
    graph = ET.fromstring(told("lineage", "whole", "--format", "graphml", "--all"))
    tag = "{http://graphml.graphdrawing.org/xmlns}edge"
    assert {(edge.get("source"), edge.get("target")) for edge in graph.iter(tag)} == edges
    mermaid = told("lineage", "whole", "--format", "mermaid", "--all")
    arrows = re.findall(r"^  (\w+) -->(?:\|.*\|)? (\w+)$", mermaid, flags=re.M)
    assert {tuple(name.replace("_", "/") for name in arrow) for arrow in arrows} == edges
    told("lineage", "whole", "--format", "html", "--output", "tree.html")
    assert 'id="family_tree"' in (told.directory / "tree.html").read_text()


def test_json_leaves_extinct_lines_out_unless_all_are_asked_for(told):
    shown = json.loads(told("lineage", "whole", "--json"))["members"]
    assert shown == json.loads(told("lineage", "whole", "--format", "json"))["members"]
    everyone = json.loads(told("lineage", "whole", "--json", "--all"))["members"]
    assert told.winner in {member["uid"] for member in shown} and len(shown) < len(everyone)
    assert [member for member in shown if not member["alive"]] == []


def test_html_is_not_printed_on_a_terminal(told, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    refused = told("lineage", "whole", "--format", "html", "--store", "runs", expect=2)
    assert "evolve lineage whole --format html --output whole-lineage.html" in refused and len(refused) < 500


def test_two_members_are_compared(told):
    one, other = told.commits[-1].members[0], told.commits[3].members[5]
    shown = told("lineage", "diff", "whole", one.uid, other.uid)
    genes = [member.offspring.genome.hyperparameters for member in (one, other)]
    differing = {name for name in genes[0] if genes[0][name] != genes[1][name]}
    assert differing and all(name in shown for name in differing | {"fitness", one.uid, other.uid})
    assert re.search(r"ancestor|founders", shown)
