import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from utils import (
    environments,
    job_node,
    jobs,
    known_runs,
    launches,
    paths,
    plans,
    registry,
    run_actions,
    states,
    tasks,
)
from utils.command_lines import Refusal, answer

GROUP, EXP = "demo", "grid"


@pytest.fixture
def jobs_dir(bench_folders):
    return paths.jobs_dir(GROUP, EXP)


def leave(jobs_dir, ends, **more):
    """Leave behind a submission of a launcher that has ended, and these states."""
    lines = [
        {
            "run": run,
            "script": "experiments/demo/grid.py",
            "argv": [f"--run={run}"],
            "key": str(run),
            "arguments": {"number": run, "text": "a\x1bb"},
        }
        for run in ends
    ]
    about = {
        "environment": {},
        "python": "python",
        "resources": {"threads": 2},
        "commit": "0123456789abcdef",
        "clean": False,
    }
    sent = plans.send(jobs_dir, lines, [(run, 0, 1) for run in ends], about)
    if not more.get("alive"):
        job_node.write_json(str(jobs_dir / f"{sent.stem}.json"), {**sent.about, "pid_start": -1})
    for run, state in ends.items():
        end(jobs_dir, run, state)
    return sent


def end(jobs_dir, run, state, attempt=1, reason="", **claimed):
    if state in ("new", "pending"):
        return
    job_node.claim(jobs_dir, run, 0, attempt, {"token": "aa", "task": run})
    path = job_node.state_file(jobs_dir, run, 0, attempt, "claim")
    if state == "lost":
        claimed = {"pid_start": -1}
    job_node.write_json(path, {**job_node.read_json(path), **claimed})
    if state in job_node.FINAL:
        reason = "Value\x1bError" if state == "failed" else reason
        job_node.record(jobs_dir, run, 0, attempt, state, {"reason": reason, "seconds": 61.0})


def repetition(run, index, state="done", **scores):
    folder = paths.log_dir(GROUP, EXP, run, "name", index)
    folder.mkdir(parents=True)
    model = paths.model_path(GROUP, EXP, run, "name", index)
    model.parent.mkdir(parents=True, exist_ok=True)
    model.touch()
    content = {
        "exp_folder": GROUP,
        "exp": EXP,
        "run": run,
        "repetition": index,
        "seed": index,
        "name": "name",
        "state": state,
        "arguments": {"number": run, "fixed": 1},
        "key": str(run),
        "scores": scores,
        "seconds": 2.0,
        "end": f"2026-01-01T00:00:{index:02d}+00:00",
        "log_dir": str(folder.relative_to(paths.results_dir())),
        "model_path": str(model.relative_to(paths.results_dir())),
    }
    registry.write_json(folder / "run.json", content)
    return folder


def said(capsys, *arguments, status=0):
    assert jobs.follow(arguments) == status
    return capsys.readouterr().out


def refusal(*arguments):
    with pytest.raises((Refusal, ValueError)) as problem:
        jobs.follow(arguments)
    assert "\n" not in str(problem.value)
    return str(problem.value)


def test_a_log_that_is_not_there_is_explained(jobs_dir, capsys):
    leave(jobs_dir, {0: "new", 1: "lost"})
    job_node.claim(jobs_dir, 2, 0, 1, {"token": None})
    job_node.record(jobs_dir, 2, 0, 1, "done", {})
    assert "0 has no log: it has not started" in refusal("log", "demo/grid:0")
    assert "1 has no log: it ended before its program" in refusal("log", "demo/grid:1", "--errors")
    assert "2 has no log: it was started by hand, its output went to the terminal" in refusal(
        "log", "demo/grid:2"
    )
    (jobs_dir.parent / "e_1.log").write_text("a warning\n")
    assert jobs.follow(["log", "demo/grid:1", "--errors"]) == 0
    told = capsys.readouterr()
    assert told.out == "a warning\n"
    assert told.err.startswith("demo/grid:1 is lost: it ended without a record")


# --- list


def test_what_failed_comes_first_and_at_most_forty_rows(jobs_dir, capsys):
    leave(jobs_dir, {run: "done" for run in range(60)} | {60: "failed", 61: "new", 62: "lost"})
    lines = said(capsys, "list").splitlines()
    assert lines[0] == "demo/grid  60 done · 1 failed · 1 lost · 1 new"
    assert lines[2].split() == ["RUN", "STATE", "TRY", "STARTED", "TOOK", "HOST", "REASON"]
    assert [line.split()[:2] for line in lines[3:7]] == [
        ["demo/grid:60", "failed"],
        ["demo/grid:62", "lost"],
        ["demo/grid:61", "new"],
        ["demo/grid:0", "done"],
    ]
    assert lines[3].endswith("Value\\x1bError")
    assert "1:01" in lines[3]
    assert len(lines) == 3 + 40 + 1
    assert lines[-1] == "… and 23 more: --all"
    assert len(said(capsys, "list", "demo", "--all").splitlines()) == 3 + 63
    assert len(said(capsys, "list", "demo/grid:60-61").splitlines()) == 3 + 2


