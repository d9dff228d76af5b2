"""Commands of Slurm worked out by hand; its answers as recorded, and odd ones."""

import string

import pytest
from recorded_answers import recorded

from utils.engines import GONE, Call, Demand, Limits, QueueError, Seen
from utils.slurm import Slurm

ENGINE = Slurm()
WORDS = ["utils/run_in_env.sh", "env/bin/python", "results/a b/.jobs", "00ff", "c0"]
LOG = "results/100% a b/.jobs/send.engine.log"
SITE = Demand(
    options=["-p", "gpu", "--comment=a b"],
    slots=4,
    parallel_environment="",
    resources={"gres": "gpu:1", "mem": "8G"},
    seconds=7201,
    environment=["PATH", "BENCH_NOT_THERE"],
)
WAITS, RUNS = Seen("pending"), Seen("running")


def answer(name):
    return recorded("slurm", name).out


def test_an_array_is_submitted():
    call = Call("r00ffc0", 1000, LOG, WORDS, at_once=50, after=["17", "19"])
    assert ENGINE.submit_command(call, SITE, "/the root") == [
        *["sbatch", "--parsable", "-J", "r00ffc0", "--array=0-999%50"],
        *["-p", "gpu", "--comment=a b", "-c", "4", "--gres=gpu:1", "--mem=8G"],
        *["--time=121", "--signal=B:USR1@120", "--dependency=afterany:17:19"],
        *["-D", "/the root", "--no-requeue"],
        *["-o", "results/100%% a b/.jobs/send.engine.log", "--open-mode=append"],
        *["--export=PATH,BENCH_NOT_THERE", *WORDS],
    ]


def test_what_is_not_wished_for_is_not_said():
    call = Call("r00ffc1", 0, "x.log", WORDS)
    assert ENGINE.submit_command(call, Demand(), "/r") == [
        *["sbatch", "--parsable", "-J", "r00ffc1", "-c", "1", "-D", "/r", "--no-requeue"],
        *["-o", "x.log", "--open-mode=append", "--export=NONE", *WORDS],
    ]


def test_all_that_a_call_waits_for_is_one_dependency():
    call = Call("r00ffc2", 3, "x.log", WORDS, after=["5"], task_by_task="18")
    command = ENGINE.submit_command(call, Demand(), "/r")
    assert command[4:8] == ["--array=0-2", "-c", "1", "--dependency=afterany:5:18"]


@pytest.mark.parametrize(
    ("seconds", "minutes", "warning"), [(60, 1, 15), (61, 2, 15), (600, 10, 60), (3600, 60, 120)]
)
def test_time_limits_are_whole_minutes(seconds, minutes, warning):
    command = ENGINE.submit_command(Call("r", 0, "x", WORDS), Demand(seconds=seconds), "/r")
    assert f"--time={minutes}" in command
    assert f"--signal=B:USR1@{warning}" in command


def test_a_request_is_judged_as_it_would_be_submitted():
    call = Call("r00ffc0", 2, LOG, WORDS)
    command = ENGINE.submit_command(call, SITE, "/r")
    assert ENGINE.judge_command(call, SITE, "/r") == ["sbatch", "--test-only", *command[1:]]


def test_the_other_commands():
    states = ["squeue", "-u", "alice", "-h", "-r", "-t", "all", "-o", "%F|%K|%T|%r|%j"]
    assert ENGINE.states_command("alice") == states
    assert ENGINE.limits_command() == ["scontrol", "show", "config"]
    assert ENGINE.cancel_commands("49", None) == [["scancel", "49"]]
    assert ENGINE.cancel_commands("49", [3, 0, 1, 7]) == [["scancel", "49_[0-1,3-3,7-7]"]]
    assert ENGINE.cancel_commands("49", []) == []
    many = ENGINE.cancel_commands("49", range(0, 802, 2))
    assert [command[1].count("-") for command in many] == [200, 200, 1]
    # states say why a job is stuck and how one ended, as long as Slurm knows it
    assert ENGINE.why_command("49") == ENGINE.ended_command("49", 3) == []
    assert ENGINE.parse_why("x") == ""
    assert ENGINE.parse_ended("x", "r00ffc0") is GONE


