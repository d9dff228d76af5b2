"""Sending again: what ended badly as it was sent, what had no room as it was to be sent."""

import os

import pytest
from scripted_engine import FULL, Job, ScriptedEngine

from utils import environments, job_node, launches, paths, plans, retries
from utils.command_lines import Refusal

ELSEWHERE = {"machine": "another boot", "host": "node7"}


@pytest.fixture
def engine(bench_folders, tmp_path, monkeypatch):
    facts = tmp_path / "facts.toml"
    facts.write_text("")
    monkeypatch.setenv("QUEUES", str(facts))
    return ScriptedEngine(monkeypatch)


@pytest.fixture
def started(engine, monkeypatch):
    """What would be started: runs by experiment, and what they get."""
    calls = []

    def start(planned, wish, terms):
        assert wish.resume
        runs = {"/".join(place): [e["run"] for e in entries] for place, entries in planned.items()}
        calls.append((runs, terms))
        return len(calls) - 1

    monkeypatch.setattr(launches, "start", start)
    return calls


def write(ends, exp="e", environment="qsub-cpu", job=None, engine=None, **about):
    """Write down runs that ended like this; "" for one that nobody has begun."""
    queued = environment in environments.QUEUED
    name = "slurm" if environment.startswith("slurm") else "grid-engine"
    about = {
        **{"environment_name": environment, "resources": {**environments.NEEDS}, "gpus": None},
        **{"per_task": 1, "at_once": 0, "arrays": True, "array": True, "together": False},
        **({"engine": {"name": name}, "calls": [[0, len(ends)]]} if queued else {}),
        **{"user": "alice"},
        **about,
    }
    jobs_dir = paths.jobs_dir("g", exp)
    entries = [{"run": run, "argv": [], "script": "x"} for run in range(len(ends))]
    sent = plans.send(jobs_dir, entries, [(run, 0, 1) for run in range(len(ends))], about)
    path = str(jobs_dir / f"{sent.stem}.json")
    job_node.write_json(path, {**sent.about, "pid_start": -1})
    for run, end in enumerate(ends):
        if end:
            claim = job_node.state_file(jobs_dir, run, 0, 1, "claim")
            os.makedirs(os.path.dirname(claim), exist_ok=True)
            about = {**job_node.own_process(), **ELSEWHERE, "token": sent.token, "task": run}
            job_node.write_json(claim, about)
        if end in job_node.FINAL:
            job_node.record(jobs_dir, run, 0, 1, end, {})
    if job:
        sent.note_queued(0, "5")
        engine.jobs["5"] = Job(sent.job_name(0), job)
    return sent


ENDS = ["done", "failed", "timeout", "memory", "cancelled", "skipped", "running", ""]


def test_all_that_is_not_done_is_started_again(started, capsys):
    write(ENDS)
    assert retries.retry([], "g/e", None) == 0
    ((runs, terms),) = started
    assert runs == {"g/e": [1, 2, 3, 4, 5, 7]}
    assert (terms.environment, terms.resources) == ("qsub-cpu", environments.NEEDS)
    assert (terms.at_once, terms.per_task, terms.array, terms.together) == (0, 1, True, False)
    assert capsys.readouterr().out == ""


def test_failed_alone_filters_what_is_named(started, capsys):
    write(ENDS)
    assert retries.retry(["g/e:0-2", "g/e:6"], "", None) == 0
    assert started[0][0] == {"g/e": [1, 2]}
    assert capsys.readouterr().out == ""
    assert retries.retry(["g/e:0-2", "g/e:6"], None, None) == 1  # what `started` answers
    assert started[1][0] == {"g/e": [1, 2]}
    assert capsys.readouterr().out == "g/e: 1 done · 1 running; not started again\n"


def test_runs_that_are_named_twice_are_started_once(started):
    write(["failed", "failed"])
    retries.retry(["g/e:1"], "g/e", None)
    assert started[0][0] == {"g/e": [0, 1]}


@pytest.mark.parametrize("failed", [None, ""])
def test_somebody_has_to_be_named(started, failed):
    with pytest.raises(Refusal, match="name the runs to try again, or an experiment behind --fai"):
        retries.retry([], failed, None)


def test_nothing_to_try_again(started, capsys):
    write(["done"])
    assert retries.retry([], "g/e", None) == 0
    assert capsys.readouterr().out == "nothing to try again\n"
    assert started == []


def test_runs_by_hand_are_refused_where_they_are_named(started):
    write(["failed"])
    job_node.claim(paths.jobs_dir("g", "e"), "hand-0a1b2c", 0, 1, {"token": None})
    job_node.record(paths.jobs_dir("g", "e"), "hand-0a1b2c", 0, 1, "failed", {})
    with pytest.raises(Refusal, match="g/e:hand-0a1b2c was started by hand; start it again in"):
        retries.retry(["g/e"], None, None)
    assert started == []
    retries.retry([], "g/e", None)
    assert started[0][0] == {"g/e": [0]}


