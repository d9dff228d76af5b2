"""What runs get in a queue, and the files of a submission that only a queue needs."""

import pytest

from utils import environments, job_node, paths, plans
from utils.command_lines import Refusal


@pytest.mark.parametrize("environment", environments.QUEUED)
def test_a_queue_decides_how_many_run_at_a_time(environment):
    terms = environments.terms(environment, {"threads": 3, "gpus": 2}, None)
    assert (terms.environment, terms.at_once, terms.per_task, terms.array) == (
        *(environment, 0, 1, True),
    )
    assert terms.resources == {"threads": 3, "memory": None, "gpus": 2, "hours": None}
    terms = environments.terms(environment, {}, 7, together=True, per_task=5, array=False)
    assert (terms.at_once, terms.together, terms.per_task, terms.array) == (7, True, 5, False)
    assert terms.resources == environments.NEEDS
    assert not terms.detach
    assert terms.retries == 0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"wished_gpus": "0,1"}, "--gpus means nothing for slurm-cpu: the queue shares them out; "),
        ({"wished_gpus": "none"}, "--gpus means nothing for slurm-cpu"),
        ({"retries": 1}, "--retries means nothing for slurm-cpu: nobody waits here; `runs retry"),
        ({"detach": True}, "--detach means nothing for slurm-cpu: runs in a queue go on"),
        ({"together": True}, "--together means nothing for slurm-cpu: each run has a task of its"),
    ],
)
def test_what_means_nothing_in_a_queue_is_refused(given, sentence):
    with pytest.raises(Refusal, match=rf"^{sentence}.*\. Leave it out\.$"):
        environments.terms("slurm-cpu", {}, **given)


@pytest.mark.parametrize(
    ("given", "flag"), [({"per_task": 2}, "--per-task"), ({"array": False}, "--no-array")]
)
@pytest.mark.parametrize("environment", ["linux", "win", "docker"])
def test_tasks_are_a_queues(environment, given, flag):
    with pytest.raises(Refusal, match=f"^{flag} is about the tasks of a queue, and {environment}"):
        environments.terms(environment, {}, **given)


# files


@pytest.fixture
def sent(bench_folders):
    about = {"engine": {"name": "slurm"}, "calls": [[0, 2], [2, 1]]}
    tasks = [(run, 0, 1) for run in range(3)]
    return plans.send(paths.jobs_dir("g", "e"), [{"run": run} for run in range(3)], tasks, about)


def test_jobs_are_noted_line_by_line(sent):
    assert sent.queued() == {}
    sent.note_queued(0, "17")
    sent.note_queued(1, "18")
    assert sent.queued_file.read_text() == "0 17\n1 18\n"
    assert sent.queued() == {0: "17", 1: "18"}
    assert (sent.job_name(1), sent.engine) == (f"r{sent.token}c1", "slurm")
    assert sent.calls == [(0, 2), (2, 1)]
    assert sent.queued_file.name == f"{sent.stem}.queued"


def test_half_a_line_is_none(sent):
    """As after a power cut, and what a file server makes of one."""
    sent.queued_file.write_bytes(b"0 17\n1 18\n\0\0\0\0\nx 3\n\xff 4\n5\n6 7 8\n2 1")
    assert sent.queued() == {0: "17", 1: "18"}
    sent.cancelled_file.write_bytes(b"0 4\n6 6\n-1 3\nx 5\n5 x\n9 1")
    assert sent.cancelled() == [(0, 4), (6, 6)]


def test_marks_are_added(sent):
    assert sent.cancelled() == []
    sent.note_cancelled(0, 1)
    sent.note_cancelled(5, 5)
    assert sent.cancelled() == [(0, 1), (5, 5)]


def test_what_this_machine_starts_has_no_engine(bench_folders):
    sent = plans.send(paths.jobs_dir("g", "e"), [{"run": 0}], [(0, 0, 1)], {})
    assert (sent.engine, sent.calls, sent.queued(), sent.cancelled()) == ("", [], {}, [])


def test_with_its_last_run_all_files_of_a_submission_go(sent):
    for path in (sent.queued_file, sent.cancelled_file, sent.setup_file, sent.engine_log):
        path.write_text("")
    plans.forget(sent.jobs_dir, [0, 1])
    assert sent.queued_file.exists()
    plans.forget(sent.jobs_dir, [2])
    assert list(sent.jobs_dir.iterdir()) == []
    assert job_node.newest_attempt(sent.jobs_dir, 0) == 0
