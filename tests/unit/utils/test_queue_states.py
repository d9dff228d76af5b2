"""What becomes known of runs that an engine has, row by row, and how rarely it is asked."""

import os
import time
from collections import Counter

import pytest
from scripted_engine import REFUSED, TIMED_OUT, Job, ScriptedEngine

from utils import engines, job_node, paths, plans, queue_states, states
from utils.engines import QueueError
from utils.live_states import QUEUE_S, LiveStates

GROUP, EXP = "group", "exp"
ELSEWHERE = {"machine": "another boot", "host": "node7"}
ACCOUNT = "=====\njobname  {}\nfailed   {}\nexit_status  {}\n"


@pytest.fixture
def jobs_dir(bench_folders):
    return paths.jobs_dir(GROUP, EXP)


@pytest.fixture
def engine(monkeypatch):
    return ScriptedEngine(monkeypatch)


def write(jobs_dir, runs=1, calls=None, attempt=1, name="grid-engine", alive=False, **about):
    """Write down what was to be sent; by default by a launcher that has ended."""
    runs = range(runs) if isinstance(runs, int) else runs
    tasks = [(run, 0, attempt) for run in runs]
    about = {
        **{"engine": {"name": name}, "user": "alice", "per_task": 1, "array": True},
        **{"calls": calls or [[0, len(tasks)]], **about},
    }
    sent = plans.send(jobs_dir, [{"run": run} for run in runs], tasks, about)
    if not alive:
        path = str(jobs_dir / f"{sent.stem}.json")
        job_node.write_json(path, {**sent.about, "pid_start": -1})
    return plans.Submission(jobs_dir, sent.stem, sent.about)


def accept(engine, sent, number="5", call=0, states=None):
    """Have the engine accept a call, and note it."""
    sent.note_queued(call, number)
    if states is not None:
        engine.jobs[number] = Job(sent.job_name(call), states)
    return sent


def age(sent, seconds):
    moment = time.time() - seconds
    for path in (sent.queued_file, sent.jobs_dir / f"{sent.stem}.json"):
        if path.exists():
            os.utime(path, (moment, moment))


def claim(sent, run, line=None, attempt=1, age_s=0.0, **content):
    path = job_node.state_file(sent.jobs_dir, run, 0, attempt, "claim")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    told = {"token": sent.token, "task": run if line is None else line}
    job_node.write_json(path, {**job_node.own_process(), **ELSEWHERE, **told, **content})
    moment = time.time() - age_s
    os.utime(path, (moment, moment))
    return path


def found():
    return {run: (told.state, told.note) for run, told in states.states(GROUP, EXP).items()}


def test_what_has_a_record_is_not_asked_for(jobs_dir, engine):
    sent = accept(engine, write(jobs_dir, 3), states={1: "Eqw", 2: "r"})
    for run, kind in enumerate(("done", "timeout", "memory")):
        claim(sent, run, age_s=9999)
        job_node.record(jobs_dir, run, 0, 1, kind, {})
    assert found() == {0: ("done", ""), 1: ("timeout", ""), 2: ("memory", "")}
    LiveStates(GROUP, EXP, {}).look()
    assert engine.commands == []


def test_a_question_without_an_answer_says_nothing(jobs_dir, engine):
    sent = accept(engine, write(jobs_dir, 4, calls=[[0, 3], [3, 1]]), states={1: "qw"})
    claim(sent, 1)
    claim(sent, 2, age_s=9999)
    engine.script("qstat", REFUSED)
    unknown = ("unknown", "qstat is not well")
    assert found() == {0: unknown, 1: ("running", ""), 2: unknown, 3: unknown}
    assert len(engine.commands) == 1


def test_while_it_is_being_sent_it_waits(jobs_dir, engine):
    accept(engine, write(jobs_dir, 2, calls=[[0, 1], [1, 1]], alive=True))
    engine.script("qstat", TIMED_OUT)
    assert found() == {0: ("unknown", "qstat is not well"), 1: ("pending", "")}


@pytest.mark.parametrize("letters", ["qw", "hqw", "r", "t", "dr", "Rq", "Z"])
def test_without_a_claim_it_waits_whatever_the_engine_calls_it(jobs_dir, engine, letters):
    sent = accept(engine, write(jobs_dir, 2), states={1: letters, 2: letters})
    age(sent, 9999)
    assert found() == {0: ("pending", ""), 1: ("pending", "")}


