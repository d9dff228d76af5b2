import json
import signal
import socket
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


@pytest.fixture
def task(jobs_dir, tmp_path):
    """Write a program, send it as run 7, and return the wrapper's command."""

    def prepare(program, attempt=1, **entry):
        script = tmp_path / "program.py"
        script.write_text(program)
        engine = entry.pop("engine", None)
        planned = {"run": 7, "script": str(script), "argv": entry.pop("argv", []), **entry}
        about = {
            "python": sys.executable,
            "environment": {"FROM_SUBMISSION": "yes"},
            "run_folder": str(tmp_path / "logs" / "expx"),
            **({"engine": engine} if engine else {}),
        }
        sent = plans.send(jobs_dir, [planned], [(7, 0, attempt)], about)
        return [sys.executable, "-I", "-S", str(WRAPPER), str(jobs_dir), sent.token, "0"]

    return prepare


def record_of(jobs_dir, attempt=1):
    kinds = job_node.attempts(jobs_dir, 7)[attempt]
    (kind,) = kinds - {"claim"}
    return job_node.read_json(job_node.state_file(jobs_dir, 7, 0, attempt, kind))


def program_of(jobs_dir):
    path = job_node.state_file(jobs_dir, 7, 0, 1, "claim")
    wait_until(lambda: "program" in job_node.read_json(path), "the start of the program")
    return job_node.read_json(path)["program"]


@pytest.mark.parametrize(
    ("program", "status", "state", "reason"),
    [
        ("pass", 0, "done", ""),
        ("raise SystemExit(3)", 3, "done", "some repetitions diverged"),
        ("raise ValueError('no')", 1, "failed", "ValueError: no"),
        ("raise ValueError('no\\nluck')", 1, "failed", "ValueError: no"),
        ("raise SystemExit(5)", 5, "failed", "exit status 5, and nothing in the error log"),
        ("raise SystemExit(99)", 1, "failed", "exit status 99, and nothing in the error log"),
        ("import os; os.kill(os.getpid(), 9)", 137, "failed", "killed by signal 9."),
    ],
)
def test_what_becomes_of_a_program(task, jobs_dir, program, status, state, reason):
    assert subprocess.run(task(program), timeout=DEADLINE_S).returncode == status
    record = record_of(jobs_dir)
    assert (record["state"], record["reason"]) == (state, reason)
    assert record["seconds"] >= 0
    assert record["memory_mb"] > 0
    assert record["host"]


def test_diverged_repetitions_are_counted(task, jobs_dir, tmp_path):
    for number, state in enumerate(["done", "diverged", "diverged"]):
        folder = tmp_path / "logs" / "expx7" / f"a__{number}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"state": state}))
    assert subprocess.run(task("raise SystemExit(3)"), timeout=DEADLINE_S).returncode == 3
    assert record_of(jobs_dir)["diverged"] == 2


@pytest.mark.parametrize(
    ("states", "selection", "status", "reason"),
    [
        ([], None, 0, "its program ended with status 0 and no repetition was begun"),
        (["done", "diverged", "done"], None, 3, ""),
        (["done", "running"], None, 0, "2 of 3 repetitions were not finished"),
        (["done", "diverged", "failed"], None, 3, "status 3 and 1 of 3 repetitions was not"),
        (["done", "done", "running"], "0-1", 0, ""),
        (["done", "running"], "1-2", 0, "2 of 2 repetitions were not finished"),
    ],
)
def test_a_good_status_is_believed_when_the_repetitions_say_so(
    task, jobs_dir, tmp_path, states, selection, status, reason
):
    for number, state in enumerate(states):
        folder = tmp_path / "logs" / "expx7" / f"a__{number}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"state": state, "declared": 3}))
    command = task(f"import os; os._exit({status})", key="k", repetitions=selection)
    assert subprocess.run(command, timeout=DEADLINE_S).returncode == (1 if reason else status)
    record = record_of(jobs_dir)
    assert record["state"] == ("failed" if reason else "done")
    assert reason in record["reason"]
    assert record["exit"] == status


