"""Evaluation of models: units, null models, total cost, norms and output biases."""

import numpy as np
import pytest
from keras import ops

from NDN3 import activations, fitting, links
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params

P = np.array([(0.5, 0.5), (1.5, 2), (0.25, 1), (1, 3)])
Y = np.array([(1, 0), (2, 3), (0, 1), (1, 4)], float)
M = np.array([(1, 1), (1, 0), (1, 1), (0, 1)], float)
NOISES = ("poisson", "gaussian", "bernoulli")


def layers(**options):
    return ffnetwork_params(
        **{
            "input_dims": [2, 1, 1],
            "layer_sizes": [2],
            "layer_types": ["normal"],
            "act_funcs": "lin",
            "verbose": False,
            **options,
        }
    )


def copying(noise_dist, legacy=False):
    """Model whose predictions are its inputs."""
    model = NDN(layers(), noise_dist, legacy=legacy)
    model.networks[0].layers[0].weights = np.eye(2)
    return model


@pytest.fixture(scope="module")
def models():
    return {(name, legacy): copying(name, legacy) for name in NOISES for legacy in (False, True)}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("name", "mask", "expected"),
    [
        ("poisson", None, (0.783053, 0.003263)),
        ("poisson", M, (0.710738, 0.021110)),
        ("gaussian", None, (0.140625, 0.5625)),
        ("gaussian", M, (0.1875, 0.416667)),
        ("bernoulli", None, (0.078673, -1.442143)),
        ("bernoulli", M, (0.231526, -1.394185)),
    ],
)
def test_scores(models, name, mask, expected, legacy):
    model = models[name, legacy]
    found = model.eval_models(P, Y, data_filters=mask)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(model.eval_preds(P, Y, data_filters=mask), found)
    # of some rows only, in another order
    rows = [3, 0, 1, 2, 1]
    shown = None if mask is None else mask[rows]
    some = model.eval_models(P, Y, rows, mask)
    np.testing.assert_array_equal(some, model.eval_models(P[rows], Y[rows], data_filters=shown))
    np.testing.assert_array_equal(some, model.eval_preds(P[rows], Y, rows, mask))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("mask", "null", "adjusted"),
    [
        (None, (-0.999999, -0.306852), (0.216946, 0.303589)),
        (M, (-0.999999, -0.489174), (0.289261, 0.468064)),
    ],
)
def test_scores_above_the_null_model(models, mask, null, adjusted, legacy):
    model = models["poisson", legacy]
    np.testing.assert_allclose(model.get_null_ll(Y, data_filters=mask), null, atol=1e-6)
    found = model.eval_models(P, Y, data_filters=mask, nulladjusted=True)
    np.testing.assert_allclose(found, adjusted, atol=1e-6)
    bits = model.eval_models(P, Y, data_filters=mask, nulladjusted=True, units="bits")
    np.testing.assert_allclose(bits, np.array(adjusted) * 1.442695, atol=1e-6)
    bits = model.get_null_ll(Y, data_filters=mask, units="bits")
    np.testing.assert_allclose(bits, np.array(null) * 1.442695, atol=2e-6)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("hidden", [1e6, np.nan])
def test_what_is_masked_may_be_anything(models, name, hidden, legacy):
    model = models[name, legacy]
    responses, preds = np.where(M > 0, Y, hidden), np.where(M > 0, P, hidden)
    for adjusted in (False, True):
        given = {"data_filters": M, "nulladjusted": adjusted}
        expected = model.eval_models(P, Y, **given)
        assert np.isfinite(expected).all()
        np.testing.assert_array_equal(model.eval_models(P, responses, **given), expected)
        np.testing.assert_array_equal(model.eval_preds(preds, responses, **given), expected)
    assert model.get_LL(P, responses, data_filters=M) == model.get_LL(P, Y, data_filters=M)
    # a row that counts for no neuron may be anything, too
    shown, images = M.copy(), P.copy()
    shown[1], images[1] = 0, hidden
    expected = model.eval_models(P, Y, data_filters=shown)
    np.testing.assert_array_equal(model.eval_models(images, Y, data_filters=shown), expected)
    images[2, 0] = np.nan
    with pytest.raises(ValueError, match="input_data"):  # of a row that counts for one neuron
        model.eval_models(images, Y, data_filters=shown * (1, 0))
    second = np.zeros_like(Y) + (0, 1)
    for adjusted in (False, True):
        found = model.eval_models(P, np.where(second == 0, np.nan, Y), None, second, adjusted)
        # the old null model of squared errors is the sum over all neurons
        assert found[0] == 0 or (legacy and adjusted and name == "gaussian")
        assert np.isfinite(found[1])


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("name", "mask", "cost"),
    [
        ("poisson", None, 0.786316),
        ("poisson", M, 0.731848),
        ("gaussian", None, 0.703125),
        ("gaussian", M, 0.453125),
        ("bernoulli", None, -1.402807),
        ("bernoulli", M, -0.784543),
    ],
)
def test_total_cost(models, name, mask, cost, legacy):
    model = models[name, legacy].copy_model()
    # what training would set
    norms = fitting.unit_norm(model, None, Y, mask, np.arange(4))
    if name == "poisson":
        # per spike times 4 and 8 spikes, over 4 rows
        assert model.get_LL(P, Y) == pytest.approx(0.783053 + 2 * 0.003263, abs=2e-6)
        model.set_poisson_norm(Y, data_filters=mask)
        np.testing.assert_array_equal(norms, (1, 2) if mask is None else (0.75, 1.25))
        np.testing.assert_array_equal(model.poisson_unit_norm, norms)
    assert model.get_LL(P, Y, data_filters=mask) == pytest.approx(cost, abs=1e-6)
    if name == "poisson" and mask is None:
        assert model.get_LL(P, Y, [0, 3]) == pytest.approx(0.872960, abs=1e-6)


