"""Penalties in ordinary Keras layers."""

import keras
import numpy as np
import pytest

from NDN3 import regularization
from NDN3.keras_regularizers import Penalty

WEIGHTS = np.array([(1, -2), (0.5, 1), (-1, 0), (2, 1), (3, -1), (0, 2)], "float32")


def dense(**options):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2, **options)])
    model.layers[0].set_weights([WEIGHTS, np.zeros(2, "float32")])
    return model


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"name": "max", "strength": 0.5}, 109.75),
        ({"name": "d2xt", "strength": 0.5, "dims": [2, 3, 1]}, 299.25),
        ({"name": "d2x", "strength": [0.5, 2.0], "dims": [2, 3]}, 135.625),
        # second differences in the middle of the four series of three pixels
        (
            {"name": "d2x", "strength": 1.0, "dims": [2, 3, 1], "boundary": "free"},
            6**2 + 3.5**2 + 3**2 + 1**2,
        ),
        # sums of squares of the first two and of the last four rows
        (
            {"name": "max_level", "strength": 1.0, "dims": 6, "levels": [2, 4]},
            2 * (1.25 * 14 + 5 * 6),
        ),
    ],
)
def test_a_dense_layer_and_its_copy_from_a_file(options, expected, tmp_path):
    model = dense(kernel_regularizer=Penalty(**options))
    assert float(model.losses[0]) == pytest.approx(expected, rel=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert float(loaded.losses[0]) == pytest.approx(expected, rel=1e-6)
    assert loaded.layers[0].kernel_regularizer.get_config() == Penalty(**options).get_config()


def test_training_obeys_it():
    keras.utils.set_random_seed(0)
    inputs = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    norms = []
    for strength in (0.0, 10.0):
        model = dense(kernel_regularizer=Penalty("l2", strength))
        model.compile(keras.optimizers.Adam(0.05), "mse")
        model.fit(inputs, inputs @ WEIGHTS, epochs=20, verbose=0)
        norms.append(float(np.sum(np.square(model.get_weights()[0]))))
    assert norms[0] == pytest.approx(np.sum(WEIGHTS**2), rel=1e-3)
    assert norms[1] < 0.1 * norms[0]


@pytest.mark.parametrize(
    ("layer", "kernel_size", "input_shape", "dims"),
    [
        (keras.layers.Conv2D, (4, 3), (None, 8, 8, 2), [2, 3, 4]),  # 4 rows and 3 columns
        (keras.layers.Conv1D, 4, (None, 8, 2), [2, 4, 1]),
    ],
)
@pytest.mark.parametrize("name", ["d2x", "max_filt", "glocal", "group"])
def test_kernels_of_convolutions(layer, kernel_size, input_shape, dims, name):
    built = layer(5, kernel_size, kernel_regularizer=Penalty(name, 0.3))
    built.build(input_shape)
    rows = regularization.Rows(dims)
    kernel = np.asarray(built.kernel)
    expected = regularization.penalty(name, kernel.reshape(-1, 5), rows, 0.3)
    assert float(built.losses[0]) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "strength", "expected"),
    [
        ("activity_l1", 0.5, 0.5 * (8 + 3) / 2),
        ("activity_l1", [1.0, 2.0], (4 + 2 + 2 * (4 + 1)) / 2),
        ("activity_l2", 0.5, 0.25 * (16 + 16 + 4 + 1) / 2),
    ],
)
def test_activity_is_a_mean_over_the_batch(name, strength, expected):
    layer = keras.layers.Dense(2, activity_regularizer=Penalty(name, strength))
    layer.build((None, 2))
    layer.set_weights([np.eye(2, dtype="float32"), np.zeros(2, "float32")])
    layer(np.array([(4, -4), (-2, 1)], "float32"))
    assert float(layer.losses[0]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "d2y", "strength": 1.0}, "unknown penalty 'd2y'"),
        ({"name": "dropout", "strength": 0.5}, "unknown penalty"),
        ({"name": "norm2_filt", "strength": 0.5}, "Did you mean 'norm2'"),
        ({"name": "l1", "strength": -1.0}, "cannot be negative"),
        ({"name": "orth", "strength": [1.0, 2.0]}, "must be one number"),
        ({"name": "l1", "strength": 1.0, "boundary": "open"}, "unknown boundary"),
        ({"name": "l1", "strength": 1.0, "dims": [1, 2, 3, 4]}, "up to three"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Penalty(**options)


@pytest.mark.parametrize(
    ("options", "shape", "sentence"),
    [
        ({"name": "d2x", "strength": 1.0}, (6, 2), "have one pixel"),
        ({"name": "d2x", "strength": 1.0, "dims": [1, 4, 2]}, (6, 2), "the weights have 6"),
        ({"name": "l1", "strength": [1.0] * 3}, (6, 2), "3 strengths, and there are 2 units"),
        ({"name": "l1", "strength": 1.0}, (2, 2, 2, 2, 2), r"have the shape \(2, 2, 2, 2, 2\)"),
        ({"name": "max_level", "strength": 1.0}, (6, 2), "max_level of a Keras layer"),
    ],
)
def test_weights_that_do_not_fit_are_refused(options, shape, sentence):
    with pytest.raises(ValueError, match=sentence):
        Penalty(**options)(np.zeros(shape, "float32"))
