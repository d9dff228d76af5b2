"""Layers along time against loops, numbers worked out by hand, and finite differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from NDN3 import time_axis
from NDN3.layers.temporal import SpatioTemporal, Temporal
from NDN3.NDNutils import create_time_embedding, ffnetwork_params, tent_basis_generate
from NDN3.network_model import NetworkModel

ROWS = 9
BASIS = np.array([[1.0, 0], [0.5, 0.5], [0, 1], [0, 0.25]])


def made(layer_class, dims, units=2, **options):
    """A built layer in float64."""
    layer = layer_class(units, input_dims=dims, dtype="float64", seed=1, **options)
    layer.build((None, int(np.prod(dims))))
    return layer


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape)


def looped(inputs, kernels, dilation, own):
    """The convolution, sum by sum; `own`: filter i for input i, otherwise all filters for each."""
    rows, n = inputs.shape
    lags, filters = kernels.shape
    found = np.zeros((rows, n if own else n * filters))
    for t in range(rows):
        for i in range(n):
            for f in [i] if own else range(filters):
                for lag in range(lags):
                    if t - dilation * lag >= 0:
                        value = kernels[lag, f] * inputs[t - dilation * lag, i]
                        found[t, i if own else i * filters + f] += value
    return found


# ---- numbers -----------------------------------------------------------------------------------


def test_impulses_give_the_filter():
    impulses = np.zeros((5, 2))
    impulses[0, 0] = impulses[1, 1] = 1
    layer = made(Temporal, [1, 2, 1], units=1, filter_width=3)
    layer.kernel.assign([[1], [2], [4]])
    expected = np.array([[1, 2, 4, 0, 0], [0, 1, 2, 4, 0]]).T
    np.testing.assert_array_equal(layer(impulses), expected)
    assert layer.output_dims == [1, 2, 1]


def test_filters_vary_fastest_and_pixels_stay():
    layer = made(Temporal, [2, 3, 2], units=4, filter_width=1)
    layer.kernel.assign([[1, 10, 100, 1000]])
    inputs = np.arange(12.0)[None]
    assert layer.output_dims == [8, 3, 2]
    images = np.asarray(layer(inputs)).reshape(2, 3, 8)  # (H, W, C)
    channels = inputs.reshape(2, 3, 2)
    for c in range(2):
        for f in range(4):
            np.testing.assert_array_equal(images[:, :, c * 4 + f], channels[:, :, c] * 10**f)


@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("basis", [None, BASIS])
@pytest.mark.parametrize("layer_class", [Temporal, SpatioTemporal])
def test_equals_a_loop(layer_class, basis, dilation):
    lags = {"filter_width": 3} if basis is None else {"temporal_basis": basis}
    layer = made(layer_class, [1, 2, 2], dilation=dilation, **lags)
    kernels = np.asarray(layer.kernel)
    assert kernels.shape == (3 if basis is None else 2, 2 if layer_class is Temporal else 4)
    if basis is not None:
        kernels = basis @ kernels
    expected = looped(noise(ROWS, 4), kernels, dilation, layer_class is SpatioTemporal)
    np.testing.assert_allclose(layer(noise(ROWS, 4)), expected, rtol=1e-12, atol=1e-12)
    assert layer.time_spread == (2 if basis is None else 3) * dilation
    assert layer.compute_output_shape((ROWS, 4)) == expected.shape


def test_biases_count_unless_the_activation_is_linear():
    inputs = noise(ROWS, 2)
    for layer_class, n_biases in ((Temporal, 3), (SpatioTemporal, 2)):
        for activation in ("lin", "relu"):
            layer = made(layer_class, [2, 1, 1], 3, filter_width=2, activation=activation)
            layer.bias.assign(np.arange(n_biases)[None] + 1.0)
            expected = looped(inputs, np.asarray(layer.kernel), 1, layer_class is SpatioTemporal)
            if activation == "relu":
                biases = np.tile(np.arange(n_biases) + 1, 2 if layer_class is Temporal else 1)
                expected = np.maximum(expected + biases, 0)
            np.testing.assert_allclose(layer(inputs), expected, rtol=1e-12)
            assert len(layer.trainable_variables) == (1 if activation == "lin" else 2)


def test_inhibitory_filters_and_positive_weights():
    layer = made(Temporal, [2, 1, 1], 3, filter_width=2, num_inh=1, pos_constraint=True)
    inputs = np.abs(noise(ROWS, 2))
    expected = looped(inputs, np.maximum(np.asarray(layer.kernel), 0), 1, False)
    np.testing.assert_allclose(layer(inputs), expected * [1, 1, -1, 1, 1, -1], rtol=1e-12)


def test_tents_as_the_basis():
    """(1,0,0,0,0)(0,1,0,0,0)(0,0,1,.5,0)(0,0,0,.5,1): the fourth tent is two lags away."""
    layer = made(Temporal, [1, 1, 1], temporal_basis={"num_params": 4, "doubling_time": 2})
    expected = tent_basis_generate(num_params=4, doubling_time=2)
    np.testing.assert_array_equal(layer.basis, expected)
    assert layer.lags == 5 and layer.weights_shape() == (4, 2)


def test_penalties_smooth_over_lags():
    layer = made(
        Temporal, [1, 3, 1], 2, filter_width=3, regularizers={"d2t": 0.5, "l2": [1.0, 2.0]}
    )
    layer.kernel.assign([[1, 0], [2, 1], [4, 0]])
    penalties = layer.penalties(ops.convert_to_tensor(layer.kernel))
    # (-2+2, 1-4+4, 2-8) and (1, -2, 1), squared
    assert float(penalties["d2t"]) == pytest.approx(0.5 * (0 + 1 + 36 + 1 + 4 + 1))
    assert float(penalties["l2"]) == pytest.approx(21 / 2 + 2 * 1 / 2)


@pytest.mark.parametrize("layer_class", [Temporal, SpatioTemporal])
def test_gradients_against_central_differences(layer_class):
    layer = made(
        layer_class, [1, 2, 1], dilation=2, temporal_basis=BASIS, activation="softplus",
        normalize_weights=1, regularizers={"d2t": 0.3},
    )  # fmt: skip
    inputs = noise(ROWS, 2)
    weighting = np.random.default_rng(1).normal(size=(ROWS, 4 if layer_class is Temporal else 2))

    def cost(inputs):
        return ops.sum(layer(inputs) * weighting) + sum(layer.losses)

    variables = [variable.value for variable in layer.trainable_variables]
    tensor = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = cost(tensor)
    *gradients, of_inputs = tape.gradient(value, [*variables, tensor])
    step = 1e-6
    assert len(variables) == 2
    for variable, gradient in zip(layer.trainable_variables, gradients, strict=True):
        here = ops.convert_to_numpy(variable).copy()
        for index in np.ndindex(here.shape):
            costs = []
            for sign in (1, -1):
                moved = here.copy()
                moved[index] += sign * step
                variable.assign(moved)
                costs.append(float(cost(inputs)))
            variable.assign(here)
            expected = (costs[0] - costs[1]) / (2 * step)
            assert float(gradient[index]) == pytest.approx(expected, rel=1e-6, abs=1e-8)
    for index in ((0, 0), (4, 1)):
        costs = []
        for sign in (1, -1):
            moved = inputs.copy()
            moved[index] += sign * step
            costs.append(float(cost(moved)))
        expected = (costs[0] - costs[1]) / (2 * step)
        assert float(of_inputs[index]) == pytest.approx(expected, rel=1e-6, abs=1e-8)


# ---- what is refused, and configurations -------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no number of lags"),
        ({"filter_width": 0}, "filter_width.* is 0"),
        ({"filter_width": 3, "dilation": 0}, "dilation of a temporal layer is 0"),
        ({"filter_width": 3, "temporal_basis": BASIS}, "has 4 lags"),
        ({"temporal_basis": [1, 2]}, "must be a matrix"),
        ({"temporal_basis": [[1, 2], [3]]}, "must be a matrix"),
        ({"temporal_basis": [[1, np.nan]]}, "must be a matrix"),
        ({"temporal_basis": {"doubling_time": 2}}, "must have num_params"),
        ({"temporal_basis": {"num_param": 2}}, "num_params"),
        ({"filter_width": 3, "regularizers": {"d2x": 0.1}}, "does not take the regularizer 'd2x'"),
        ({"filter_width": 3, "normalize_weights": 2}, "normalization"),
        ({"filter_width": 3, "units": None}, "no units"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        Temporal(**({"units": 2, "input_dims": [1, 2, 1]} | options))


@pytest.mark.parametrize("basis", [None, BASIS, {"num_params": 3, "doubling_time": 1}])
def test_kept_by_keras(basis, tmp_path):
    lags = {"filter_width": 3} if basis is None else {"temporal_basis": basis}
    inputs = keras.Input((4,))
    outputs = Temporal(2, input_dims=[2, 2, 1], dilation=2, activation="relu", **lags)(inputs)
    model = keras.Model(inputs, SpatioTemporal(filter_width=2)(outputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    rows = noise(ROWS, 4).astype("float32")
    np.testing.assert_array_equal(loaded(rows), model(rows))


# ---- lags made inside of a network ---------------------------------------------------------------


def test_lags_of_columns_equal_the_embedding():
    rows = noise(ROWS, 3)
    np.testing.assert_array_equal(
        time_axis.embedded(rows, 4), create_time_embedding(rows, [4, 3, 1])
    )
    np.testing.assert_array_equal(time_axis.embedded(rows, 1), rows)
    spaced = np.asarray(time_axis.lagged(rows, 3, 2))
    for lag in range(3):
        np.testing.assert_array_equal(spaced[2 * lag :, :, lag], rows[: ROWS - 2 * lag])
        np.testing.assert_array_equal(spaced[: 2 * lag, :, lag], 0)


def test_more_lags_than_rows():
    np.testing.assert_array_equal(
        time_axis.embedded(np.array([[1.0], [2]]), 4)[:, 1:], [[0] * 3, [1, 0, 0]]
    )


def test_a_network_that_makes_its_lags_equals_one_that_gets_them():
    options = {"layer_sizes": [3, 2], "layer_types": ["normal"] * 2, "verbose": False}
    inside = NetworkModel(
        ffnetwork_params(input_dims=[2, 3, 1], time_expand=[4, 2], **options), dtype="float64"
    )
    assert inside.composition.spreads == [[3, 4]]
    assert inside.time_spread == 4
    outside = NetworkModel(
        ffnetwork_params(input_dims=[8, 3, 1], time_expand=[0, 2], **options), dtype="float64"
    )
    for one, other in zip(inside.weights, outside.weights, strict=True):
        other.assign(one)
    rows = noise(ROWS, 6)
    embedded = create_time_embedding(rows, [4, 6, 1])
    np.testing.assert_allclose(inside(rows), outside(embedded), rtol=1e-12)
    assert outside.time_spread == 1


def test_description_tells_lags_dilation_and_basis():
    description = ffnetwork_params(
        input_dims=[1, 4, 1],
        layer_sizes=[3, 1, 2],
        layer_types=["temporal", "sp_temporal", "normal"],
        conv_filter_widths=[5, None, None],
        dilation=[2, 3, 1],
        verbose=False,
    )
    description["temporal_basis"] = [None, BASIS, None]
    model = NetworkModel(description)
    first, second, last = model.stack
    assert (first.lags, first.dilation, first.output_dims) == (5, 2, [3, 4, 1])
    assert (second.lags, second.dilation, second.output_dims) == (4, 3, [12, 1, 1])
    assert model.composition.spreads == [[8, 17, 17]]
    assert model.descriptions[0]["temporal_basis"] == [None, BASIS.tolist(), None]
    again = NetworkModel(model.descriptions)
    np.testing.assert_array_equal(again.stack[1].basis, BASIS)
    with pytest.raises(ValueError, match="layer 0.*no number of lags"):
        NetworkModel(dict(description, conv_filter_widths=[None] * 3))