def test_counts_need_no_record_to_be_read(jobs_dir, monkeypatch):
    leave(jobs_dir, dict.fromkeys(range(5), "done"))
    monkeypatch.setattr(job_node, "read_json", lambda path: pytest.fail(f"{path} was read"))
    monkeypatch.setattr(plans, "submissions", lambda *_: [])
    (known,) = known_runs.everything()
    assert [state.state for state in known.runs.values()] == ["done"] * 5


def test_listing_writes_the_ledger_when_a_record_is_younger(jobs_dir, capsys):
    leave(jobs_dir, {0: "done"})
    repetition(0, 0)
    said(capsys, "list")
    assert paths.ledger_file().read_text() == "demo/gridx0/name\n"
    os.utime(paths.ledger_file(), (0, 0))
    repetition(1, 0)
    said(capsys, "list")
    assert paths.ledger_file().read_text() == "demo/gridx0/name\ndemo/gridx1/name\n"
    later = time.time() + 100
    os.utime(paths.ledger_file(), (later, later))
    repetition(2, 0)
    said(capsys, "list")
    assert "gridx2" not in paths.ledger_file().read_text()


@pytest.mark.parametrize("command", ["--help", "list"])
def test_the_command_is_quick_and_light(bench_folders, command):
    program = f"""
import sys
sys.argv = ["runs", {command!r}]
from utils import jobs
try:
    jobs.main()
except SystemExit as end:
    heavy = {{"tensorflow", "keras", "pandas", "numpy", "matplotlib"}} & set(sys.modules)
    sys.exit(f"imported {{heavy}}" if heavy or end.code else 0)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(jobs.__file__).parents[1])}
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    after = os.times()
    assert done.returncode == 0, done.stderr
    spent = after.children_user + after.children_system
    assert spent - before.children_user - before.children_system < 0.5


# --- what is not there


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "dmeo"], ["no runs of group dmeo", "Did you mean demo?"]),
        (["list", "demo/gird"], ["no runs of demo/gird", "Did you mean demo/grid?"]),
        (["show", "demo/grid:1,7-9"], ["no run 7-9", "it has 0-1,hand-0a1b2c"]),
        (["log", "demo"], ["'demo' names a whole group", "here demo/grid"]),
        (["lst"], ["invalid choice: 'lst'", "Did you mean list?"]),
        (["cancel", "demo/grid:x"], ["'demo/grid:x'", "3 or 0-4,7"]),
        (["show", "a/b/c"], ["'a/b/c' names no run", "GROUP/EXP:3-7"]),
        (["lsit"], ["'lsit'", "list"]),
        (["list", "--al"], ["--al", "Did you mean --all?"]),
        (["show"], ["RUN", "required"]),
        (["retry"], ["--failed"]),
        (["table", "demo/grid"], ["no repetition of demo/grid"]),
        (["plot", "demo"], ["whole group"]),
    ],
)
def test_what_is_not_there_is_named(jobs_dir, arguments, words):
    leave(jobs_dir, {0: "done", 1: "failed"})
    end(jobs_dir, "hand-0a1b2c", "done")
    sentence = refusal(*arguments)
    assert [word for word in words if word not in sentence] == []


def test_without_a_command_help_is_printed(capsys):
    assert jobs.follow([]) == 2
    assert "retry" in capsys.readouterr().out


def test_a_reader_that_has_had_enough_is_no_error(monkeypatch):
    def closed():
        raise BrokenPipeError

    with open(os.devnull, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert answer(closed) == 141


# --- show and log


def test_all_that_is_known_is_shown(jobs_dir, capsys):
    leave(jobs_dir, {0: "failed"})
    repetition(0, 0, correlation=0.123456)
    repetition(0, 1, state="diverged")
    (jobs_dir.parent / "o_0.log").write_text("x")
    text = said(capsys, "show", "demo/grid:0")
    assert text.splitlines()[0] == "demo/grid:0"
    for words in (
        "state      failed",
        "reason     Value\\x1bError",
        "arguments  number=0 text=a\\x1bb",
        "command    python experiments/demo/grid.py --run=0",
        "commit     0123456789ab, with changes",
        f"log        {jobs_dir.parent / 'o_0.log'}",
        "0.1235",
        "diverged",
    ):
        assert words in text
    assert "\x1b" not in text


def test_logs_are_printed_escaped(jobs_dir, capsys):
    leave(jobs_dir, {0: "done", 1: "done", 2: "new"})
    end(jobs_dir, "hand-0a1b2c", "done")
    for run in (0, 1):
        (jobs_dir.parent / f"o_{run}.log").write_bytes(b"out\t\xff\x1b[2J %d\n" % run)
        (jobs_dir.parent / f"e_{run}.log").write_text(f"error {run}\n")
    assert said(capsys, "log", "demo/grid:1") == "out\t\ufffd\\x1b[2J 1\n"
    assert said(capsys, "log", "demo/grid:1", "--errors") == "error 1\n"
    assert said(capsys, "log", "demo/grid:0-1", "--errors").splitlines() == [
        "==> demo/grid:0 <==",
        "error 0",
        "==> demo/grid:1 <==",
        "error 1",
    ]
    assert "it has not started" in refusal("log", "demo/grid:2")
    assert "started by hand" in refusal("log", "demo/grid:hand-0a1b2c")
    assert "takes one run" in refusal("log", "demo/grid:0-1", "--follow")


# --- table and plot


def test_scores_are_percentiles_over_repetitions(jobs_dir, capsys):
    leave(jobs_dir, {0: "done", 1: "failed"})
    for index, score in enumerate([0.1, 0.5, 0.2, 0.4, 0.3]):
        repetition(0, index, correlation=score)
    repetition(0, 5, state="diverged")
    repetition(1, 0, state="failed")
    lines = said(capsys, "table", "demo").splitlines()
    assert lines[0] == "demo/grid"
    assert lines[1].split() == [
        "RUN", "number", "median", "correlation", "10th", "90th", "done", "diverged", "failed",
    ]  # fmt: skip
    # by hand: 0.1 … 0.5 in steps of 0.1, percentiles at 0.4 and 3.6 steps
    assert lines[2].split() == ["0", "0", "0.300", "0.140", "0.460", "5", "1", "0"]
    assert lines[3].split() == ["1", "1", "0", "0", "1"]
    csv = said(capsys, "table", "demo/grid:0", "--csv").splitlines()
    assert len(csv) == 1 + 6
    assert csv[0].startswith("exp_folder,exp,run,repetition,seed,name,state,number,fixed,")
    assert csv[1].startswith("demo,grid,0,0,0,name,done,0,1,0.1,")


def test_curves_are_drawn(jobs_dir, capsys, tmp_path):
    from NDN3 import events

    leave(jobs_dir, {0: "done", 1: "done"})
    for run in (0, 1):
        for index in range(2):
            folder = repetition(run, index, correlation=0.5) / "summaries" / "test"
            rows = [(step, 0.0, {"loss/cost": run + 1 / (step + 1)}) for step in range(4)]
            events.write_scalars(folder, rows)
    out = tmp_path / "new" / "figure.png"
    text = said(
        capsys, "plot", "demo/grid", "--tag", "loss/cost", "--by", "number", "--out", str(out)
    )
    assert text == f"{out}\n"
    assert out.read_bytes().startswith(b"\x89PNG")
    printed = said(capsys, "plot", "demo/grid:0", "--tag", "loss/cost").split()
    assert str(paths.figures_dir() / "demo-grid.png") in printed
    assert all(Path(path).stat().st_size > 1000 for path in printed)
    assert "Did you mean number?" in refusal("plot", "demo/grid", "--by", "numbr")
    assert "has a test summary loss/none" in refusal("plot", "demo/grid", "--tag", "loss/none")


# --- cancel, retry, remove


def test_a_waiting_run_is_cancelled_by_taking_its_place(jobs_dir, capsys):
    sent = leave(jobs_dir, {0: "pending", 1: "done"}, alive=True)
    assert said(capsys, "cancel", "demo/grid") == (
        "demo/grid:0 cancelled before it started\ndemo/grid:1 is done; nothing to cancel\n"
    )
    assert job_node.latest(jobs_dir, 0) == (1, "cancelled")
    record = job_node.read_json(job_node.state_file(jobs_dir, 0, 0, 1, "cancelled"))
    assert record["token"] == sent.token
    assert not job_node.claim(jobs_dir, 0, 0, 1, {"token": sent.token, "task": 0})


def test_a_run_that_has_just_ended_is_not_cancelled(jobs_dir, capsys, monkeypatch):
    # its wrapper, this process, may be at another run by now
    leave(jobs_dir, {0: "new"})
    job_node.claim(jobs_dir, 0, 0, 1, {"token": "aa", "task": 0})
    running = known_runs.Known(GROUP, EXP, {0: states.states(GROUP, EXP)[0]})
    job_node.record(jobs_dir, 0, 0, 1, "done", {})
    monkeypatch.setattr(run_actions.os, "kill", lambda *_: pytest.fail("somebody was stopped"))
    assert run_actions.cancel([running]) == 0
    assert capsys.readouterr().out == "demo/grid:0 done\n"


def test_a_run_on_another_machine_is_left_alone(jobs_dir, capsys):
    leave(jobs_dir, {0: "new"})
    end(jobs_dir, 0, "running", machine="another boot", host="far")
    assert jobs.follow(["cancel", "demo/grid:0"]) == 1
    assert "runs on far; cancel it there" in capsys.readouterr().err


def test_retry_sends_what_was_sent_last(jobs_dir, capsys, monkeypatch):
    leave(jobs_dir, {0: "done", 1: "failed", 2: "lost", 3: "cancelled", 4: "new", 5: "running"})
    end(jobs_dir, "hand-0a1b2c", "failed")
    calls = []
    monkeypatch.setattr(launches, "start", lambda *given: calls.append(given) or 0)
    monkeypatch.setattr(environments, "cores", lambda: 8)
    assert jobs.follow(["retry", "--failed", "demo/grid"]) == 0
    (planned, wish, terms), *_ = calls
    assert [entry["run"] for entry in planned[GROUP, EXP]] == [1, 2, 3, 4]
    assert (wish.resume, terms.environment, terms.at_once) == (True, "linux", 4)
    assert terms.resources["threads"] == 2
    assert jobs.follow(["retry", "demo/grid:0,3", "--jobs", "3"]) == 0
    assert "1 done; not started again" in capsys.readouterr().out
    assert [entry["run"] for entry in calls[1][0][GROUP, EXP]] == [3]
    assert calls[1][2].at_once == 3
    assert jobs.follow(["retry", "demo/grid:0"]) == 0
    assert len(calls) == 2
    assert "started by hand" in refusal("retry", "demo/grid:hand-0a1b2c")


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_removing_takes_all_of_a_run_and_nothing_else(jobs_dir, capsys):
    leave(jobs_dir, {1: "done", 11: "done", 111: "new"})
    end(jobs_dir, "hand-0a1b2c", "done")
    for run in (1, 11, "hand-0a1b2c"):
        repetition(run, 0)
        for name in (f"o_{run}.log", f"e_{run}.log", f"e_{run}.try1.log", f"o_{run}.part1.log"):
            (jobs_dir.parent / name).write_text("x")
    before = files(paths.results_dir())
    assert "add --yes" in refusal("remove", "demo/grid:1")
    assert files(paths.results_dir()) == before
    assert said(capsys, "remove", "demo/grid:1", "--yes") == "removed demo/grid (1 run)\n"
    after = files(paths.results_dir())
    gone = set(before) - set(after)
    assert len(gone) == 2 + 2 + 4
    assert all("x1/" in path or "_1." in path or "/1.0.1." in path for path in gone)
    assert set(after) - set(before) == {"experiments.txt"}
    assert "x1/" not in paths.ledger_file().read_text()
    (known,) = known_runs.everything()
    assert list(known.runs) == [11, 111, "hand-0a1b2c"]
    assert "no run 1;" in refusal("show", "demo/grid:1")

    said(capsys, "remove", "demo", "--hand", "--yes")
    (known,) = known_runs.everything()
    assert list(known.runs) == [11, 111]
    said(capsys, "remove", "demo/grid", "--yes")
    assert known_runs.everything() == []
    assert files(paths.results_dir()) == ["experiments.txt"]


def test_removing_asks_on_a_terminal(jobs_dir, monkeypatch):
    leave(jobs_dir, {0: "done"})
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    questions = []
    assert run_actions.remove(["demo/grid:0"], False, False, questions.append) == 1
    assert questions == ["Delete demo/grid (1 run) with all results?"]
    assert len(known_runs.everything()) == 1
    assert run_actions.remove(["demo/grid:0"], False, False, lambda _: True) == 0
    assert known_runs.everything() == []


@pytest.mark.parametrize("state", ["running", "pending"])
def test_a_run_under_way_is_not_removed(jobs_dir, state):
    leave(jobs_dir, {0: "done", 1: state}, alive=True)
    before = files(paths.results_dir())
    assert "stop it first with `runs cancel demo/grid:1`" in refusal("remove", "demo/grid", "--yes")
    assert files(paths.results_dir()) == before


def test_a_hand_made_plan_is_whole(jobs_dir):
    """The fixture leaves what a launcher leaves: a plan that can be read by number."""
    sent = leave(jobs_dir, {0: "new", 3: "new"})
    assert tasks.read_plan_line(str(sent.plan_file), 3)["argv"] == ["--run=3"]
    assert json.loads((jobs_dir / f"{sent.stem}.json").read_text())["plan"] == sent.plan_file.name
