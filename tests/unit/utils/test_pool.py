import os
import signal

import pytest

from utils import job_node, plans, pool, pool_jobs


@pytest.fixture
def job(tmp_path):
    jobs_dir = tmp_path / "exp" / ".jobs"
    sent = plans.send(jobs_dir, [{"run": 3}], [(3, 0, 1)], {})
    return pool_jobs.Job("group", "exp", sent, 0, (3, 0, 1))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "440/2500 epochs · epoch 44 of 250, 9 of 10 running · 3:19 left",
            (199, "440/2500 epochs, 3:19 left"),
        ),
        ("440/2500 epochs · 2:03:19 left", (7399, "440/2500 epochs, 2:03:19 left")),
        ("440/2500 epochs", None),
        ("nothing is left", None),
        ("", None),
    ],
)
def test_a_run_tells_how_far_it_is(job, line, expected):
    (job.submission.jobs_dir.parent / "o_3.log").write_text(f"# started\n{line}\n", "utf-8")
    assert job.progress() == expected


class Line:
    """Keeps what a progress line was given."""

    def __init__(self):
        self.unit, self.total, self.texts, self.messages = "done", 2, [], []

    def update(self, done, text="", behind=None):
        self.texts.append((done, text, behind))

    def message(self, text):
        self.messages.append(text)


def test_the_longest_time_left_is_shown(job):
    here = job.submission.jobs_dir.parent
    (here / "o_3.log").write_text("1/9 epochs · 0:59 left\n", "utf-8")
    (here / "o_4.log").write_text("1/5 epochs · 10:01 left\n", "utf-8")
    other = pool_jobs.Job("group", "exp", job.submission, 1, (4, 0, 1))
    line = Line()
    running = pool.Pool([], [{}, {}], line)
    running.running = [pool.Worker(each, None, 0, 0.0) for each in (job, other)]
    running._show()
    assert line.texts == [(0, "2 running (1/5 epochs, 10:01 left)", 0)]


def test_what_failed_is_behind_us_but_not_done(job):
    line = Line()
    running = pool.Pool([], [{}], line)
    for state in ("done", "failed", "done", "lost"):
        running._end(job, state, "no", 40.0)
    running.outcome.elsewhere.append("group/exp:9")
    running._show()
    assert line.texts == [(2, "1 failed · 1 lost", 5)]


class Killed:
    """A wrapper that somebody has killed."""

    returncode = -signal.SIGKILL

    def poll(self):
        return self.returncode


def test_a_killed_wrapper_is_explained_where_states_are_read(job, monkeypatch):
    jobs_dir = job.submission.jobs_dir
    job_node.claim(jobs_dir, 3, 0, 1, {"token": job.submission.token})
    path = job_node.state_file(jobs_dir, 3, 0, 1, "claim")
    os.utime(path, (1e9, 1e9))

    line = Line()
    killed = pool.Pool([], [{}], line)
    killed.running = [pool.Worker(job, Killed(), 0, 0.0)]
    killed._collect()
    (ended,) = killed.outcome.ended
    assert (ended.state, ended.reason) == ("lost", "its wrapper was killed by SIGKILL")
    assert job.claim()["reason"] == ended.reason
    assert os.stat(path).st_mtime == 1e9, "a heartbeat nobody gave"


def test_a_job_that_its_worker_has_not_read_of_waits_again(job):
    line = Line()
    stopped = pool.Pool([], [{}], line)
    stopped.running = [pool.Worker(job, Killed(), 0, 0.0, ended_jobs=1)]
    stopped._collect()
    assert list(stopped.waiting) == [job]
    assert stopped.outcome.ended == []
    # a new worker that ends before it reads is no accident of this kind
    stopped.running = [pool.Worker(stopped.waiting.pop(), Killed(), 0, 0.0)]
    stopped._collect()
    (ended,) = stopped.outcome.ended
    assert (ended.state, list(stopped.waiting)) == ("lost", [])
