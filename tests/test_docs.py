"""Code blocks of the documentation are run: Python is executed, configurations are validated, commands are parsed.

Blocks of one page run in order, in one temporary directory. A block with a title is written to the file of that name.
A block that cannot be run is preceded by `<!-- not run: why -->`; `<!-- run -->` before a bash block runs its commands.
"""

import re
import shlex
import sys
import textwrap
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from evo_core import RunConfig, parse_config
from flows.cli.app import app
from flows.cli.flags import load_config, split_flags
from tasks.yaml_text import load_yaml

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"(?:<!-- (?P<skip>not run: .+?|run) -->\n+)?"
    r"^(?P<indent>[ \t]*)```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n(?P<code>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
RUNS = [ROOT / "docs/tutorials/notebook.md"]
"""Pages whose code runs the whole pipeline."""

SMALLEST = {"env": {"id": "CartPole-v1"}, "training": {"max_steps": 10_000_000}}
"""What a configuration needs at least; a block that shows one section is completed by this."""


@dataclass(frozen=True)
class Block:
    language: str
    title: str | None
    directive: str
    code: str

    @property
    def skipped(self):
        return self.directive.startswith("not run")


def blocks(page):
    return [
        Block(m["language"], m["title"], m["skip"] or "", textwrap.dedent(m["code"]))
        for m in FENCE.finditer(page.read_text())
    ]


def with_blocks(*languages):
    return [
        pytest.param(page, id=str(page.relative_to(ROOT)), marks=[pytest.mark.slow] if page in RUNS else [])
        for page in PAGES
        if any(block.language in languages and not block.skipped for block in blocks(page))
    ]


def commands(block):
    """Every line of a block that starts `evolve`, comments and prompts removed, continued lines joined."""
    for line in block.code.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        while words and re.fullmatch(r"[A-Z_0-9]+=.*", words[0]):
            words = words[1:]
        if words[:1] == ["evolve"]:
            yield words[1:]


@pytest.fixture
def page_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "deployments").symlink_to(ROOT / "deployments")  # ready configurations by their path in a checkout
    return tmp_path


def test_readme_and_tutorials_have_code_to_run():
    assert len([b for b in blocks(PAGES[0]) if b.language == "python"]) >= 2
    assert len(with_blocks("python")) >= 5


def write(block):
    path = Path(block.title)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.code)


def run_commands(block, monkeypatch):
    (evolve,) = entry_points(group="console_scripts", name="evolve")
    for name, value in re.findall(r"^export ([A-Z_0-9]+)=(\S+)", block.code, re.MULTILINE):
        monkeypatch.setenv(name, value)
    for words in commands(block):
        monkeypatch.setattr(sys, "argv", ["evolve", *words])
        with pytest.raises(SystemExit) as ended:
            evolve.load()()
        assert ended.value.code == 0, words


@pytest.mark.parametrize("page", with_blocks("python"))
def test_python_runs_as_it_stands(page, page_directory, monkeypatch, capsys, request):
    if page in RUNS:
        for name, value in request.getfixturevalue("prefect_environment").items():
            monkeypatch.setenv(name, value)
    namespace = {"__name__": "__main__"}
    for block in blocks(page):
        if block.skipped or not (block.title or block.directive == "run" or block.language == "python"):
            continue
        if block.title:
            write(block)
        elif block.directive == "run":
            run_commands(block, monkeypatch)
        else:
            exec(compile(block.code, str(page.relative_to(ROOT)), "exec"), namespace)
    assert capsys.readouterr().out.strip()  # a page shows what its code prints


@pytest.mark.parametrize("page", with_blocks("yaml"))
def test_configurations_are_valid(page):
    for block in blocks(page):
        if block.language == "yaml" and not block.skipped:
            given = load_yaml(block.code, "not YAML")
            assert set(given) <= set(RunConfig.model_fields), block.code
            parse_config({**SMALLEST, **given, "env": {**SMALLEST["env"], **given.get("env", {})}})


@pytest.mark.parametrize("page", with_blocks("bash", "console"))
def test_commands_and_flags_exist(page, page_directory):
    for block in blocks(page):
        if block.title:
            write(block)
        if block.language not in ("bash", "console") or block.skipped:
            continue
        for words in commands(block):
            parse(words)


def parse(words):
    """Parse a command line as the application does; raise for a command, flag or field that does not exist."""
    if words[0] == "portable":
        return
    if words[0] in ("run", "doctor"):
        words, fields = split_flags(words)
        config = Path(words[words.index("--config") + 1]) if "--config" in words else Path("none")
        if config.exists():
            load_config(config, fields)
        else:
            parse_config(SMALLEST, fields)
    app.parse_args(words, exit_on_error=False, print_error=False)
