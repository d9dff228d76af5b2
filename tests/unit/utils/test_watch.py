import io
import os

import pytest

from utils import job_node, jobs, paths, plans, watch
from utils.command_lines import Refusal

GROUP, EXP = "demo", "grid"


@pytest.fixture
def jobs_dir(bench_folders):
    return paths.jobs_dir(GROUP, EXP)


def send(jobs_dir, runs, exp=EXP):
    jobs_dir = jobs_dir.parents[1] / exp / ".jobs"
    return plans.send(jobs_dir, [{"run": r} for r in runs], [(r, 0, 1) for r in runs], {})


def claim(jobs_dir, run, **content):
    job_node.claim(jobs_dir, run, 0, 1, {})
    path = job_node.state_file(jobs_dir, run, 0, 1, "claim")
    job_node.write_json(path, {**job_node.read_json(path), **content})


def log(jobs_dir, run, text):
    with open(job_node.log_file(jobs_dir, run, 0, "o"), "a") as stream:
        stream.write(text)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def shown(view, most=20):
    view.look()
    return [line.split() for line in view.lines(most)]


@pytest.fixture
def several(jobs_dir):
    """Six runs: done, two failed, lost, two running, and one that waits."""
    send(jobs_dir, range(7))
    for run in range(6):
        claim(jobs_dir, run)
    job_node.record(jobs_dir, 0, 0, 1, "done", {})
    for run in (1, 2):
        job_node.record(jobs_dir, run, 0, 1, "failed", {"reason": f"Value\x1bError {run}"})
    claim(jobs_dir, 3, pid_start=-1)
    log(jobs_dir, 4, "# begins\n100/400 epochs · 2 repetitions · 3:19 left\n")
    log(jobs_dir, 5, "# begins\n")


def test_running_runs_come_with_progress_and_bad_ends_with_reasons(several):
    assert shown(watch.View("demo")) == [
        ["demo/grid", *"1 done · 2 failed · 1 lost · 2 running · 1 pending".split()],
        [],
        ["RUN", "STATE", "TRY", "PROGRESS", "OR", "REASON"],
        ["demo/grid:4", "running", "1", "100/400", "epochs,", "3:19", "left"],
        ["demo/grid:5", "running", "1"],
        ["demo/grid:1", "failed", "1", "Value\\x1bError", "1"],
        ["demo/grid:2", "failed", "1", "Value\\x1bError", "2"],
        ["demo/grid:3", "lost", "1", *"it ended without a record: killed, or".split()]
        + "its machine went down".split(),
    ]


def test_a_short_screen_is_shared_by_running_and_bad_ones(several):
    view = watch.View()
    for most, runs, left in ((3, [4, 5, 1], 2), (2, [4, 1], 3), (1, [4], 4), (4, [4, 5, 1, 2], 1)):
        rows = shown(view, most)[3:]
        assert [row[0] for row in rows[:-1]] == [f"demo/grid:{run}" for run in runs]
        assert " ".join(rows[-1]) == f"… and {left} more: runs list --all"


def test_logs_are_read_again_after_a_while_only(several, jobs_dir, monkeypatch):
    clock = Clock()
    view = watch.View("demo/grid", clock)
    read = []
    real = job_node.last_line
    monkeypatch.setattr(job_node, "last_line", lambda path: read.append(path) or real(path))
    shown(view)
    log(jobs_dir, 4, "200/400 epochs · 1:10 left\n")
    clock.now = watch.READ_S - 1
    assert shown(view)[3][3:] == "100/400 epochs, 3:19 left".split()
    assert len(read) == 2
    clock.now = watch.READ_S
    assert shown(view)[3][3:] == "200/400 epochs, 1:10 left".split()
    log(jobs_dir, 4, "a message in between\n")
    clock.now = 2 * watch.READ_S
    assert shown(view)[3][3:] == "200/400 epochs, 1:10 left".split()


def test_a_new_experiment_is_seen_after_a_minute(several, jobs_dir):
    clock = Clock()
    view, other = watch.View("demo", clock), watch.View("demo/grid", clock)
    send(jobs_dir, [0], exp="later")
    assert [row[0] for row in shown(view)[:2] if row] == ["demo/grid"]
    clock.now = watch.LOOK_AGAIN_S
    assert [row[0] for row in shown(view)[:2] if row] == ["demo/grid", "demo/later"]
    assert [row[0] for row in shown(other)[:2] if row] == ["demo/grid"]


def test_without_a_terminal_the_view_ends_when_nothing_is_under_way(several, jobs_dir):
    stream, waits = io.StringIO(), []

    def sleep(seconds):
        waits.append(seconds)
        for run in (4, 5) if len(waits) == 2 else ():
            job_node.record(jobs_dir, run, 0, 1, "done", {})
        if len(waits) == 3:
            claim(jobs_dir, 6)
            job_node.record(jobs_dir, 6, 0, 1, "cancelled", {"reason": "stopped"})

    assert watch.watch("demo", 7, stream, sleep) == 0
    assert waits == [7, 7, 7]
    blocks = stream.getvalue().split("\n\n")
    heads = [line for line in stream.getvalue().splitlines() if line.startswith("demo/grid ")]
    assert [head.split("  ")[1] for head in heads] == [
        "1 done · 2 failed · 1 lost · 2 running · 1 pending",
        "1 done · 2 failed · 1 lost · 2 running · 1 pending",
        "3 done · 2 failed · 1 lost · 1 pending",
        "3 done · 2 failed · 1 lost · 1 cancelled",
    ]
    assert "\x1b" not in stream.getvalue()
    assert len(blocks) >= 8


class Terminal(io.StringIO):
    encoding = "ascii"

    def isatty(self):
        return True


def test_a_terminal_is_drawn_over_until_ctrl_c(several, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "12")
    stream, waits = Terminal(), []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    assert watch.watch("demo", 2, stream, sleep) == 0
    first, *others = stream.getvalue().split("\x1b[J")
    assert len(others) == 2
    assert first.endswith(f"\x1b[{first.count(chr(10))}A\r")
    lines = first.splitlines()
    assert max(map(len, lines)) <= 40
    assert len(lines) <= 12
    assert others[0].splitlines()[3].startswith("demo/grid:4  running")


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("dem", "there are no runs of group dem; there are some of demo. Did you mean demo?"),
        ("demo/gird", "Did you mean demo/grid?"),
        ("demo/grid:4", "runs watch takes GROUP or GROUP/EXP, not demo/grid:4; `runs log"),
    ],
)
def test_what_is_not_there_is_refused_as_by_the_list(several, what, sentence):
    with pytest.raises(Refusal) as problem:
        jobs.follow(["watch", what])
    assert sentence in str(problem.value)
    if ":" not in what:
        with pytest.raises(Refusal) as other:
            jobs.follow(["list", what])
        assert str(other.value) == str(problem.value)


def test_there_is_nothing_to_watch_without_runs(bench_folders, capsys):
    assert jobs.follow(["watch"]) == 0
    assert capsys.readouterr().out.startswith("there are no runs in ")
    with pytest.raises(Refusal, match="'0' is no whole number from 1 on"):
        jobs.follow(["watch", "--every", "0"])


def test_the_command_looks_as_often_as_it_is_told(several, monkeypatch):
    calls = []
    monkeypatch.setattr(watch, "watch", lambda *given: calls.append(given) or 0)
    assert jobs.follow(["watch", "demo", "--every", "60"]) == 0
    assert jobs.follow(["watch"]) == 0
    assert calls == [("demo", 60), (None, watch.EVERY_S)]
    assert os.environ.get("BENCH_RESULTS")
