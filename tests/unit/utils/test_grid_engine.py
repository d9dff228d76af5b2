"""Commands of Grid Engine worked out by hand; its answers as recorded, and odd ones."""

import re
import string

import pytest
from recorded_answers import recorded

from utils.engines import GONE, Call, Demand, Limits, QueueError, Seen
from utils.grid_engine import GridEngine

ENGINE = GridEngine()
WORDS = ["utils/run_in_env.sh", "env/bin/python", "results/a b/.jobs", "00ff", "c0"]
LOG = "results/a b/.jobs/send.engine.log"
SITE = Demand(
    options=["-q", "cpu.q", "-P", "lab x"],
    slots=4,
    parallel_environment="smp",
    resources={"mem_free": "8G", "h_data": "20G"},
    seconds=7200,
    environment=["PATH", "BENCH_NOT_THERE", "LANGUAGE_OF_TEST"],
)
TAIL = ["-cwd", "-j", "y", "-o", LOG, "-r", "n", "-notify"]
WAITS, RUNS = Seen("pending"), Seen("running")


def answer(name):
    return recorded("grid_engine", name).out


def test_an_array_is_submitted(monkeypatch):
    monkeypatch.setenv("LANGUAGE_OF_TEST", "de,en;$(x)")
    monkeypatch.delenv("BENCH_NOT_THERE", raising=False)
    call = Call("r00ffc0", 1000, LOG, WORDS, at_once=50, after=["17", "19"])
    assert ENGINE.submit_command(call, SITE, "/the/root") == [
        *["qsub", "-terse", "-N", "r00ffc0", "-t", "1-1000", "-tc", "50"],
        *["-q", "cpu.q", "-P", "lab x", "-pe", "smp", "4"],
        *["-l", "mem_free=8G,h_data=20G,h_rt=7200,s_rt=7080", "-hold_jid", "17,19"],
        *TAIL,
        *["-v", "PATH,LANGUAGE_OF_TEST", "-b", "y", "-shell", "n", *WORDS],
    ]
    assert SITE.resources == {"mem_free": "8G", "h_data": "20G"}


def test_what_is_not_wished_for_is_not_said():
    call = Call("r00ffc1", 0, LOG, WORDS)
    assert ENGINE.submit_command(call, Demand(), "/the/root") == [
        *["qsub", "-terse", "-N", "r00ffc1", *TAIL, "-b", "y", "-shell", "n", *WORDS]
    ]


def test_one_task_by_one_waits_for_those_of_another_job():
    call = Call("r00ffc2", 3, LOG, WORDS, after=["5"], task_by_task="18")
    command = ENGINE.submit_command(call, Demand(slots=2, parallel_environment="mp"), "/r")
    assert command[4:14] == [
        *["-t", "1-3", "-pe", "mp", "2", "-hold_jid", "5", "-hold_jid_ad", "18", "-cwd"]
    ]


@pytest.mark.parametrize(("seconds", "soft"), [(1, 1), (15, 1), (16, 1), (17, 2), (3600, 3480)])
def test_the_warning_comes_before_the_limit(seconds, soft):
    command = ENGINE.submit_command(Call("r", 0, LOG, WORDS), Demand(seconds=seconds), "/r")
    assert command[command.index("-l") + 1] == f"h_rt={seconds},s_rt={soft}"


def test_a_request_is_judged_as_it_would_be_submitted():
    call = Call("r00ffc0", 2, LOG, WORDS)
    command = ENGINE.submit_command(call, SITE, "/r")
    assert ENGINE.judge_command(call, SITE, "/r") == ["qsub", "-w", "v", *command[1:]]


def test_the_other_commands():
    assert ENGINE.states_command("alice") == ["qstat", "-xml", "-u", "alice"]
    assert ENGINE.limits_command() == ["qconf", "-sconf"]
    assert ENGINE.why_command("24") == ["qstat", "-j", "24"]
    assert ENGINE.ended_command("24", 3) == ["qacct", "-j", "24", "-t", "3"]
    assert ENGINE.ended_command("24", 0) == ["qacct", "-j", "24"]
    assert ENGINE.cancel_commands("24", None) == [["qdel", "24"]]
    assert ENGINE.cancel_commands("24", [3, 1, 2, 7]) == [["qdel", "24.1-3", "24.7-7"]]
    assert ENGINE.cancel_commands("24", []) == []
    many = ENGINE.cancel_commands("24", range(1, 802, 2))
    assert [len(command) for command in many] == [201, 201, 2]
    assert many[1][:2] == ["qdel", "24.401-401"]


