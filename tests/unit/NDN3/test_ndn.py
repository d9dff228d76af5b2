"""Class NDN: arrays, siblings, predictions, evaluation, regularization, refusals."""

import numpy as np
import pytest

from NDN3 import trained_parts
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params
from NDN3.network_model import NetworkModel

SOURCE = np.random.default_rng(0)
IMAGES = SOURCE.normal(size=(12, 16)).astype("float32")
RESPONSES = SOURCE.poisson(1.0, (12, 3)).astype("float32")


def description(**options):
    return ffnetwork_params(
        **{
            "input_dims": [1, 4, 4],
            "layer_sizes": [2, 3],
            "layer_types": ["normal", "normal"],
            "act_funcs": ["relu", "softplus"],
            "reg_list": {"l2": [0.5, 0.0], "l1": [None, 0.1]},
            "verbose": False,
            **options,
        }
    )


@pytest.fixture
def model():
    return NDN([description()], tf_seed=1)


def forward(model, images):
    """Compute the two-layer network in NumPy."""
    hidden, out = model.networks[0].layers
    first = np.maximum(images @ hidden.weights + hidden.biases, 0)
    return np.log1p(np.exp(first @ out.weights + out.biases))


def test_predictions_follow_the_arrays(model):
    np.testing.assert_allclose(model.generate_prediction(IMAGES), forward(model, IMAGES), rtol=1e-5)
    layers = model.networks[0].layers
    layers[1].biases = np.array([[1, 2, 3]])
    layers[0].weights[:, 0] = 0.25
    assert layers[1].biases.dtype == np.float32
    predictions = model.generate_prediction(IMAGES)
    np.testing.assert_allclose(predictions, forward(model, IMAGES), rtol=1e-5)
    np.testing.assert_allclose(model.get_weights(0)[:, 0], 0.25)


def test_predictions_of_layers_and_rows(model):
    hidden = model.networks[0].layers[0]
    before = IMAGES @ hidden.weights + hidden.biases
    found = model.generate_prediction(IMAGES, layer_target=0, pre_activation=True)
    np.testing.assert_allclose(found, before, atol=1e-6)
    found = model.generate_prediction(IMAGES, data_indxs=[3, 1], layer_target=-2)
    np.testing.assert_allclose(found, np.maximum(before, 0)[[3, 1]], atol=1e-6)


def test_many_rows_are_predicted_in_parts(model, monkeypatch):
    whole = model.generate_prediction(IMAGES)
    monkeypatch.setattr("NDN3.NDN.ROWS_PER_CALL", 5)
    np.testing.assert_allclose(model.generate_prediction(IMAGES), whole, rtol=1e-6)
    assert model.generate_prediction(IMAGES[:0]).shape == (0, 3)


def test_arrays_of_a_wrong_shape_are_refused(model):
    layer = model.networks[0].layers[0]
    with pytest.raises(ValueError, match=r"have shape \(16, 2\), got \(2, 16\)"):
        layer.weights = np.zeros((2, 16))
    given = np.zeros((16, 2))
    layer.weights = given
    given[:] = 7
    assert not layer.weights.any()


def test_layers_tell_what_they_are():
    model = NDN(
        description(
            layer_sizes=[4, 2, 3],
            layer_types=["conv", "sep", "normal"],
            conv_filter_widths=[3],
            shift_spacing=[2],
            act_funcs="relu",
            reg_list={"d2x": [0.5], "l1": [None, 0.1]},
        )
    )
    network = model.networks[0]
    conv, sep, _ = network.layers
    assert network.num_layers == 3
    assert str(network) == "[1, 4, 4] > conv 4 > sep 2 > normal 3"
    assert repr(model) == f"NDN({network}; poisson)"
    assert network.input_dims == [1, 4, 4]
    assert (conv.filter_dims, conv.output_dims, conv.num_filters) == ([1, 3, 3], [4, 2, 2], 4)
    assert conv.reg == {"d2x": 0.5}
    assert sep.input_dims == [4, 2, 2]
    assert model.get_weights(0, reshape=True).shape == (3, 3, 1, 4)
    assert model.get_weights(0, w_range=[1, 3]).shape == (9, 2)
    with pytest.raises(ValueError, match="only whole filters can be reshaped"):
        model.get_weights(1, reshape=True)


def test_reshaped_filters_have_their_pixels_in_place(model):
    filters = model.get_weights(0, reshape=True)
    assert filters.shape == (4, 4, 1, 2)
    # index w + W h: column 3 of row 1 is number 7
    assert filters[1, 3, 0, 1] == model.get_weights(0)[7, 1]


def test_the_keras_model_can_be_made_again_from_its_configuration(model):
    keras_model = model.keras_model
    again = NetworkModel.from_config(keras_model.get_config())
    np.testing.assert_array_equal(again(IMAGES), keras_model(IMAGES))
    assert again.descriptions == keras_model.descriptions


