"""Divided and interrupted trainings end with the bits of whole and undisturbed ones."""

import json
import os
import signal

import numpy as np
import pytest
from toy_checkout import DEADLINE_S, Checkout, wait_until

from NDN3 import events
from utils import job_node, make_data

TRAINING = '''"""toy: a small network."""
from utils import data, experiment, network

DATA = ["region1"]


def train(run, epochs: int = 300):
    from NDN3.NDNutils import ffnetwork_params

    training, validation = data.load_regions([1])
    run.name = "toy"
    repetitions = run.repetitions(5)
    description = ffnetwork_params(
        input_dims=[1, 31, 31], layer_sizes=[3, training.responses.shape[1]],
        layer_types=["normal", "normal"], act_funcs=["softplus", "softplus"], verbose=False,
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
SIGNALS = {1: ["SIGTERM"], 2: ["SIGUSR1"], 3: ["SIGUSR2"], 4: ["SIGUSR2", "both"]}


@pytest.fixture
def checkout(tmp_path):
    region = tmp_path / "Data" / "region1"
    make_data.make_region(region, n_neurons=4, n_training=20, n_validation=8, n_repeats=2, seed=1)
    found = Checkout(tmp_path)
    (found.group / "toy.py").write_text(TRAINING)
    return found


def results(checkout, run):
    """Bits of the models, the scores, and each value of the summaries of a run."""
    models = sorted((checkout.results / f"models/toys/toyx{run}").iterdir())
    told = [
        json.loads(path.read_text())
        for path in sorted((checkout.results / f"logs/toys/toyx{run}").glob("*/run.json"))
    ]
    assert [(info["repetition"], info["state"]) for info in told] == [(n, "done") for n in range(5)]
    curves = []
    for info in told:
        for split in ("train", "test"):
            folder = checkout.results / info["log_dir"] / "summaries" / split
            values = [
                (tag, step, value)
                for path in events.event_files(folder)
                for step, _, tag, value in events.read_events(path)
            ]
            assert len(values) > 50
            curves.append(sorted(values))
    return {
        "models": [path.read_bytes() for path in models],
        "scores": [info["scores"] for info in told],
        "groups": [info["group"] for info in told],
        "curves": curves,
    }


def test_a_divided_run_has_the_bits_of_the_whole_one(checkout):
    checkout.write_grid('product("toys", "toy", epochs=[300, 300])')
    assert checkout.run("linux", "--only", "0").returncode == 0
    # all at once, so that none finds the size of the group noted by another one
    divided = checkout.run("linux", "--only", "1", "--split", "3", "--jobs", "3")
    assert divided.returncode == 0, divided.stdout
    assert "1 run in 3 parts" in divided.stdout
    whole, parts = results(checkout, 0), results(checkout, 1)
    assert whole["groups"] == parts["groups"] == [5] * 5
    assert whole == parts
    assert checkout.runs("list", "toys/toy").stdout.startswith("toys/toy  2 done")


def test_a_training_that_a_signal_ends_goes_on_as_if_undisturbed(checkout):
    checkout.write_grid(f'product("toys", "toy", epochs={[4000] * 5})')
    assert checkout.run("linux", "--only", "0").returncode == 0
    pool = checkout.start("linux", "--only", "1-4", "--jobs", "4")
    jobs_dir = checkout.logs() / ".jobs"
    logs = checkout.results / "logs/toys"

    def begun(run):
        files = [path for path in logs.glob(f"toyx{run}/*/summaries/test/*") if path.is_file()]
        return len(files) == 5 and all(path.stat().st_size > 300 for path in files)

    left = dict(SIGNALS)

    def interrupted():
        for run in [run for run in left if begun(run)]:
            claim = job_node.read_json(job_node.state_file(jobs_dir, run, 0, 1, "claim"))
            name, *both = left.pop(run)
            if both:  # Grid Engine warns all processes of a job at once
                os.killpg(claim["program"], getattr(signal, name))
            os.kill(claim["pid"], getattr(signal, name))
        return not left or pool.poll() is not None

    wait_until(interrupted, "the first epochs of all runs")
    said = pool.communicate(timeout=DEADLINE_S)[0]
    assert not left, said
    for run, (name, *_) in SIGNALS.items():
        assert job_node.latest(jobs_dir, run) == (1, "cancelled")
        record = job_node.read_json(job_node.state_file(jobs_dir, run, 0, 1, "cancelled"))
        assert record["reason"] == f"stopped by {name}"
        for index in range(5):
            with np.load(logs / f"toyx{run}/toy__{index}/checkpoint.npz") as saved:
                assert 0 < saved["history/epoch"].max() < 3999
    assert checkout.runs("retry", "--failed", "toys/toy", "--jobs", "2").returncode == 0
    undisturbed = results(checkout, 0)
    for run in SIGNALS:
        assert job_node.latest(jobs_dir, run) == (2, "done")
        assert results(checkout, run) == undisturbed