def test_a_task_finds_itself_by_these_variables():
    assert ENGINE.first_task == 1
    assert ENGINE.variables == {"task": "SGE_TASK_ID", "job": ("JOB_ID",), "slots": "NSLOTS"}
    assert (ENGINE.name, ENGINE.title) == ("grid-engine", "Grid Engine")


# answers


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (answer("qsub_array"), "24"),
        (answer("qsub_single"), answer("qsub_single").strip()),
        ("a site's greeting 12\n1106.1-1000:1\n", "1106"),
        ("3.1-9:2", "3"),
    ],
)
def test_the_number_of_a_job(text, number):
    assert ENGINE.parse_submitted(text) == number
    assert re.fullmatch(r"\d+", number)


@pytest.mark.parametrize(
    "text", ["", " \n", "Your job 12 has been submitted", "12.", "12.1-3", "12 13x", "-12"]
)
def test_no_number_is_an_error(text):
    with pytest.raises(QueueError, match="qsub answered what cannot be read"):
        ENGINE.parse_submitted(text)


def test_running_and_waiting_tasks_of_an_array():
    queue = ENGINE.parse_states(answer("qstat_ranges"))
    assert {number: (job.name, job.count) for number, job in queue.items()} == {
        "24": ("ra020000000c0", 8),
        "25": ("ra030000000c0", 3),
    }
    gone = [GONE] * 4
    assert queue["24"].tasks(1, 12) == [*[RUNS] * 3, *[WAITS] * 3, *gone, WAITS, WAITS]
    assert queue["25"].tasks(1, 3) == [WAITS] * 3
    sparse = ENGINE.parse_states(answer("qstat_sparse"))["24"].tasks(4, 9)
    assert sparse == [WAITS, GONE, WAITS, *gone, WAITS, WAITS]


def test_an_error_state_is_stuck_whole_or_single():
    queue = ENGINE.parse_states(answer("qstat_error_state"))
    stuck = Seen("stuck", "Grid Engine could not start it (state Eqw)")
    assert queue["28"].tasks(1, 4) == [stuck] * 4
    assert queue["29"].tasks(0, 1) == [stuck]
    assert queue["29"].count == 1


def test_nothing_in_the_queue_is_no_error():
    assert ENGINE.parse_states(answer("qstat_empty")) == {}


def entry(state, tasks, number=7, name="r00ffc0"):
    tasks = f"<tasks>{tasks}</tasks>" if tasks else ""
    return (
        f"<job_list><JB_job_number>{number}</JB_job_number><JB_name>{name}</JB_name>"
        f"<state>{state}</state>{tasks}</job_list>"
    )


def queue_of(*entries):
    return ENGINE.parse_states(f"<job_info><queue_info>{''.join(entries)}</queue_info></job_info>")


@pytest.mark.parametrize(
    ("letters", "state"),
    [
        *[("qw", "pending"), ("hqw", "pending"), ("Rq", "pending"), ("dqw", "pending")],
        *[("t", "running"), ("r", "running"), ("dr", "running"), ("Rr", "running")],
        *[("s", "running"), ("S", "running"), ("T", "running"), ("hr", "running")],
        *[("Eqw", "stuck"), ("Ehqw", "stuck"), ("Z", "pending"), ("", "pending")],
    ],
)
def test_letters_of_states(letters, state):
    assert queue_of(entry(letters, "3"))["7"].tasks(3, 1)[0].state == state


@pytest.mark.parametrize(
    ("tasks", "numbers"),
    [
        ("4-6:1,11,12", [4, 5, 6, 11, 12]),
        ("1-9:4", [1, 5, 9]),
        ("2-3", [2, 3]),
        (" 1 , 3 ", [1, 3]),
        ("10-12:5", [10]),
    ],
)
def test_lists_and_ranges_of_tasks(tasks, numbers):
    seen = queue_of(entry("qw", tasks))["7"].tasks(1, 20)
    assert [n for n, one in enumerate(seen, 1) if one == WAITS] == numbers