def test_what_is_stuck_is_so_for_a_reason(jobs_dir, engine):
    states_of = {1: "Eqw", 2: "qw", 3: "Eqw"}
    accept(engine, write(jobs_dir, 3), states=states_of)
    engine.texts["qstat"] = "error reason  1:   11/21/2026 20:34:33 [1:2]: can't chdir to x\n"
    stuck = ("stuck", "can't chdir to x")
    assert found() == {0: stuck, 1: ("pending", ""), 2: stuck}
    assert engine.asked("qstat")[1:] == [["qstat", "-j", "5"]]
    found()
    assert len(engine.asked("qstat")) == 2


def test_without_an_answer_to_why_its_state_is_the_reason(jobs_dir, engine):
    accept(engine, write(jobs_dir, 1), states={1: "Eqw"})
    assert found() == {0: ("stuck", "Grid Engine could not start it (state Eqw)")}


def test_slurm_says_why_with_the_state(jobs_dir, engine):
    accept(engine, write(jobs_dir, 1, name="slurm"), states={0: "PENDING|BadConstraints"})
    assert found() == {0: ("stuck", "Slurm says: BadConstraints")}
    assert [command[:3] for command in engine.commands] == [["squeue", "-u", "alice"]]


@pytest.mark.parametrize("told", [{}, {1: "Eqw"}, {1: "qw"}, {1: "r"}])
def test_a_fresh_heartbeat_is_right_and_the_engine_wrong(jobs_dir, engine, told):
    sent = accept(engine, write(jobs_dir, 1), states=told)
    age(sent, 9999)
    claim(sent, 0, age_s=80)
    assert found() == {0: ("running", "")}
    assert engine.commands == []


SAID = "silent, and its queue says that it is running"


@pytest.mark.parametrize("letters", ["r", "qw", "Eqw"])
def test_an_old_heartbeat_of_what_runs_is_marked(jobs_dir, engine, letters):
    sent = accept(engine, write(jobs_dir, 2), states={1: "qw", 2: letters})
    claim(sent, 1, age_s=100)
    assert found() == {0: ("pending", ""), 1: ("running", SAID)}


@pytest.mark.parametrize(
    ("failed", "status", "expected"),
    [
        ("37  : qmaster enforced h_rt", "137 (Killed)", ("timeout", "the queue's time limit end")),
        (
            "100 : assumedly after job",
            "137 (Killed)",
            ("lost", "Grid Engine says: failed 100 : as"),
        ),
        ("0", "3", ("lost", "its job ended with status 3")),
        (None, None, ("lost", "")),
    ],
)
def test_an_old_heartbeat_of_what_has_ended(jobs_dir, engine, failed, status, expected):
    sent = accept(engine, write(jobs_dir, 2), states={})
    claim(sent, 0)
    claim(sent, 1, age_s=100)
    if failed is not None:
        engine.texts["qacct"] = ACCOUNT.format(sent.job_name(0), failed, status)
    state, note = found()[1]
    assert (state, note[: len(expected[1])]) == expected
    assert engine.asked("qacct") == [["qacct", "-j", "5", "-t", "2"]]
    found()
    assert len(engine.asked("qacct")) == (2 if failed is None else 1), "an account may come later"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("TIMEOUT", ("timeout", "the queue's time limit ended it")),
        ("OUT_OF_MEMORY", ("memory", "the queue's memory limit ended it")),
        ("CANCELLED", ("cancelled", "cancelled in the queue")),
        ("FAILED", ("lost", "Slurm says: FAILED")),
        ("NODE_FAIL", ("lost", "its node failed")),
        ("RUNNING", ("running", SAID)),
    ],
)
def test_slurm_remembers_for_a_while_how_a_task_has_ended(jobs_dir, engine, word, expected):
    told = {0: "RUNNING|None", 1: f"{word}|None"}
    sent = accept(engine, write(jobs_dir, 2, name="slurm"), states=told)
    claim(sent, 0)
    claim(sent, 1, age_s=100)
    assert found() == {0: ("running", ""), 1: expected}


def test_a_job_that_is_no_array_is_asked_for_as_such(jobs_dir, engine):
    sent = accept(engine, write(jobs_dir, 1, array=False), states={})
    claim(sent, 0, age_s=100)
    assert found() == {0: ("lost", "")}
    assert engine.asked("qacct") == [["qacct", "-j", "5"]]
    engine.jobs["5"] = Job(sent.job_name(0), {0: "r"})
    queue_states._asked.clear()
    assert found() == {0: ("running", SAID)}


