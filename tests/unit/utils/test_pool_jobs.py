"""What a pool can do about a job that goes on without its wrapper."""

import os
import subprocess
import sys
import time

import pytest

from utils import job_node, plans, pool_jobs

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups")

# starts another process, says which, and both go on
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
child.wait()
"""


def gone(pid):
    deadline = time.monotonic() + 20
    while job_node.process_start(pid) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_what_the_program_has_started_is_killed_with_it(tmp_path):
    sent = plans.Submission(tmp_path / ".jobs", "send-20260101T000000000000-0123456789", {})
    job = pool_jobs.Job("group", "exp", sent, 0, (3, 0, 1))
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, start_new_session=True
    ) as program:
        child = int(program.stdout.readline())
        start = job_node.process_start(program.pid)
        info = {"program": program.pid, "program_start": start}
        assert job_node.claim(sent.jobs_dir, 3, 0, 1, info)
        assert job.runs_on()
        job.kill()
    assert gone(program.pid) and gone(child)
    job.kill()  # nobody is there: nothing happens
    assert not job.runs_on()


def test_a_process_that_is_not_the_program_is_left_alone(tmp_path):
    """Its number was given anew to this very test."""
    sent = plans.Submission(tmp_path / ".jobs", "send-20260101T000000000000-0123456789", {})
    job = pool_jobs.Job("group", "exp", sent, 0, (3, 0, 1))
    info = {"program": os.getpid(), "program_start": 1}
    assert job_node.claim(sent.jobs_dir, 3, 0, 1, info)
    job.kill()
    assert not job.runs_on()


def test_a_part_has_a_name_of_its_own(tmp_path):
    sent = plans.Submission(tmp_path / ".jobs", "send-20260101T000000000000-0123456789", {})
    names = [pool_jobs.Job("group", "exp", sent, 0, (3, part, 1)).name for part in (0, 2)]
    assert names == ["group/exp:3", "group/exp:3 part 2"]
