"""The first process of a container ends after the command and all processes that it leaves behind."""

import signal
import subprocess
import sys
import time

import pytest

from tests.services import wait_for

FIRST = [sys.executable, "-m", "deployments.container_init"]


def test_processes_that_the_command_leaves_behind_may_finish(tmp_path):
    command = "setsid sh -c 'sleep 2; echo said > said' & exit 3"
    assert subprocess.run([*FIRST, "sh", "-c", command], cwd=tmp_path).returncode == 3
    assert (tmp_path / "said").read_text() == "said\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_is_stopped_and_its_guardian_is_waited_for(tmp_path, number):
    command = (
        "import signal, subprocess, sys, time\n"
        "def end(*_):\n"
        "    subprocess.Popen(['sh', '-c', 'sleep 2; echo said > said'], start_new_session=True)\n"
        "    sys.exit(5)\n"
        "signal.signal(signal.SIGTERM, end); signal.signal(signal.SIGINT, end)\n"
        "open('ready', 'w').close()\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([*FIRST, sys.executable, "-c", command], cwd=tmp_path)
    wait_for((tmp_path / "ready").exists)
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(120) == 5
    assert time.monotonic() - began >= 2
    assert (tmp_path / "said").exists()


def test_the_exit_code_of_a_killed_command_is_128_plus_the_signal(tmp_path):
    assert subprocess.run([*FIRST, "sh", "-c", "kill -9 $$"]).returncode == 128 + 9