def test_a_part_of_a_run_is_asked_for_its_own_repetitions(task, jobs_dir, tmp_path):
    for number, state in enumerate(["running", "done", "done"]):
        folder = tmp_path / "logs" / "expx7" / f"a__{number}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"state": state, "declared": 3}))
    wrapper = tasks.Wrapper(str(jobs_dir), task("pass")[-2])
    entry = {"run": 7, "parts": 2}  # of three repetitions the first, and the other two
    assert wrapper.outcome(0, entry, 2, hungry=False) == ("done", "")
    told = wrapper.outcome(0, entry, 1, hungry=False)[1]
    assert told.endswith("1 of 1 repetitions was not finished")


def test_arguments_and_environment_arrive_unchanged(task, jobs_dir):
    argv = ["", "a b", "'q\"", "$HOME `x` $(y)", "n\nl", ";rm -r", "é🧠", "--x=-1", "\udcff"]
    program = """
import json, os, sys
names = ("FROM_SUBMISSION", "PYTHONUNBUFFERED", "BENCH_JOB")
print(json.dumps([sys.argv[1:], [os.environ.get(name) for name in names], sys.stdin.read()]))
"""
    command = task(program, argv=argv)
    assert subprocess.run(command, timeout=DEADLINE_S).returncode == 0
    head, answer = (jobs_dir.parent / "o_7.log").read_text().splitlines()
    assert json.loads(answer) == [argv, ["yes", "1", command[-2]], ""]
    assert head.startswith("# ")
    assert "attempt 1: " in head


def test_an_attempt_is_run_once(task, jobs_dir):
    command = task("print('again')")
    assert subprocess.run(command, timeout=DEADLINE_S).returncode == 0
    before = record_of(jobs_dir)
    again = subprocess.run(command, timeout=DEADLINE_S, capture_output=True, text=True)
    assert (again.returncode, again.stdout) == (0, "run 7: done already; nothing started\n")
    assert record_of(jobs_dir) == before
    job_node.claim(jobs_dir, 7, 0, 2, {"token": "another"})
    other = subprocess.run(
        task("", attempt=2, again=True), timeout=DEADLINE_S, capture_output=True, text=True
    )
    assert other.returncode == 0
    assert "attempt 2 is taken by another process" in other.stdout
    assert "claim" in job_node.attempts(jobs_dir, 7)[2]


def test_a_done_run_is_run_again_when_told_so(task, jobs_dir):
    assert subprocess.run(task("pass"), timeout=DEADLINE_S).returncode == 0
    assert subprocess.run(task("pass", 2, again=True), timeout=DEADLINE_S).returncode == 0
    assert record_of(jobs_dir, attempt=2)["state"] == "done"


def test_a_run_whose_newest_attempt_is_not_done_is_tried_again(task, jobs_dir):
    """One that was taken for lost has ended well in the end, and the one behind it has not."""
    for attempt, kind in ((1, "done"), (2, "cancelled")):
        assert job_node.claim(jobs_dir, 7, 0, attempt, {})
        job_node.record(jobs_dir, 7, 0, attempt, kind, {})
    assert subprocess.run(task("pass", attempt=3), timeout=DEADLINE_S).returncode == 0
    assert record_of(jobs_dir, attempt=3)["state"] == "done"


def test_each_attempt_keeps_its_logs(task, jobs_dir):
    for attempt, status in ((1, 1), (2, 1), (3, 0)):
        program = f"import sys; sys.exit('bad luck {attempt}' if {status} else 0)"
        assert subprocess.run(task(program, attempt), timeout=DEADLINE_S).returncode == status
    folder = jobs_dir.parent
    assert (folder / "e_7.try1.log").read_text() == "bad luck 1\n"
    assert (folder / "e_7.try2.log").read_text() == "bad luck 2\n"
    assert (folder / "e_7.log").read_text() == ""
    heads = [(folder / f"o_7{name}.log").read_text() for name in (".try1", ".try2", "")]
    assert [f"attempt {n + 1}: " in head for n, head in enumerate(heads)] == [True] * 3


def test_a_removed_run_is_not_started(task, jobs_dir):
    command = task("pass")
    sent = plans.submissions(jobs_dir)[0]
    plans.write_tasks(sent, [None])
    ended = subprocess.run(command, timeout=DEADLINE_S, capture_output=True, text=True)
    assert ended.returncode == 0
    assert "removed" in ended.stdout
    assert job_node.attempts(jobs_dir, 7) == {}


