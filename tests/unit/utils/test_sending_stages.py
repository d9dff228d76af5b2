"""Runs of a stage are held back by the engine until the jobs that they need have ended."""

import pytest
from scripted_engine import ScriptedEngine

from utils import environments, paths, plans, promises, queue_launches, sending
from utils.sending import After, Sender

ABOUT = {"environment_name": "qsub-cpu", "environment": {}, "python": "python"}


@pytest.fixture
def engine(bench_folders, tmp_path, monkeypatch):
    facts = tmp_path / "facts.toml"
    facts.write_text("")
    monkeypatch.setenv("QUEUES", str(facts))
    return ScriptedEngine(monkeypatch)


def batch(tasks=3, exp="e", needs=None, first=0):
    entries = [
        {"run": run, "script": "experiments/g/e.py", "argv": [f"--run={run}"]}
        | ({"needs": needs(run)} if needs else {})
        for run in range(first, first + tasks)
    ]
    return promises.Batch("g", exp, entries, [(entry["run"], 0, 1) for entry in entries])


def need(exp, runs):
    return [{"exp_folder": "g", "exp": exp, "runs": str(runs)}]


def terms(environment="qsub-cpu", jobs=None, **more):
    return environments.terms(environment, {}, jobs, **more)


def send(batches, **more):
    batches = batches if isinstance(batches, list) else [batches]
    return queue_launches.send(batches, terms(**more), ABOUT)


def submissions(exp):
    return plans.submissions(paths.jobs_dir("g", exp))


def options(number, *names):
    """Values of options in the command of a job."""
    return lambda engine: [
        engine.jobs[number].command[engine.jobs[number].command.index(name) + 1]
        if name in engine.jobs[number].command
        else None
        for name in names
    ]


def test_batches_are_sent_in_the_order_of_their_needs():
    test = batch(exp="test", needs=lambda run: need("train", "0-2"))
    figure = batch(1, "figure", needs=lambda run: [*need("test", "0-2"), *need("gone", "0")])
    train, other = batch(exp="train"), batch(exp="other")
    order = sending.in_order([figure, other, test, train])
    assert [one.exp for one in order] == ["train", "test", "figure", "other"]
    assert sending.in_order([]) == []


def test_a_stage_waits_task_by_task_where_runs_match(engine):
    engine.limits["max_aj_tasks"] = 2
    train, test = batch(exp="train"), batch(exp="test", needs=lambda run: need("train", run))
    assert send([test, train]) == 0
    names = ("-hold_jid", "-hold_jid_ad")
    held = [options(number, *names)(engine) for number in "1234"]
    assert held == [[None, None], [None, None], [None, "1"], [None, "2"]]
    assert engine.jobs["1"].command[-3] == str(paths.jobs_dir("g", "train"))


def test_single_jobs_wait_for_single_jobs(engine):
    train, test = batch(exp="train"), batch(exp="test", needs=lambda run: need("train", run))
    assert send([train, test], array=False) == 0
    held = [options(number, "-hold_jid", "-hold_jid_ad")(engine) for number in "456"]
    assert held == [["1", None], ["2", None], ["3", None]]


def test_a_stage_waits_for_the_whole_where_runs_do_not_match(engine):
    engine.limits["max_aj_tasks"] = 2
    train = batch(3, "train")
    figure = batch(1, "figure", needs=lambda run: need("train", "0-2"))
    assert send([train, figure]) == 0
    assert options("3", "-hold_jid", "-hold_jid_ad")(engine) == ["1,2", None]


@pytest.mark.parametrize(
    ("other", "needs"),
    [
        (batch(4, "train"), lambda run: need("train", run)),
        (batch(3, "train"), lambda run: need("train", 0)),
        (batch(3, "train", first=1), lambda run: need("train", run)),
        (batch(3, "train"), lambda run: [*need("train", run), *need("gone", run)]),
    ],
)
def test_what_does_not_match_in_every_run_is_held_as_a_whole(engine, other, needs):
    assert send([other, batch(exp="test", needs=needs)], environment="qsub-cpu") == 0
    assert options("2", "-hold_jid", "-hold_jid_ad")(engine) == ["1", None]


def test_a_stage_of_which_few_go_at_a_time_waits_for_its_own_arrays_as_well(engine):
    engine.limits["max_aj_tasks"] = 2
    test = batch(3, "test", needs=lambda run: need("train", "0-2"))
    assert send([batch(3, "train"), test], jobs=1) == 0
    held = [options(number, "-hold_jid")(engine) for number in "1234"]
    assert held == [[None], ["1"], ["1,2"], ["1,2,3"]]


def test_under_slurm_any_end_counts(engine):
    train, test = batch(exp="train"), batch(exp="test", needs=lambda run: need("train", run))
    assert send([train, test], environment="slurm-cpu") == 0
    assert "--dependency=afterany:1" in engine.jobs["2"].command


def test_jobs_of_an_earlier_launch_are_waited_for_while_they_go_on(engine):
    engine.limits["max_aj_tasks"] = 2
    send(batch(3, "train"))
    stage = batch(3, "test", needs=lambda run: need("train", run))
    assert send(stage) == 0
    assert [options(n, "-hold_jid")(engine) for n in "34"] == [["1,2"], ["1,2"]]
    # what was cancelled, or has ended, is no longer waited for
    submissions("train")[0].note_cancelled(0, 1)
    assert send(batch(1, "again", needs=lambda run: need("train", run))) == 0
    assert options("5", "-hold_jid")(engine) == ["2"]
    submissions("train")[0].note_cancelled(2, 2)
    assert send(batch(1, "late", needs=lambda run: need("train", run))) == 0
    assert options("6", "-hold_jid")(engine) == [None]


def test_nothing_is_needed_of_nobody(engine):
    sender = Sender(terms())
    one = batch()
    assert After(one, sender.calls(3), {}).of(0) == ([], "")


def test_a_job_that_another_launch_sends_is_not_held_twice(engine):
    send(batch(2, "train"))
    again = [batch(2, "train", first=2), batch(1, "test", needs=lambda run: need("train", "0-3"))]
    assert send(again) == 0
    assert options("3", "-hold_jid")(engine) == ["2,1"]
