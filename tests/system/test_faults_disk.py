"""Full disks and folders that cannot be written: one sentence, exit status 1, nothing lost."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_disk import fill, read_only, small_disk
from toy_checkout import Checkout

from NDN3 import events
from utils import make_data

ROOT = Path(__file__).parents[2]
FULL = "No space left on device"

# fills the disk of its results when it is told to
FILLING = '''"""toy: fills its disk at the moment that it is told."""
import os

from utils import experiment, paths

DATA = []


def fill():
    with open(paths.results_dir() / "filler", "wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            pass


def train(run, number: int = 0, at: str = "never"):
    run.name = f"toy_{number}"
    at = "never" if os.environ.get("MENDED") else at
    if at == "begin":
        fill()
    for repetition in run.repetitions(2):
        if at == "end":
            fill()
        repetition.finish(score=number + 0.5 * repetition.index)


if __name__ == "__main__":
    experiment.main(train)
'''


class OnDisk(Checkout):
    """A checkout whose results are on a disk of their own."""

    def __init__(self, folder):
        super().__init__(folder)
        (self.group / "toy.py").write_text(FILLING)

    def ended(self, *words):
        """Exit status, output and errors of one of the three commands."""
        command = self.runs if words[0] == "runs" else self.run
        command = self.python if words[0].startswith("experiments/") else command
        done = command(*words[words[0] == "runs" :])
        return done.returncode, done.stdout, done.stderr

    def left_aside(self):
        return [path for path in self.results.rglob(".*") if path.is_file()]


@pytest.fixture
def checkout(tmp_path):
    checkout = OnDisk(tmp_path)
    with small_disk(checkout.results, 512):
        yield checkout


def one_line(text):
    assert len(text.splitlines()) == 1, text
    return text


START = ["linux"], ["linux", "--detach"], ["linux", "--together"], ["experiments/toys/toy.py"]


def test_nothing_is_started_on_a_full_disk(checkout):
    checkout.write_grid('product("toys", "toy", number=range(2))')
    filler = fill(checkout.results)
    for words in START:
        status, out, errors = checkout.ended(*words)
        assert (status, out) == (1, ""), words
        assert one_line(errors).startswith(
            f"results cannot be written to {checkout.results} ({FULL}"
        )
    assert checkout.states() == {}
    assert not (checkout.results / "logs").exists()
    filler.unlink()
    assert checkout.run("linux").returncode == 0
    fill(checkout.results)
    assert "2 done" in checkout.runs("list").stdout
    assert "1.25" in checkout.runs("table", "toys/toy").stdout
    again = checkout.run("linux")
    assert (again.returncode, FULL in one_line(again.stderr)) == (1, True)
    assert checkout.states() == {0: "done", 1: "done"}


@pytest.mark.parametrize("together", [[], ["--together"]], ids=["alone", "together"])
@pytest.mark.parametrize("at", ["begin", "end"])
def test_a_disk_that_fills_up_takes_only_what_was_not_yet_written(checkout, at, together):
    checkout.write_grid(f'zipped("toys", "toy", number=range(3), at=["never", "{at}", "never"])')
    status, out, errors = checkout.ended("linux", "--jobs", "1", *together)
    assert (status, errors) == (1, ""), out
    assert "1/3 done" in out
    assert f"there is no space left in {checkout.logs()}" in out
    before = (checkout.results / "logs/toys/toyx0/toy_0__1/run.json").read_bytes()
    for filled in (True, False):
        listed = checkout.runs("list", "toys/toy")
        assert listed.returncode == 0
        assert re.search(r"1 done · (2 lost|1 lost · 1 new)", listed.stdout)
        assert "0.25" in checkout.runs("table", "toys/toy").stdout
        if filled:
            (checkout.results / "filler").unlink()
    assert checkout.left_aside() == []

    checkout.environment["MENDED"] = "1"
    assert checkout.run("linux", "--resume", *together).returncode == 0
    assert checkout.states() == dict.fromkeys(range(3), "done")
    table = checkout.runs("table", "toys/toy", "--csv").stdout
    scores = [float(line.split(",")[9]) for line in table.splitlines()[1:]]
    assert scores == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5], table
    assert (checkout.results / "logs/toys/toyx0/toy_0__1/run.json").read_bytes() == before


def test_results_of_others_can_be_read_and_not_changed(checkout):
    checkout.write_grid('product("toys", "toy", number=range(2))')
    assert checkout.run("linux").returncode == 0
    there = {path: path.read_bytes() for path in checkout.results.rglob("*") if path.is_file()}
    grown = 'product("toys", "toy", number=range(3))'
    checkout.write_grid(grown)
    with read_only(checkout.results):
        words = ["experiments/toys/toy.py", "--number", "7"]
        remove = ["runs", "remove", "toys/toy:0", "--yes"]
        for command in (*START[:3], words, remove):
            status, out, errors = checkout.ended(*command)
            assert (status, out) == (1, ""), command
            assert "Read-only file system" in one_line(errors)
        for command in (["list"], ["table"], ["show", "toys/toy:1"], ["log", "toys/toy:1"]):
            read = checkout.runs(*command)
            assert (read.returncode, read.stderr) == (0, ""), command
            assert read.stdout
    assert there == {path: path.read_bytes() for path in there}
    assert checkout.run("linux").returncode == 0
    assert checkout.states() == dict.fromkeys(range(3), "done")


# --- what trainings, figures and make data write

TRAINING = '''"""toy: a small network whose disk fills up."""
import contextlib
import os

from NDN3.NDNutils import ffnetwork_params
from utils import data, experiment, network, paths

DATA = ["region1"]


@contextlib.contextmanager
def full(now):
    """A full disk for a while: what is recorded behind it has room again."""
    filler = paths.results_dir() / "filler"
    if now:
        with open(filler, "wb", buffering=0) as stream, contextlib.suppress(OSError):
            while True:
                stream.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink(missing_ok=True)


def train(run, number: int = 0, at: str = "never"):
    training, validation = data.load_regions([1])
    run.name = f"toy_{number}"
    at = "never" if os.environ.get("MENDED") else at
    repetitions = run.repetitions(2)
    description = ffnetwork_params(
        input_dims=[1, 31, 31], layer_sizes=[training.responses.shape[1]],
        layer_types=["normal"], act_funcs=["softplus"], verbose=False,
    )
    models = network.build(description, seeds=repetitions.seeds)
    with full(at == "training"):
        for repetition, model in network.train(
            models, training, validation, repetitions, epochs=4, epochs_summary=1
        ):
            with full(at == "saving"):
                network.save(model, repetition.model_path)
            repetition.finish(score=network.correlation(model, validation).mean())


if __name__ == "__main__":
    experiment.main(train)
'''


def test_checkpoints_summaries_and_models_are_whole_or_not_there(checkout, tmp_path):
    """Two runs meet a full disk in the middle; resumed they end like two that did not."""
    region = tmp_path / "Data" / "region1"
    make_data.make_region(region, n_neurons=4, n_training=20, n_validation=8, n_repeats=2, seed=1)
    (checkout.group / "toy.py").write_text(TRAINING)
    checkout.write_grid(
        'zipped("toys", "toy", number=range(3), at=["training", "saving", "never"])'
    )
    status, out, _ = checkout.ended("linux", "--jobs", "1", "--together")
    assert status == 1
    sentence = f"results cannot be written to {checkout.results} ({FULL})"
    assert out.count(f"failed  {sentence}") == 2, out
    assert checkout.states() == {0: "failed", 1: "failed", 2: "done"}
    for run in (0, 1):
        # in front of it there may be what TensorFlow says about itself
        *_, last = (checkout.logs() / f"e_{run}.log").read_text().splitlines()
        assert last.startswith(sentence)
    models = checkout.results / "models" / "toys"
    assert {path.parent.name for path in models.rglob("*.ndnmod")} == {"toyx2"}
    assert list((checkout.results / "logs/toys/toyx1").rglob("checkpoint.npz")), "to go on from"
    assert checkout.left_aside() == []

    checkout.environment["MENDED"] = "1"
    resumed = checkout.run("linux", "--resume", "--jobs", "1", "--together")
    assert resumed.returncode == 0, resumed.stdout
    from NDN3.NDN import NDN

    for index in (0, 1):
        stored = [NDN.load_model(models / f"toyx{n}/toy_{n}__{index}.ndnmod") for n in range(3)]
        weights = [model.networks[0].layers[0].weights for model in stored]
        assert all(np.array_equal(weights[2], other) for other in weights[:2])
        logs = [checkout.results / f"logs/toys/toyx{n}/toy_{n}__{index}" for n in range(3)]
        curves = [scalars(folder) for folder in logs]
        assert curves[0] == curves[1] == curves[2] != []
    assert list(checkout.results.rglob("checkpoint.npz")) == []


def scalars(folder):
    return sorted(
        (part, step, tag, value)
        for part in ("train", "test")
        for file in events.event_files(folder / "summaries" / part)
        for step, _, tag, value in events.read_events(file)
    )


def test_a_figure_that_does_not_fit_leaves_the_old_one(checkout, tmp_path):
    checkout.write_grid('product("toys", "toy", number=range(2))')
    assert checkout.run("linux").returncode == 0
    for folder in (checkout.results / "logs" / "toys").glob("*/*"):
        rows = [(step, 0.0, {"loss/cost": 1.0 / (step + 1)}) for step in range(5)]
        (folder / "summaries" / "test").mkdir(parents=True)
        events.write_scalars(folder / "summaries" / "test", rows)
    picture = checkout.results / "figures" / "toys-toy.png"
    plot = ["plot", "toys/toy", "--tag", "loss/cost"]
    assert checkout.runs(*plot).returncode == 0
    before = picture.read_bytes()
    assert before.startswith(b"\x89PNG")
    fill(checkout.results)
    for options in ([], ["--out", str(picture)], ["--out", str(picture.with_name("b.svg"))]):
        refused = checkout.runs(*plot, *options)
        assert (refused.returncode, refused.stdout) == (2, ""), options
        assert f"cannot be written ({FULL})" in one_line(refused.stderr)
    assert picture.read_bytes() == before
    assert {path.name for path in picture.parent.iterdir()} == {"toys-toy.png", "toys-toy.pdf"}
    elsewhere = tmp_path / "elsewhere.png"
    assert checkout.runs(*plot, "--out", str(elsewhere)).returncode == 0
    assert elsewhere.read_bytes().startswith(b"\x89PNG")


def test_data_that_do_not_fit_are_made_later(tmp_path):
    def make(folder):
        command = [sys.executable, "-m", "utils.make_data", "--regions", "2", "--folder", folder]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    disk = tmp_path / "Data"
    with small_disk(disk, 16_000):
        for left in (0, 1, 200, 1250):  # of the 1250 pages or so that a region needs, and the lock
            filler = fill(disk, left)
            done = make(disk)
            assert done.returncode == 1, done.stdout
            assert one_line(done.stderr).startswith(f"{disk} cannot be used ({FULL}")
            assert {path.name for path in disk.iterdir()} <= {"filler", ".make_data.lock"}
            filler.unlink()
        assert make(disk).returncode == 0
    plain = make(tmp_path / "plain")
    assert (plain.returncode, "synthetic, written in" in plain.stdout) == (0, True)


def test_data_of_others_can_be_checked_and_not_completed(tmp_path):
    folder = tmp_path / "Data"
    folder.mkdir()
    with read_only(folder):
        command = [sys.executable, "-m", "utils.make_data", "--folder", folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert one_line(done.stderr).startswith(f"{folder} cannot be used (Read-only file system")
