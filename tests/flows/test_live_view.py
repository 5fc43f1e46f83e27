"""A run that goes on elsewhere, followed in the terminal and in a browser, from its store alone."""

import gc
import io
import socket
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from evo_core.records.chain import record_hash
from evolve_rl import open_run
from flows.cli.app import _main
from flows.cli.live_view import follow_run
from flows.observers.observer import Observer
from flows.observers.store_follower import StoreFollower
from flows.observers.terminal import LiveObserver
from flows.report.followed_page import LOOK_S, FollowedReport, report_server
from flows.runs import open_ref
from tasks.runs.presence import hold_run, is_being_worked_on
from tests.flows.conftest import Cli
from tests.lineages import learns_by_lr_and_gamma, make_commits, make_lineage_config, store_confirmations, store_run
from tests.services import chromium, wait_for

CONFIG = make_lineage_config(4, 3)


@pytest.fixture(scope="module")
def commits():
    def rule(child, parent, rng):
        return None if child.uid == "g0002/m03" else learns_by_lr_and_gamma(child, parent, rng)

    return make_commits(CONFIG, rule)


@pytest.fixture
def run(here, commits):
    """A run that has just begun."""
    return store_run((here / "runs").as_uri(), "run", CONFIG, commits[:1])


class Heard(Observer):
    """Notes what it is told."""

    def __init__(self):
        self.said = []

    def began(self, run_id, head):
        self.said.append(("began", run_id, head.generation))

    def generation_began(self, offspring):
        self.said.append(("generation", offspring[0].generation, len(offspring)))

    def progressed(self, uid, steps):
        self.said.append(("progressed", uid))

    def trained(self, record):
        self.said.append(("trained", record.uid))

    def evaluated(self, member, detail=None):
        self.said.append(("evaluated", member.uid, member.failure.reason if member.failure else None))

    def committed(self, head):
        self.said.append(("committed", head.generation))

    def confirmed(self, record):
        self.said.append(("confirmed", record.uid))

    def ended(self, ending):
        self.said.append(("ended", ending.status))


def add_members(run, commit, count, *, evaluated):
    """Write the records of the first members of a generation."""
    for member in commit.members[:count]:
        place = (commit.generation, member.offspring.index)
        run.put_training(*place, member.training)
        if evaluated:
            run.put_member(*place, member)


def test_every_record_is_told_once_and_in_order(run, commits):
    heard = Heard()
    follower = StoreFollower(partial(open_ref, "run"), heard)
    assert follower.look() and heard.said == [("began", "run", 0), ("generation", 1, 4)]
    assert not follower.look()
    add_members(run, commits[1], 2, evaluated=False)
    assert follower.look() and not follower.look()
    uids = [member.uid for member in commits[1].members]
    assert heard.said[2:] == [
        *(said for uid in uids[:2] for said in (("progressed", uid), ("trained", uid))),
    ]
    add_members(run, commits[1], 4, evaluated=True)
    run.put_commit(commits[1])
    run.put_commit(commits[2])  # two at once
    del heard.said[:]
    assert follower.look()
    evaluated = [said[1] for said in heard.said if said[0] == "evaluated"]
    assert evaluated == [member.uid for commit in commits[1:3] for member in commit.members]
    assert ("evaluated", "g0002/m03", commits[2].members[3].failure.reason) in heard.said
    assert [said for said in heard.said if said[0] in ("committed", "generation")] == [
        *(("committed", 1), ("generation", 2, 4)),
        *(("committed", 2), ("generation", 3, 4)),
    ]
    run.put_commit(commits[3])
    assert follower.look() and follower.ending is None
    store_confirmations(run.store.url, "run", commits)
    assert follower.look() and follower.ending.status == "budget_spent"
    assert heard.said[-1] == ("ended", "budget_spent")
    assert len({said for said in heard.said if said[0] == "confirmed"}) == len(
        [said for said in heard.said if said[0] == "confirmed"]
    )


