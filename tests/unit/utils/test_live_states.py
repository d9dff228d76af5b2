"""What is kept up to date is what `states` would say, and few files are looked at."""

import builtins
import os
import random
from collections import Counter

import pytest
from scripted_engine import Job, ScriptedEngine

from utils import job_node, paths, plans, registry, states
from utils.live_states import LiveStates

GROUP, EXP = "group", "exp"
ELSEWHERE = {"machine": "another boot"}


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def jobs_dir(bench_folders):
    return paths.jobs_dir(GROUP, EXP)


def claim(jobs_dir, run, attempt=1, part=0, **content):
    path = job_node.state_file(jobs_dir, run, part, attempt, "claim")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    job_node.write_json(path, {**job_node.own_process(), **content})
    return path


def send(jobs_dir, runs, alive=False, attempt=1):
    sent = plans.send(jobs_dir, [{"run": r} for r in runs], [(r, 0, attempt) for r in runs], {})
    if not alive:
        about = {**sent.about, "pid_start": -1}
        job_node.write_json(str(jobs_dir / f"{sent.stem}.json"), about)
    return sent


def live(clock=None):
    found = LiveStates(GROUP, EXP, states.states(GROUP, EXP), clock or Clock())
    found.look()
    return found


def test_every_change_is_seen_at_the_next_look(jobs_dir):
    """Random events, and after each the counts and rows of `states`, which reads everything."""
    drawn = random.Random(3)
    send(jobs_dir, [0, 1, 999, 1000, 2500, 3000])
    folder = paths.log_dir(GROUP, EXP, 77, "name", 0)
    folder.mkdir(parents=True)
    registry.write_json(
        folder / "run.json", {"state": "done", "key": "", "seed": 0, "arguments": {}}
    )
    seen, kinds = live(), set()
    runs = [0, 1, 2, 77, 999, 1000, 1001, 2500, "hand-00ff00"]
    for step in range(80):
        run = drawn.choice(runs)
        attempt, kind = job_node.latest(jobs_dir, run)
        if step in (30, 60):
            numbers = [r for r in runs if isinstance(r, int)]
            send(jobs_dir, numbers, alive=step == 30, attempt=attempt + 1)
        elif kind == "running":
            job_node.record(jobs_dir, run, 0, attempt, drawn.choice(job_node.FINAL), {})
        elif step % 7 == 3:
            claim(jobs_dir, run, attempt + 1, pid_start=-1)
        else:
            claim(jobs_dir, run, attempt + 1)
        seen.look()
        whole = states.states(GROUP, EXP)
        assert seen.counts() == Counter(state.state for state in whole.values())
        notable = [s for s in whole.values() if s.state not in ("done", "new", "pending")]
        assert seen.notable() == notable
        kinds |= set(seen.counts())
    assert kinds >= {"done", "failed", "cancelled", "lost", "running", "pending", "new"}


def test_a_process_of_this_machine_is_asked_for_at_every_look(jobs_dir, monkeypatch):
    claim(jobs_dir, 0)
    seen = live()
    assert seen.counts() == {"running": 1}
    monkeypatch.setattr(job_node, "lives", lambda *_: False)
    seen.look()
    assert seen.counts() == {"lost": 1}


def test_a_program_that_outlives_its_wrapper_is_running(jobs_dir, monkeypatch):
    """The wrapper adds its program to the claim a moment after it has made it."""
    path = claim(jobs_dir, 0)
    seen = live()
    me = job_node.own_process()
    about = {**job_node.read_json(path), "program": me["pid"], "program_start": me["pid_start"]}
    job_node.write_json(path, {**about, "pid_start": -1})
    real = job_node.lives
    monkeypatch.setattr(
        job_node, "lives", lambda info, name="pid": name == "program" and real(info, name)
    )
    seen.look()
    assert seen.counts() == {"running": 1}