def test_accounts_are_not_read_for_very_many(jobs_dir, engine):
    sent = accept(engine, write(jobs_dir, 60), states={})
    engine.texts["qacct"] = ACCOUNT.format(sent.job_name(0), "37", "137")
    for run in range(60):
        claim(sent, run, age_s=100)
    assert Counter(state for state, _ in found().values()) == {"timeout": 40, "lost": 20}


def test_the_silent_wrapper_of_another_token_is_lost(jobs_dir, engine):
    sent = accept(engine, write(jobs_dir, 1), states={1: "r"})
    claim(sent, 0, age_s=100, token="ffff")
    assert found() == {0: ("lost", "")}
    claim(sent, 0, age_s=100, task=None)
    assert found() == {0: ("lost", "")}
    assert engine.commands == []


# gone without a trace


def test_what_the_engine_does_not_know_may_show_a_trace_yet(jobs_dir, engine):
    sent = accept(engine, write(jobs_dir, 2), states={})
    age(sent, 9999)
    os.utime(sent.queued_file, (time.time() - 85,) * 2)  # the last call counts
    assert found() == {0: ("pending", ""), 1: ("pending", "")}
    age(sent, 95)
    lost = ("lost", "Grid Engine does not know it any more, and it never began")
    assert found() == {0: lost, 1: lost}
    sent.engine_log.write_text("node7: python: not found\n\n")
    assert found()[0] == ("lost", "node7: python: not found")


def test_clocks_of_hosts_do_not_matter(jobs_dir, engine, monkeypatch):
    real = time.time
    sent = accept(engine, write(jobs_dir, 3), states={})
    claim(sent, 1)
    claim(sent, 2, age_s=100)
    for hours in (-1, 1):
        monkeypatch.setattr(time, "time", lambda hours=hours: real() + 3600 * hours)
        assert found() == {0: ("pending", ""), 1: ("running", ""), 2: ("lost", "")}


def test_in_a_folder_of_somebody_else_the_margin_is_larger(jobs_dir, engine, monkeypatch):
    sent = accept(engine, write(jobs_dir, 1), states={})
    monkeypatch.setattr(job_node, "server_clock", lambda folder: (time.time(), 10.0))
    age(sent, 850)
    assert found()[0][0] == "pending"
    age(sent, 950)
    assert found()[0][0] == "lost"


def test_an_end_that_slurm_knows_of_is_told_when_no_record_can_come_any_more(jobs_dir, engine):
    words = ("CANCELLED", "TIMEOUT", "COMPLETED", "RUNNING")
    told = {task: f"{word}|None" for task, word in enumerate(words)}
    sent = accept(engine, write(jobs_dir, 5, name="slurm"), states=told)
    assert [state for state, _ in found().values()] == ["pending"] * 5
    age(sent, 95)
    gone = ("lost", "Slurm does not know it any more, and it never began")
    assert found() == {
        0: ("cancelled", "cancelled in the queue"),
        1: ("timeout", "the queue's time limit ended it"),
        2: ("lost", "Slurm says: COMPLETED, and it never began"),
        3: ("pending", ""),
        4: gone,
    }


def test_a_number_that_is_another_jobs_by_now_tells_nothing(jobs_dir, engine):
    sent = accept(engine, write(jobs_dir, 1), states={})
    age(sent, 95)
    engine.jobs["5"] = Job("r0123456789c0", {1: "r"})
    assert found()[0][0] == "lost"
    engine.jobs["5"].name = sent.job_name(1)  # our own token, another call
    queue_states._asked.clear()
    assert found()[0][0] == "lost"


def test_a_claim_that_came_while_the_engine_was_asked_counts(jobs_dir, engine):
    sent = accept(engine, write(jobs_dir, 2), states={})
    age(sent, 95)

    def begin(command):
        if command[0] == "qstat":
            claim(sent, 0)

    engine.before_call = begin
    assert [state for state, _ in found().values()] == ["running", "lost"]


def test_an_old_listing_of_a_file_server_makes_no_run_lost(jobs_dir, engine, monkeypatch):
    """A folder is listed as it was until a probe file has been made in it."""
    sent = accept(engine, write(jobs_dir, 2), states={})
    age(sent, 95)
    for run in (0, 1):
        claim(sent, run)
        job_node.record(jobs_dir, run, 0, 1, "done", {})
    probed, names_in, probe = [], states.names_in, job_node.server_clock
    monkeypatch.setattr(job_node, "server_clock", lambda path: probed.append(path) or probe(path))
    monkeypatch.setattr(states, "names_in", lambda path: names_in(path) if path in probed else {})
    assert found() == {0: ("done", ""), 1: ("done", "")}


