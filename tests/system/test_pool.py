"""The pool with real processes: accidents, retries, shares of the machine, sessions, containers."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_checkout import DEADLINE_S, Checkout, wait_until

ACCIDENTS = '''"""moody: does what it is told, at its first start only where that would end it."""
import json
import os
import signal
import sys
import time

from utils import experiment

DATA = []


def train(run, number: int = 0, do: str = "nothing", wait: float = 0.0, text: str = ""):
    run.name = f"moody_{number}"
    for repetition in run.repetitions(1):
        log = repetition.log_dir / "starts"
        with open(log, "a") as stream:
            stream.write(f"{time.time()}\\n")
        first = len(log.read_text().split()) == 1
        names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BENCH_JOB")
        print(json.dumps({name: os.environ.get(name) for name in names}), flush=True)
        if do == "kill" and first:
            os.kill(os.getpid(), signal.SIGKILL)
        if do == "linger":  # when told to end, it takes its time
            signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1.0), os._exit(143)))
        if do == "stay":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if do == "raise":
            raise RuntimeError("no good")
        if do == "once" and not first:
            do = "nothing"
        time.sleep(0.0 if do == "linger" and not first else wait)
        repetition.finish(score=number)


if __name__ == "__main__":
    experiment.main(train)
'''

# stands in for an engine: runs the command behind the image, as the engine's client would
DOCKER = """#!{python}
import os, sys
with open({log!r}, "a") as stream:
    print(sys.argv[1:], file=stream)
words = sys.argv[1:]
if words[0] != "run":
    sys.exit(0)
behind = words[next(n for n, word in enumerate(words) if word.startswith("neuro-bench:")) + 1 :]
for name, value in zip(words, words[1:]):
    if name == "--env":
        os.environ.update([value.split("=", 1)])
os.execv({python!r}, [{python!r}, *behind[1:]])
"""


class Moody(Checkout):
    """A checkout whose experiment has accidents."""

    def __init__(self, folder):
        super().__init__(folder)
        (self.group / "toy.py").write_text(ACCIDENTS)

    def kinds(self, run):
        """Kinds of the files of each attempt of a run."""
        found = {}
        for path in (self.logs() / ".jobs" / "state").glob(f"*/{run}.0.*"):
            _, _, attempt, kind = path.name.split(".")
            found.setdefault(int(attempt), set()).add(kind)
        return dict(sorted(found.items()))

    def told(self, run):
        """What a run's program says about its variables."""
        return json.loads((self.logs() / f"o_{run}.log").read_text().splitlines()[2])

    def claim(self, run, attempt=1):
        path = self.logs() / ".jobs" / "state" / "0000" / f"{run}.0.{attempt}.claim"
        wait_until(lambda: path.exists() and "program" in path.read_text(), "the claim")
        return json.loads(path.read_text())


@pytest.fixture
def checkout(tmp_path):
    return Moody(tmp_path)


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# --- accidents


def test_a_killed_program_is_tried_again_on_demand(checkout):
    checkout.write_grid('zipped("toys", "toy", number=range(3), do=["kill", "nothing", "raise"])')
    alone = checkout.run("linux", "--set", "wait=0", "--as", "plain")
    assert alone.returncode == 1
    assert "killed by signal 9" in alone.stdout
    assert checkout.states("toy_plain") == {0: "failed", 1: "done", 2: "failed"}

    ended = checkout.run("linux", "--retries", "2")
    assert ended.returncode == 1
    assert "toys/toy:0 failed: killed by signal 9" in ended.stdout
    assert "is tried again (1 of 2)" in ended.stdout
    assert re.search(r"2/3 done in \S+ · 1 failed · 1 tried again\n", ended.stdout)
    assert checkout.kinds(0) == {1: {"claim", "failed"}, 2: {"claim", "done"}}
    assert checkout.kinds(2) == {1: {"claim", "failed"}}, "an error of its own is no accident"
    assert "attempt 1" in (checkout.logs() / "o_0.try1.log").read_text()
    assert "attempt 2" in (checkout.logs() / "o_0.log").read_text()
    listed = checkout.runs("list", "toys/toy").stdout
    assert "2 done · 1 failed" in listed
    assert checkout.run("linux", "--resume").stdout.startswith("toys/toy: 2 done; not started")


