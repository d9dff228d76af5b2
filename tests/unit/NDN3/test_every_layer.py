"""What holds for every type of layer, penalty and likelihood, whoever adds one."""

import keras
import numpy as np
import pytest
from every_layer import (
    CASES,
    inputs,
    label,
    layer_of,
    missing,
    penalties_of,
    side_by_side,
    start,
    variants,
    with_options,
)
from keras import ops
from layers_in_numpy import ACTIVATIONS, output

from NDN3 import activations, backend, correlation, forms, noise, regularization, training_options
from NDN3.layers import LAYERS, layer_class
from NDN3.layers.windows import native_convolutions
from NDN3.NDN import NDN

MEMBERS = 3
STEP = 1e-5
VARIANTS = list(variants())


def tensors(arrays, dtype="float64"):
    return [ops.convert_to_tensor(np.asarray(array), dtype=dtype) for array in arrays]


def built(layer, given):
    """The layer with values away from kinks and borders, and these by name."""
    layer.build((None, given.shape[1]))
    values = dict(zip(layer.array_names, start(layer.arrays.values(), 1), strict=True))
    if "positions" in values:
        values["positions"] = np.clip(values["positions"], -0.9, 0.9)
    for name, value in values.items():
        layer.arrays[name].assign(value)
    return layer, values


def trained(layer):
    """Names of the arrays that gradients train."""
    return [name for name in layer.array_names if name not in layer.statistics]


def assert_slopes(cost, gradients, values, rel=1e-6, hold=()):
    """Gradients agree with central differences of a cost, along a direction in each array.

    Parameters
    ----------
    cost : callable
        Of a dict of ndarray.
    gradients, values : dict of ndarray
    hold : slice
        Rows of the weights that are not moved.
    """
    source = np.random.default_rng(2)
    for name, gradient in gradients.items():
        direction = source.normal(size=values[name].shape)
        if name == "weights" and hold:
            direction[hold] = 0
        sides = [cost({**values, name: values[name] + sign * STEP * direction}) for sign in (1, -1)]
        along = float(np.sum(ops.convert_to_numpy(gradient) * direction))
        difference = (sides[0] - sides[1]) / (2 * STEP)
        assert along == pytest.approx(difference, rel=rel, abs=1e-8), name


def gradients_of(layer, names, values, cost):
    """Gradients of a cost of outputs and penalties, {name of the array, or "inputs": ndarray}."""
    others = tensors(layer.non_trainable_variables, None)

    def found(free):
        given, *arrays = free
        return cost(layer, arrays, others, given), 0.0

    _, gradients = backend.value_and_gradients(
        found, tensors([values[name] for name in ("inputs", *names)])
    )
    return dict(zip(("inputs", *names), gradients, strict=True))


def test_each_has_a_case():
    assert not missing()
    named = {name for layer in CASES for name in penalties_of(layer)}
    assert named == {*regularization.PENALTIES, *regularization.ACTIVITY}
    assert set(ACTIVATIONS) == set(activations.ACTIVATIONS)


