"""Cancelling what an engine has, waiting and running, and starting it again."""

import json
import signal

from cluster_toys import (
    CPU,
    begun,
    engine_logs,
    listed,
    put_toys,
    sent,
    told,
    wait_for,
    wait_for_starts,
)
from toy_checkout import wait_until


def record(checkout, name):
    return json.loads((checkout.logs() / ".jobs" / "state" / "0000" / name).read_text())


def test_some_runs_of_an_array_are_cancelled(engine, checkout):
    put_toys(checkout, 'product("toys", "toy", number=range(4), wait=[True])')
    (job,) = sent(checkout.run(CPU[engine.name], "--jobs", "2"))
    wait_for_starts(checkout, [0, 1])
    assert listed(checkout) == {0: "running", 1: "running", 2: "pending", 3: "pending"}
    answer = checkout.runs("cancel", "toys/toy:1", "toys/toy:3")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "1 cancelled before it started" in answer.stdout
    assert "toys/toy:1 cancelled" in answer.stdout
    # the program got its signal and had the time to save
    (saved,) = checkout.results.glob("logs/toys/toyx1/*/saved")
    assert saved.read_text() == "in time"
    ended = record(checkout, "1.0.1.cancelled")
    warned = signal.SIGUSR2 if engine.name == "Grid Engine" else signal.SIGTERM
    assert ended["signal"] == warned
    assert ended["queue_job"] == f"{job}.{1 + engine.first_task}"
    assert f"stopped by {warned.name}" in checkout.runs("list").stdout
    # the others go on, and one of them takes the place
    wait_for_starts(checkout, [2])
    assert listed(checkout) == {0: "running", 1: "cancelled", 2: "running", 3: "cancelled"}
    (checkout.root / "go").touch()
    wait_for(checkout, {0: "done", 1: "cancelled", 2: "done"})
    nothing = checkout.runs("cancel", "toys/toy")
    assert nothing.returncode == 0
    assert "nothing to cancel" in nothing.stdout
    (again,) = sent(checkout.runs("retry", "toys/toy:1", "toys/toy:3"))
    wait_for(checkout, dict.fromkeys(range(4), "done"))
    assert not (checkout.logs() / "o_3.try1.log").exists(), "it had never begun"
    assert told(checkout, 3)["variables"]["BENCH_QUEUE_JOB"] == f"{again}.{1 + engine.first_task}"
    assert listed(checkout) == dict.fromkeys(range(4), "done")
    # Slurm notes there what it has cancelled
    assert not [line for line in engine_logs(checkout).splitlines() if " CANCELLED AT " not in line]


def test_all_of_an_array_is_cancelled(engine, own_checkout):
    put_toys(own_checkout, 'product("toys", "toy", number=range(5), wait=[True])')
    sent(own_checkout.run(CPU[engine.name], "--jobs", "1"))
    wait_for_starts(own_checkout, [0])
    answer = own_checkout.runs("cancel", "toys/toy")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "4 cancelled before they started" in answer.stdout
    assert own_checkout.states() == {0: "cancelled"}
    assert listed(own_checkout) == dict.fromkeys(range(5), "cancelled")
    wait_until(lambda: not engine.jobs(own_checkout.root), "the end of the job")
    assert begun(own_checkout) == [0]
