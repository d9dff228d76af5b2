"""What goes wrong with tasks that an engine has accepted: with a stub of the engines.

See test_queue_faults.py for the list of all faults.
"""

import contextlib
import json
import os
import shutil
import signal
import time

import pytest
from faulty_grids import check_accepted, counted, listed, one_sentence, parent, shorten
from small_disk import fill, read_only, small_disk
from toy_checkout import Checkout, wait_until

BOTH = pytest.mark.parametrize("environment", ["qsub-cpu", "slurm-cpu"])
HOUR_S = 3600.0
# what Python reads first, other than with -I, as wrappers are started
OTHER_CLOCK = """import time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + {seconds}
time.time_ns = lambda: _time_ns() + int({seconds} * 1e9)
"""


@pytest.fixture
def checkout(tmp_path, stub_engine):
    """Two toys; what is not there any more is given up after half a second."""
    made = Checkout(tmp_path)
    made.write_grid('product("toys", "toy", number=range(2))')
    shorten(made, PAUSES_S="(0.1, 0.1, 0.1)", GRACE_S=0.5)
    return made


def send(checkout, stub_engine, environment, *flags):
    """Send the grid; return its job."""
    answer = checkout.run(environment, *flags)
    assert answer.returncode == 0, answer.stderr
    return stub_engine.jobs()[-1]


def retry(checkout, stub_engine):
    """Try again what ended badly, to a good end of all."""
    answer = checkout.runs("retry", "--failed", "toys/toy")
    assert answer.returncode == 0, answer.stderr
    stub_engine.run()
    check_accepted(checkout, range(2))


def engine_log(checkout):
    return "".join(path.read_text() for path in checkout.logs().glob(".jobs/*.engine.log"))


def wait_for_start(checkout, runs=1):
    wait_until(lambda: len(checkout.programs()) == runs, "a start")


@BOTH
def test_an_attempt_that_is_started_twice_is_run_once(checkout, stub_engine, environment):
    """As by Slurm whose controller crashed, and once more when all is over."""
    checkout.write_grid('product("toys", "toy", number=range(2), wait=[0.3])')
    job = send(checkout, stub_engine, environment)
    tasks = range(job["first"], job["last"] + 1)
    started = [stub_engine.start(job["number"], task) for task in (*tasks, *tasks)]
    assert [process.wait(60) for process in started] == [0] * 4
    assert stub_engine.start(job["number"], tasks[0]).wait(60) == 0
    said = engine_log(checkout)
    assert said.count("is taken by another process; nothing started") == 2
    assert said.count("run 0: done already; nothing started") == 1
    assert [checkout.starts(run) for run in range(2)] == [[1, 1], [1, 1]]
    for task in tasks:
        stub_engine.ended(job["number"], task, 0)
    check_accepted(checkout, range(2))


def test_an_engine_that_has_lost_sight_of_a_task_does_not_end_its_run(checkout, stub_engine):
    """The process between engine and wrapper was killed; wrapper and program go on."""
    checkout.write_grid('product("toys", "toy", number=range(2), wait=[0.5])')
    job = send(checkout, stub_engine, "qsub-cpu")
    process = stub_engine.start(job["number"], job["first"])
    wait_for_start(checkout)
    stub_engine.ended(job["number"], job["first"], -9)
    assert listed(checkout)[0][0] == "running"
    assert process.wait(60) == 0
    stub_engine.run(tasks=[job["last"]])
    check_accepted(checkout, range(2))


@pytest.mark.parametrize(
    ("environment", "victim"), [("qsub-cpu", "program"), ("slurm-cpu", "wrapper")]
)
def test_a_process_that_is_killed_takes_one_run_along(checkout, stub_engine, environment, victim):
    checkout.write_grid('product("toys", "toy", number=range(2), wait=[0.5])')
    job = send(checkout, stub_engine, environment)
    process = stub_engine.start(job["number"], job["first"])
    wait_for_start(checkout)
    (program,) = checkout.programs()
    wrapper = parent(program)
    os.kill(program if victim == "program" else wrapper, signal.SIGKILL)
    stub_engine.ended(job["number"], job["first"], process.wait(60))
    wait_until(lambda: not checkout.programs(), "the end of the program")
    stub_engine.run(tasks=[job["last"]])
    states = listed(checkout)
    assert states[1][0] == "done"
    assert states[0][0] == {"program": "failed", "wrapper": "lost"}[victim]
    if victim == "program":
        assert "killed by signal 9" in states[0][1]
    (checkout.group / "toy_runner.py").unlink()  # what was sent is known without it
    retry(checkout, stub_engine)