def test_whatever_others_call_their_jobs():
    queue = queue_of(
        entry("r", "", 8, "&lt;job_list&gt;|&amp; r00ffc0"), entry("qw", "2"), entry("r", "1")
    )
    assert queue["8"].name == "<job_list>|& r00ffc0"
    assert queue["7"].tasks(1, 2) == [RUNS, WAITS]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        answer("qstat_ranges")[:-30],
        answer("qstat_ranges")[:900],
        "<html><body>job_info</body></html>",
        f"<job_info>{entry('r', '3;4')}</job_info>",
        f"<job_info>{entry('r', '1-')}</job_info>",
        f"<job_info>{entry('r', '1-3:')}</job_info>",
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error(text):
    with pytest.raises(QueueError, match="qstat answered what cannot be read"):
        ENGINE.parse_states(text)


def test_limits():
    assert ENGINE.parse_limits(answer("qconf_sconf")) == Limits(75000, 5.0, 0)
    assert ENGINE.parse_limits("x\nmax_aj_tasks   0\n").longest_array == 10**9
    for text in ("", "max_aj_instances 2000", "no max_aj_tasks 5"):
        with pytest.raises(QueueError, match="qconf answered"):
            ENGINE.parse_limits(text)


@pytest.mark.parametrize(
    ("path", "signs"),
    [
        (f"{string.ascii_letters}{string.digits} '\"\\;é☂/%j.-_~+=@&|()[]{{}}<>?*!#^`", ""),
        ("a:b", "':'"),
        ("a$b,c", "',', '$'"),
        ("a\nb:c", "':', '\\n'"),
    ],
)
def test_signs_in_paths_that_mean_something_else(path, signs):
    assert ENGINE.log_problem(path) == signs


def test_why_a_job_is_stuck():
    assert ENGINE.parse_why(answer("qstat_j_error_state")) == (
        'error: can\'t open output file "/home/alice/bench/missing/x.log": No such file or '
        "directory"
    )
    missing = ENGINE.parse_why(answer("qstat_j_program_not_found"))
    assert missing
    assert not re.search(r"\d\d:\d\d|\[", missing)
    assert ENGINE.parse_why(answer("qstat_j_pending")) == ""
    assert ENGINE.parse_why("") == ""


@pytest.mark.parametrize(
    ("name", "job", "expected"),
    [
        ("qacct_exit_0", "ra080000000c0", Seen("ended", "its job ended with status 0")),
        ("qacct_exit_3", "ra080000000c0", Seen("ended", "its job ended with status 3")),
        (
            "qacct_killed",
            "ra080000000c0",
            Seen("ended", "Grid Engine says: failed 100 : assumedly after job"),
        ),
        (
            "qacct_deleted",
            "ra080000000c0",
            Seen("ended", "Grid Engine says: failed 100 : assumedly after job"),
        ),
        ("qacct_time_limit", "ra090000000c0", Seen("timeout", "the queue's time limit ended it")),
        ("qacct_exit_0", "ra080000000c1", GONE),
        ("qacct_unknown", "ra080000000c0", GONE),
    ],
)
def test_how_a_task_has_ended(name, job, expected):
    assert ENGINE.parse_ended(answer(name), job) == expected


def account(name, failed, status):
    return f"{'=' * 62}\njobname      {name}   \nfailed       {failed}  \nexit_status  {status}  \n"


def test_the_last_account_of_ours_counts():
    text = account("r1c0", "0", "5") + account("r1c0", "0", "137                  (Killed)")
    text += account("other", "0", "4")
    assert ENGINE.parse_ended(text, "r1c0") == Seen("ended", "its job ended with status 137")
    assert ENGINE.parse_ended(text, "other").reason == "its job ended with status 4"
    assert ENGINE.parse_ended(text, "r1c1") is GONE


@pytest.mark.parametrize("lines", [2, 3])
def test_half_an_account_is_none(lines):
    text = "\n".join(account("r1c0", "0", "5").splitlines()[:lines])
    assert ENGINE.parse_ended(text, "r1c0") is GONE
