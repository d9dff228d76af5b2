"""Penalties: hand-worked values, where they are reported, what is refused."""

import numpy as np
import pytest
from keras import ops

from NDN3 import laplacians, regularization
from NDN3.ffnetwork import FFNetworkModel
from NDN3.layers.dense import Normal
from NDN3.layers.separable import Separable
from NDN3.NDNutils import ffnetwork_params

WEIGHTS = np.array([(1, -2), (0.5, 1), (-1, 0), (2, 1), (3, -1), (0, 2)], "float32")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("l1", 7.25), ("l2", 6.5625), ("max", 109.75), ("max_filt", 12.25), ("d2x", 75.625)],
)
def test_penalties_of_a_dense_layer(name, expected):
    layer = Normal(2, input_dims=[2, 3, 1], regularizers={name: 0.5})
    layer.build((None, 6))
    layer.kernel.assign(WEIGHTS)
    assert float(layer.penalties(WEIGHTS)[name]) == pytest.approx(expected, rel=1e-6)
    layer(np.zeros((1, 6), "float32"))
    assert [float(loss) for loss in layer.losses] == [pytest.approx(expected, rel=1e-6)]


@pytest.mark.parametrize(
    ("name", "unit_features", "as_stored"),
    [("l1", 8.4, 14), ("l2", 6, 18), ("max_filt", 0.4608, 288)],
)
def test_penalties_of_a_separable_layer(name, unit_features, as_stored):
    for code, expected in ((0, unit_features), (-1, as_stored)):
        layer = Separable(2, input_dims=[2, 2, 1], regularizers={name: 1.0}, normalize_weights=code)
        layer.build((None, 4))
        layer.kernel.assign([(3, 1), (4, 0), (2, -1), (1, 2)])
        layer(np.zeros((1, 4), "float32"))
        assert float(layer.losses[0]) == pytest.approx(expected, rel=1e-5)


def test_smoothness_of_a_separable_layer_looks_at_the_mask():
    layer = Separable(2, input_dims=[2, 2, 1], regularizers={"d2x": 1.0})
    layer.build((None, 4))
    layer.kernel.assign([(3, 1), (4, 0), (2, -1), (1, 2)])
    layer(np.zeros((1, 4), "float32"))
    assert float(layer.losses[0]) == pytest.approx(50, rel=1e-6)


def test_smoothness_in_two_dimensions():
    columns = [(-2, 0, 2, -1, 1, -2, 0, 2, -1), (-1, 1, -2, 0, 2, -1, 1, -2, 0)]
    weights = np.array(columns, "float32").T
    layer = Normal(2, input_dims=[1, 3, 3], regularizers={"d2x": 0.1})
    layer.build((None, 9))
    assert float(layer.penalties(weights)["d2x"]) == pytest.approx(76.5, rel=1e-6)


def operator(dims):
    """Matrix of the Laplacian, column by column."""
    size = int(np.prod(dims))
    applied = laplacians.spatial(np.eye(size, dtype="float32"), dims)
    return ops.convert_to_numpy(applied).reshape(size, size)


def test_laplacians():
    assert operator([1, 3, 1]).tolist() == [[-2, 1, 0], [1, -2, 1], [0, 1, -2]]
    assert operator([1, 1, 3]).tolist() == [[-2, 1, 0], [1, -2, 1], [0, 1, -2]]
    assert operator([1, 2, 2]).tolist() == [
        [-4, 1, 1, 0],
        [1, -4, 0, 1],
        [1, 0, -4, 1],
        [0, 1, 1, -4],
    ]
    # two channels that alternate: the same for each, nothing between them
    assert np.array_equal(operator([2, 3, 4]), np.kron(operator([1, 3, 4]), np.eye(2)))


