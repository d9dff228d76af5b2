"""What the trainer refuses in its arguments and data, each with one sentence."""

import numpy as np
import pytest
import small_trainings
from small_trainings import BATCH, ROWS, by_seed, gaussian, ndn, options_of, same_bits, small, start

from NDN3.training import Adam, AdamW, Data, EarlyStop, Summaries, fit


@pytest.fixture(scope="module")
def recording():
    return small_trainings.recording()


def spoiled(model, entry, change):
    values = start(model, 0)
    values[entry] = change(values[entry])
    return values


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (np.ravel, r"initialize gave arrays of shapes \[\(147,\), .* Give one array for each"),
        (np.transpose, r"initialize gave arrays of shapes \[\(3, 49\), "),
        (lambda array: [[1.0], [1.0, 2.0]], "initialize gave no list of arrays; "),
        (lambda array: array + 1j, "initialize gave an array of complex128 .* real numbers"),
        (lambda array: array.astype(str), "initialize gave an array of <U"),
        (lambda array: array * np.nan, "what initialize gave for .* in 147 of 147 entries"),
    ],
)
def test_start_values_are_those_of_the_weights(recording, change, sentence):
    options = options_of(recording, model=ndn("dense"))
    with pytest.raises(ValueError, match=sentence):
        fit(initialize=lambda model, seed: spoiled(model, 0, change), **options)


@pytest.mark.parametrize(
    "given", [np.arange(9, ROWS - 1), np.arange(10, ROWS - 1), [10.0] * 50, None, [[1], [2, 3]]]
)
def test_an_order_has_each_training_row_once(recording, given):
    options = options_of(recording, model=small(), xla=False)
    results = fit(seeds=[3], order=lambda seed, epoch: given, **options)
    with pytest.raises(ValueError, match="for seed 3, epoch 0; it must give each of the 50 train"):
        next(results)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Adam(learning_rate=-1e-3), "learning_rate is -0.001; .* finite number from 0"),
        (lambda: Adam(learning_rate=np.inf), "learning_rate is inf"),
        (lambda: Adam(learning_rate="1e-3"), "learning_rate is '1e-3'"),
        (lambda: Adam(beta_1=1.0), "beta_1 is 1.0; it must be at least 0 and below 1"),
        (lambda: Adam(beta_2=np.nan), "beta_2 is nan"),
        (lambda: Adam(epsilon=0), "epsilon is 0; it must be a finite number above 0"),
        (lambda: Adam(clip_norm=0), "clip_norm is 0; it must be None or"),
        (lambda: AdamW(weight_decay=-1), "weight_decay is -1"),
        (lambda: EarlyStop("x"), "window of early stopping .* is 'x'; it must be a whole number"),
        (lambda: EarlyStop(2.5), "window of early stopping .* is 2.5"),
        (lambda: EarlyStop(2, tolerance=None), "tolerance of early stopping is None"),
        (lambda: EarlyStop(2, watch=[]), r"watch is \[\]; it must be 'test', 'train' or"),
        (lambda: EarlyStop(2, penalized="no"), "penalized is 'no'; it must be True or False"),
        (lambda: Summaries(every=0), "every .* is 0; it must be a whole number from 1"),
        (lambda: Summaries(every=2.5), "every .* is 2.5"),
        (lambda: Summaries("folder"), "folder_of is 'folder'; it must be a function"),
    ],
)
def test_numbers_of_what_is_handed_over(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"per_member": {"learning_rate": [None]}}, r"per_member\['learning_rate'\]\[0\] is None"),
        ({"per_member": {"learning_rate": [np.nan]}}, "is nan; it must be a number from 0"),
        ({"per_member": {"penalty": ["1"]}}, "is '1'; it must be a finite number"),
        ({"per_member": {"penalty": [1j]}}, "is 1j; it must be a finite number"),
        ({"per_member": {"beta_1": [1]}}, "is 1; it must be at least 0 and below 1"),
        ({"per_member": {"penalty": [[1], [1, 2]]}}, "lists of several lengths"),
        ({"keep_best": "no"}, "keep_best is 'no'; it must be True or False"),
        ({"resume": np.ones(2)}, r"resume is array\(.*; it must be True or False"),
        ({"group": np.ones(2)}, "group is .*; it must be 'auto' or a number of slots from 1"),
        ({"group": 10**30}, "group is 10{30}; it must be .* from 1 to 10000"),
        ({"form": np.ones(2)}, "form is array.*; it must be 'auto'"),
        ({"xla": np.ones(2)}, "xla is array.*; it must be 'auto'"),
        ({"fit_variables": 5}, "fit_variables is 5; it must be a list"),
        ({"fit_variables": [True, "yes", True, True]}, "is yes of shape .* a bool or a 0/1 array"),
        ({"model": "dense"}, "model is 'dense' .*; it must be a keras.Model"),
        ({"data": Data(np.ma.masked_less(np.eye(9), 1), np.eye(9))}, "inputs of data is a masked"),
        ({"checkpoint": lambda index: None}, "checkpoint gave None for the position 0"),
    ],
)
def test_arguments_of_another_kind(recording, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit(**(options_of(recording, model=ndn("dense"), seeds=[0]) | changes))


def test_a_program_is_shared_only_by_models_that_tell_their_structure(recording):
    with pytest.raises(ValueError, match="the model is a Sequential; only a model that tells its"):
        fit(**options_of(recording, model=small(), seeds=[0], reuse=True))


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ((np.zeros((3, 2)), None), "responses hold object of shape"),
        ((np.zeros((3, 2)) + 1j, np.zeros((3, 1))), "inputs hold complex128 of shape"),
        ((np.full((3, 2), "x"), np.zeros((3, 1))), "inputs hold <U1 of shape"),
        ((np.zeros((0, 2)), np.zeros((0, 1))), r"inputs hold float64 of shape \(0, 2\)"),
        (([], np.zeros((3, 1))), "inputs hold object"),
        ((np.zeros((3, 2)), np.zeros((3, 1)), np.full((3, 1), None)), "the mask hold object"),
        ((np.zeros((3, 2)), 5), r"responses hold int64 of shape \(\); .* at least one row"),
    ],
)
def test_data_of_no_numbers(arrays, sentence):
    with pytest.raises(ValueError, match=sentence):
        Data(*arrays)