def test_a_killed_wrapper_is_followed_when_its_program_has_ended(checkout):
    checkout.write_grid('product("toys", "toy", number=[0], do=["linger"], wait=[60.0])')
    launcher = checkout.start("linux", "--retries", "1")
    held = checkout.claim(0)
    wait_until(lambda: checkout.starts(0) == [1], "the start")
    os.kill(held["pid"], signal.SIGKILL)
    wait_until(lambda: not lives(held["program"]), "the end of the program")
    ended = time.time()
    out, err = launcher.communicate(timeout=DEADLINE_S)
    assert launcher.returncode == 0, (out, err)
    assert "toys/toy:0 lost: its wrapper was killed by SIGKILL" in out
    assert checkout.kinds(0) == {1: {"claim"}, 2: {"claim", "done"}}
    (starts,) = (checkout.results / "logs/toys/toyx0").glob("*/starts")
    # the first of them took a second to end; nothing of the kernel's clock is finer than 50 ms
    assert float(starts.read_text().split()[1]) > ended - 0.5


def test_a_run_that_always_dies_is_tried_so_often_and_no_more(checkout):
    script = checkout.group / "toy.py"
    script.write_text(script.read_text().replace('== "kill" and first', '== "kill"'))
    checkout.write_grid('product("toys", "toy", number=[0], do=["kill"])')
    ended = checkout.run("linux", "--retries", "2")
    assert ended.returncode == 1
    assert checkout.kinds(0) == {n: {"claim", "failed"} for n in (1, 2, 3)}
    assert "0/1 done" in ended.stdout
    assert "1 failed · 2 tried again" in ended.stdout


def test_what_is_cancelled_is_not_tried_again(checkout):
    checkout.write_grid('product("toys", "toy", number=range(2), wait=[60.0])')
    launcher = checkout.start("linux", "--jobs", "1", "--retries", "3")
    wait_until(lambda: checkout.starts(0), "the start")
    assert checkout.runs("cancel", "toys/toy").returncode == 0
    launcher.communicate(timeout=DEADLINE_S)
    assert checkout.states() == {0: "cancelled", 1: "cancelled"}
    assert checkout.starts(1) == []


def test_a_few_failures_among_good_runs_stop_nothing(checkout):
    checkout.write_grid("""product("toys", "toy", number=range(20))
for run in RUNS[:14:2]:
    run.arguments["do"] = "raise\"""")
    ended = checkout.run("linux", "--jobs", "3")
    assert "13/20 done" in ended.stdout
    assert len(checkout.states()) == 20


def test_results_that_cannot_be_written_are_refused_before_anything_starts(checkout):
    checkout.write_grid('product("toys", "toy", number=range(2))')
    closed = checkout.results
    closed.mkdir()
    closed.chmod(0o555)
    if os.geteuid() == 0:  # who may write everywhere but there
        checkout.environment["BENCH_RESULTS"] = "/sys/results"
    for arguments in (["linux"], ["linux", "--detach"]):
        ended = checkout.run(*arguments)
        assert (ended.returncode, ended.stdout) == (1, ""), arguments
        assert "results cannot be written to" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
    assert list(closed.iterdir()) == []


def test_names_may_hold_anything(tmp_path):
    folder = tmp_path / "a 'b\" $HOME é 🧠 [x]*"
    folder.mkdir()
    checkout = Moody(folder)
    text = "a 'b\" $HOME `x` \\\\ é 🧠"
    checkout.write_grid(f'product("toys", "toy", number=range(2), text=[{text!r}])')
    ended = checkout.run("linux", "--detach")
    assert ended.returncode == 0, ended.stderr
    wait_until(lambda: list(checkout.states().values()) == ["done", "done"], "the end")
    head = (checkout.logs() / "o_0.log").read_text().splitlines()[0]
    assert "é 🧠" in head
    followed = re.search(r"tail -f (.*)", ended.stdout)[1]
    read = subprocess.run(
        ["bash", "-c", f"cat {followed}"], cwd=checkout.root, capture_output=True, text=True
    )
    assert "2 runs of toys/toy" in read.stdout


# --- shares of the machine


def test_each_worker_has_a_gpu_of_its_own(checkout):
    checkout.write_grid('product("toys", "toy", number=range(4), wait=[0.5])')
    checkout.environment["CUDA_VISIBLE_DEVICES"] = "0,1,2"
    ended = checkout.run("linux", "--gpus", "0,2", "--jobs", "2")
    assert ended.returncode == 0, ended.stderr
    told = [checkout.told(run)["CUDA_VISIBLE_DEVICES"] for run in range(4)]
    assert sorted(told[:2]) == ["0", "2"]
    assert sorted(told[2:]) == ["0", "2"]

    plain = checkout.run("linux", "--set", "wait=0", "--as", "plain")
    assert plain.returncode == 0
    assert '"CUDA_VISIBLE_DEVICES": "0,1,2"' in (checkout.logs("toy_plain") / "o_0.log").read_text()


