"""The caller of engines' commands, and what is said about tasks by ranges."""

import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as some
from recorded_answers import recorded

from utils import engines
from utils.engines import GONE, Demand, QueueError, QueueJob, Seen

WAITS, RUNS = Seen("pending"), Seen("running")


@given(some.sets(some.integers(0, 300)))
def test_ranges_are_the_numbers_and_no_two_of_them_touch(numbers):
    ranges = engines.as_ranges(sorted(numbers, reverse=True))
    assert {n for first, last in ranges for n in range(first, last + 1)} == numbers
    gaps = [after[0] - before[1] for before, after in zip(ranges, ranges[1:], strict=False)]
    assert all(gap > 1 for gap in gaps)


def test_ranges_by_hand():
    assert engines.as_ranges([]) == []
    assert engines.as_ranges([7, 4, 5, 1]) == [(1, 1), (4, 5), (7, 7)]


@given(
    some.lists(some.tuples(some.integers(0, 30), some.integers(0, 30), some.integers(1, 4))),
    some.integers(0, 20),
    some.integers(0, 20),
)
def test_of_a_job_so_many_tasks_are_told(ranges, first, count):
    told = {}
    for number, (begin, end, step) in enumerate(ranges):
        for task in range(begin, end + 1, step):
            told[task] = Seen(str(number))
    job = QueueJob("r", [(*ends, Seen(str(n))) for n, ends in enumerate(ranges)])
    assert job.tasks(first, count) == [told.get(n, GONE) for n in range(first, first + count)]
    assert job.count == sum(len(range(a, b + 1, step)) for a, b, step in ranges)


def test_what_is_in_no_range_is_told_together():
    job = QueueJob("r", [(1, 3, 2, RUNS)], WAITS)
    assert job.tasks(0, 4) == [WAITS, RUNS, WAITS, RUNS]
    assert job.count == 3
    assert QueueJob("r").tasks(1, 2) == [GONE, GONE]
    assert QueueJob("r").count == 0


@pytest.mark.parametrize(
    ("seconds", "warning"), [(3, 15), (150, 15), (160, 16), (1199, 119), (1200, 120), (86400, 120)]
)
def test_programs_are_warned_before_their_limit(seconds, warning):
    assert Demand(seconds=seconds).warning_s == warning


def test_commands_have_two_hundred_names_at_most():
    words = [str(number) for number in range(401)]
    assert [len(part) for part in engines.in_parts(words)] == [200, 200, 1]
    assert [word for part in engines.in_parts(words) for word in part] == words
    assert engines.in_parts([]) == []


# the caller


def python(text):
    return [sys.executable, "-I", "-S", "-c", text]


def problem_of(command, **options):
    with pytest.raises(QueueError) as caught:
        engines.ask(command, **options)
    return caught.value


def flags(problem):
    return [name for name in ("passing", "full", "unsure") if getattr(problem, name)]


def test_what_a_command_prints_is_the_answer(tmp_path):
    assert engines.ask(python("print('ä b')")) == "ä b\n"
    where = "import os; print(os.getcwd())"
    assert engines.ask(python(where), str(tmp_path)).strip() == str(tmp_path)
    assert engines.ask(python("import sys; print(repr(sys.stdin.read()))")) == "''\n"
    # what it complains about does not matter when it has done what it should
    assert engines.ask(python("import sys; print('no', file=sys.stderr)")) == ""


def test_words_are_handed_over_as_they_are():
    words = ["a b", "$HOME;`id`", "'\"", "é\n☂", ""]
    answer = engines.ask([*python("import sys; print(ascii(sys.argv[1:]))"), *words])
    assert answer == ascii(words) + "\n"


