"""Cancelling runs that an engine has: marks for what waits, the engine's command for the rest."""

import os
import time

import pytest
from scripted_engine import REFUSED, Job, ScriptedEngine

from utils import job_node, known_runs, paths, plans, queue_cancel, queue_states, run_actions
from utils.command_lines import Refusal

GROUP, EXP = "group", "exp"
ELSEWHERE = {"machine": "another boot", "host": "node7"}


@pytest.fixture
def engine(bench_folders, monkeypatch):
    monkeypatch.setattr(run_actions, "WAIT_S", 0.0)
    return ScriptedEngine(monkeypatch)


def write(tasks, calls=None, name="grid-engine", accept=True, state=None, engine=None, **about):
    """Write down tasks that were handed over as jobs 5, 6, …, and have the engine know them."""
    tasks = [(run, 0, 1) for run in range(tasks)] if isinstance(tasks, int) else tasks
    about = {
        **{"engine": {"name": name}, "user": "alice", "per_task": 1, "array": True},
        **{"calls": calls or [[0, len(tasks)]], **about},
    }
    entries = [{"run": run} for run in sorted({task[0] for task in tasks})]
    sent = plans.send(paths.jobs_dir(GROUP, EXP), entries, tasks, about)
    path = str(sent.jobs_dir / f"{sent.stem}.json")
    job_node.write_json(path, {**sent.about, "pid_start": -1})
    for call, (_, lines) in enumerate(sent.calls):
        numbers = range(-(-lines // about["per_task"]))
        first = 1 if name == "grid-engine" else 0
        numbers = [number + first for number in numbers] if about["array"] else [0]
        waits = state or ("qw" if name == "grid-engine" else "PENDING|None")
        if accept:
            sent.note_queued(call, str(5 + call))
            engine.jobs[str(5 + call)] = Job(sent.job_name(call), dict.fromkeys(numbers, waits))
    return sent


def begin(sent, run, part=0, kind=None, line=None):
    path = job_node.state_file(sent.jobs_dir, run, part, 1, "claim")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    about = {"token": sent.token, "task": run if line is None else line}
    job_node.write_json(path, {**job_node.own_process(), **ELSEWHERE, **about})
    if kind:
        job_node.record(sent.jobs_dir, run, part, 1, kind, {})


def cancel(text=f"{GROUP}/{EXP}"):
    """Cancel; return the cancelled parts, the problems, and what deleted tasks."""
    taken, problems = queue_cancel.cancel(known_runs.find(text)[0])
    return sorted(taken), problems


def deletions(engine):
    return engine.asked("qdel") + engine.asked("scancel")


def test_all_that_waits_is_one_mark_and_one_deletion(engine):
    sent = write(1000, engine=engine)
    taken, problems = cancel()
    assert (len(taken), problems) == (1000, [])
    assert sent.cancelled() == [(0, 999)]
    assert deletions(engine) == [["qdel", "5"]]
    (known,) = known_runs.find(f"{GROUP}/{EXP}")
    assert {state.state for state in known.runs.values()} == {"cancelled"}


@pytest.mark.parametrize(
    ("name", "command"),
    [("grid-engine", ["qdel", "5.2-3", "5.5-5"]), ("slurm", ["scancel", "5_[1-2,4-4]"])],
)
def test_only_what_was_named_is_deleted(engine, name, command):
    sent = write(6, name=name, engine=engine)
    assert cancel(f"{GROUP}/{EXP}:1-2,4") == ([(1, 0), (2, 0), (4, 0)], [])
    assert sent.cancelled() == [(1, 2), (4, 4)]
    assert deletions(engine) == [command]


def test_jobs_of_which_nothing_is_left_are_deleted_as_a_whole(engine):
    """The first has ended with what is named; the second goes on; the third is not touched."""
    sent = write(8, calls=[[0, 3], [3, 3], [6, 2]], engine=engine)
    for run in (0, 3):
        begin(sent, run, kind="done")
    plans.forget(sent.jobs_dir, [1])
    assert cancel(f"{GROUP}/{EXP}:2,4") == ([(2, 0), (4, 0)], [])
    assert deletions(engine) == [["qdel", "5"], ["qdel", "6.2-2"]]


def test_what_runs_is_asked_to_end_and_not_marked(engine):
    sent = write(3, engine=engine)
    begin(sent, 0)
    begin(sent, 1, kind="failed")
    assert cancel() == ([(0, 0), (2, 0)], [])
    assert sent.cancelled() == [(2, 2)]
    assert deletions(engine) == [["qdel", "5"]]


def test_what_runs_and_was_not_named_goes_on(engine):
    sent = write(3, engine=engine)
    begin(sent, 1)
    begin(sent, 2, kind="done")
    assert cancel(f"{GROUP}/{EXP}:0") == ([(0, 0)], [])
    assert deletions(engine) == [["qdel", "5.1-1"]]


def test_what_has_ended_is_left_alone(engine):
    sent = write(2, engine=engine)
    begin(sent, 0, kind="done")
    begin(sent, 1, kind="timeout")
    assert cancel() == ([], [])
    assert (sent.cancelled(), deletions(engine), sent.cancelled_file.exists()) == ([], [], False)


def test_what_is_stuck_or_not_known_is_cancelled_as_well(engine):
    sent = write(2, state="Eqw", engine=engine)
    assert cancel()[0] == [(0, 0), (1, 0)]
    assert deletions(engine) == [["qdel", "5"]]
    other = write(2, engine=engine)
    queue_states._asked.clear()
    engine.script("qstat", REFUSED)
    assert cancel() == ([(0, 0), (1, 0)], ["qstat is not well"])
    assert (sent.cancelled(), other.cancelled()) == ([(0, 1)] * 2, [(0, 1)])
    assert len(deletions(engine)) == 1, "by now the number may be that of another job"


def test_the_number_of_another_job_is_not_touched(engine):
    write(2, calls=[[0, 1], [1, 1]], engine=engine)
    engine.jobs["5"].name = "somebody"
    del engine.jobs["6"]
    for _ in range(2):
        assert cancel()[1] == []
    assert deletions(engine) == []


def test_single_jobs_are_deleted_one_by_one(engine):
    write(3, calls=[[0, 1], [1, 1], [2, 1]], array=False, engine=engine)
    cancel(f"{GROUP}/{EXP}:0,2")
    assert deletions(engine) == [["qdel", "5"], ["qdel", "7"]]


def test_a_job_that_is_found_by_its_name_is_deleted(engine):
    sent = write(2, engine=engine)
    sent.queued_file.unlink()
    cancel()
    assert deletions(engine) == [["qdel", "5"]]


def test_what_is_not_in_the_queue_yet_is_marked(engine):
    sent = write(2, accept=False, engine=engine)
    assert cancel(f"{GROUP}/{EXP}:1") == ([(1, 0)], [])
    assert (sent.cancelled(), deletions(engine)) == ([(1, 1)], [])


def test_runs_that_share_a_task_go_together(engine):
    sent = write(7, per_task=2, engine=engine)
    taken, problems = cancel(f"{GROUP}/{EXP}:1-4")
    assert len(taken) == 4
    assert sent.cancelled() == [(1, 4)]
    assert deletions(engine) == [["qdel", "5.2-2"]]
    rest = "shares a task with other runs; what has begun goes on until these are cancelled as well"
    assert problems == [f"line {line} of {sent.stem} {rest}" for line in (1, 4)]
    begin(sent, 0, kind="done")
    begin(sent, 5, kind="done")
    engine.commands.clear()
    queue_states._asked.clear()
    assert cancel(f"{GROUP}/{EXP}:6") == ([(6, 0)], [])
    assert deletions(engine) == [["qdel", "5.4-4"]]


def test_several_runs_of_a_shared_task_are_named(engine):
    sent = write(3, per_task=3, engine=engine)
    (problem,) = cancel(f"{GROUP}/{EXP}:0,2")[1]
    assert problem.startswith(f"line 0, 2 of {sent.stem} shares a task")


def test_only_the_newest_task_of_a_run_counts(engine):
    old = write(2, engine=engine)
    for run in (0, 1):
        begin(old, run, kind="failed")
    tasks = [(0, 0, 2), (1, 0, 2)]
    new = write(tasks, engine=engine)
    new.queued_file.write_text("0 9\n")
    engine.jobs["9"] = Job(new.job_name(0), {1: "qw", 2: "qw"})
    assert cancel(f"{GROUP}/{EXP}:0")[0] == [(0, 0)]
    assert deletions(engine) == [["qdel", "9.1-1"]], "the other has ended as its first attempt only"
    assert cancel()[0] == [(1, 0)]
    assert (old.cancelled(), new.cancelled()) == ([], [(0, 0), (1, 1)])


def test_an_older_task_of_a_run_is_over_and_not_deleted(engine):
    """Runs 0 and 1 shared a task; 0 failed and waits again in a job of its own."""
    old = write([(0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 1)], per_task=2, engine=engine)
    begin(old, 0, kind="failed")
    begin(old, 1)
    new = write([(0, 0, 2)], accept=False, engine=engine)
    new.note_queued(0, "9")
    engine.jobs["9"] = Job(new.job_name(0), {1: "qw"})
    assert cancel(f"{GROUP}/{EXP}:0") == ([(0, 0)], [])
    assert deletions(engine) == [["qdel", "9"]], "the old task is that of run 1 now"
    assert (old.cancelled(), new.cancelled()) == ([], [(0, 0)])


def test_an_older_task_of_another_run_keeps_no_task_alive(engine):
    """Runs 0 and 1 shared a task; 0 was lost, and goes on as its next attempt."""
    old = write([(0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 1)], per_task=2, engine=engine)
    begin(old, 0)
    begin(old, 1)
    assert job_node.claim(old.jobs_dir, 0, 0, 2, {"token": "another"})
    assert cancel(f"{GROUP}/{EXP}:1") == ([(1, 0)], [])
    assert deletions(engine) == [["qdel", "5.1-1"]]


def test_the_lock_is_held_until_the_engine_has_answered(engine):
    """Who sends in the meantime would send what is being cancelled."""
    sent, held = write(3, engine=engine), {}

    def look(command):
        held[command[0]] = (sent.jobs_dir / "lock").is_dir(), sent.cancelled()

    begin(sent, 0)
    (known,) = known_runs.find(f"{GROUP}/{EXP}")
    queue_states._asked.clear()
    engine.before_call = look
    queue_cancel.cancel(known)
    assert held == {"qstat": (True, []), "qdel": (True, [(1, 2)])}
    assert not (sent.jobs_dir / "lock").exists()


def test_the_engine_does_not_let_go(engine):
    sent = write(2, engine=engine)
    engine.script("qdel", {"text": "qdel ended with status 1: denied"})
    assert cancel() == ([(0, 0), (1, 0)], ["qdel ended with status 1: denied"])
    assert sent.cancelled() == [(0, 1)], "what it starts all the same does nothing"


def test_stuck_parts_are_freed_alone(engine):
    tasks = [(0, part, 1) for part in (1, 2, 3)]
    sent = write(tasks, engine=engine)
    begin(sent, 0, part=1, line=0)
    engine.jobs["5"].states = {1: "r", 2: "Eqw", 3: "qw"}
    (known,) = known_runs.find(f"{GROUP}/{EXP}")
    queue_cancel.free(known)
    assert sent.cancelled() == [(1, 1)]
    assert deletions(engine) == [["qdel", "5.2-2"]]


def test_what_cannot_be_freed_is_refused(engine):
    write(1, state="Eqw", engine=engine)
    engine.script("qdel", {"text": "denied"})
    (known,) = known_runs.find(f"{GROUP}/{EXP}")
    with pytest.raises(Refusal, match="^group/exp is stuck in its queue and stays there: denied$"):
        queue_cancel.free(known)


# the command


def test_the_command_counts_and_waits_for_what_ran(engine, capsys):
    sent = write(4, engine=engine)
    begin(sent, 0)
    begin(sent, 3, kind="done")
    assert run_actions.cancel(known_runs.find(f"{GROUP}/{EXP}")) == 1
    assert capsys.readouterr().out.splitlines() == [
        "group/exp: 2 cancelled before they started",
        "group/exp:3 is done; nothing to cancel",
        "group/exp:0 was asked to end and has not ended yet",
    ]


def test_the_command_is_done_when_all_has_ended(engine, capsys, monkeypatch):
    sent = write(1, engine=engine)
    begin(sent, 0)
    monkeypatch.setattr(run_actions, "WAIT_S", 60.0)
    engine.before_call = lambda command: (
        command[0] == "qdel" and job_node.record(sent.jobs_dir, 0, 0, 1, "cancelled", {})
    )
    assert run_actions.cancel(known_runs.find(f"{GROUP}/{EXP}")) == 0
    assert capsys.readouterr().out == "group/exp:0 cancelled\n"


def test_the_command_fails_where_an_engine_does(engine, capsys):
    write(1, engine=engine)
    engine.script("qdel", {"text": "denied\x1b[31m"})
    assert run_actions.cancel(known_runs.find(f"{GROUP}/{EXP}")) == 1
    told = capsys.readouterr()
    assert told.out == "group/exp: 1 cancelled before it started\n"
    assert told.err == "denied\\x1b[31m\n"


def test_a_hundred_thousand_are_cancelled_in_seconds(engine):
    sent = write(100_000, calls=[[0, 75_000], [75_000, 25_000]], engine=engine)
    entry = (
        "<job_list><JB_job_number>{}</JB_job_number><JB_name>{}</JB_name><state>qw</state>"
        "<tasks>{}</tasks></job_list>"
    )
    listed = entry.format(5, sent.job_name(0), "1-75000:1")
    listed += entry.format(6, sent.job_name(1), "1-25000:1")
    engine.script("qstat", *[{"answer": f"<job_info>{listed}</job_info>"}] * 9)
    known = known_runs.find(f"{GROUP}/{EXP}")[0]
    start = time.process_time()
    taken, problems = queue_cancel.cancel(known)
    assert time.process_time() - start < 3.0
    assert (len(taken), problems) == (100_000, [])
    assert deletions(engine) == [["qdel", "5"], ["qdel", "6"]]