def test_a_grid_that_needs_gpus_gets_them_or_a_sentence(checkout):
    checkout.write_grid('product("toys", "toy", number=range(3))')
    runner = checkout.group / "toy_runner.py"
    runner.write_text(runner.read_text().replace("main(RUNS)", "main(RUNS, gpus=2, threads=3)"))
    checkout.environment["CUDA_VISIBLE_DEVICES"] = ""
    for arguments in ([], ["--detach"], ["--gpus", "0"], ["--dry-run"]):
        refused = checkout.run("linux", *arguments)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith("this machine has no GPU")
        assert len(refused.stderr.splitlines()) == 1
    assert not checkout.results.exists()
    checkout.environment["CUDA_VISIBLE_DEVICES"] = "GPU-aa,GPU-bb,GPU-cc"
    few = checkout.run("linux", "--gpus", "GPU-bb")
    assert (few.returncode, "needs 2 GPUs and gets 1" in few.stderr) == (2, True)
    ended = checkout.run("linux")
    assert ended.returncode == 0, ended.stderr
    assert "3 runs of toys/toy, 1 at a time" in ended.stdout
    told = checkout.told(0)
    assert told["CUDA_VISIBLE_DEVICES"] == "GPU-aa,GPU-bb"
    assert (told["OMP_NUM_THREADS"], told["MKL_NUM_THREADS"]) == ("3", "3")
    without = checkout.run("linux", "--gpus", "none", "--set", "wait=0", "--as", "plain")
    assert without.returncode == 0
    assert '"CUDA_VISIBLE_DEVICES": ""' in (checkout.logs("toy_plain") / "o_2.log").read_text()


def test_more_threads_than_cores_are_pointed_out(checkout):
    checkout.write_grid('product("toys", "toy", number=range(2))')
    runner = checkout.group / "toy_runner.py"
    runner.write_text(runner.read_text().replace("main(RUNS)", "main(RUNS, threads=1000)"))
    ended = checkout.run("linux", "--jobs", "7")
    assert ended.returncode == 0
    assert ended.stderr.startswith("2 at a time with 1000 threads each share ")
    assert len(ended.stderr.splitlines()) == 1


# --- a session of its own


def test_detached_runs_go_on_and_are_cancelled(checkout):
    checkout.write_grid('product("toys", "toy", number=range(3), wait=[60.0])')
    begin = time.monotonic()
    detached = checkout.run("linux", "--jobs", "1", "--detach")
    assert detached.returncode == 0, detached.stderr
    assert time.monotonic() - begin < 30
    pid = int(re.search(r"process (\d+)", detached.stdout)[1])
    assert os.getsid(pid) == pid
    wait_until(lambda: checkout.starts(0), "the start")
    assert "1 running · 2 pending" in checkout.runs("list", "toys/toy").stdout
    again = checkout.run("linux", "--detach")
    assert again.stdout == "toys/toy: 1 running, 2 pending; not started again\n"
    stop = re.search(r"stop: +runs (.*)", detached.stdout)[1]
    assert checkout.runs(*stop.split()).returncode == 0
    wait_until(lambda: not lives(pid), "the end of the pool")
    assert checkout.states() == dict.fromkeys(range(3), "cancelled")
    assert checkout.programs() == []
    (log,) = (checkout.logs() / ".jobs").glob("pool-*.log")
    assert "3 runs of toys/toy, 1 at a time" in log.read_text()
    assert "0/3 done" in log.read_text()
    assert str(log.name) in detached.stdout
    assert checkout.runs("remove", "toys/toy", "--yes").returncode == 0
    assert not log.exists()


def test_detached_runs_end_like_others_and_hear_a_signal(checkout):
    checkout.write_grid('zipped("toys", "toy", number=range(2), do=["kill", "raise"])')
    first = checkout.run("linux", "--detach", "--retries", "1")
    assert first.returncode == 0
    wait_until(lambda: checkout.states() == {0: "done", 1: "failed"}, "the end")
    refused = checkout.run("linux", "--detach")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "Add --resume" in refused.stderr
    assert len(list((checkout.logs() / ".jobs").glob("pool-*.log"))) == 1

    checkout.write_grid('product("toys", "toy", first_run=5, number=range(2), wait=[60.0])')
    second = checkout.run("linux", "--detach", "--jobs", "1")
    pid = int(re.search(r"process (\d+)", second.stdout)[1])
    wait_until(lambda: checkout.starts(5), "the start")
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not lives(pid), "the end of the pool")
    assert checkout.states()[5] == "cancelled"
    assert "1 cancelled · 1 new" in checkout.runs("list", "toys/toy:5-6").stdout


