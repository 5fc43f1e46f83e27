"""The packages of this installation beside modules of the user's that have the same names."""

import sys
from types import ModuleType

import pytest

from evo_core.installation import (
    PACKAGES,
    ROOT,
    ShadowedError,
    check_package_names,
    prefer_own_packages,
    require_own_packages,
)


@pytest.fixture
def project(tmp_path):
    """A directory with a module, a package and a folder of our names."""
    (tmp_path / "tasks.py").write_text("")
    (tmp_path / "deployments").mkdir()
    (tmp_path / "deployments" / "__init__.py").write_text("")
    (tmp_path / "flows").mkdir()
    return tmp_path


def test_directories_that_hold_our_names_are_searched_after_us_and_others_stay(project, tmp_path_factory, monkeypatch):
    other, after = (str(tmp_path_factory.mktemp(name)) for name in ("other", "after"))
    path = [str(project), other, str(ROOT), after]
    prefer_own_packages(path)
    assert path == [other, str(ROOT), str(project), after]
    prefer_own_packages(path)
    assert path == [other, str(ROOT), str(project), after]
    monkeypatch.chdir(project)
    path = ["", str(ROOT)]
    prefer_own_packages(path)
    assert path == [str(ROOT), ""]
    path = [other, str(project)]
    prefer_own_packages(path)
    assert path == [other, str(ROOT), str(project)]


def test_a_directory_without_init_shadows_nothing(tmp_path):
    (tmp_path / "flows").mkdir()
    path = [str(tmp_path), str(ROOT)]
    prefer_own_packages(path)
    assert path == [str(tmp_path), str(ROOT)]


def test_a_module_imported_in_place_of_ours_is_reported_with_advice(project):
    tasks = ModuleType("tasks")
    tasks.__file__ = str(project / "tasks.py")
    with pytest.raises(ShadowedError) as refused:
        require_own_packages({"tasks": tasks})
    said = str(refused.value)
    assert f"tasks was imported from {project / 'tasks.py'}, but evolve needs its own package {ROOT / 'tasks'}" in said
    assert f"Rename {project / 'tasks.py'} (my_tasks.py" in said
    flows = ModuleType("flows")
    flows.__path__ = [str(project / "flows")]
    with pytest.raises(ShadowedError, match=f"flows was imported from {project / 'flows'}, "):
        require_own_packages({"flows": flows})


def test_a_module_that_would_be_imported_in_place_of_ours_is_reported_too(project, monkeypatch):
    monkeypatch.delitem(sys.modules, "tasks", raising=False)
    monkeypatch.setattr(sys, "path", [str(project), *sys.path])
    with pytest.raises(ShadowedError, match=f"tasks would be imported from {project / 'tasks.py'}, .*my_tasks.py"):
        require_own_packages({})
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ShadowedError, match=r"expected the package .*, and found none; install evolve-rl again"):
        require_own_packages({})


def test_our_own_packages_are_accepted():
    require_own_packages()
    require_own_packages({})


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_of_environments_cannot_have_our_names(name, monkeypatch):
    from flows.cli.session import read_settings
    from flows.settings import BadInput

    assert check_package_names("minigrid, my_tasks") == "minigrid, my_tasks"
    assert check_package_names("") == ""
    for given in (name, f"minigrid, {name}.envs"):
        monkeypatch.setenv("EVOLVE_ENV_PACKAGES", given)
        with pytest.raises(BadInput, match=rf"{name} is a package of evolve, .*rename yours \(my_{name}"):
            read_settings({})
