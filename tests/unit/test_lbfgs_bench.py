"""The benchmark of L-BFGS measures each form, judges, and refuses what makes no sense."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*options):
    return subprocess.run(
        [sys.executable, ROOT / "bench" / "lbfgs.py", *options],
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_each_form_is_measured():
    done = run("--only", "dog", "--rounds", "1", "--iterations", "2")
    # so few evaluations say little about the ratio
    assert done.returncode in (0, 1), done.stderr
    table = done.stdout[done.stdout.index("network  form") :].splitlines()
    forms = ["10 in step", "one by one", "SciPy alone, one"]
    assert len(table) == 1 + len(forms) + 1
    for line, form in zip(table[1:], forms, strict=False):
        assert line.startswith(f"dog      {form}")
        assert float(line.removeprefix(f"dog      {form}").split()[0]) > 0
    assert table[-1].endswith("yes" if done.returncode == 0 else "MISSED")


def test_what_makes_no_sense_is_refused():
    for options in (["--rounds", "0"], ["--only", "cat"]):
        assert run(*options).returncode == 2
