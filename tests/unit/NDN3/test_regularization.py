"""Penalties: hand-worked values, where they are reported, what is refused."""

import numpy as np
import pytest
from keras import ops

from NDN3 import laplacians, regularization
from NDN3.layers.convolution import Convolution
from NDN3.layers.dense import LinearScale, Normal
from NDN3.layers.separable import Separable
from NDN3.NDNutils import ffnetwork_params
from NDN3.network_model import NetworkModel

WEIGHTS = np.array([(1, -2), (0.5, 1), (-1, 0), (2, 1), (3, -1), (0, 2)], "float32")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("l1", 7.25),
        ("l2", 6.5625),
        ("norm2", 294.03125),
        ("max", 109.75),
        ("max_filt", 12.25),
        ("max_space", 33),
        ("d2x", 75.625),
        ("d2t", 87.625),
        ("d2xt", 299.25),
        ("local", 33.6),
        ("glocal", 82.5),
        ("center", 0.10125),
        ("orth", 157.78125),
        # norms over the three pixels of features 0 and 1, both units
        ("group", 0.5 * (11**0.5 + 4.25**0.5 + 5**0.5 + 6**0.5)),
    ],
)
def test_penalties_of_a_dense_layer(name, expected):
    layer = Normal(2, input_dims=[2, 3, 1], regularizers={name: 0.5})
    layer.build((None, 6))
    layer.kernel.assign(WEIGHTS)
    assert float(layer.penalties(WEIGHTS)[name]) == pytest.approx(expected, rel=1e-6)
    layer(np.zeros((1, 6), "float32"))
    assert [float(loss) for loss in layer.losses] == [pytest.approx(expected, rel=1e-6)]


@pytest.mark.parametrize(
    ("name", "expected"),
    # in full weight, without the half, l2 is 29.625
    [("l1", 17.75), ("l2", 29.625 / 2), ("max", 238.75), ("d2x", 135.625)],
)
def test_one_strength_for_each_unit(name, expected):
    rows = regularization.Rows([2, 3, 1])
    for strengths in ([0.5, 2.0], np.array([0.5, 2.0]), (0.5, 2)):
        found = float(regularization.penalty(name, WEIGHTS, rows, strengths))
        assert found == pytest.approx(expected, rel=1e-6)
        layer = Normal(2, input_dims=[2, 3, 1], regularizers={name: strengths})
        layer.build((None, 6))
        assert float(layer.penalties(WEIGHTS)[name]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "unit_features", "as_stored"),
    [
        ("l1", 8.4, 14),
        ("l2", 6, 18),
        ("norm2", 100, 1156),
        ("norm2_filt", 0, 576),
        ("norm2_space", 64, 64),
        ("max_filt", 0.4608, 288),
        ("max_space", 16, 16),
        ("d2t", 6.16, 34),
        ("local", 12.8, 12.8),
        ("center", 0.025, 0.025),
        ("d2x", 50, 50),
        # each mask has the norm √5, the features the sums of absolute values 1.4 and 1, or 7 and 1
        ("group", 2.4 * 5**0.5, 8 * 5**0.5),
        # full weights: norms 5, scalar product 0 · .6, diagonal (5 - 1)²; or 125, 0, 5
        ("orth", 32, 124**2 + 16),
        # one level for each feature: .6² · .8² twice, and 0
        ("max_level", 0.4608, 288),
    ],
)
def test_penalties_of_a_separable_layer(name, unit_features, as_stored):
    for code, expected in ((0, unit_features), (-1, as_stored)):
        layer = Separable(
            2,
            input_dims=[2, 2, 1],
            regularizers={name: 1.0},
            normalize_weights=code,
            levels=[1, 1],
        )
        layer.build((None, 4))
        layer.kernel.assign([(3, 1), (4, 0), (2, -1), (1, 2)])
        layer(np.zeros((1, 4), "float32"))
        assert float(layer.losses[0]) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_smoothness_in_two_dimensions():
    columns = [(-2, 0, 2, -1, 1, -2, 0, 2, -1), (-1, 1, -2, 0, 2, -1, 1, -2, 0)]
    weights = np.array(columns, "float32").T
    layer = Normal(2, input_dims=[1, 3, 3], regularizers={"d2x": 0.1})
    layer.build((None, 9))
    assert float(layer.penalties(weights)["d2x"]) == pytest.approx(76.5, rel=1e-6)


