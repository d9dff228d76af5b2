"""The stub of the engines answers as the recorded ones do, runs tasks, and has its faults."""

import re
import subprocess
import sys
import time
from xml.etree import ElementTree

import pytest
from recorded_answers import FOLDER, recorded

QSUB = ["qsub", "-terse", "-cwd", "-j", "y", "-o", "engine.log", "-b", "y", "-shell", "n"]
SBATCH = ["sbatch", "--parsable", "-o", "engine.log", "--export=PATH"]
QUEUE = ["squeue", "-u", "alice", "-h", "-r", "-t", "all", "-o", "%F|%K|%T|%r|%j"]


@pytest.fixture
def call(stub_engine, tmp_path):
    """Run a command of the stub, beside a script that does nothing."""
    (tmp_path / "true.sh").write_text("#!/bin/sh\n")
    (tmp_path / "true.sh").chmod(0o755)

    def run(*command, seconds=60):
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=seconds
        )

    return run


def submitted(answer):
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.split(".")[0].strip()


def rows(text):
    """What `qstat -xml` says, without what differs from call to call."""
    root = ElementTree.fromstring(text)
    keys = ("state", "slots", "tasks", "JB_owner")
    found = [[entry.findtext(key) for key in keys] for entry in root.iter("job_list")]
    return root.tag, [child.tag for child in root], found


def test_answers_are_recorded_whole():
    for path in FOLDER.glob("*/*.txt"):
        answer = recorded(path.parent.name, path.stem)
        assert answer.command.split()[0] == path.stem.split("_")[0], path
        assert "alice" in answer.command or "/root" not in answer.out, path
    assert recorded("grid_engine", "qsub_array").out == "24.1-12:1\n"
    assert recorded("slurm", "squeue_controller_down").status == 1


def test_qstat_answers_as_recorded(call, stub_engine):
    number = submitted(call(*QSUB, "-t", "1-12", "-N", "ra020000000c0", "/bin/true"))
    held = submitted(call(*QSUB, "-t", "1-3", "-hold_jid", number, "/bin/true"))
    stub_engine.declare(number, "r", tasks=[1, 2, 3])
    assert (held, number) == ("2", "1")
    assert rows(call("qstat", "-xml").stdout) == rows(recorded("grid_engine", "qstat_half_run").out)
    assert call("qdel", number, "-t", "7-10").returncode == 0
    assert rows(call("qstat", "-xml").stdout) == rows(recorded("grid_engine", "qstat_ranges").out)
    call("qdel", f"{number}.5")
    call("qdel", f"{number}.2")
    expected = rows(recorded("grid_engine", "qstat_being_deleted").out)
    assert rows(call("qstat", "-xml").stdout) == expected
    stub_engine.forget(number)
    stub_engine.forget(held)
    assert rows(call("qstat", "-xml").stdout) == rows(recorded("grid_engine", "qstat_empty").out)
    missing = recorded("grid_engine", "qdel_unknown")
    assert call("qdel", "999999").stderr == missing.out
    assert call("qstat", "-j", "999999").stderr == recorded("grid_engine", "qstat_j_unknown").err


def test_squeue_answers_as_recorded(call, stub_engine):
    number = submitted(call(*SBATCH, "--array=3,5,17%2", "-J", "rb060000000c0", "true.sh"))
    stub_engine.declare(number, "RUNNING", tasks=[3, 5])
    call("scancel", f"{number}_[3,17]")
    stub_engine.ended(number, 3, -15)
    lines = {line.split("|", 1)[1] for line in call(*QUEUE).stdout.splitlines()}
    told = recorded("slurm", "squeue_half_run").out
    of_it = {line.split("|", 1)[1] for line in told.splitlines() if "rb06" in line}
    without_reason = [
        {re.sub(r"\|\w+\|r", "|r", line) for line in found} for found in (lines, of_it)
    ]
    assert without_reason[0] == without_reason[1]
    assert call("scancel", "999999").returncode == recorded("slurm", "scancel_unknown").status


