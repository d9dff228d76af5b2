from pathlib import Path

import pytest

from utils import launches, outcomes, plans, pool_jobs


def ended(number, state, reason="", seconds=1.0):
    submission = plans.Submission(Path("/r/job_logs/toy/e/.jobs"), "send-1-aa", {})
    job = pool_jobs.Job("toy", "e", submission, number, (number, 0, 1))
    return outcomes.Ended(job, state, reason, seconds)


def test_the_closing_table_names_what_failed_and_where_to_look():
    outcome = outcomes.Outcome(
        [ended(0, "done"), ended(1, "failed", "Value\x1bError: no"), ended(10, "lost", "gone")],
        diverged=1,
    )
    assert launches.closing(outcome, 4, 61.0).splitlines() == [
        "1/4 done in 1:01 · 1 failed · 1 lost · 1 repetition diverged",
        "",
        "RUN       STATE   REASON              LOG",
        "toy/e:1   failed  Value\\x1bError: no  /r/job_logs/toy/e/e_1.log",
        "toy/e:10  lost    gone                /r/job_logs/toy/e/e_10.log",
        "continue with the same command and --resume",
    ]


def test_the_closing_table_is_short():
    outcome = outcomes.Outcome([ended(n, "failed", f"no {n}") for n in range(100)], left=7)
    lines = launches.closing(outcome, 107, 10.0).splitlines()
    assert "7 not started" in lines[0]
    assert len(lines) < 30
    assert "… and 80 more: runs list" in lines


def test_what_failed_alike_is_said_once():
    outcome = outcomes.Outcome([ended(n, "failed", "no such module") for n in range(48)], left=94)
    outcome.ended[3:3] = [ended(70, "done"), ended(71, "failed", "else")]
    outcome.hopeless = "no such module"
    assert launches.closing(outcome, 144, 5.0).splitlines() == [
        "1/144 done in 0:05 · 49 failed · 94 not started",
        "48 of 50 failed with: no such module (/r/job_logs/toy/e/e_0.log)",
        "",
        "RUN       STATE   REASON  LOG",
        "toy/e:71  failed  else    /r/job_logs/toy/e/e_71.log",
        "continue with the same command and --resume",
    ]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (outcomes.Outcome([ended(0, "done")]), 0),
        (outcomes.Outcome([ended(0, "done")], elsewhere=["toy/e:1"]), 0),
        (outcomes.Outcome([ended(0, "done")], diverged=2), 3),
        (outcomes.Outcome([ended(0, "done"), ended(1, "failed")], diverged=2), 1),
        (outcomes.Outcome([ended(0, "done")], left=1), 1),
        (outcomes.Outcome([ended(0, "cancelled")], signal=2), 130),
        (outcomes.Outcome([ended(0, "done")], signal=15), 143),
    ],
)
def test_exit_statuses(outcome, status):
    assert outcome.exit_status == status
