"""The auth string of `evolve serve` on loopback: generated once, private, refused if others can read it."""

import pytest

from deployments.login import check_login, find_login
from deployments.profile import choose_exposure
from deployments.service import serve
from flows.prefect_server.api import login_file
from flows.prefect_server.embedded import CLIENT_AUTH, SERVER_AUTH
from flows.settings import BadInput
from tests.services import free_port


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in (SERVER_AUTH, CLIENT_AUTH, "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))


def test_an_auth_string_is_generated_at_the_first_start_and_reused():
    made = find_login(no_auth=False)
    assert made.fresh and made.auth in made.describe()
    assert login_file().stat().st_mode & 0o777 == 0o600
    found = find_login(no_auth=False)
    assert (found.auth, found.fresh) == (made.auth, False)
    assert found.auth not in found.describe() and str(login_file()) in found.describe()
    assert found.environment == {SERVER_AUTH: made.auth}


def test_the_environments_auth_string_is_used_and_not_stored(monkeypatch):
    monkeypatch.setenv(SERVER_AUTH, "me:chosen-by-hand")
    login = find_login(no_auth=False)
    assert login.environment == {SERVER_AUTH: "me:chosen-by-hand"} and "chosen" not in login.describe()
    assert not login_file().exists()


def test_no_auth_creates_no_auth_string_and_contradictions_are_refused(monkeypatch):
    login = find_login(no_auth=True)
    assert login.environment == {} and "every account of this machine" in login.describe()
    assert not login_file().exists()
    monkeypatch.setenv(SERVER_AUTH, "me:chosen-by-hand")
    with pytest.raises(BadInput, match=f"--no-auth: {SERVER_AUTH} is set"):
        serve(port=free_port(), no_auth=True)


def test_no_auth_is_allowed_on_loopback_only():
    with pytest.raises(BadInput, match="others can reach this address"):
        serve(host="0.0.0.0", port=free_port(), origin="http://evolve.example.org:4200", no_auth=True)


@pytest.mark.parametrize(("content", "mode"), [("evolve:seen-by-others", 0o644), ("evolve:written-by-others", 0o620)])
def test_an_auth_string_that_others_can_read_is_refused(content, mode):
    find_login(no_auth=False)
    login_file().write_text(content)
    login_file().chmod(mode)
    with pytest.raises(BadInput, match=f"evolve-auth: expected .* only this user .* mode {mode:o}.* delete it"):
        check_login(no_auth=False)


@pytest.mark.parametrize("content", ["", "evolve", "evolve:", "evolve:ä", "evolve:two\nlines"])
def test_an_unusable_auth_string_is_refused(content):
    find_login(no_auth=False)
    login_file().write_text(content)
    with pytest.raises(BadInput, match="expected user:password in one line"):
        check_login(no_auth=False)


def test_a_refused_command_makes_none():
    with pytest.raises(BadInput, match="--port: expected 1 to 65535"):
        serve(port=0)
    assert choose_exposure("127.0.0.1", 4200, None).origins
    assert not login_file().exists()
