"""What goes wrong while runs are sent to a queue, and when it is asked: with a stub of the engines.

See test_queue_faults.py for the list of all faults.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from faulty_grids import (
    attempts,
    check_accepted,
    counted,
    listed,
    one_sentence,
    shorten,
)
from toy_checkout import Checkout, wait_until

ENGINES = {
    "qsub-cpu": {
        "submit": "qsub",
        "query": "qstat",
        "limits": "qconf",
        "array": {"max_tasks": 2},
    },
    "slurm-cpu": {
        "submit": "sbatch",
        "query": "squeue",
        "limits": "scontrol",
        "array": {"max_array": 2},
    },
}
LIMIT_S = 20.0


BOTH = pytest.mark.parametrize("environment", list(ENGINES))


@pytest.fixture
def checkout(tmp_path, stub_engine):
    """Three toys; calls that hang are given up after a second."""
    made = Checkout(tmp_path)
    made.write_grid('product("toys", "toy", number=range(3))')
    shorten(made, PAUSES_S="(0.1, 0.1, 0.1)", ASK_S=1.0, SUBMIT_S=1.5, GRACE_S=0.5)
    return made


def names(stub_engine):
    return [job["name"] for job in stub_engine.jobs()]


@pytest.mark.parametrize(
    ("environment", "kind", "said"),
    [
        ("slurm-cpu", "hang", "did not answer within"),
        ("qsub-cpu", "refused", "ended with status 1"),
        ("qsub-cpu", "garbage", "cannot be read"),
        ("slurm-cpu", "silent", "cannot be read: ''"),
    ],
)
def test_an_engine_that_is_down_gets_nothing(checkout, stub_engine, environment, kind, said):
    stub_engine.fault(ENGINES[environment]["limits"], kind)
    last = one_sentence(checkout.run(environment), said)
    assert last.startswith("nothing was sent")
    assert stub_engine.jobs() == []
    stub_engine.repair()
    assert checkout.run(environment).returncode == 0  # not even --resume is needed
    stub_engine.run()
    check_accepted(checkout, range(3))


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ("qsub-cpu", "hang"),
        ("slurm-cpu", "refused"),
        ("slurm-cpu", "garbage"),
        ("qsub-cpu", "silent"),
        ("slurm-cpu", "timed out"),
        ("qsub-cpu", "timed out"),
    ],
)
def test_an_engine_that_goes_down_in_between_keeps_what_it_has(
    checkout, stub_engine, environment, kind
):
    """The request is judged and the first of two arrays accepted; then nothing more is."""
    stub_engine.settings(**ENGINES[environment]["array"])
    stub_engine.fault(ENGINES[environment]["submit"], kind, after=2)
    last = one_sentence(checkout.run(environment), "2 runs of toys/toy sent")
    assert last.startswith("1 of 3 runs was not sent: ")
    assert last.endswith("the same command with --resume sends the rest")
    assert counted(checkout) == {"pending": 2, "new": 1}
    stub_engine.repair()
    again = checkout.run(environment, "--resume")
    assert again.returncode == 0
    assert "2 pending; not started again" in again.stdout
    assert len(stub_engine.jobs()) == 2, "something was sent twice"
    stub_engine.run()
    check_accepted(checkout, range(3))


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ("slurm-cpu", "accepted, then hangs"),
        ("qsub-cpu", "accepted, then timed out"),
        ("slurm-cpu", "accepted, then timed out"),
        ("qsub-cpu", "truncated"),
    ],
)
def test_a_job_whose_answer_was_lost_is_not_sent_again(checkout, stub_engine, environment, kind):
    stub_engine.settings(**ENGINES[environment]["array"])
    # the first call judges, the next is well
    stub_engine.fault(ENGINES[environment]["submit"], kind, times=1, after=2)
    answer = checkout.run(environment)
    assert answer.returncode == 0, answer.stderr
    assert len(set(names(stub_engine))) == len(stub_engine.jobs()) == 2
    assert counted(checkout) == {"pending": 3}
    stub_engine.run()
    check_accepted(checkout, range(3))


@BOTH
def test_a_job_is_found_when_its_engine_answers_again(checkout, stub_engine, environment):
    """Accepted, and then neither the submission nor a question is answered."""
    commands = ENGINES[environment]
    stub_engine.fault(commands["submit"], "accepted, then hangs", after=1)
    # Slurm is asked for the room that it has before anything is sent
    stub_engine.fault(commands["query"], "refused", after=int(environment == "slurm-cpu"))
    last = one_sentence(checkout.run(environment), "whether it took r")
    assert "runs list" in last
    assert counted(checkout) == {"unknown": 3}
    again = checkout.run(environment, "--resume")
    assert again.returncode == 0
    assert len(stub_engine.jobs()) == 1
    stub_engine.repair()
    assert counted(checkout) == {"pending": 3}
    again = checkout.run(environment, "--resume")
    assert "3 pending; not started again" in again.stdout
    stub_engine.run()
    check_accepted(checkout, range(3))


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ("qsub-cpu", "hang"),
        ("slurm-cpu", "refused"),
        ("slurm-cpu", "garbage"),
        ("qsub-cpu", "silent"),
        ("qsub-cpu", "truncated"),
        ("slurm-cpu", "truncated"),
    ],
)
def test_a_question_without_an_answer_says_nothing_about_runs(
    checkout, stub_engine, environment, kind
):
    assert checkout.run(environment).returncode == 0
    (job,) = stub_engine.jobs()
    first = job["first"]
    stub_engine.run(job["number"], [first])
    query = ENGINES[environment]["query"]
    stub_engine.fault(query, kind)
    begin = time.monotonic()
    states = listed(checkout)
    assert time.monotonic() - begin < LIMIT_S
    assert states[0][0] == "done"
    assert {state for state, _ in states.values()} == {"done", "unknown"}
    assert query in states[1][1], "it is not said why"
    # nothing of it is started again, cancelled, or thrown away
    assert checkout.runs("retry", "--failed", "toys/toy").stdout == "nothing to try again\n"
    refused = checkout.runs("remove", "toys/toy", "--yes")
    assert refused.returncode != 0
    assert "is unknown; stop it first" in refused.stderr
    assert len(stub_engine.jobs()) == 1
    stub_engine.repair()
    stub_engine.run()
    check_accepted(checkout, range(3))


def test_a_silent_answer_within_the_grace_time_loses_nothing(checkout, stub_engine):
    """An answer without jobs is believed only when it has been so for a while."""
    shorten(checkout, GRACE_S=600.0)
    assert checkout.run("slurm-cpu").returncode == 0
    stub_engine.fault("squeue", "silent")
    assert counted(checkout) == {"pending": 3}
    shorten(checkout, GRACE_S=0.2)
    wait_until(lambda: counted(checkout) == {"lost": 3}, "an end of the patience")
    assert {reason for _, reason in listed(checkout).values()} == {
        "Slurm does not know it any more, and it never began"
    }
    # the old tasks come in spite of all, after a new attempt was sent: each run is done once
    stub_engine.repair()
    assert "nothing to try again" in checkout.runs("retry", "--failed", "toys/toy").stdout
    stub_engine.run()
    check_accepted(checkout, range(3))


def test_who_believed_a_silent_answer_does_no_harm(checkout, stub_engine):
    """Sent again although the old jobs are still there: each run is trained once."""
    assert checkout.run("slurm-cpu").returncode == 0
    stub_engine.fault("squeue", "silent")
    wait_until(lambda: counted(checkout) == {"lost": 3}, "an end of the patience")
    assert checkout.runs("retry", "--failed", "toys/toy").returncode == 0
    stub_engine.repair()
    assert len(stub_engine.jobs()) == 2
    stub_engine.run()
    check_accepted(checkout, range(3))
    assert attempts(checkout, range(3)) == [1, 1, 1]


@BOTH
def test_a_master_that_forgot_an_accepted_job_loses_no_run(checkout, stub_engine, environment):
    """It crashed right after it had accepted, and gives the number to somebody else's job."""
    assert checkout.run(environment).returncode == 0
    (job,) = stub_engine.jobs()
    stub_engine.forget(job["number"], and_its_number=True)
    # somebody else's job gets that number
    other = Checkout(checkout.root.parent / "other")
    other.write_grid('product("toys", "toy", number=range(9), wait=[0.0])')
    assert other.run(environment).returncode == 0
    assert [one["number"] for one in stub_engine.jobs()] == [job["number"]]
    wait_until(lambda: counted(checkout) == {"lost": 3}, "an end of the patience")
    cancelled = checkout.runs("cancel", "toys/toy")
    assert "nothing to cancel" in cancelled.stdout
    assert checkout.runs("retry", "--failed", "toys/toy").returncode == 0
    assert len(stub_engine.jobs()) == 2, "the job of the other was cancelled"
    stub_engine.run()
    check_accepted(checkout, range(3))
    check_accepted(other, range(9))