def test_each_goes_back_to_where_it_was(started):
    needs = {**environments.NEEDS, "threads": 2, "memory": "8G", "hours": 3}
    write(["failed"], "a", "slurm-gpu", resources=needs, per_task=4, together=True)
    write(["failed"], "b", "slurm-gpu", resources=needs, per_task=4, together=True)
    write(["failed"], "c", at_once=7, arrays=False)
    write(["failed"], "d", "linux", resources={"threads": 1})  # as written by an older version
    assert retries.retry(["g/a", "g/b", "g/c", "g/d"], None, None) == 1, "the first that is not 0"
    assert [runs for runs, _ in started] == [{"g/a": [0], "g/b": [0]}, {"g/c": [0]}, {"g/d": [0]}]
    first, second, third = (terms for _, terms in started)
    assert (first.environment, first.resources) == ("slurm-gpu", needs)
    assert (first.per_task, first.together, first.array) == (4, True, True)
    assert (second.environment, second.at_once, second.array) == ("qsub-cpu", 7, False)
    assert (third.environment, third.array, third.per_task) == ("linux", True, 1)
    assert third.resources == environments.NEEDS


def test_more_memory_and_time_and_fewer_at_once(started):
    write(["memory"], "a", resources={**environments.NEEDS, "memory": "8G", "threads": 3})
    retries.retry(["g/a"], None, 5, "16G", 48.0)
    ((_, terms),) = started
    assert terms.resources == {"threads": 3, "memory": "16G", "gpus": 0, "hours": 48.0}
    assert terms.at_once == 5


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"memory": "16G"}, "--memory is for runs in a queue, and these ran in linux; leave it"),
        ({"hours": 2.0}, "--hours is for runs in a queue, and these ran in linux; leave it out"),
        ({"memory": "16"}, "memory is '16'; it is a text .* behind it. Give one in the command"),
        ({"hours": 1e9}, "hours is 1000000000.0; it is a number above 0"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(engine, started, given, sentence):
    write(["failed", ""], "a", job={2: "Eqw"}, engine=engine)
    if "linux" in sentence:
        write(["failed"], "b", "linux")
    with pytest.raises(Refusal, match=sentence):
        retries.retry(["g/a", *(["g/b"] if "linux" in sentence else [])], None, None, **given)
    assert started == []
    assert engine.asked("qdel") == []


def test_what_is_stuck_is_freed_first(engine, started):
    sent = write(["failed", "", "", "running"], job={2: "Eqw", 3: "qw"}, engine=engine)
    engine.before_call = lambda command: command[0] == "qdel" and started.append("freed")
    retries.retry([], "g/e", None)
    assert started.pop(0) == "freed"
    assert sent.cancelled() == [(1, 1)]
    assert engine.asked("qdel") == [["qdel", "5.2-2"]]
    assert started[0][0] == {"g/e": [0, 1]}


def test_what_stays_stuck_is_not_started_again(engine, started):
    write([""], job={1: "Eqw"}, engine=engine)
    engine.script("qdel", {"text": "denied"})
    with pytest.raises(Refusal, match="stays there: denied"):
        retries.retry(["g/e"], None, None)
    assert started == []


def test_while_nothing_is_known_nothing_is_started_again(engine, started, capsys):
    write(["", ""], job={1: "qw"}, engine=engine)
    engine.script("qstat", FULL)
    assert retries.retry(["g/e"], None, None) == 0
    assert capsys.readouterr().out.splitlines() == [
        "g/e: 2 unknown; not started again",
        "nothing to try again",
    ]


# runs that had no room


def test_what_had_no_room_is_sent(started, engine, capsys):
    write(["failed", "", ""], "a", at_once=3)
    write(["", ""], "b", job={1: "qw", 2: "qw"}, engine=engine)
    write([""], "c", "linux")
    assert retries.send(None) == 0
    ((runs, terms),) = started
    assert runs == {"g/a": [1, 2]}
    assert terms.at_once == 3
    assert capsys.readouterr().out == ""
    started.clear()
    assert retries.send("g/b") == 0
    assert started == []
    assert capsys.readouterr().out == "nothing waits to be sent to a queue\n"
    assert retries.send("g") == 0
    assert len(started) == 1


@pytest.mark.parametrize(
    ("most", "there", "sent"), [(0, 5, [5, 3]), (20, 5, [5, 3]), (13, 5, [5, 2]), (9, 5, [3])]
)
def test_as_many_as_there_is_room_for(started, engine, most, there, sent):
    write([""] * 5, "a", "slurm-cpu")
    write([""] * 3, "b", "slurm-cpu")
    engine.limits["MaxJobCount"] = most
    engine.ask(["sbatch", "-J", "other", f"--array=0-{there - 1}"])
    assert retries.send(None) == 0
    assert [len(runs) for runs in started[0][0].values()] == sent


def test_without_room_nothing_is_written_down(started, engine, capsys):
    write([""] * 5, "a", "slurm-cpu")
    engine.limits["MaxJobCount"] = 5
    engine.ask(["sbatch", "-J", "other", "--array=0-5"])  # two more than there is room for
    assert retries.send("g/a") == 0
    assert started == []
    assert capsys.readouterr().out == "the queue is full, nothing was sent\n"


def test_every_group_is_started_whatever_became_of_the_first(started, engine):
    write([""], "a")
    write([""], "b", at_once=2)
    write([""], "c", at_once=3)
    assert retries.send(None) == 1
    assert len(started) == 3
