"""The benchmark of the families of layers has a network for each, measures, judges, refuses."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from NDN3.layers import LAYERS

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def families(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("families")


def run(*options):
    return subprocess.run(
        [sys.executable, BENCH / "families.py", *options],
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_each_module_of_layers_has_a_network(families):
    used = {LAYERS[name][0] for of in families.NETWORKS.values() for name in of.types}
    assert used == {module for module, _ in LAYERS.values()}


def answers(**seconds):
    return {
        way: [{"cpu": 2 * value, "wall": 1.0, "epochs": 2, "mb": 100 + value} for value in values]
        for way, values in seconds.items()
    }


def test_the_best_fit_of_each_round_counts(families):
    seconds = families.seconds_per_epoch(
        answers(one=[1, 1, 1], ten=[1, 2, 2], fit=[9, 3, 7], fit_xla=[5, 8, 9], fit_epochs=[1] * 3)
    )
    assert families.verdicts("dog", seconds) == [("one", 5, True), ("ten", 3.5, False)]


def test_a_deep_network_is_judged_against_all(families):
    turns = answers(one=[0.97], fit=[3], fit_xla=[2], native=[1], native_xla=[2], native_epochs=[3])
    assert families.verdicts("deep16", families.seconds_per_epoch(turns)) == [
        ("one", pytest.approx(1 / 0.97), True)
    ]
    turns["one"][0]["cpu"] *= 1.1
    ((_, _, holds),) = families.verdicts("deep16", families.seconds_per_epoch(turns))
    assert not holds
    starts = dict.fromkeys(turns, {"start_cpu": 7.0, "loaded_cpu": 4.5})
    first, *others = families.rows_of("deep16", starts, turns)
    assert first[2:] == ["1067", "0.94", "", "2.5", "101", "MISSED"]
    assert all(row[-1] == "" for row in others)


def test_ways_are_measured():
    done = run("--quick", "--families", "dense", "--ways", "one,fit")
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.startswith("network  way")
    assert [row.split()[:2] for row in rows] == [["dense", "the"], ["dense", "fit"]]
    assert float(rows[0].removeprefix("dense    the trainer, one member").split()[0]) > 0


def test_what_makes_no_sense_is_refused():
    for options in (["--rounds", "0"], ["--families", "cat"], ["--ways", "fit,hop"]):
        assert run(*options).returncode == 2