# intent without a number


def test_an_accepted_call_without_a_number_is_found_by_its_name(jobs_dir, engine):
    sent = write(jobs_dir, 6, calls=[[0, 2], [2, 2], [4, 2]])
    accept(engine, sent, "5", 0, {1: "qw", 2: "qw"})
    engine.jobs["9"] = Job(sent.job_name(2), {1: "qw", 2: "Eqw"})
    engine.jobs["10"] = Job(f"{sent.job_name(1)}x", {1: "qw"})
    kinds = [state for state, _ in found().values()]
    assert kinds == ["pending", "pending", "new", "new", "pending", "stuck"]
    assert queue_states.jobs(sent, queue_states.queue("grid-engine", "alice")) == {0: "5", 2: "9"}


def test_without_a_noted_number_the_submission_tells_when_it_was_sent(jobs_dir, engine):
    sent = write(jobs_dir, 2)
    engine.jobs["9"] = Job(sent.job_name(0), {1: "qw"})
    assert [state for state, _ in found().values()] == ["pending", "pending"]
    age(sent, 95)
    assert [state for state, _ in found().values()] == ["pending", "lost"]


def test_what_is_noted_stands_above_a_name(jobs_dir, engine):
    sent = accept(engine, write(jobs_dir, 1), "5", 0, {1: "qw"})
    known = {number: engines.QueueJob(sent.job_name(0)) for number in ("4", "5", "6")}
    assert queue_states.jobs(sent, known) == {0: "5"}


@pytest.mark.parametrize(("alive", "state"), [(True, "pending"), (False, "new")])
def test_what_nobody_has_sent_is_new(jobs_dir, engine, alive, state):
    write(jobs_dir, 2, alive=alive)
    assert found() == {0: (state, ""), 1: (state, "")}


def test_lines_that_belong_to_no_call_are_new(jobs_dir, engine):
    accept(engine, write(jobs_dir, 3, calls=[[0, 1]]), states={1: "qw"})
    assert [state for state, _ in found().values()] == ["pending", "new", "new"]


# several runs in a task, cancelled ranges, removed runs


def test_runs_of_a_task_stand_as_it_does(jobs_dir, engine):
    sent = write(jobs_dir, 7, calls=[[0, 4], [4, 3]], per_task=2)
    accept(engine, sent, "5", 0, {1: "qw", 2: "Eqw"})
    accept(engine, sent, "6", 1, {1: "Eqw", 2: "qw"})
    kinds = [state for state, _ in found().values()]
    assert kinds == ["pending"] * 2 + ["stuck"] * 4 + ["pending"]
    claim(sent, 5, age_s=100)
    engine.jobs["6"].states = {2: "qw"}
    queue_states._asked.clear()
    found()
    assert engine.asked("qacct") == [["qacct", "-j", "6", "-t", "1"]]


def test_cancelled_is_known_without_the_engine(jobs_dir, engine):
    sent = accept(engine, write(jobs_dir, 5), states={n: "qw" for n in range(1, 6)})
    sent.note_cancelled(1, 2)
    cancelled = ("cancelled", "before it started")
    waits = ("pending", "")
    assert found() == {0: waits, 1: cancelled, 2: cancelled, 3: waits, 4: waits}
    queue_states._asked.clear()
    engine.script("qstat", REFUSED)
    assert [state for state, _ in found().values()] == [
        *("unknown", "cancelled", "cancelled", "unknown", "unknown")
    ]
    sent.note_cancelled(3, 9)
    claim(sent, 0)
    engine.commands.clear()
    queue_states._asked.clear()
    assert [state for state, _ in found().values()] == ["running", *["cancelled"] * 4]
    assert engine.commands == []


def test_a_removed_run_is_nobodys(jobs_dir, engine):
    sent = accept(engine, write(jobs_dir, 3), states={2: "qw", 3: "Eqw"})
    plans.forget(jobs_dir, [1])
    assert {run: state for run, (state, _) in found().items()} == {0: "pending", 2: "stuck"}
    assert sent.tasks()[1] is None


@pytest.mark.parametrize(
    ("about", "line", "job"),
    [
        ({}, 0, "5.1"),
        ({}, 2, "5.3"),
        ({}, 3, "6.1"),
        ({}, 5, ""),
        ({"per_task": 2}, 2, "5.2"),
        ({"per_task": 2}, 4, "6.1"),
        ({"name": "slurm"}, 2, "5.2"),
        ({"array": False}, 3, "6"),
    ],
)
def test_the_job_of_a_run(jobs_dir, engine, about, line, job):
    sent = write(jobs_dir, 6, calls=[[0, 3], [3, 2], [5, 1]], **about)
    sent.note_queued(0, "5")
    sent.note_queued(1, "6")
    assert queue_states.job_of(sent, line) == job


