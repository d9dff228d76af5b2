"""Relatives of the convolution, and units at chosen positions, against loops over pixels."""

import json
import math

import keras
import numpy as np
import pytest
from keras import ops
from layer_gradients import disagreement

from NDN3.layers.chosen_positions import ConvolutionAt, ReadoutAt
from NDN3.layers.convolution import Convolution
from NDN3.layers.convolution_kinds import (
    BinocularConvolution,
    MixedConvolution,
    SeparableConvolution,
)
from NDN3.layers.separable import Separable
from NDN3.NDNutils import ffnetwork_params
from NDN3.network_model import NetworkModel


def with_arrays(layer, **arrays):
    layer.build((None, math.prod(layer.input_dims)))
    for name, values in arrays.items():
        layer.arrays[name].assign(np.reshape(values, layer.arrays[name].shape))
    return layer


def with_random_arrays(layer, seed=0):
    source = np.random.default_rng(seed)
    layer.build((None, math.prod(layer.input_dims)))
    for variable in layer.arrays.values():
        variable.assign(source.normal(size=variable.shape))
    return layer, [ops.convert_to_numpy(variable) for variable in layer.arrays.values()]


def output(layer, inputs):
    return ops.convert_to_numpy(layer(np.atleast_2d(np.asarray(inputs, dtype=layer.dtype))))


def softplus(values):
    return np.logaddexp(0, values)


def images_of(dims, count=3, seed=1):
    return np.random.default_rng(seed).normal(size=(count, math.prod(dims)))


def map_of(images, dims, kernel, width, stride):
    """Cross-correlation, pixel by pixel; (n, rows, columns, F)."""
    channels, columns, rows = dims
    image = images.reshape(-1, rows, columns, channels)
    kernel = kernel.reshape(width, width, channels, -1)
    out_rows, out_columns = -(-rows // stride), -(-columns // stride)
    before = [
        max((n - 1) * stride + width - size, 0) // 2
        for n, size in ((out_rows, rows), (out_columns, columns))
    ]
    found = np.zeros((len(image), out_rows, out_columns, kernel.shape[3]))
    for i, j, k, m in np.ndindex(out_rows, out_columns, width, width):
        row, column = i * stride + k - before[0], j * stride + m - before[1]
        if 0 <= row < rows and 0 <= column < columns:
            found[:, i, j] += image[:, row, column] @ kernel[k, m]
    return found


def test_two_eyes_become_channels():
    layer = BinocularConvolution(1, input_dims=[1, 4, 1], filter_width=3)
    with_arrays(layer, weights=[0, 1, 0])
    assert layer.output_dims == [2, 2, 1]
    assert output(layer, [1, 2, 3, 4]).tolist() == [[1, 3, 2, 4]]


@pytest.mark.parametrize("stride", [1, 2])
def test_binocular_convolution_equals_the_loops(stride):
    dims = [2, 8, 6]
    layer = BinocularConvolution(
        3,
        input_dims=dims,
        filter_width=3,
        shift_spacing=stride,
        activation="softplus",
        num_inh=1,
        dtype="float64",
    )
    layer, (weights, biases) = with_random_arrays(layer)
    images = images_of(dims)
    found = softplus(map_of(images, dims, weights, 3, stride) + biases) * [1, 1, -1]
    left, right = np.split(found, 2, axis=2)
    expected = np.concatenate([left, right], axis=3)
    assert layer.output_dims == [6, expected.shape[2], expected.shape[1]]
    for inputs in (images, layer.precompute(images)):
        np.testing.assert_allclose(
            ops.convert_to_numpy(layer(inputs)), expected.reshape(3, -1), rtol=1e-12
        )


def test_two_eyes_need_an_even_number_of_columns():
    with pytest.raises(ValueError, match="10 pixels with shift_spacing 2 gives 5 columns.*even"):
        BinocularConvolution(1, input_dims=[1, 10, 4], filter_width=3, shift_spacing=2).prepare()


@pytest.mark.parametrize("code", [0, 1, 2, -1])
@pytest.mark.parametrize("positive", [None, 0, True, 2])
def test_separable_kernels_are_products(code, positive):
    dims = [2, 6, 5]
    layer = SeparableConvolution(
        4,
        input_dims=dims,
        filter_width=3,
        shift_spacing=2,
        normalize_weights=code,
        pos_constraint=positive,
        dtype="float64",
    )
    layer, (weights, biases) = with_random_arrays(layer)
    assert weights.shape == (2 + 9, 4)
    features, mask = weights[:2], weights[2:]
    if positive in (0, 2) and positive is not None:
        features = np.maximum(features, 0)
    if positive in (True, 2):
        mask = np.maximum(mask, 0)
    if code in (0, 2):
        features = features / np.maximum(np.linalg.norm(features, axis=0), 1e-6)
    if code in (1, 2):
        mask = mask / np.linalg.norm(mask, axis=0)
    kernel = np.einsum("cf,qf->qcf", features, mask)
    images = images_of(dims)
    expected = map_of(images, dims, kernel, 3, 2) + biases
    assert layer.output_dims == [4, 3, 3]
    np.testing.assert_allclose(output(layer, images), expected.reshape(3, -1), rtol=1e-9)
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer(layer.precompute(images))), output(layer, images), rtol=1e-9
    )


