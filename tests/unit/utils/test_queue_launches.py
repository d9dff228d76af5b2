"""What is shown of a launch before it is sent to a queue, and what is said about it afterwards."""

import os
import shlex

import pytest
from scripted_engine import FULL, REFUSED, ScriptedEngine

from utils import environments, job_node, paths, plans, promises, queue_launches, states
from utils.command_lines import Refusal
from utils.engines import QueueError

ABOUT = {"environment_name": "qsub-cpu", "environment": {}, "python": "python"}


@pytest.fixture
def engine(bench_folders, tmp_path, monkeypatch):
    facts = tmp_path / "facts.toml"
    facts.write_text("")
    monkeypatch.setenv("QUEUES", str(facts))
    return ScriptedEngine(monkeypatch)


def batch(runs=3, exp="e", parts=0, needs=()):
    entries = [
        {"run": run, "script": "experiments/g/e.py", "argv": [f"--run={run}", "--text=a b"]}
        | ({"parts": parts} if parts else {})
        | ({"needs": list(needs)} if needs else {})
        for run in range(runs)
    ]
    numbers = range(1, parts + 1) if parts else [0]
    return promises.Batch(
        "g", exp, entries, [(run, part, 1) for run in range(runs) for part in numbers]
    )


def terms(environment="qsub-cpu", jobs=None, **resources):
    options = {name: resources.pop(name) for name in ("per_task", "array") if name in resources}
    return environments.terms(environment, resources, jobs, **options)


def shown(batches, check=False, **more):
    batches = batches if isinstance(batches, list) else [batches]
    text, status = queue_launches.dry_run(batches, terms(**more), check)
    return text.splitlines(), status


def test_a_dry_run_shows_the_command_the_plan_and_the_sum(engine):
    lines, status = shown(batch(5), jobs=2, memory="16G", hours=2)
    assert (status, engine.commands) == (0, [])
    control = str(paths.jobs_dir("g", "e"))
    words = shlex.split(lines[0])
    assert words[:8] == ["qsub", "-terse", "-N", "rTOKENc0", "-t", "1-5", "-tc", "2"]
    assert words[words.index("-o") + 1] == f"{control}/send-TIME-TOKEN.engine.log"
    assert words[-5:-3] == ["utils/run_in_env.sh", environments.shown_python()]
    assert words[-3:] == [control, "TOKEN", "c0"]
    python = environments.shown_python()
    assert lines[1:4] == [
        f"  {run}: {python} experiments/g/e.py --run={run} '--text=a b'" for run in range(3)
    ]
    assert lines[4:] == [
        "  … and 2 more, one line of a plan each",
        f"in {paths.ROOT}: each run gets 4 slots, 16G of memory (4G per slot), 2 h at most; 2 at a "
        "time: 8 slots, 32G of memory",
        "arrays of at most 75000 tasks, if Grid Engine is set up as it is packaged; --check asks "
        "it",
    ]
    assert not paths.jobs_dir("g", "e").exists()


def test_of_many_calls_three_are_shown(engine):
    lines, _ = shown(batch(5), array=False)
    assert [line.split()[3] for line in lines[:3]] == ["rTOKENc0", "rTOKENc1", "rTOKENc2"]
    assert lines[3] == "… and 2 more calls like these"
    assert len(lines) == 3 + 1 + 3 + 1 + 2
    assert "more calls" not in "\n".join(shown(batch(3), array=False)[0])
    assert "more, one line" not in "\n".join(shown(batch(3))[0])
    lines, _ = shown(batch(2500), environment="slurm-cpu")
    assert [line.split()[4] for line in lines[:3]] == [
        *("--array=0-1000", "--array=0-1000", "--array=0-497")
    ]
    assert lines[-1].startswith("arrays of at most 1001 tasks, if Slurm")


def test_parts_and_needs_are_shown(engine, tmp_path):
    (tmp_path / "facts.toml").write_text(
        '[qsub-cpu]\npython = ["apptainer", "exec"]\nsetup = ["module load a", "b"]\n'
    )
    needs = [{"exp_folder": "g", "exp": "train", "runs": "0-2"}]
    lines, _ = shown(batch(1, parts=2, needs=needs))
    script = "experiments/g/e.py --run=0 '--text=a b'"
    assert lines[1:3] == [
        f"  0: apptainer exec {script} --part={part}/2   (after g/train:0-2)" for part in (1, 2)
    ]
    assert lines[4:6] == ["before each task: module load a", "before each task: b"]


