import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from utils import (
    environments,
    finished,
    grid,
    job_node,
    launches,
    outcomes,
    paths,
    plans,
    pool,
    promises,
    registry,
    run_names,
    runners,
    variants,
)
from utils.command_lines import Refusal, answer
from utils.promises import Wish

EXPERIMENT = '''"""e: a toy."""
from utils import experiment

DATA = []


def train(run, number: int = 0, rate: float = 0.1, text: str = "x"):
    pass


if __name__ == "__main__":
    experiment.main(train{more})
'''
RESOURCES = {"threads": 1, "memory": None, "gpus": 0, "hours": None}


@pytest.fixture
def checkout(bench_folders, tmp_path, monkeypatch):
    root = tmp_path / "bench"
    (root / "experiments" / "toy").mkdir(parents=True)
    (root / "experiments" / "toy" / "e.py").write_text(EXPERIMENT.replace("{more}", ""))
    monkeypatch.setattr(paths, "ROOT", root)
    return root


@pytest.fixture
def runs(checkout):
    return grid.product("toy", "e", number=[0, 1], text=["a b", "x"])


def launch(runs, *arguments):
    return runners.launch(runs, RESOURCES, arguments, "python e_runner.py")


def refused(runs, *arguments):
    with pytest.raises((Refusal, ValueError, registry.RunExists)) as problem:
        launch(runs, *arguments)
    assert "\n" not in str(problem.value)
    return str(problem.value)


def tree(folder):
    return {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*")}


def entries(runs, wish=None):
    return promises.by_experiment(runs, wish or Wish())[runs[0].exp_folder, runs[0].exp]


def decide(runs, wish=None):
    wish = wish or Wish()
    return promises.decide("toy", runs[0].exp, entries(runs, wish), wish)


def leave(runs, states, selection=None):
    """Leave behind what a launcher that has ended leaves, with these final states."""
    jobs_dir = paths.jobs_dir("toy", runs[0].exp)
    tasks = [(run.run, 0, 1) for run in runs]
    sent = plans.send(jobs_dir, entries(runs, Wish(repetitions=selection)), tasks, {})
    about = {**sent.about, "pid_start": -1}
    job_node.write_json(str(jobs_dir / f"{sent.stem}.json"), about)
    for run, state in zip(runs, states, strict=True):
        if state != "new":
            job_node.claim(jobs_dir, run.run, 0, 1, {"token": sent.token, "task": run.run})
        if state in job_node.FINAL:
            job_node.record(jobs_dir, run.run, 0, 1, state, {"exit": 0})
        if state == "done":
            results(run, run_names.numbers(selection, "") if selection else range(5))
    return jobs_dir


def results(run, indices):
    """Write what repetitions leave that are done."""
    (entry,) = entries([run])
    for index in indices:
        folder = paths.log_dir("toy", run.exp, run.run, "name", index)
        folder.mkdir(parents=True)
        content = {"state": "done", "seed": index, "declared": 5}
        content |= {"key": entry["key"], "arguments": entry["arguments"]}
        registry.write_json(folder / "run.json", content)


# --- the command line


def test_without_an_environment_all_are_printed(runs, capsys):
    assert launch(runs) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("usage: python e_runner.py ENVIRONMENT")
    assert [line.split()[0] for line in lines[1:]] == list(environments.ENVIRONMENTS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lunix"], ["'lunix'", "qsub-cpu", "Did you mean linux?"]),
        (["linux", "--onyl", "3"], ["--onyl", "--repetitions", "Did you mean --only?"]),
        (["linux", "--only", "7"], ["no run 7", "it has 0-3"]),
        (["linux", "--only", "x"], ["--only 'x'", "3 or 0-4,7"]),
        (["linux", "--jobs", "0"], ["--jobs", "'0'", "from 1 on"]),
        (["linux", "--jobs"], ["--jobs", "expected one argument"]),
        (["linux", "--repetitions", "a"], ["--repetitions 'a'"]),
        (["linux", "--set", "numbr=3"], ["no hyper-parameter numbr", "Did you mean number?"]),
        (["linux", "--set", "number=x"], ["'x'", "whole number"]),
        (["linux", "--set", "number"], ["'number' has no value", "--set epochs=20"]),
        (["linux", "--as", "a/b"], ["'a/b'", "letters, digits"]),
    ],
)
def test_what_is_wrong_is_answered_with_what_is_allowed(runs, arguments, words):
    sentence = refused(runs, *arguments)
    assert [word for word in words if word not in sentence] == []


