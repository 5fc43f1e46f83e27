"""Authentication, CORS and CSRF of the Prefect servers of the containers and of `evolve serve`."""

import asyncio
import json
import re
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest
import websockets
from prefect.client.orchestration import get_client
from prefect.context import refresh_global_settings_context
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows.prefect_server.api import require_configured_api
from flows.settings import BadInput
from tests.deployments.conftest import AUTH

pytestmark = pytest.mark.slow  # two servers of its own, 15 CPU seconds

BASIC = tuple(AUTH.split(":"))
PROBES = {("GET", "/health"), ("GET", "/ready")}
"""Routes without authentication, for orchestrators."""
WRONG = ("operator:wrong", "operator:", ":a-long-secret-of-the-operator", f"{AUTH} ", AUTH.upper(), "")
FOREIGN = ("https://elsewhere.example", "null", "http://localhost:4200", "http://127.0.0.1:4200")
CHANGING = {"POST", "PUT", "PATCH", "DELETE"}


def walk(router):
    for route in router.routes:
        yield from walk(route.original_router) if hasattr(route, "original_router") else [route]


@pytest.fixture(scope="module")
def routes():
    """Return all methods and paths of the API, including those missing in its schema; WS for websockets."""
    from prefect.server.api.server import create_api_app  # three CPU seconds, which every test process would take

    app = create_api_app(ignore_cache=True)
    paths = [(route, re.sub(r":[a-z]+\}", "}", route.path)) for route in walk(app)]
    found = {(method, path) for route, path in paths for method in getattr(route, "methods", None) or ("WS",)}
    described = {(verb.upper(), path) for path, verbs in app.openapi()["paths"].items() for verb in verbs}
    assert described <= found and len(described) > 150
    return found


def filled(path):
    return re.sub(r"\{[^}]*\}", "00000000-0000-4000-8000-000000000000", path)


@pytest.fixture(scope="module", params=["hardened", "served"])
def server(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def api(server):
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client


@pytest.fixture
def csrf(api):
    """Return the CSRF headers of a logged-in browser."""
    answer = api.get("/api/csrf-token", params={"client": "tests"}, auth=BASIC).raise_for_status()
    return {"Prefect-Csrf-Client": "tests", "Prefect-Csrf-Token": answer.json()["token"]}


def test_a_wrong_password_is_refused_with_the_file_that_names_it(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)
    told = Path("prefect.toml")
    answers = {
        f'auth_string = "{AUTH}"': None,
        'auth_string = "operator:wrong"': f"it refuses api.auth_string in {tmp_path}/prefect.toml (status 401); set",
        "": f"api.url in {tmp_path}/prefect.toml is {server.url}/api: it asks for an auth string: set PREFECT_API_AUTH",
    }
    for line, answer in answers.items():
        told.write_text(f'[api]\nurl = "{server.url}/api"\n{line}\n')
        refresh_global_settings_context()
        with nullcontext() if answer is None else pytest.raises(BadInput, match=re.escape(answer)):
            assert require_configured_api().url == f"{server.url}/api"
    (tmp_path / "evolve-auth").touch()
    advice = f"=user:password (evolve serve keeps its own in {tmp_path}/evolve-auth)"
    with monkeypatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path))
        with pytest.raises(BadInput, match=re.escape(advice)):
            require_configured_api()
    told.unlink()
    refresh_global_settings_context()


def test_every_route_refuses_requests_without_the_auth_string(server, routes, csrf):
    asked = sorted(route for route in routes - PROBES if route[0] != "WS")
    wrong = httpx.BasicAuth("operator", "wrong")

    async def statuses(**options):
        async with httpx.AsyncClient(base_url=f"{server.url}/api", timeout=120, **options) as client:
            answers = await asyncio.gather(*(client.request(method, filled(path)) for method, path in asked))
        return {route: answer.status_code for route, answer in zip(asked, answers, strict=True)}

    refusals = dict.fromkeys(asked, 401)
    assert asyncio.run(statuses(headers=csrf)) == refusals
    assert asyncio.run(statuses(headers=csrf, auth=wrong)) == refusals
    without_token = asyncio.run(statuses())
    assert without_token == {route: 403 if route[0] in CHANGING else 401 for route in asked}


