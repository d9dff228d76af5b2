"""What a step does: schedules, decay, bounds of gradients, frozen entries, constraints."""

import keras
import numpy as np
import pytest
import small_trainings
from keras import ops
from small_trainings import (
    BATCH,
    NEURONS,
    ROWS,
    dense_model,
    distance,
    gaussian,
    ndn,
    poisson,
    start,
)

from NDN3.training import Adam, AdamW, Data, fit


@pytest.fixture(scope="module")
def recording():
    return small_trainings.recording()


def test_frozen_variables_keep_every_bit(recording):
    images, responses, _ = recording
    model = ndn("dense")
    part = np.ones(model.trainable_variables[2].shape)
    part[:, 1] = 0
    free = [False, True, part, True]
    (result,) = fit(
        model,
        Data(images, responses),
        seeds=[0],
        epochs=5,
        batch_size=BATCH,
        loss=poisson(),
        initialize=start,
        fit_variables=free,
    )
    began = [np.float32(value) for value in start(model, 0)]
    np.testing.assert_array_equal(result.weights[0], began[0])
    np.testing.assert_array_equal(result.weights[2][:, 1], began[2][:, 1])
    assert np.all(result.weights[2][:, 0] != began[2][:, 0])
    assert np.all(result.weights[1] != began[1])


def test_constraints_hold_after_every_step(recording):
    """As in Keras: each step is followed by the constraint; frozen entries keep theirs."""
    images, responses, _ = recording
    constraint = keras.constraints.NonNeg()
    part = np.ones((images.shape[1], 5))
    part[0] = 0
    first, both = (
        fit(
            small_trainings.dense_model(keras.layers.Dense(5, "softplus", kernel_constraint=given)),
            Data(images, responses),
            epochs=1,
            batch_size=len(images),
            loss=poisson(),
            initialize=lambda model, _: [np.full(v.shape, 5e-4) for v in model.weights],
            fit_variables=[part, True],
            xla=False,
        )
        for given in (None, constraint)
    )
    free, held = next(first).weights[0], next(both).weights[0]
    assert free.min() < 0
    np.testing.assert_array_equal(held, np.maximum(free, 0))
    np.testing.assert_array_equal(held[0], np.float32(5e-4))


def test_schedule_scales_the_learning_rate(recording):
    images, responses, _ = recording
    options = dict(seeds=[0], epochs=2, batch_size=BATCH, loss=poisson(), initialize=start)
    model, data = ndn("dense"), Data(images, responses)
    (halved,) = fit(model, data, schedule=lambda step: 0.5, **options)
    (plain,) = fit(model, data, optimizer=Adam(learning_rate=5e-4), **options)
    assert distance(halved, plain) < 1e-6
    frozen_after = fit(model, data, schedule=lambda step: ops.where(step < 4, 1.0, 0.0), **options)
    (one_epoch,) = fit(model, data, **dict(options, epochs=1))
    assert distance(next(frozen_after), one_epoch) < 1e-7


def test_adamw_shrinks_and_clipping_bounds():
    weights, zeros = [np.float32([3.0, 4.0])], [np.zeros(2, np.float32)]
    numbers = {"learning_rate": 0.1, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}
    moments = [(zeros[0], zeros[0])]
    new, _ = AdamW().update(weights, zeros, moments, 1.0, numbers | {"weight_decay": 0.5})
    np.testing.assert_allclose(new[0], weights[0] * (1 - 0.1 * 0.5), rtol=1e-6)
    gradients = [np.float32([30.0, 40.0])]
    new, moments = Adam(clip_norm=1.0).update(weights, gradients, moments, 1.0, numbers)
    np.testing.assert_allclose(moments[0][0], 0.1 * np.array([0.6, 0.8]), rtol=1e-6)
    np.testing.assert_allclose(new[0], weights[0] - 0.1, rtol=1e-5)


def test_clipping_bounds_the_norm_of_all_gradients_together():
    """A gradient of (3, 4, 12) has norm 13; bounded by 6.5 it is halved, by 26 it is left."""
    numbers = {"learning_rate": 0.1, "beta_1": 0.0, "beta_2": 0.0, "epsilon": 1e-8}
    gradients = [np.float32([3.0, 4.0]), np.float32([12.0])]
    zeros = [np.zeros_like(gradient) for gradient in gradients]
    for bound, factor in ((6.5, 0.5), (26.0, 1.0)):
        _, moments = Adam(clip_norm=bound).update(
            zeros, gradients, [(zero, zero) for zero in zeros], 1.0, numbers
        )
        for (first, _), gradient in zip(moments, gradients, strict=True):
            np.testing.assert_allclose(first, factor * gradient, rtol=1e-6)


def test_decay_follows_the_schedule_of_the_learning_rate(recording):
    """Without a gradient a step shrinks by rate × decay: first 0.1 × 0.5, then 0.02 × 0.5."""
    images, responses, _ = recording
    (result,) = fit(
        dense_model(keras.layers.Dense(NEURONS, kernel_initializer="ones")),
        Data(images, responses),
        epochs=1,
        batch_size=ROWS // 2,
        loss=lambda y, p, mask: ops.sum(0 * p, axis=-1),
        optimizer=AdamW(learning_rate=0.1, weight_decay=0.5),
        schedule=lambda step: ops.where(step < 1, 1.0, 0.2),
        xla=False,
    )
    np.testing.assert_allclose(result.weights[0], 0.95 * 0.99, rtol=1e-6)


def test_a_schedule_may_scale_several_numbers(recording):
    images, responses, _ = recording
    (result,) = fit(
        dense_model(keras.layers.Dense(NEURONS, kernel_initializer="ones")),
        Data(images, responses),
        epochs=1,
        batch_size=ROWS,
        loss=lambda y, p, mask: ops.sum(0 * p, axis=-1),
        optimizer=AdamW(learning_rate=0.1, weight_decay=0.5),
        schedule=lambda step: {"learning_rate": 0.5, "weight_decay": 0.2},
        xla=False,
    )
    np.testing.assert_allclose(result.weights[0], 1 - 0.05 * 0.1, rtol=1e-6)


def test_decay_leaves_frozen_entries_alone(recording):
    images, responses, _ = recording
    free = np.ones((49, NEURONS))
    free[:, 1] = 0
    (result,) = fit(
        dense_model(keras.layers.Dense(NEURONS, kernel_initializer="ones")),
        Data(images, responses),
        epochs=1,
        batch_size=BATCH,
        loss=gaussian,
        optimizer=AdamW(learning_rate=0.1, weight_decay=0.5),
        fit_variables=[free, True],
        xla=False,
    )
    np.testing.assert_array_equal(result.weights[0][:, 1], 1)


def test_frozen_entries_do_not_count_in_the_norm_of_gradients(recording):
    """The gradient of a bias is (1, …, 1); with one entry free it is not longer than the bound."""
    images, responses, _ = recording
    free = np.zeros(NEURONS)
    free[2] = 1
    options = dict(
        model=dense_model(keras.layers.Dense(NEURONS)),
        data=Data(images, responses),
        epochs=1,
        batch_size=ROWS,
        loss=lambda y, p, mask: ops.sum(p, axis=-1),
        fit_variables=[False, free],
        xla=False,
    )
    # an epsilon as large as the gradient, so that Adam does not hide its size
    clipped, plain = (
        next(fit(optimizer=Adam(0.1, epsilon=1.0, clip_norm=norm), **options))
        for norm in (1.0, None)
    )
    np.testing.assert_allclose(clipped.weights[1], plain.weights[1], rtol=1e-6)
    assert plain.weights[1][2] < -1e-4
