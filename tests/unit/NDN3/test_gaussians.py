"""Difference-of-Gaussians layers: hand-worked values, clipping, gradients, start values."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from NDN3.layers.gaussians import (
    ConvDifferenceOfGaussians,
    DifferenceOfGaussians,
    default_bounds,
    random_parameters,
)

EPS = float(np.finfo(float).eps)
BOUNDS = [(EPS, 10), (1, 5), (2, 5), (2, 5)]
WEIGHTS = np.array(
    [
        (1, 2, -1),
        (1, 0.5, 9),
        (3, 4, 6),
        (3, 2, 1),
        (0.5, 1, 1),
        (2, 3, 2),
        (0, 0, 0),
        (0, 0, 0),
    ],
    dtype=float,
)


def built(layer, n_inputs, weights, biases=0.0):
    layer.build((None, n_inputs))
    layer.kernel.assign(weights)
    layer.bias.assign(np.broadcast_to(biases, layer.bias.shape))
    return layer


def reference(weights, bounds, width, height):
    """Sample the filters on the grid, term by term, in float64."""
    (low_a, _), *others = bounds
    filters = []
    for a1, s1, x, y, a2, s2, _, _ in np.asarray(weights, dtype=float).T:
        s1, x, y = (max(min(v, hi), lo) for v, (lo, hi) in zip((s1, x, y), others, strict=True))
        s2 = s1 + max(min(s2, others[0][1]), others[0][0])
        columns, rows = np.meshgrid(np.arange(width), np.arange(height))
        squares = (columns - x) ** 2 + (rows - y) ** 2

        def gaussian(gain, variance, squares=squares):
            gain = max(gain, low_a)
            return gain / (2 * np.pi * variance) * np.exp(-squares / (2 * variance))

        filters.append(gaussian(a1, s1) - gaussian(a2, s2))
    return np.array(filters)


IMPULSE = np.zeros(49)
IMPULSE[3 * 7 + 3] = 1


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (IMPULSE, (0.132629, 0.186112, -0.215908)),
        (np.ones(49), (0.539075, 1.298079, -0.747954)),
        (np.arange(49) / 49, (0.264037, 0.510718, -0.442783)),
    ],
)
def test_published_values(image, expected, legacy):
    layer = DifferenceOfGaussians(3, bounds=BOUNDS, legacy=legacy)
    built(layer, 49, WEIGHTS, [0, 0.1, -0.2])
    values = ops.convert_to_numpy(layer(image[np.newaxis].astype("float32")))
    np.testing.assert_allclose(values[0], expected, rtol=1e-5)


@pytest.mark.parametrize("legacy", [True, False])
def test_filters_equal_the_term_by_term_form(legacy):
    source = np.random.default_rng(3)
    weights = source.uniform(-2, 12, size=(8, 20))
    layer = DifferenceOfGaussians(20, input_dims=[1, 9, 6], legacy=legacy, dtype="float64")
    built(layer, 54, weights)
    expected = reference(weights, default_bounds(9, 6), 9, 6)
    filters = ops.convert_to_numpy(layer.kernels(layer.kernel))
    np.testing.assert_allclose(filters, expected, rtol=1e-12, atol=1e-15)


def test_channels_are_summed():
    layer = built(DifferenceOfGaussians(3, input_dims=[2, 7, 7], bounds=BOUNDS), 98, WEIGHTS)
    single = built(DifferenceOfGaussians(3, bounds=BOUNDS), 49, WEIGHTS)
    image = np.random.default_rng(0).normal(size=(2, 49, 2)).astype("float32")
    np.testing.assert_allclose(
        layer(image.reshape(2, 98)), single(image.sum(axis=-1)), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("legacy", [True, False])
def test_convolutional_values(legacy):
    weights = np.array([(1, 2), (1, 2), (3, 4), (3, 2), (0.5, 1), (2, 3), (0, 0), (0, 0)], float)
    layer = ConvDifferenceOfGaussians(
        2, filter_width=7, shift_spacing=4, activation="softplus", legacy=legacy
    )
    built(layer, 81, weights)
    image = np.zeros((1, 81), "float32")
    image[0, 40] = 10
    for inputs in (image, layer.precompute(image)):
        maps = ops.convert_to_numpy(layer(inputs)).reshape(3, 3, 2)
        around = np.delete(maps[..., 0].ravel(), 4)
        np.testing.assert_allclose(around, np.log(2), rtol=1e-6)
        np.testing.assert_allclose(maps[1, 1], [1.561727, 1.106338], rtol=1e-6)


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize(
    ("width", "variance", "place", "positions"),
    [(3, (1, 2), (2, 1), 16), (7, (1, 5), (2, 5), 8), (15, (1, 12), (2, 13), 4)],
)
def test_default_bounds_of_kernels(width, variance, place, positions, legacy):
    stride = (width + 1) // 2
    layer = ConvDifferenceOfGaussians(1, filter_width=width, shift_spacing=stride, legacy=legacy)
    warned = width == 3 and not legacy
    with pytest.warns(UserWarning) if warned else contextlib.nullcontext():
        layer.build((None, 961))
    assert layer.bounds_in_use()[1:] == [variance, place, place]
    assert layer.bounds_in_use()[0] == (EPS, 10)
    assert layer.output_dims == [1, positions, positions]


def test_default_bounds_of_the_whole_image():
    layer = DifferenceOfGaussians(1)
    layer.build((None, 961))
    assert layer.bounds_in_use() == [(EPS, 10), (1, 25), (2, 29), (2, 29)]


@pytest.mark.parametrize("legacy", [True, False])
def test_crossed_default_bounds_hold_the_filter_in_the_corner(legacy):
    layer = ConvDifferenceOfGaussians(1, filter_width=3, shift_spacing=2, legacy=legacy)
    weights = np.array([[2, 1, 0, 1, 1, 1, 0, 0]], float).T
    warned = pytest.warns(UserWarning, match="3 x 3 pixels.*column and row leave no room")
    with contextlib.nullcontext() if legacy else warned as messages:
        built(layer, 81, weights)
    assert legacy or len(messages) == 1
    peak = np.argmax(ops.convert_to_numpy(layer.kernels(layer.kernel))[0])
    assert peak == 8  # the last of nine pixels, whatever the stored place
    assert layer.centers(weights).tolist() == [[2, 2]]


def test_given_bounds_on_three_pixels_leave_room():
    bounds = [(0.1, 10), (1, 2), (0, 2), (0, 2)]
    layer = ConvDifferenceOfGaussians(1, filter_width=3, bounds=bounds)
    built(layer, 81, np.array([[2, 1, 0, 1, 1, 1, 0, 0]], float).T)  # without a warning
    assert np.argmax(ops.convert_to_numpy(layer.kernels(layer.kernel))[0]) == 3


def test_centers_are_those_in_use():
    layer = built(DifferenceOfGaussians(3, bounds=BOUNDS), 49, WEIGHTS)
    assert layer.centers(WEIGHTS).tolist() == [[3, 3], [4, 2], [5, 2]]
    # nothing changes where all values are moved to those in use
    used = WEIGHTS.copy()
    used[:6] = [(1, 2, EPS), (1, 1, 5), (3, 4, 5), (3, 2, 2), (0.5, 1, 1), (2, 3, 2)]
    np.testing.assert_array_equal(layer.kernels(used), layer.kernels(WEIGHTS))


def gradient(layer, image):
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(tf.square(layer(image)))
    return tape.gradient(value, layer.kernel.value).numpy()


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("kind", [DifferenceOfGaussians, ConvDifferenceOfGaussians])
def test_gradients_equal_finite_differences(kind, legacy):
    options = {} if kind is DifferenceOfGaussians else {"filter_width": 7, "shift_spacing": 4}
    layer = kind(2, legacy=legacy, dtype="float64", bounds=BOUNDS, **options)
    inside = np.array([(1, 2), (2, 3), (3, 4), (3, 2.5), (0.5, 1), (2, 3), (1, 1), (1, 1)], float)
    built(layer, 81, inside)
    image = np.random.default_rng(1).normal(size=(3, 81))
    numeric = np.zeros_like(inside)
    for index in np.ndindex(inside.shape):
        for sign in (1, -1):
            moved = inside.copy()
            moved[index] += sign * 1e-6
            layer.kernel.assign(moved)
            numeric[index] += sign * float(tf.reduce_sum(tf.square(layer(image)))) / 2e-6
    layer.kernel.assign(inside)
    np.testing.assert_allclose(gradient(layer, image), numeric, rtol=1e-6, atol=1e-7)


def test_start_values_lie_within_the_bounds():
    bounds = default_bounds(31, 31)
    values = random_parameters(bounds, 1000, np.random.default_rng(0), legacy=False)
    for row, (low, high) in zip(values, [*bounds, *bounds], strict=True):
        assert low <= row.min() < row.max() <= high


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"bounds": [(0, 1)]}, "four pairs"),
        ({"bounds": (0, 1)}, "four pairs"),
        ({"bounds": [(0, 1), (0, 1), (0, 1), (0, 1, 2)]}, "four pairs"),
        ({"bounds": [(0, 1), (1, 2), (0, "x"), (0, 1)]}, "column in the bounds of .* 'x'"),
        ({"bounds": [(0, 1), (1, np.inf), (0, 1), (0, 1)]}, "variance in the bounds of .* inf"),
        ({"bounds": [(0, 1), (5, 2), (0, 1), (3, 1)]}, "of variance and row the upper one is"),
        ({"bounds": [(0, 1), (0, 2), (0, 1), (0, 1)]}, "a variance .* is above 0"),
        ({"pos_constraint": True}, "bounds instead"),
        ({"regularizers": {"l2": 0.1}}, "it takes activity_l1, activity_l2"),
        ({"regularizers": {"dropout": 0.5}}, "it takes activity_l1, activity_l2"),
        ({"normalize_weights": 1}, "allowed are 0"),
    ],
)
def test_what_has_no_meaning_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        DifferenceOfGaussians(2, **options)


def test_layers_can_be_made_again_from_their_configuration():
    for layer in (
        DifferenceOfGaussians(2, bounds=BOUNDS, legacy=True, activation="softplus"),
        ConvDifferenceOfGaussians(2, filter_width=5, shift_spacing=2),
    ):
        model = keras.Sequential([keras.Input((49,)), layer])
        again = keras.Sequential.from_config(model.get_config())
        again.set_weights(model.get_weights())
        image = np.random.default_rng(0).normal(size=(2, 49)).astype("float32")
        np.testing.assert_array_equal(again(image), model(image))
        assert again.layers[0].get_config() == layer.get_config()