@pytest.mark.parametrize("variant", VARIANTS, ids=map(label, VARIANTS))
def test_outputs_and_gradients_are_those_of_numpy(variant):
    name, units, options = variant
    layer = layer_of(name, units, options, num_inh=1, dtype="float64")
    given = inputs(dims=layer.input_dims)
    layer, values = built(layer, given)
    config = layer.get_config()
    for option in options.keys() & {*layer.options}:
        np.testing.assert_array_equal(config[option], options[option])
    expected = output(name, config, values, given)
    np.testing.assert_allclose(layer(given), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(layer(layer.precompute(given)), expected, rtol=1e-9, atol=1e-12)
    with native_convolutions():
        np.testing.assert_allclose(layer(given), expected, rtol=1e-9, atol=1e-12)
    wave = np.cos(np.arange(expected.size)).reshape(expected.shape)

    def cost(layer, arrays, others, given):
        outputs, _ = layer.stateless_call(arrays, others, given)
        return ops.sum(outputs * wave)

    values["inputs"] = given
    names = trained(layer)
    assert len(names) == len(layer.trainable_variables)
    assert_slopes(
        lambda moved: np.sum(output(name, config, moved, moved["inputs"]) * wave),
        gradients_of(layer, names, values, cost),
        values,
        hold=slice(2, 4) if config.get("frozen_centers") else (),
    )


@pytest.mark.parametrize("name", CASES)
def test_gradients_with_penalties_and_draws(name):
    """While training, where all penalties matter as much as the outputs."""
    penalties = penalties_of(name)
    regularizers = dict.fromkeys(penalties, 1.0)
    if layer_class(name).takes_dropout:
        regularizers["dropout"] = 0.5
    layer = layer_of(name, num_inh=1, regularizers=regularizers, dtype="float64")
    layer, values = built(layer, inputs())
    values["inputs"] = inputs()
    weights = layer.constrained(ops.convert_to_tensor(layer.kernel))
    sizes = {key: float(value) for key, value in layer.penalties(weights).items()}
    strengths = {key: 1 / size if size > 1e-3 else 1.0 for key, size in sizes.items()}
    strengths |= dict.fromkeys(regularization.ACTIVITY, 1.0)
    strengths = dict(zip(strengths, tensors(strengths.values()), strict=True))
    wave = np.cos(np.arange(layer.compute_output_shape((len(inputs()), None))[1]))

    def cost(layer, arrays, others, given):
        layer._clear_losses()  # see NetworkModel.stateless_call
        outputs, _, losses = layer.stateless_call(
            arrays, others, given, training=True, strengths=strengths, return_losses=True
        )
        assert len(losses) == len(penalties)
        return ops.sum(outputs * wave) + sum(losses)

    names, others = trained(layer), tensors(layer.non_trainable_variables, None)

    def moved(values):
        given, *arrays = tensors([values[name] for name in ("inputs", *names)])
        return float(cost(layer, arrays, others, given))

    gradients = gradients_of(layer, names, values, cost)
    assert all(np.any(gradient) for gradient in map(ops.convert_to_numpy, gradients.values()))
    assert_slopes(moved, gradients, values)


OPTIONS = list(with_options())


@pytest.mark.parametrize("variant", OPTIONS, ids=map(label, OPTIONS))
def test_members_do_not_see_each_other(variant):
    name, units, options = variant
    regularizers = {"dropout": 0.5} if layer_class(name).takes_dropout else {}
    layer = layer_of(name, units, options, regularizers=regularizers, dtype="float64")
    given = inputs(dims=layer.input_dims)
    layer.build((None, given.shape[1]))
    given = ops.convert_to_tensor(given)

    def one(trainable, others):
        def cost(free):
            outputs, _ = layer.stateless_call(free, others, given, training=True)
            return ops.sum(ops.square(outputs)), outputs

        (_, outputs), gradients = backend.value_and_gradients(cost, trainable)
        return outputs, gradients

    members = [tensors(start(layer.trainable_variables, seed)) for seed in range(MEMBERS)]
    states = [
        [
            # members draw apart
            ops.convert_to_tensor(variable) + ops.cast("key" in variable.path, variable.dtype) * n
            for variable in layer.non_trainable_variables
        ]
        for n in range(MEMBERS)
    ]
    stacked = [[ops.stack(rows) for rows in zip(*each, strict=True)] for each in (members, states)]
    together, gradients = backend.compiled(
        lambda *arguments: backend.map_members(one, arguments), False
    )(*stacked)
    for member in range(MEMBERS):
        outputs, alone = one(members[member], states[member])
        np.testing.assert_allclose(together[member], outputs, rtol=1e-9, atol=1e-12)
        for mapped, gradient in zip(gradients, alone, strict=True):
            np.testing.assert_allclose(mapped[member], gradient, rtol=1e-9, atol=1e-12)


# ---- trained ----------------------------------------------------------------------------------

ALONG_TIME = [name for name in CASES if layer_of(name).time_spread]
OTHERS = [name for name in CASES if name not in ALONG_TIME]
FAMILIES = [OTHERS[::2], OTHERS[1::2], ALONG_TIME]


OF_ALGORITHMS = {
    "adam": {"batch_size": 8, "epochs_training": 2, "early_stop": 0},
    "lbfgs": {"maxiter": 3},
}


def fitted(names, seeds, learning_alg="adam"):
    """Networks around these layers, trained side by side.

    Returns
    -------
    dict of list of ndarray
        {seed: arrays}.
    set of str
        Forms in which they were trained.
    """
    descriptions = side_by_side(names)
    targets = list(range(len(descriptions)))
    models = NDN.for_seeds(descriptions, "gaussian", seeds=seeds, ffnet_out=targets)
    given = inputs(rows=21, dtype="float32")
    responses = [np.cos(given[:, :count]) for count in models[0].keras_model.neurons]
    results = list(
        NDN.fit_together(
            models,
            given,
            responses,
            opt_params=OF_ALGORITHMS[learning_alg],
            learning_alg=learning_alg,
            group=MEMBERS,
            xla=False,
        )
    )
    return {model.tf_seed: model.arrays for _, model, _ in results}, {r.form for *_, r in results}


def assert_company_does_not_matter(names, learning_alg="adam"):
    """Every bit of all arrays of a member is as it is without the others."""
    together, found = fitted(names, [3, 4, 5], learning_alg)
    assert found == {"group"}
    alone, _ = fitted(names, [4], learning_alg)
    for array, expected in zip(together[4], alone[4], strict=True):
        np.testing.assert_array_equal(array, expected)
    assert all(np.isfinite(array).all() for array in together[4])
    assert any((a != b).any() for a, b in zip(together[3], together[4], strict=True))


@pytest.mark.parametrize("names", FAMILIES, ids=["some", "others", "along time"])
def test_trained_together_equals_trained_alone(names):
    """With penalties, dropout, draws, and a last batch that is filled up."""
    assert_company_does_not_matter(names)


@pytest.mark.parametrize("learning_alg", sorted(set(training_options.ALGORITHMS) - {"adam"}))
def test_company_does_not_matter_to_other_algorithms(learning_alg):
    assert_company_does_not_matter(["conv"], learning_alg)


def test_all_are_mapped_and_those_that_are_not_take_turns(monkeypatch):
    assert all(layer_class(name).mapped for name in LAYERS)
    plain = keras.Sequential([keras.Input((24,)), layer_of("spkNL")])
    assert not forms.needs_turns(plain, set())
    in_group, _ = fitted(["spkNL"], [4])
    monkeypatch.setattr(layer_class("spkNL"), "mapped", False)
    assert forms.needs_turns(plain, set())
    in_turns, found = fitted(["spkNL"], [3, 4])
    assert found == {"turns"}
    for array, expected in zip(in_turns[4], in_group[4], strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-6)


# ---- likelihoods ------------------------------------------------------------------------------

# of each row
COSTS = {
    "poisson": lambda y, p: np.sum(p - y * np.log(p + 1e-6), axis=1),
    "gaussian": lambda y, p: np.sum((y - p) ** 2, axis=1),
    "bernoulli": lambda y, p: np.mean(np.log(1 + np.exp(p)) - y * p, axis=1),
}


@pytest.mark.parametrize("name", noise.NOISE)
def test_likelihoods_and_correlations_are_mapped(name):
    source = np.random.default_rng(0)
    responses = source.integers(0, 2, (6, 4)).astype(float)
    predictions = source.uniform(0.1, 2, (MEMBERS, 6, 4))
    metric = correlation.metrics("zero-NaNs")[correlation.TAG]

    def one(predictions):
        cost = noise.noise(name).cost
        (value, rows), (gradient,) = backend.value_and_gradients(
            lambda free: (ops.sum(cost(responses, free[0])), cost(responses, free[0])),
            [predictions],
        )
        return value, metric(ops.convert_to_tensor(responses), predictions, None), gradient, rows

    given = ops.convert_to_tensor(predictions)
    found = backend.compiled(lambda each: backend.map_members(one, (each,)), False)(given)
    for member in range(MEMBERS):
        for mapped, alone in zip(found, one(given[member]), strict=True):
            np.testing.assert_allclose(mapped[member], alone, rtol=1e-12)
    *_, gradients, rows = map(ops.convert_to_numpy, found)
    np.testing.assert_allclose(rows[0], COSTS[name](responses, predictions[0]), rtol=1e-12)
    assert_slopes(
        lambda values: np.sum(COSTS[name](responses, values["predictions"])),
        {"predictions": gradients[0]},
        {"predictions": predictions[0]},
    )