def test_batches_are_shown_in_the_order_in_which_they_are_sent(engine):
    needs = [{"exp_folder": "g", "exp": "train", "runs": "0"}]
    lines, _ = shown([batch(1, "test", needs=needs), batch(1, "train"), batch(0, "none")])
    commands = [line for line in lines if line.startswith("qsub")]
    assert [shlex.split(line)[-3] for line in commands] == [
        str(paths.jobs_dir("g", exp)) for exp in ("train", "test")
    ]
    assert "; 2 together: 8 slots" in lines[-2]


@pytest.mark.parametrize("check", [False, True])
def test_with_nothing_to_send_nobody_is_asked_to_judge(engine, check):
    assert shown([batch(0)], check) == (["nothing to send"], 0)
    assert engine.asked("qsub") == []


def test_a_check_asks_for_limits_and_a_judgement(engine):
    engine.limits["max_aj_tasks"] = 2
    lines, status = shown(batch(3), check=True)
    assert status == 0
    assert [line.split()[3] for line in lines[:2]] == ["rTOKENc0", "rTOKENc1"]
    assert lines[-1] == "Grid Engine can start these"
    assert [command[:3] for command in engine.commands] == [
        ["qconf", "-sconf"],
        ["qsub", "-w", "v"],
    ]
    assert not any("as it is packaged" in line for line in lines)
    engine.texts["judge"] = "no suitable queues"
    lines, status = shown(batch(3), check=True)
    assert (lines[-1], status) == ("Grid Engine could not start these: no suitable queues", 1)


def test_a_check_without_an_answer_says_so(engine):
    engine.script("qconf", *[REFUSED] * 4)
    with pytest.raises(QueueError, match="qconf is not well"):
        shown(batch(3), check=True)


def test_what_the_site_has_not_is_refused(engine):
    with pytest.raises(Refusal, match="qsub-cpu has none: choose the environment with GPUs"):
        shown(batch(), gpus=1)
    with pytest.raises(Refusal, match="qsub-cpu has none"):
        queue_launches.send([batch()], terms(gpus=1), ABOUT)
    assert engine.commands == []


# what is said


def send(batches, **more):
    return queue_launches.send(batches, terms(**more), ABOUT)


@pytest.mark.parametrize(
    ("one", "more", "counted", "what"),
    [
        (batch(1), {}, "1 run of g/e", "job 1"),
        (batch(3), {}, "3 runs of g/e", "job 1"),
        (batch(3), {"array": False}, "3 runs of g/e", "3 jobs, 1 to 3"),
        (batch(2, parts=3), {}, "6 parts of runs of g/e", "job 1"),
    ],
)
def test_what_was_sent_is_said_in_a_line(engine, capsys, one, more, counted, what):
    assert send([one], **more) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{counted} sent to Grid Engine as {what}; logs in ")
    assert line.endswith("; `runs list g/e` shows how they stand")


def test_the_runs_of_all_experiments_are_counted(engine, capsys):
    engine.limits["max_aj_tasks"] = 3
    engine.script("qsub", None, None, FULL)
    assert send([batch(2, "a"), batch(6, "b"), batch(1, "c")]) == 0
    out, err = capsys.readouterr()
    assert [line.split(" sent")[0] for line in out.splitlines()] == [
        "2 runs of g/a",
        "3 runs of g/b",
    ]
    assert err.startswith("4 of 9 runs were not sent, the queue is full; `runs send` sends more")
    # what was not sent is written down all the same, or `runs send` would not know of it
    (last,) = plans.submissions(paths.jobs_dir("g", "c"))
    assert last.tasks() == [(0, 0, 1)]
    assert last.queued() == {}


def test_what_an_engine_says_cannot_draw_on_the_terminal(engine, capsys):
    engine.script("qsub", {"text": "no\x1b[31m"})
    assert send([batch()]) == 1
    assert "no\\x1b[31m;" in capsys.readouterr().err
    engine.script("qconf", {"text": "no\x1b[31m"})
    assert send([batch()]) == 1
    assert capsys.readouterr().err == "nothing was sent: no\\x1b[31m\n"


def test_after_a_launch_its_runs_wait(engine):
    send([batch(2)])
    told = states.states("g", "e")
    assert [state.state for state in told.values()] == ["pending", "pending"]
    (sent,) = plans.submissions(paths.jobs_dir("g", "e"))
    claim = job_node.state_file(sent.jobs_dir, 0, 0, 1, "claim")
    os.makedirs(os.path.dirname(claim))
    job_node.write_json(claim, job_node.own_process())
    assert states.states("g", "e")[0].state == "running"
