"""Jobs that wait for others: the bookkeeping, and pools with programs that take milliseconds."""

import os
import signal
import sys
import threading
import time

import pytest

from utils import job_node, launches, plans, pool, pool_jobs, pool_stages

DEADLINE_S = 60.0
PROGRAM = """import os, sys, time
name, *words = sys.argv[1:]
with open(os.environ["ORDER"], "a") as stream:
    stream.write(f"{name} begins\\n")
if "wait" in words:
    time.sleep(60)
if "once" in words and not os.path.exists(name):
    open(name, "w").close()
    os.kill(os.getpid(), 9)
time.sleep(0.05)
with open(os.environ["ORDER"], "a") as stream:
    stream.write(f"{name} ends\\n")
sys.exit("it went wrong" if "fail" in words else 0)
"""


class Line:
    """Keeps what a progress line was given."""

    def __init__(self):
        self.unit, self.total, self.messages = "done", 0, []

    def update(self, done, text="", behind=None):
        pass

    def message(self, text):
        self.messages.append(text)


@pytest.fixture
def bench(tmp_path):
    """Make jobs: ``jobs("train", {0: "fail", 1: ""}, needs={1: ["g/other:0-3"]})``."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    order = tmp_path / "order"
    order.touch()

    def jobs(exp, words, needs=None, allow_missing=False):
        entries = []
        for run, text in words.items():
            argv = [str(tmp_path / f"{exp}{run}"), *text.split()]
            entry = {"run": run, "script": str(script), "argv": argv}
            listed = [name.replace("/", ":").split(":") for name in (needs or {}).get(run, ())]
            if listed:
                names = ("exp_folder", "exp", "runs")
                entry["needs"] = [
                    dict(zip(names, need, strict=True)) | {"allow_missing": allow_missing}
                    for need in listed
                ]
            entries.append(entry)
        about = {
            "python": sys.executable,
            "environment": {"ORDER": str(order)},
            "run_folder": str(tmp_path / "logs" / "g" / f"{exp}x"),
        }
        jobs_dir = tmp_path / "job_logs" / "g" / exp / ".jobs"
        tasks = [(run, 0, 1) for run in words]
        sent = plans.send(jobs_dir, entries, tasks, about)
        return [
            pool_jobs.Job(
                "g", exp, sent, line, place, (), launches.needs.lists(entry.get("needs", ()))
            )
            for line, (place, entry) in enumerate(zip(tasks, entries, strict=True))
        ]

    jobs.order = lambda: [
        line.removeprefix(f"{tmp_path}/") for line in order.read_text().splitlines()
    ]
    return jobs


def places(jobs):
    return [(job.exp, job.place[0]) for job in jobs]


# --- the bookkeeping


def test_without_needs_everything_starts_in_order(bench):
    jobs = bench("train", {2: "", 0: "", 1: ""})
    stages = pool_stages.Stages(jobs)
    assert stages.first() == jobs
    assert stages.held == 0
    assert stages.ended(jobs[0]) == []


def test_runs_wait_one_by_one_and_as_a_whole(bench):
    figure = bench("figure", {0: ""}, {0: ["g/test:0-1", "g/train:0-1"]})
    tests = bench("test", {0: "", 1: ""}, {0: ["g/train:0"], 1: ["g/train:1"]})
    trainings = bench("train", {0: "", 1: ""})
    stages = pool_stages.Stages([*figure, *tests, *trainings])
    assert (stages.first(), stages.held) == (trainings, 3)
    assert places(stages.ended(trainings[1])) == [("test", 1)]
    assert stages.ended(tests[1]) == []
    assert places(stages.ended(trainings[0])) == [("test", 0)]
    assert stages.held == 1
    assert stages.ended(tests[0]) == figure
    assert stages.held == 0


def test_what_this_pool_does_not_run_is_not_waited_for(bench):
    tests = bench("test", {0: "", 1: ""}, {0: ["g/train:0-9"], 1: ["h/train:3"]})
    training = bench("train", {3: ""})
    stages = pool_stages.Stages([*tests, *training])
    assert places(stages.first()) == [("test", 1), ("train", 3)]
    assert places(stages.ended(training[0])) == [("test", 0)]


def test_every_part_of_a_needed_run_is_waited_for(bench):
    (test,) = bench("test", {0: ""}, {0: ["g/train:0"]})
    (whole,) = bench("train", {0: ""})
    parts = [
        pool_jobs.Job("g", "train", whole.submission, part, (0, part, 1)) for part in (1, 2, 3)
    ]
    stages = pool_stages.Stages([test, *parts])
    assert [stages.ended(part) for part in parts] == [[], [], [test]]


def test_a_hundred_thousand_jobs_without_needs_cost_nothing(bench):
    (job,) = bench("train", {0: ""})
    jobs = [job] * 100_000
    begin = time.process_time()
    stages = pool_stages.Stages(jobs)
    for each in stages.first():
        stages.ended(each)
    assert time.process_time() - begin < 1.0


def test_a_stage_of_thousands_that_needs_thousands_as_a_whole(bench):
    """One list of runs for all of them, and not one for each."""
    (train,) = bench("train", {0: ""})
    (test,) = bench("test", {0: ""}, {0: ["g/train:0-4999"]})
    trainings = [
        pool_jobs.Job("g", "train", train.submission, run, (run, 0, 1)) for run in range(5000)
    ]
    tests = [
        pool_jobs.Job("g", "test", test.submission, run, (run, 0, 1), (), test.needs)
        for run in range(5000)
    ]
    begin = time.process_time()
    stages = pool_stages.Stages([*tests, *trainings])
    freed = [stages.ended(job) for job in trainings]
    assert time.process_time() - begin < 2.0
    assert freed[:-1] == 4999 * [[]]
    assert freed[-1] == tests


# --- the pool


def run(jobs, at_once=3, **options):
    line = Line()
    return pool.Pool(jobs, [{}] * at_once, line, **options).run(), line


def states(outcome):
    return {f"{ended.job.exp}{ended.job.place[0]}": ended.state for ended in outcome.ended}


def test_stages_run_one_behind_the_other(bench):
    jobs = bench("figure", {0: ""}, {0: ["g/test:0-1"]})
    jobs += bench("test", {0: "", 1: ""}, {0: ["g/train:0"], 1: ["g/train:1"]})
    jobs += bench("train", {0: "", 1: ""})
    outcome, _ = run(jobs)
    assert set(states(outcome).values()) == {"done"}
    assert (outcome.exit_status, outcome.left) == (0, 0)
    when = {line: place for place, line in enumerate(bench.order())}
    for number in (0, 1):
        assert when[f"train{number} ends"] < when[f"test{number} begins"]
        assert when[f"test{number} ends"] < when["figure0 begins"]


def test_what_needs_a_failed_run_is_skipped_and_so_is_what_needs_that(bench):
    jobs = bench("train", {0: "fail", 1: ""})
    jobs += bench("test", {0: "", 1: ""}, {0: ["g/train:0"], 1: ["g/train:1"]})
    jobs += bench("figure", {0: ""}, {0: ["g/test:0-1"]})
    outcome, line = run(jobs)
    assert states(outcome) == {
        **{"train0": "failed", "train1": "done"},
        **{"test0": "skipped", "test1": "done", "figure0": "skipped"},
    }
    assert outcome.exit_status == 1
    assert not [entry for entry in bench.order() if entry.startswith(("test0", "figure"))]
    assert "g/test:0 skipped: g/train:0 is failed" in line.messages
    reasons = {ended.job.exp: ended.reason for ended in outcome.ended}
    assert reasons["figure"] == "g/test:0 is skipped"
    rows = launches.closing(outcome, 5, 1.0).splitlines()
    assert rows[0] == "2/5 done in 0:01 · 1 failed · 2 skipped"
    listed = [row.split()[:2] for row in rows if row.startswith("g/")]
    assert listed[0] == ["g/train:0", "failed"]
    assert sorted(listed[1:]) == [["g/figure:0", "skipped"], ["g/test:0", "skipped"]]
    assert not [row for row in rows if "skipped" in row and ".log" in row]
    record = job_node.read_json(
        job_node.state_file(jobs[2].submission.jobs_dir, 0, 0, 1, "skipped")
    )
    assert record["reason"] == "g/train:0 is failed"
    assert record["exit"] == 0
    assert not jobs[2].error_log.exists()


def test_missing_runs_can_be_allowed(bench):
    jobs = bench("figure", {0: ""}, {0: ["g/train:0-1"]}, allow_missing=True)
    jobs += bench("train", {0: "fail", 1: ""})
    outcome, _ = run(jobs)
    assert states(outcome) == {"train0": "failed", "train1": "done", "figure0": "done"}
    assert bench.order()[-2:] == ["figure0 begins", "figure0 ends"]


def test_a_run_that_is_tried_again_has_not_ended(bench):
    jobs = bench("test", {0: ""}, {0: ["g/train:0"]}) + bench("train", {0: "once"})
    outcome, _ = run(jobs, retries=1)
    assert (states(outcome), outcome.retried) == ({"train0": "done", "test0": "done"}, 1)
    assert bench.order()[-2:] == ["test0 begins", "test0 ends"]


def test_what_another_launcher_has_done_holds_nobody_up(bench):
    jobs = bench("test", {0: ""}, {0: ["g/train:0"]}) + bench("train", {0: ""})
    jobs_dir = jobs[1].submission.jobs_dir
    job_node.claim(jobs_dir, 0, 0, 1, {})
    job_node.record(jobs_dir, 0, 0, 1, "done", {})
    outcome, _ = run(jobs)
    assert (states(outcome), outcome.elsewhere) == ({"test0": "done"}, ["g/train:0"])


def test_ctrl_c_starts_nothing_of_a_later_stage(bench):
    jobs = bench("train", {0: "wait"}) + bench("test", {0: "", 1: ""}, {0: ["g/train:0"]})
    jobs += bench("figure", {0: ""}, {0: ["g/test:0-1"]})

    def interrupt():
        end = time.monotonic() + DEADLINE_S
        while "train0 begins" not in bench.order() and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    outcome, _ = run(jobs, at_once=1)
    thread.join()
    assert states(outcome) == {"train0": "cancelled"}
    assert (outcome.left, outcome.exit_status) == (3, 128 + signal.SIGINT)
    assert bench.order() == ["train0 begins"]


def test_skipped_runs_do_not_hide_that_all_trainings_fail_alike(bench):
    numbers = range(30)
    jobs = bench("train", dict.fromkeys(numbers, "fail"))
    jobs += bench(
        "test", dict.fromkeys(numbers, ""), {number: [f"g/train:{number}"] for number in numbers}
    )
    # in turns, as they would come from several places
    waiting = [job for pair in zip(jobs[:30], jobs[30:], strict=True) for job in pair]
    trying = pool.Pool(waiting, [{}], Line())
    for number in range(8):
        trying._end(jobs[number], "failed", "no module", 0.1)
        assert jobs[30 + number] in trying.waiting
        trying._end(jobs[30 + number], "skipped", "it needs another", 0.0)
    assert trying.outcome.hopeless == "no module"
