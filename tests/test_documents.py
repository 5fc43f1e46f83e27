"""Paths, folders and commands in documents exist; the pre-commit hooks are those of `make lint`."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder

from evo_core.importers.agilerl.conversion import convert

ROOT = Path(__file__).parents[1]
FILES = [
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("d*/**/*.md"), *ROOT.glob("benchmarks/*.md"))
    if path.name != "CHANGELOG.md"  # which names what was
]
PACKAGES = ("evo_core", "tasks", "flows", "deployments", "evolve_rl", "tests", "docs", "benchmarks")
PLACEHOLDERS = ("NAME", "RUN", "FILE", "…", "*")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def paths(text):
    """Return the paths of this repository that are set as code."""
    named = re.findall(rf"`((?:{'|'.join(PACKAGES)})/[^\s`]*)`", text)
    return [name for name in named if not any(part in name for part in PLACEHOLDERS)]


def drawn(tree):
    """Return the paths of a tree drawn as text."""
    package = ""
    for line in tree.splitlines():
        name = re.match(r"[├└─ ]*(\S+)", line)[1]
        package = name if line[0] not in "├└" else package
        yield name if name == package else f"{package}{name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_that_is_named_exists(path):
    assert [name for name in paths(path.read_text()) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_and_picture_exists(path):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL)
    targets = {target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target}
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_there_are_paths_to_check():
    assert len(paths(CONTRIBUTING)) > 20


def test_the_map_shows_every_folder():
    shown = list(drawn(re.search(r"```text\n(.*?)\n```", CONTRIBUTING, re.DOTALL)[1]))
    assert [name for name in shown if not (ROOT / name).exists()] == []
    packages = {
        f"{path.parent.relative_to(ROOT)}/"
        for package in PACKAGES[:5]
        for path in (ROOT / package).glob("*/__init__.py")
    }
    assert {name for name in packages if not any(other.startswith(name) for other in shown)} == set()


def test_targets_of_make_exist():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`make ([a-z-]+)`", CONTRIBUTING)) <= set(targets)


def test_pre_commit_runs_what_make_lint_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    planned = subprocess.run(
        ["make", "-n", "-o", "install", "lint"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    commands = [line for line in planned.stdout.splitlines() if line.startswith(".venv/bin/")]
    assert [hook["entry"] for hook in hooks] == commands
    assert all(hook["language"] == "system" and hook["always_run"] and not hook["pass_filenames"] for hook in hooks)


def test_the_wheel_says_that_the_packages_are_typed():
    included = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {f"{package}/py.typed" for package in PACKAGES[:5]} <= included


def test_the_citation_names_the_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation.keys() >= {"cff-version", "message", "title", "authors"}


def test_the_example_of_agilerl_is_converted():
    page = (ROOT / "docs/from-agilerl.md").read_text()
    manifest = re.search(r"<<'END'\n(.*?)\nEND\n", page, re.DOTALL)[1]
    conversion = convert(yaml.safe_load(manifest))
    assert (conversion.config.training.max_steps, conversion.config.population.size) == (400_000, 4)