def test_only_health_checks_need_no_password(api, routes):
    for method, path in PROBES:
        assert (method, path) in routes
        assert api.request(method, f"/api{path}").json() is True or path == "/ready"
    for path in ("/api/health/", "/api//health", "/api/variables/name/health", "/api/HEALTH"):
        assert api.get(path).status_code in (307, 401), path
        assert api.get(path, follow_redirects=True).text in ("true", '{"exception_message":"Unauthorized"}')


@pytest.mark.parametrize("auth", WRONG)
def test_an_almost_right_auth_string_is_refused(api, auth):
    user, _, password = auth.partition(":")
    assert api.get("/api/version", auth=(user, password)).status_code == 401


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Bearer " + AUTH, AUTH, "Basic a b", "basic x"])
def test_a_strange_authorization_is_refused(api, header):
    assert api.get("/api/version", headers={"Authorization": header}).status_code == 401


def test_requests_that_read_need_only_the_auth_string(api, routes):
    read = [path for method, path in sorted(routes) if method == "GET" and "{" not in path]
    assert len(read) > 5
    refused = {
        path: status for path in read if (status := api.get(f"/api{path}", auth=BASIC).status_code) in (401, 403)
    }
    assert refused == {}


def test_websockets_refuse_clients_without_the_auth_string(server, routes):
    sockets = sorted(f"ws://127.0.0.1:{server.port}/api{filled(path)}" for verb, path in routes if verb == "WS")
    assert len(sockets) >= 5

    async def answer(address, token):
        async with websockets.connect(address, subprotocols=["prefect"]) as socket:
            await socket.send(json.dumps({"type": "auth", "token": token}))
            try:
                return json.loads(await socket.recv())["type"]
            except websockets.ConnectionClosed as closed:
                return closed.rcvd.code

    async def without_handshake(address):
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(address)
        return refused.value.response.status_code

    for address in sockets:
        assert [asyncio.run(answer(address, token)) for token in (None, "", "operator:wrong")] == [1008] * 3, address
        assert asyncio.run(answer(address, AUTH)) == "auth_success"
        assert asyncio.run(without_handshake(address)) == 403


def test_pages_before_the_login_contain_no_secrets(api):
    """The pages and the schema of the API contain no secrets."""
    settings = api.get("/ui-settings").json()
    assert settings["auth"] == "BASIC" and settings["csrf_enabled"] is True
    for path in ("/", "/ui-settings", "/docs", "/openapi.json"):
        answer = api.get(path, follow_redirects=True)
        assert answer.status_code == 200
        assert "long-secret" not in answer.text


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_foreign_origin_gets_no_cors_header(api, origin):
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for answer in (
        api.get("/api/health", headers={"Origin": origin}),
        api.get("/api/version", headers={"Origin": origin}, auth=BASIC),
        api.post("/api/flows/filter", json={}, headers={"Origin": origin}),
        api.options("/api/deployments/filter", headers={"Origin": origin, **asking}),
    ):
        assert "Access-Control-Allow-Origin" not in answer.headers, answer.request


def test_the_uis_own_origin_gets_a_cors_header(api, server):
    answer = api.get("/api/version", headers={"Origin": server.origin}, auth=BASIC)
    assert answer.headers["Access-Control-Allow-Origin"] == server.origin
    asking = {"Origin": server.origin, "Access-Control-Request-Method": "POST"}
    assert api.options("/api/flows/filter", headers=asking).status_code == 200


def test_a_change_needs_a_csrf_token(api, csrf):
    def change(headers):
        return api.post("/api/flows/filter", json={}, headers=headers, auth=BASIC).status_code

    assert change({}) == 403
    assert change(csrf | {"Prefect-Csrf-Token": "another"}) == 403
    assert change(csrf | {"Prefect-Csrf-Client": "another"}) == 403
    assert change(csrf) == 200


def test_prefects_own_client_knows_both(server):
    async def change():
        async with get_client() as client:
            return (await client.read_flow(await client.create_flow_from_name("hardened"))).name

    url = {PREFECT_API_URL: f"{server.url}/api"}
    with temporary_settings({**url, PREFECT_API_AUTH_STRING: AUTH}):
        assert asyncio.run(change()) == "hardened"
    with temporary_settings({**url, PREFECT_API_AUTH_STRING: "operator:wrong"}), pytest.raises(PrefectHTTPStatusError):
        asyncio.run(change())