def test_a_task_finds_itself_by_these_variables():
    assert ENGINE.first_task == 0
    assert ENGINE.variables == {
        "task": "SLURM_ARRAY_TASK_ID",
        "job": ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID"),
        "slots": "SLURM_CPUS_PER_TASK",
    }
    assert (ENGINE.name, ENGINE.title) == ("slurm", "Slurm")


# answers


@pytest.mark.parametrize(
    ("text", "number"),
    [(answer("sbatch_array"), "49"), ("49;cluster two\n", None), ("a greeting\n5;two\n", "5")],
)
def test_the_number_of_a_job(text, number):
    if number is None:
        with pytest.raises(QueueError, match="sbatch answered what cannot be read"):
            ENGINE.parse_submitted(text)
    else:
        assert ENGINE.parse_submitted(text) == number


@pytest.mark.parametrize("text", ["", "Submitted batch job 4x", "12_3", "x12", ";12"])
def test_no_number_is_an_error(text):
    with pytest.raises(QueueError, match="sbatch answered what cannot be read"):
        ENGINE.parse_submitted(text)


def test_what_became_of_jobs_and_tasks():
    queue = ENGINE.parse_states(answer("squeue_half_run"))
    assert queue["49"].name == "rb030000000c0"
    assert queue["49"].tasks(0, 11) == [RUNS, RUNS, *[WAITS] * 8, GONE]
    assert queue["49"].count == 10
    failed = Seen("ended", "Slurm says: FAILED")
    completed = Seen("ended", "Slurm says: COMPLETED")
    assert queue["50"].tasks(0, 5) == [failed, failed, completed, RUNS, GONE]
    cancelled = Seen("cancelled", "cancelled in the queue")
    expected = {3: cancelled, 5: RUNS, 17: cancelled}
    assert queue["52"].tasks(0, 18) == [expected.get(task, GONE) for task in range(18)]
    hungry = Seen("memory", "the queue's memory limit ended it")
    assert queue["51"].tasks(0, 1) == [hungry]
    assert queue["53"].tasks(0, 1) == [WAITS]
    assert queue["56"].tasks(0, 1) == [Seen("stuck", "Slurm says: PartitionConfig")]
    assert queue["55"].tasks(0, 1) == [WAITS]  # somebody holds it, and will let it go
    assert queue["47"].tasks(0, 1) == [RUNS]
    assert queue["57"].tasks(0, 1) == [failed]


def test_later_endings():
    queue = ENGINE.parse_states(answer("squeue_after_time_limit"))
    assert queue["47"].tasks(0, 1) == [Seen("timeout", "the queue's time limit ended it")]
    never = Seen("stuck", "Slurm says: DependencyNeverSatisfied")
    assert queue["53"].tasks(0, 1) == [never]
    assert ENGINE.parse_states(answer("squeue_being_cancelled"))["52"].tasks(3, 1) == [RUNS]


def test_an_array_that_was_cancelled_as_a_whole_is_so_in_every_task():
    lines = answer("squeue_all_ended").splitlines()
    cancelled = Seen("cancelled", "cancelled in the queue")
    for text in ("\n".join(lines), "\n".join(reversed(lines))):
        assert ENGINE.parse_states(text)["49"].tasks(0, 10) == [cancelled] * 10
    ran = ENGINE.parse_states("49|0|RUNNING|None|r\n49|N/A|CANCELLED|None|r\n")["49"]
    assert ran.tasks(0, 2) == [RUNS, cancelled]
    assert ran.count == 2


