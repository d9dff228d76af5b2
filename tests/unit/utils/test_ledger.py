"""The ledger is what the states and the `run.json` files say, and few of these are read."""

import os

import pytest

from utils import job_node, ledger, paths, registry, states

GROUP = "g"


@pytest.fixture(autouse=True)
def results(bench_folders):
    return bench_folders.results


def plant(exp, run, *ends, end="2026-01-01", name="n"):
    """Leave the `run.json` files of a run's repetitions."""
    for index, state in enumerate(ends):
        folder = paths.log_dir(GROUP, exp, run, name, index)
        folder.mkdir(parents=True, exist_ok=True)
        content = {"state": state, "key": "", "seed": index, "arguments": {}, "end": end}
        registry.write_json(folder / "run.json", content)


def record(exp, run, kind="done", attempt=1):
    jobs_dir = paths.jobs_dir(GROUP, exp)
    job_node.claim(jobs_dir, run, 0, attempt, {})
    job_node.record(jobs_dir, run, 0, attempt, kind, {})


def lines():
    return paths.ledger_file().read_text().splitlines()


def whole():
    """The lines as they follow from all files, in the order in which the runs ended."""
    runs = {}
    for info in registry.repetitions():
        runs.setdefault((info["exp_folder"], info["exp"], info["run"]), []).append(info)
    finished = {
        place: max(info["end"] for info in infos)
        for place, infos in runs.items()
        if all(info["state"] in ("done", "diverged") for info in infos)
    }
    return [f"{g}/{e}x{run}/n" for g, e, run in sorted(finished, key=finished.__getitem__)]


@pytest.fixture
def several():
    plant("late", 0, "done", "diverged", end="2026-01-03")
    plant("early", 0, "done", end="2026-01-02")
    plant("early", "hand-0a1b2c", "done", end="2026-01-04")
    plant("half", 0, "done", "running", end="2026-01-02")
    plant("broken", 0, "failed", end="2026-01-02")
    for exp in ("late", "early"):
        record(exp, 0)
    record("half", 0, "cancelled")
    record("broken", 0, "failed")


def test_the_ledger_follows_from_the_repetitions(several):
    assert ledger.refresh()
    assert lines() == whole() == ["g/earlyx0/n", "g/latex0/n", "g/earlyxhand-0a1b2c/n"]
    assert not ledger.refresh()


def test_lines_that_were_lost_doubled_or_made_up_are_mended(several):
    paths.ledger_file().write_text(
        "g/latex0/n\ng/latex0/n\ng/earlyx0/other\ng/earlyx0/n\ng/halfx0/n\ng/gonex3/n\nnonsense\n"
    )
    os.utime(paths.ledger_file(), (0, 0))
    assert ledger.refresh()
    assert lines() == ["g/latex0/n", "g/earlyx0/n", "g/earlyxhand-0a1b2c/n"]


def test_what_is_done_and_listed_is_not_read_again(several, monkeypatch):
    ledger.refresh()
    read = []
    real = registry.repetitions
    monkeypatch.setattr(registry, "repetitions", lambda *place: read.append(place) or real(*place))
    plant("early", 7, "done", end="2026-01-05")
    record("early", 7)
    assert ledger.refresh()
    assert lines()[-1] == "g/earlyx7/n"
    read = [place for place in read if place[2] != "hand-0a1b2c"]  # no record tells of that one
    assert read == [("g", "early", 7)]


def test_a_run_that_is_under_way_again_leaves_the_ledger(several):
    ledger.refresh()
    plant("late", 0, "done", "running", end="2026-01-03")
    job_node.claim(paths.jobs_dir(GROUP, "late"), 0, 0, 2, {})
    assert ledger.refresh()
    assert lines() == ["g/earlyx0/n", "g/earlyxhand-0a1b2c/n"]


def test_states_that_are_known_are_not_asked_for(several, monkeypatch):
    known = {place: states.states(*place) for place in states.experiments()}
    monkeypatch.setattr(states, "states", lambda *_: pytest.fail("asked again"))
    assert ledger.refresh(known)
    assert len(lines()) == 3


def test_without_any_run_there_is_no_ledger():
    assert not ledger.refresh()
    assert not paths.ledger_file().exists()
    paths.ledger_file().write_text("g/ex0/n\n")
    assert ledger.refresh(always=True)
    assert lines() == []