@pytest.mark.parametrize("name", ["l1", "l2", "d2x", "max_filt"])
def test_penalties_of_separable_kernels_are_those_of_the_readout(name):
    options = {"regularizers": {name: 0.5}, "dtype": "float64"}
    kernels = SeparableConvolution(3, input_dims=[4, 9, 9], filter_width=3, **options)
    readout = Separable(3, input_dims=[4, 3, 3], **options)
    kernels, (weights, _) = with_random_arrays(kernels)
    with_arrays(readout, weights=weights)
    values = [
        float(layer.penalties(layer.constrained(ops.convert_to_tensor(weights)))[name])
        for layer in (kernels, readout)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-12) and values[0] > 0


def test_penalties_that_a_separable_readout_refuses_are_refused():
    with pytest.raises(ValueError, match="a convsep layer does not take the regularizer 'max'"):
        SeparableConvolution(3, input_dims=[4, 9, 9], filter_width=3, regularizers={"max": 1})


def test_channels_are_mixed_after_the_nonlinearity():
    dims = [1, 5, 4]
    options = {"input_dims": dims, "filter_width": 3, "activation": "softplus", "dtype": "float64"}
    layer = MixedConvolution(3, num_inh=1, regularizers={"l1": 1}, **options)
    layer, (weights, biases, mix) = with_random_arrays(layer)
    images = images_of(dims)
    linear = map_of(images, dims, weights, 3, 1) + biases
    expected = (softplus(linear) @ mix * [1, 1, -1]).reshape(3, -1)
    np.testing.assert_allclose(output(layer, images), expected, rtol=1e-12)
    before = ops.convert_to_numpy(layer(images, pre_activation=True))
    np.testing.assert_allclose(before, linear.reshape(3, -1), rtol=1e-12)
    assert float(sum(layer.losses)) == pytest.approx(np.abs(weights).sum())


def test_the_mix_starts_as_a_convolution():
    options = {"input_dims": [2, 4, 4], "filter_width": 3, "activation": "relu", "seed": 5}
    layer, plain = MixedConvolution(3, **options), Convolution(3, **options)
    images = images_of([2, 4, 4])
    assert np.array_equal(output(layer, images), output(plain, images))
    assert np.abs(output(plain, images)).max() > 0
    assert np.array_equal(layer.arrays["mix"], np.eye(3))


PLACES = [[0, 0], [3, 2], [2, 0], [3, 2]]


@pytest.mark.parametrize("activation", ["lin", "softplus"])
@pytest.mark.parametrize(("stride", "width"), [(1, 3), (2, 4)])
def test_units_at_positions_are_entries_of_the_convolution(stride, width, activation):
    dims = [2, 7, 6]
    layer = ConvolutionAt(
        4,
        input_dims=dims,
        filter_width=width,
        shift_spacing=stride,
        xy_out=PLACES,
        activation=activation,
        normalize_weights=1,
        dtype="float64",
    )
    layer, (weights, biases) = with_random_arrays(layer)
    kernel = weights / np.linalg.norm(weights, axis=0)
    images = images_of(dims)
    maps = map_of(images, dims, kernel, width, stride) + biases
    expected = np.stack([maps[:, y, x, unit] for unit, (x, y) in enumerate(PLACES)], axis=1)
    if activation == "softplus":
        expected = softplus(expected)
    assert layer.output_dims == [4, 1, 1]
    np.testing.assert_allclose(output(layer, images), expected, rtol=1e-10)
    cut = layer.precompute(images)
    assert cut.shape == (3, 4, width**2 * 2)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(cut)), expected, rtol=1e-10)


