"""Bounded differences of Gaussians: values, bounds, gradients far out, starts, planted centers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from layer_gradients import disagreement

from NDN3.layers.bounded_gaussians import (
    BoundedDifferenceOfGaussians,
    ConvBoundedDifferenceOfGaussians,
    grid_centers,
    roomy_bounds,
    share,
    squareplus,
)
from NDN3.layers.gaussians import default_bounds
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params

SOURCE = np.random.default_rng(0)
BOUNDS = [(0.1, 10), (0.5, 5), (2, 5), (1, 5)]
KINDS = (BoundedDifferenceOfGaussians, ConvBoundedDifferenceOfGaussians)
FREE = [{}, {"free_surround": True}]


def layer_of(
    weights, kind=BoundedDifferenceOfGaussians, dims=(1, 7, 7), dtype="float64", **options
):
    """Built layer with such stored weights."""
    weights = np.asarray(weights, float)
    options = {"bounds": BOUNDS, **options}
    layer = kind(weights.shape[1], input_dims=dims, dtype=dtype, **options)
    layer.build((None, int(np.prod(dims))))
    layer.kernel.assign(weights)
    return layer


def filters(parameters, width, height):
    """Filters of natural parameters, pixel by pixel."""
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    found = []
    for a1, v1, x, y, a2, wider, right, down in np.asarray(parameters, float).T:

        def gaussian(gain, variance, x, y):
            squares = (columns - x) ** 2 + (rows - y) ** 2
            return gain / (2 * np.pi * variance) * np.exp(-squares / (2 * variance))

        found.append(gaussian(a1, v1, x, y) - gaussian(a2, v1 + wider, x + right, y + down))
    return np.array(found)


# ---- from stored numbers to parameters --------------------------------------------------------


def test_natural_parameters_by_hand():
    # squareplus: (1.5 + 2.5) / 2 = 2, (-1.5 + 2.5) / 2 = 0.5; share: 0.5 (1 + 0.6) = 0.8, 0.2
    stored = [[1.5], [0.75], [-0.75], [0], [-1.5], [-0.75], [0.75], [-0.75]]
    layer = layer_of(stored, free_surround=True)
    reach = np.sqrt(5)
    expected = [2.1, 0.5 + 0.8 * 4.5, 2.6, 3, 0.6, 0.5 + 0.2 * 4.5, 0.6 * reach, -0.6 * reach]
    np.testing.assert_allclose(layer.natural(stored)[:, 0], expected, rtol=1e-12)
    concentric = layer_of(stored).natural(stored)[:, 0]
    np.testing.assert_allclose(concentric, [*expected[:6], 0, 0], rtol=1e-12)
    np.testing.assert_allclose(layer.centers(stored), [[2.6, 3]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_stay_inside_whatever_is_stored(dtype):
    stored = np.concatenate([SOURCE.normal(0, 1e4, (8, 50)), np.full((8, 1), -1e9)], axis=1)
    found = layer_of(stored, free_surround=True, dtype=dtype).natural(stored)
    lows = [0.1, 0.5, 2, 1, 0.1, 0.5, *[-np.sqrt(5)] * 2]
    highs = [np.inf, 5, 5, 5, np.inf, 5, *[np.sqrt(5)] * 2]
    room = 1e-6
    for row, low, high in zip(found, lows, highs, strict=True):
        assert low - room <= row.min() < row.max() <= high + room


def test_unbounded_is_the_inverse():
    layer = layer_of(np.zeros((8, 4)), free_surround=True)
    stored = SOURCE.normal(0, 2, (8, 4))
    np.testing.assert_allclose(layer.unbounded(layer.natural(stored)), stored, rtol=1e-9)
    outside = np.array([[0, 9, 2, 7, 0.1, 0.5, -9, 9]], float).T
    near = layer.natural(layer.unbounded(outside))[:, 0]
    reach = np.sqrt(5)
    expected = [0.1 + 9.9e-4, 5 - 4.5e-4, 2 + 3e-4, 5 - 4e-4, 0.1 + 9.9e-4, 0.5 + 4.5e-4]
    expected += [-reach * (1 - 2e-4), reach * (1 - 2e-4)]
    np.testing.assert_allclose(near, expected, rtol=1e-9)


# ---- filters ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", FREE)
def test_filters_equal_those_pixel_by_pixel(options):
    stored = SOURCE.normal(0, 2, (8, 5))
    layer = layer_of(stored, dims=(1, 9, 6), **options)
    expected = filters(layer.natural(stored), 9, 6)
    np.testing.assert_allclose(layer.kernels(stored), expected, rtol=1e-12, atol=1e-15)
    images = SOURCE.normal(size=(3, 54))
    np.testing.assert_allclose(layer(images), images @ expected.reshape(5, 54).T, rtol=1e-9)
    two = layer_of(stored, dims=(2, 9, 6), **options)
    both = np.stack([images, 2 * images], axis=2).reshape(3, 108)
    np.testing.assert_allclose(two(both), 3 * layer(images), rtol=1e-9)


def test_published_values():
    impulse = np.zeros((1, 49))
    impulse[0, 24] = 1
    parameters = np.array([(1, 1, 3, 3, 0.5, 2, 0, 0), (2, 1, 4, 2, 1, 3, 0, 0)], float).T
    layer = layer_of(np.zeros((8, 2)))
    layer.kernel.assign(layer.unbounded(parameters))
    layer.bias.assign([[0, 0.1]])
    for image, expected in (
        (impulse, (0.132629, 0.186112)),
        (np.ones((1, 49)), (0.539075, 1.298079)),
        (np.arange(49)[np.newaxis] / 49, (0.264037, 0.510718)),
    ):
        np.testing.assert_allclose(layer(image)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("options", FREE)
def test_windows_equal_loops(options):
    stored = SOURCE.normal(0, 2, (8, 2))
    layer = layer_of(
        stored,
        ConvBoundedDifferenceOfGaussians,
        (2, 8, 7),
        **{"filter_width": 5, "shift_spacing": 3, "bounds": None, **options},
    )
    assert layer.bounds_in_use() == default_bounds(5, 5)
    kernels = filters(layer.natural(stored), 5, 5)
    images = SOURCE.normal(size=(3, 112))
    summed = images.reshape(3, 7, 8, 2).sum(axis=3)
    padded = np.pad(summed, [(0, 0), (2, 2), (1, 2), (0, 0)][:3])  # 3 rows and columns of windows
    expected = np.zeros((3, 3, 3, 2))
    for row, h, w, unit in np.ndindex(expected.shape):
        window = padded[row, 3 * h : 3 * h + 5, 3 * w : 3 * w + 5]
        expected[row, h, w, unit] = np.sum(window * kernels[unit])
    for inputs in (images, layer.precompute(images)):
        np.testing.assert_allclose(layer(inputs), expected.reshape(3, 18), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (31, 31, default_bounds(31, 31)[1:]),
        (5, 5, default_bounds(5, 5)[1:]),
        (3, 3, [(1, 2), (0, 2), (0, 2)]),
        (2, 9, [(1, 7), (0, 1), (2, 7)]),
        (1, 1, [(1, 2), (0, 0), (0, 0)]),
    ],
)
def test_default_bounds_leave_room_on_few_pixels(width, height, expected):
    assert roomy_bounds(width, height) == [default_bounds(1, 1)[0], *expected]


def test_a_line_of_pixels():
    layer = BoundedDifferenceOfGaussians(4, input_dims=[1, 9, 1], seed=0)
    layer.build((None, 9))
    stored = ops.convert_to_numpy(layer.kernel)
    assert np.isfinite(stored).all()
    assert not layer.centers(stored)[:, 1].any()
    assert np.isfinite(layer(np.ones((1, 9)))).all()


# ---- gradients --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_central_differences(kind):
    window = {"filter_width": 5, "shift_spacing": 4} if kind is KINDS[1] else {}
    stored = SOURCE.normal(0, 1, (8, 2))
    layer = layer_of(stored, kind, free_surround=True, **window)
    found = disagreement(layer, SOURCE.normal(size=(3, 49)))
    assert max(found.values()) <= 1e-6, found


def slopes(function, values):
    values = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(values)
        found = function(values)
    return tape.gradient(found, values).numpy().astype(float)


def test_slopes_are_exact_far_out():
    t = np.array([-1e5, -300, -17, -1, 0, 1, 17, 300], "float32")
    wide = t.astype(float)
    expected = 0.5 * (1 + wide**2) ** -1.5
    np.testing.assert_allclose(slopes(share, t), expected, rtol=1e-5)
    root = np.sqrt(wide**2 + 4)
    expected = np.where(wide < 0, 2 / (root * (root + np.abs(wide))), 0.5 + 0.5 * wide / root)
    np.testing.assert_allclose(slopes(squareplus, t), expected, rtol=1e-5)


def weight_gradient(layer, images):
    with tf.GradientTape() as tape:
        cost = tf.reduce_sum(tf.square(layer(images.astype(layer.variable_dtype))))
    return tape.gradient(cost, layer.kernel.value).numpy()


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_gradient_never_dies(sign):
    images = SOURCE.normal(size=(20, 49))
    for row in range(8):
        stored = np.array([[0.3, -0.2, 0.4, 0.1, 1, -0.5, 0.2, -0.1]]).T
        stored[row] = sign * 100  # in float32 the slope of a logistic function is 0 there
        single, double = (
            weight_gradient(layer_of(stored, dtype=dtype, free_surround=True), images)
            for dtype in ("float32", "float64")
        )
        assert double.all()
        np.testing.assert_allclose(single, double, rtol=1e-3)


def test_what_is_not_used_has_no_gradient():
    images = SOURCE.normal(size=(5, 49))
    stored = SOURCE.normal(0, 1, (8, 2))
    for options, fixed in (
        ({}, [6, 7]),
        ({"frozen_centers": True}, [2, 3, 6, 7]),
        ({"frozen_centers": True, "free_surround": True}, [2, 3, 6, 7]),
    ):
        layer = layer_of(stored, **options)
        gradient = weight_gradient(layer, images)
        assert not gradient[fixed].any()
        assert np.delete(gradient, fixed, axis=0).all()


# ---- start values -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["random", "grid"])
def test_starts_are_concentric_and_away_from_the_bounds(name):
    layer = BoundedDifferenceOfGaussians(
        200, input_dims=[1, 31, 31], weights_initializer=name, free_surround=True, seed=1
    )
    layer.build((None, 961))
    found = layer.natural(layer.kernel)
    (_, most), variance, *places = default_bounds(31, 31)
    bounds = [(0, most), variance, *places, (0, most), variance]
    for row, (low, high) in zip(found[:6], bounds, strict=True):
        margin = 0.03 * (high - low)
        assert low + margin < row.min() < row.max() < high - margin
    np.testing.assert_allclose(found[6:], 0, atol=1e-6)
    if name == "grid":
        np.testing.assert_allclose(found[2:4], grid_centers(200, places), rtol=1e-5)
    else:
        assert found[2].std() > 5


def test_grid():
    assert grid_centers(1, [(2, 4), (2, 8)]).tolist() == [[3], [5]]
    six = grid_centers(6, [(0, 6), (0, 4)])
    assert six.tolist() == [[1, 3, 5, 1, 3, 5], [1, 1, 1, 3, 3, 3]]
    assert grid_centers(3, [(0, 6), (0, 0)]).tolist() == [[1, 3, 5], [0, 0, 0]]
    for count in range(1, 30):
        x, y = grid_centers(count, [(2, 29), (2, 29)])
        assert len(set(zip(x, y, strict=True))) == count


def described(kind, **own):
    description = ffnetwork_params([1, 11, 11], [1], [kind], "lin", verbose=False)
    return description | {name: [value] for name, value in own.items()}


def test_options_go_through_descriptions_and_files(tmp_path):
    model = NDN(
        described(
            "bounded_dog",
            bounds=BOUNDS,
            free_surround=True,
            frozen_centers=True,
            weights_initializers="grid",
        )
    )
    model.save_model(tmp_path / "model.ndnmod")
    layers = [m.networks[0].layers[0] for m in (model, NDN.load_model(tmp_path / "model.ndnmod"))]
    np.testing.assert_allclose(layers[0].keras_layer.centers(layers[0].weights), [[3.5, 3]])
    assert np.array_equal(layers[0].weights, layers[1].weights)
    for layer in layers:
        assert layer.keras_layer.free_surround
        assert layer.keras_layer.frozen_centers


def test_planted_centers_are_found_where_clipped_ones_are_lost():
    images = np.random.default_rng(0).normal(size=(400, 121)).astype("float32")
    planted = filters([[8], [2], [7.3], [3.6], [5], [3], [0], [0]], 11, 11)
    responses = images @ planted.reshape(121, 1)
    options = {"epochs_training": 60, "batch_size": 40, "learning_rate": 0.03}
    found = {}
    for kind, legacy in (("bounded_dog", False), ("diff_of_gaussians", True)):
        models = NDN.for_seeds(described(kind), "gaussian", range(10), legacy=legacy)
        trained = NDN.fit_together(models, images, responses, opt_params=options, xla=False)
        layers = [model.networks[0].layers[0] for _, model, _ in trained]
        centers = [layer.keras_layer.centers(layer.weights)[0] for layer in layers]
        distances = np.linalg.norm(np.array(centers) - (7.3, 3.6), axis=1)
        found[kind] = int(np.sum(distances < 0.1))  # pixel
    assert found["bounded_dog"] >= 9
    assert found["diff_of_gaussians"] <= 6


# ---- refusals, configuration ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"bounds": [(0, 1), (5, 2), (0, 1), (0, 1)]}, "of variance the upper one is below"),
        ({"bounds": [(0, 1), (2, 2), (0, 1), (0, 1)]}, "amplitude and variance need room"),
        ({"bounds": [(0, 1)]}, "four pairs"),
        ({"free_surround": 1}, "free_surround of a bounded_dog layer is 1; .* True or False"),
        ({"frozen_centers": "yes"}, "frozen_centers of a bounded_dog layer is 'yes'"),
        ({"pos_constraint": True}, "bounds instead"),
        ({"regularizers": {"l2": 0.1}}, "it takes activity_l1, activity_l2"),
    ],
)
def test_what_has_no_meaning_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        BoundedDifferenceOfGaussians(2, **options)


def test_layers_can_be_made_again_from_their_configuration():
    for layer in (
        BoundedDifferenceOfGaussians(2, bounds=BOUNDS, free_surround=True, activation="softplus"),
        ConvBoundedDifferenceOfGaussians(2, filter_width=3, frozen_centers=True),
    ):
        model = keras.Sequential([keras.Input((49,)), layer])
        again = keras.Sequential.from_config(model.get_config())
        again.set_weights(model.get_weights())
        image = SOURCE.normal(size=(2, 49)).astype("float32")
        np.testing.assert_array_equal(again(image), model(image))
        assert again.layers[0].get_config() == layer.get_config()
