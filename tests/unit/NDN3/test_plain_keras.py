"""Layers and networks of NDN3 in ordinary Keras models: compile, fit, save, load."""

import os
import random
import subprocess
import sys
from pathlib import Path

import every_layer
import keras
import numpy as np
import pytest
from every_layer import CASES, inputs
from keras import ops

from NDN3 import noise, regularization
from NDN3.draws import Draws
from NDN3.dropout import Dropout
from NDN3.keras_losses import Correlation, GaussianLoss, PoissonLoss, ResponseLoss
from NDN3.keras_regularizers import Penalty
from NDN3.layers import layer_class
from NDN3.layers.dense import Normal
from NDN3.layers.points import GaussianReadout
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params

ROOT = Path(__file__).parents[3]
ROWS = 8
STRENGTH = 0.01


def layer_of(name):
    """A layer with all penalties that fit its input, and dropout, as a user writes it."""
    regularizers = dict.fromkeys(every_layer.penalties_of(name), STRENGTH)
    if layer_class(name).takes_dropout:
        regularizers["dropout"] = 0.5
    return every_layer.layer_of(name, regularizers=regularizers)


def counts(neurons=2):
    """Spike counts."""
    return np.random.default_rng(1).poisson(1.0, (ROWS, neurons)).astype("float32")