def test_double_precision_reaches_every_layer():
    keras_model = NetworkModel(description(reg_list={"dropout": [0.5]}), dtype="float64")
    assert {v.dtype for v in keras_model.trainable_variables} == {"float64"}
    outputs, _ = keras_model.stateless_call(
        keras_model.trainable_variables,
        keras_model.non_trainable_variables,
        IMAGES.astype("float64"),
        training=True,
    )
    layer = keras_model.stack[0]
    kept = np.maximum(IMAGES.astype("float64") @ layer.kernel.numpy() + layer.bias.numpy(), 0) * 2
    assert outputs.dtype == "float64"
    # each hidden unit is kept with twice its value or dropped, in full precision
    choices = []
    for mask in ((0, 0), (0, 1), (1, 0), (1, 1)):
        before = (kept * mask) @ keras_model.stack[1].kernel.numpy()
        choices.append(np.log1p(np.exp(before + keras_model.stack[1].bias.numpy())))
    assert min(np.abs(outputs - choice).max() for choice in choices) < 1e-12


def test_siblings_share_a_keras_model_and_no_arrays():
    first, second, again = NDN.for_seeds(description(), seeds=[0, 1, 0])
    assert first.keras_model is second.keras_model
    np.testing.assert_array_equal(first.get_weights(1), again.get_weights(1))
    alone = NDN(description(), tf_seed=1)
    np.testing.assert_array_equal(second.get_weights(1), alone.get_weights(1))
    first.networks[0].layers[0].weights[:] = 0
    assert again.get_weights(0).any()
    assert NDN.for_seeds(description(), seeds=[]) == []


def test_evaluation_in_both_directions(model):
    predictions = model.generate_prediction(IMAGES).astype(float)
    expected = np.sum(predictions - RESPONSES * np.log(predictions + 1e-6), axis=0)
    expected /= np.sum(RESPONSES, axis=0)
    np.testing.assert_allclose(model.eval_models(IMAGES, RESPONSES), expected, rtol=1e-6)
    rows = [0, 5, 7]
    some = model.eval_models(IMAGES, RESPONSES, data_indxs=rows, nulladjusted=True)
    np.testing.assert_allclose(
        some,
        model.eval_preds(predictions[rows], RESPONSES, data_indxs=rows, nulladjusted=True),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        some, model.eval_models(IMAGES[rows], RESPONSES[rows], nulladjusted=True), rtol=1e-6
    )


def test_evaluation_ignores_what_is_masked(model):
    mask = np.ones_like(RESPONSES)
    mask[4:, 0] = 0
    mask[:, 2] = 0
    other = np.where(mask > 0, RESPONSES, 1e6)
    for adjusted in (False, True):
        values = [
            model.eval_models(IMAGES, y, data_filters=mask, nulladjusted=adjusted)
            for y in (RESPONSES, other)
        ]
        np.testing.assert_array_equal(*values)
        assert values[0][2] == 0
        assert np.isfinite(values[0]).all()


def test_evaluation_changes_nothing(model):
    before = [array.copy() for array in model.arrays]
    model.eval_models(IMAGES, RESPONSES, data_filters=np.ones_like(RESPONSES))
    model.generate_prediction(IMAGES, use_dropout=True)
    for one, other in zip(before, model.arrays, strict=True):
        np.testing.assert_array_equal(one, other)
    assert model.poisson_unit_norm is None


def test_penalties_are_reported_by_layer(model):
    first, second = model.networks[0].layers
    penalties = model.get_reg_pen()
    assert set(penalties) == {"net0L0", "net0L1"}
    assert penalties["net0L0"]["l2"] == pytest.approx(0.25 * np.sum(first.weights**2), rel=1e-6)
    assert penalties["net0L1"]["l2"] == 0.0
    assert penalties["net0L1"]["l1"] == pytest.approx(0.1 * np.abs(second.weights).sum(), rel=1e-6)


def test_strengths_can_be_changed_for_one_sibling():
    one, other = NDN.for_seeds(description(), seeds=[0, 1])
    view = one.networks[0].layers[1]
    before = [array.copy() for array in one.arrays]
    one.set_regularization("l2", 2.0)
    one.set_regularization("dropout", 0.5, layer_target=0)
    one.set_regularization("l1", None, layer_target=[1])
    assert [layer.reg for layer in one.networks[0].layers] == [
        {"l2": 2.0, "dropout": 0.5},
        {"l2": 2.0},
    ]
    assert [layer.reg for layer in other.networks[0].layers] == [
        {"l2": 0.5},
        {"l2": 0.0, "l1": 0.1},
    ]
    # views made before follow, and no value has moved
    np.testing.assert_array_equal(view.weights, before[2])
    for position, layer in enumerate(one.networks[0].layers):
        np.testing.assert_array_equal(layer.weights, before[2 * position])
        np.testing.assert_array_equal(layer.biases, before[2 * position + 1])
    with pytest.raises(ValueError, match="unknown regularizer 'l3'"):
        one.set_regularization("l3", 1.0)
    with pytest.raises(
        ValueError, match="reg_val of 'l2' is .*; it must be a finite number from 0"
    ):
        one.set_regularization("l2", -1.0)