def test_elsewhere_a_heartbeat_that_stands_still_means_lost(jobs_dir, clock):
    path = claim(jobs_dir, 0, **ELSEWHERE)
    seen = live(clock)
    assert seen.counts() == {"running": 1}
    for _ in range(3):  # it beats
        clock.now += job_node.SILENT_S
        os.utime(path, (clock.now, clock.now))
        seen.look()
        assert seen.counts() == {"running": 1}
    clock.now += job_node.SILENT_S - 1
    seen.look()
    assert seen.counts() == {"running": 1}
    clock.now += 1
    seen.look()
    assert seen.counts() == {"lost": 1}
    os.utime(path)
    clock.now += job_node.SILENT_S
    seen.look()
    assert seen.counts() == {"running": 1}


def test_a_claim_that_was_old_at_the_first_look_is_lost_at_once(jobs_dir, clock):
    path = claim(jobs_dir, 0, **ELSEWHERE)
    os.utime(path, (1e9, 1e9))
    assert live(clock).counts() == {"lost": 1}


def test_what_came_in_the_moment_of_a_listing_is_seen_at_the_next_look(jobs_dir, monkeypatch):
    """Behind the listing, and so soon that the folder has the same time."""
    seen = live()
    claim(jobs_dir, 0)
    names_in, folder = states.names_in, job_node.state_dir(jobs_dir, 0)
    moment = os.stat(folder).st_mtime_ns

    def list_and_claim(path):
        names = names_in(path)
        claim(jobs_dir, 1)
        os.utime(folder, ns=(moment, moment))
        return names

    monkeypatch.setattr(states, "names_in", list_and_claim)
    seen.look()
    assert seen.counts() == {"running": 1}
    monkeypatch.setattr(states, "names_in", names_in)
    seen.look()
    assert seen.counts() == {"running": 2}


def test_runs_of_a_launcher_that_ends_wait_for_nobody(jobs_dir, monkeypatch):
    send(jobs_dir, [0, 1], alive=True)
    seen = live()
    assert seen.counts() == {"pending": 2}
    monkeypatch.setattr(job_node, "lives", lambda *_: False)
    seen.look()
    assert seen.counts() == {"new": 2}


def test_the_engine_of_what_was_sent_after_the_first_look_is_asked(jobs_dir, clock, monkeypatch):
    engine = ScriptedEngine(monkeypatch)
    claim(jobs_dir, 0)
    seen = live(clock)
    about = {"engine": {"name": "grid-engine"}, "user": "alice", "array": True, "calls": [[0, 1]]}
    sent = plans.send(jobs_dir, [{"run": 1}], [(1, 0, 1)], about)
    sent.note_queued(0, "5")
    engine.jobs["5"] = Job(sent.job_name(0), {1: "r"})
    claim(jobs_dir, 1, **ELSEWHERE, token=sent.token, task=0)
    for seconds in (1, job_node.SILENT_S, job_node.SILENT_S):
        clock.now += seconds
        seen.look()
    assert [(state.run, state.state) for state in seen.notable()] == [
        (0, "running"),
        (1, "running"),
    ]
    assert seen.notable()[1].note == "silent, and its queue says that it is running"


def test_removed_runs_are_gone(jobs_dir):
    send(jobs_dir, [0, 1])
    claim(jobs_dir, 0)
    seen = live()
    os.unlink(job_node.state_file(jobs_dir, 0, 0, 1, "claim"))
    plans.forget(jobs_dir, [0])
    seen.look()
    assert seen.counts() == {"new": 1}


def test_a_look_at_nothing_new_lists_and_reads_nothing(jobs_dir, clock, monkeypatch):
    send(jobs_dir, range(3000), alive=True)
    for run in range(0, 3000, 100):
        claim(jobs_dir, run, **(ELSEWHERE if run % 200 else {}))
    seen = live(clock)
    for _ in range(2):
        clock.now += 5
        seen.look()
    asked = []
    root = str(paths.results_dir())

    def count(module, name):
        real = getattr(module, name)

        def counted(path, *more, **named):
            if str(path).startswith(root):
                asked.append(name)
            return real(path, *more, **named)

        monkeypatch.setattr(module, name, counted)

    for name in ("stat", "listdir", "scandir", "open"):
        count(os, name)
    count(builtins, "open")
    clock.now += 5
    seen.look()
    assert Counter(asked) == {"stat": 2 + 3}  # the jobs, the states, and three thousands
    clock.now += job_node.SILENT_S
    seen.look()
    assert Counter(asked) == {"stat": 2 * 5 + 15}  # and the heartbeats of other machines
