"""What the trainer refuses in its arguments and data, each with one sentence."""

import numpy as np
import pytest
import small_trainings
from small_trainings import ROWS, ndn, options_of, small, start

from NDN3.training import fit


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
