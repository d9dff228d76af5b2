"""Parts of a run, and the kinds of its record, as the wrapper of a task makes them."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from toy_checkout import DEADLINE_S, wait_until

from utils import job_node, outcomes, plans, pool_jobs, programs, run_names, tasks

WRAPPER = Path(job_node.__file__)
ENGINE = {
    "name": "slurm",
    "first": 0,
    "task": "SLURM_ARRAY_TASK_ID",
    "job": ["SLURM_JOB_ID"],
    "slots": "SLURM_CPUS_PER_TASK",
    "threads": ["OMP_NUM_THREADS"],
    "patience": 20.0,
}
STOPPABLE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit({status}))
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def jobs_dir(tmp_path):
    folder = tmp_path / "job_logs" / "group" / "exp" / ".jobs"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def send(jobs_dir, tmp_path):
    """Write a program, send it as run 7 or as parts of it, and return the wrapper's command."""

    def prepare(program, parts=(0,), entry=None, **about):
        script = tmp_path / "program.py"
        script.write_text(program)
        planned = {"run": 7, "script": str(script), "argv": ["--run=7"], **(entry or {})}
        about = {
            "python": sys.executable,
            "environment": {},
            "run_folder": str(tmp_path / "logs" / "expx"),
            **about,
        }
        sent = plans.send(jobs_dir, [planned], [(7, part, 1) for part in parts], about)
        return [sys.executable, "-I", "-S", str(WRAPPER), str(jobs_dir), sent.token]

    return prepare


def record_of(jobs_dir, part=0):
    (kind,) = job_node.attempts(jobs_dir, 7, part)[1] - {"claim"}
    return job_node.read_json(job_node.state_file(jobs_dir, 7, part, 1, kind))


def wait_until_ready(wrapper, log):
    wait_until(
        lambda: wrapper.poll() is not None or (log.exists() and "ready" in log.read_text()),
        "the start of the program",
    )


def test_each_part_is_told_which_it_is_and_has_logs_of_its_own(send, jobs_dir):
    command = send("import sys; print(sys.argv[1:])", parts=(1, 2), entry={"parts": 2})
    for line, part in enumerate((1, 2)):
        assert subprocess.run([*command, str(line)], timeout=DEADLINE_S).returncode == 0
        said = (jobs_dir.parent / f"o_7.part{part}.log").read_text().splitlines()[1]
        assert said == f"['--run=7', '--part={part}/2']"
        assert (jobs_dir.parent / f"e_7.part{part}.log").read_text() == ""
        assert record_of(jobs_dir, part)["parts"] == 2
        claim = job_node.state_file(jobs_dir, 7, part, 1, "claim")
        assert job_node.read_json(claim)["parts"] == 2
    assert not (jobs_dir.parent / "o_7.log").exists()


def test_an_undivided_run_says_nothing_of_parts(send, jobs_dir):
    assert subprocess.run([*send("pass"), "0"], timeout=DEADLINE_S).returncode == 0
    assert "parts" not in record_of(jobs_dir)


@pytest.mark.parametrize(
    ("count", "parts", "sizes"), [(5, 3, [1, 2, 2]), (4, 2, [2, 2]), (2, 3, [0, 1, 1])]
)
def test_shares_follow_each_other_and_are_alike(count, parts, sizes):
    chosen = list(range(10, 10 + count))
    shares = [run_names.share(chosen, part, parts) for part in range(1, parts + 1)]
    assert [len(share) for share in shares] == sizes
    assert sum(shares, []) == chosen


@pytest.mark.parametrize(
    ("engine", "number", "kind", "reason"),
    [
        ("slurm", "SIGUSR1", "timeout", "continue it with `runs retry group/exp:7 --hours N`"),
        ("slurm", "SIGXCPU", "timeout", "ended at its time limit"),
        ("no limit", "SIGUSR1", "timeout", "a limit of its own, or a suspension"),
        ("slurm", "SIGUSR2", "cancelled", "stopped by SIGUSR2"),
        ("slurm", "SIGTERM", "cancelled", "stopped by SIGTERM"),
        ("over", "SIGTERM", "timeout", "ended at its time limit"),
        ("", "SIGUSR1", "cancelled", "stopped by SIGUSR1"),
    ],
)
def test_what_a_signal_means(send, jobs_dir, engine, number, kind, reason):
    about = {**ENGINE, "seconds": {"slurm": 3600, "over": 2}.get(engine, 0)}
    command = send(STOPPABLE.format(status=143), **({"engine": about} if engine else {}))
    wrapper = subprocess.Popen([*command, "0"])
    wait_until_ready(wrapper, jobs_dir.parent / "o_7.log")
    wrapper.send_signal(getattr(signal, number))
    assert wrapper.wait(DEADLINE_S) == 143
    record = record_of(jobs_dir)
    assert record["state"] == kind
    assert reason in record["reason"]
    assert record["signal"] == getattr(signal, number)