@pytest.mark.parametrize("part", ["inputs", "responses", "mask"])
@pytest.mark.parametrize("name", ["data", "validation"])
def test_values_that_are_not_finite(recording, part, name):
    images, responses, _ = recording
    arrays = dict(inputs=images, responses=responses, mask=np.ones_like(responses))
    arrays[part] = arrays[part].copy()
    arrays[part][[2, 7, 9], 1] = np.nan, np.inf, -np.inf
    options = options_of(recording) | {name: Data(**arrays, rows=range(5, ROWS))}
    expected = f"the {part} of {name} have NaN or infinity in 2 of 55 rows in use, .* row 7; "
    with pytest.raises(ValueError, match=expected):
        fit(**options)


def test_masked_responses_may_be_missing(recording):
    images, responses, mask = recording
    options = dict(epochs=2, batch_size=BATCH, loss=gaussian, seeds=[0], xla=False)
    zero, missing = (
        by_seed(fit(small(), data, validation=data, **options))[0]
        for value in (0.0, np.nan)
        for data in [Data(images, np.where(mask == 0, value, responses), mask)]
    )
    assert np.isfinite(missing.history["test/cost"]).all()
    assert same_bits(zero, missing)


@pytest.mark.parametrize("make", [small, lambda: ndn("dense")])
def test_inputs_of_another_width(recording, make):
    images, responses, _ = recording
    options = options_of(recording, model=make(), data=Data(images[:, :-1], responses))
    with pytest.raises(
        ValueError, match=r"the inputs of data have the shapes \[\(60, 48\)\]"
    ) as said:
        fit(**options)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("metric", "given"),
    [
        (lambda y, p, mask: y - p, r"the shape \(5, 5\)"),
        (lambda y, p, mask: None, "a NoneType"),
        (lambda y, p, mask: "much", "a str"),
    ],
)
def test_a_metric_gives_one_number(recording, metric, given):
    with pytest.raises(ValueError, match=rf"metrics\['odd'\] gives .*{given}"):
        fit(metrics={"odd": metric}, **options_of(recording))
