"""A minute of kills on each engine: programs, wrappers and daemons; is every run done once?"""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "bench" / "chaos_engines.py"
PATIENCE_S = 500.0


def test_a_minute_of_kills_ends_with_every_run_done_once(engine):
    """The script judges: one record, one result, no training beside another, one line each."""
    name = {"Grid Engine": "grid-engine", "Slurm": "slurm"}[engine.name]
    words = ["--engine", name, "--seconds", "60", "--runs", "12", "--length", "9", "--seed", "2"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    head, row = done.stdout.splitlines()
    assert row.startswith(engine.name), "an engine was left out"
    assert "master" in head
