"""What a run shows in the Prefect UI: names, logs of its workers, progress, leaderboards and summary."""

import json
import re
import sqlite3
import uuid
from contextlib import closing

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient

from evo_core.config.run_config import RunConfig
from evo_core.evaluation.run_end import Ending
from evo_core.genome.genome import Genome
from evo_core.lineage.tree import Lineage
from evo_core.records.chain import Generation
from flows.observers.progress import Progress
from flows.runs import open_run
from flows.settings import Settings
from flows.views.leaderboard import SHOWN_MEMBERS, SHOWN_STEPS, Location, describe_leaderboard, leaderboard, summary
from flows.views.run_page import RunPage
from tasks.generation_tasks import record_view
from tasks.logs.redaction import concealed
from tasks.runs.record_store import RUN_ID
from tasks.views.artifacts import artifact_key
from tasks.views.phrases import written_genes
from tests.conftest import make_config
from tests.flows.conftest import Cli
from tests.lineages import learns_by_lr_and_gamma, make_commits, make_lineage_config, store_lineage
from tests.services import credentials

CONFIG = make_config(**{"seed": 11})
LINEAGE = make_lineage_config(4, 5)


@pytest.fixture(scope="module")
def api(prefect_url):
    with httpx.Client(base_url=prefect_url, auth=credentials(), timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def commits():
    return make_commits(LINEAGE, learns_by_lr_and_gamma)


def versions(api, key):
    """All versions of an artifact, the oldest first."""
    found = api.post("artifacts/filter", json={"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"}).json()
    return found[::-1]


def flow_runs(api, name):
    return api.post("flow_runs/filter", json={"flow_runs": {"name": {"any_": [name]}}, "sort": "START_TIME_ASC"}).json()


def lines(api, **ids):
    found = api.post("logs/filter", json={"logs": {k: {"any_": v} for k, v in ids.items()}, "sort": "TIMESTAMP_ASC"})
    return [log["message"] for log in found.json()]


@pytest.fixture(scope="module")
def shown(tmp_path_factory, prefect_environment):
    """A run that ended, and went on in another flow run with a higher budget."""
    pages = {
        "EVOLVE_STORE_PAGE": "http://localhost/runs?prefix={run}/",
        "EVOLVE_STUDY_PAGE": "http://localhost/dashboard/studies/{study}",
    }
    cli = Cli(tmp_path_factory.mktemp("shown"), prefect_environment | pages)
    began = cli("run", "--config", cli.config(CONFIG), "--run-id", "shown_run", "--workers", "1")
    assert began.stdout.count("generation   ") == 3  # a terminal sees what it saw before, and nothing of the log
    assert began.stderr == f"Prefect: {prefect_environment['PREFECT_API_URL']} (PREFECT_API_URL)\n"
    cli("resume", "shown_run", "--extend", "3072", "--workers", "1")
    return cli


@pytest.mark.slow
def test_the_log_of_a_task_says_what_its_worker_did(shown, api):
    first, second = flow_runs(api, "cartpole-v1 · pop 3 · seed 11")
    parents = api.post("task_runs/filter", json={"task_runs": {"flow_run_id": {"any_": [first["id"]]}}}).json()
    generations = [task["state"]["state_details"]["child_flow_run_id"] for task in parents]
    wanted = {"task_runs": {"flow_run_id": {"any_": [child for child in generations if child]}}}
    tasks = {task["name"]: task["id"] for task in api.post("task_runs/filter", json=wanted).json()}
    commit = shown.run_store("shown_run").commit(3)
    for member in commit.members:
        (said,) = [m for m in lines(api, task_run_id=[tasks[f"train g3/m{member.offspring.index}"]]) if "trained" in m]
        assert re.fullmatch(
            r"trained 256 steps, mean return [\d.]+; batch_size \d+, lr [\de.-]+; [\d.]+ s on \S+", said
        )
        (said,) = [m for m in lines(api, task_run_id=[tasks[f"evaluate g3/m{member.offspring.index}"]]) if "mean" in m]
        assert said.startswith(f"mean return {member.fitness:.1f} ± ")
    confirmed = [name for name in tasks if name.startswith("confirm")]
    assert any("fresh episodes" in line for line in lines(api, task_run_id=[tasks[name] for name in confirmed]))
    assert second["state"]["type"] == "COMPLETED"


@pytest.mark.slow
def test_the_log_of_the_flow_run_has_its_milestones(shown, api):
    first, second = flow_runs(api, "cartpole-v1 · pop 3 · seed 11")
    said = lines(api, flow_run_id=[first["id"]])
    assert "run shown_run starts: population 3, at most 3 generations of 768 steps, 768 for each line" in said
    assert len([line for line in said if line.startswith("generation   ")]) == 3
    assert len([line for line in said if line.startswith("confirmed g0")]) >= 1
    assert len([line for line in said if line.startswith("budget spent: delivers g0")]) == 1
    assert "run shown_run continues after generation 3: population 3" in "\n".join(
        lines(api, flow_run_id=[second["id"]])
    )


@pytest.mark.slow
def test_every_generation_is_one_version_of_the_leaderboard(shown, api):
    runs = [run["id"] for run in flow_runs(api, "cartpole-v1 · pop 3 · seed 11")]
    boards = versions(api, "leaderboard--shown-urun")
    assert [board["metadata_"]["generation"] for board in boards] == ["1", "2", "3", "4"]
    assert [board["flow_run_id"] for board in boards] == [runs[0]] * 3 + [runs[1]]
    assert all(board["task_run_id"] for board in boards)
    for board, commit in zip(boards, list(shown.run_store("shown_run").commits())[1:], strict=True):
        assert json.loads(board["data"]) == leaderboard(commit)
        assert board["description"].startswith(f"**Generation {commit.generation}** of at most ")
    bars = versions(api, "progress--shown-urun")
    assert [(bar["data"], bar["flow_run_id"]) for bar in bars] == [(100, runs[0]), (100, runs[1])]
    assert bars[1]["description"] == "3,072 of 3,072 training steps; generation 4 of at most 4"
    ends = versions(api, "summary--shown-urun")
    assert [end["flow_run_id"] for end in ends] == runs
    store = (shown.directory / "runs").as_uri()
    assert f"evolve export shown_run --store {store}" in ends[1]["data"]
    assert f"- store: [{store}/shown_run](<http://localhost/runs?prefix=shown_run/>)" in ends[1]["data"]
    study = f"sqlite:///{shown.directory / 'runs'}/study.db"
    with closing(sqlite3.connect(shown.directory / "runs/study.db")) as database:
        ((number,),) = database.execute("SELECT study_id FROM studies WHERE study_name = 'shown_run'")
    assert f"- study: [{study}](<http://localhost/dashboard/studies/{number}>)" in ends[1]["data"]


def show(run_id: str, commits: list[Generation], settings: Settings, requests: list[str]) -> None:
    """Bring the page of a stored run up to date in a flow run of its own."""
    ref = open_run(settings, LINEAGE, run_id)

    @flow(name="showing")
    def showing() -> None:
        with pytest.MonkeyPatch.context() as patch:
            ask = SyncPrefectClient.request
            patch.setattr(
                SyncPrefectClient, "request", lambda *a, **k: (requests.append(f"{a[1]} {a[2]}"), ask(*a, **k))[1]
            )
            page = RunPage(ref, settings)
            for commit in commits:
                record_view("the run's page", page, commit)
            elite = commits[-1].elite
            assert elite is not None
            page.finish(Ending("budget_spent", elite, None))
            page.close()

    showing()


@pytest.fixture
def stored(tmp_path, commits, prefect_url):
    """A stored run under an id that the server has not heard of, and settings full of secrets."""
    run_id = f"run-{uuid.uuid4()}"
    settings = Settings(
        store=str(tmp_path / "runs"), study="postgresql+psycopg2://me:hunter22@db.example/optuna?sslpassword=geheim"
    )
    store_lineage(settings.store_url, run_id, LINEAGE, commits)
    return run_id, settings


def test_a_generation_costs_two_requests_and_is_shown_once(stored, commits, api):
    run_id, settings = stored
    requests: list[str] = []
    show(run_id, commits[:4], settings, requests)
    assert requests.count("POST /artifacts/") == 1 + 3 + 1  # bar, leaderboards, summary
    assert requests.count("PATCH /artifacts/{id}") == 3
    assert requests.count("POST /artifacts/filter") == 3
    requests.clear()
    show(run_id, commits[3:4], settings, requests)
    assert requests.count("POST /artifacts/") == 1  # the other flow run's own bar
    show(run_id, commits[3:], settings, requests)
    boards = versions(api, artifact_key("leaderboard", run_id))
    assert [json.loads(board["data"]) for board in boards] == [leaderboard(commit) for commit in commits[1:]]
    assert len(versions(api, artifact_key("summary", run_id))) == 2


def test_another_run_of_the_same_id_gets_its_own_leaderboards(stored, commits, api, tmp_path):
    run_id, settings = stored
    show(run_id, commits[:3], settings, [])
    other = settings.model_copy(update={"store": str(tmp_path / "other")})
    config = make_lineage_config(4, 5, seed=3)
    store_lineage(other.store_url, run_id, config, make_commits(config, learns_by_lr_and_gamma))
    show(run_id, make_commits(config, learns_by_lr_and_gamma)[:2], other, [])
    boards = versions(api, artifact_key("leaderboard", run_id))
    assert [board["metadata_"]["generation"] for board in boards] == ["1", "2", "1"]


def test_no_secret_reaches_an_artifact(stored, commits, api, monkeypatch):
    run_id, settings = stored
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    show(run_id, commits, settings, [])
    kinds = ("progress", "leaderboard", "summary")
    text = json.dumps([versions(api, artifact_key(kind, run_id)) for kind in kinds])
    assert "- study: `postgresql+psycopg2://me:***@db.example/optuna?sslpassword=***`" in text
    assert not any(secret in text for secret in ("hunter22", "geheim", "wJalrXUtnFEMI"))


def test_a_summary_has_no_link_to_a_missing_study(stored, commits, api, tmp_path):
    run_id, settings = stored
    pages = {"store_page": "https://s3.example/{run}", "study_page": "https://optuna.example/dashboard/studies/{study}"}
    show(run_id, commits, settings.model_copy(update={"study": f"sqlite:///{tmp_path}/empty.db", **pages}), [])
    (text,) = [version["data"] for version in versions(api, artifact_key("summary", run_id))]
    assert f"- store: [{settings.store_url}/{run_id}](<https://s3.example/{run_id}>)" in text
    assert f"- study: `sqlite:///{tmp_path}/empty.db`" in text


@pytest.mark.parametrize("page", ["optuna.example", "file:///runs/{run}", "https://me:secret@optuna.example/"])
def test_a_page_setting_must_be_a_web_address_without_a_password(page):
    with pytest.raises(ValueError, match="expected an address that browsers open") as refused:
        Settings(study_page=page)
    assert "secret" not in str(refused.value)


def test_the_bar_moves_at_most_twice_in_a_generation(stored, commits, api, monkeypatch):
    run_id, settings = stored
    monkeypatch.setattr("flows.views.run_page.INTERVAL_S", 0.0)
    ref, seen = open_run(settings, LINEAGE, run_id), []

    @flow(name="advancing")
    def advancing() -> None:
        page = RunPage(ref, settings)
        for commit in commits[:3]:
            page.catch_up(commit)
            for steps in range(0, LINEAGE.generation_steps + 1, 32):
                page.advance(commit.train_steps + steps)
                bar = versions(api, artifact_key("progress", run_id))[0]
                seen.append((bar["data"], bar["description"]))

    advancing()
    assert len(dict.fromkeys(seen)) == 3 * 3
    assert seen[-1][1] == "2,752 of 5,120 training steps; generation 3 of at most 5"


def test_progress_counts_finished_generations_and_the_running_members(commits):
    told: list[int] = []
    progress = Progress(told.append)
    progress.began("a-run", commits[1])
    progress.generation_began(commits[1].offspring)
    progress.progressed("g0002/m01", 128)
    progress.progressed("g0001/m01", 64)  # late news of a generation that is over
    progress.trained(commits[2].members[0].training)
    progress.committed(commits[2])
    assert told == [1024 + 128, 1024 + 128 + 256]


def test_a_leaderboard_names_everyone_best_first_and_failures_last(commits):
    failing = make_commits(LINEAGE, lambda child, before, rng: None if child.index == 1 else float(child.index))
    commit = failing[1]
    rows = leaderboard(commit)
    assert [(row["rank"], row["member"], row["fitness"]) for row in rows] == [
        ("1", "g0001/m03", "3.0 ± 1.0"),
        ("2", "g0001/m02", "2.0 ± 1.0"),
        ("3", "g0001/m00", "0.000 ± 1.000"),
        ("–", "g0001/m01", "–"),
    ]
    assert rows[0]["status"].startswith("elite, parent of ")
    assert rows[3]["status"] == "failed: nan_loss at step 7"
    assert list(rows[0]) == [
        *("rank", "member", "fitness", "status", "parent", "mutation", "steps"),
        *sorted(LINEAGE.search),
        "network",
    ]
    assert rows[0]["network"] == (
        "encoder 1 layer (16 nodes), actor head 1 layer (16 nodes), critic head 1 layer (16 nodes), latent 16, ReLU"
    )
    assert describe_leaderboard(commit, LINEAGE) == (
        "**Generation 1** of at most 5 · elite `g0001/m03`: 3.0 ± 1.0 · best so far `g0001/m03`: 3.0 ± 1.0 · "
        "775 training steps · 1 of 4 failed"
    )


def test_a_summary_shows_the_line_of_descent_and_how_to_continue(commits):
    elite = commits[-1].elite
    lineage = Lineage(commits)
    places = [Location("store", "s3://b/runs/a-run", "https://s3.example/a-run"), Location("study", "sqlite:///x")]
    text = summary("a-run", Ending("target_reached", elite, None), CONFIG, lineage, places, "s3://b/runs")
    line = lineage.line(elite.uid)
    rows = [row for row in text.splitlines() if row.startswith("| g0")]
    told = [m for m in line if m.offspring.mutation.kind != "none" or m.uid in (line[0].uid, elite.uid)]
    assert [row.split(" | ")[0] for row in rows] == [f"| {member.uid}" for member in told]
    assert text.startswith("# a-run: target reached\n\nDelivered: " + elite.uid)
    assert elite.blob.sha256 in text
    assert text.endswith(
        "- store: [s3://b/runs/a-run](<https://s3.example/a-run>)\n- study: `sqlite:///x`\n\n```bash\n"
        "evolve report a-run --store s3://b/runs\nevolve watch a-run --store s3://b/runs\n"
        "evolve export a-run --store s3://b/runs\n```"
    )


def test_tables_of_large_populations_and_long_lines_are_truncated_with_a_note():
    config: RunConfig = make_lineage_config(SHOWN_MEMBERS + 2, 1)
    commit = make_commits(config, lambda child, before, rng: float(child.index))[1]
    assert len(leaderboard(commit)) == SHOWN_MEMBERS
    assert f"the best {SHOWN_MEMBERS} of {SHOWN_MEMBERS + 2}" in describe_leaderboard(commit, config)
    long = make_lineage_config(2, 120, **{"selection.elitism": False, "mutation": {"no_mutation": 0, "rl_hp": 1}})
    chain = make_commits(long, lambda child, before, rng: before + 1)
    text = summary("a-run", Ending("budget_spent", chain[-1].elite, None), long, Lineage(chain), [], "runs")
    assert text.count("\n| g0") == SHOWN_STEPS + 2
    assert re.search(r"The first \d+ mutations after the founder are left out.", text)


run_ids = st.text(alphabet="ab1-_u", min_size=1, max_size=6).filter(RUN_ID.fullmatch)


@given(st.sets(run_ids, min_size=2, max_size=20))
def test_every_run_id_has_a_key_of_its_own_that_prefect_takes(ids):
    keys = {artifact_key("summary", run_id) for run_id in ids}
    assert len(keys) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9-]+", key) for key in keys)


def test_whole_numbers_are_written_whole():
    genome = Genome.model_construct(hyperparameters={"learn_step": 131_072, "lr": 0.000123456})
    assert written_genes(genome) == {"learn_step": "131072", "lr": "0.0001235"}


def test_keys_of_plain_ids_are_the_ids_themselves():
    assert artifact_key("leaderboard", "lunarlander-v3-20261122-abcd") == "leaderboard-lunarlander-v3-20261122-abcd"
    assert artifact_key("progress", "a_b-c") == "progress--a-ub--c"


def test_redaction_keeps_text_that_is_not_secret(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "correct horse")
    monkeypatch.setenv("GITHUB_TOKEN", "1")  # too short to tell from any other text
    assert concealed("postgresql://me@host:5432/db and 1 correct horse") == "postgresql://me@host:5432/db and 1 ***"
    assert concealed("s3://AKIA:s/ec@bucket/x?k=v#top") == "s3://AKIA:***@bucket/x?k=***#top"
    assert concealed("file:///home/me@work/runs: 3 of 4 failed") == "file:///home/me@work/runs: 3 of 4 failed"
