"""What the command `runs` says of divided runs, and does about them."""

import os
import subprocess
import sys

import pytest
from toy_checkout import wait_until

from utils import job_node, jobs, launches, paths, plans, promises, run_actions, states
from utils.command_lines import Refusal
from utils.known_runs import find

GROUP, EXP = "demo", "grid"


@pytest.fixture
def jobs_dir(bench_folders):
    return paths.jobs_dir(GROUP, EXP)


def send(jobs_dir, runs, parts, alive=False):
    entries = [
        {"run": run, "key": "k", "script": "e.py", "argv": [], "arguments": {}}
        | ({"parts": parts} if parts else {})
        for run in runs
    ]
    numbers = range(1, parts + 1) if parts else [0]
    tasks = [(run, part, 1) for run in runs for part in numbers]
    sent = plans.send(jobs_dir, entries, tasks, {"environment": {}, "resources": {}})
    if not alive:
        job_node.write_json(str(jobs_dir / f"{sent.stem}.json"), {**sent.about, "pid_start": -1})
    return sent


def begin(jobs_dir, run, part, attempt=1, **claimed):
    job_node.claim(jobs_dir, run, part, attempt, {"token": "aa", "task": run})
    if claimed:
        path = job_node.state_file(jobs_dir, run, part, attempt, "claim")
        job_node.write_json(path, {**job_node.read_json(path), **claimed})


def end(jobs_dir, run, part, state, attempt=1, **info):
    begin(jobs_dir, run, part, attempt)
    job_node.record(jobs_dir, run, part, attempt, state, {"seconds": 61.0, **info})


@pytest.fixture
def three(jobs_dir):
    """Run 0 undivided and done; of run 3 part 1 is done, part 2 failed, part 3 never began."""
    send(jobs_dir, [0], 0)
    end(jobs_dir, 0, 0, "done")
    send(jobs_dir, [3], 3)
    end(jobs_dir, 3, 1, "done")
    end(jobs_dir, 3, 2, "failed", reason="ValueError: no")
    for part in (1, 2):
        (jobs_dir.parent / f"o_3.part{part}.log").write_text(f"this is part {part}\n")
    return jobs_dir


def said(capsys, *arguments, status=0):
    assert jobs.follow(arguments) == status
    return capsys.readouterr().out


def test_a_row_says_which_part_stands_worst(three, capsys):
    rows = [line.split() for line in said(capsys, "list").splitlines()[3:]]
    assert [row[:3] for row in rows] == [
        ["demo/grid:3", "failed", "1"],
        ["demo/grid:0", "done", "1"],
    ]
    assert rows[0][-4:] == ["part", "2:", "ValueError:", "no"]
    assert "part" not in rows[1]


def test_a_divided_run_is_shown_with_its_parts(three, capsys):
    text = said(capsys, "show", "demo/grid:3")
    assert "failed, part 2 of it" in text
    table = text[text.index("PART") :].splitlines()
    assert [line.split()[:3] for line in table[1:]] == [
        ["1", "done", "1"],
        ["2", "failed", "1"],
        ["3", "new"],
    ]
    assert "1:01" in table[1]
    assert table[2].endswith("ValueError: no")
    assert "o_3.part2.log" in text
    assert "PART" not in said(capsys, "show", "demo/grid:0")


def test_the_log_is_that_of_the_part_that_stands_worst(three, capsys):
    assert said(capsys, "log", "demo/grid:3") == "this is part 2\n"
    assert said(capsys, "log", "demo/grid:3", "--part", "1") == "this is part 1\n"
    for arguments, answer in (
        (("demo/grid:3", "--part", "3"), "demo/grid:3 part 3 has no log: it has not started"),
        (("demo/grid:3", "--part", "4"), "demo/grid:3 has no part 4; it has 1-3"),
        (("demo/grid:0", "--part", "1"), "demo/grid:0 is not divided into parts"),
    ):
        with pytest.raises(Refusal, match=answer):
            jobs.follow(["log", *arguments])


