"""Runs in parts: what is sent of them, what is kept, and in how many parts they stay."""

import os

import pytest

from utils import division, grid, job_node, paths, plans, promises, registry, runners, states
from utils.command_lines import Refusal
from utils.promises import Wish

EXPERIMENT = """from utils import experiment

DATA = []


def train(run, number: int = 0):
    pass


experiment.main(train)
"""
GONE = {"pid_start": -1}


@pytest.fixture
def runs(bench_folders, tmp_path, monkeypatch):
    group = tmp_path / "bench" / "experiments" / "toy"
    group.mkdir(parents=True)
    (group / "e.py").write_text(EXPERIMENT)
    monkeypatch.setattr(paths, "ROOT", tmp_path / "bench")
    return grid.product("toy", "e", number=[1, 2])


def decide(runs, **wish):
    entries = promises.by_experiment(runs, Wish(**wish))["toy", "e"]
    return promises.decide("toy", "e", entries, Wish(**wish))


def send(batch, alive=False):
    """Write the submission of a batch whose launcher has ended."""
    sent = plans.send(batch.jobs_dir, batch.entries, batch.tasks, {})
    if not alive:
        job_node.write_json(str(batch.jobs_dir / f"{sent.stem}.json"), {**sent.about, **GONE})
    return sent


def end(runs, run, part, kind, attempt=1, **info):
    """Claim and record an attempt at a part as its wrapper would; ``running`` is no record."""
    jobs_dir = paths.jobs_dir("toy", "e")
    entry = plans.latest_entries(jobs_dir)[run][0] if plans.submissions(jobs_dir) else {}
    about = {"repetitions": entry.get("repetitions"), **info}
    if "parts" in entry:
        about["parts"] = entry["parts"]
    job_node.claim(jobs_dir, run, part, attempt, about)
    if kind != "running":
        job_node.record(jobs_dir, run, part, attempt, kind, about)


def result(runs, run, index, state="done", declared=5):
    (key,) = (e["key"] for e in promises.by_experiment(runs, Wish())["toy", "e"] if e["run"] == run)
    folder = paths.log_dir("toy", "e", run, "name", index)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"key": key, "seed": index, "declared": declared, "arguments": {"number": run + 1}}
    registry.write_json(folder / "run.json", {**about, "state": state})


@pytest.fixture
def three(runs):
    """Two runs in three parts each; of the first, parts 1 and 3 are done, and part 2 failed."""
    send(decide(runs, split=3))
    for part, kind in ((1, "done"), (2, "failed"), (3, "done")):
        end(runs, 0, part, kind)
    for index, state in enumerate(["done", "failed", "failed", "done", "diverged"]):
        result(runs, 0, index, state)


def test_each_new_run_is_divided(runs):
    batch = decide(runs, split=3)
    assert batch.tasks == [(run, part, 1) for run in (0, 1) for part in (1, 2, 3)]
    assert [entry["parts"] for entry in batch.entries] == [3, 3]
    assert batch.remarks == []


@pytest.mark.parametrize("split", [None, 1])
def test_one_part_is_an_undivided_run(runs, split):
    batch = decide(runs, split=split)
    assert batch.tasks == [(0, 0, 1), (1, 0, 1)]
    assert not any("parts" in entry for entry in batch.entries)


def test_only_parts_that_are_not_done_are_sent_again(runs, three):
    batch = decide(runs, resume=True, split=3)
    assert batch.tasks == [(0, 2, 2), (1, 1, 1), (1, 2, 1), (1, 3, 1)]
    assert [entry["parts"] for entry in batch.entries] == [3, 3]
    assert not any("again" in entry for entry in batch.entries)
    assert (batch.kept, batch.remarks) == ({}, [])


def test_attempts_are_counted_for_each_part(runs, three):
    end(runs, 0, 2, "failed", attempt=2)
    assert decide(runs[:1], resume=True).tasks == [(0, 2, 3)]


def test_a_run_whose_parts_are_all_done_is_kept(runs, three):
    end(runs, 0, 2, "done", attempt=2)
    for index in (1, 2):
        result(runs, 0, index)
    batch = decide(runs[:1])
    assert (batch.tasks, batch.kept, batch.remarks) == ([], {"done": [0]}, [])


def test_a_part_that_is_done_by_its_record_alone_is_done_again(runs, three):
    end(runs, 0, 2, "done", attempt=2)
    result(runs, 0, 1)  # of parts 1 to 3 with the repetitions 0, 1 2, 3 4
    with pytest.raises(registry.RunExists, match=r"\(done in part\).*--resume"):
        decide(runs[:1])
    batch = decide(runs[:1], resume=True)
    assert batch.tasks == [(0, 2, 3)]
    assert batch.entries[0]["again"] is True


def test_of_divided_repetitions_those_count_that_were_asked_for(runs):
    batch = decide(runs[:1], split=2, repetitions="0-3")
    send(batch)
    for part in (1, 2):
        end(runs, 0, part, "done")
    for index in range(4):
        result(runs, 0, index)
    assert decide(runs[:1], repetitions="0-3").kept == {"done": [0]}
    result(runs, 0, 2, "failed")
    assert decide(runs[:1], resume=True, repetitions="0-3").tasks == [(0, 2, 2)]


