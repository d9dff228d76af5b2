import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from utils import job_node, plans, tasks

WRAPPER = Path(job_node.__file__)
DEADLINE_S = 60.0


def wait_until(condition, what):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.05)


@pytest.fixture
def jobs_dir(tmp_path):
    folder = tmp_path / "job_logs" / "group" / "exp" / ".jobs"
    folder.mkdir(parents=True)
    return folder


def ended_process():
    """A pid that nobody has any more, with the start that it had."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = job_node.process_start(process.pid)
    process.communicate(b"\n")
    return {"pid": process.pid, "pid_start": start}


def write_claim(jobs_dir, run, attempt=1, **content):
    path = job_node.state_file(jobs_dir, run, 0, attempt, "claim")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    job_node.write_json(path, {**job_node.own_process(), **content})
    return path


# --- names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("3.0.1.claim", ("3", 0, 1, "claim")),
        ("12345.4.12.done", ("12345", 4, 12, "done")),
        ("hand-0a1b2c.0.1.failed", ("hand-0a1b2c", 0, 1, "failed")),
        ("3.0.1.skipped", ("3", 0, 1, "skipped")),
        ("3.0.1.other", None),
        ("3.0.claim", None),
        (".3.0.1.claim.host.7", None),
        (".probe.host.7", None),
        ("3.x.1.claim", None),
        ("3.0.1.claim.tmp", None),
        ("", None),
    ],
)
def test_names_of_state_files(name, expected):
    assert job_node.parse_state_file(name) == expected


def test_runs_lie_in_folders_of_a_thousand(tmp_path):
    names = {
        0: "0000",
        999: "0000",
        1000: "0001",
        99_999: "0099",
        "hand-00ff00": "hand",
        "7": "0000",
    }
    for run, folder in names.items():
        assert job_node.state_dir(tmp_path, run) == str(tmp_path / "state" / folder)


# --- claims and records


def test_of_racing_processes_one_gets_each_claim(jobs_dir, tmp_path):
    program = f"""
import sys, time
sys.path.insert(0, {str(WRAPPER.parent)!r})
import job_node
while time.time() < float(sys.argv[1]):
    pass
