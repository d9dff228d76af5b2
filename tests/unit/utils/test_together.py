"""Several runs in one program, through the wrapper that the launcher starts."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from utils import job_node, paths, plans, registry

DEADLINE_S = 60.0

EXPERIMENT = '''"""toy: shows what it finds in its process, and spoils it."""

import ctypes
import json
import logging
import os
import random
import signal
import sys
import threading
import time
import warnings

import numpy as np

from utils import experiment

DATA = []
random.seed(1)
np.random.seed(1)
met = None


def train(run, number: int = 0, act: str = "fine"):
    global met
    run.name = f"toy_{number}"
    print("program", os.getpid(), flush=True)
    print(json.dumps({
        "argv": sys.argv, "cwd": os.getcwd(), "environment": dict(os.environ),
        "path": sys.path, "mask": os.umask(0o022), "met": met,
        "random": random.random(), "numpy": np.random.random(),
        "alarm": signal.getitimer(signal.ITIMER_REAL),
        "signals": [str(signal.getsignal(n)).partition(" at ")[0] for n in (2, 10, 14, 15)],
        "loggers": [[len(logging.getLogger(name).handlers), logging.getLogger(name).level]
                    for name in ("", "mine")],
        "filters": len(warnings.filters), "error": np.geterr(), "input": sys.stdin.read(),
        "interpreter": sys.executable, "hook": sys.excepthook is sys.__excepthook__,
    }))
    for repetition in run.repetitions(2):
        if act == "spoil":
            met = number
            os.environ["BENCH_SPOILT"] = "yes"
            os.environ.pop("BENCH_RESULTS")
            os.chdir("/")
            os.umask(0o077)
            sys.path.insert(0, "/nowhere")
            sys.argv.append("--more")
            sys.excepthook = print
            sys.stdout = open(os.devnull, "w")
            np.seterr(all="ignore")
            warnings.simplefilter("ignore")
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            signal.setitimer(signal.ITIMER_REAL, 3600)
            for name in ("", "mine"):
                logging.getLogger(name).addHandler(logging.NullHandler())
                logging.getLogger(name).setLevel(5)
            os.environ["BENCH_RESULTS"] = RESULTS
            ctypes.CDLL(None).puts(b"from C")
        elif act == "raise":
            raise RuntimeError("no luck")
        elif act == "exit":
            sys.exit("enough")
        elif act == "die":
            os._exit(7)
        elif act == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif act == "wait":
            print("waits", flush=True)
            time.sleep(600)
        elif act == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print("waits", flush=True)
            time.sleep(600)
        elif act == "thread":
            threading.Thread(target=lambda: (time.sleep(3), print("late", flush=True))).start()
        elif act == "diverge":
            repetition.diverged(7)
            continue
        print("said by", number, flush=True)
        print("complained by", number, file=sys.stderr, flush=True)
        repetition.finish(score=number)


RESULTS = os.environ["BENCH_RESULTS"]
if __name__ == "__main__":
    experiment.main(train)
'''


def wait_until(condition, what):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.05)


def found_in(log):
    """What a run found in its process, by what it printed."""
    return json.loads(next(line for line in log.splitlines() if line[0] == "{"))


class Worker:
    """A wrapper that takes one line after the other, and what it leaves behind."""

    def __init__(self, script, acts):
        self.script = script
        self.jobs_dir = paths.jobs_dir("toys", "toy")
        entries = [
            {"run": run, "script": str(script), "argv": [f"--run={run}", "--resume", *argv]}
            for run, argv in enumerate(acts)
        ]
        about = {
            "python": sys.executable,
            "environment": {"FROM_SUBMISSION": "yes"},
            "run_folder": str(paths.logs_root() / "toys" / "toyx"),
        }
        places = [(run, 0, 1) for run in range(len(acts))]
        self.sent = plans.send(self.jobs_dir, entries, places, about)
        self.start()

    def start(self):
        self.channel, theirs = socket.socketpair()
        self.channel.settimeout(DEADLINE_S)
        with theirs:
            command = [*self.command, "-", str(os.getpid())]
            self.process = subprocess.Popen(command, stdin=theirs)

    @property
    def command(self):
        wrapper = [sys.executable, "-I", "-S", job_node.__file__]
        return [*wrapper, str(self.jobs_dir), self.sent.token]

    def tell(self, run):
        self.channel.sendall(b"%d\n" % run)

    def answer(self):
        """The answer to the last line: run and status; None when the wrapper has ended."""
        text = self.channel.recv(64)
        return [int(number) for number in text.split()] or None

    def do(self, *runs):
        for run in runs:
            self.tell(run)
            answered, status = self.answer()
            assert answered == run
            yield status

    def end(self):
        self.channel.close()
        return self.process.wait(DEADLINE_S)

    def record(self, run):
        (kind,) = job_node.attempts(self.jobs_dir, run)[1] - {"claim"}
        return job_node.read_json(job_node.state_file(self.jobs_dir, run, 0, 1, kind))

    def claim(self, run):
        return job_node.read_json(job_node.state_file(self.jobs_dir, run, 0, 1, "claim"))

    def log_path(self, run, stream="o"):
        return Path(job_node.log_file(self.jobs_dir, run, 0, stream))

    def log(self, run, stream="o"):
        path = self.log_path(run, stream)
        return path.read_text() if path.exists() else ""

    def outcomes(self, number):
        records = [self.record(run) for run in range(number)]
        return [(record["state"], record["reason"]) for record in records]

    def programs(self, number):
        return [self.claim(run)["program"] for run in range(number)]

    def ended(self):
        return all(job_node.process_start(p) is None for p in (self.process.pid, *self.programs(1)))


@pytest.fixture
def worker(bench_folders, tmp_path):
    folder = tmp_path / "experiments" / "toys"
    folder.mkdir(parents=True)
    script = folder / "toy.py"
    script.write_text(EXPERIMENT)
    workers = []

    def begin(*acts, text=EXPERIMENT):
        script.write_text(text)
        flags = [[f"--number={run}", f"--act={act}"] for run, act in enumerate(acts)]
        workers.append(Worker(script, flags))
        return workers[-1]

    yield begin
    for begun in workers:
        begun.channel.close()
        begun.process.terminate()
        begun.process.wait(DEADLINE_S)


def test_runs_share_a_program_and_nothing_else(worker):
    begun = worker("fine", "spoil", "fine", "diverge", "exit", "raise", "fine")
    assert list(begun.do(*range(7))) == [0, 0, 0, 3, 1, 1, 0]
    assert begun.end() == 0
    assert begun.outcomes(7) == [
        *[("done", "")] * 3,
        ("done", "some repetitions diverged"),
        ("failed", "SystemExit: enough"),
        ("failed", "RuntimeError: no luck"),
        ("done", ""),
    ]
    assert begun.record(3)["diverged"] == 2
    assert begun.record(0)["memory_mb"] > 10
    assert len(set(begun.programs(7))) == 1
    first = found_in(begun.log(0))
    assert first["argv"] == [str(begun.script), "--run=0", "--resume", "--number=0", "--act=fine"]
    assert first["input"] == ""
    for run in (2, 6):
        found = found_in(begun.log(run))
        assert found.pop("argv")[1:] == begun.sent.entries()[run]["argv"]
        assert found == {name: value for name, value in first.items() if name != "argv"}
    for run in (0, 2, 6):
        lines = begun.log(run).splitlines()
        assert lines[0].endswith(" ".join(begun.sent.entries()[run]["argv"]))
        assert [line for line in lines if line.startswith("said")] == [f"said by {run}"] * 2
        assert begun.log(run, "e").splitlines() == [f"complained by {run}"] * 2
    assert begun.log(1).rstrip().endswith("from C")
    assert "from C" not in begun.log(2)


def test_alone_a_run_finds_the_same(worker):
    begun = worker("spoil", "fine")
    assert list(begun.do(0, 1)) == [0, 0]
    alone = [*begun.command, "1"]
    plans.write_tasks(begun.sent, [(0, 0, 1), (1, 0, 2)])
    (begun.jobs_dir / "state" / "0000" / "1.0.1.done").unlink()
    assert subprocess.run(alone, timeout=DEADLINE_S).returncode == 0
    before = Path(begun.log_path(1).parent / "o_1.try1.log").read_text()
    assert found_in(begun.log(1)) == found_in(before)


@pytest.mark.parametrize(
    ("act", "status", "reason"),
    [
        ("die", 7, "exit status 7, and nothing in the error log"),
        ("killed", 137, "killed by signal 9."),
    ],
)
def test_a_program_that_dies_takes_one_run_along(worker, act, status, reason):
    begun = worker("fine", act, "fine", "fine")
    assert list(begun.do(*range(4))) == [0, status, 0, 0]
    assert begun.end() == 0
    assert begun.outcomes(4) == [("done", ""), ("failed", reason), ("done", ""), ("done", "")]
    first, second, third, fourth = begun.programs(4)
    assert first == second != third == fourth


def test_a_program_that_is_killed_from_outside_takes_one_run_along(worker):
    begun = worker("fine", "wait", "fine")
    assert list(begun.do(0)) == [0]
    begun.tell(1)
    wait_until(lambda: "waits" in begun.log(1), "the start")
    os.kill(begun.claim(1)["program"], signal.SIGKILL)
    assert begun.answer() == [1, 137]
    assert list(begun.do(2)) == [0]
    assert begun.outcomes(3)[1] == ("failed", "killed by signal 9.")


def test_a_program_that_ends_while_it_waits_is_replaced(worker):
    begun = worker("fine", "fine")
    assert list(begun.do(0)) == [0]
    os.kill(begun.claim(0)["program"], signal.SIGKILL)
    wait_until(lambda: job_node.process_start(begun.claim(0)["program"]) is None, "its end")
    assert list(begun.do(1)) == [0]


def test_a_thread_that_goes_on_ends_the_program_as_it_would_alone(worker):
    begun = worker("thread", "fine")
    assert list(begun.do(0, 1)) == [0, 0]
    assert begun.log(0).splitlines()[-1] == "late"
    first, second = begun.programs(2)
    assert first != second


def test_a_file_that_cannot_be_imported_fails_each_run(worker):
    begun = worker("fine", "fine", text="import no_such_module\n")
    assert list(begun.do(0, 1)) == [1, 1]
    reason = "ModuleNotFoundError: No module named 'no_such_module'"
    assert begun.outcomes(2) == [("failed", reason)] * 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_wrapper_stops_its_run_and_ends(worker, number):
    begun = worker("fine", "wait", "fine")
    assert list(begun.do(0)) == [0]
    begun.tell(1)
    wait_until(lambda: "waits" in begun.log(1), "the start")
    begun.process.send_signal(number)
    assert begun.answer() is None
    assert begun.process.wait(DEADLINE_S) == 128 + signal.SIGTERM
    assert begun.outcomes(2) == [("done", ""), ("cancelled", f"stopped by {number.name}")]
    assert "stopped by SIGTERM; --resume continues it" in begun.log(1, "e")
    assert job_node.latest(begun.jobs_dir, 2) == (0, "new")
    assert begun.ended()


def test_a_stopped_wrapper_that_waits_ends(worker):
    begun = worker("fine")
    assert list(begun.do(0)) == [0]
    begun.process.terminate()
    assert begun.answer() is None
    assert begun.process.wait(DEADLINE_S) == 128 + signal.SIGTERM
    assert begun.outcomes(1) == [("done", "")]
    assert begun.ended()


def test_a_stubborn_program_is_killed(worker):
    begun = worker("stubborn", "fine")
    begun.tell(0)
    wait_until(lambda: "waits" in begun.log(0), "the start")
    begun.process.send_signal(signal.SIGUSR2)  # patience of 5 s
    assert begun.answer() is None
    assert begun.process.wait(DEADLINE_S) == 137
    assert begun.outcomes(1) == [("cancelled", "stopped by SIGUSR2")]


def test_a_killed_wrapper_takes_its_program_along(worker):
    begun = worker("fine", "wait")
    assert list(begun.do(0)) == [0]
    begun.tell(1)
    wait_until(lambda: "waits" in begun.log(1), "the start")
    begun.process.kill()
    begun.process.wait()
    wait_until(begun.ended, "the end of the program")
    assert job_node.latest(begun.jobs_dir, 1) == (1, "lost")


def test_what_is_not_to_be_started_is_answered(worker):
    begun = worker("fine", "fine", "fine")
    job_node.claim(begun.jobs_dir, 1, 0, 1, {"token": "another"})
    plans.write_tasks(begun.sent, [(0, 0, 1), (1, 0, 1), None])
    assert list(begun.do(0, 0, 1, 2)) == [0, 0, 0, 0]
    assert [info["state"] for info in registry.repetitions("toys", "toy", 0)] == ["done"] * 2
    assert begun.log(1) == begun.log(2) == ""


def test_an_argument_that_cannot_be_passed_on_is_a_failure(worker):
    begun = worker("fine", "a\0b", "fine")
    assert list(begun.do(0, 1, 2)) == [0, 1, 0]
    assert begun.outcomes(2)[1] == ("failed", "embedded null byte")


def test_an_attempt_without_its_log_has_failed(worker):
    begun = worker("fine", "fine")
    begun.jobs_dir.parent.joinpath("o_0.log").mkdir()
    begun.jobs_dir.parent.joinpath("o_0.try0.log").write_text("")
    assert list(begun.do(0, 1)) == [1, 0]


def test_the_flag_is_for_the_launcher(bench_folders, tmp_path):
    script = tmp_path / "toy.py"
    script.write_text(EXPERIMENT)
    for flag, said in (("--together", "no flag --together"), ("--together=0", "launcher")):
        ended = subprocess.run(
            [sys.executable, str(script), flag],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        assert ended.returncode == 2
        assert said in ended.stderr
        assert "Traceback" not in ended.stderr
