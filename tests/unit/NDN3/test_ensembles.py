"""Ensembles: what averages give, and one file for all members."""

import numpy as np
import pytest

from NDN3 import storage
from NDN3.ensembles import Ensemble
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params

SOURCE = np.random.default_rng(0)
IMAGES = SOURCE.normal(size=(30, 4))
RESPONSES = SOURCE.poisson(1.0, (30, 2)).astype(float)
MASK = (SOURCE.random((30, 2)) < 0.8).astype(float)


def layers(**options):
    return ffnetwork_params(
        **{
            "input_dims": [4, 1, 1],
            "layer_sizes": [3, 2],
            "layer_types": ["normal", "normal"],
            "act_funcs": "softplus",
            "verbose": False,
            **options,
        }
    )


def models(noise_dist="poisson", count=3, **options):
    return NDN.for_seeds(layers(**options), noise_dist, seeds=range(count))


def predictions(members):
    return np.array([model.generate_prediction(IMAGES).astype(float) for model in members])


def test_mean_of_rates():
    members = models()
    ensemble = Ensemble(members)
    expected = predictions(members).mean(axis=0)
    np.testing.assert_allclose(ensemble.generate_prediction(IMAGES), expected, rtol=1e-6)
    rows = [4, 2]
    np.testing.assert_allclose(
        ensemble.generate_prediction(IMAGES, rows), expected[rows], rtol=1e-6
    )
    np.testing.assert_allclose(
        ensemble.spread(IMAGES, rows), predictions(members).std(axis=0)[rows], rtol=1e-4
    )


def test_mean_of_logarithms():
    members = models()
    expected = np.exp(np.log(predictions(members) + 1e-6).mean(axis=0)) - 1e-6
    found = Ensemble(members, "log_rates").generate_prediction(IMAGES)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert (found < Ensemble(members).generate_prediction(IMAGES)).all()
    silent = models(act_funcs="relu")
    for model in silent:
        model.networks[0].layers[1].biases[:] = -100
    found = Ensemble(silent, "log_rates").generate_prediction(IMAGES)
    np.testing.assert_allclose(found, 0, atol=1e-12)
    negative = models(act_funcs="lin")  # no rates, and counted as none
    expected = np.exp(np.log(np.maximum(predictions(negative), 0) + 1e-6).mean(axis=0)) - 1e-6
    found = Ensemble(negative, "log_rates").generate_prediction(IMAGES)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


def test_log_odds_are_averaged_as_probabilities():
    members = models("bernoulli", act_funcs="lin")
    odds = predictions(members)
    probability = (1 / (1 + np.exp(-odds))).mean(axis=0)
    found = Ensemble(members).generate_prediction(IMAGES)
    np.testing.assert_allclose(found, np.log(probability / (1 - probability)), atol=1e-6)
    found = Ensemble(members, "log_rates").generate_prediction(IMAGES)
    np.testing.assert_allclose(found, odds.mean(axis=0), atol=1e-6)
    for model in members:
        model.networks[0].layers[1].biases[:] = 1000
    assert np.isfinite(Ensemble(members).generate_prediction(IMAGES)).all()


def test_error_is_less_than_that_of_members_by_their_variance():
    members = models("gaussian", act_funcs="lin")
    error = Ensemble(members).eval_models(IMAGES, RESPONSES)
    errors = [model.eval_models(IMAGES, RESPONSES) for model in members]
    variance = predictions(members).var(axis=0).mean(axis=0)
    np.testing.assert_allclose(error, np.mean(errors, axis=0) - variance, rtol=1e-5)
    assert (variance > 1e-4).all()


@pytest.mark.parametrize("average", ["rates", "log_rates"])
def test_scores_are_those_of_the_average(average):
    ensemble = Ensemble(models(), average)
    options = {"data_filters": MASK, "nulladjusted": True, "units": "bits"}
    found = ensemble.eval_models(IMAGES, RESPONSES, **options)
    ready = ensemble.generate_prediction(IMAGES)
    np.testing.assert_array_equal(ensemble.eval_preds(ready, RESPONSES, **options), found)
    rate = np.sum(RESPONSES * MASK, axis=0) / MASK.sum(axis=0)
    above = RESPONSES * np.log((ready + 1e-6) / (rate + 1e-6)) - ready + rate
    bits = np.sum(above * MASK, axis=0) / np.sum(RESPONSES * MASK, axis=0) / np.log(2)
    np.testing.assert_allclose(found, bits, rtol=1e-5)
    cost = np.sum((ready - RESPONSES * np.log(ready + 1e-6)) * MASK) / 30
    assert ensemble.get_LL(IMAGES, RESPONSES, None, MASK) == pytest.approx(cost)


def test_members_may_differ_in_architecture():
    members = [*models(count=1), *models(count=1, layer_sizes=[5, 2], act_funcs="exp")]
    expected = predictions(members).mean(axis=0)
    np.testing.assert_allclose(Ensemble(members).generate_prediction(IMAGES), expected, rtol=1e-6)


def test_one_member_predicts_as_before():
    for noise_dist in ("poisson", "bernoulli"):
        (member,) = models(noise_dist, count=1)
        for average in ("rates", "log_rates"):
            found = Ensemble([member], average).generate_prediction(IMAGES)
            np.testing.assert_array_equal(found, member.generate_prediction(IMAGES))