# how often an engine is asked


def test_one_question_is_enough_for_all(jobs_dir, engine, monkeypatch):
    for number, exp in enumerate(("a", "b", "c")):
        accept(engine, write(paths.jobs_dir(GROUP, exp), 2), str(number), states={1: "qw", 2: "qw"})
    for exp in ("a", "b", "c"):
        assert set(states.worst(states.by_part(GROUP, exp)).values())
    assert engine.commands == [["qstat", "-xml", "-u", "alice"]]
    moment = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: moment + queue_states.KEEP_S + 1)
    states.by_part(GROUP, "a")
    assert len(engine.commands) == 2


def test_a_question_in_vain_is_not_put_again_at_once(engine):
    engine.script("qstat", REFUSED, None)
    for _ in range(2):
        with pytest.raises(QueueError, match="qstat is not well"):
            queue_states.queue("grid-engine", "alice")
    assert queue_states.queue("grid-engine", "bob") == {}
    assert queue_states.queue("grid-engine", "alice", keep_s=-1) == {}


def test_a_hundred_thousand_runs_are_told_in_a_second(jobs_dir, engine):
    count = 100_000
    sent = write(jobs_dir, count, calls=[[0, 75000], [75000, 25000]])
    accept(engine, sent, "5", 0)
    accept(engine, sent, "6", 1)
    entry = (
        "<job_list><JB_job_number>{}</JB_job_number><JB_name>{}</JB_name><state>qw</state>"
        "<tasks>{}</tasks></job_list>"
    )
    listed = entry.format(5, sent.job_name(0), "1-75000:1")
    listed += entry.format(6, sent.job_name(1), "1-25000:1")
    engine.script("qstat", {"answer": f"<job_info>{listed}</job_info>"})
    begin = time.process_time()
    told = states.worst(states.by_part(GROUP, EXP))
    assert time.process_time() - begin < 1.0
    assert len(told) == count
    assert {state.state for state in told.values()} == {"pending"}


# the live view


def test_the_live_view_says_the_same_and_asks_rarely(jobs_dir, engine):
    sent = accept(engine, write(jobs_dir, 6), states={n: "qw" for n in range(1, 6)})
    age(sent, 9999)
    claim(sent, 4)
    now = [1000.0]
    live = LiveStates(GROUP, EXP, states.states(GROUP, EXP), lambda: now[0])

    def look(seconds):
        queue_states._asked.clear()
        now[0] += seconds
        before = len(engine.asked("qstat"))
        live.look()
        return dict(live.counts()), len(engine.asked("qstat")) - before

    assert look(0) == ({"pending": 4, "running": 1, "lost": 1}, 1)
    engine.jobs["5"].states = {2: "qw", 3: "Eqw", 4: "qw"}
    claim(sent, 0)
    assert look(5) == ({"pending": 3, "running": 2, "lost": 1}, 0)
    assert look(QUEUE_S - 6) == ({"pending": 3, "running": 2, "lost": 1}, 0)
    assert look(1) == ({"pending": 2, "running": 2, "stuck": 1, "lost": 1}, 2)  # and why
    assert [told.run for told in live.notable()] == [0, 2, 4, 5]
    job_node.record(jobs_dir, 0, 0, 1, "done", {})
    sent.note_cancelled(3, 3)
    engine.script("qstat", *[REFUSED] * 9)
    look(5)
    look(QUEUE_S)
    assert live.counts() == {"done": 1, "running": 1, "unknown": 3, "cancelled": 1}
    assert live.counts() == Counter(state for state, _ in found().values())


def test_the_live_view_asks_an_engine_about_silent_wrappers(jobs_dir, engine):
    sent = accept(engine, write(jobs_dir, 1), states={1: "r"})
    claim(sent, 0, age_s=200)
    now = [1000.0]
    live = LiveStates(GROUP, EXP, {}, lambda: now[0])
    live.look()
    assert [(told.state, told.note) for told in live.notable()] == [("running", SAID)]
    engine.jobs.clear()
    queue_states._asked.clear()
    now[0] += 1
    live.look()
    assert live.counts() == {"running": 1}
    now[0] += job_node.SILENT_S
    live.look()
    assert live.counts() == {"lost": 1}
