"""What is done under Windows, as far as another system can tell."""

import io
import os
import signal
import subprocess
import sys
import time

import pytest

from utils import job_node, plans, pool, pool_jobs, run_actions, states, windows
from utils.known_runs import Known


@pytest.fixture
def job(tmp_path):
    jobs_dir = tmp_path / "exp" / ".jobs"
    sent = plans.send(jobs_dir, [{"run": 3}], [(3, 0, 1)], {})
    return pool_jobs.Job("group", "exp", sent, 0, (3, 0, 1))


@pytest.fixture
def ended(monkeypatch):
    """Processes that were ended by force, by their numbers."""
    found = []
    monkeypatch.setattr(windows, "end", found.append)
    return found


def test_a_process_is_ended_with_all_that_it_has_started():
    assert windows.end_command(4711) == ["taskkill", "/T", "/F", "/PID", "4711"]
    assert windows.start_options() == {"creationflags": 0x200}


def test_the_end_of_a_process_needs_no_more_than_the_command(monkeypatch):
    calls = []
    monkeypatch.setattr(windows.subprocess, "run", lambda words, **_: calls.append(words))
    windows.end(12)
    assert calls == [["taskkill", "/T", "/F", "/PID", "12"]]
    monkeypatch.undo()
    windows.end(12)  # the command is not there: nothing can be ended, and nothing breaks


def own_claim(job, program):
    jobs_dir = job.submission.jobs_dir
    job_node.claim(jobs_dir, *job.place, {"token": job.submission.token})
    path = job_node.state_file(jobs_dir, *job.place, "claim")
    held = {"program": program, "program_start": job_node.process_start(program)}
    job_node.write_json(path, {**job_node.read_json(path), **held})


def test_who_ends_a_run_records_it(job, ended):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        own_claim(job, program.pid)
        windows.cancel(job.submission.jobs_dir, job.place, job.submission.token)
        assert ended == [program.pid]
        program.communicate(b"\n")
    record = job.record()
    assert (record["state"], record["token"]) == ("cancelled", job.submission.token)
    assert record["reason"] == "stopped by the user"


def test_a_run_that_was_not_claimed_yet_is_kept_from_it(job, ended):
    windows.cancel(job.submission.jobs_dir, job.place, job.submission.token)
    assert (job.record()["state"], job.record()["token"]) == ("cancelled", job.submission.token)
    assert not job_node.claim(job.submission.jobs_dir, *job.place, {"token": "other"})
    assert ended == []


def test_a_run_that_has_just_ended_keeps_its_record(job, ended):
    jobs_dir = job.submission.jobs_dir
    job_node.claim(jobs_dir, *job.place, {"token": job.submission.token})
    job_node.record(jobs_dir, *job.place, "done", {"token": job.submission.token})
    windows.cancel(jobs_dir, job.place, job.submission.token)
    assert job.record()["state"] == "done"


def test_a_program_is_started_waited_for_and_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(windows, "start_options", dict)
    monkeypatch.setattr(windows, "end", lambda pid: os.kill(pid, signal.SIGKILL))
    with open(tmp_path / "o", "wb") as output, open(tmp_path / "e", "wb") as errors:
        command = [
            sys.executable,
            "-c",
            "import os; print(os.environ['WORD'])\nraise SystemExit(3)",
        ]
        program = windows.Program(command, {**os.environ, "WORD": "a b"}, output, errors)
        assert program.wait().status == 3
        assert program.has_ended()
        program.send_signal(signal.SIGTERM)  # nothing is there any more
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        stopped = windows.Program(command, dict(os.environ), output, errors)
        assert not stopped.has_ended()
        begin = time.monotonic()
        stopped.send_signal(signal.SIGTERM)
        assert stopped.wait().status == -signal.SIGKILL
        assert time.monotonic() - begin < 30
    assert (tmp_path / "o").read_text() == "a b\n"


def test_a_status_is_never_taken_for_a_signal():
    class Crashed:
        def wait(self):
            return 0xC0000005

    program = windows.Program.__new__(windows.Program)
    program._process = Crashed()
    assert program.wait().status == 1


class Process:
    """A wrapper that runs until it is ended."""

    pid, returncode = 99, None

    def poll(self):
        return self.returncode


def test_a_pool_stops_its_wrappers_by_force(job, ended, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(job_node, "own_process", lambda: {"host": "h", "machine": "m", "pid": 1})
    monkeypatch.setattr(job_node, "process_start", lambda pid: None)
    monkeypatch.setattr(job_node, "machine", lambda: "m")
    worker = pool.Worker(job, Process(), 0, 0.0)
    worker.stop()
    assert ended == [99]
    worker.process.returncode = 1

    class Line:
        def message(self, text):
            raise AssertionError(text)

    stopped = pool.Pool([], [{}], Line())
    stopped.running, stopped.outcome.signal = [worker], signal.SIGINT
    stopped._collect()
    assert [end.state for end in stopped.outcome.ended] == ["cancelled"]


def test_the_command_line_of_a_wrapper_names_no_parent(job, monkeypatch):
    started = []

    class Popen(Process):
        def __init__(self, words, **options):
            started.append((words, options))

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(pool.subprocess, "Popen", Popen)
    waiting = pool.Pool([job], [{}], io.StringIO())
    waiting._start(job)
    ((words, options),) = started
    # a virtual environment's Python is another process there than the one that was started
    assert words[-3:] == [str(job.submission.jobs_dir), job.submission.token, "0"]
    assert options["creationflags"] == 0x200
    assert "start_new_session" not in options


def test_runs_are_cancelled_by_force(job, ended, monkeypatch, capsys):
    jobs_dir = job.submission.jobs_dir
    monkeypatch.setattr(job_node, "machine", lambda: "m")
    monkeypatch.setattr(job_node, "process_start", lambda pid: 1)
    job_node.claim(jobs_dir, *job.place, {"token": job.submission.token})
    monkeypatch.setattr(run_actions.paths, "jobs_dir", lambda *_: jobs_dir)
    known = Known("group", "exp", {3: states.RunState(3, "running", 1)})
    monkeypatch.setattr(sys, "platform", "win32")
    assert run_actions.cancel([known]) == 0
    assert job_node.latest(jobs_dir, 3) == (1, "cancelled")
    assert capsys.readouterr().out == "group/exp:3 cancelled\n"