@BOTH
def test_logs_that_cannot_be_opened_are_said_in_the_engines_words(
    checkout, stub_engine, environment
):
    """Results are away when the tasks are to start: an error state, or a failure without traces."""
    job = send(checkout, stub_engine, environment)
    away = checkout.results.with_name("away")
    checkout.results.rename(away)
    assert set(stub_engine.run(job["number"]).values()) == {None}
    away.rename(checkout.results)
    expected = "stuck" if environment == "qsub-cpu" else "lost"
    wait_until(lambda: counted(checkout) == {expected: 2}, "an end of the patience")
    reason = listed(checkout)[0][1]
    assert ("can't open output file" if expected == "stuck" else "Slurm says: FAILED") in reason
    retry(checkout, stub_engine)
    assert len(stub_engine.jobs()) == 2


def test_a_node_on_which_the_submission_is_not_there_says_so(checkout, stub_engine):
    job = send(checkout, stub_engine, "slurm-cpu")
    (submission,) = checkout.logs().glob(".jobs/send-*.json")
    aside = submission.with_suffix(".aside")
    submission.rename(aside)
    assert set(stub_engine.run(job["number"]).values()) == {1}
    assert "has no submission" in engine_log(checkout)
    aside.rename(submission)
    wait_until(lambda: counted(checkout) == {"lost": 2}, "an end of the patience")
    assert "has no submission" in listed(checkout)[0][1]
    retry(checkout, stub_engine)


@pytest.mark.parametrize("moment", ["before", "meanwhile"])
def test_a_disk_that_is_full_on_the_node(checkout, stub_engine, moment):
    """Without room for claims nothing is started; without room for a record a run is lost."""
    checkout.write_grid('product("toys", "toy", number=range(2), wait=[0.4])')
    with small_disk(checkout.results, 2000):
        job = send(checkout, stub_engine, "qsub-cpu")
        if moment == "before":
            filler = fill(checkout.results)
            assert 0 not in stub_engine.run(job["number"]).values()
        else:
            tasks = range(job["first"], job["last"] + 1)
            started = [stub_engine.start(job["number"], task) for task in tasks]
            wait_for_start(checkout, 2)
            wait_until(lambda: len(list(checkout.results.rglob("starts"))) == 2, "two begins")
            filler = fill(checkout.results)
            assert 0 not in {process.wait(60) for process in started}
            for task in tasks:
                stub_engine.ended(job["number"], task, 1)
        assert "done" not in counted(checkout)
        filler.unlink()
        wait_until(lambda: counted(checkout) == {"lost": 2}, "an end of the patience")
        retry(checkout, stub_engine)