def test_a_run_is_joined_where_it_is(run, commits):
    for commit in commits[1:3]:
        run.put_commit(commit)
    add_members(run, commits[3], 1, evaluated=True)
    heard = Heard()
    StoreFollower(partial(open_ref, "run"), heard).look()
    assert heard.said == [
        *(("began", "run", 2), ("committed", 2), ("generation", 3, 4)),
        *(("trained", "g0003/m00"), ("evaluated", "g0003/m00", None)),
    ]


def test_the_table_shows_who_is_done_and_who_is_in_progress(run, commits):
    console = Console(file=io.StringIO(), width=140, force_terminal=True)
    observer = LiveObserver(console, CONFIG, "in progress")
    follower = StoreFollower(partial(open_ref, "run"), observer)
    follower.look()
    add_members(run, commits[1], 1, evaluated=True)
    run.put_training(1, 1, commits[1].members[1].training)
    follower.look()
    shown = Console(file=io.StringIO(), width=140)
    shown.print(observer)
    rows = [line for line in shown.file.getvalue().splitlines() if "m0" in line]
    assert [line.split()[-2] for line in rows] == ["done", "evaluating", "progress", "progress"]


def test_the_command_follows_a_run_to_its_end(run, commits, capsys):
    def work():
        with hold_run(run):
            for commit in commits[1:]:
                add_members(run, commit, 3, evaluated=True)
                run.put_commit(commit)
            store_confirmations(run.store.url, "run", commits)

    worker = threading.Thread(target=work)
    worker.start()
    assert follow_run("run", interval_s=0.02) == 0
    worker.join()
    said = capsys.readouterr().out
    for line in ("run run starts", "generation   1/3", "generation   3/3", "warning: g0002/m03", "confirmed"):
        assert line in said
    assert said.splitlines()[-1].startswith("budget spent; delivers ")
    assert "no process" not in said


def test_that_nobody_works_on_a_run_is_said_once(run, commits, capsys, monkeypatch):
    asked = threading.Event()

    def is_worked_on(run):
        found = is_being_worked_on(run)
        asked.set()
        return found

    def finish():
        asked.wait()
        for commit in commits[1:]:
            run.put_commit(commit)
        store_confirmations(run.store.url, "run", commits)

    monkeypatch.setattr("flows.cli.live_view.is_being_worked_on", is_worked_on)
    worker = threading.Thread(target=finish)
    worker.start()
    assert follow_run("run", interval_s=0.02, silence_s=0.1) == 0
    worker.join()
    said = capsys.readouterr().out
    assert said.count("no process that this machine knows of works on run; evolve resume run") == 1


FLAGS = (
    *("--member g0001/m01", "--deliver knee", "--video x.mp4", "--episodes 2", "--seed 3", "--dashboard"),
    *("--track csv", "--study sqlite:///x.db"),
)


@pytest.mark.parametrize("flag", FLAGS)
def test_flags_about_a_playing_agent_are_refused(flag, run, capsys):
    assert _main(["watch", "run", "--live", *flag.split()]) == 2
    assert f"{flag.split()[0]}: is about an agent that plays" in capsys.readouterr().err


def test_a_run_that_is_not_there_is_refused(run, capsys):
    for command in ("watch rum --live", "report rum --follow"):
        assert _main(command.split()) == 2
        assert "did you mean run?" in capsys.readouterr().err


def test_flags_of_the_page_are_refused_where_they_mean_nothing(run, capsys):
    for flags in ("--follow --output x", "--follow --json", "--follow --dashboard", "--port 8000", "--follow --port 0"):
        assert _main(["report", "run", *flags.split()]) == 2, flags
    said = capsys.readouterr().err
    assert "--output: --follow serves the page and writes nothing" in said and "--port: is that of --follow" in said


