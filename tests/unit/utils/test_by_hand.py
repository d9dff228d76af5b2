"""What goes wrong in experiments that are started by hand, and in runners before they start."""

import os
import subprocess
import sys

import pytest

from utils import paths, registry

TOY = '''"""toy: fails in several ways."""
from utils import experiment, signatures

DATA = []


def train(run, size: int = 3, kind: str = "fine"):
    run.name = "toy"
    for repetition in run.repetitions(2):
        if kind == "ours":
            signatures.parse("depth", "int", "deep")
        if kind == "theirs":
            raise ValueError("a fault in my own code")
        if kind == "python":
            signatures.nearest(3, ["a"])
        repetition.finish()


if __name__ == "__main__":
    experiment.main(train)
'''
SENTENCE = "--depth is 'deep'; it must be a whole number such as 20_000. Give it such a value."


@pytest.fixture
def start(bench_folders, tmp_path):
    script = tmp_path / "toys" / "toy.py"
    script.parent.mkdir()
    script.write_text(TOY)

    def run(*words, text=None, **environment):
        if text is not None:
            script.write_text(text)
        command = [sys.executable, str(script), *words]
        moved = {**os.environ, **environment}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=moved)

    return run


def test_a_sentence_of_the_bench_is_shown_without_a_traceback(start):
    done = start("--kind=ours", "--run=1")
    assert (done.returncode, done.stderr) == (1, f"{SENTENCE}\n")
    assert [i["reason"] for i in registry.repetitions("toys", "toy", 1)] == [SENTENCE] * 2


@pytest.mark.parametrize("kind", ["theirs", "python"])
def test_a_fault_keeps_its_traceback(start, kind):
    done = start(f"--kind={kind}")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "toy.py" in done.stderr


def test_defaults_under_another_number_of_the_grid_are_named(start):
    assert start("--run=0", "--size=9").returncode == 0
    other = start("--size=3")
    assert other.returncode == 0, other.stderr  # not refused: a run of its own
    assert [str(info["run"])[:5] for info in registry.repetitions("toys", "toy")] == [
        *("0", "0"),
        *("hand-", "hand-"),
    ]
    assert start("--run=1").returncode == 0
    refused = start()
    assert refused.returncode == 2
    assert refused.stderr == "these arguments are run 1 of toys/toy: give --run 1\n"


def test_a_number_is_not_too_large(start):
    refused = start("--run=100000000")
    assert refused.returncode == 2
    assert refused.stderr == "--run '100000000' is too large; numbers go up to 99999999\n"


@pytest.mark.parametrize("below", ["", "results"])
def test_results_that_cannot_be_written_are_one_sentence(start, tmp_path, below):
    file = tmp_path / "file"
    file.write_text("")
    done = start(BENCH_RESULTS=str(file / below))
    assert done.returncode == 1
    assert done.stderr == (
        f"results cannot be written to {file / below} ({file} is a file and no folder); free "
        "space there, or set BENCH_RESULTS to a folder that can be written\n"
    )


def test_a_launcher_says_so_too(start, tmp_path):
    (tmp_path / "file").write_text("")
    runner = "from utils import grid, runners\nrunners.main(grid.one('demo', 'first_grid'))\n"
    commands = ["from utils import jobs\njobs.main()\n", runner]
    for command, word in zip(commands, ("list", "linux"), strict=True):
        done = start(word, text=command, BENCH_RESULTS=str(tmp_path / "file"))
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "is a file and no folder); free space there, or set BENCH_RES" in done.stderr


@pytest.mark.parametrize("command", ["runners", "jobs"])
def test_outside_the_environment_the_way_in_is_named(command):
    script = paths.ROOT / "utils" / f"{command}.py"
    done = subprocess.run([sys.executable, "-I", "-S", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "No module named 'utils'; run `source ./activate` in the checkout first\n"
    )


def test_a_full_disk_is_one_sentence_that_is_not_a_fault(start):
    full = TOY.replace("        if kind", "        full()\n        if kind", 1)
    full = full.replace("def train", 'def full():\n    raise OSError(28, "full")\n\n\ndef train')
    done = start(text=full)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "results cannot be written to" in done.stderr
    assert "No space left on device" in done.stderr
    (reason,) = {info["reason"] for info in registry.repetitions("toys", "toy", 0)}
    assert "No space left on device" in reason


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('RUNS = grid.product("toys", "toy", word=[])', "word is an empty list"),
        ('RUNS = grid.product("toys", "toy", first_run=-1, size=[1])', "run is -1; a run's number"),
        ('RUNS = ["a"]', "the grid is no list of runs"),
        ('RUNS = grid.one("toys", "toy"); THREADS = 0', "threads is 0; it is a whole number"),
        ('RUNS = grid.one("toys", "toy"); THREADS = "two"', "threads is 'two'; it is a whole"),
    ],
)
def test_a_wrong_grid_is_one_sentence(start, line, sentence):
    runner = "from utils import grid, runners\nTHREADS = 1\n" + line
    done = start("linux", text=f"{runner}\nrunners.main(RUNS, threads=THREADS)\n")
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert sentence in done.stderr
    assert not paths.job_log_dir("toys", "toy").exists()


def test_a_fault_of_a_runner_keeps_its_traceback(start):
    done = start("linux", text="from utils import grid, runners\nRUNS = grid.product(1 / 0)\n")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