@pytest.mark.parametrize("name", ["squeue_empty", "squeue_nothing"])
def test_nothing_in_the_queue_is_no_error(name):
    assert ENGINE.parse_states(answer(name)) == {}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        *[("CONFIGURING", "running"), ("SUSPENDED", "running"), ("STOPPED", "running")],
        *[("REQUEUED", "running"), ("RESIZING", "running"), ("OF_A_LATER_VERSION", "running")],
        *[("DEADLINE", "timeout"), ("NODE_FAIL", "ended"), ("BOOT_FAIL", "ended")],
        *[("PREEMPTED", "ended"), ("COMPLETED", "ended"), ("", "running")],
    ],
)
def test_words_of_states(state, expected):
    assert ENGINE.parse_states(f"7|2|{state}|None|r")["7"].tasks(2, 1)[0].state == expected


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("DEADLINE", "the queue's deadline ended it"),
        ("NODE_FAIL", "its node failed"),
        ("BOOT_FAIL", "its node failed to start"),
        ("PREEMPTED", "it was preempted"),
        ("RUNNING", ""),
    ],
)
def test_endings_have_reasons(state, reason):
    assert ENGINE.parse_states(f"7|2|{state}|None|r")["7"].tasks(2, 1)[0].reason == reason


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        *[("Resources", "pending"), ("Priority", "pending"), ("Dependency", "pending")],
        *[("JobHeldUser", "pending"), ("BeginTime", "pending"), ("", "pending")],
        *[("PartitionConfig", "stuck"), ("DependencyNeverSatisfied", "stuck")],
        *[("BadConstraints", "stuck"), ("JobHeldAdmin", "stuck")],
        *[("PartitionTimeLimit", "stuck"), ("PartitionNodeLimit", "stuck")],
        ("launch failed requeued held", "stuck"),
    ],
)
def test_what_waits_for_ever_is_stuck(reason, state):
    (seen,) = ENGINE.parse_states(f"7|N/A|PENDING|{reason}|r")["7"].tasks(0, 1)
    assert seen == Seen(state, f"Slurm says: {reason}" if state == "stuck" else "")


def test_whatever_others_call_their_jobs():
    queue = ENGINE.parse_states("8|N/A|RUNNING|None|a|b||c\n7|1|RUNNING|None|r00ffc0\n")
    assert queue["8"].name == "a|b||c"
    assert queue["7"].tasks(0, 2) == [GONE, RUNS]


def test_a_name_with_a_line_break_hides_no_other_job():
    queue = ENGINE.parse_states("8|N/A|PENDING|None|a\nb\n7|1|RUNNING|None|r00ffc0\n")
    assert {number: job.name for number, job in queue.items()} == {"8": "a", "7": "r00ffc0"}


@pytest.mark.parametrize(
    "text",
    [
        "garbage",
        "7|1|RUNNING|None",
        "slurm_load_jobs error: x\n7|1|RUNNING|None|r",
        "7|1|RUNNING|None|r\n8|2|RUN",
        "x|1|RUNNING|None|r",
        "\n",
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error(text):
    with pytest.raises(QueueError, match="squeue answered what cannot be read"):
        ENGINE.parse_states(text)


def test_limits():
    assert ENGINE.parse_limits(answer("scontrol_show_config")) == Limits(1001, 5.0, 10000)
    assert ENGINE.parse_limits("MaxArraySize = 0\n") == Limits(1, 30.0, 0)
    for text in ("", "MaxJobCount = 5", "SlurmMaxArraySize = 5", "MaxArraySize = many"):
        with pytest.raises(QueueError, match="scontrol answered"):
            ENGINE.parse_limits(text)


@pytest.mark.parametrize(
    ("path", "signs"),
    [
        (f"{string.ascii_letters}{string.digits} '\"é☂:,$%/j.-_~+=@&;|()[]{{}}<>?*!#^`", ""),
        ("a\\b", r"'\\'"),
        ("a\nb\\c", r"'\\', '\n'"),
    ],
)
def test_signs_in_paths_that_mean_something_else(path, signs):
    assert ENGINE.log_problem(path) == signs


@pytest.mark.parametrize(
    ("states", "away"),
    [
        ("idle\nmixed\nallocated\ncompleting\n", False),
        ("idle\ndrained\n", True),
        ("draining\n", True),
        ("down\n", True),
        ("idle*\n", True),
        ("maint\n", True),
        ("", False),
    ],
)
def test_nodes_that_may_come_back(states, away):
    assert ENGINE.some_are_away(states) is away