def operator(dims, boundary="zero"):
    """Matrix of the Laplacian, column by column."""
    size = int(np.prod(dims))
    applied = laplacians.spatial(np.eye(size, dtype="float32"), dims, boundary)
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


def test_free_laplacians():
    free = operator([1, 4, 1], "free")
    assert free.tolist() == [[0] * 4, [1, -2, 1, 0], [0, 1, -2, 1], [0] * 4]
    plane = operator([1, 3, 3], "free").reshape(3, 3, 3, 3)
    assert not plane[0, 0].any()
    assert plane[0, 1].tolist() == [[1, -2, 1], [0] * 3, [0] * 3]
    assert plane[1, 1].tolist() == [[0, 1, 0], [1, -4, 1], [0, 1, 0]]


def test_weights_of_distances_from_the_middle():
    found = [
        float(regularization.penalty("center", row[:, None], regularization.Rows([1, 3, 3]), 1.0))
        for row in np.eye(9, dtype="float32")
    ]
    np.testing.assert_allclose(
        found, [0.02, 0.01, 0.02, 0.01, 0, 0.01, 0.02, 0.01, 0.02], rtol=1e-6
    )


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


def test_the_boundary_of_a_description_reaches_the_penalty():
    description = ffnetwork_params(
        input_dims=[2, 3, 1],
        layer_sizes=[2],
        layer_types=["normal"],
        reg_list={"d2x": [1.0]},
        verbose=False,
    )
    model = NetworkModel(description | {"reg_boundaries": ["free"]})
    assert float(model.stack[0].penalties(WEIGHTS)["d2x"]) == pytest.approx(58.25, rel=1e-6)


@pytest.mark.parametrize("lags", [1, 2])
def test_levels_of_a_side_network(lags):
    scaffold = {"input_dims": [1, 4, 1], "layer_sizes": [[2, 4, 1], [3, 4, 1]]}
    networks = [
        ffnetwork_params(layer_types=["normal", "normal"], verbose=False, **scaffold),
        ffnetwork_params(
            layer_sizes=[2],
            layer_types=["sep"],
            network_type="side",
            xstim_n=None,
            ffnet_n=0,
            time_expand=[lags if lags > 1 else None],
            normalization=[-1],
            reg_list={"max_level": [1.0]},
            verbose=False,
        ),
    ]
    readout = NetworkModel(networks).stack[-1]
    assert readout.levels == [2 * lags, 3 * lags]
    weights = np.ones((5 * lags + 4, 2), "float32")
    found = float(readout.penalties(weights)["max_level"])
    assert found == pytest.approx(2 * 2 * 2 * 3 * lags**2, rel=1e-6)


@pytest.mark.parametrize("name", ["norm2_filt", "norm2_space"])
def test_penalties_on_parts_cost_nothing_where_there_are_no_parts(name):
    with pytest.warns(UserWarning, match=f"{name} of a conv layer costs nothing") as warned:
        layer = Convolution(2, input_dims=[1, 4, 4], filter_width=3, regularizers={name: 3.0})
    assert len(warned) == 1
    layer(np.ones((1, 16), "float32"))
    assert layer.losses == []
    assert layer.penalties(ops.convert_to_tensor(layer.kernel)) == {name: 0.0}
    # warned once: copies and zeros say nothing
    assert Convolution.from_config(layer.get_config()).regularizers == {name: 0.0}
    with pytest.raises(ValueError, match="does not take the regularizer"):
        LinearScale(regularizers={name: 1.0})
    with pytest.raises(ValueError, match="cannot be negative"):
        Normal(1, regularizers={name: -1.0})


def test_activity_is_penalized_as_a_mean_over_rows():
    outputs = np.array([(1, -2), (3, 4), (np.nan, np.inf)], "float32")
    counted = np.array([1, 1, 0], "float32")

    def found(name, strength, outputs=outputs, row_weights=counted):
        return float(regularization.activity_penalty(name, outputs, strength, row_weights))

    assert found("activity_l1", 0.5) == 0.5 * (3 + 7) / 2
    assert found("activity_l1", [1.0, 2.0]) == (1 + 3) / 2 + 2 * (2 + 4) / 2
    assert found("activity_l2", 0.5) == 0.25 * (5 + 25) / 2
    assert found("activity_l2", 0.5, outputs[:2], None) == 0.25 * (5 + 25) / 2
    assert found("activity_l1", 1.0, row_weights=np.zeros(3, "float32")) == 0
    # [rows, positions, units]: a sum over positions
    images = np.repeat(outputs[:2, None], 3, axis=1)
    assert found("activity_l1", [1.0, 2.0], images, None) == 3 * (2 + 2 * 3)


