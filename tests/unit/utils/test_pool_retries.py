import os
import signal

import pytest

from utils import job_node, plans, pool, pool_jobs


@pytest.fixture
def job(tmp_path):
    jobs_dir = tmp_path / "exp" / ".jobs"
    entries = [{"run": run, "key": f"k{run}", "argv": [f"--run={run}"]} for run in (2, 3, 4)]
    about = {"environment": {"A": "b"}, "run_folder": "x", "parts": 2}
    sent = plans.send(jobs_dir, entries, [(2, 1, 4), (3, 1, 4)], about)
    return pool_jobs.Job("group", "exp", sent, 1, (3, 1, 4), ("true",))


def claim(job, attempt):
    run, part, _ = job.place
    job_node.claim(job.submission.jobs_dir, run, part, attempt, {"token": job.submission.token})


def test_the_next_attempt_has_a_submission_of_its_own(job):
    claim(job, 4)
    following = job.again()
    assert (following.place, following.line, following.name) == ((3, 1, 5), 0, job.name)
    assert following.remove == job.remove
    sent = following.submission
    assert sent.token != job.submission.token
    assert sent.tasks() == [(3, 1, 5)]
    assert sent.entries() == [{"run": 3, "key": "k3", "argv": ["--run=3"]}]
    assert sent.about["environment"] == {"A": "b"}
    assert sent.about["parts"] == 2
    assert sent.sender_lives()
    on_disk = {each.token: each for each in plans.submissions(sent.jobs_dir)}
    assert on_disk[sent.token].about == sent.about
    assert not (sent.jobs_dir / "lock").exists()


def test_what_nobody_has_claimed_is_taken_up_as_it_is(job):
    assert job.again() is job
    assert len(plans.submissions(job.submission.jobs_dir)) == 1


def test_what_somebody_else_has_taken_up_is_left_to_him(job):
    claim(job, 4)
    claim(job, 5)
    assert job.again() is None
    assert len(plans.submissions(job.submission.jobs_dir)) == 1


def test_a_plan_that_is_gone_cannot_be_sent_again(job):
    claim(job, 4)
    job.submission.plan_file.unlink()
    with pytest.raises(FileNotFoundError, match="has no run 3 any more"):
        job.again()


@pytest.mark.parametrize(
    ("state", "record", "by_accident"),
    [
        ("lost", {}, True),
        ("failed", {"exit": 128 + signal.SIGKILL}, True),
        ("failed", {"exit": 128 + signal.SIGSEGV}, True),
        ("memory", {"exit": 128 + signal.SIGKILL}, True),
        ("memory", {"exit": 1}, False),
        ("failed", {"exit": 1}, False),
        ("failed", {"exit": 128}, False),
        ("failed", {"exit": 255}, False),
        ("failed", {}, False),
        ("cancelled", {"exit": 128 + signal.SIGTERM, "signal": 15}, False),
        ("skipped", {}, False),
        ("done", {"exit": 3}, False),
    ],
)
def test_only_accidents_are_repeated(state, record, by_accident):
    assert pool._by_accident(state, record) is by_accident


class Line:
    def __init__(self):
        self.messages = []

    def message(self, text):
        self.messages.append(text)


def test_the_number_of_attempts_is_bounded_for_each_run(job):
    line = Line()
    trying = pool.Pool([], [{}], line, retries=2)
    for attempt in (4, 5, 6):
        claim(job, attempt)
        trying._end(job, "lost", "no reason", 1.0)
        if trying.waiting:
            job = trying.waiting.popleft()
    assert [ended.job.place for ended in trying.outcome.ended] == [(3, 1, 6)]
    assert trying.outcome.retried == 2
    assert [text.rpartition("; ")[2] for text in line.messages[:2]] == [
        "is tried again (1 of 2)",
        "is tried again (2 of 2)",
    ]


def test_a_pool_that_is_stopping_tries_nothing_again(job):
    claim(job, 4)
    stopping = pool.Pool([], [{}], Line(), retries=2)
    stopping.outcome.signal = signal.SIGINT
    stopping._end(job, "lost", "no reason", 1.0)
    assert (len(stopping.outcome.ended), len(stopping.waiting)) == (1, 0)


def test_a_lock_that_others_hold_ends_the_trying_and_not_the_pool(job, monkeypatch):
    claim(job, 4)
    monkeypatch.setattr(pool_jobs, "PATIENCE_S", 0.0)
    line = Line()
    trying = pool.Pool([], [{}], line, retries=2)
    with plans.lock(job.submission.jobs_dir):
        trying._end(job, "lost", "no reason", 1.0)
    assert [ended.state for ended in trying.outcome.ended] == ["lost"]
    assert "cannot be tried again: process" in line.messages[0]


def test_a_place_is_free_when_the_program_has_ended_too(job, monkeypatch):
    """The wrapper is gone; its program, which the kernel has asked to end, is killed in the end."""
    killed = []
    alive = [True]
    monkeypatch.setattr(pool_jobs.Job, "runs_on", lambda self: alive[0])
    monkeypatch.setattr(pool_jobs.Job, "kill", lambda self: killed.append(self))

    class Gone:
        pid, returncode = os.getpid(), -9

        def poll(self):
            return self.returncode

    worker = pool.Worker(job, Gone(), 0, 0.0)
    assert not worker.ended
    assert killed == []
    worker.orphaned -= job_node.STOP_S + 1
    assert not worker.ended
    assert killed == [job]
    alive[0] = False
    assert worker.ended