def test_state_folders_that_cannot_be_written(checkout, stub_engine):
    """By who sends, and on the node."""
    checkout.logs().mkdir(parents=True)
    with read_only(checkout.results):
        last = one_sentence(checkout.run("qsub-cpu"), str(checkout.results), status=1)
        assert "Read-only" in last or "cannot be written" in last
    assert stub_engine.jobs() == []
    job = send(checkout, stub_engine, "qsub-cpu")
    (checkout.logs() / ".jobs" / "state").mkdir()
    with read_only(checkout.logs() / ".jobs" / "state"):
        assert set(stub_engine.run(job["number"]).values()) == {1}
        wait_until(lambda: counted(checkout) == {"lost": 2}, "an end of the patience")
        assert "Read-only file system" in listed(checkout)[0][1]
    retry(checkout, stub_engine)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_off_by_an_hour_changes_no_state(checkout, stub_engine, hours):
    """The clock of who asks; times of files are those of the file server."""
    checkout.write_grid('product("toys", "toy", number=range(2), wait=[600.0])')
    shorten(checkout, GRACE_S=600.0)
    job = send(checkout, stub_engine, "qsub-cpu")
    process = stub_engine.start(job["number"], job["first"])
    wait_for_start(checkout)
    (claim,) = checkout.logs().glob(".jobs/state/*/*.claim")
    wait_until(lambda: "program_start" in claim.read_text(), "a whole claim")
    elsewhere = {**json.loads(claim.read_text()), "machine": "another", "host": "node7"}
    claim.write_text(json.dumps(elsewhere))  # only its heartbeat tells whether it lives
    (checkout.root / "sitecustomize.py").write_text(OTHER_CLOCK.format(seconds=hours * HOUR_S))
    told = float(checkout.python("-c", "import time; print(time.time())").stdout)
    assert abs(told - time.time()) > HOUR_S / 2, "the clock is as it was"
    states = listed(checkout)
    assert [states[run][0] for run in range(2)] == ["running", "pending"]
    assert "silent" not in states[0][1]
    # a lock that somebody on another host has just taken is not old
    lock = checkout.logs() / ".jobs" / "lock"
    lock.mkdir()
    (lock / "owner.json").write_text(json.dumps(elsewhere))
    shorten_patience(checkout)
    refused = checkout.run("qsub-cpu", "--resume")
    assert refused.returncode != 0
    assert "process" in refused.stderr
    assert lock.exists(), "the lock of somebody who lives was broken"
    shutil.rmtree(lock)
    begin = time.time()
    os.utime(claim, (begin - 600, begin - 600))
    stub_engine.declare(job["number"], None, tasks=[job["first"]])
    assert listed(checkout)[0][0] == "lost"
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    process.wait(60)


def shorten_patience(checkout):
    path = checkout.root / "utils" / "plans.py"
    text = path.read_text()
    assert "patience_s: float = 30.0" in text
    path.write_text(text.replace("patience_s: float = 30.0", "patience_s: float = 0.3"))


@pytest.mark.parametrize("name", ["a;b", "$(id)", "../up", "-l", "a b", ".hidden"])
def test_names_that_could_be_read_as_something_else_are_refused(checkout, stub_engine, name):
    checkout.write_grid(f"[grid.Run('toys', {name!r}, 0, script='toys/toy.py')]")
    runner = checkout.group / "toy_runner.py"
    runner.write_text(runner.read_text().replace("grid.[", "["))
    one_sentence(checkout.run("qsub-cpu"), repr(name), status=2)
    assert stub_engine.calls() == []


@BOTH
def test_a_run_that_needs_one_that_failed_is_skipped(checkout, stub_engine, environment):
    """An engine starts it all the same; with the first mended both are done."""
    (checkout.group / "toy_runner.py").write_text(
        '"""Two stages."""\n'
        "from utils import grid, runners\n\n"
        'FIRST = grid.product("toys", "toy", number=[1], fail=[True])\n'
        'SECOND = grid.stage([grid.Run("toys", "second", 0, script="toys/toy.py")], FIRST)\n\n'
        'if __name__ == "__main__":\n'
        "    runners.main(FIRST + SECOND)\n"
    )
    answer = checkout.run(environment)
    assert answer.returncode == 0, answer.stderr
    first, second = stub_engine.jobs()
    submitted = stub_engine.calls("qsub" if environment == "qsub-cpu" else "sbatch")[-1]
    assert any(str(first["number"]) in word for word in submitted), "it does not wait"
    stub_engine.run(first["number"])
    stub_engine.run(second["number"])
    assert checkout.states() == {0: "failed"}
    assert checkout.states("second") == {0: "skipped"}
    shown = checkout.runs("list").stdout
    assert "toys/toy:0 is failed" in shown
    script = checkout.group / "toy.py"
    script.write_text(script.read_text().replace("if fail:", "if False:"))
    assert checkout.runs("retry", "toys/toy", "toys/second", "--failed").returncode == 0
    stub_engine.run()
    assert checkout.states() == checkout.states("second") == {0: "done"}