@pytest.mark.parametrize("name", ["poisson", "bernoulli"])
def test_total_cost_is_what_training_reports(name):
    source = np.random.default_rng(0)
    images = source.normal(size=(24, 2))
    responses = (source.random((24, 2)) < 0.5).astype(float)
    mask = (source.random((24, 2)) < 0.7).astype(float)
    responses[mask == 0] = np.nan
    (model,) = NDN.for_seeds(layers(act_funcs="softplus"), name)
    ((_, _, result),) = NDN.fit_together(
        [model],
        images,
        responses,
        range(16),
        range(16, 24),
        mask,
        {"epochs_training": 2, "batch_size": 8},
    )
    last = result.history["test/cost"][-1]
    cost = model.get_LL(images, responses, range(16, 24), mask)
    assert cost == pytest.approx(float(last), rel=1e-5)
    assert np.isfinite(cost)


def test_norms_are_of_spike_counts_only():
    with pytest.raises(ValueError, match="only costs under 'poisson' are divided by norms"):
        copying("gaussian").set_poisson_norm(Y)
    model = copying("poisson")
    model.set_poisson_norm(Y, data_indxs=[0, 1])
    np.testing.assert_array_equal(model.poisson_unit_norm, (1.5, 1.5))
    model.set_poisson_norm(Y[[0, 0]])
    np.testing.assert_array_equal(model.poisson_unit_norm, (1, 1e-8))


@pytest.mark.parametrize("name", sorted(activations.ACTIVATIONS))
def test_inverse_of_each_activation(name):
    outputs = np.array([0.05, 0.3, 0.9])
    inputs = links.inverse(name, outputs)
    np.testing.assert_allclose(activations.activation(name)(inputs), outputs, rtol=1e-6)
    inputs = np.array([-0.9, -0.2])
    if name in ("lin", "identity", "leaky_relu", "tanh", "elu"):  # that give negative outputs
        outputs = ops.convert_to_numpy(activations.activation(name)(inputs))
        np.testing.assert_allclose(links.inverse(name, outputs), inputs, rtol=1e-6)
    assert np.isfinite(links.inverse(name, np.array([-3.0, 0.0, 1.0, 7.0]))).all()


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("activation", ["lin", "softplus", "exp"])
def test_output_biases_give_the_mean_responses(name, activation):
    model = NDN(layers(act_funcs=activation), name)
    model.networks[0].layers[0].weights[:] = 0
    spikes = np.array([(1, 0), (1, 1), (0, np.nan), (1, 1)])
    mask = np.isfinite(spikes)
    model.initialize_output_layer_bias(spikes, data_filters=mask)
    predictions = model.generate_prediction(P)
    if name == "bernoulli":  # predictions are log odds
        predictions = 1 / (1 + np.exp(-predictions))
    np.testing.assert_allclose(predictions, np.tile((3 / 4, 2 / 3), (4, 1)), rtol=1e-5)


def test_output_biases_of_a_map_are_one_for_each_filter():
    conv = layers(
        input_dims=[1, 2, 1], layer_types=["conv"], conv_filter_widths=[1], act_funcs="softplus"
    )
    model = NDN(conv)
    # two filters at two pixels; filters are next to each other
    model.initialize_output_layer_bias(np.array([(1.0, 2, 3, 4)]))
    expected = np.log(np.expm1([(1.0, 2), (3, 4)])).mean(axis=0)
    np.testing.assert_allclose(model.networks[0].layers[0].biases, [expected], rtol=1e-6)


def test_several_output_networks():
    both = [layers(), layers(layer_sizes=[1], xstim_n=0)]
    model = NDN(both, ffnet_out=[0, 1])
    responses = [Y, Y[:, :1] + 1]
    model.initialize_output_layer_bias(responses)
    assert [net.layers[0].biases.tolist() for net in model.networks] == [[[1, 2]], [[2]]]
    for network in model.networks:
        network.layers[0].weights[:] = 0.25
    found = model.eval_models(np.abs(P), responses, nulladjusted=True, units="bits")
    preds = [model.generate_prediction(np.abs(P), ffnet_target=number) for number in (0, 1)]
    assert [each.shape for each in found] == [(2,), (1,)]
    for score, each, observed in zip(found, preds, responses, strict=True):
        total = np.sum(observed * np.log(each + 1e-6) - each, axis=0) / observed.sum(axis=0)
        null = np.log(observed.mean(axis=0) + 1e-6) - 1
        np.testing.assert_allclose(score, (total - null) / np.log(2), rtol=1e-4)
    masks = [M, None]
    masked = model.eval_models(np.abs(P), responses, data_filters=masks)
    np.testing.assert_array_equal(masked[1], model.eval_models(np.abs(P), responses)[1])
    assert [each.shape for each in model.get_null_ll(responses)] == [(2,), (1,)]
    model.set_poisson_norm(responses)
    np.testing.assert_array_equal(model.poisson_unit_norm, (1, 2, 2))


def test_a_wrong_mask_is_told_by_the_row_of_the_recording(models):
    wrong = np.ones_like(Y)
    wrong[3, 1] = 0.5
    with pytest.raises(ValueError, match="data_filters have 0.5 in row 3, column 1"):
        models["poisson", False].eval_models(P, Y, [1, 3], wrong)


def test_squared_errors_have_no_bits(models):
    for call in (
        lambda m: m.eval_models(P, Y, units="bits"),
        lambda m: m.get_null_ll(Y, units="bits"),
    ):
        with pytest.raises(ValueError, match="are mean squared errors, no log-likelihoods"):
            call(models["gaussian", False])