def test_windows_that_are_too_large_are_cut_in_the_step(monkeypatch):
    monkeypatch.setattr("NDN3.layers.windows.LARGEST_WINDOWS_BYTES", 50)
    layer = ReadoutAt(2, input_dims=[3, 4, 4], xy_out=[[0, 1], [1, 0]])
    layer.build((None, 48))
    images = images_of([3, 4, 4])
    assert layer.precompute(images) is images


def test_channels_are_read_at_positions():
    dims = [3, 4, 5]
    places = [[3, 4], [0, 1]]
    layer = ReadoutAt(2, input_dims=dims, xy_out=places, num_inh=1, dtype="float64")
    layer, (weights, biases) = with_random_arrays(layer)
    images = images_of(dims)
    pixels = images.reshape(3, 5, 4, 3)
    first = pixels[:, 4, 3] @ weights[:, 0] + biases[0, 0]
    second = -(pixels[:, 1, 0] @ weights[:, 1] + biases[0, 1])
    expected = np.stack([first, second], axis=1)
    for inputs in (images, layer.precompute(images)):
        np.testing.assert_allclose(ops.convert_to_numpy(layer(inputs)), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "xy_out of a conv_xy layer is None; it must have one pair"),
        (5, "one pair of numbers"),
        ([[0, 0]], "for each of its 2 units"),
        ([[0, 0], [1]], "for each of its 2 units"),
        ([[0, 0], ["1", "2"]], "one pair of numbers"),
        ([[0, 0], [1, np.nan]], "one pair of numbers"),
        ([[0, 0], [4, 1]], r"has \[4, 1\]; columns are whole numbers from 0 to 3 here, rows .*2"),
        ([[0, 0], [1, -1]], r"has \[1, -1\]"),
        ([[0, 0], [1, 0.5]], "whole numbers"),
    ],
)
def test_positions_that_do_not_exist_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ConvolutionAt(2, input_dims=[1, 4, 3], filter_width=3, xy_out=given).prepare()


def layers_in_double_precision():
    windows = {"input_dims": [2, 4, 3], "filter_width": 3, "activation": "softplus"}
    windows |= {"dtype": "float64"}
    places = [[0, 0], [3, 2]]
    penalties = {"regularizers": {"l1": 0.1, "d2x": 0.1}}
    return {
        "biconv": BinocularConvolution(2, normalize_weights=1, **penalties, **windows),
        "convsep": SeparableConvolution(2, normalize_weights=2, **penalties, **windows),
        "convLNL": MixedConvolution(2, num_inh=1, **penalties, **windows),
        "conv_xy": ConvolutionAt(2, xy_out=places, **penalties, **windows),
        "conv_readout": ReadoutAt(
            2, input_dims=[2, 4, 3], xy_out=places, activation="softplus", dtype="float64"
        ),
    }


@pytest.mark.parametrize("name", layers_in_double_precision())
def test_gradients_equal_central_differences(name):
    layer, _ = with_random_arrays(layers_in_double_precision()[name], seed=4)
    found = disagreement(layer, images_of([2, 4, 3], 2))
    assert max(found.values()) < 1e-6, found


@pytest.mark.parametrize("name", layers_in_double_precision())
def test_layers_are_made_again_from_their_arguments(name):
    layer, _ = with_random_arrays(layers_in_double_precision()[name])
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    again = keras.saving.deserialize_keras_object(config)
    again.set_weights(layer.get_weights())
    images = images_of([2, 4, 3])
    assert np.array_equal(output(again, images), output(layer, images))


def test_descriptions_have_the_positions():
    description = ffnetwork_params(
        input_dims=[1, 8, 8],
        layer_sizes=[2, 3],
        layer_types=["conv", "conv_xy"],
        conv_filter_widths=[3, 3],
        act_funcs="softplus",
        verbose=False,
    )
    description["xy_out"] = [None, [[0, 0], [7, 7], [3, 5]]]
    model = NetworkModel(description)
    assert model.stack[1].xy_out == [[0, 0], [7, 7], [3, 5]]
    assert model(images_of([1, 8, 8]).astype("float32")).shape == (3, 3)
    description["xy_out"] = [[[0, 0], [7, 7]], [[0, 0], [7, 7], [3, 5]]]
    with pytest.raises(ValueError, match="layer 0 is 'conv', which has no xy_out"):
        NetworkModel(description)
    description["xy_out"] = None
    with pytest.raises(ValueError, match="layer 1.*xy_out of a conv_xy layer is None"):
        NetworkModel(description)
