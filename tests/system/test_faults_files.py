"""Damaged and hostile files: each is named, nothing in them is run, all others are still read."""

import io
import json
import os
import pickle
import re
import shutil
import zipfile

import numpy as np
import pytest
from toy_checkout import Checkout

from utils import make_data, network

TRAINING = '''"""toy: a small network."""
from NDN3.NDNutils import ffnetwork_params
from utils import data, experiment, network

DATA = ["region1"]


def train(run, number: int = 0):
    training, validation = data.load_regions([1])
    run.name = f"toy_{number}"
    repetitions = run.repetitions(2)
    description = ffnetwork_params(
        input_dims=[1, 31, 31], layer_sizes=[training.responses.shape[1]],
        layer_types=["normal"], act_funcs=["softplus"], verbose=False,
    )
    models = network.build(description, seeds=repetitions.seeds)
    for repetition, model in network.train(models, training, validation, repetitions, epochs=4):
        network.save(model, repetition.model_path)
        repetition.finish(score=network.correlation(model, validation).mean())


if __name__ == "__main__":
    experiment.main(train)
'''
GRID = ["linux", "--together", "--jobs", "1"]
ALL = ["list"], ["table", "toys/toy"], ["show", "toys/toy:0-1"], ["plot", "toys/toy"]
HALF = "half"
NAMES = ["nonsense", "half", "flipped"]
NONSENSE = [b"", b'{"state": 3}', HALF]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs of two repetitions each, trained once for all tests."""
    folder = tmp_path_factory.mktemp("trained")
    region = folder / "Data" / "region1"
    make_data.make_region(region, n_neurons=4, n_training=20, n_validation=8, n_repeats=2, seed=1)
    checkout = Checkout(folder)
    (checkout.group / "toy.py").write_text(TRAINING)
    checkout.write_grid('product("toys", "toy", number=range(2))')
    ended = checkout.run(*GRID)
    assert ended.returncode == 0, ended.stdout
    return checkout


@pytest.fixture
def checkout(trained, tmp_path, monkeypatch):
    """The same with a copy of the results, to be damaged."""
    copy = tmp_path / "results"
    shutil.copytree(trained.results, copy)
    monkeypatch.setattr(trained, "results", copy)
    monkeypatch.setitem(trained.environment, "BENCH_RESULTS", str(copy))
    return trained


def one(checkout, pattern):
    return min(checkout.results.glob(pattern))


def damage(path, content):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == HALF else content)


def model_files(checkout):
    return sorted((checkout.results / "models" / "toys").glob("*/*.ndnmod"))


def flipped(content):
    """Bytes of which the middle one is another."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


# --- models


@pytest.mark.parametrize("content", [b"", b"no model", HALF, "flipped"])
def test_a_damaged_model_is_named_and_the_others_load(checkout, content):
    damaged, *others = model_files(checkout)
    damage(damaged, flipped(damaged.read_bytes()) if content == "flipped" else content)
    with pytest.raises(ValueError, match=re.escape(str(damaged))) as refused:
        network.load(damaged)
    assert "\n" not in str(refused.value)
    assert len([network.load(path) for path in others]) == 3
    assert "2 done" in checkout.runs("list").stdout


class Trap:
    """Would make a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def rewritten(path, change):
    """Write a model file again after `change` has got hold of its two members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def in_texts(value, evil):
    """The same structure with every text but the keys replaced."""
    if isinstance(value, dict):
        return {key: in_texts(held, evil) for key, held in value.items()}
    if isinstance(value, list):
        return [in_texts(held, evil) for held in value]
    return evil if isinstance(value, str) else value


@pytest.mark.parametrize("kind", ["pickle", "objects", "expression", "class", "places"])
def test_a_hostile_model_runs_nothing(checkout, tmp_path, kind, monkeypatch):
    trap = tmp_path / "trap"
    monkeypatch.chdir(tmp_path)
    before = {path for path in tmp_path.rglob("*") if "results" not in path.parts}
    path = model_files(checkout)[0]
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Trap(trap)))
    elif kind == "objects":
        stored = io.BytesIO()
        np.savez(stored, **{"net0/layer0/weights": np.array([Trap(trap)], dtype=object)})
        rewritten(path, lambda members: members.update({"arrays.npz": stored.getvalue()}))
    elif kind == "places":  # members that would lie elsewhere when unpacked
        rewritten(path, lambda members: members.update({"../trap": b"x", str(trap): b"x"}))
    else:
        evil = f"__import__('pathlib').Path({str(trap)!r}).touch()"
        evil = evil if kind == "expression" else "os.system"

        def change(members):
            description = json.loads(members["description.json"])
            version = {"format_version": description["format_version"]}
            members["description.json"] = json.dumps(in_texts(description, evil) | version).encode()

        rewritten(path, change)
    if kind == "places":
        network.load(path)  # what is not asked for is not looked at
    else:
        with pytest.raises(ValueError, match=re.escape(str(path))):
            network.load(path)
    assert not trap.exists()
    assert {p for p in tmp_path.rglob("*") if "results" not in p.parts} == before


# --- what runs are told by


