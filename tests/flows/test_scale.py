"""Cost of orchestration: requests per member, rows, and memory, on the real stack. See benchmarks/scale.py."""

import os

import pytest

from benchmarks.scale import measure, null_config, servers
from tasks.runs.record_store import RECHECK_S

STORE_REQUESTS, API_REQUESTS = 6, 10
"""Most requests per member."""

GROWTH_MB = 50
"""Most memory that the flow's process may gain from generation 10 to 100, with 64 members."""


PROCESSES = 1 + (os.cpu_count() or 1)
"""Of one run that look for run.json: the flow's, and its workers'."""


def must_be_whole(measured):
    assert (measured.trials, measured.lost, measured.double) == (measured.total, 0, 0)
    assert (measured.task_runs, measured.task_runs_wrong) == (2 * measured.total, 0)
    assert measured.api_per_member <= API_REQUESTS
    assert measured.added_store_requests() <= STORE_REQUESTS
    # each process looks now and then, the flow in every generation too; and never once per member
    assert measured.looks <= PROCESSES * (2 + measured.wall_s / RECHECK_S) + 2 * measured.generations


@pytest.mark.slow
def test_a_member_costs_few_requests_is_recorded_once_everywhere_and_leaks_no_memory(
    tmp_path, prefect_url, prefect_environment
):
    measured = measure(tmp_path, null_config(24, 7), prefect_url, prefect_environment)
    must_be_whole(measured)
    assert measured.store_per_member <= STORE_REQUESTS  # with all that begins and ends a run
    # every task that stayed in memory would add 0.1 MB, 48 of them per generation: 19 MB
    assert measured.rss_mb[7] - measured.rss_mb[3] < GROWTH_MB / 4


@pytest.mark.campaign
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize(("members", "generations", "postgres"), [(64, 100, False), (256, 10, False), (1000, 3, True)])
def test_the_sizes_of_the_benchmark_complete(tmp_path, monkeypatch, members, generations, postgres):
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "")
    with servers(tmp_path, postgres) as (url, environment, study):
        measured = measure(tmp_path, null_config(members, generations), url, environment, study)
    must_be_whole(measured)
    assert measured.store_per_member <= STORE_REQUESTS
    if generations == 100:
        assert measured.rss_mb[100] - measured.rss_mb[10] < GROWTH_MB
