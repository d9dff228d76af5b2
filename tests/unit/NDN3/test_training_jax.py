"""The trainer on JAX, in processes of their own: Keras has one backend per process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_trainings
from small_trainings import distance, options_of

from NDN3 import streams
from NDN3.training import fit

pytest.importorskip("jax", reason="JAX is not installed: make env-dev brings it")

ROOT = Path(__file__).parents[3]
TESTS = Path(__file__).parent


def under_jax(*command, **environment):
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=os.environ
        | {"KERAS_BACKEND": "jax", "PYTHONPATH": f"{ROOT}:{TESTS.parents[1] / 'fixtures'}"}
        | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("files", "names", "x64"),
    [
        ("test_training_reference.py", "", "1"),  # float64 to 1e-9
        (
            "test_training_company.py",
            "company_does_not or interrupted_training_ends or different_age",
            "0",
        ),
        ("test_training_refill.py", "seven_members_equals or go_on_from or threads_give", "0"),
        (
            "test_training_settings.py test_training_optimizers.py",
            "dropout or masks or frozen or recompil or compiled or settings or stop",
            "0",
        ),
        ("test_training_sources.py", "(keras_models and recurrent) or host_batches", "0"),
        (
            "test_lbfgs.py",
            "least_squares or (company and dense) or along_time or all_rows or [True]",
            "1",
        ),
        ("test_schedules.py", "mapped or trainer_multiplies", "1"),
        ("test_segments.py", "reference_in or evaluations_are or users_make", "1"),
        ("test_penalties.py", "small_cases or (finite_gradient and float64)", "1"),
    ],
)
def test_the_same_tests_hold(files, names, x64):
    done = under_jax(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", names),
        *[TESTS / file for file in files.split()],
        JAX_ENABLE_X64=x64,
        PYTEST_XDIST_WORKER="",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout


def test_every_layer_is_trained_in_company():
    done = under_jax(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS / "test_every_layer.py"),
        *("-k", "trained_together"),
        PYTEST_XDIST_WORKER="",
        # the programs run for three steps: making them is all that takes time
        XLA_FLAGS="--xla_backend_optimization_level=0",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "3 passed" in done.stdout


PROGRAM = """
import sys
sys.modules["tensorflow"] = None  # whoever imports it now fails
import json, numpy as np, small_trainings
from NDN3 import streams
from NDN3.training import fit
recording = small_trainings.recording()
arrays = {}
for kind in ("dense", "dog", "conv"):
    options = small_trainings.options_of(recording, model=small_trainings.ndn(kind, l2=0.1))
    options |= dict(early_stop=None, initialize=small_trainings.start)
    for result in fit(seeds=[0, 3], **options):
        for number, array in enumerate(result.weights):
            arrays[f"{kind}/{result.seed}/{number}"] = array
dropped = small_trainings.options_of(recording, early_stop=None, epochs=2)
for result in fit(seeds=[3], **dropped):
    for number, array in enumerate(result.weights):
        arrays[f"dropout/3/{number}"] = array
drawn = small_trainings.options_of(
    recording, model=small_trainings.ndn("points"), early_stop=None, epochs=2
)
for result in fit(seeds=[3], **drawn):
    for number, array in enumerate(result.weights):
        arrays[f"points/3/{number}"] = array
arrays["uniform"] = streams.uniform(np.array([7, 9], np.uint32), np.uint32(5), 50)
np.savez(sys.argv[1], **{name: np.asarray(array) for name, array in arrays.items()})
print(json.dumps(sorted(name for name in sys.modules if name.startswith("tensorflow"))))
"""


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory):
    path = tmp_path_factory.mktemp("jax") / "arrays.npz"
    done = under_jax("-c", PROGRAM, path)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(path) as file:
        return dict(file), json.loads(done.stdout)


def test_trains_without_tensorflow(on_jax):
    assert on_jax[1] == ["tensorflow"], "nothing below TensorFlow may be imported"


def result_on_jax(arrays, kind, like):
    found = [arrays[f"{kind}/{like.seed}/{number}"] for number in range(len(like.weights))]
    return type(like)(**{**vars(like), "weights": found})


@pytest.mark.parametrize("kind", ["dense", "dog", "conv"])
def test_both_backends_learn_the_same(on_jax, kind):
    options = options_of(small_trainings.recording(), model=small_trainings.ndn(kind, l2=0.1))
    options |= dict(early_stop=None, initialize=small_trainings.start)
    for result in fit(seeds=[0, 3], **options):
        start = small_trainings.start(options["model"], result.seed)
        moved = max(np.abs(a - b).max() for a, b in zip(result.weights, start, strict=True))
        assert moved > 1e-3
        assert distance(result, result_on_jax(on_jax[0], kind, result)) < 1e-5


def test_both_backends_drop_the_same_units(on_jax):
    arrays = on_jax[0]
    here = streams.uniform(np.array([7, 9], np.uint32), np.uint32(5), 50)
    np.testing.assert_array_equal(arrays["uniform"], here)
    options = options_of(small_trainings.recording(), early_stop=None, epochs=2)
    (result,) = fit(seeds=[3], **options)
    assert distance(result, result_on_jax(arrays, "dropout", result)) < 1e-5


def test_both_backends_draw_the_same_positions(on_jax):
    model = small_trainings.ndn("points")
    options = options_of(small_trainings.recording(), model=model, early_stop=None, epochs=2)
    (result,) = fit(seeds=[3], **options)
    there = result_on_jax(on_jax[0], "points", result)
    shown = [n for n, variable in enumerate(model.weights) if variable.dtype == "float32"]
    keys = [n for n, variable in enumerate(model.weights) if variable.name == "key"]
    assert np.array_equal(result.weights[keys[0]], streams.key(3, streams.DROPOUT, 0))
    for number in range(len(model.weights)):
        if number in shown:
            np.testing.assert_allclose(there.weights[number], result.weights[number], atol=1e-5)
        else:
            np.testing.assert_array_equal(there.weights[number], result.weights[number])


def test_another_backend_is_refused():
    done = under_jax("-c", "import NDN3.training", KERAS_BACKEND="numpy")
    assert done.returncode != 0
    assert "the trainer knows tensorflow and jax. Set KERAS_BACKEND" in done.stderr
