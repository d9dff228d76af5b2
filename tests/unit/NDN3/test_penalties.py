"""Penalties against dense matrices and sums over all pairs in NumPy, and their gradients."""

from functools import partial

import numpy as np
import pytest
from keras import ops

from NDN3 import backend, regularization
from NDN3.layers.dense import Normal
from NDN3.layers.separable import Separable

WHOLE = sorted(regularization.GENERAL)
DIMS = [3, 4, 2]
LEVELS = [1, 2]


def second_difference(size, boundary):
    """Matrix of (1, -2, 1)."""
    matrix = np.diag(np.full(size, -2.0)) + np.eye(size, k=1) + np.eye(size, k=-1)
    if size == 1:
        matrix[:] = 0
    elif boundary == "free":
        matrix[[0, -1]] = 0
    return matrix


def laplacian(dims, axes, boundary):
    """Matrix on rows c + C * (w + W * h); axes are among "cwh"."""
    size = np.prod(dims)
    total = np.zeros((size, size))
    for axis in axes:
        factors = [
            second_difference(extent, boundary) if axis == name else np.eye(extent)
            for name, extent in zip("cwh", dims, strict=True)
        ]
        total += np.kron(factors[2], np.kron(factors[1], factors[0]))
    return total


def places(dims):
    """Channel and pixel (column, row) of each row."""
    channels, width, height = dims
    index = np.arange(channels * width * height)
    pixel = index // channels
    return index % channels, np.stack([pixel % width, pixel // width], axis=1).astype(float)


def between_pairs(weights, matrix):
    """Sum over all ordered pairs of rows of both squares times an entry of a matrix."""
    squares = weights**2
    return np.einsum("in,ij,jn->n", squares, matrix, squares)


def expected(name, weights, dims=DIMS, boundary="zero", levels=LEVELS):
    """Value of each column, or a number."""
    channel, pixel = places(dims)
    same_channel = channel[:, None] == channel
    same_pixel = np.all(pixel[:, None] == pixel, axis=2)
    others = ~np.eye(len(channel), dtype=bool)
    distances = np.sum((pixel[:, None] - pixel) ** 2, axis=2)
    distances /= (dims[1] / 2) ** 2 + (dims[2] / 2) ** 2
    smoothed = {"d2x": "wh", "d2t": "c", "d2xt": "cwh"}
    if name in smoothed:
        return np.sum((laplacian(dims, smoothed[name], boundary) @ weights) ** 2, axis=0)
    if name == "l1":
        return np.abs(weights).sum(0)
    if name == "l2":
        return (weights**2).sum(0) / 2
    if name == "norm2":
        return ((weights**2).sum() - weights.shape[1]) ** 2
    if name == "orth":
        return np.linalg.norm(weights.T @ weights - np.eye(weights.shape[1])) ** 2
    if name == "group":
        return sum(np.linalg.norm(weights[channel == c], axis=0) for c in range(dims[0]))
    if name == "center":
        middle = (np.array(dims[1:]) - 1) / 2
        return 0.01 * np.sum((pixel - middle) ** 2, axis=1) @ weights**2
    if name == "max_level":
        of = np.repeat(np.arange(len(levels)), levels)[channel]
        return between_pairs(weights, of[:, None] != of)
    pairs = {
        "max": others,
        "max_filt": others & same_pixel,
        "max_space": others & same_channel,
        "local": same_channel * distances,
        "glocal": distances,
    }
    return between_pairs(weights, pairs[name])


def value(name, weights, strength=1.0, dims=DIMS, boundary="zero"):
    rows = regularization.Rows(dims, boundary, LEVELS)
    return regularization.penalty(name, weights, rows, strength)


@pytest.fixture(name="weights")
def drawn():
    return np.random.default_rng(0).normal(size=(24, 5))


@pytest.mark.parametrize("name", WHOLE)
def test_values_of_small_cases(name, weights):
    found = float(value(name, weights))
    assert found == pytest.approx(np.sum(expected(name, weights)), rel=1e-12)


@pytest.mark.parametrize("boundary", ["zero", "free"])
@pytest.mark.parametrize("dims", [[3, 4, 2], [1, 6, 4], [2, 1, 12], [4, 6, 1], [24, 1, 1]])
@pytest.mark.parametrize("name", ["d2x", "d2t", "d2xt"])
def test_laplacians_equal_matrices(name, dims, boundary, weights):
    wanted = np.sum(expected(name, weights, dims, boundary))
    assert float(value(name, weights, 1.0, dims, boundary)) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("name", ["d2x", "d2t", "d2xt"])
def test_free_ends_cost_nothing_for_linear_filters(name):
    dims = [5, 4, 3]
    channel, pixel = places(dims)
    ramp = (2.0 + channel - 3 * pixel[:, 0] + 0.5 * pixel[:, 1])[:, None]
    assert float(value(name, ramp, 1.0, dims, "free")) == pytest.approx(0, abs=1e-20)
    assert float(value(name, ramp, 1.0, dims, "zero")) > 100


@pytest.mark.parametrize("name", sorted(set(WHOLE) - set(regularization.UNDIVIDED)))
def test_a_strength_for_each_unit_equals_single_columns(name, weights):
    strengths = [0.0, 0.5, 1.0, 2.0, 0.1]
    columns = [
        strength * float(value(name, weights[:, [unit]])) for unit, strength in enumerate(strengths)
    ]
    assert float(value(name, weights, strengths)) == pytest.approx(sum(columns), rel=1e-12)


def gradient(function, weights):
    _, (found,) = backend.value_and_gradients(
        lambda given: (function(given[0]), ()), [ops.convert_to_tensor(weights)]
    )
    return ops.convert_to_numpy(found)


def differences(function, weights, step=1e-4):
    """Central differences of fourth order."""
    found = np.zeros_like(weights)
    for place in np.ndindex(weights.shape):
        around = []
        for steps in (-2, -1, 1, 2):
            moved = weights.copy()
            moved[place] += steps * step
            around.append(function(moved))
        found[place] = (around[0] - 8 * around[1] + 8 * around[2] - around[3]) / (12 * step)
    return found


@pytest.mark.parametrize(
    ("name", "boundary"),
    [*((name, "zero") for name in WHOLE), *((name, "free") for name in ("d2x", "d2t", "d2xt"))],
)
def test_gradients_equal_central_differences(name, boundary, weights):
    weights = weights[:, :2]
    # of the independent values, which are those of the penalty
    slope = differences(lambda w: np.sum(expected(name, w, boundary=boundary)), weights)
    found = gradient(lambda w: value(name, w, boundary=boundary), weights)
    np.testing.assert_allclose(found, slope, atol=1e-7 * np.abs(slope).max(), rtol=1e-6)


def of_separable(name, weights):
    """Penalty on features of unit norm, the mask, their product, or one behind the other."""
    features, mask = np.split(weights, [3])
    features = features / np.linalg.norm(features, axis=0)
    product = np.concatenate([features * pixel for pixel in mask])
    masked = [1, *DIMS[1:]]
    if name in ("norm2", "norm2_filt", "norm2_space"):
        parts = [
            part for part, other in ((features, "_space"), (mask, "_filt")) if other not in name
        ]
        return expected("norm2", np.concatenate(parts), [sum(map(len, parts)), 1, 1])
    if name in ("l1", "l2"):
        return expected(name, np.concatenate([features, mask]), [11, 1, 1])
    if name in ("group", "orth"):
        return expected(name, product)
    if name in ("max_filt", "d2t", "max_level"):
        return expected(name, features, [3, 1, 1])
    return expected(name, mask, masked)


@pytest.mark.parametrize("name", Separable.penalty_names)
def test_parts_of_a_separable_layer(name, weights):
    options = {"input_dims": DIMS, "normalize_weights": 0, "levels": LEVELS, "dtype": "float64"}
    layer = Separable(2, regularizers={name: 0.3}, **options)

    def found(given):
        return layer.penalties(layer.constrained(given))[name]

    weights = weights[:11, :2]
    wanted = 0.3 * np.sum(of_separable(name, weights))
    assert float(found(ops.convert_to_tensor(weights))) == pytest.approx(wanted, rel=1e-12)
    slope = differences(lambda w: 0.3 * np.sum(of_separable(name, w)), weights)
    scale = max(np.abs(slope).max(), 1e-3)  # of norm2_filt it is zero
    np.testing.assert_allclose(gradient(found, weights), slope, atol=1e-6 * scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", WHOLE)
def test_empty_filters_have_a_finite_gradient(name, dtype):
    weights = np.zeros((24, 2), dtype)
    weights[:, 1] = np.random.default_rng(1).normal(size=24)
    found = gradient(lambda w: value(name, w), weights)
    assert found.dtype == dtype
    assert np.isfinite(found).all()
    assert not found[:, 0].any()
    assert found[:, 1].any()


def test_group_sparsity_pushes_with_the_same_force_however_small_a_channel_is():
    for size in (1.0, 1e-6, 1e-18):
        weights = np.zeros((24, 1), "float32")
        weights[1::3, 0] = size
        found = gradient(lambda w: value("group", w), weights)
        assert np.linalg.norm(found) == pytest.approx(1, rel=1e-5)


def test_a_filter_in_one_place_costs_exactly_nothing():
    for name, row in (("local", 23), ("glocal", 23), ("max", 5)):
        weights = np.zeros((24, 3), "float32")
        weights[row] = (1e-3, 1.7, 1e3)
        assert float(value(name, weights)) == 0


@pytest.mark.parametrize("name", ["local", "glocal"])
def test_moments_lose_no_digits_far_from_the_middle(name):
    """Two neighbouring pixels in a corner of a large filter, in single precision."""
    dims = [1, 64, 64]
    weights = np.zeros((64 * 64, 1), "float32")
    weights[-2:] = 1
    wanted = 2.0 / (32**2 + 32**2)
    assert float(value(name, weights, 1.0, dims)) == pytest.approx(wanted, rel=1e-5)


def test_mapped_equals_one_by_one():
    members = np.random.default_rng(2).normal(size=(3, 24, 5)).astype("float32")
    strengths = np.array([0.5, 1.0, 2.0], "float32")

    boundaries = {name: "free" if name.startswith("d2") else "zero" for name in WHOLE}

    def one(weights, strength):
        def cost(given, name, boundary):
            return value(name, given[0], strength, boundary=boundary), ()

        return {
            (name, boundary): backend.value_and_gradients(
                partial(cost, name=name, boundary=boundary), [weights]
            )
            for name in WHOLE
            for boundary in {"zero", boundaries[name]}
        }

    mapped = backend.compiled_for_any_shape(lambda *each: backend.map_members(one, each))
    together = mapped(*map(ops.convert_to_tensor, (members, strengths)))
    for member in range(3):
        alone = one(*(ops.convert_to_tensor(each[member]) for each in (members, strengths)))
        for each in alone:
            (values, _), (gradients,) = together[each]
            (wanted, _), (slope,) = alone[each]
            np.testing.assert_allclose(values[member], wanted, rtol=1e-5)
            scale = np.abs(np.asarray(slope)).max()
            np.testing.assert_allclose(gradients[member], slope, atol=1e-5 * scale)


def test_a_layer_in_double_precision(weights):
    layer = Normal(
        5, input_dims=DIMS, regularizers=dict.fromkeys(WHOLE, 0.3), levels=LEVELS, dtype="float64"
    )
    layer.build((None, 24))
    layer.kernel.assign(weights)
    found = layer.penalties(ops.convert_to_tensor(layer.kernel))
    for name in WHOLE:
        wanted = 0.3 * np.sum(expected(name, weights))
        assert float(found[name]) == pytest.approx(wanted, rel=1e-12)
