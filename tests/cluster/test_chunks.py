"""How runs are put into jobs: short arrays, several runs in a task, parts, no array at all."""

import json
import re

from cluster_toys import (
    CPU,
    begun,
    engine_logs,
    infos,
    journal,
    listed,
    put_toys,
    sent,
    submissions,
    told,
    wait_for,
)
from toy_checkout import wait_until

SHORT = {"Grid Engine": {"GE_MAX_TASKS": "3"}, "Slurm": {"SLURM_MAX_ARRAY": "3"}}


def most_at_once(checkout):
    """The largest number of toys that were at work together."""
    now = most = 0
    for word, _ in journal(checkout):
        now += 1 if word == "begin" else -1
        most = max(most, now)
    assert now == 0
    return most


def test_arrays_of_three_tasks_of_which_two_run_at_once(engine, own_checkout):
    put_toys(own_checkout, 'product("toys", "toy", number=range(7), pause=[1.0])')
    engine.bring_up(**SHORT[engine.name])
    shown = own_checkout.run(CPU[engine.name], "--jobs", "2", "--check")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    calls = re.findall(r"-t 1-\d -tc 2 |--array=0-\d%2 ", shown.stdout)
    assert [int(call.split("-")[-2 if "tc" in call else -1][0]) for call in calls] == [
        number - 1 + engine.first_task for number in (3, 3, 1)
    ]
    jobs = sent(own_checkout.run(CPU[engine.name], "--jobs", "2"))
    (submission,) = submissions(own_checkout)
    assert submission["calls"] == [[0, 3], [3, 3], [6, 1]]
    wait_for(own_checkout, dict.fromkeys(range(7), "done"))
    assert most_at_once(own_checkout) == 2
    places = [info["queue_job"] for info in infos(own_checkout)]
    assert [place.partition(".")[0] for place in (places[0], places[6])] == jobs
    tasks = [int(place.partition(".")[2]) - engine.first_task for place in places]
    assert tasks == [0, 1, 2, 0, 1, 2, 0]
    assert engine_logs(own_checkout) == ""


def test_several_runs_in_a_task_share_a_program(engine, own_checkout):
    put_toys(own_checkout, 'product("toys", "toy", number=range(7), fail=[-1])')
    runner = own_checkout.group / "toy_runner.py"
    alone = runner.read_text().replace('"toy"', '"alone", script="toys/toy.py"')
    (own_checkout.group / "alone_runner.py").write_text(alone.replace("range(7)", "range(2)"))
    sent(own_checkout.run(CPU[engine.name], "--per-task", "3", "--together"))
    single = own_checkout.run(CPU[engine.name], "--no-array", runner="alone_runner.py")
    first, last = sent(single)
    wait_for(own_checkout, dict.fromkeys(range(7), "done"))
    programs = [told(own_checkout, run)["process"] for run in range(7)]
    assert [programs.index(one) for one in programs] == [0, 0, 0, 3, 3, 3, 6]
    tasks = [info["queue_job"].partition(".")[2] for info in infos(own_checkout)]
    assert [int(task) - engine.first_task for task in tasks] == [0, 0, 0, 1, 1, 1, 2]
    wait_for(own_checkout, {0: "done", 1: "done"}, "alone")
    assert [info["queue_job"] for info in infos(own_checkout, "alone")] == [first, last]
    assert engine_logs(own_checkout) + engine_logs(own_checkout, "alone") == ""


def test_several_runs_in_a_task_one_of_which_fails(engine, own_checkout):
    grid = 'zipped("toys", "toy", number=[0, 1, 2, 3], fail=[-1, 0, -1, -1])'
    put_toys(own_checkout, grid)
    sent(own_checkout.run(CPU[engine.name], "--per-task", "3"))
    expected = {0: "done", 1: "failed", 2: "done", 3: "done"}
    wait_for(own_checkout, expected)
    assert len({told(own_checkout, run)["process"] for run in range(4)}) == 4
    assert [run for run in begun(own_checkout) if run < 3] == [0, 1, 2]
    (own_checkout.root / "mended").touch()
    sent(own_checkout.runs("retry", "--failed", "toys/toy"))
    wait_for(own_checkout, {**expected, 1: "done"})
    assert sorted(begun(own_checkout)) == [0, 1, 1, 2, 3]


def test_parts_of_a_run_have_results_of_the_whole(engine, own_checkout):
    put_toys(own_checkout, 'product("toys", "toy", number=[3], times=[7], fail=[2])')
    sent(own_checkout.run(CPU[engine.name], "--split", "3"))
    folder = own_checkout.logs() / ".jobs" / "state" / "0000"

    def ends():
        return sorted(path.name for path in folder.glob("[!.]*") if path.suffix != ".claim")

    # two, two and three repetitions: the third belongs to the second part
    wait_until(lambda: len(ends()) == 3, "the end of three parts")
    assert ends() == ["0.1.1.done", "0.2.1.failed", "0.3.1.done"]
    assert listed(own_checkout) == {0: "failed"}
    assert "number 3 is no good" in own_checkout.runs("log", "toys/toy:0", "--errors").stdout
    (own_checkout.root / "mended").touch()
    sent(own_checkout.runs("retry", "toys/toy:0"))
    wait_until(lambda: "0.2.2.done" in ends(), "the end of the second part")
    assert len(ends()) == 4
    assert listed(own_checkout) == {0: "done"}
    assert submissions(own_checkout)[1]["calls"] == [[0, 1]]
    whole = own_checkout.run("linux", "--as", "whole")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    results = [
        [(info["repetition"], info["seed"], info["scores"]) for info in infos(own_checkout, exp)]
        for exp in ("toy", "toy_whole")
    ]
    assert len(results[0]) == 7
    assert json.dumps(results[0]) == json.dumps(results[1])
