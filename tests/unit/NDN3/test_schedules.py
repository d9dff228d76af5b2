"""Schedules of the learning rate, alone and in a training."""

import functools
import math

import numpy as np
import pytest
import small_trainings
from keras import ops
from small_trainings import ndn, poisson, start

from NDN3 import backend, schedules, training
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params
from NDN3.training import Data

NAMES = ["constant", "cosine", "exponential", "step", "one_cycle", "warmup_cosine"]
SOURCE = np.random.default_rng(0)
X = SOURCE.normal(size=(50, 49))
Y = SOURCE.poisson(1.0, (50, 5))


def factors(given, steps, at):
    """Factors on the learning rate at some steps."""
    schedule = schedules.schedule(given, steps)
    found = [schedule(ops.convert_to_tensor(step, dtype="int32")) for step in at]
    found = [each["learning_rate"] if isinstance(each, dict) else each for each in found]
    return [float(each) for each in found]


@pytest.mark.parametrize(
    ("given", "steps", "wanted"),
    [
        ("constant", 4, {0: 1, 3: 1, 9: 1}),
        ("cosine", 4, {0: 1, 1: 0.853553, 2: 0.5, 3: 0.146447, 4: 0, 9: 0}),
        ({"name": "cosine", "final": 0.2}, 4, {0: 1, 2: 0.6, 4: 0.2}),
        (
            {"name": "cosine", "periods": 2},
            8,
            {0: 1, 2: 0.5, 3: 0.146447, 4: 1, 6: 0.5, 8: 0, 9: 0},
        ),
        ("exponential", 2, {0: 1, 1: 0.1, 2: 0.01, 3: 0.01}),
        ({"name": "exponential", "final": 0.25}, 4, {2: 0.5}),
        ("step", 8, {0: 1, 3: 1, 4: 0.1, 5: 0.1, 6: 0.01, 99: 0.01}),
        ({"name": "step", "at": [0.3], "factor": 3}, 5, {1: 1, 2: 3}),
        (
            {"name": "one_cycle", "cycle": 0.8},
            10,
            {0: 0.1, 2: 0.55, 4: 1, 6: 0.55, 8: 0.1, 9: 0.0505, 10: 0.001},
        ),
        ({"name": "one_cycle", "cycle": 1}, 10, {0: 0.1, 5: 1, 10: 0.1}),
        (
            {"name": "warmup_cosine", "warmup": 0.2},
            10,
            {0: 0.5, 1: 1, 2: 1, 4: 0.853553, 6: 0.5, 10: 0},
        ),
        ({"name": "warmup_cosine", "warmup": 0, "final": 0.1}, 4, {0: 1, 2: 0.55, 4: 0.1}),
    ],
)
def test_factors(given, steps, wanted):
    np.testing.assert_allclose(
        factors(given, steps, wanted), list(wanted.values()), rtol=1e-5, atol=1e-6
    )


