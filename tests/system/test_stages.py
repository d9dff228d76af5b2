"""Stages through the printed commands: toys that take milliseconds, and the demo's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_checkout import Checkout

from utils import make_data

ROOT = Path(__file__).parents[2]
SCORES = '''"""scores: adds up what the toys that it needs have scored."""
from utils import experiment, registry

DATA = []


def train(run, factor: int = 1):
    found = [info for place in run.needed for info in registry.repetitions(*place)]
    run.name = "scores"
    for repetition in run.repetitions(1):
        repetition.finish(total=factor * sum(info["scores"]["score"] for info in found))


if __name__ == "__main__":
    experiment.main(train)
'''
STAGES = '''"""Toys, what each of them scores, and all of it."""
from utils import grid, runners

TOYS = grid.product("toys", "toy", number=[1, 2, 4], fail=[{fail}])
EACH = grid.stage([grid.Run("toys", "scores", run.run) for run in TOYS], TOYS)
ALL = grid.stage(grid.one("toys", "sum", script="toys/scores.py"), TOYS)

if __name__ == "__main__":
    runners.main(ALL + EACH + TOYS)
'''


@pytest.fixture
def checkout(tmp_path):
    made = Checkout(tmp_path)
    (made.group / "scores.py").write_text(SCORES)

    def write(fail=False):
        (made.group / "toy_runner.py").write_text(STAGES.format(fail=fail))

    write()
    made.write_stages = write
    return made


def total(checkout, exp, run):
    (path,) = (checkout.results / "logs" / "toys" / f"{exp}x{run}").glob("*/run.json")
    return json.loads(path.read_text())["scores"]["total"]


@pytest.mark.parametrize("options", [[], ["--together"]])
def test_each_stage_uses_what_the_one_before_has_left(checkout, options):
    done = checkout.run("linux", "--jobs", "2", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    # a toy scores number and number + 0.5
    assert [total(checkout, "scores", run) for run in range(3)] == [2.5, 4.5, 8.5]
    assert total(checkout, "sum", 0) == 15.5
    shown = [line.split() for line in checkout.runs("show", "toys/sum:0").stdout.splitlines()]
    assert ["needs", "toys/toy:0-2"] in shown


def test_what_is_skipped_is_done_when_the_runs_that_it_needs_are(checkout):
    checkout.write_stages(fail=True)
    failed = checkout.run("linux")
    assert failed.returncode == 1
    assert "3 failed · 4 skipped" in failed.stdout
    assert "3 of 3 runs of toys/toy are not done, the first: toys/toy:0 is failed" in failed.stdout
    assert checkout.states("scores") == dict.fromkeys(range(3), "skipped")
    (checkout.group / "toy.py").write_text(
        (checkout.group / "toy.py").read_text().replace("if fail:", "if False:")
    )
    refused = checkout.run("linux")
    assert (refused.returncode, "--resume" in refused.stderr) == (2, True)
    again = checkout.run("linux", "--resume")
    assert again.returncode == 0, again.stdout + again.stderr
    assert total(checkout, "sum", 0) == 15.5


def test_dry_run_and_start_say_what_is_waited_for(checkout):
    shown = checkout.run("linux", "--dry-run").stdout.splitlines()
    commands = [place for place, line in enumerate(shown) if "scores.py" in line]
    assert [shown[place + 1].strip() for place in commands] == [
        "after toys/toy:0-2",
        *(f"after toys/toy:{run}" for run in range(3)),
    ]
    assert "not done, not under way" not in "\n".join(shown)
    alone = checkout.run("linux", "--only", "1", "--dry-run").stdout
    assert "after toys/toy:1" in alone
    missing = checkout.run("linux", "--only", "0", "--set", "number=9", "--as", "nine")
    assert "toys/sum_nine needs toys/toy_nine:1-2: not done, not under way" in missing.stdout
    assert missing.returncode == 1
    assert total(checkout, "scores_nine", 0) == 18.5
    assert checkout.states("sum_nine") == {0: "skipped"}
    allowed = checkout.run(
        *("linux", "--only", "0", "--set", "number=9", "--as", "nine", "--resume"),
        "--allow-missing",
    )
    assert allowed.returncode == 0, allowed.stdout + allowed.stderr
    assert total(checkout, "sum_nine", 0) == 18.5


def test_by_hand_the_runs_are_named(checkout):
    script = "experiments/toys/scores.py"
    alone = checkout.python(script)
    assert (alone.returncode, alone.stdout.count("\n")) == (2, 1)
    assert "toys/scores:0 uses the results of other runs, and none are named" in alone.stderr
    assert checkout.python("experiments/toys/toy.py", "--number", "3", "--run", "5").returncode == 0
    done = checkout.python(script, "--needs", "toys/toy:5")
    assert done.returncode == 0, done.stderr
    assert total(checkout, "scores", 0) == 6.5
    other = checkout.python(script, "--needs", "toys/toy:6")
    assert "runs that are not done: toys/toy:6 was not started" in other.stderr
    assert checkout.python("experiments/toys/toy.py", "--number", "4", "--run", "6").returncode == 0
    other = checkout.python(script, "--needs", "toys/toy:6")
    assert "is done with the results of toys/toy:5" in other.stderr
    assert "--needs GROUP/EXP:0-3" in checkout.python(script, "--help").stdout


def test_the_demo_is_trained_tested_and_drawn(bench_folders):
    make_data.make_region(
        bench_folders.data / "region1",
        n_neurons=12,
        n_training=60,
        n_validation=20,
        n_repeats=4,
        seed=3,
    )
    command = [sys.executable, "experiments/demo/held_out_runner.py", "linux", "--set", "epochs=2"]
    environment = {name: value for name, value in os.environ.items() if name != "BENCH_JOB"}
    done = subprocess.run(
        [*command, "--as", "tiny", "--together"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    logs = bench_folders.results / "logs" / "demo"
    for run in range(4):
        trained, tested = (
            [json.loads(path.read_text()) for path in sorted(logs.glob(f"{exp}x{run}/*/run.json"))]
            for exp in ("first_grid_tiny", "held_out_tiny")
        )
        assert len(trained) == len(tested) == 5
        for before, after in zip(trained, tested, strict=True):
            assert after["seed"] == before["seed"]
            # the saved model predicts as the one did that was trained
            reached = after["scores"]["correlation"]
            assert reached == pytest.approx(before["scores"]["correlation"], abs=1e-5)
            share = reached / after["scores"]["ceiling"]
            assert after["scores"]["of_ceiling"] == pytest.approx(share, abs=1e-6)
    (picture,) = logs.glob("held_out_figure_tinyx0/*/held_out.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