def test_a_grid_is_checked_before_anything_starts(checkout, runs):
    wrong = [*runs, *grid.one("toy", "e", run=9, nubmer=3)]
    assert "Did you mean number?" in refused(wrong, "linux")
    wrong = [*runs, *grid.one("toy", "e", run=9, number="three")]
    assert refused(wrong, "linux").startswith("run 9: ")
    assert "run 2 of toy/e is listed twice" in refused([*runs, runs[2]], "linux")
    assert "has no runs" in refused([], "linux")
    assert "experiments/toy/none.py" in answer_of([*grid.one("toy", "none")])
    assert not paths.job_log_dir("toy", "e").exists()


def answer_of(runs):
    with pytest.raises(FileNotFoundError) as problem:
        launch(runs, "linux")
    return str(problem.value)


def test_a_refusal_is_a_sentence_and_exit_status_2(capsys):
    def refuse():
        raise Refusal("no \x1b[31m such thing")

    assert answer(refuse) == 2
    assert capsys.readouterr().err == "no \\x1b[31m such thing\n"


def test_ctrl_c_while_a_runner_is_loaded_needs_no_traceback():
    program = "from utils import runners; raise KeyboardInterrupt"
    root = Path(__file__).parents[3]
    ended = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


# --- dry run


def test_a_dry_run_prints_every_command(checkout, runs, capsys, monkeypatch):
    monkeypatch.setattr(environments, "cores", lambda: 3)
    before = tree(checkout.parent)
    assert launch(runs, "linux", "--dry-run", "--jobs", "3") == 0
    python = sys.executable
    assert capsys.readouterr().out.splitlines() == [
        f"{python} experiments/toy/e.py --exp_folder=toy --exp=e --run={run} --resume "
        f"--number={number} {text}"
        for run, number, text in (
            (0, 0, "'--text=a b'"),
            (1, 0, "--text=x"),
            (2, 1, "'--text=a b'"),
            (3, 1, "--text=x"),
        )
    ] + [
        f"4 runs, 3 at a time, in {checkout}, with OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 "
        "TF_NUM_INTEROP_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMEXPR_NUM_THREADS=1"
    ]
    assert tree(checkout.parent) == before


