"""The random kills of bench/chaos.py: its command line, its plan, and the eyes of its referee."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from NDN3 import events, storage

BENCH = Path(__file__).parents[2] / "bench"


def module_of(name):
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def chaos():
    sys.path.insert(0, str(BENCH))  # as it is for a script that is started there
    try:
        yield module_of("chaos")
    finally:
        sys.path.remove(str(BENCH))


results = module_of("chaos_results")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--seed", "x"], "'x' is no whole number"),
        (["--kills", "0"], "'0' is no whole number from 1 on"),
        (["--sede", "3"], "Did you mean --seed?"),
        (["--repetitions", "6"], "ask for 1 to 5"),
        (["--keep", str(BENCH)], "holds something already"),
    ],
)
def test_wrong_arguments_are_one_sentence(chaos, capsys, words, part):
    assert chaos.main(words) == 2
    said = capsys.readouterr()
    assert (said.out, part in said.err, said.err.count("\n")) == ("", True, 1)


def test_help_names_what_it_does():
    command = [sys.executable, BENCH / "chaos.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "Ten kills in a row" in done.stdout


def test_a_seed_stands_for_a_plan(chaos):
    plan = chaos.planned(1, 10)
    assert plan == chaos.planned(1, 10) != chaos.planned(2, 10)
    assert len(plan) == 10
    for seed in range(5):
        kinds = {(kill.what, kill.signal) for kill in chaos.planned(seed, 10)}
        assert kinds == set(chaos.WHATS[:6]), "each target is killed, the pool also warned"
        killed = [kill for kill in chaos.planned(seed, 10) if kill.signal == "KILL"]
        assert len({(kill.what, kill.together) for kill in killed}) == 8, "in both modes"
    assert len(chaos.planned(1, 3)) == 3
    assert len({kill.moment for kill in chaos.planned(1, 30)}) == 30


@pytest.fixture
def grid(tmp_path):
    """What two repetitions leave behind."""

    def leave(name, score=0.25, weight=1.0, values=(3.0, 2.0), state="done"):
        root = tmp_path / name
        for index in (0, 1):
            folder = root / "logs" / "demo" / "gridx0" / f"g__{index}"
            for part in ("train", "test"):
                (folder / "summaries" / part).mkdir(parents=True)
                rows = [(step, 9.0, {"loss/cost": value}) for step, value in enumerate(values)]
                events.write_scalars(folder / "summaries" / part, rows)
            told = {"state": state, "seed": index, "scores": {"correlation": score}}
            (folder / "run.json").write_text(json.dumps({**told, "seconds": len(name)}))
            model = root / "models" / "demo" / "gridx0" / f"g__{index}.ndnmod"
            model.parent.mkdir(parents=True, exist_ok=True)
            storage.write(model, {"name": name}, {"weights": np.full((2, 3), weight)})
        return root

    return leave


def test_equal_grids_have_no_differences(grid):
    wanted, found = results.bits(grid("one")), results.bits(grid("another"))
    assert results.differences(wanted, found) == []
    assert {kind for kind, _ in wanted} == {"model", "curves", "scores", "files"}
    assert sum(kind == "curves" for kind, _ in wanted) == 4


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"weight": np.nextafter(1.0, 2.0)}, "model"),
        ({"score": 0.25000000000000006}, "scores"),
        ({"state": "failed"}, "scores"),
        ({"values": (3.0, np.nextafter(np.float32(2.0), np.float32(3.0)))}, "curves"),
        ({"values": (3.0,)}, "curves"),
    ],
)
def test_one_bit_is_seen(grid, change, kind):
    wrong = results.differences(results.bits(grid("one")), results.bits(grid("other", **change)))
    assert wrong
    assert all(line.startswith(kind) and line.endswith("differs") for line in wrong)


def test_what_is_missing_too_much_or_twice_is_seen(grid):
    wanted, other = results.bits(grid("one")), grid("other")
    folder = other / "logs" / "demo" / "gridx0" / "g__1"
    with events.EventWriter(folder / "summaries" / "test") as writer:
        writer.scalars(1, {"loss/cost": 2.0})
    (folder / "extra").touch()
    (other / "models" / "demo" / "gridx0" / "g__0.ndnmod").unlink()
    assert results.differences(wanted, results.bits(other)) == [
        "curves of logs/demo/gridx0/g__1/test differs",
        "files of logs/demo/gridx0/g__1 differs",
        "files of models/demo/gridx0 differs",
        "model of models/demo/gridx0/g__0.ndnmod is missing",
    ]
    assert results.differences(results.bits(other), wanted)[-1].endswith("undisturbed grid")


def test_what_was_left_behind_is_seen(grid):
    root = grid("one")
    jobs = root / "job_logs" / "demo" / "grid" / ".jobs"
    (jobs / "lock").mkdir(parents=True)
    (root / "logs" / "demo" / "gridx0" / "g__0" / "checkpoint.npz").touch()
    (root / "models" / "demo" / ".removed.gridx0.7").mkdir()
    (jobs / ".send.json.vm.7").touch()
    assert results.left_behind(root) == [
        "job_logs/demo/grid/.jobs/.send.json.vm.7",
        "job_logs/demo/grid/.jobs/lock",
        "logs/demo/gridx0/g__0/checkpoint.npz",
        "models/demo/.removed.gridx0.7",
    ]
    assert list(results.finished(root)) == [f"logs/demo/gridx0/g__{index}" for index in (0, 1)]


def test_a_moment_that_never_comes_is_brought_forward(chaos, monkeypatch):
    """A run that is redone alone takes five seconds; the moment is at first twenty."""
    asked, removed = [], []

    def one_round(grid, kill, latest, generator):
        asked.append(latest)
        return None if latest > 5.0 else [kill.signal, kill.what, "", "", "", ""]

    class Stub:
        results = None
        runs = staticmethod(lambda *words: removed.append(words[:2]))

    monkeypatch.setattr(chaos, "one_round", one_round)
    monkeypatch.setattr(chaos, "finished", lambda results: {})
    rows = chaos.torment(Stub, chaos.planned(1, 2), 20.0, chaos.random.Random(1))
    assert asked == [20.0, 10.0, 5.0] * 2
    assert [row[0] for row in rows] == ["1", "2"]
    assert {what for what, _ in removed} == {"remove"}


def test_what_was_done_and_has_changed_is_seen(chaos, monkeypatch):
    contents = iter([{"a": b"1"}, {"a": b"2"}])
    monkeypatch.setattr(chaos, "one_round", lambda *_: ["", "", "", "", "", ""])
    monkeypatch.setattr(chaos, "finished", lambda results: next(contents))

    class Stub:
        results = None

    with pytest.raises(chaos.Problem, match="a was done and has changed"):
        chaos.torment(Stub, chaos.planned(1, 2), 20.0, None)


@pytest.mark.parametrize("reason", ["killed by signal 9", "ValueError: no good"])
def test_only_what_was_killed_may_have_failed(chaos, tmp_path, monkeypatch, reason):
    grid = chaos.Grid(tmp_path, "g", 1, 1, 1)
    rows = [f"{chaos.EXP}:0  failed  1  2026-01-01 10:00  0:03  here  {reason}"]
    rows += [f"{chaos.EXP}:1  done    1  2026-01-01 10:00  0:03  here", "demo/other:2  lost"]
    monkeypatch.setattr(grid, "runs", lambda *words: "\n".join(rows))
    if reason.startswith("killed"):
        assert grid.states() == {0: "failed", 1: "done"}
    else:
        with pytest.raises(chaos.Problem, match="nobody killed run 0"):
            grid.states()
