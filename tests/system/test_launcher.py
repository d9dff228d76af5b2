"""The launcher with real processes: toys in a checkout of their own, crashes, resuming."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from toy_checkout import DEADLINE_S, Checkout, wait_until

TEXTS = ["a b", "'q\"", "$HOME `x` $(y)", "n\nl", ";rm -r", "é🧠"]

TWELVE = f"""zipped("toys", "toy", number=range(12), text={TEXTS * 2!r},
    fail=[number in (1, 5, 10) for number in range(12)])"""


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_twelve_runs_of_which_three_fail(checkout):
    checkout.write_grid(TWELVE)
    dry = checkout.run("linux", "--dry-run")
    assert dry.returncode == 0
    assert len(dry.stdout.splitlines()) == 13
    assert not checkout.results.exists()

    first = checkout.run("linux", "--jobs", "3")
    assert first.returncode == 1
    assert first.stdout.count("RuntimeError: number 5 is no good") == 2  # at once, and at the end
    assert "9/12 done" in first.stdout
    assert "3 failed" in first.stdout
    bad = {1: "failed", 5: "failed", 10: "failed"}
    assert checkout.states() == {run: bad.get(run, "done") for run in range(12)}
    for run, text in enumerate(TEXTS * 2):
        head, *lines = (checkout.logs() / f"o_{run}.log").read_text().splitlines()
        assert head.startswith("# ")
        assert json.dumps([run, text]) in lines

    again = checkout.run("linux")
    assert (again.returncode, again.stdout) == (2, "")
    assert "Add --resume to continue" in again.stderr
    resumed = checkout.run("linux", "--resume")
    assert resumed.returncode == 1
    assert "toys/toy: 9 done; not started again" in resumed.stdout
    assert [checkout.starts(run) for run in (0, 1)] == [[1, 1], [2]]
    assert (checkout.logs() / "e_1.try1.log").exists()

    listed = checkout.runs("list")
    assert "toys/toy  9 done · 3 failed" in listed.stdout
    rows = listed.stdout.splitlines()[3:]
    assert [row.split()[0] for row in rows[:4]] == [
        "toys/toy:1",
        "toys/toy:5",
        "toys/toy:10",
        "toys/toy:0",
    ]
    table = checkout.runs("table", "toys/toy:0,4")
    assert [line.split()[0] for line in table.stdout.splitlines()[2:]] == ["0", "4"]
    assert "4.25" in table.stdout
    shown = checkout.runs("log", "toys/toy:5", "--errors")
    assert shown.stdout.rstrip().endswith("RuntimeError: number 5 is no good")

    # mended, and tried again by the other way
    script = checkout.group / "toy.py"
    script.write_text(script.read_text().replace("if fail:", "if False:"))
    retried = checkout.runs("retry", "--failed", "toys/toy", "--jobs", "3")
    assert (retried.returncode, checkout.states()) == (0, dict.fromkeys(range(12), "done"))
    ledger = (checkout.results / "experiments.txt").read_text().splitlines()
    assert sorted(ledger) == sorted(f"toys/toyx{run}/toy_{run}" for run in range(12))

    last = checkout.run("linux")
    assert (last.returncode, last.stdout) == (0, "toys/toy: 12 done; not started again\n")


def test_the_same_command_twice_starts_nothing_twice(checkout):
    checkout.write_grid('product("toys", "toy", number=range(4), wait=[1.0])')
    launchers = [checkout.start("linux", "--jobs", "2") for _ in range(2)]
    ended = [launcher.communicate(timeout=DEADLINE_S) for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0, 0], ended
    assert checkout.states() == dict.fromkeys(range(4), "done")
    assert [checkout.starts(run) for run in range(4)] == [[1, 1]] * 4
    other = next(out for out, _ in ended if "not started again" in out)
    assert "pending" in other or "running" in other


def test_ctrl_c_and_resume(checkout):
    checkout.write_grid('product("toys", "toy", number=range(4), wait=[1.0])')
    launcher = checkout.start("linux", "--jobs", "2")
    wait_until(lambda: sum(bool(checkout.starts(run)) for run in range(4)) == 2, "two starts")
    launcher.send_signal(signal.SIGINT)
    out, err = launcher.communicate(timeout=DEADLINE_S)
    assert launcher.returncode == 130, err
    assert "press again to kill" in out
    assert "2 not started" in out
    assert checkout.programs() == []
    assert checkout.states() == {0: "cancelled", 1: "cancelled"}
    listed = checkout.runs("list", "toys/toy").stdout
    assert "2 cancelled · 2 new" in listed

    assert checkout.run("linux").returncode == 2
    resumed = checkout.run("linux", "--resume", "--jobs", "4")
    assert resumed.returncode == 0
    assert checkout.states() == dict.fromkeys(range(4), "done")


def test_a_second_ctrl_c_kills(checkout):
    script = checkout.group / "toy.py"
    stubborn = "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    run.name"
    script.write_text(
        script.read_text()
        .replace("    run.name", stubborn)
        .replace("import json", "import json, signal")
    )
    checkout.write_grid('product("toys", "toy", number=range(2), wait=[300.0])')
    launcher = checkout.start("linux", "--jobs", "2")
    wait_until(lambda: all(checkout.starts(run) for run in range(2)), "two starts")
    begin = time.monotonic()
    launcher.send_signal(signal.SIGINT)
    time.sleep(1.0)
    assert launcher.poll() is None
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=DEADLINE_S)
    assert launcher.returncode == 130
    assert time.monotonic() - begin < 15
    assert checkout.programs() == []
    assert checkout.states() == {0: "cancelled", 1: "cancelled"}


def test_a_killed_launcher_loses_nothing(checkout):
    checkout.write_grid('product("toys", "toy", number=range(4), wait=[1.0])')
    launcher = checkout.start("linux", "--jobs", "2")
    wait_until(lambda: sum(bool(checkout.starts(run)) for run in range(4)) == 2, "two starts")
    launcher.kill()
    launcher.communicate()
    wait_until(lambda: not checkout.programs(), "the end of the programs")
    wait_until(lambda: checkout.states() == {0: "cancelled", 1: "cancelled"}, "the records")
    assert checkout.run("linux", "--resume", "--jobs", "4").returncode == 0
    assert checkout.states() == dict.fromkeys(range(4), "done")


def test_when_everything_is_killed_runs_are_lost_and_resumed(checkout):
    checkout.write_grid('product("toys", "toy", number=range(2), wait=[1.0])')
    launcher = checkout.start("linux", "--jobs", "2")
    wait_until(lambda: all(checkout.starts(run) for run in range(2)), "two starts")
    claims = list((checkout.logs() / ".jobs" / "state" / "0000").glob("*.claim"))
    held = [json.loads(path.read_text()) for path in claims]
    for pid in [launcher.pid, *(h["pid"] for h in held), *(h["program"] for h in held)]:
        os.kill(pid, signal.SIGKILL)
    launcher.communicate()
    wait_until(lambda: not checkout.programs(), "the end of the programs")
    assert checkout.states() == {0: "claim", 1: "claim"}
    assert "2 lost" in checkout.runs("list").stdout
    assert checkout.run("linux").returncode == 2
    assert checkout.run("linux", "--resume").returncode == 0
    assert checkout.states() == {0: "done", 1: "done"}


def test_runs_can_be_cancelled_while_they_wait_and_while_they_run(checkout):
    checkout.write_grid('product("toys", "toy", number=range(3), wait=[1.0])')
    launcher = checkout.start("linux", "--jobs", "1")
    wait_until(lambda: checkout.starts(0), "the first start")
    cancelled = checkout.runs("cancel", "toys/toy:0,2")
    assert cancelled.returncode == 0
    assert "toys/toy:2 cancelled before it started" in cancelled.stdout
    assert "toys/toy:0 cancelled" in cancelled.stdout
    refused = checkout.runs("remove", "toys/toy:1", "--yes")
    assert (refused.returncode, "stop it first" in refused.stderr) == (2, True)
    assert launcher.wait(DEADLINE_S) == 1
    launcher.communicate()
    assert checkout.states() == {0: "cancelled", 1: "done", 2: "cancelled"}
    assert checkout.starts(2) == []


def test_a_hopeless_grid_is_given_up(checkout):
    checkout.write_grid('product("toys", "toy", number=range(30), fail=[True], text=["same"])')
    script = checkout.group / "toy.py"
    script.write_text("import no_such_module\n" + script.read_text())
    ended = checkout.run("linux", "--jobs", "2")
    assert ended.returncode == 1
    assert "failed with: ModuleNotFoundError: No module named 'no_such_module'" in ended.stdout
    assert len(checkout.states()) < 12


def test_diverged_repetitions_give_exit_status_3(checkout):
    checkout.write_grid('product("toys", "toy", number=range(2), diverge=[False, True])')
    assert checkout.run("linux").returncode == 3
    assert checkout.states() == dict.fromkeys(range(4), "done")
    assert checkout.run("linux", "--resume").stdout == "toys/toy: 4 done; not started again\n"
    assert checkout.run("linux", "--diverged").returncode == 3
    assert [checkout.starts(run) for run in range(4)] == [[1, 1], [1, 2], [1, 1], [1, 2]]


def test_a_number_that_means_something_else_is_refused_until_it_is_removed(checkout):
    checkout.write_grid('product("toys", "toy", number=[0, 1])')
    assert checkout.run("linux").returncode == 0
    checkout.write_grid('product("toys", "toy", number=[0, 2])')
    refused = checkout.run("linux", "--resume")
    assert refused.returncode == 2
    assert "run 1 of toys/toy exists with number=1; the grid now says number=2" in refused.stderr
    unasked = checkout.runs("remove", "toys/toy:1")
    assert (unasked.returncode, "add --yes" in unasked.stderr) == (2, True)
    assert checkout.runs("remove", "toys/toy:1", "--yes").returncode == 0
    assert checkout.states() == {0: "done"}
    assert not (checkout.results / "logs" / "toys" / "toyx1").exists()
    assert not list(checkout.logs().glob("?_1*"))
    assert checkout.run("linux").returncode == 0
    assert (checkout.results / "experiments.txt").read_text().split() == [
        "toys/toyx0/toy_0",
        "toys/toyx1/toy_2",
    ]


def test_a_changed_grid_goes_its_own_way(checkout):
    checkout.write_grid('product("toys", "toy", number=range(2), wait=[100.0])')
    small = ["--set", "wait=0", "--as", "quick", "--repetitions", "0"]
    assert checkout.run("linux", *small).returncode == 0
    assert checkout.states("toy_quick") == {0: "done", 1: "done"}
    assert not checkout.logs().exists()
    assert checkout.run("linux", *small).returncode == 0
    assert [checkout.starts(run, "toy_quick") for run in (0, 1)] == [[1], [1]]
    assert "done in part" in checkout.run("linux", *small[:-2]).stderr
    assert checkout.run("linux", *small[:-2], "--resume").returncode == 0
    assert [checkout.starts(run, "toy_quick") for run in (0, 1)] == [[1, 1], [1, 1]]


def test_experiments_without_a_runner_and_scripts_started_by_hand(checkout):
    script = checkout.group / "toy.py"
    named = script.read_text().replace("main(train)", 'main(train, exp="t1")')
    script.write_text(named)
    started = checkout.python("utils/runners.py", "toys", "toy", "linux")
    assert started.returncode == 0, started.stderr
    assert checkout.states("t1") == {0: "done"}
    assert checkout.python("utils/runners.py", "toys", "toy", "linux").stdout == (
        "toys/t1: 1 done; not started again\n"
    )
    by_hand = checkout.python("experiments/toys/toy.py", "--number", "4")
    assert by_hand.returncode == 0, by_hand.stderr
    listed = checkout.runs("list", "toys").stdout
    assert "toys/t1  2 done" in listed
    assert "toys/t1:hand-" in listed
    assert checkout.runs("remove", "toys", "--hand", "--yes").returncode == 0
    assert "toys/t1  1 done" in checkout.runs("list").stdout


def test_a_run_that_is_started_by_hand_is_not_started_by_the_launcher(checkout):
    checkout.write_grid('one("toys", "toy")')
    script = checkout.group / "toy.py"
    script.write_text(script.read_text().replace("wait: float = 0.0", "wait: float = 1.5"))
    by_hand = subprocess.Popen([sys.executable, "experiments/toys/toy.py"], **checkout._options())
    wait_until(lambda: checkout.starts(0), "the start by hand")
    assert checkout.run("linux", "--resume").stdout == "toys/toy: 1 running; not started again\n"
    assert checkout.runs("cancel", "toys/toy:0").stdout == "toys/toy:0 cancelled\n"
    by_hand.communicate(timeout=DEADLINE_S)
    assert by_hand.returncode == 128 + signal.SIGTERM
    assert checkout.run("linux", "--resume").returncode == 0
    assert checkout.states() == {0: "done"}


def test_questions_about_nothing_are_answered(checkout):
    empty = checkout.runs("list")
    assert (empty.returncode, "no runs" in empty.stdout) == (0, True)
    for question in (["list", "toys"], ["show", "toys/toy:0"], ["table", "x"], ["log", "x/y:1"]):
        answer = checkout.runs(*question)
        assert (answer.returncode, answer.stdout) == (2, ""), question
        assert len(answer.stderr.splitlines()) == 1
    assert "has no runs yet" in checkout.runs("list", "toys/toy").stderr


def test_a_log_is_followed_to_its_end(checkout):
    checkout.write_grid('product("toys", "toy", number=[7], wait=[1.0])')
    launcher = checkout.start("linux")
    wait_until(lambda: checkout.starts(0), "the start")
    followed = checkout.runs("log", "toys/toy:0", "--follow")
    assert followed.returncode == 0
    assert followed.stdout.count('[7, "x"]') == 2
    assert followed.stdout.rstrip().splitlines()[-1].startswith("toys/toy:0: 2 done")
    assert launcher.wait(DEADLINE_S) == 0
    launcher.communicate()