@pytest.mark.parametrize("name", ["max", "max_filt"])
def test_closed_forms_equal_the_sum_over_pairs(name):
    dims = [3, 4, 2]
    weights = np.random.default_rng(0).normal(size=(24, 5))
    total = 0.0
    for i in range(24):
        for j in range(24):
            if i != j and (name == "max" or i // 3 == j // 3):
                total += np.sum(weights[i] ** 2 * weights[j] ** 2)
    assert float(regularization.PENALTIES[name](weights, dims)) == pytest.approx(total, rel=1e-12)


def test_penalties_see_the_weights_in_use():
    layer = Normal(1, pos_constraint=True, normalize_weights=1, regularizers={"l1": 1.0})
    layer.build((None, 3))
    layer.kernel.assign([[3], [-7], [4]])
    layer(np.zeros((1, 3), "float32"))
    assert float(layer.losses[0]) == pytest.approx(7 / 5, rel=1e-6)


def test_a_strength_of_zero_is_reported_and_costs_nothing():
    layer = Normal(1, regularizers={"l1": 0.0})
    layer(np.zeros((1, 3), "float32"))
    assert layer.losses == []
    assert layer.penalties(ops.convert_to_tensor(layer.kernel)) == {"l1": 0.0}


def two_penalized_layers():
    """A network of two dense layers, and what a stateless call with ones hands out."""
    description = ffnetwork_params(
        input_dims=4,
        layer_sizes=[3, 2],
        layer_types=["normal", "normal"],
        reg_list={"l2": [0.5, 0.25]},
        verbose=False,
    )
    model = FFNetworkModel(description)
    trainable = [np.ones(variable.shape, "float32") for variable in model.trainable_variables]

    def losses():
        given = np.zeros((1, 4), "float32")
        found = model.stateless_call(trainable, [], given, training=True, return_losses=True)
        return [float(loss) for loss in found[2]]

    return model, losses


def test_a_stateless_call_hands_out_the_penalties():
    _, losses = two_penalized_layers()
    assert losses() == [0.5 * 12 / 2, 0.25 * 6 / 2]


class Addresses(set):
    """Addresses of the tensors of an earlier call, at which all new ones happen to lie."""

    outdated = True

    def __contains__(self, address):
        return self.outdated or super().__contains__(address)

    def clear(self):
        self.outdated = False
        super().clear()


def test_no_penalty_is_taken_for_one_of_an_earlier_call():
    model, losses = two_penalized_layers()
    vars(model.stack[1])["_loss_ids"] = Addresses()  # past Keras, which would copy it
    assert losses() == [0.5 * 12 / 2, 0.25 * 6 / 2]


@pytest.mark.parametrize(
    ("layer", "given", "sentence"),
    [
        (Normal, {"l3": 1.0}, "unknown regularizer 'l3'"),
        (Normal, {"l2": -1.0}, "cannot be negative"),
        (Normal, {"l2": float("nan")}, "cannot be negative"),
        (Normal, {"l2": [1.0]}, "one number"),
        (Normal, {"dropout": 0}, "probability to keep"),
        (Normal, {"dropout": 1.5}, "probability to keep"),
        (Separable, {"max": 1.0}, "does not take the regularizer 'max'"),
    ],
)
def test_what_does_not_fit_is_refused(layer, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        layer(2, regularizers=given)


@pytest.mark.parametrize(
    ("legacy", "expected"), [(True, [{"l2": 1.0}, {}]), (False, [{"l2": 1.0}] * 2)]
)
def test_a_bare_number_goes_to_every_layer_or_to_the_first(legacy, expected):
    description = ffnetwork_params(
        input_dims=4,
        layer_sizes=[3, 2],
        layer_types=["normal", "normal"],
        reg_list={"l2": 1.0},
        verbose=False,
    )
    model = FFNetworkModel(description, legacy=legacy)
    assert [layer.regularizers for layer in model.stack] == expected


def test_a_bare_number_passes_by_layers_that_do_not_take_it():
    description = ffnetwork_params(
        input_dims=[1, 5, 5],
        layer_sizes=[3, 2, 2],
        layer_types=["diff_of_gaussians", "normal", "normal"],
        reg_list={"l2": 1.0, "dropout": 0.5},
        verbose=False,
    )
    model = FFNetworkModel(description)
    both = {"l2": 1.0, "dropout": 0.5}
    assert [layer.regularizers for layer in model.stack] == [{}, both, both]
