"""The README's links lead to files, and its two commands stand first. Its blocks are run by test_docs.py."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_links_and_pictures_exist():
    targets = re.findall(r"\]\((?!http|#)([^)]+)\)", README)
    assert [target for target in targets if not (ROOT / target.split("#")[0]).exists()] == []
    assert any(target.endswith(".png") for target in targets)


def test_the_two_commands_come_first():
    assert re.search(r"```bash\n(make [^\n]*)\n(make [^\n]*)\n```", README).groups()[0].startswith("make demo")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z-]+)", README)) <= set(targets)


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 160
