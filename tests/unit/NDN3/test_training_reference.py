"""The trainer against a reference in NumPy."""

import numpy as np
import pytest
import reference_trainer as reference
import small_trainings
from small_trainings import (
    BATCH,
    BOUNDS,
    NEURONS,
    ROWS,
    SIZE,
    by_seed,
    gaussian,
    ndn,
    poisson,
    start,
)

from NDN3 import streams
from NDN3.training import Adam, Data, EarlyStop, fit


@pytest.fixture(scope="module")
def recording():
    return small_trainings.recording()


# ---- against the reference ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "noise", "masked"),
    [
        ("dense", "poisson", False),
        ("dense", "gaussian", True),
        ("dog", "poisson", True),
        ("dog", "gaussian", False),
        ("conv", "poisson", True),
        ("conv", "gaussian", False),
    ],
)
def test_equals_the_reference_in_float64(recording, kind, noise, masked):
    images, responses, mask = recording
    mask = mask if masked else None
    norm = np.arange(1, NEURONS + 1) / 2
    model = ndn(kind, l2=0.1, dtype="float64")
    order = streams.row_order
    (result,) = fit(
        model,
        Data(images, responses, mask),
        seeds=[2],
        epochs=5,
        batch_size=BATCH,
        loss=poisson(norm) if noise == "poisson" else gaussian,
        optimizer=Adam(learning_rate=0.01),
        initialize=start,
    )
    forward = {
        "dense": reference.dense_network,
        "dog": reference.dog_network(SIZE, BOUNDS),
        "conv": reference.conv_network(SIZE, 3, 2),
    }[kind]
    expected, costs = reference.train(
        forward,
        reference.poisson_rows if noise == "poisson" else reference.gaussian_rows,
        start(model, 2),
        images,
        responses,
        mask,
        lambda epoch: order(2, epoch, np.arange(ROWS)),
        epochs=5,
        batch=BATCH,
        rate=0.01,
        penalty=lambda p: 0.1 * np.sum(p[2] ** 2) / 2,
        norm=norm,
    )
    np.testing.assert_allclose(result.history["loss"], costs, rtol=1e-9)
    for got, wanted in zip(result.weights, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-11)


def test_early_stopping_equals_the_reference(recording):
    """Twenty members with different tolerances, two windows."""
    images, responses, _ = recording
    tolerances = np.linspace(-0.04, 0.08, 10)
    for window in (3, 7):
        options = dict(
            epochs=40,
            batch_size=BATCH,
            loss=poisson(),
            optimizer=Adam(learning_rate=0.03),
            validation=Data(images[:20], responses[:20]),
            initialize=start,
        )
        model, data = ndn("dense", l2=0.1), Data(images, responses, rows=range(20, ROWS))
        free = by_seed(fit(model, data, range(10), **options))
        stopped = by_seed(
            fit(
                model,
                data,
                range(10),
                early_stop=EarlyStop(window),
                keep_best=True,
                per_member={"tolerance": tolerances},
                **options,
            )
        )
        epochs = set()
        for seed, result in stopped.items():
            costs = free[seed].history["test/cost_penalized"]
            epoch, best = reference.stopping(costs, window, tolerances[seed])
            assert result.stopped_epoch == epoch
            assert result.best_epoch == best
            last = len(result.history["epoch"]) - 1
            assert last == (39 if epoch is None else epoch)
            undisturbed = free[seed].history["loss"][: last + 1]
            np.testing.assert_array_equal(result.history["loss"], undisturbed)
            epochs.add(epoch)
        assert len(epochs) > 2, "the members should stop at different epochs"
        (until_best,) = fit(
            model, data, [7], group=10, **dict(options, epochs=stopped[7].best_epoch + 1)
        )
        for kept, wanted in zip(stopped[7].best_weights, until_best.weights, strict=True):
            np.testing.assert_array_equal(kept, wanted)
