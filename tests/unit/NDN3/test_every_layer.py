"""What holds for every type of layer, penalty and likelihood, whoever adds one."""

import numpy as np
import pytest
from every_layer import CASES, inputs, missing, model_of, penalties_of, start
from keras import ops

from NDN3 import backend, correlation, noise, regularization
from NDN3.layers import layer_class

MEMBERS = 3
STEP = 1e-5


def tensors(arrays, dtype):
    return [ops.convert_to_tensor(np.asarray(array), dtype=dtype) for array in arrays]


def others_of(model, member=0):
    """States that no gradient trains; the key of draws differs between members."""
    return [
        ops.cast(ops.convert_to_tensor(variable), variable.dtype)
        + ops.cast(member if "key" in variable.path else 0, variable.dtype)
        for variable in model.non_trainable_variables
    ]


def cost_of(model, given, training=True):
    """Cost of one member as a function of what is trained: a weighted sum of all outputs."""
    wave = np.cos(np.arange(3))

    def cost(trainable, others):
        prediction, _, losses = model.stateless_call(
            trainable, others, given, training=training, return_losses=True
        )
        weights = ops.convert_to_tensor(wave, dtype=prediction.dtype)
        return ops.mean(ops.sum(prediction * weights, axis=1)) + sum(losses)

    return cost


def test_each_has_a_case():
    assert not missing()
    named = {name for layer in CASES for name in penalties_of(layer)}
    # no network here reads all layers of another one
    assert named == {*regularization.PENALTIES, *regularization.ACTIVITY} - {"max_level"}


@pytest.mark.parametrize("name", CASES)
def test_gradients_agree_with_differences(name):
    model = model_of(name, "float64", penalties_of(name))
    given = ops.convert_to_tensor(inputs())
    others = others_of(model)
    cost = cost_of(model, given)
    values = start(model, 1)
    (_, _), gradients = backend.value_and_gradients(
        lambda trainable: (cost(trainable, others), 0.0), tensors(values, "float64")
    )
    source = np.random.default_rng(2)
    for index, gradient in enumerate(gradients):
        direction = source.normal(size=values[index].shape)
        sides = []
        for sign in (1, -1):
            moved = [np.array(value) for value in values]
            moved[index] = moved[index] + sign * STEP * direction
            sides.append(float(cost(tensors(moved, "float64"), others)))
        along = float(np.sum(ops.convert_to_numpy(gradient) * direction))
        difference = (sides[0] - sides[1]) / (2 * STEP)
        assert along == pytest.approx(difference, rel=1e-6, abs=1e-8), index


@pytest.mark.parametrize("name", CASES)
def test_members_do_not_see_each_other(name):
    assert layer_class(name).mapped
    model = model_of(name, "float64", penalties_of(name))
    given = ops.convert_to_tensor(inputs())
    cost = cost_of(model, given)

    def one(trainable, others):
        (value, _), gradients = backend.value_and_gradients(
            lambda free: (cost(free, others), 0.0), trainable
        )
        return value, gradients

    members = [tensors(start(model, seed), "float64") for seed in range(MEMBERS)]
    states = [others_of(model, member) for member in range(MEMBERS)]
    stacked = [[ops.stack(rows) for rows in zip(*each, strict=True)] for each in (members, states)]
    values, gradients = backend.compiled(
        lambda *arguments: backend.map_members(one, arguments), False
    )(*stacked)
    for member in range(MEMBERS):
        value, alone = one(members[member], states[member])
        np.testing.assert_allclose(values[member], value, rtol=1e-12)
        for mapped, gradient in zip(gradients, alone, strict=True):
            np.testing.assert_allclose(mapped[member], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", noise.NOISE)
def test_likelihoods_and_correlations_are_mapped(name):
    source = np.random.default_rng(0)
    responses = ops.convert_to_tensor(source.integers(0, 2, (6, 4)).astype(float))
    predictions = ops.convert_to_tensor(source.uniform(0.1, 2, (MEMBERS, 6, 4)))
    metric = correlation.metrics("zero-NaNs")[correlation.TAG]

    def one(predictions):
        cost = noise.noise(name).cost
        (value, _), (gradient,) = backend.value_and_gradients(
            lambda free: (ops.sum(cost(responses, free[0])), 0.0), [predictions]
        )
        return value, metric(responses, predictions, None), gradient

    found = backend.compiled(lambda each: backend.map_members(one, (each,)), False)(predictions)
    for member in range(MEMBERS):
        for mapped, alone in zip(found, one(predictions[member]), strict=True):
            np.testing.assert_allclose(mapped[member], alone, rtol=1e-12)