def test_an_ensemble_of_what_was_trained_predicts_better_than_its_members_on_average():
    source = np.random.default_rng(3)
    images = source.normal(size=(160, 4))
    rates = np.log1p(np.exp(images @ source.normal(size=(4, 2))))
    responses = source.poisson(rates).astype(float)
    trained = NDN.fit_together(
        models(),
        images,
        responses,
        range(60),
        opt_params={"epochs_training": 20, "batch_size": 20, "learning_rate": 0.05},
    )
    # as trainings end in any order
    ensemble = Ensemble.of_trained(reversed(list(trained)))
    assert [model.tf_seed for model in ensemble.models] == [0, 1, 2]
    tested = range(60, 160)
    one, several = (
        np.mean([each.eval_models(images, responses, tested) for each in group], axis=0)
        for group in (ensemble.models, [ensemble])
    )
    # the cost is convex in the rate, so that this holds for each neuron
    assert (several < one).all()
    before = [model.poisson_unit_norm.copy() for model in ensemble.models]
    ensemble.eval_models(images, responses, tested)
    np.testing.assert_array_equal(before, [model.poisson_unit_norm for model in ensemble.models])


class Ended:
    """Result of a training that diverged, or did not."""

    def __init__(self, diverged_epoch):
        self.diverged_epoch = diverged_epoch


def test_what_diverged_is_left_out():
    members = models()
    results = [(n, model, Ended(4 if n == 1 else None)) for n, model in enumerate(members)]
    assert Ensemble.of_trained(results).models == [members[0], members[2]]
    with pytest.raises(ValueError, match="the training of all 1 models diverged"):
        Ensemble.of_trained(results[1:2])
    with pytest.raises(ValueError, match="an ensemble needs one NDN model or more"):
        Ensemble.of_trained([])


def test_several_output_networks():
    networks = [layers(), layers(layer_sizes=[2, 1])]
    members = NDN.for_seeds(networks, seeds=[0, 1], ffnet_out=[0, 1])
    ensemble = Ensemble(members)
    parts = [ensemble.generate_prediction(IMAGES, ffnet_target=number) for number in (0, 1)]
    assert [part.shape for part in parts] == [(30, 2), (30, 1)]
    np.testing.assert_array_equal(np.hstack(parts), ensemble.generate_prediction(IMAGES))
    responses = [RESPONSES, RESPONSES[:, :1]]
    scores = ensemble.eval_models(IMAGES, responses)
    alone = Ensemble(members).eval_preds(parts, responses)
    for one, other in zip(scores, alone, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("average", ["rates", "log_rates"])
def test_a_loaded_ensemble_is_the_same(tmp_path, average):
    members = [*models(count=2), *models(count=1, layer_sizes=[5, 2])]
    members[1].poisson_unit_norm = np.array([0.5, 2.0])
    members[2].batch_size = 5
    ensemble = Ensemble(members, average)
    path = tmp_path / "ensemble.ndnmod"
    ensemble.save_model(path)
    loaded = Ensemble.load_model(path)
    assert loaded.average == average
    np.testing.assert_array_equal(
        loaded.generate_prediction(IMAGES), ensemble.generate_prediction(IMAGES)
    )
    for found, member in zip(loaded.models, members, strict=True):
        assert (found.tf_seed, found.batch_size) == (member.tf_seed, member.batch_size)
        assert np.array_equal(found.poisson_unit_norm, member.poisson_unit_norm)
    assert loaded.models[0].keras_model is loaded.models[1].keras_model
    assert loaded.models[0].keras_model is not loaded.models[2].keras_model
    loaded.save_model(tmp_path / "again.ndnmod")
    assert (tmp_path / "again.ndnmod").read_bytes() == path.read_bytes()


def test_files_of_models_and_of_ensembles_are_told_apart(tmp_path):
    (member,) = models(count=1)
    member.save_model(tmp_path / "model")
    Ensemble([member]).save_model(tmp_path / "ensemble")
    with pytest.raises(ValueError, match="holds the kind 'model', and 'ensemble' is wanted"):
        Ensemble.load_model(tmp_path / "model")
    with pytest.raises(ValueError, match="holds the kind 'ensemble', and 'model' is wanted"):
        NDN.load_model(tmp_path / "ensemble")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"members": []}, r"members in .* are \[\]; an ensemble has a list of"),
        ({"members": [1]}, r"members in .* are \[1\]"),
        ({"members": {}}, r"members in .* are \{\}"),
        ({"members": [{}]}, "networks in .* are None"),
        ({"average": "median"}, "describes no model: unknown average 'median'"),
        ({"average": None}, "unknown average None"),
    ],
)
def test_wrong_descriptions_are_refused(tmp_path, change, sentence):
    path = tmp_path / "ensemble"
    Ensemble(models(count=1)).save_model(path)
    description, arrays = storage.read(path)
    storage.write(path, {**description, **change}, arrays)
    with pytest.raises(ValueError, match=sentence):
        Ensemble.load_model(path)


def test_a_missing_member_is_named(tmp_path):
    path = tmp_path / "ensemble"
    Ensemble(models(count=2)).save_model(path)
    description, arrays = storage.read(path)
    kept = {name: array for name, array in arrays.items() if name != "member1/net0/layer0/weights"}
    storage.write(path, description, kept)
    with pytest.raises(ValueError, match="has no entry 'member1/net0/layer0/weights'"):
        Ensemble.load_model(path)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Ensemble([]), "an ensemble needs one NDN model or more"),
        (lambda: Ensemble([3]), r"models are \[3\]; an ensemble needs"),
        (lambda: Ensemble(models(count=1), "mean"), "unknown average 'mean'"),
        (lambda: Ensemble(models("gaussian", 1), "log_rates"), "the noise is 'gaussian'"),
        (lambda: Ensemble([*models(), *models("gaussian")]), "model 3 has .*'gaussian'.* Leave it"),
        (
            lambda: Ensemble([*models(), *models(layer_sizes=[3, 1])]),
            r"model 3 has .*'neurons': \[1\].*, model 0 .*'neurons': \[2\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