def test_a_program_that_is_not_there_has_failed(task, jobs_dir):
    command = task("pass")
    path = jobs_dir / f"{plans.submissions(jobs_dir)[0].stem}.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "python": "/no/such/python"}))
    assert subprocess.run(command, timeout=DEADLINE_S).returncode == 1
    assert record_of(jobs_dir)["state"] == "failed"
    assert "/no/such/python" in record_of(jobs_dir)["reason"]


def test_an_argument_that_cannot_be_passed_on_is_a_failure(task, jobs_dir):
    ended = subprocess.run(task("pass", argv=["--text=a\0b"]), timeout=DEADLINE_S)
    assert ended.returncode == 1
    assert record_of(jobs_dir)["reason"] == "embedded null byte"


def test_without_a_record_the_exit_status_is_1(task, jobs_dir, monkeypatch, capsys):
    command = task("pass")
    waiting = tasks.Wrapper(str(jobs_dir), command[-2])

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(job_node, "record", full)
    monkeypatch.setattr(tasks.Wrapper, "supervise", lambda *_: tasks.Ended(0, 1))
    assert waiting.run(0) == 1
    assert "cannot be written" in capsys.readouterr().out


def test_a_wrapper_with_a_run_that_counts_as_lost_takes_no_more(task, jobs_dir, monkeypatch):
    waiting = tasks.Wrapper(str(jobs_dir), task("pass")[-2], together=True)

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(job_node, "record", full)
    monkeypatch.setattr(tasks.Wrapper, "supervise", lambda *_: tasks.Ended(0, 1))
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(b"0\n")
        with theirs:
            assert waiting.take_turns(theirs) == 1
        assert ours.recv(64) == b""


def test_a_shared_program_is_that_of_the_runs_script(task, jobs_dir, monkeypatch):
    wrapper = tasks.Wrapper(str(jobs_dir), task("pass")[-2], together=True)
    started = []

    class Shared(tasks.SharedProgram):
        def __init__(self, command, *_):
            self.ended, self.said_goodbye = False, False
            started.append((command[-1], self))

        def has_ended(self):
            return self.ended

        def dismiss(self):
            self.said_goodbye = True

    monkeypatch.setattr(tasks, "SharedProgram", Shared)
    for script in ("a.py", "a.py", "b.py"):
        wrapper.prepare(["python", script], [], None, None)
    assert [(script, program.said_goodbye) for script, program in started] == [
        ("a.py", True),
        ("b.py", False),
    ]
    started[-1][1].ended = True
    wrapper.prepare(["python", "b.py"], [], None, None)
    assert [script for script, _ in started] == ["a.py", "b.py", "b.py"]


