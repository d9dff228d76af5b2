"""The benchmark of penalties measures, judges, and refuses names that it does not know."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads peaks from /proc")


def run(*options):
    return subprocess.run(
        [sys.executable, ROOT / "bench" / "regularizers.py", *options],
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_penalty_is_measured():
    done = run("--only", "max,max with a matrix", "--calls", "1")
    assert done.returncode == 0, done.stderr
    _, closed, matrix = done.stdout.splitlines()
    assert closed.startswith("max ")
    assert matrix.startswith("max with a matrix")
    memory = [
        float(line.removeprefix("max with a matrix").split()[-4]) for line in (closed, matrix)
    ]
    # of 7680² numbers of four bytes
    assert memory[0] < 100 < 225 < memory[1]


def test_unknown_penalties_are_refused():
    done = run("--only", "max,min")
    assert done.returncode == 2
    assert "unknown penalties min" in done.stderr
