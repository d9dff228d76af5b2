"""Arrays that plots show, against loops and planted values; responses to single pixels."""

import numpy as np
import plotted_models
import pytest
from plotted_models import model_of

from NDN3 import filter_views
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params
from NDN3.pixel_mapping import sparse_mapping


@pytest.fixture(scope="module")
def dog_model():
    return plotted_models.dog_model()


@pytest.fixture(scope="module")
def readout_model():
    return plotted_models.readout_model()


@pytest.fixture(scope="module")
def side_model():
    return plotted_models.side_model()


def random_filters(*shape):
    return np.random.default_rng(0).normal(size=shape)


def test_arrays_of_all_shapes_are_the_same_filters():
    filters = random_filters(4, 3, 2, 5)
    flat = np.empty((24, 5))
    for c in range(2):
        for w in range(3):
            for h in range(4):
                flat[c + 2 * (w + 3 * h)] = filters[h, w, c]
    np.testing.assert_array_equal(filter_views.shaped_filters(flat, [2, 3, 4]), filters)
    np.testing.assert_array_equal(filter_views.shaped_filters(filters), filters)
    np.testing.assert_array_equal(filter_views.shaped_filters(filters[0])[0], filters[0])


def test_filters_of_gaussians_are_sampled(dog_model):
    found = filter_views.shaped_filters(dog_model)
    a1, v1, x, y, a2, v2 = dog_model.networks[0].layers[0].weights[:6, 1]
    row, column = 2, 4
    distance = (column - x) ** 2 + (row - y) ** 2
    inner = a1 / (2 * np.pi * v1) * np.exp(-distance / (2 * v1))
    outer = a2 / (2 * np.pi * (v1 + v2)) * np.exp(-distance / (2 * (v1 + v2)))
    assert found.shape == (6, 7, 1, 5)
    np.testing.assert_allclose(found[row, column, 0, 1], inner - outer, rtol=1e-5)


def test_filters_of_separable_layers_are_multiplied_out(readout_model):
    layer = readout_model.networks[0].layers[1]
    found = filter_views.shaped_filters(readout_model, layer_target=1)
    features, mask = layer.weights[:4], layer.weights[4:]
    features = features / np.linalg.norm(features, axis=0)
    expected = features[2, 1] * mask[3 + 8 * 4, 1]
    np.testing.assert_allclose(found[4, 3, 2, 1], expected, rtol=1e-5)
    parts = filter_views.separable_parts(layer)
    np.testing.assert_allclose(parts[0], features, rtol=1e-5)
    np.testing.assert_allclose(parts[1][4, 3], mask[3 + 8 * 4], rtol=1e-6)


def test_filters_are_those_that_the_layer_computes_with():
    model = model_of(
        {
            "input_dims": [1, 3, 2],
            "layer_sizes": [2],
            "layer_types": ["normal"],
            "normalization": 1,
        }
    )
    model.networks[0].layers[0].weights = 5 * random_filters(6, 2)
    found = filter_views.shaped_filters(model.networks[0].layers[0])
    np.testing.assert_allclose(np.sum(found**2, axis=(0, 1, 2)), 1, rtol=1e-5)


def test_best_lags_of_planted_filters():
    filters = np.zeros((3, 4, 5, 2))
    filters[1, 2, 3, 0], filters[2, 0, 3, 0] = 2.0, -1.5
    filters[0, 1, 1, 1], filters[2, 3, 1, 1] = 1.0, -4.0
    filters[0, 0, 2, 1] = 3.9
    best = filter_views.best_lags(filters)
    np.testing.assert_array_equal(best.lags, [3, 1])
    np.testing.assert_array_equal(best.positive, [[2, 1], [1, 0]])
    np.testing.assert_array_equal(best.negative, [[0, 2], [3, 2]])


def test_side_weights_are_those_of_each_level(side_model):
    weights = side_model.networks[1].layers[0].weights
    first, second = filter_views.side_weights(side_model)
    assert first.shape == (4, 5, 3, 6)
    assert second.shape == (4, 5, 2, 6)
    for h, w, unit in ((0, 0, 0), (3, 2, 5)):
        rows = 5 * (w + 5 * h) + np.arange(5)
        np.testing.assert_array_equal(first[h, w, :, unit], weights[rows[:3], unit])
        np.testing.assert_array_equal(second[h, w, :, unit], weights[rows[3:], unit])