def test_who_finishes_in_spite_of_a_signal_is_done(send, jobs_dir):
    wrapper = subprocess.Popen([*send(STOPPABLE.format(status=0), engine=ENGINE), "0"])
    wait_until_ready(wrapper, jobs_dir.parent / "o_7.log")
    wrapper.send_signal(signal.SIGUSR1)
    assert wrapper.wait(DEADLINE_S) == 0
    assert record_of(jobs_dir)["state"] == "done"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Traceback (most recent call last):\n  File\nMemoryError\n", "memory"),
        ("Traceback (most recent call last):\n  File\nMemoryError: 3 GB\n", "memory"),
        (
            "Traceback (most recent call last):\n  File\n"
            "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7 TiB\n",
            "memory",
        ),
        ("terminate called after throwing …\n  what():  std::bad_alloc\n", "memory"),
        ("MemoryError\nValueError: another one\n", "failed"),
        ("NoMemoryError: of another library\n", "failed"),
        ("MemoryErrors are caught here\n", "failed"),
    ],
)
def test_a_program_that_says_that_it_had_too_little_memory(send, jobs_dir, said, kind):
    program = f"import sys; sys.stderr.write({said!r}); sys.exit(1)"
    assert subprocess.run([*send(program), "0"], timeout=DEADLINE_S).returncode == 1
    record = record_of(jobs_dir)
    assert record["state"] == kind
    assert ("its memory did not suffice" in record["reason"]) == (kind == "memory")
    assert said.splitlines()[-1].strip() in record["reason"]


@pytest.mark.parametrize(
    ("counts", "stopped_by", "status", "kind"),
    [
        ([2, 3], 0, 137, "memory"),
        ([2, 2], 0, 137, "failed"),
        ([2, 3], 0, 139, "failed"),  # the kernel has killed another one
        ([2, 3], 0, 1, "failed"),
        ([2, 3], signal.SIGTERM, 137, "cancelled"),  # who was slow is killed by us
        ([2, 3], 0, 0, "done"),
    ],
)
def test_a_program_that_the_kernel_has_killed(
    send, jobs_dir, monkeypatch, counts, stopped_by, status, kind
):
    wrapper = tasks.Wrapper(str(jobs_dir), send("pass", engine=ENGINE)[-1])
    told = iter(counts)
    monkeypatch.setattr(tasks, "killed_for_memory", lambda: next(told))

    def supervise(*_):
        wrapper.stopped_by = stopped_by
        return tasks.Ended(status, 1)

    monkeypatch.setattr(wrapper, "supervise", supervise)
    assert wrapper.run(0) == status
    record = record_of(jobs_dir)
    assert record["state"] == kind
    if kind == "memory":
        assert "try it again with `runs retry group/exp:7 --memory SIZE`" in record["reason"]


def test_a_control_group_counts_whom_it_has_killed(tmp_path):
    own, root = tmp_path / "cgroup", tmp_path / "root"

    def counted(lines, place, name, content):
        own.write_text(lines)
        folder = root / place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
        return programs.killed_for_memory(str(own), str(root))

    older = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
    lines = "5:freezer:/a:b\n4:memory:/slurm/job_1:x\n0::/\n"
    assert programs.killed_for_memory(str(own), str(root)) == 0
    # in a container the folder of its own group may be all that it sees
    assert counted(lines, "memory", "memory.oom_control", older) == 3
    newer = older.replace("3", "5")
    assert counted(lines, "memory/slurm/job_1:x", "memory.oom_control", newer) == 5
    unified = "low 0\nhigh 0\nmax 9\noom 8\noom_kill 7\n"
    assert counted("0::/slice/job\n", "slice/job", "memory.events", unified) == 7
    assert counted("0::/slice/old\n", "slice/old", "memory.events", "low 0\nmax 9\n") == 0
    own.unlink()
    assert programs.killed_for_memory(str(own), str(root)) == 0


def test_many_that_run_out_of_memory_at_once_are_hopeless(jobs_dir):
    job = pool_jobs.Job("group", "exp", None, 0, (7, 0, 1))
    ended = [outcomes.Ended(job, "memory", "too little", 1.0) for _ in range(outcomes.ALIKE)]
    assert outcomes.hopeless(ended, []) == "too little"


def test_a_record_holds_the_new_kinds(jobs_dir):
    for attempt, kind in enumerate(("timeout", "memory"), 1):
        job_node.claim(jobs_dir, 7, 0, attempt, {})
        job_node.record(jobs_dir, 7, 0, attempt, kind, {})
        assert job_node.latest(jobs_dir, 7) == (attempt, kind)
        path = job_node.state_file(jobs_dir, 7, 0, attempt, kind)
        assert json.loads(Path(path).read_text())["state"] == kind