@contextmanager
def served(run_id="run"):
    """Serve the page of a run; yield its address."""
    server = report_server(FollowedReport(partial(open_ref, run_id)), 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return answer.read().decode(), answer.headers


def test_the_page_changes_with_the_run(run, commits, monkeypatch):
    monkeypatch.setattr("flows.report.followed_page.LOOK_S", 0.0)
    with served() as url:
        waiting, headers = get(f"{url}/")
        assert "has finished no generation yet" in waiting and 'fetch("version")' in waiting
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        before, _ = get(f"{url}/version")
        assert f'shown = "{before}"' in waiting
        run.put_commit(commits[1])
        run.put_commit(commits[2])
        page, _ = get(f"{url}/")
        after, _ = get(f"{url}/version")
        assert before != after and f'shown = "{after}"' in page
        assert "2 of 3" in page and "unfinished" in page and "family_tree" in page
        run.put_commit(commits[3])
        store_confirmations(run.store.url, "run", commits)
        ended, _ = get(f"{url}/")
        assert "budget spent" in ended and record_hash(commits[3]) not in ended


def test_drawing_a_run_again_keeps_nothing_of_the_last_drawing(run, commits):
    run.put_commit(commits[1])
    opened, page = open_run("runs", "run"), FollowedReport(partial(open_ref, "run"))
    assert opened.winner.uid and len(opened.members()) == 4 and b"1 of 3" in page.page()
    frozen = gc.get_freeze_count()
    run.put_commit(commits[2])
    page._looked = -LOOK_S
    assert b"2 of 3" in page.page() and len(opened.refresh().members()) == 8
    assert gc.get_freeze_count() <= frozen and gc.isenabled()


def test_a_browser_that_goes_away_prints_no_traceback(run, capsys):
    with served() as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close by a reset
        get(f"{url}/version")
        for thread in threading.enumerate():
            if "process_request_thread" in thread.name:
                thread.join()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example:1"])
def test_other_host_names_are_refused(run, host):
    with served() as url, pytest.raises(urllib.error.HTTPError) as caught:
        get(f"{url}/", Host=host)
    assert caught.value.code == 403
    caught.value.close()


def test_there_is_one_page_and_its_version(run):
    with served() as url:
        for path in ("/etc/passwd", "/../runs/run/run.json", "/run.json"):
            with pytest.raises(urllib.error.HTTPError) as caught:
                get(url + path)
            assert caught.value.code == 404
            caught.value.close()
        assert get(f"{url}/version?x=1")[0] == get(f"{url}/version")[0]


def test_a_port_that_is_taken_is_refused(run, capsys):
    with served() as url:
        assert _main(["report", "run", "--follow", "--port", url.rpartition(":")[2]]) == 2
    assert "choose another one, or leave it out" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:playwright")
def test_a_browser_reloads_the_page_of_a_command(here, run, commits):
    path = chromium()
    from playwright.sync_api import sync_playwright

    run.put_commit(commits[1])
    command = [str(Path(sys.executable).parent / "evolve"), "report", "run", "--follow"]
    process = subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().split()[0]
        with (
            sync_playwright() as playwright,
            closing(playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])) as browser,
        ):
            page, wrong = browser.new_page(), []
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
            page.goto(url)
            page.get_by_text("1 of 3").wait_for()
            page.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length >= 2")
            run.put_commit(commits[2])
            page.get_by_text("2 of 3").wait_for(timeout=60_000)
            assert wrong == []
        process.send_signal(2)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_real_run_is_followed_by_another_process(tmp_path, prefect_environment):
    cli = Cli(tmp_path, dict(prefect_environment))
    config = make_lineage_config(3, 3, **{"training.evo_steps": 1024, "training.max_steps": 3 * 3 * 1024})
    process = cli.start("run", "--config", cli.config(config), "--run-id", "real", "--workers", "1")
    wait_for(lambda: (tmp_path / "runs/real/gen/000000/COMMIT.json").exists(), timeout_s=240)
    watched = cli("watch", "real", "--live", timeout=240)
    process.communicate(timeout=240)
    assert process.returncode == 0
    assert "generation   3/3" in watched.stdout and "budget spent; delivers" in watched.stdout