def test_the_rest_of_a_cancelled_array_is_one_row(call, stub_engine):
    number = submitted(call(*SBATCH, "--array=0-9%2", "-J", "rb030000000c0", "true.sh"))
    stub_engine.declare(number, "RUNNING", tasks=[0, 1])
    call("scancel", number)
    stub_engine.ended(number, 0, -15)
    stub_engine.ended(number, 1, -15)
    told = recorded("slurm", "squeue_all_ended").out
    states = [
        sorted(line.split("|")[1:3] for line in text.splitlines() if "rb03" in line)
        for text in (call(*QUEUE).stdout, told)
    ]
    assert states[0] == states[1] == [[n, "CANCELLED"] for n in ("0", "1", "N/A")]


@pytest.mark.parametrize("engine", ["grid-engine", "slurm"])
def test_tasks_run_as_plain_processes(call, stub_engine, tmp_path, engine, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    script = tmp_path / "task.sh"
    script.write_text(
        "#!/bin/sh\n"
        'echo "$SGE_TASK_ID$SLURM_ARRAY_TASK_ID ${NSLOTS-$SLURM_CPUS_PER_TASK} $1 [$SECRET]"\n'
        "exit 3\n"
    )
    script.chmod(0o755)
    slurm = engine == "slurm"
    words = (
        [*SBATCH, "--array=0-1", "-c", "2"] if slurm else [*QSUB, "-t", "1-2", "-pe", "smp", "2"]
    )
    number = int(submitted(call(*words, "./task.sh", "a;b\n$c")))
    first = 0 if slurm else 1
    assert stub_engine.run() == {(number, first): 3, (number, first + 1): 3}
    lines = [f"{first} 2 a;b", "$c []", f"{first + 1} 2 a;b", "$c []"]
    assert (tmp_path / "engine.log").read_text().splitlines() == lines
    command = words[0]
    assert stub_engine.calls(command) == [[*words[1:], "./task.sh", "a;b\n$c"]]
    if slurm:
        assert call(*QUEUE).stdout.count("|FAILED|NonZeroExitCode|task.sh\n") == 2
    else:
        assert rows(call("qstat", "-xml").stdout)[2] == []
        account = call("qacct", "-j", str(number), "-t", "2").stdout
        assert re.findall(r"(?m)^(taskid|failed|exit_status) +(\w+)", account) == [
            ("taskid", "2"),
            ("failed", "0"),
            ("exit_status", "3"),
        ]


def test_a_single_job_of_grid_engine_has_an_undefined_task(call, stub_engine, tmp_path):
    script = tmp_path / "task.sh"
    script.write_text("#!/bin/sh\necho $SGE_TASK_ID $JOB_ID\n")
    script.chmod(0o755)
    number = submitted(call(*QSUB, "./task.sh"))
    assert list(stub_engine.run(number).values()) == [0]
    assert (tmp_path / "engine.log").read_text() == f"undefined {number}\n"


def test_a_job_that_cannot_be_started_is_in_an_error_state(call, stub_engine):
    words = [word.replace("engine.log", "missing/engine.log") for word in QSUB]
    number = submitted(call(*words, "/bin/true"))
    assert list(stub_engine.run(number).values()) == [None]
    assert rows(call("qstat", "-xml").stdout)[2][0][0] == "Eqw"
    told = call("qstat", "-j", number).stdout
    recording = recorded("grid_engine", "qstat_j_error_state").out
    pattern = (
        r"(?m)^error reason +1: .*: error: can't open output file \".*missing/.*\": No such.*$"
    )
    assert re.search(pattern, told)
    assert re.search(pattern, recording)


def test_limits_are_told_and_kept(call, stub_engine):
    stub_engine.settings(max_tasks=5, max_array=6, max_jobs=2)
    assert re.search(r"(?m)^max_aj_tasks +5$", call("qconf", "-sconf").stdout)
    told = call("scontrol", "show", "config").stdout
    assert re.search(r"(?m)^MaxArraySize += 6$", told)
    assert re.search(r"(?m)^MaxJobCount += 2$", told)
    assert "more than 5 tasks" in call(*QSUB, "-t", "1-6", "/bin/true").stderr
    for _ in range(2):
        submitted(call(*QSUB, "-t", "1-5", "/bin/true"))
    assert "Only 2 jobs are allowed" in call(*QSUB, "/bin/true").stderr
    refused = call(*SBATCH, "--array=0-6", "true.sh")
    assert refused.stderr == recorded("slurm", "sbatch_array_too_large").err
    refused = call(*SBATCH, "--array=0-2", "true.sh")
    assert "Resource temporarily unavailable" in refused.stderr


def test_requests_are_judged(call, stub_engine):
    judged = [*QSUB[:1], "-w", "v", *QSUB[1:], "/bin/true"]
    assert call(*judged).stdout == recorded("grid_engine", "qsub_w_v_good").out
    stub_engine.settings(impossible=True)
    assert call(*judged).stderr == recorded("grid_engine", "qsub_w_v_impossible").err
    tested = call("sbatch", "--test-only", "-c", "64", "true.sh")
    assert tested.stderr == recorded("slurm", "sbatch_test_only_too_many_cpus").err
    assert stub_engine.jobs() == []


def test_faults_come_when_and_as_often_as_asked(call, stub_engine):
    stub_engine.fault("qsub", "refused", times=1, after=1)
    stub_engine.fault("qstat", "truncated", times=1)
    stub_engine.fault("qstat", "garbage", times=1)
    outcomes = [call(*QSUB, "/bin/true") for _ in range(3)]
    assert [answer.returncode for answer in outcomes] == [0, 1, 0]
    assert outcomes[1].stderr == recorded("grid_engine", "qsub_master_down").err
    assert len(stub_engine.jobs()) == 2
    with pytest.raises(ElementTree.ParseError):
        rows(call("qstat", "-xml").stdout)
    garbage = subprocess.run(["qstat", "-xml"], capture_output=True).stdout
    with pytest.raises(UnicodeDecodeError):
        garbage.decode()
    assert len(rows(call("qstat", "-xml").stdout)[2]) == 2


@pytest.mark.parametrize("kind, kept", [("hang", 0), ("accepted, then hangs", 1)])
def test_calls_hang(call, stub_engine, kind, kept):
    stub_engine.fault("qsub", kind)
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        call(*QSUB, "/bin/true", seconds=1)
    assert time.monotonic() - began < 30
    assert len(stub_engine.jobs()) == kept
    stub_engine.repair()
    assert call(*QSUB, "/bin/true").returncode == 0


def test_a_forgotten_job_may_give_its_number_to_the_next(call, stub_engine):
    lost = submitted(call(*SBATCH, "true.sh"))
    stub_engine.forget(lost, and_its_number=True)
    assert call(*QUEUE).stdout == ""
    assert submitted(call(*SBATCH, "-J", "another", "true.sh")) == lost


def test_a_cancelled_task_hears_of_it(call, stub_engine, tmp_path):
    script = tmp_path / "task.py"
    script.write_text(
        f"#!{sys.executable}\n"
        "import signal, sys\n"
        "signal.signal(signal.SIGUSR2, lambda *_: sys.exit(5))\n"
        "print('listening', flush=True)\n"
        "signal.pause()\n"
    )
    script.chmod(0o755)
    number = submitted(call(*QSUB, "-notify", "./task.py"))
    process = stub_engine.start(number)
    end = time.monotonic() + 60
    while "listening" not in (tmp_path / "engine.log").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    call("qdel", number)
    assert process.wait(60) == 5
    assert rows(call("qstat", "-xml").stdout)[2][0][0] == "dr"
    stub_engine.ended(number, 0, 5)
    assert rows(call("qstat", "-xml").stdout)[2] == []