@pytest.mark.parametrize("content", NONSENSE)
def test_a_damaged_run_json_hides_nothing_and_can_be_resumed(checkout, content):
    file = one(checkout, "logs/toys/toyx0/*__0/run.json")
    before = checkout.runs("table", "toys/toy", "--csv").stdout
    damage(file, content)
    for words in ALL[1:]:
        read = checkout.runs(*words)
        assert read.returncode == 0, (words, read.stderr)
        assert read.stdout
        assert read.stderr.count("\n") <= 1, (words, read.stderr)
    others = [line for line in before.splitlines() if ",0,0,0," not in line]
    after = checkout.runs("table", "toys/toy", "--csv").stdout
    assert "unreadable" in after
    for line in others[1:]:
        assert line.split(",")[-5] in after, "scores of the others"
    if content == HALF:  # trains, which takes its time
        assert checkout.run(*GRID).returncode == 2
        assert checkout.run(*GRID, "--resume").returncode == 0
        mended = checkout.runs("table", "toys/toy", "--csv").stdout
        scores = [[line.split(",")[8] for line in text.splitlines()] for text in (before, mended)]
        assert scores[0] == scores[1]


@pytest.mark.parametrize("content", [b"no events" * 50, HALF, "flipped"], ids=NAMES)
def test_a_damaged_event_file_is_named_and_the_others_are_drawn(checkout, content):
    file = one(checkout, "logs/toys/toyx0/*__0/summaries/test/events*")
    damage(file, flipped(file.read_bytes()) if content == "flipped" else content)
    drawn = checkout.runs("plot", "toys/toy", "--tag", "loss/cost")
    assert drawn.returncode == 0, drawn.stderr
    assert (checkout.results / "figures" / "toys-toy.png").stat().st_size > 10_000
    told = drawn.stderr.splitlines()
    # a file that ends in the middle of a record looks like one that is being written
    assert len(told) == (0 if content == HALF else 1), told
    assert all(str(file) in line and "is damaged from byte" in line for line in told)


def test_a_damaged_checkpoint_is_named_and_the_others_go_on(checkout):
    file = one(checkout, "logs/toys/toyx0/*__0/run.json")
    wanted = [path.read_bytes() for path in model_files(checkout)]
    begun = {**json.loads(file.read_text()), "state": "failed", "scores": {}}
    file.write_text(json.dumps(begun))
    torn = file.with_name("checkpoint.npz")
    torn.write_bytes(b"torn")
    # another runner: that of the other tests stays as it is
    checkout.write_grid('product("toys", "toy", number=range(3))', "three_runner.py")
    refused = checkout.run(*GRID, "--resume", runner="three_runner.py")
    assert refused.returncode == 1
    assert "1/2 done" in refused.stdout
    line = next(line for line in refused.stdout.splitlines() if line.startswith("toys/toy:0  f"))
    assert f"{torn} cannot be read as a checkpoint" in line
    assert "Remove it to start from epoch 0." in line
    assert checkout.states() == {0: "failed", 1: "done", 2: "done"}
    torn.unlink()
    assert checkout.run(*GRID, "--resume", runner="three_runner.py").returncode == 0
    assert [path.read_bytes() for path in model_files(checkout)][:4] == wanted


# --- what the launcher writes

JOBS = "job_logs/toys/toy/.jobs"


@pytest.mark.parametrize("content", [b"\xff" * 40, HALF], ids=["nonsense", "half"])
@pytest.mark.parametrize(
    "pattern",
    ["state/*/0.0.1.claim", "state/*/0.0.1.done", "plan-*.jsonl", "send-*.tasks", "send-*.json"],
)
def test_what_is_torn_among_the_launchers_files_hides_no_run(checkout, pattern, content):
    file = one(checkout, f"{JOBS}/{pattern}")
    damage(file, content)
    listed, shown = checkout.runs(*ALL[0]), checkout.runs(*ALL[2])
    assert (listed.returncode, shown.returncode) == (0, 0), (listed.stderr, shown.stderr)
    assert "2 done" in listed.stdout
    again = checkout.run(*GRID, "--resume")
    if again.returncode:
        assert again.returncode == 2
        assert f"{file} is damaged" in again.stderr and "Delete it" in again.stderr
        file.unlink()
        again = checkout.run(*GRID, "--resume")
    assert again.returncode == 0, again.stderr
    assert again.stdout == "toys/toy: 2 done; not started again\n"
    assert not list(checkout.results.rglob("lock"))


@pytest.mark.parametrize("twice", [False, True], ids=["torn", "torn and written on"])
@pytest.mark.parametrize("cut", [3, 25])
def test_a_ledger_that_was_damaged_is_written_anew(checkout, cut, twice):
    ledger = checkout.results / "experiments.txt"
    before = ledger.read_text()
    content = b"\xff\xfe nonsense\n" + before.encode()[:-cut]
    ledger.write_bytes(content + before.encode() if twice else content)
    os.utime(ledger, (0, 0))
    assert "2 done" in checkout.runs("list").stdout
    assert sorted(ledger.read_text().split()) == sorted(before.split())
