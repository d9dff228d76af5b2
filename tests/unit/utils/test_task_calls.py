"""What an engine starts: the runs of its task, found by the number in a variable."""

import os
import shlex
import subprocess
import sys

import pytest

from utils import job_node, paths, plans, tasks

DEADLINE_S = 60.0
VARIABLES = {
    "grid-engine": {
        "first": 1,
        **{"task": "SGE_TASK_ID", "job": ["JOB_ID"], "slots": "NSLOTS"},
    },
    "slurm": {
        "first": 0,
        **{"task": "SLURM_ARRAY_TASK_ID", "job": ["SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID"]},
        "slots": "SLURM_CPUS_PER_TASK",
    },
}
PROGRAM = """import os, sys
print(os.environ["BENCH_QUEUE_JOB"], os.environ["OMP_NUM_THREADS"], os.environ.get("FROM_SETUP"))
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def jobs_dir(tmp_path, monkeypatch):
    for told in VARIABLES.values():
        for name in (told["task"], *told["job"], told["slots"]):
            monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "job_logs" / "group" / "exp" / ".jobs"
    folder.mkdir(parents=True)
    return folder


def write(jobs_dir, runs=6, calls=None, engine="grid-engine", statuses=(), **about):
    script = jobs_dir.parent / "program.py"
    script.write_text(PROGRAM)
    entries = [
        {"run": run, "script": str(script), "argv": [str(status)]}
        for run, status in zip(range(runs), [*statuses, *[0] * runs], strict=False)
    ]
    about = {
        **{"python": sys.executable, "environment": {"OMP_NUM_THREADS": "1"}, "run_folder": "none"},
        "engine": {"name": engine, **VARIABLES[engine], "threads": ["OMP_NUM_THREADS"]},
        **{"calls": calls or [[0, runs]], "per_task": 1, "array": True},
        **about,
    }
    return plans.send(jobs_dir, entries, [(run, 0, 1) for run in range(runs)], about)


def wrapper(sent):
    return tasks.Wrapper(str(sent.jobs_dir), sent.token)


@pytest.mark.parametrize(
    ("engine", "about", "number", "call", "lines"),
    [
        ("grid-engine", {}, "1", 0, [0]),
        ("grid-engine", {}, "4", 0, [3]),
        ("grid-engine", {}, "2", 1, [5]),
        ("slurm", {}, "0", 0, [0]),
        ("slurm", {}, "1", 1, [5]),
        ("grid-engine", {"per_task": 3}, "1", 0, [0, 1, 2]),
        ("grid-engine", {"per_task": 3}, "2", 0, [3]),
        ("slurm", {"per_task": 3}, "0", 1, [4, 5]),
        ("grid-engine", {"array": False}, "undefined", 1, [4]),
        ("slurm", {"array": False, "per_task": 5}, "", 1, [4, 5]),
        ("slurm", {"array": False}, "7", 0, [0]),  # of the array in which the launcher itself ran
    ],
)
def test_the_lines_of_a_task(jobs_dir, monkeypatch, engine, about, number, call, lines):
    sent = write(jobs_dir, calls=[[0, 4], [4, 2]], engine=engine, **about)
    monkeypatch.setenv(VARIABLES[engine]["task"], number)
    assert list(wrapper(sent).lines(call)) == lines


@pytest.mark.parametrize(
    ("engine", "number", "call"),
    [
        ("grid-engine", "0", 0),
        ("grid-engine", "5", 0),
        ("grid-engine", "3", 1),
        ("grid-engine", "undefined", 0),
        ("slurm", "4", 0),
        ("slurm", "", 0),
    ],
)
def test_a_task_that_was_not_sent_is_refused(jobs_dir, monkeypatch, engine, number, call):
    sent = write(jobs_dir, calls=[[0, 4], [4, 2]], engine=engine)
    monkeypatch.setenv(VARIABLES[engine]["task"], number)
    with pytest.raises(ValueError, match=f"call {call} has no task '{number}'; send the runs aga"):
        wrapper(sent).lines(call)


@pytest.mark.parametrize(
    ("engine", "variables", "job"),
    [
        ("grid-engine", {"JOB_ID": "7", "SGE_TASK_ID": "3"}, "7.3"),
        ("grid-engine", {"JOB_ID": "7", "SGE_TASK_ID": "undefined"}, "7"),
        (
            "slurm",
            {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"},
            "7.0",
        ),
        ("slurm", {"SLURM_JOB_ID": "9"}, "9"),
        ("slurm", {"SLURM_ARRAY_TASK_ID": "3"}, ""),
    ],
)
def test_the_job_of_a_task(jobs_dir, monkeypatch, engine, variables, job):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert wrapper(write(jobs_dir, engine=engine)).queue_job() == job


def test_marks_of_cancelled_runs(jobs_dir):
    sent = write(jobs_dir)
    here = wrapper(sent)
    assert not any(here.is_cancelled(line) for line in range(6))
    sent.note_cancelled(1, 2)
    sent.note_cancelled(4, 4)
    with open(sent.cancelled_file, "a") as stream:
        stream.write("5")  # half a line
    assert [line for line in range(6) if here.is_cancelled(line)] == [1, 2, 4]


class Recorder(tasks.Wrapper):
    """A wrapper whose runs end as they are told."""

    statuses: dict[int, int]

    def run(self, line):
        self.done = [*getattr(self, "done", []), line]
        status = self.statuses.get(line, 0)
        self.stopped_by = 15 if status == 143 else 0
        self.unrecorded = status == -1
        return abs(status)


@pytest.mark.parametrize(
    ("statuses", "done", "status"),
    [
        ({}, [0, 1, 2, 3], 0),
        ({1: 5}, [0, 1, 2, 3], 5),
        ({1: 5, 2: 7}, [0, 1, 2, 3], 7),
        ({1: 143}, [0, 1], 143),
        ({2: -1}, [0, 1, 2], 1),
    ],
)
def test_runs_of_a_task_follow_each_other(jobs_dir, monkeypatch, statuses, done, status):
    sent = write(jobs_dir, per_task=4)
    monkeypatch.setenv("SGE_TASK_ID", "1")
    here = Recorder(str(jobs_dir), sent.token)
    here.statuses = statuses
    assert here.take_call(0) == status
    assert here.done == done


# as an engine does it


def node(sent, call, *, root=paths.ROOT, **variables):
    """Start what an engine starts on a node."""
    script = root / "utils" / "run_in_env.sh"
    words = [str(script), sys.executable, str(sent.jobs_dir), sent.token, call]
    return subprocess.run(
        words,
        cwd=root,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def records(sent):
    found = {}
    for run in range(6):
        for kinds in job_node.attempts(sent.jobs_dir, run).values():
            found[run] = sorted(kinds - {"claim"})
    return found


def test_a_task_on_a_node(jobs_dir):
    sent = write(jobs_dir, calls=[[0, 2], [2, 4]], per_task=3, statuses=[0, 0, 0, 99, 0])
    plans.write_bytes(sent.setup_file, b"export FROM_SETUP=yes\n")
    sent.note_cancelled(4, 4)
    ended = node(sent, "c1", JOB_ID="7", SGE_TASK_ID="1", NSLOTS="4", OMP_NUM_THREADS="9")
    assert ended.returncode == 1, "99 would have it started again"
    assert ended.stdout == "run 4: cancelled before it started; nothing started\n"
    assert ended.stderr == ""
    assert records(sent) == {2: ["done"], 3: ["failed"]}
    log = (jobs_dir.parent / "o_2.log").read_text().splitlines()
    assert log[1] == "7.1 4 yes"
    assert shlex.split(log[0])[-1] == "0"
    held = job_node.read_json(job_node.state_file(jobs_dir, 2, 0, 1, "claim"))
    assert (held["queue_job"], held["task"], held["token"]) == ("7.1", 2, sent.token)
    again = node(sent, "c1", JOB_ID="8", SGE_TASK_ID="1")
    assert again.returncode == 0
    assert "run 2: done already; nothing started" in again.stdout
    assert "run 3: attempt 1 is taken by another process; nothing started" in again.stdout


def test_threads_are_as_planned_where_an_engine_does_not_say(jobs_dir):
    sent = write(jobs_dir, 1, engine="slurm", array=False)
    assert node(sent, "c0", SLURM_JOB_ID="9").returncode == 0
    assert (jobs_dir.parent / "o_0.log").read_text().splitlines()[1] == "9 1 None"


def test_a_task_has_the_setup_of_its_own_submission(jobs_dir):
    for text in ("first", "second"):
        sent = write(jobs_dir, 1, engine="slurm", array=False)
        plans.write_bytes(sent.setup_file, f"FROM_SETUP=${{FROM_SETUP}}{text}\n".encode())
    assert node(sent, "c0", SLURM_JOB_ID="9", FROM_SETUP="").returncode == 0
    assert (jobs_dir.parent / "o_0.log").read_text().splitlines()[1] == "9 1 second"


def test_the_process_that_an_engine_signals_is_the_wrapper(jobs_dir):
    sent = write(jobs_dir, 1, array=False)
    script = str(paths.ROOT / "utils" / "run_in_env.sh")
    words = [script, sys.executable, str(jobs_dir), sent.token, "c0"]
    with subprocess.Popen(words, cwd=paths.ROOT) as started:
        assert started.wait(DEADLINE_S) == 0
    claim = job_node.read_json(job_node.state_file(jobs_dir, 0, 0, 1, "claim"))
    assert claim["pid"] == started.pid


def test_modules_of_a_user_are_not_those_of_the_wrapper(jobs_dir, tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('of a user')\n")
    sent = write(jobs_dir, 1, array=False)
    ended = node(sent, "c0", PYTHONPATH=str(tmp_path))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("call", ["c1", "c0x", "x0"])
def test_a_call_that_was_not_made_is_said_in_a_line(jobs_dir, call):
    ended = node(write(jobs_dir), call, JOB_ID="7", SGE_TASK_ID="1")
    assert ended.returncode in (1, 2)
    assert len(ended.stdout.splitlines()) == 1
    assert ended.stderr == ""


def test_a_node_without_the_checkout_says_so(jobs_dir, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    words = [str(paths.ROOT / "utils" / "run_in_env.sh"), sys.executable, str(jobs_dir), "t", "c0"]
    ended = subprocess.run(
        words, cwd=tmp_path / "elsewhere", capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert ended.returncode == 1
    assert f"{tmp_path / 'elsewhere'} is not the checkout that sent this" in ended.stderr
