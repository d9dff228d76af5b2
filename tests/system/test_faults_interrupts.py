"""Ctrl-C at any moment: no traceback, exit status 130 or a finished 0, and --resume completes."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
from toy_checkout import DEADLINE_S, Checkout, wait_until

from utils import data, make_data

# other moments each day, the same ones when it is run again to look closer
MOMENTS = random.Random(os.environ.get("BENCH_MOMENTS", time.strftime("%F")))


@pytest.fixture(autouse=True)
def interruptible():
    """Let programs hear Ctrl-C although these tests may have been started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


BEGUN = """
import os

os.close(os.open(os.environ["BENCH_BEGUN"], os.O_CREAT))
"""


class Watched(Checkout):
    """A checkout whose commands tell when they begin to read its modules."""

    def __init__(self, folder):
        super().__init__(folder)
        self.begun = folder / "begun"
        self.environment["BENCH_BEGUN"] = str(self.begun)
        with open(self.root / "utils" / "__init__.py", "a") as stream:
            stream.write(BEGUN)

    def interrupted(self, *words, after_s):
        """Press Ctrl-C so long after a command has begun; return its exit status and errors."""
        self.begun.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, *map(str, words)], **self._options())
        # before that Python itself is starting, and answers as it likes
        wait_until(lambda: self.begun.exists() or process.poll() is not None, "the beginning")
        end = time.monotonic() + after_s
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=DEADLINE_S)
        said = f"after {after_s:.3f} s, {process.returncode}: {out}{errors}"
        assert "Traceback" not in errors and "KeyboardInterrupt" not in errors, said
        # a shell shows 130, too, for a program that the signal itself has ended
        assert process.returncode in (0, 130, -signal.SIGINT), said
        return abs(process.returncode), errors

    def scores(self, exp="toy"):
        """Score of each repetition that is done."""
        told = [
            json.loads(p.read_text()) for p in self.results.glob(f"logs/toys/{exp}x*/*/run.json")
        ]
        done = [info for info in told if info["state"] == "done"]
        return sorted((info["run"], info["repetition"], info["scores"]["score"]) for info in done)


@pytest.fixture
def checkout(tmp_path):
    return Watched(tmp_path)


def moments(number, latest_s):
    """So many moments, one in each share of the time, in an order of their own."""
    shares = [(place + MOMENTS.random()) * latest_s / number for place in range(number)]
    return MOMENTS.sample(shares, number)


@pytest.mark.parametrize("mode", [[], ["--together"]], ids=["alone", "together"])
def test_a_launcher_at_any_moment(checkout, mode):
    checkout.write_grid('product("toys", "toy", number=range(4), wait=[0.3])')
    words = ["experiments/toys/toy_runner.py", "linux", "--jobs", "2", "--resume", *mode]
    done = []
    for after_s in moments(6, 2.0):
        status, _ = checkout.interrupted(*words, after_s=after_s)
        wait_until(lambda: not checkout.programs(), "the end of the programs")
        listed = checkout.runs("list")
        assert (listed.returncode, listed.stderr) == (0, "")
        assert not re.search(r"running|pending|lost", listed.stdout), listed.stdout
        now = checkout.scores()
        assert set(done) <= set(now), "what was done stays so"
        done = now
        if status == 0:
            assert set(checkout.states().values()) == {"done"}
    assert checkout.run("linux", "--resume", *mode).returncode == 0
    assert checkout.scores() == [(n, k, n + 0.5 * k) for n in range(4) for k in (0, 1)]
    assert not [path for path in checkout.results.rglob(".*") if path.is_file()]


def test_an_experiment_started_by_hand_at_any_moment(checkout):
    words = ["experiments/toys/toy.py", "--run", "7", "--number", "3", "--wait", "0.3", "--resume"]
    for after_s in moments(8, 1.6):
        status, errors = checkout.interrupted(*words, after_s=after_s)
        if errors:
            assert errors == "toys/toy:7: stopped by SIGINT; --resume continues it.\n"
            assert status == 130
        listed = checkout.runs("list").stdout
        assert not re.search(r"running|lost", listed), listed
    ended = checkout.python(*words)
    assert ended.returncode == 0, ended.stderr
    assert checkout.scores() == [(7, 0, 3.0), (7, 1, 3.5)]


@pytest.mark.parametrize(
    "question",
    [["list"], ["table", "toys"], ["watch", "--every", "1"], ["log", "toys/toy:0", "--follow"]],
    ids=" ".join,
)
def test_a_question_at_any_moment(checkout, question):
    checkout.write_grid('product("toys", "toy", number=range(2), wait=[60.0])')
    pool = checkout.start("linux")
    wait_until(lambda: all(checkout.starts(run) for run in range(2)), "two starts")
    for after_s in moments(4, 0.8):
        checkout.interrupted("-m", "utils.jobs", *question, after_s=after_s)
    assert "2 running" in checkout.runs("list").stdout, "the runs hear nothing of it"
    pool.terminate()
    pool.communicate(timeout=DEADLINE_S)


def test_make_data_at_any_moment(checkout, tmp_path):
    words = ["-m", "utils.make_data", "--regions", "2", "--folder"]
    folder = tmp_path / "Data"
    for after_s in moments(8, 1.6):
        checkout.interrupted(*words, folder, after_s=after_s)
        if (folder / "region2").exists():
            names = {path.name for path in (folder / "region2").iterdir()}
            assert names <= {*data.FILES, data.TRUTH}
    assert checkout.python(*words, str(folder)).returncode == 0
    assert checkout.python(*words, str(tmp_path / "plain")).returncode == 0
    for name in data.FILES:
        assert (folder / "region2" / name).read_bytes() == (
            tmp_path / "plain" / "region2" / name
        ).read_bytes()
    assert not list(folder.glob(f"{make_data.ASIDE}*"))


TRAINING = '''"""toy: a small network."""
from utils import data, experiment, network

DATA = ["region1"]


def train(run, epochs: int = 2000):
    from NDN3.NDNutils import ffnetwork_params

    training, validation = data.load_regions([1])
    run.name = "toy"
    repetitions = run.repetitions(2)
    description = ffnetwork_params(
        input_dims=[1, 31, 31], layer_sizes=[training.responses.shape[1]],
        layer_types=["normal"], act_funcs=["softplus"], verbose=False,
    )
    models = network.build(description, seeds=repetitions.seeds)
    for repetition, model in network.train(
        models, training, validation, repetitions, epochs=epochs
    ):
        network.save(model, repetition.model_path)
        repetition.finish(score=network.correlation(model, validation).mean())


if __name__ == "__main__":
    experiment.main(train)
'''


def test_a_training_at_any_moment(checkout, tmp_path):
    region = tmp_path / "Data" / "region1"
    make_data.make_region(region, n_neurons=4, n_training=20, n_validation=8, n_repeats=2, seed=1)
    (checkout.group / "toy.py").write_text(TRAINING)
    words = ["experiments/toys/toy.py", "--resume", "--run"]
    assert checkout.python(*words, "1").returncode == 0
    for after_s in moments(3, 8.0):
        checkout.interrupted(*words, "2", after_s=after_s)
    assert checkout.python(*words, "2").returncode == 0
    models = [
        [path.read_bytes() for path in sorted((checkout.results / "models/toys").glob(f"*x{n}/*"))]
        for n in (1, 2)
    ]
    assert len(models[0]) == 2
    assert models[0] == models[1], "equal models are equal files"
    scores = checkout.scores()
    assert [score for _, _, score in scores[:2]] == [score for _, _, score in scores[2:]]
    assert not list(checkout.results.rglob("checkpoint.npz"))