def test_parts_without_any_results_are_done_again(runs):
    send(decide(runs[:1], split=2))
    for part in (1, 2):
        end(runs, 0, part, "done")
    assert decide(runs[:1], resume=True).tasks == [(0, 1, 2), (0, 2, 2)]


def test_diverged_parts_are_tried_again_when_asked_for(runs, three):
    end(runs, 0, 2, "done", attempt=2, exit=3, diverged=1)
    for index in (1, 2):
        result(runs, 0, index)
    assert decide(runs[:1], resume=True).kept == {"done": [0]}
    assert decide(runs[:1], diverged=True).tasks == [(0, 2, 3)]


@pytest.mark.parametrize("asked", [None, 1, 2, 4])
def test_a_run_stays_in_its_parts(runs, three, asked):
    batch = decide(runs, resume=True, split=asked)
    assert batch.tasks == [(0, 2, 2), (1, 1, 1), (1, 2, 1), (1, 3, 1)]
    assert {entry["parts"] for entry in batch.entries} == {3}
    assert batch.remarks == [
        "toy/e: runs 0-1 stay in 3 parts, as sent before, until removed",
    ]


def test_an_undivided_run_stays_undivided(runs):
    send(decide(runs))
    end(runs, 0, 0, "failed")
    batch = decide(runs, resume=True, split=3)
    assert batch.tasks == [(0, 0, 2), (1, 0, 1)]
    assert not any("parts" in entry for entry in batch.entries)
    assert batch.remarks == ["toy/e: runs 0-1 stay undivided, as sent before, until removed"]


def test_runs_in_different_parts_go_together(runs):
    send(decide(runs[:1], split=2))
    assert decide(runs, split=4).tasks == [(0, 1, 1), (0, 2, 1), *((1, k, 1) for k in (1, 2, 3, 4))]


def test_the_number_of_parts_is_kept_when_their_list_is_lost(runs, three):
    (sent,) = plans.submissions(paths.jobs_dir("toy", "e"))
    for path in sent.jobs_dir.glob(f"{sent.stem}*"):
        path.unlink()
    end(runs[:1], 0, 2, "failed", attempt=2)
    jobs_dir = paths.jobs_dir("toy", "e")
    for path in (job_node.state_file(jobs_dir, 0, 3, 1, k) for k in ("claim", "done")):
        os.unlink(path)
    assert decide(runs[:1], resume=True).tasks == [(0, 2, 3), (0, 3, 1)]


def test_the_number_of_parts_is_that_of_what_was_sent_last(runs, three):
    (first,) = plans.submissions(paths.jobs_dir("toy", "e"))
    send(decide(runs[:1], resume=True))
    for path in first.jobs_dir.glob(f"{first.stem}*"):
        path.unlink()
    for kind in ("claim", "done"):
        os.unlink(job_node.state_file(first.jobs_dir, 0, 3, 1, kind))
    for part in (1, 2):
        claim = job_node.state_file(first.jobs_dir, 0, part, 1, "claim")
        job_node.write_json(claim, {})
    assert decide(runs[:1], resume=True).tasks == [(0, 2, 2), (0, 3, 1)]


def test_what_is_under_way_is_left_alone(runs):
    send(decide(runs, split=3), alive=True)
    end(runs, 0, 1, "running")
    end(runs, 0, 2, "failed")
    assert decide(runs[1:]).kept == {"pending": [1]}
    (sent,) = plans.submissions(paths.jobs_dir("toy", "e"))
    job_node.write_json(str(sent.jobs_dir / f"{sent.stem}.json"), {**sent.about, **GONE})
    batch = decide(runs[:1], resume=True)
    assert batch.tasks == [(0, 2, 2), (0, 3, 1)]
    # parts of another list are others: one of them could be what part 1 is at
    assert decide(runs[:1], resume=True, repetitions="0-3").kept == {"running": [0]}


def test_a_run_of_which_some_parts_are_done_and_others_never_began(runs):
    send(decide(runs[:1], split=2))
    end(runs, 0, 1, "done")
    result(runs, 0, 0)
    assert states.states("toy", "e")[0].state == "new"
    with pytest.raises(registry.RunExists, match=r"is not done \(done in part\)"):
        decide(runs[:1])
    with pytest.raises(registry.RunExists, match="exists with number=1"):
        decide(grid.product("toy", "e", number=[7]), resume=True)


def test_fewer_repetitions_than_parts_are_refused(runs):
    assert len(decide(runs, split=2, repetitions="3,5").tasks) == 4
    with pytest.raises(ValueError, match=r"run 0 of toy/e is in 3 parts, and --repetitions 3,5"):
        decide(runs, split=3, repetitions="3,5")


def test_so_many_parts_do_not_fit_into_a_task_line(runs):
    needs = {"threads": 1, "memory": None, "gpus": 0, "hours": None}
    with pytest.raises(Refusal, match="--split 100 is too many; a run has 99 parts at most"):
        runners.launch(runs, needs, ["linux", "--split", "100"], "runner")
    assert division.numbers(99)[-1] == 99


def test_what_a_dry_run_says_of_parts(runs, capsys):
    needs = {"threads": 1, "memory": None, "gpus": 0, "hours": None}
    arguments = ["linux", "--split", "3", "--dry-run", "--jobs", "5"]
    assert runners.launch(runs, needs, arguments, "runner") == 0
    assert "2 runs in 6 parts, 5 at a time" in capsys.readouterr().out