@BOTH
def test_cancelling_a_job_whose_number_is_anothers_leaves_that_alone(
    checkout, stub_engine, environment
):
    shorten(checkout, GRACE_S=600.0)
    assert checkout.run(environment).returncode == 0
    (job,) = stub_engine.jobs()
    stub_engine.forget(job["number"], and_its_number=True)
    other = Checkout(checkout.root.parent / "other")
    other.write_grid('product("toys", "toy", number=range(2))')
    assert other.run(environment).returncode == 0
    assert counted(checkout) == {"pending": 3}
    answer = checkout.runs("cancel", "toys/toy")
    assert answer.stdout == "toys/toy: 3 cancelled before they started\n"
    assert counted(checkout) == {"cancelled": 3}
    stub_engine.run()
    check_accepted(other, range(2))
    assert checkout.states() == {}


@pytest.mark.parametrize(
    ("environment", "number"),
    [
        ("qsub-cpu", signal.SIGTERM),
        ("slurm-cpu", signal.SIGINT),
        ("qsub-cpu", signal.SIGKILL),
        ("slurm-cpu", signal.SIGKILL),
    ],
)
def test_a_sender_that_is_killed_in_the_middle_sends_nothing_twice(
    checkout, stub_engine, environment, number
):
    """Killed without warning while the engine, which has accepted, does not answer."""
    shorten(checkout, SUBMIT_S=6.0)
    stub_engine.settings(**ENGINES[environment]["array"])
    stub_engine.fault(ENGINES[environment]["submit"], "accepted, then hangs", times=1, after=2)
    sender = checkout.start(environment)
    wait_until(lambda: len(stub_engine.jobs()) == 2, "the second array")
    os.kill(sender.pid, number)
    out, err = sender.communicate(timeout=60)
    assert "Traceback" not in err
    if number == signal.SIGKILL:
        end_calls(stub_engine)
    else:
        assert sender.returncode == 128 + number
        assert "stopping as soon as the engine has answered" in err
    assert counted(checkout) == {"pending": 3}
    again = checkout.run(environment, "--resume")
    assert "3 pending; not started again" in again.stdout
    assert len(stub_engine.jobs()) == 2
    stub_engine.run()
    check_accepted(checkout, range(3))