def test_a_dry_run_says_why_others_are_not_sent(runs, capsys):
    leave(runs, ["done", "done", "running", "new"])
    before = tree(paths.results_dir())
    assert launch(runs, "linux", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "--run=3" in lines[0]
    assert lines[1].startswith("1 run, 1 at a time")
    assert lines[2] == "toy/e: 2 done, 1 running; not started again"
    assert tree(paths.results_dir()) == before


def test_options_travel_to_every_run(runs, capsys):
    options = ["--only", "0,2", "--set", "rate=1", "text=y z", "--as", "short"]
    options += ["--repetitions", "0-1", "--diverged"]
    assert launch(runs, "local", "--dry-run", *options) == 0
    commands = capsys.readouterr().out.splitlines()[:2]
    assert [command.partition("e.py ")[2] for command in commands] == [
        f"--exp_folder=toy --exp=e_short --run={run} --resume --diverged --repetitions=0-1 "
        f"--number={number} '--text=y z' --rate=1.0"
        for run, number in ((0, 0), (2, 1))
    ]


def test_changed_arguments_have_a_name_of_their_own(runs):
    first = variants.changed(runs, ["number=7"], "")
    assert {run.exp for run in first} == {
        run.exp for run in variants.changed(runs, ["number=7"], "")
    }
    assert first[0].exp != variants.changed(runs, ["number=8"], "")[0].exp
    name, _, digits = first[0].exp.rpartition("-")
    assert (name, len(digits)) == ("e_set", 6)
    assert [run.run for run in first] == [0, 1, 2, 3]
    assert {run.script for run in first} == {"toy/e.py"}
    assert variants.changed(runs, [], "") == runs


def test_threads_share_the_cores(runs, capsys, monkeypatch):
    monkeypatch.setattr(environments, "cores", lambda: 8)
    runners.launch(runs, {**RESOURCES, "threads": 4}, ["linux", "--dry-run"], "")
    assert "2 at a time" in capsys.readouterr().out
    runners.launch(runs, {**RESOURCES, "threads": 16}, ["linux", "--dry-run"], "")
    assert "1 at a time" in capsys.readouterr().out


def test_a_dry_run_is_quick_and_light():
    root = Path(__file__).parents[3]
    runner = root / "experiments" / "experiments_3" / "bs4_exp3_runner.py"
    program = f"""
import runpy, sys, time
sys.argv = [{str(runner)!r}, "linux", "--dry-run"]
try:
    runpy.run_path({str(runner)!r}, run_name="__main__")
except SystemExit as end:
    heavy = {{"tensorflow", "keras", "pandas", "numpy", "matplotlib"}} & set(sys.modules)
    sys.exit(f"imported {{heavy}}" if heavy or end.code else 0)
"""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    after = os.times()
    assert done.returncode == 0, done.stderr
    assert "bs4_exp3.py" in done.stdout
    # processor time: other work on this machine does not count
    spent = after.children_user + after.children_system
    assert spent - before.children_user - before.children_system < 0.5


# --- promises


def test_a_new_grid_is_sent_whole(runs):
    batch = decide(runs)
    assert batch.tasks == [(0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 1)]
    assert batch.kept == {}
    assert [entry["arguments"]["rate"] for entry in batch.entries] == [0.1] * 4


def test_what_is_done_or_under_way_is_left_alone(runs):
    leave(runs, ["done", "running", "new", "done"])
    batch = decide(runs)
    assert batch.kept == {"done": [0, 3], "running": [1]}
    assert batch.tasks == [(2, 0, 1)]


def test_what_was_begun_needs_resume(runs):
    leave(runs, ["done", "failed", "cancelled", "new"])
    with pytest.raises(registry.RunExists, match=r"run 1 of toy/e .*\(failed\), like 1 other\. "):
        decide(runs)
    batch = decide(runs, Wish(resume=True))
    assert batch.tasks == [(1, 0, 2), (2, 0, 2), (3, 0, 1)]
    assert batch.kept == {"done": [0]}


def test_a_lost_run_is_resumed(runs, monkeypatch):
    jobs_dir = leave(runs, ["running", "new", "new", "new"])
    path = job_node.state_file(jobs_dir, 0, 0, 1, "claim")
    job_node.write_json(path, {**job_node.read_json(path), "pid_start": -1})
    assert decide(runs, Wish(resume=True)).tasks[0] == (0, 0, 2)


def test_a_number_is_a_promise(runs):
    leave(runs, ["done", "failed", "new", "new"])
    other = grid.product("toy", "e", number=[5, 1], text=["a b", "x"])
    with pytest.raises(registry.RunExists) as problem:
        decide(other, Wish(resume=True))
    assert str(problem.value) == (
        "run 0 of toy/e exists with number=0; the grid now says number=5. Give it another "
        "first_run, or remove it with `runs remove toy/e:0`. So it is with 1 more."
    )
    # never started: nothing is promised
    assert decide(other[2:]).tasks == [(2, 0, 1), (3, 0, 1)]


def test_a_changed_default_breaks_the_promise(checkout, runs):
    leave(runs, ["done"] * 4)
    script = checkout / "experiments" / "toy" / "e.py"
    script.write_text(script.read_text().replace("rate: float = 0.1", "rate: float = 0.2"))
    with pytest.raises(registry.RunExists, match="with rate=0.1; the grid now says rate=0.2"):
        decide(runs)


def test_other_data_break_the_promise(checkout, runs):
    leave(runs, ["done"] * 4)
    script = checkout / "experiments" / "toy" / "e.py"
    script.write_text(script.read_text().replace("DATA = []", 'DATA = ["region1"]'))
    paths.region_dir(1).mkdir()
    (paths.region_dir(1) / "inputs.npy").write_bytes(b"1")
    with pytest.raises(registry.RunExists, match="other data in Data/"):
        decide(runs)


def test_data_that_come_later_break_no_promise_of_what_has_not_begun(checkout, runs):
    leave(runs, ["failed", "failed", "done", "running"])
    results(runs[1], [0])
    script = checkout / "experiments" / "toy" / "e.py"
    script.write_text(script.read_text().replace("DATA = []", 'DATA = ["region1"]'))
    paths.region_dir(1).mkdir()
    (paths.region_dir(1) / "inputs.npy").write_bytes(b"1")
    assert decide(runs[:1], Wish(resume=True)).tasks == [(0, 0, 2)]
    for run in runs[1:]:
        with pytest.raises(registry.RunExists, match=f"run {run.run} of .* other data in Data/"):
            decide([run], Wish(resume=True))


def test_a_run_that_was_started_by_hand_keeps_its_promise(runs):
    folder = paths.log_dir("toy", "e", 0, "name", 0)
    folder.mkdir(parents=True)
    content = {"state": "done", "key": entries(runs)[0]["key"], "arguments": {"number": 0}}
    content["seed"] = 0
    registry.write_json(folder / "run.json", content)
    assert decide(runs).kept == {"done": [0]}
    registry.write_json(folder / "run.json", {**content, "key": "other"})
    with pytest.raises(registry.RunExists, match="run 0 of toy/e exists with"):
        decide(runs)


@pytest.mark.parametrize("told", [{"exit": 3}, {"diverged": 2}])
def test_a_record_tells_of_divergence_by_status_or_number(runs, told):
    jobs_dir = leave(runs[:1], ["running"])
    job_node.record(jobs_dir, 0, 0, 1, "done", told)
    results(runs[0], range(5))
    assert decide(runs[:1], Wish(resume=True)).tasks == []
    assert decide(runs[:1], Wish(diverged=True)).tasks == [(0, 0, 2)]


@pytest.mark.parametrize(
    ("done", "wanted", "enough"),
    [
        (None, None, True),
        (None, "0-3", True),
        ("0-3", "1-2", True),
        ("0-3", "0-3", True),
        ("0-3", "3-4", False),
        ("0-3", None, False),
    ],
)
def test_a_selection_of_repetitions_is_not_the_whole_run(runs, done, wanted, enough):
    assert finished.covers(done, wanted) is enough
    leave(runs, ["done"] * 4, selection=done)
    if enough:
        assert decide(runs, Wish(repetitions=wanted)).kept == {"done": [0, 1, 2, 3]}
        return
    with pytest.raises(registry.RunExists, match="done in part"):
        decide(runs, Wish(repetitions=wanted))
    batch = decide(runs, Wish(resume=True, repetitions=wanted))
    assert [entry.get("again") for entry in batch.entries] == [True] * 4
    assert batch.tasks[0] == (0, 0, 2)


def test_diverged_runs_are_tried_again_only_on_demand(runs):
    jobs_dir = leave(runs, ["done", "running", "done", "done"])
    job_node.record(jobs_dir, 1, 0, 1, "done", {"exit": 3, "diverged": 2})
    results(runs[1], range(5))
    assert decide(runs, Wish(resume=True)).tasks == []
    batch = decide(runs, Wish(diverged=True))
    assert batch.tasks == [(1, 0, 2)]
    assert batch.entries[0]["again"] is True
    assert "--diverged" in batch.entries[0]["argv"]


# --- experiments without a runner


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("", ["e"]),
        (', exp="b1"', ["b1"]),
        (', "b1"', ["b1"]),
        (", exp=None", ["e"]),
    ],
)
def test_a_file_may_name_another_experiment(checkout, call, expected):
    script = checkout / "experiments" / "toy" / "e.py"
    script.write_text(EXPERIMENT.replace("{more}", call))
    assert runners.declared_experiments(script, "e") == expected