print(*[run for run in range(40) if job_node.claim({str(jobs_dir)!r}, run, 0, 1, {{}})])
"""
    begin = str(time.time() + 1.0)
    racers = [
        subprocess.Popen([sys.executable, "-c", program, begin], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    won = [[int(word) for word in racer.communicate()[0].split()] for racer in racers]
    assert sorted(sum(won, [])) == list(range(40))


def test_a_claim_says_who_holds_it(jobs_dir):
    assert job_node.claim(jobs_dir, 5, 0, 1, {"token": "aa", "task": 4, "repetitions": "0-1"})
    held = job_node.read_json(job_node.state_file(jobs_dir, 5, 0, 1, "claim"))
    assert held["pid"] == os.getpid()
    assert held["pid_start"] == job_node.process_start(os.getpid())
    assert (held["token"], held["task"], held["repetitions"]) == ("aa", 4, "0-1")
    # a file server may report the own success as a failure; another token is somebody else
    assert job_node.claim(jobs_dir, 5, 0, 1, {"token": "aa", "task": 4})
    assert not job_node.claim(jobs_dir, 5, 0, 1, {"token": "bb", "task": 4})


def test_a_claim_that_cannot_be_written_is_taken_back(jobs_dir, monkeypatch):
    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(job_node.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        job_node.claim(jobs_dir, 5, 0, 1, {})
    assert job_node.attempts(jobs_dir, 5) == {}


def test_a_record_is_never_replaced(jobs_dir):
    job_node.record(jobs_dir, 5, 0, 1, "failed", {"reason": "first"})
    for state in job_node.FINAL:
        with pytest.raises(FileExistsError, match="recorded as failed"):
            job_node.record(jobs_dir, 5, 0, 1, state, {"reason": "second"})
    job_node.record(jobs_dir, 5, 0, 2, "done", {})
    job_node.record(jobs_dir, 5, 1, 1, "done", {})
    path = job_node.state_file(jobs_dir, 5, 0, 1, "failed")
    assert job_node.read_json(path) == {"reason": "first", "state": "failed"}
    assert job_node.attempts(jobs_dir, 5) == {1: {"failed"}, 2: {"done"}}


def test_a_record_has_one_of_the_final_states(jobs_dir):
    with pytest.raises(ValueError, match="skipped, timeout, memory, got 'claim'"):
        job_node.record(jobs_dir, 5, 0, 1, "claim", {})


@pytest.mark.parametrize(("failures", "written"), [(2, True), (3, False)])
def test_a_record_is_tried_three_times(jobs_dir, monkeypatch, failures, written):
    trials = []
    write = job_node.write_json

    def sometimes(path, content):
        trials.append(path)
        if len(trials) <= failures:
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(job_node, "write_json", sometimes)
    monkeypatch.setattr(job_node.time, "sleep", lambda _: None)
    if written:
        job_node.record(jobs_dir, 5, 0, 1, "done", {})
    else:
        with pytest.raises(OSError, match="No space"):
            job_node.record(jobs_dir, 5, 0, 1, "done", {})
    assert len(trials) == 3
    assert job_node.attempts(jobs_dir, 5) == ({1: {"done"}} if written else {})


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    job_node.write_json(str(path), {"a": 1})
    with pytest.raises(TypeError):
        job_node.write_json(str(path), {"a": object()})
    assert job_node.read_json(str(path)) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


# --- states


def test_states_of_one_run(jobs_dir):
    assert job_node.latest(jobs_dir, 1) == (0, "new")
    write_claim(jobs_dir, 1)
    assert job_node.latest(jobs_dir, 1) == (1, "running")
    job_node.record(jobs_dir, 1, 0, 1, "failed", {})
    assert job_node.latest(jobs_dir, 1) == (1, "failed")
    write_claim(jobs_dir, 1, attempt=2, **ended_process())
    assert job_node.latest(jobs_dir, 1) == (2, "lost")
    write_claim(jobs_dir, 1, attempt=10)
    assert job_node.latest(jobs_dir, 1) == (10, "running")
    assert job_node.newest_attempt(jobs_dir, 1) == 10
    assert job_node.latest(jobs_dir, 10) == (0, "new")
    assert job_node.latest(jobs_dir, 1, part=1) == (0, "new")


def test_a_pid_that_another_process_has_now_is_not_the_holder(jobs_dir):
    write_claim(jobs_dir, 1, pid_start=job_node.process_start(os.getpid()) + 1)
    assert job_node.latest(jobs_dir, 1) == (1, "lost")


def test_a_program_without_its_wrapper_still_runs(jobs_dir):
    own = job_node.own_process()
    write_claim(jobs_dir, 1, **ended_process(), program=own["pid"], program_start=own["pid_start"])
    assert job_node.latest(jobs_dir, 1) == (1, "running")


@pytest.mark.parametrize(("age_s", "state"), [(10, "running"), (80, "running"), (100, "lost")])
def test_elsewhere_the_heartbeat_counts(jobs_dir, age_s, state):
    path = write_claim(jobs_dir, 1, machine="another boot", host="far")
    moment = time.time() - age_s
    os.utime(path, (moment, moment))
    assert job_node.latest(jobs_dir, 1) == (1, state)
    assert job_node.silence(path) == pytest.approx(age_s, abs=5)


def test_without_the_right_to_write_the_margin_is_ten_times_wider(jobs_dir, monkeypatch):
    path = write_claim(jobs_dir, 1, machine="another boot")
    moment = time.time() - 500
    os.utime(path, (moment, moment))
    assert not job_node.alive(path)

    def refused(*_arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(job_node.os, "open", refused)
    assert job_node.silence(path) == pytest.approx(50, abs=1)
    assert job_node.alive(path)


def test_a_heartbeat_beats(jobs_dir):
    path = write_claim(jobs_dir, 1)
    os.utime(path, (0, 0))
    heartbeat = job_node.Heartbeat(path, seconds=0.02)
    wait_until(lambda: os.stat(path).st_mtime > 0, "a heartbeat")
    heartbeat.stop()
    os.utime(path, (0, 0))
    time.sleep(0.1)
    assert os.stat(path).st_mtime == 0


# --- plans and tasks


def test_a_plan_is_read_by_seeking(jobs_dir):
    runs = [3, 5, 17, 1000, 1001, 99_999]
    entries = [{"run": run, "text": "é\n" * run if run < 20 else str(run)} for run in runs]
    name = plans.write_plan(jobs_dir, reversed(entries))
    path = str(jobs_dir / name)
    assert [tasks.read_plan_line(path, run) for run in runs] == entries
    for missing in (0, 4, 18, 100_000):
        with pytest.raises(ValueError, match=f"no run {missing}"):
            tasks.read_plan_line(path, missing)
    index = (jobs_dir / name).with_suffix(".idx").read_bytes()
    begins = [int.from_bytes(index[8 * k : 8 * k + 8], "little") for k in range(len(runs))]
    content = (jobs_dir / name).read_bytes()
    assert [json.loads(content[begin:].splitlines()[0])["run"] for begin in begins] == runs


def test_a_task_line_is_read_by_seeking(tmp_path):
    path = tmp_path / "send.tasks"
    path.write_text("00000003 00 0001\n-------- -- ----\n00012345 02 0017\n")
    assert tasks.read_task(str(path), 0) == (3, 0, 1)
    assert tasks.read_task(str(path), 1) is None
    assert tasks.read_task(str(path), 2) == (12345, 2, 17)
    with pytest.raises(ValueError, match="no line 3"):
        tasks.read_task(str(path), 3)


# --- logs


def test_earlier_logs_are_kept(jobs_dir):
    for attempt in (1, 2, 3):
        for stream, kind in zip(tasks.open_logs(jobs_dir, 4, 0, attempt), "oe", strict=True):
            with stream:
                stream.write(f"{kind} of attempt {attempt}".encode())
    logs = {path.name: path.read_text() for path in jobs_dir.parent.glob("*.log")}
    assert logs == {
        f"{kind}_4{ending}.log": f"{kind} of attempt {attempt}"
        for kind in "oe"
        for ending, attempt in (("", 3), (".try1", 1), (".try2", 2))
    }
    assert job_node.log_file(jobs_dir, 4, 2, "e").endswith("/exp/e_4.part2.log")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"Traceback\nValueError: no\n\n", "ValueError: no"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"x" * 10_000, "x" * 500),
        (
            b"out of memory\nI0000 00:00:1795285446.119001   15513 a.cc:31] No GPU.\n",
            "out of memory",
        ),
        (
            b"WARNING: All log messages before absl::InitializeLog()\nI0000 00:00:1.5 3 b.cc:1] x",
            "",
        ),
    ],
)
def test_the_last_line_of_a_log(tmp_path, content, expected):
    path = tmp_path / "e.log"
    path.write_bytes(content)
    assert job_node.last_line(str(path)) == expected
    assert job_node.last_line(str(tmp_path / "none.log")) == ""
