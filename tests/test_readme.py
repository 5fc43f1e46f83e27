"""The README tells the truth: its code runs as it stands, its files exist, its commands are known."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.strip().splitlines()[0][:40])
def test_python_runs_as_it_stands(code, tmp_path):
    one = {**os.environ, "OMP_NUM_THREADS": "1"}  # other tests use the cores too
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=280, env=one
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_there_is_python_to_run():
    assert len(blocks("python")) >= 2


def test_links_and_pictures_exist():
    targets = re.findall(r"\]\((?!http|#)([^)]+)\)", README)
    assert [target for target in targets if not (ROOT / target.split("#")[0]).exists()] == []
    assert any(target.endswith(".png") for target in targets)


def test_commands_are_known():
    shown = set(re.findall(r"\bevolve ([a-z]+)\b", "\n".join(blocks("bash"))))
    known = subprocess.run([Path(sys.executable).parent / "evolve", "--help"], capture_output=True, text=True).stdout
    assert shown
    assert [command for command in sorted(shown) if not re.search(rf"│ {command}\b", known)] == []


def test_the_two_commands_stand_first():
    assert re.search(r"```bash\n(make [^\n]*)\n(make [^\n]*)\n```", README).groups()[0].startswith("make demo")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z-]+)", README)) <= set(targets)