def test_momentum_moves_against_the_learning_rate():
    schedule = schedules.OneCycle(10, cycle=0.8, beta_1=0.5)
    found = [float(schedule(ops.convert_to_tensor(step))["beta_1"]) for step in (0, 2, 4, 8, 10)]
    np.testing.assert_allclose(found, [1, 0.75, 0.5, 1, 1], rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_all_are_mapped_over_members(name):
    """At the same time members may be at different steps."""
    steps = np.arange(0, 40, 3, dtype=np.int32)
    schedule = schedules.schedule(name, 30)
    mapped = backend.compiled(
        lambda given: backend.map_members(lambda step: schedule(step), (given,)), xla=False
    )(ops.convert_to_tensor(steps))
    rates = mapped["learning_rate"] if isinstance(mapped, dict) else mapped
    np.testing.assert_allclose(ops.convert_to_numpy(rates), factors(name, 30, steps), atol=1e-6)
    assert set(NAMES) == set(schedules.SCHEDULES)


def test_shares_of_a_training_are_counted_without_rounding_errors():
    drop = schedules.Step(100, at=(0.07, 0.55))  # .07 * 100 is a little more than 7 in floats
    found = [float(drop(step)) for step in (6, 7, 54, 55)]
    assert found == pytest.approx([1, 0.1, 0.1, 0.01])


def test_equal_numbers_make_equal_schedules():
    given = {"name": "step", "at": [0.5, 0.6]}
    one, other = schedules.schedule(given, 100), schedules.Step(100, at=(0.5, 0.6))
    assert one == other
    assert hash(one) == hash(other)
    assert one != schedules.schedule(given, 101)
    assert schedules.Cosine(100) != schedules.WarmupCosine(100)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("cosin", "unknown schedule 'cosin'.* Did you mean 'cosine'"),
        (3, "schedule is 3; it must be a name or a dict with a name"),
        ({"final": 0.1}, "must be a name or a dict with a name"),
        ({"name": ["cosine"]}, "unknown schedule"),
        ({"name": "cosine", "finl": 0.1}, "unknown argument of schedule 'cosine' 'finl'.*'final'"),
        ({"name": "cosine", "steps": 5}, "unknown argument of schedule 'cosine' 'steps'"),
        ({"name": "cosine", "final": -1}, "final of schedule 'cosine' is -1"),
        ({"name": "cosine", "periods": 1.5}, "periods of schedule 'cosine' is 1.5"),
        ({"name": "exponential", "final": 0}, "final of schedule 'exponential' is 0"),
        ({"name": "exponential", "final": math.nan}, "final of schedule 'exponential' is nan"),
        ({"name": "step", "at": 0.5}, "at of schedule 'step' is 0.5; it must be a list"),
        ({"name": "step", "at": []}, "it must be a list of shares"),
        ({"name": "step", "at": [0.5, 1.5]}, "at of schedule 'step' is 1.5"),
        ({"name": "step", "at": [0.5, 0.2]}, "the shares must grow"),
        ({"name": "step", "factor": "0.1"}, "factor of schedule 'step' is '0.1'"),
        ({"name": "one_cycle", "cycle": 0}, "cycle of schedule 'one_cycle' is 0"),
        ({"name": "one_cycle", "beta_1": 2}, "beta_1 of schedule 'one_cycle' is 2"),
        ({"name": "warmup_cosine", "warmup": 1}, "warmup of schedule 'warmup_cosine' is 1"),
        ({"name": "constant", "value": 1}, "unknown argument of schedule 'constant' 'value'"),
    ],
)
def test_schedules_without_sense_are_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        schedules.schedule(given, 10)
    with pytest.raises(ValueError, match=sentence):
        NDN(network()).train(X, Y, opt_params={"schedule": given})


def test_steps_are_a_whole_number():
    with pytest.raises(ValueError, match="steps of a schedule is 0"):
        schedules.Cosine(0)


# ---- in a training -----------------------------------------------------------------------------


def network():
    return ffnetwork_params(
        input_dims=49,
        layer_sizes=[3, 5],
        layer_types=["normal", "normal"],
        act_funcs="softplus",
        verbose=False,
    )


def test_the_trainer_multiplies_its_learning_rate():
    """One step of Adam moves every weight by the learning rate, whatever the gradient."""
    images, responses, _ = small_trainings.recording()
    model = ndn("dense", dtype="float64")
    moved = []
    for schedule in (None, schedules.WarmupCosine(10, warmup=0.5)):
        (result,) = training.fit(
            model,
            Data(images, responses),
            epochs=1,
            batch_size=60,
            loss=poisson(),
            initialize=start,
            schedule=schedule,
            xla=False,
        )
        moved.append(np.abs(result.weights[2] - start(model, 0)[2]))
    np.testing.assert_allclose(moved[0], 1e-3, rtol=1e-3)
    np.testing.assert_allclose(moved[1], moved[0] / 5, rtol=1e-3)


def test_an_option_of_training(monkeypatch):
    """The rate falls to nothing after half of the steps, so the second half changes nothing."""
    monkeypatch.setattr(training, "fit", functools.partial(training.fit, xla=False))
    found = []
    for epochs, schedule in ((4, {"name": "step", "at": [0.5], "factor": 1e-9}), (2, None)):
        model = NDN(network())
        given = {"epochs_training": epochs, "batch_size": 16, "schedule": schedule}
        model.train(X, Y, opt_params={**given, "learning_rate": 0.01})
        found.append(model.arrays)
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