def test_an_engine_speaks_plain_english_and_knows_the_rest(monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("SGE_ROOT", "/somewhere")
    shown = "import os; print(os.environ['LC_ALL'], os.environ['SGE_ROOT'])"
    assert engines.ask(python(shown)) == "C /somewhere\n"


def test_what_is_no_text_is_read_all_the_same():
    answer = engines.ask(python(r"import os; os.write(1, b'a\0\xff\xc3b')"))
    assert answer == "a\0\ufffd\ufffdb"


def test_an_endless_answer_is_cut(monkeypatch):
    """Two pipes that nobody reads would block it; and so much may well be memory of others."""
    monkeypatch.setattr(engines, "MOST_ANSWERED", 1000)
    much = "import os; os.write(1, b'x' * 300000); os.write(2, b'y' * 300000)"
    assert engines.ask(python(much)) == "x" * 1000
    assert str(problem_of(python(f"{much}; raise SystemExit(3)"))).endswith("3: " + "y" * 1000)


def test_a_command_that_is_not_there_is_said_in_a_sentence(tmp_path):
    problem = problem_of(["qsub-of-nowhere"])
    assert str(problem) == (
        "qsub-of-nowhere cannot be started (No such file or directory); start runs from a machine "
        "of the cluster that may submit jobs, or choose another environment"
    )
    assert flags(problem) == []
    (tmp_path / "qsub").write_text("no program")
    assert "(Permission denied)" in str(problem_of([str(tmp_path / "qsub")]))


def test_a_failure_is_told_in_the_engines_words():
    failing = "import sys; print('said'); print(' one\\n  two ', file=sys.stderr); sys.exit(7)"
    assert str(problem_of(python(failing))).endswith(" ended with status 7: one two")
    quiet = "import os; os.write(1, b'on the other output'); os._exit(2)"
    assert str(problem_of(python(quiet))).endswith(" ended with status 2: on the other output")
    assert str(problem_of(python("import os; os._exit(1)"))).endswith("1: it said nothing")
    killed = "import os; os.kill(os.getpid(), 9)"
    assert "ended with status -9" in str(problem_of(python(killed)))


@pytest.mark.parametrize(
    ("engine", "name", "expected"),
    [
        ("grid_engine", "qsub_master_down", ["passing"]),
        ("grid_engine", "qstat_master_down", ["passing"]),
        ("grid_engine", "qconf_master_down", ["passing"]),
        ("grid_engine", "qsub_unknown_queue", []),
        ("grid_engine", "qsub_too_many_tasks", []),
        ("grid_engine", "qsub_w_v_impossible", []),
        ("slurm", "sbatch_controller_down", ["passing"]),
        ("slurm", "squeue_controller_down", ["passing"]),
        ("slurm", "scancel_controller_down", ["passing"]),
        ("slurm", "scontrol_controller_down", ["passing"]),
        ("slurm", "sbatch_invalid_partition", []),
        ("slurm", "sbatch_array_too_large", []),
    ],
)
def test_what_may_pass_is_told_from_what_will_not(engine, name, expected):
    answer = recorded(engine, name)
    text = f"import sys; sys.stderr.write({answer.err or answer.out!r}); sys.exit({answer.status})"
    assert flags(problem_of(python(text))) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("sbatch: error: Socket timed out on send/recv operation", ["passing", "unsure"]),
        ("error: commlib error: (Connection TIMED OUT)", ["passing", "unsure"]),
        ("error: commlib error: got read error (closing connection)", ["passing", "unsure"]),
        ("failed receiving gdi request response (receive timeout error)", ["passing", "unsure"]),
        ("error: failed receiving gdi request response (receive timeout)", ["passing", "unsure"]),
        ("Zero Bytes were transmitted or received", ["passing"]),
        ("failed receiving gdi request response ... got no response from qmaster", ["passing"]),
        ("error: can't connect to service", ["passing"]),
        (
            "sbatch: error: Batch job submission failed: Resource temporarily unavailable",
            ["full"],
        ),
        ("job rejected: Only 5 jobs are allowed per user (current job count: 5)", ["full"]),
        ("QOSMaxSubmitJobPerUserLimit", ["full"]),
        ("Job violates accounting/QOS policy (job submit limit, user's size)", ["full"]),
        ("Invalid qos specification", []),
    ],
)
def test_a_full_queue_and_a_doubtful_answer_are_known(said, expected):
    text = f"import sys; print({said!r}, file=sys.stderr); sys.exit(1)"
    assert flags(problem_of(python(text))) == expected


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    noted, script = tmp_path / "pid", tmp_path / "hangs.sh"
    script.write_text(f"sleep 99 &\necho $! > {noted}\nwait\n")
    begin = time.monotonic()
    problem = problem_of(["/bin/sh", str(script)], seconds=0.9)
    assert time.monotonic() - begin < 30
    assert str(problem) == "/bin/sh did not answer within 1 s"
    assert flags(problem) == ["passing", "unsure"]
    child = int(noted.read_text())
    end = time.monotonic() + 60
    while _lives(child):
        assert time.monotonic() < end, "what it started goes on"
        time.sleep(0.02)


def _lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_ctrl_c_does_not_reach_it():
    answer = engines.ask(python("import os; print(os.getsid(0) == os.getpid())"))
    assert answer == "True\n"


def test_an_unreadable_answer_is_quoted_in_part():
    problem = engines.unreadable("qstat", "  \x1b[31m" + "x" * 200)
    assert str(problem) == f"qstat answered what cannot be read: '\\x1b[31m{'x' * 75}'"
    assert flags(problem) == ["unsure"]