def end_calls(stub_engine):
    """End the commands that hang, which nobody waits for any more."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.fsencode(stub_engine.folder) in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)


@BOTH
def test_two_people_who_send_the_same_grid_send_it_once(checkout, stub_engine, environment):
    senders = [checkout.start(environment), checkout.start(environment, "--resume")]
    answers = [sender.communicate(timeout=90) for sender in senders]
    assert "Traceback" not in "".join(err for _, err in answers)
    assert sorted("sent to" in out for out, _ in answers) == [False, True]
    assert len(stub_engine.jobs()) == 1
    stub_engine.run()
    check_accepted(checkout, range(3))


@pytest.mark.parametrize(
    ("environment", "array"),
    [("qsub-cpu", True), ("qsub-cpu", False), ("slurm-cpu", True)],
)
def test_a_full_queue_takes_the_rest_later(checkout, stub_engine, environment, array):
    """Grid Engine refuses; of Slurm, which would make one wait, it is known before."""
    most = {"qsub-cpu": 1, "slurm-cpu": 3}[environment] if array else 2
    stub_engine.settings(max_jobs=most, **(ENGINES[environment]["array"] if array else {}))
    begin = time.monotonic()
    flags = [] if array else ["--no-array"]
    answer = checkout.run(environment, *flags)
    assert answer.returncode == 0, answer.stderr
    assert time.monotonic() - begin < LIMIT_S
    assert "the queue is full; `runs send toys/toy` sends more" in answer.stderr
    there = len(stub_engine.jobs())
    assert counted(checkout)["new"] > 0
    full = checkout.runs("send", "toys/toy")
    assert full.returncode == 0
    assert "the queue is full" in full.stdout + full.stderr
    assert len(stub_engine.jobs()) == there
    for _ in range(2):
        stub_engine.run()
        for job in stub_engine.jobs():  # Slurm keeps them for five minutes, and counts them
            stub_engine.forget(job["number"])
        assert checkout.runs("send").returncode == 0
    stub_engine.run()
    check_accepted(checkout, range(3))
    assert checkout.runs("send").stdout == "nothing waits to be sent to a queue\n"


def test_a_full_slurm_that_lets_one_wait_is_not_asked_again(checkout, stub_engine):
    """Where its limit cannot be known, it is `sbatch` that says so, after two minutes."""
    stub_engine.fault("sbatch", "full", after=1)
    answer = checkout.run("slurm-cpu")
    assert answer.returncode == 0
    assert answer.stderr.startswith("3 of 3 runs were not sent, the queue is full; `runs send")
    assert len(stub_engine.calls("sbatch")) == 2
    stub_engine.repair()
    assert "3 runs of toys/toy sent" in checkout.runs("send").stdout
    stub_engine.run()
    check_accepted(checkout, range(3))


@BOTH
def test_an_impossible_request_is_said_in_the_engines_words(checkout, stub_engine, environment):
    stub_engine.settings(impossible=True)
    answer = checkout.run(environment, "--check")
    assert answer.returncode == 1
    assert "could not start these: " in answer.stdout
    assert stub_engine.jobs() == []
    answer = checkout.run(environment)
    if environment == "slurm-cpu":
        assert answer.returncode == 2
        assert "Slurm would never start these runs, nothing was sent: allocation" in answer.stderr
        assert stub_engine.jobs() == []
        assert listed(checkout) == {}
        # a node that may come back is judged as if it did not exist
        stub_engine.settings(drained=True)
        answer = checkout.run(environment)
    assert answer.returncode == 0
    assert (
        "finds no queue or node that could start these runs now, they are sent all" in answer.stderr
    )
    assert counted(checkout) == {"pending": 3}


@BOTH
def test_a_command_that_is_not_there_is_named(checkout, environment, tmp_path):
    checkout.environment["PATH"] = str(tmp_path)
    one_sentence(checkout.run(environment), "cannot be started (No such file or directory)")