def test_side_weights_of_flat_levels():
    model = model_of(
        {
            "input_dims": [1, 4, 3],
            "layer_sizes": [2, 3],
            "layer_types": ["conv", "normal"],
            "conv_filter_widths": [3, None],
        },
        {
            "network_type": "side",
            "xstim_n": None,
            "ffnet_n": 0,
            "layer_sizes": [2],
            "layer_types": ["normal"],
        },
    )
    weights = model.networks[1].layers[0].weights
    first, second = filter_views.side_weights(model)
    assert first.shape == (3, 4, 2, 2)
    np.testing.assert_array_equal(first[2, 1, 1], weights[1 + 2 * (1 + 4 * 2)])
    np.testing.assert_array_equal(second, weights[24:].reshape(1, 1, 3, 2))


def test_sparse_mapping_of_a_linear_model_gives_its_weights():
    model = model_of(
        {
            "input_dims": [2, 4, 3],
            "layer_sizes": [3],
            "layer_types": ["normal"],
            "act_funcs": "lin",
        },
        noise_dist="gaussian",
    )
    layer = model.networks[0].layers[0]
    layer.weights, layer.biases = random_filters(24, 3), [[0.5, -1.0, 0.0]]
    mapping = sparse_mapping(model, size=0.5, background=0.25)
    filters = layer.weights.reshape(3, 4, 2, 3)
    baseline = 0.25 * layer.weights.sum(axis=0) + layer.biases[0]
    np.testing.assert_allclose(mapping.baseline, baseline, rtol=1e-5)
    np.testing.assert_allclose(mapping.on - mapping.baseline, 0.5 * filters, atol=1e-5)
    np.testing.assert_allclose(mapping.off - mapping.baseline, -0.5 * filters, atol=1e-5)


def test_sparse_mapping_of_one_of_two_inputs_in_parts(monkeypatch):
    model = model_of(
        {
            "xstim_n": [0, 1],
            "layer_sizes": [2],
            "layer_types": ["normal"],
            "act_funcs": "relu",
        },
        input_dim_list=[[3, 1, 1], [7, 1, 1]],
    )
    weights = random_filters(10, 2)
    model.networks[0].layers[0].weights = weights
    monkeypatch.setattr("NDN3.pixel_mapping.PIXELS_PER_CALL", 3)
    mapping = sparse_mapping(model, stream=1)
    np.testing.assert_allclose(mapping.on[0, 0], np.maximum(weights[3:], 0), rtol=1e-6)
    np.testing.assert_allclose(mapping.off[0, 0], np.maximum(-weights[3:], 0), rtol=1e-6)
    before = sparse_mapping(model, stream=1, pre_activation=True)
    np.testing.assert_allclose(before.off[0, 0], -weights[3:], rtol=1e-6)


def test_filters_of_temporal_layers_are_over_lags():
    description = ffnetwork_params([6, 1, 1], [2], ["temporal"], verbose=False)
    basis = np.array([[1.0, 0], [0.5, 0.5], [0, 1.0]])
    for own, lags in (
        ({"conv_filter_widths": [4]}, 4),
        ({"temporal_basis": [basis.tolist()]}, 3),
    ):
        layer = NDN(description | own).networks[0].layers[0]
        found = filter_views.shaped_filters(layer)
        expected = basis @ layer.weights if lags == 3 else layer.weights
        np.testing.assert_allclose(found[0, 0], expected, rtol=1e-6)
        assert found.shape == (1, 1, lags, 2)


def test_single_pixels_are_not_for_models_along_time():
    model = model_of(
        {"input_dims": [1, 3, 1], "layer_sizes": [2], "layer_types": ["normal"]}
        | {"time_expand": [3]}
    )
    with pytest.raises(ValueError, match="2 rows before"):
        sparse_mapping(model)
