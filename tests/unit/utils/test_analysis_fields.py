"""Filters and receptive fields of real NDN3 models, against NumPy and planted truth."""

import numpy as np
import pytest
from matplotlib import pyplot

from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params
from utils import analysis_fields

WIDTH, HEIGHT = 9, 7


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def build(layer_types, layer_sizes, act_funcs, **more):
    description = ffnetwork_params(
        input_dims=[1, WIDTH, HEIGHT],
        layer_types=layer_types,
        layer_sizes=layer_sizes,
        act_funcs=act_funcs,
        **more,
    )
    return NDN(description, tf_seed=3)


@pytest.fixture(scope="module")
def model():
    """Two difference-of-Gaussians filters, three hidden units, four neurons."""
    found = build(["diff_of_gaussians", "normal", "normal"], [2, 3, 4], ["lin", *["softplus"] * 2])
    rows = [[2, 3], [1, 2], [3, 6], [2, 4], [1, 2], [2, 3], [0, 0], [0, 0]]
    found.networks[0].layers[0].weights = np.array(rows, float)
    return found


def gaussian(amplitude, variance, x, y):
    column, row = np.arange(WIDTH)[None, :], np.arange(HEIGHT)[:, None]
    square = (column - x) ** 2 + (row - y) ** 2
    return amplitude / (2 * np.pi * variance) * np.exp(-square / (2 * variance))


def expected_kernels():
    first = gaussian(2, 1, 3, 2) - gaussian(1, 3, 3, 2)
    second = gaussian(3, 2, 6, 4) - gaussian(2, 5, 6, 4)
    return np.stack([first, second])


def test_difference_of_gaussians_kernels_and_centers(model):
    kernels, centers = analysis_fields.kernels(model)
    np.testing.assert_allclose(kernels, expected_kernels(), atol=1e-6)
    np.testing.assert_allclose(centers, [[3, 2], [6, 4]])


def test_a_center_outside_of_its_bounds_is_drawn_where_the_filter_is():
    found = build(["diff_of_gaussians", "normal"], [1, 2], ["lin", "lin"])
    weights = np.array([[1, 1, -5, 50, 0.1, 1, 0, 0]], float).T
    found.networks[0].layers[0].weights = weights
    kernels, centers = analysis_fields.kernels(found)
    row, column = np.unravel_index(np.argmax(kernels[0]), (HEIGHT, WIDTH))
    np.testing.assert_allclose(centers, [[column, row]])
    np.testing.assert_allclose(centers, [[2, HEIGHT - 2]])


def test_kernels_of_dense_and_convolutional_layers():
    dense = build(["normal", "normal"], [3, 2], ["lin", "lin"])
    kernels, centers = analysis_fields.kernels(dense)
    weights = dense.networks[0].layers[0].weights
    assert centers is None
    assert kernels[1, 2, 5] == pytest.approx(weights[2 * WIDTH + 5, 1])
    conv = build(["conv", "normal"], [2, 3], ["lin", "lin"], conv_filter_widths=[3])
    kernels, centers = analysis_fields.kernels(conv)
    assert kernels.shape == (2, 3, 3)
    assert kernels[1, 0, 2] == pytest.approx(conv.networks[0].layers[0].weights[2, 1])
    separable = build(["sep", "normal"], [2, 3], ["lin", "lin"])
    with pytest.raises(ValueError, match="of type sep"):
        analysis_fields.kernels(separable)


def softplus(x):
    return np.logaddexp(0, x)


def test_linear_fields_are_the_mean_gradient(model):
    images = np.random.default_rng(0).normal(size=(4, WIDTH * HEIGHT))
    first, hidden, last = model.networks[0].layers
    kernels = expected_kernels().reshape(2, -1)
    drive = (images @ kernels.T + first.biases) @ hidden.weights + hidden.biases
    out = softplus(drive) @ last.weights + last.biases
    slope_hidden, slope_out = (1 / (1 + np.exp(-x)) for x in (drive, out))
    gradient = np.einsum(
        "to,ho,th,fh,fp->op", slope_out, last.weights, slope_hidden, hidden.weights, kernels
    )
    found = analysis_fields.linear_fields(model, images)
    assert found.shape == (4, HEIGHT, WIDTH)
    expected = (gradient / 4).reshape(4, HEIGHT, WIDTH)
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


def test_linear_fields_of_a_linear_model_are_its_weights():
    linear = build(["normal"], [2], ["lin"])
    found = analysis_fields.linear_fields(linear, np.zeros(WIDTH * HEIGHT), step=1.0)
    weights = linear.networks[0].layers[0].weights
    np.testing.assert_allclose(found.reshape(2, -1).T, weights, atol=1e-6)


def test_similarity():
    field = np.arange(12.0).reshape(1, 3, 4)
    others = np.concatenate([3 * field + 1, -field, np.ones_like(field)])
    fields = np.repeat(field, 3, axis=0)
    np.testing.assert_allclose(analysis_fields.similarity(fields, others), [1, -1, 0], atol=1e-12)


def shown(ax):
    return np.asarray(ax.images[0].get_array())


def test_filters_are_drawn_with_a_symmetric_scale_and_centers(model):
    axes = analysis_fields.filters(model, columns=2)
    assert axes.shape == (2,)
    for ax, kernel, center in zip(axes, expected_kernels(), [(3, 2), (6, 4)], strict=True):
        np.testing.assert_allclose(shown(ax), kernel / np.abs(kernel).max(), atol=1e-5)
        assert ax.images[0].get_clim() == (-1, 1)
        np.testing.assert_allclose(ax.lines[0].get_xydata(), [center])
    assert axes[0].get_xlabel() == "column [pixel]"
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ["0", "8"]


def test_filters_in_several_rows(model):
    axes = analysis_fields.filters(model, columns=1)
    assert len(axes) == 2
    assert axes[1].get_xlabel() == "column [pixel]"


def test_receptive_fields_side_by_side():
    rng = np.random.default_rng(0)
    planted, found = rng.normal(size=(2, 3, 5, 5))
    found[2] = 0
    axes = analysis_fields.receptive_fields(
        {"planted": planted, "model": found}, titles=["a", "b", "c"]
    )
    assert axes.shape == (2, 3)
    assert [ax.get_title() for ax in axes[0]] == ["a", "b", "c"]
    assert [row[0].get_ylabel() for row in axes] == ["planted", "model\nrow [pixel]"]
    assert axes[1, 0].get_xlabel() == "column [pixel]"
    bar = axes[0, 0].figure.axes[-1]
    assert bar.get_ylabel() == "gradient, relative to\nthe field's largest"
    np.testing.assert_allclose(shown(axes[1, 1]), found[1] / np.abs(found[1]).max())
    assert not shown(axes[1, 2]).any()
    with pytest.raises(ValueError, match="'model': 2"):
        analysis_fields.receptive_fields({"planted": planted, "model": found[:2]})
    with pytest.raises(ValueError, match="nothing"):
        analysis_fields.receptive_fields({})