def test_a_copy_is_independent(model):
    model.log_correlation = "zero-NaNs"
    model.poisson_unit_norm = np.ones(3)
    copied = model.copy_model(tf_seed=5)
    np.testing.assert_array_equal(
        copied.generate_prediction(IMAGES), model.generate_prediction(IMAGES)
    )
    assert (copied.tf_seed, copied.log_correlation) == (5, "zero-NaNs")
    copied.networks[0].layers[0].weights[:] = 0
    copied.poisson_unit_norm[:] = 7
    assert model.get_weights(0).any()
    assert model.poisson_unit_norm.tolist() == [1, 1, 1]


def test_lists_of_what_is_fitted(model):
    assert model.fit_variables() == [[{"weights": True, "biases": False}] * 2]
    assert model.fit_variables(layers_to_skip=[-1], fit_biases=True) == [
        [{"weights": True, "biases": True}, {"weights": False, "biases": False}]
    ]
    assert model.fit_variables(0) == model.fit_variables([0]) == model.fit_variables([[0]])


def test_dims_may_come_from_the_model():
    bare = description(input_dims=None)
    model = NDN(bare, input_dim_list=[[1, 4, 4]])
    assert model.networks[0].input_dims == [1, 4, 4]
    with pytest.raises(ValueError, match="dims of external input 0 of network 0 are not known"):
        NDN(bare)


def test_descriptions_are_not_changed():
    given = description(reg_list={"l2": 0.5})
    before = repr(given)
    NDN(given)
    assert repr(given) == before


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: NDN([]), "must be a description or a list of them"),
        (lambda: NDN([description(), 3]), r"network_list\[1\] is 3; a description is a dict"),
        (lambda: NDN(description(), ffnet_out=[0, 1]), "ffnet_out is 1; the model has 1 network"),
        (lambda: NDN(description(), ffnet_out=[0, -1]), "name one network or more, each once"),
        (lambda: NDN(description(), noise_dist="bernouli"), "unknown noise_dist"),
        (lambda: NDN(description(), tf_seed=-1), "whole number from 0"),
        (lambda: NDN(description(ffnet_n=[0])), "network 0 reads network 0"),
        (lambda: NDN(description(xstim_n=[0, 1])), "external input 0 of network 0 are not"),
        (lambda: NDN(description(xstim_n=1)), r"no network reads the external inputs \[0\]"),
        (lambda: NDN(description(xstim_n=[0, 0])), "a source counts once"),
        (lambda: NDN(description(xstim_n=None)), "network 0 reads nothing"),
        (lambda: NDN(description(network_type="sides")), "unknown network_type 'sides'"),
        (lambda: NDN(description(network_type="side")), "network 0 is a side network"),
        (lambda: NDN(description(log_activations=True)), "log_activations must be False"),
    ],
)
def test_what_does_not_fit_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_missing_positive_constraint_means_none():
    bare = description()
    del bare["pos_constraints"]
    model = NDN(bare)
    model.networks[0].layers[0].weights[:] = -1
    assert (
        model.generate_prediction(np.ones((1, 16)), layer_target=0, pre_activation=True) < 0
    ).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"weight_initializers": ["zeros"] * 2}, "Did you mean 'weights_initializers'"),
        (
            {"biases_initializers": ["zeros"]},
            "biases_initializers .* has 1 entries; .* the 2 layers",
        ),
        ({"activation_funcs": "relu"}, "activation_funcs of the description is 'relu'"),
        ({"bounds": [[(1, 2)] * 4, None]}, r"bounds\[0\] .* layer 0 is 'normal', which has no"),
        ({"num_inh": ["x", 0]}, r"num_inh\[0\] \(layer 0\) is 'x'"),
        ({"reg_initializers": [{}, 1]}, r"reg_initializers\[1\] is 1; it must be a dict"),
        ({"layer_sizes": [2, -3]}, r"layer_sizes\[1\] \(layer 1\) is -3"),
        ({"normalize_weights": [0, 7]}, r"normalization\[1\] \(layer 1\) is 7; allowed are"),
        ({"reg_initializers": [{"l2": float("inf")}, {}]}, "layer 0 of the network: l2 .* finite"),
    ],
)
def test_descriptions_that_were_changed_wrongly_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        NDN({**description(), **change})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"conv_filter_widths": [5]}, "layer 0 .* filter_width .* is 5; its input has 4 x 4"),
        ({"shift_spacing": 5}, "layer 0 .* shift_spacing .* is 5; its input has 4 x 4"),
    ],
)
def test_windows_larger_than_the_image_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        NDN(description(layer_types=["conv", "normal"], **change))


def test_weights_that_are_trained_in_part_stay_as_they_are():
    description = ffnetwork_params(2, [1], ["normal"], normalization=2, verbose=False)
    network, arrays = NetworkModel(description), [np.array([[3.0], [4.0]]), np.zeros((1, 1))]
    kept = trained_parts.constrained(network, arrays, [np.array([[1], [0]]), True])
    np.testing.assert_array_equal(kept[0], arrays[0])
    (found, _) = trained_parts.constrained(network, arrays, None)
    np.testing.assert_allclose(found, [[0.6], [0.8]], rtol=1e-6)