def test_activity_of_a_layer_counts_after_its_activation():
    layer = Normal(
        2, activation="relu", num_inh=1, regularizers={"activity_l1": [1.0, 3.0], "l1": 0.0}
    )
    layer.build((None, 2))
    layer.kernel.assign(np.eye(2))
    inputs = np.array([(1, 2), (-3, 4)], "float32")
    layer(inputs)
    assert [float(loss) for loss in layer.losses] == [(1 + 0) / 2 + 3 * (2 + 4) / 2]
    layer(inputs, pre_activation=True)
    assert layer.losses == []


def test_activity_needs_to_know_which_rows_only_fill_up_a_batch():
    for name, needed in (("activity_l2", True), ("l2", False)):
        description = ffnetwork_params(4, [2], ["normal"], reg_list={name: [0.1]}, verbose=False)
        assert NetworkModel(description).uses_row_weights == needed


def two_penalized_layers():
    """A network of two dense layers, and what a stateless call with ones hands out."""
    description = ffnetwork_params(
        input_dims=4,
        layer_sizes=[3, 2],
        layer_types=["normal", "normal"],
        reg_list={"l2": [0.5, 0.25]},
        verbose=False,
    )
    model = NetworkModel(description)
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
        (Normal, {"l2": [[1.0]]}, "one number"),
        (Normal, {"dropout": 0}, "probability to keep"),
        (Normal, {"dropout": 1.5}, "probability to keep"),
        (Separable, {"max": 1.0}, "does not take the regularizer 'max'"),
        (Separable, {"glocal": 1.0}, "does not take the regularizer 'glocal'"),
        (Separable, {"d2xt": 1.0}, "does not take the regularizer 'd2xt'"),
        (Normal, {"orth": [1.0, 1.0]}, "orth of a normal layer is .* one number"),
        (Normal, {"l1": [1.0, -1.0]}, "cannot be negative"),
    ],
)
def test_what_does_not_fit_is_refused(layer, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        layer(2, regularizers=given)


@pytest.mark.parametrize(
    ("name", "dims", "options", "sentence"),
    [
        ("d2x", [5, 1, 1], {}, "smooths over pixels, and its filters have one pixel"),
        ("d2xt", [5, 1, 1], {}, "smooths over pixels, and its filters have one pixel"),
        ("d2t", [1, 5, 1], {}, "smooths over lags, and its filters have one lag"),
        ("d2x", [5, 2, 2], {"boundary": "free"}, "with free ends, .* less than 3 pixels a row"),
        ("d2t", [2, 5, 1], {"boundary": "free"}, "with free ends, .* less than 3 lags a row"),
        ("max_level", [5, 1, 1], {}, "network of type 'side'"),
        ("max_level", [5, 1, 1], {"levels": [2, 2]}, "4 channels together; its filters have 5"),
        ("l1", [5, 1, 1], {"strength": [1.0] * 3}, "3 strengths, and there are 2 units"),
        ("activity_l1", [5, 1, 1], {"strength": [1.0] * 3}, "3 strengths, and there are 2 units"),
    ],
)
def test_filters_that_a_penalty_cannot_use_are_refused(name, dims, options, sentence):
    options = dict(options)
    layer = Normal(2, input_dims=dims, regularizers={name: options.pop("strength", 1.0)}, **options)
    with pytest.raises(ValueError, match=sentence):
        layer.build((None, int(np.prod(dims))))


def test_a_bare_number_passes_by_layers_that_do_not_take_it():
    description = ffnetwork_params(
        input_dims=[1, 5, 5],
        layer_sizes=[3, 2, 2],
        layer_types=["diff_of_gaussians", "normal", "normal"],
        reg_list={"l2": 1.0, "dropout": 0.5},
        verbose=False,
    )
    model = NetworkModel(description)
    both = {"l2": 1.0, "dropout": 0.5}
    assert [layer.regularizers for layer in model.stack] == [{}, both, both]