def test_a_file_may_have_several_parts(checkout, capsys):
    script = checkout / "experiments" / "toy" / "e.py"
    parts = EXPERIMENT.replace("train{more}", '{"p9": train, "p16": train}')
    script.write_text(parts)
    assert runners.single(["toy", "e", "linux", "--dry-run"], "python utils/runners.py") == 0
    commands = capsys.readouterr().out.splitlines()[:2]
    assert ["--exp=p9 --run=0" in commands[0], "--exp=p16 --run=0" in commands[1]] == [True, True]


def test_a_computed_name_is_refused(checkout):
    script = checkout / "experiments" / "toy" / "e.py"
    script.write_text(EXPERIMENT.replace("{more}", ', exp="b" + "1"'))
    with pytest.raises(Refusal, match="plain text"):
        runners.declared_experiments(script, "e")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tyo", "e", "linux"], ["'tyo'", "Did you mean toy?"]),
        (["toy", "f", "linux"], ["no experiment file f.py", "it has e"]),
        (["toy", "e", "lunix"], ["Did you mean linux?"]),
    ],
)
def test_an_unknown_experiment_is_named(checkout, arguments, words):
    with pytest.raises(Refusal) as problem:
        runners.single(arguments, "python utils/runners.py")
    assert [word for word in words if word not in str(problem.value)] == []


def test_without_an_experiment_the_groups_are_printed(checkout, capsys):
    assert runners.single([], "python utils/runners.py") == 2
    assert "groups: toy" in capsys.readouterr().out
    assert runners.single(["toy", "e"], "python utils/runners.py") == 2
    assert "qsub-cpu" in capsys.readouterr().out


# --- submissions


def test_a_submission_tells_where_it_comes_from(runs, monkeypatch):
    monkeypatch.setattr(pool.Pool, "run", lambda self: outcomes.Outcome(left=len(self.waiting)))
    monkeypatch.setattr(sys, "argv", ["e_runner.py", "linux", "a b"])
    planned = promises.by_experiment(runs, Wish())
    terms = environments.Terms(resources={**RESOURCES, "threads": 3}, at_once=2)
    assert launches.start(planned, Wish(), terms) == 1
    (sent,) = plans.submissions(paths.jobs_dir("toy", "e"))
    assert sent.about["environment"] == {
        "BENCH_DATA": str(paths.data_dir()),
        "BENCH_RESULTS": str(paths.results_dir()),
        "OMP_NUM_THREADS": "3",
        "TF_NUM_INTRAOP_THREADS": "3",
        "TF_NUM_INTEROP_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
        "NUMEXPR_NUM_THREADS": "3",
    }
    assert sent.about["command"] == "e_runner.py linux 'a b'"
    assert sent.about["run_folder"] == str(paths.logs_root() / "toy" / "ex")
    assert json.loads((sent.jobs_dir / f"{sent.stem}.json").read_text()) == sent.about