def fitted(model, given, responses, loss=None):
    """The model after a step of training, and what that did not change."""
    model.compile(
        keras.optimizers.Adam(0.01),
        loss or PoissonLoss(),
        metrics=[Correlation()],
        run_eagerly=True,
    )
    before = model.get_weights()
    history = model.fit(given, responses, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    pairs = zip(model.weights, before, strict=True)
    return model, {v.path.split("/")[-1] for v, old in pairs if np.array_equal(v, old)}


def reloaded(model, folder):
    """The model from its file, where everything is as it was."""
    model.save(folder / "model.keras")
    loaded = keras.models.load_model(folder / "model.keras")
    layers = zip(loaded._flatten_layers(), model._flatten_layers(), strict=True)
    for found, expected in layers:
        assert type(found) is type(expected)
        if type(expected).__module__.startswith("NDN3."):
            assert found.get_config() == expected.get_config()
    for found, expected in zip(loaded.weights, model.weights, strict=True):
        assert (found.dtype, found.trainable) == (expected.dtype, expected.trainable)
        np.testing.assert_array_equal(found, expected)
    return loaded


def assert_alike(model, loaded, given):
    """Predictions, penalties and what is drawn while training agree bit by bit."""
    for training in (False, True):
        np.testing.assert_array_equal(
            loaded(given, training=training), model(given, training=training)
        )
        assert [float(each) for each in loaded.losses] == [float(each) for each in model.losses]


@pytest.mark.parametrize("name", CASES)
def test_each_layer_is_fitted_saved_and_loaded(name, tmp_path):
    given = inputs(rows=ROWS, dtype="float32")
    layer = layer_of(name)
    read_out = keras.layers.Dense(2, "softplus", kernel_regularizer=Penalty("l2", STRENGTH))
    model = keras.Sequential([keras.Input((24,)), layer, read_out])
    model, unchanged = fitted(model, given, counts())
    fixed = {"biases"} if name in ("dim0", "filter", "spike_history") else set()
    assert unchanged <= {"key"} | fixed
    model(given)
    assert len(model.losses) == len(layer.strengths) + 1
    loaded = reloaded(model, tmp_path)
    assert_alike(model, loaded, given)


@pytest.mark.parametrize(("part", "name"), list(enumerate(noise.NOISE)))
def test_each_likelihood_and_penalty_is_fitted_saved_and_loaded(part, name, tmp_path):
    """Each penalty once: a part of them with each likelihood."""
    (loss,) = (
        kind for kind in ResponseLoss.__subclasses__() if kind.likelihood is noise.NOISE[name]
    )
    chosen = (*regularization.GENERAL, *regularization.ACTIVITY)[part :: len(noise.NOISE)]
    layers = []
    for penalty in chosen:
        on = "activity" if penalty in regularization.ACTIVITY else "kernel"
        levels = every_layer.LEVELS if penalty == "max_level" else None
        given = Penalty(penalty, STRENGTH, dims=every_layer.DIMS, levels=levels)
        layers.append(keras.layers.Dense(24, "tanh", **{f"{on}_regularizer": given}))
    model = keras.Sequential([keras.Input((24,)), *layers, keras.layers.Dense(2, "softplus")])
    given = inputs(rows=ROWS, dtype="float32")
    model, unchanged = fitted(model, given, counts().clip(0, 1), loss())
    assert not unchanged
    model(given)
    assert len(model.losses) == len(chosen)
    loaded = reloaded(model, tmp_path)
    assert_alike(model, loaded, given)
    assert loaded.loss.get_config() == model.loss.get_config()


def test_a_loaded_model_goes_on_as_if_it_had_never_been_away(tmp_path):
    given = inputs(rows=ROWS, dtype="float32")
    model = keras.Sequential(
        [
            keras.Input((24,)),
            layer_of("batch_norm"),
            layer_of("gaussian_readout"),
            Dropout(0.5),
            Normal(2, activation="softplus"),
        ]
    )
    model, _ = fitted(model, given, counts())
    loaded = reloaded(model, tmp_path)
    for each in (model, loaded):
        each.fit(given, counts(), batch_size=4, epochs=2, shuffle=False, verbose=0)
    for found, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert loaded.evaluate(given, counts(), verbose=0) == model.evaluate(given, counts(), verbose=0)


@pytest.mark.parametrize(
    ("name", "expected"),
    # by hand: (a + b) / √2, and a · max(1 + b, 0), for a = (1, 2) and b = (3, -4)
    [("add", [[4 / np.sqrt(2), -2 / np.sqrt(2)]]), ("mult", [[4.0, 0.0]])],
)
def test_two_inputs_are_put_together(name, expected, tmp_path):
    sides = [keras.Input((2,)), keras.Input((2,))]
    joined = layer_class(name)(2)(keras.layers.Concatenate()(sides))
    model = keras.Model(sides, joined)
    pair = [np.array([row], "float32") for row in ((1, 2), (3, -4))]
    np.testing.assert_allclose(model(pair), expected, rtol=1e-6, atol=1e-7)
    given = list(inputs(rows=ROWS, dtype="float32").reshape(ROWS, 12, 2)[:, :2].swapaxes(0, 1))
    model, unchanged = fitted(model, given, counts(), GaussianLoss())
    assert not unchanged
    assert_alike(model, reloaded(model, tmp_path), given)


def test_an_image_of_keras_is_flat_in_the_order_of_the_layers():
    """Behind Flatten, dims of (H, W, C) are [C, W, H], and each readout looks where it is told."""
    image = np.random.default_rng(0).normal(size=(1, 3, 4, 2)).astype("float32")
    looks = layer_class("point_readout")(
        1, input_dims=[2, 4, 3], positions=[[1.0, -1.0]], weights_initializer="ones"
    )
    model = keras.Sequential([keras.Input((3, 4, 2)), keras.layers.Flatten(), looks])
    np.testing.assert_allclose(model(image)[0, 0], image[0, 0, 3].sum(), rtol=1e-6)


# ---------------------------------------------------------------------------- draws


def test_layers_of_a_plain_model_draw_apart():
    keras.utils.set_random_seed(3)
    drawing = [Dropout(0.5), Dropout(0.5), Draws()]
    for layer in drawing:
        layer.build((None, 64))
    numbers = [ops.convert_to_numpy(layer.uniform(64)) for layer in drawing]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert not np.isin(numbers[first], numbers[second]).any()
    keras.utils.set_random_seed(3)
    again = Dropout(0.5)
    again.build((None, 64))
    np.testing.assert_array_equal(again.uniform(64), numbers[0])


def test_a_layer_with_a_seed_draws_what_it_drew():
    state = random.getstate()
    keep = {"dropout": 0.5}
    layers = [
        GaussianReadout(4, input_dims=[1, 3, 3], regularizers=keep, seed=seed) for seed in (5, 5, 6)
    ]
    ones = np.ones((2, 9), "float32")
    first, same, other = (ops.convert_to_numpy(layer(ones, training=True)) for layer in layers)
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
    # positions and dropout of one layer are two streams
    assert not np.array_equal(layers[0].source.key, layers[0].dropout.key)
    assert random.getstate() == state


def test_networks_draw_apart_as_in_training():
    description = ffnetwork_params(
        [1, 4, 4],
        [64, 64],
        ["normal", "normal"],
        reg_list={"dropout": [0.5, 0.5]},
        verbose=False,
    )
    model = NDN(description, tf_seed=2)
    keys = [array for array in model.arrays if array.dtype == np.uint32 and array.size == 2]
    assert not np.array_equal(*keys)
    start = [array.copy() for array in keys]
    options = {"epochs_training": 1, "batch_size": 4}
    given = inputs(rows=ROWS)[:, :16]
    model.train(given, np.ones((ROWS, 64)), opt_params=options)
    after = [array for array in model.arrays if array.dtype == np.uint32 and array.size == 2]
    np.testing.assert_array_equal(after, start)


# ---------------------------------------------------------------------------- networks


def several():
    """Three networks: two read inputs, the third multiplies what they give."""
    first = ffnetwork_params(
        [1, 4, 4],
        [3],
        ["normal"],
        "softplus",
        xstim_n=[0],
        reg_list={"l2": [STRENGTH], "dropout": [0.5]},
        verbose=False,
    )
    second = ffnetwork_params([1, 2, 1], [3], ["normal"], "softplus", xstim_n=[1], verbose=False)
    third = ffnetwork_params(
        xstim_n=None,
        ffnet_n=[0, 1],
        layer_sizes=[3, 3, 2],
        layer_types=["mult", "batch_norm", "normal"],
        act_funcs=["lin", "lin", "softplus"],
        verbose=False,
    )
    flat = inputs(rows=ROWS, dtype="float32")
    return NDN([first, second, third], tf_seed=2), (flat[:, :16], flat[:, 16:18])


def alone():
    """One network."""
    description = ffnetwork_params(
        [1, 4, 4],
        [3, 2],
        ["conv", "normal"],
        "softplus",
        conv_filter_widths=[3, None],
        reg_list={"d2x": [STRENGTH, None], "dropout": [0.5, None]},
        verbose=False,
    )
    return NDN(description, tf_seed=2), inputs(rows=ROWS, dtype="float32")[:, :16]


@pytest.mark.parametrize("made", [alone, several])
def test_networks_are_models_of_keras(made, tmp_path):
    model, given = made()
    network, unchanged = fitted(model.keras_model, given, counts())
    assert unchanged == {"key"}
    loaded = reloaded(network, tmp_path)
    assert loaded.descriptions == network.descriptions
    assert_alike(network, loaded, given)
    for each in (network, loaded):
        each.fit(given, counts(), batch_size=4, shuffle=False, verbose=0)
    np.testing.assert_array_equal(
        loaded.predict(given, verbose=0), network.predict(given, verbose=0)
    )


@pytest.mark.parametrize("made", [alone, several])
def test_networks_are_layers_of_keras(made, tmp_path):
    model, given = made()
    streams = given if isinstance(given, tuple) else (given,)
    entries = tuple(keras.Input(stream.shape[1:]) for stream in streams)
    network = model.keras_model(entries if len(entries) > 1 else entries[0])
    whole = keras.Model(entries, keras.layers.Dense(2, "softplus")(network))
    whole, unchanged = fitted(whole, streams, counts())
    assert unchanged == {"key"}
    assert_alike(whole, reloaded(whole, tmp_path), streams)


def test_a_trained_network_goes_to_keras_and_back(tmp_path):
    model, given = alone()
    model.train(given, counts(), opt_params={"epochs_training": 2, "batch_size": 4})
    model.keras_model.set_weights(model.arrays)
    loaded = reloaded(model.keras_model, tmp_path)
    np.testing.assert_allclose(loaded(given), model.generate_prediction(given), rtol=1e-5)
    model.take(loaded, loaded.get_weights())
    np.testing.assert_allclose(loaded(given), model.generate_prediction(given), rtol=1e-5)


PROGRAM = """
import sys
import numpy as np
import keras
from NDN3.keras_classes import register

register()
model = keras.models.load_model(sys.argv[1])
np.save(sys.argv[2], model(np.load(sys.argv[3])))
"""


def test_a_program_that_imports_nothing_else_loads_a_model(tmp_path):
    given = inputs(rows=ROWS, dtype="float32")
    network, flat = NDN(ffnetwork_params([1, 32, 1], [3], ["normal"], verbose=False)), 3
    model = keras.Sequential(
        [
            keras.Input((24,)),
            layer_of("gaussian_readout"),
            Dropout(0.5),
            keras.layers.Dense(32, kernel_regularizer=Penalty("l1", STRENGTH)),
            network.keras_model,
        ]
    )
    fitted(model, given, counts(flat))
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "given.npy", given)
    names = (str(tmp_path / name) for name in ("model.keras", "found.npy", "given.npy"))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), model(given))


def test_penalties_keep_their_precision_where_it_is_mixed():
    """In half precision a sum of squares like these would be infinite."""
    strengths = {"l2": [0.5, 1.0, 2.0], "d2x": 0.1, "norm2": 0.1, "activity_l2": 0.1}
    layers = [
        Normal(3, [1, 5, 5], regularizers=strengths, seed=0, dtype=dtype)
        for dtype in ("float32", "mixed_float16")
    ]
    ones = np.ones((2, 25), "float32")
    found = []
    for layer in layers:
        layer.build((None, 25))
        layer.kernel.assign(np.full((25, 3), 100.0))
        layer(ones)
        found.append([float(value) for value in layer.losses])
    assert min(found[0]) > 0
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        with pytest.raises(ValueError, match="policy is 'mixed_float16'; models .* float32 or"):
            NDN(ffnetwork_params([5], [3], ["normal"], verbose=False))
    finally:
        keras.config.set_dtype_policy("float32")