def test_of_parts_that_stand_alike_it_is_the_first(jobs_dir):
    send(jobs_dir, [3], 12)
    for part in (12, 10, 2, 11):
        end(jobs_dir, 3, part, "failed")
    assert states.states(GROUP, EXP)[3].part == 2


def test_a_part_that_waits_is_followed_until_it_ends(jobs_dir, capsys):
    send(jobs_dir, [3], 2, alive=True)
    end(jobs_dir, 3, 1, "done")
    waiting = find("demo/grid:3")[0]
    assert waiting.runs[3] == states.RunState(3, "pending", 0, 2)
    assert jobs._under_way(waiting, waiting.runs[3])
    end(jobs_dir, 3, 2, "done")
    assert not jobs._under_way(waiting, waiting.runs[3])


def test_all_parts_are_cancelled(jobs_dir, capsys):
    send(jobs_dir, [3], 4, alive=True)
    end(jobs_dir, 3, 1, "done")
    end(jobs_dir, 3, 2, "failed")
    code = (
        "import signal, sys, time\n"
        "from utils import job_node\n"
        f"jobs_dir = {str(jobs_dir)!r}\n"
        "def stop(*_):\n"
        "    job_node.record(jobs_dir, 3, 3, 1, 'cancelled', {})\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "job_node.claim(jobs_dir, 3, 3, 1, {'token': 'aa'})\n"
        "time.sleep(600)\n"
    )
    wrapper = subprocess.Popen([sys.executable, "-c", code])
    claim = job_node.state_file(jobs_dir, 3, 3, 1, "claim")
    wait_until(lambda: job_node.read_json(claim), "the claim")
    assert run_actions.cancel(find("demo/grid:3")) == 0
    wrapper.wait(30)
    lines = sorted(capsys.readouterr().out.splitlines())
    assert lines == [
        "demo/grid:3 part 3 cancelled",
        "demo/grid:3 part 4 cancelled before it started",
    ]
    parts = states.by_part(GROUP, EXP)
    assert {part: parts[3, part].state for part in range(1, 5)} == {
        1: "done",
        2: "failed",
        3: "cancelled",
        4: "cancelled",
    }
    assert run_actions.cancel(find("demo/grid:3")) == 0
    assert capsys.readouterr().out == "demo/grid:3 part 2 is failed; nothing to cancel\n"


def test_a_run_is_not_removed_under_one_of_its_parts(jobs_dir):
    send(jobs_dir, [3], 2)
    end(jobs_dir, 3, 1, "failed")
    begin(jobs_dir, 3, 2, pid=os.getpid())
    assert states.states(GROUP, EXP)[3].state == "failed"
    with pytest.raises(Refusal, match="demo/grid:3 part 2 is running; stop it first"):
        run_actions.remove(["demo/grid:3"], hand=False, yes=True)
    begin(jobs_dir, 3, 2, pid_start=-1)
    assert run_actions.remove(["demo/grid:3"], hand=False, yes=True) == 0
    assert states.by_part(GROUP, EXP) == {}
    assert plans.submissions(jobs_dir) == []


def test_retry_sends_the_parts_that_are_not_done(jobs_dir, monkeypatch):
    send(jobs_dir, [3], 4)
    end(jobs_dir, 3, 1, "done")
    begin(jobs_dir, 3, 2)
    end(jobs_dir, 3, 3, "timeout", attempt=2)
    batches = []

    def start(planned, wish, terms):
        ((place, entries),) = planned.items()
        batches.append(promises.decide(*place, entries, wish))
        return 0

    monkeypatch.setattr(launches, "start", start)
    monkeypatch.setattr(promises.finished.Finished, "is_whole", lambda *_: True)
    assert jobs.follow(["retry", "demo/grid:3"]) == 0
    assert batches[0].tasks == [(3, 3, 3), (3, 4, 1)]
    assert batches[0].entries[0]["parts"] == 4
    assert batches[0].remarks == []
    end(jobs_dir, 3, 3, "done", attempt=3)
    assert states.states(GROUP, EXP)[3].state == "running"
    assert jobs.follow(["retry", "demo/grid:3"]) == 0
    assert batches[1].tasks == [(3, 4, 1)], "a part that never began waits behind one that runs"