def test_a_killed_detached_pool_leaves_nothing_running(checkout):
    checkout.write_grid('product("toys", "toy", number=range(2), wait=[60.0])')
    detached = checkout.run("linux", "--jobs", "1", "--detach")
    pid = int(re.search(r"process (\d+)", detached.stdout)[1])
    wait_until(lambda: checkout.starts(0), "the start")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: checkout.states() == {0: "cancelled"}, "the record")
    assert checkout.programs() == []
    assert "1 cancelled · 1 new" in checkout.runs("list", "toys/toy").stdout


# --- containers


@pytest.fixture
def docker(checkout, tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    log = tmp_path / "docker.log"
    (folder / "docker").write_text(DOCKER.format(python=sys.executable, log=str(log)))
    (folder / "docker").chmod(0o755)
    checkout.environment["PATH"] = f"{folder}:{checkout.environment['PATH']}"
    checkout.environment.pop("BENCH_ENGINE", None)
    checkout.results.mkdir()
    (tmp_path / "Data").mkdir()
    return log


def test_runs_go_through_the_container_engine(checkout, docker):
    checkout.write_grid('zipped("toys", "toy", number=range(2), text=["a b", "é\'"])')
    dry = checkout.run("docker", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    first, *_ = dry.stdout.splitlines()
    assert first.startswith("docker run --rm --init ")
    assert " neuro-bench:cpu python experiments/toys/toy.py --exp_folder=toys " in first
    assert first.endswith("'--text=a b'")
    ended = checkout.run("docker", "--retries", "1")
    assert ended.returncode == 0, ended.stderr
    assert checkout.states() == {0: "done", 1: "done"}
    (sent,) = (checkout.logs() / ".jobs").glob("send-*.json")
    about = json.loads(sent.read_text())
    assert about["environment_name"] == "docker"
    assert checkout.told(0)["BENCH_JOB"] == sent.stem.rpartition("-")[2]
    assert checkout.told(0)["OMP_NUM_THREADS"] == "1"


def test_a_container_ends_with_its_run(checkout, docker):
    checkout.write_grid('product("toys", "toy", number=range(2), wait=[60.0])')
    launcher = checkout.start("docker", "--jobs", "1")
    wait_until(lambda: checkout.starts(0), "the start")
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=DEADLINE_S)
    assert launcher.returncode == 130
    assert checkout.states() == {0: "cancelled"}
    calls = docker.read_text()
    name = re.search(r"--name=(bench-[0-9a-f]+-0)", calls)[1]
    assert f"['rm', '--force', '{name}']" in calls
    # in the same environment, without being asked
    script = checkout.group / "toy.py"
    script.write_text(script.read_text().replace("else wait)", "else 0.0)"))
    again = checkout.runs("retry", "--failed", "toys/toy")
    assert again.returncode == 0, again.stderr
    assert checkout.states() == {0: "done", 1: "done"}
    assert docker.read_text().count("'run'") == 3


def test_without_an_engine_one_sentence_says_so(checkout, tmp_path):
    checkout.write_grid('product("toys", "toy", number=range(2))')
    (tmp_path / "empty").mkdir()
    checkout.environment["PATH"] = str(tmp_path / "empty")
    for arguments in ([], ["--detach"]):
        refused = checkout.run("docker", *arguments)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "neither docker nor podman" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    assert not checkout.results.exists()
    for folder in (checkout.results, tmp_path / "Data"):
        folder.mkdir()
    assert checkout.run("docker", "--dry-run").stdout.startswith("docker run ")
    assert list(checkout.results.iterdir()) == []


def test_another_systems_environment_is_shown_but_not_started(checkout):
    checkout.write_grid('product("toys", "toy", text=["a b"])')
    refused = checkout.run("win")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "for another system" in refused.stderr
    dry = checkout.run("win", "--dry-run")
    assert (dry.returncode, '"--text=a b"' in dry.stdout) == (0, True)
    assert not checkout.results.exists()
