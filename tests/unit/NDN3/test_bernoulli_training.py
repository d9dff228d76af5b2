"""Training under Bernoulli noise: planted log odds are found, masks hide, counts are refused."""

import numpy as np
import pytest

from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params

SOURCE = np.random.default_rng(5)
IMAGES = SOURCE.normal(size=(4000, 3))
WEIGHTS = np.array([(1.0, 0.0), (-2.0, 1.5), (0.5, 1.0)])
BIASES = np.array([(-0.5, 0.5)])
ODDS = IMAGES @ WEIGHTS + BIASES
SPIKES = (SOURCE.random(ODDS.shape) < 1 / (1 + np.exp(-ODDS))).astype(float)
MASK = (SOURCE.random(ODDS.shape) < 0.9).astype(float)
OPTIONS = {"epochs_training": 12, "batch_size": 100, "learning_rate": 0.02}


def model(**options):
    network = ffnetwork_params(
        input_dims=[3, 1, 1],
        layer_sizes=[2],
        layer_types=["normal"],
        act_funcs="lin",
        verbose=False,
    )
    made = NDN(network, "bernoulli", **options)
    made.log_correlation = "zero-NaNs"
    return made


def trained(spikes, mask):
    fitted = model()
    assert fitted.train(IMAGES, spikes, data_filters=mask, opt_params=OPTIONS, silent=True) == 11
    return fitted


def test_planted_log_odds_are_found_and_what_is_masked_changes_nothing():
    fitted = trained(SPIKES, MASK)
    layer = fitted.networks[0].layers[0]
    np.testing.assert_allclose(layer.weights, WEIGHTS, atol=0.2)
    np.testing.assert_allclose(layer.biases, BIASES, atol=0.2)
    assert fitted.poisson_unit_norm is None
    other = trained(np.where(MASK > 0, SPIKES, np.nan), MASK).networks[0].layers[0]
    np.testing.assert_array_equal(other.weights, layer.weights)
    np.testing.assert_array_equal(other.biases, layer.biases)
    # what was planted is better than the mean rate by as much as what was found, or nearly
    scores = [
        each(SPIKES, data_filters=MASK, nulladjusted=True, units="bits")
        for each in (
            lambda *given, **options: fitted.eval_models(IMAGES, *given, **options),
            lambda *given, **options: fitted.eval_preds(ODDS, *given, **options),
        )
    ]
    np.testing.assert_allclose(*scores, atol=0.01)
    assert (scores[0] > 0.2).all()


def test_responses_above_one_are_refused():
    with pytest.raises(ValueError, match="output_data reach up to 2; .* are 1 or less. Clip them"):
        model().train(IMAGES, SPIKES * 2, opt_params=OPTIONS)
    with pytest.raises(ValueError, match="output_data reach down to -1; .* are 0 or more"):
        model().train(IMAGES, SPIKES - 1, opt_params=OPTIONS)
    hidden = np.where(MASK > 0, SPIKES, 2)
    fitted = model()
    few = {**OPTIONS, "epochs_training": 1}
    assert fitted.train(IMAGES, hidden, data_filters=MASK, opt_params=few, silent=True) == 0