def test_an_unknown_submission_is_named(jobs_dir):
    command = [sys.executable, "-I", "-S", str(WRAPPER), str(jobs_dir), "0123456789", "0"]
    ended = subprocess.run(command, timeout=DEADLINE_S, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "no submission 0123456789" in ended.stdout
    assert "Traceback" not in ended.stderr


def test_signs_in_the_name_of_a_folder_are_nothing_but_signs(tmp_path):
    folder = tmp_path / "old [1-9]*?" / "job_logs" / "group" / "exp" / ".jobs"
    sent = plans.send(folder, [{"run": 7}], [(7, 0, 1)], {})
    assert tasks.Wrapper(str(folder), sent.token).tasks_path == str(sent.tasks_file)


def test_a_stopped_program_may_finish_its_chunk(task, jobs_dir):
    program = """
import signal, sys, time
def stop(number, frame):
    print("checkpoint")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
time.sleep(60)
"""
    wrapper = subprocess.Popen(task(program))
    program_of(jobs_dir)
    time.sleep(0.5)
    wrapper.send_signal(signal.SIGINT)
    assert wrapper.wait(DEADLINE_S) == 143
    record = record_of(jobs_dir)
    assert (record["state"], record["reason"]) == ("cancelled", "stopped by SIGINT")
    assert "checkpoint" in (jobs_dir.parent / "o_7.log").read_text()


def test_a_stop_before_the_program_starts_none(task, jobs_dir, monkeypatch):
    wrapper = tasks.Wrapper(str(jobs_dir), task("pass")[-2])
    wrapper.stopped_by = signal.SIGTERM
    monkeypatch.setattr(wrapper, "prepare", lambda *_: pytest.fail("a program was started"))
    assert wrapper.run(0) == 143
    assert record_of(jobs_dir)["state"] == "cancelled"


def test_a_stop_while_the_program_is_being_started_reaches_it(task, jobs_dir, monkeypatch):
    wrapper = tasks.Wrapper(str(jobs_dir), task("import time; time.sleep(10)")[-2])
    prepare = wrapper.prepare

    def interrupted(*arguments):
        wrapper.stopped_by = signal.SIGTERM  # and there is no program yet that could be told
        return prepare(*arguments)

    monkeypatch.setattr(wrapper, "prepare", interrupted)
    assert wrapper.run(0) == 143
    assert record_of(jobs_dir)["state"] == "cancelled"


def test_a_further_signal_never_gives_more_time(task, jobs_dir, monkeypatch):
    """Whoever asks again, or a queue that has warned and then ends a task, does not wait longer."""
    engine = {"patience": 2.0, "job": [], "task": "TASK", "slots": "SLOTS", "threads": []}
    wrapper = tasks.Wrapper(str(jobs_dir), task("pass", engine=engine)[-2])
    left = [0.0]
    monkeypatch.setattr(signal, "getitimer", lambda _: (left[0], 0.0))
    monkeypatch.setattr(signal, "setitimer", lambda _, seconds: left.append(seconds))

    def asked(number, so_far):
        left[0] = so_far
        wrapper.stop(number)
        return left[-1]

    assert asked(signal.SIGINT, 0.0) == job_node.STOP_S
    assert asked(signal.SIGINT, 12.0) == 12.0
    assert asked(signal.SIGUSR2, 11.0) == 2.0
    assert asked(signal.SIGTERM, 0.5) == 0.5
    assert asked(signal.SIGUSR1, 0.25) == 0.25
    assert wrapper.stopped_by == signal.SIGINT


def test_a_stubborn_program_and_its_children_are_killed(task, jobs_dir):
    program = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
    engine = {"patience": 2.0, "job": [], "task": "TASK", "slots": "SLOTS", "threads": []}
    wrapper = subprocess.Popen(task(program, engine=engine))
    log = jobs_dir.parent / "o_7.log"
    wait_until(lambda: log.exists() and log.read_text().count("\n") == 2, "the child's start")
    child = int(log.read_text().split()[-1])
    begin = time.monotonic()
    wrapper.send_signal(signal.SIGUSR2)
    assert wrapper.wait(DEADLINE_S) == 137
    # a queue that has warned kills the wrapper soon, which has to write its record before
    assert 2.0 <= time.monotonic() - begin < job_node.STOP_S
    assert record_of(jobs_dir)["state"] == "cancelled"
    wait_until(lambda: job_node.process_start(child) is None, "the end of the child")


def test_what_a_program_leaves_behind_ends_with_it(task, jobs_dir):
    program = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid)
"""
    assert subprocess.run(task(program), timeout=DEADLINE_S).returncode == 0
    child = int((jobs_dir.parent / "o_7.log").read_text().split()[-1])
    wait_until(lambda: job_node.process_start(child) is None, "the end of the child")


def test_a_killed_wrapper_takes_its_program_along(task, jobs_dir):
    wrapper = subprocess.Popen(task("import time; time.sleep(600)"))
    program = program_of(jobs_dir)
    wrapper.kill()
    wrapper.wait()
    wait_until(lambda: job_node.process_start(program) is None, "the end of the program")
    assert job_node.latest(jobs_dir, 7) == (1, "lost")


def test_a_wrapper_ends_with_its_parent(task, jobs_dir):
    command = task("import time; time.sleep(600)")
    program = f"""
import os, subprocess, time
subprocess.Popen({command!r} + [str(os.getpid())])
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", program])
    running = program_of(jobs_dir)
    parent.kill()
    parent.wait()
    wait_until(lambda: job_node.latest(jobs_dir, 7)[1] == "cancelled", "the record")
    assert job_node.process_start(running) is None


def test_a_wrapper_without_its_parent_starts_nothing(task, jobs_dir):
    command = [*task("pass"), "1"]  # the kernel's first process stands for whoever adopts it
    assert subprocess.run(command, timeout=DEADLINE_S).returncode == 1
    assert job_node.attempts(jobs_dir, 7) == {}
