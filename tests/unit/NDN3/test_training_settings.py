"""Batches, settings of a member, divergence and refusals of the trainer."""

import keras
import numpy as np
import pytest
import small_trainings
from keras import ops
from small_trainings import (
    BATCH,
    NEURONS,
    ROWS,
    by_seed,
    dense_model,
    distance,
    gaussian,
    ndn,
    options_of,
    poisson,
    same_bits,
    small,
    start,
)

from NDN3 import running, streams
from NDN3.training import Adam, Data, Dropout, fit


@pytest.fixture(scope="module")
def recording():
    return small_trainings.recording()


# ---- batches -----------------------------------------------------------------------------------


def test_rows_follow_the_documented_stream(recording):
    images, responses, _ = recording
    rows = np.arange(10, ROWS)
    seen = []

    def order(seed, epoch):
        seen.append((seed, epoch))
        return streams.row_order(seed, epoch, rows)

    options = options_of(recording, early_stop=None)
    given = by_seed(fit(seeds=[0, 3], order=order, **options))
    assert same_bits(given[3], by_seed(fit(seeds=[0, 3], **options))[3])
    assert {(seed, epoch) for seed, epoch in seen} >= {(s, e) for s in (0, 3) for e in range(9)}
    root = np.random.SeedSequence([streams.ROOT, 3, 1, 7])
    expected = np.random.default_rng(root).permutation(rows)
    np.testing.assert_array_equal(streams.row_order(3, 7, rows), expected)


def test_legacy_order_of_the_original_program():
    order = streams.SequentialOrder(np.arange(1800))
    first = order(0, 0)
    np.testing.assert_array_equal(first[:8], [597, 831, 1174, 467, 1722, 1136, 1710, 182])
    state = np.random.RandomState(0)
    epochs = [state.permutation(1800) for _ in range(4)]
    np.testing.assert_array_equal(order(0, 3), epochs[3])  # draws and discards
    np.testing.assert_array_equal(order(0, 1), epochs[1])  # after a resumption


def test_padding_has_no_influence(recording):
    """Whatever a row holds that is not trained on, not even the filled up batch notices."""
    images, responses, _ = recording
    rows = np.arange(1, 31)
    changed = images.copy()
    changed[0] = np.nan
    options = dict(seeds=[0, 1], epochs=3, batch_size=BATCH, loss=poisson())
    model = small()
    for a, b in zip(
        fit(model, Data(images, responses, rows=rows), **options),
        fit(model, Data(changed, responses, rows=rows), **options),
        strict=True,
    ):
        assert same_bits(a, b)


def test_masked_responses_change_no_bit(recording):
    images, responses, mask = recording
    changed = np.where(mask == 0, 1e6, responses)
    a, b = (
        list(
            fit(
                small(),
                Data(images, values, mask),
                seeds=[0, 1],
                epochs=4,
                batch_size=BATCH,
                loss=poisson(),
                validation=Data(images, values, mask),
            )
        )
        for values in (responses, changed)
    )
    for x, y in zip(a, b, strict=True):
        assert same_bits(x, y)


def test_batch_larger_than_the_data(recording):
    images, responses, _ = recording
    options = dict(seeds=[0], epochs=3, loss=poisson(), initialize=start)
    a, b = (
        next(iter(fit(ndn("dense"), Data(images, responses), batch_size=size, **options)))
        for size in (ROWS, 10 * ROWS)
    )
    assert same_bits(a, b)


# ---- settings of a member ----------------------------------------------------------------------


def test_settings_of_each_member(recording):
    images, responses, _ = recording
    model, data = ndn("dense", l2=0.2), Data(images, responses)
    pairs = [(rate, penalty) for rate in (1e-3, 1e-2, 0.1) for penalty in (1.0, 0.25)]
    options = dict(epochs=4, batch_size=BATCH, loss=poisson(), initialize=start, group=6)
    rates, penalties = zip(*pairs, strict=True)
    together = list(
        fit(
            model,
            data,
            seeds=[1] * 6,
            per_member={"learning_rate": rates, "penalty": penalties},
            **options,
        )
    )
    for result, (rate, penalty) in zip(together, pairs, strict=True):
        (alone,) = fit(
            ndn("dense", l2=0.2 * penalty),
            data,
            seeds=[1],
            optimizer=Adam(learning_rate=rate),
            **options,
        )
        assert distance(result, alone) < 1e-6
    assert distance(together[0], together[1]) > 1e-6


def test_dropout_follows_the_formula_and_rests_in_evaluations():
    """The layer's draws against the hash written in NumPy."""

    def mix(word):
        with np.errstate(over="ignore"):
            word = (word ^ (word >> np.uint32(16))) * np.uint32(0x21F0AAAD)
            word = (word ^ (word >> np.uint32(15))) * np.uint32(0xD35A2D97)
        return word ^ (word >> np.uint32(15))

    key = streams.key(11, streams.DROPOUT, 0)
    layer = Dropout(0.6)
    layer.build((None, 50))
    layer.key.assign(key)
    inputs = np.ones((3, 50), np.float32)
    for draw in range(3):
        words = mix(np.arange(50, dtype=np.uint32) ^ mix(np.uint32(draw) ^ mix(key[0])) ^ key[1])
        kept = (words >> np.uint32(8)) * 2.0**-24 < 0.6
        expected = np.broadcast_to(kept / np.float32(0.6), (3, 50)).astype(np.float32)
        np.testing.assert_allclose(layer(inputs, training=True), expected, rtol=1e-6)
    np.testing.assert_array_equal(layer(inputs, training=False), inputs)


def test_a_model_may_begin_with_dropout(recording):
    """Its first variable is then the key of the draws, which is no real number."""
    images, responses, _ = recording
    model = dense_model(Dropout(0.9), keras.layers.Dense(NEURONS, "softplus"))
    (result,) = fit(
        model, Data(images, responses), epochs=3, batch_size=BATCH, loss=poisson(), seeds=[0]
    )
    assert np.all(np.isfinite(result.history["loss"]))
    assert result.history["loss"][2] < result.history["loss"][0]
    assert result.history["loss"][0] % 1 != 0, "costs are not rounded to whole numbers"


def test_dropout_numbers_are_uniform():
    numbers = np.concatenate(
        [np.asarray(streams.uniform(streams.key(s, 2), np.uint32(s), 20_000)) for s in range(5)]
    )
    counts, _ = np.histogram(numbers, bins=50, range=(0, 1))
    chi_squared = np.sum((counts - len(numbers) / 50) ** 2 / (len(numbers) / 50)) / 49
    assert chi_squared < 1.6  # 49 degrees of freedom: exceeded with probability 0.005


def test_each_member_and_each_layer_draws_for_itself(recording):
    """The keys of dropout are those of the documented stream; a layer counts its steps."""
    images, responses, _ = recording
    layers = [Dropout(0.9), keras.layers.Dense(3), Dropout(0.5), keras.layers.Dense(NEURONS)]
    model = dense_model(*layers)
    options = dict(epochs=2, batch_size=BATCH, loss=gaussian, xla=False)
    for result in fit(model, Data(images, responses), [0, 3], **options):
        named = list(zip(model.weights, result.weights, strict=True))
        keys = [value for weight, value in named if weight.name == "key"]
        for number, found in enumerate(keys):
            words = np.random.SeedSequence([streams.ROOT, result.seed, 2, number])
            np.testing.assert_array_equal(found, words.generate_state(2, np.uint32))
        assert [value for weight, value in named if weight.name == "draws"] == [8, 8]


@pytest.mark.parametrize("layer", [Dropout, keras.layers.Dropout])
def test_no_two_members_or_steps_drop_the_same_units(recording, layer):
    """The weights stand still and a batch holds all rows: the cost changes by the draws alone."""
    images, responses, _ = recording
    results = fit(
        dense_model(layer(0.5), keras.layers.Dense(NEURONS)),
        Data(images, responses),
        [0, 1],
        epochs=4,
        batch_size=ROWS,
        loss=gaussian,
        optimizer=Adam(learning_rate=0.0),
        initialize=lambda model, seed: start(model, 0),
        order=lambda seed, epoch: np.arange(ROWS),
        xla=False,
    )
    costs = np.concatenate([result.history["loss"] for result in results])
    assert np.diff(np.sort(costs)).min() > 1e-4 * costs.max()


def test_the_first_of_equally_good_epochs_is_the_best(recording):
    images, responses, _ = recording
    (result,) = fit(
        dense_model(keras.layers.Dense(NEURONS, "softplus")),
        Data(images, responses),
        epochs=4,
        batch_size=BATCH,
        loss=poisson(),
        optimizer=Adam(learning_rate=0.0),
        validation=Data(images, responses),
        keep_best=True,
        xla=False,
    )
    assert len(set(result.history["test/cost_penalized"])) == 1
    assert result.best_epoch == 0


# ---- what can go wrong -------------------------------------------------------------------------


def test_a_diverged_member_leaves_the_others_alone(recording):
    options = options_of(recording, model=ndn("dense"), early_stop=None)
    healthy = by_seed(fit(seeds=[0, 1, 2], initialize=start, **options))

    def sick(model, seed):
        values = start(model, seed)
        if seed == 1:
            values[2][:] = 1e38
        return values

    results = by_seed(fit(seeds=[0, 1, 2], initialize=sick, **options))
    assert results[1].diverged_epoch == 0
    for seed in (0, 2):
        assert results[seed].diverged_epoch is None
        assert same_bits(results[seed], healthy[seed])


def test_second_chunk_compiles_nothing(recording, monkeypatch):
    """Python is entered once, whatever the number of chunks, rates and seeds."""
    from NDN3 import lockstep

    traced = []
    original = lockstep.Program.chunk

    def chunk(self, *arguments):
        traced.append(self)
        return original(self, *arguments)

    monkeypatch.setattr(lockstep.Program, "chunk", chunk)
    chunks = []
    list(
        fit(
            seeds=range(5),
            group=2,
            per_member={"learning_rate": [1e-3, 1e-2, 1e-4, 1e-3, 1e-3]},
            progress=lambda *_: chunks.append(1),
            **options_of(recording, epochs=70),
        )
    )
    assert len(chunks) >= 6  # three groups, two chunks or more each
    assert len(traced) == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"batch_size": None}, "batch_size is None"),
        ({"seeds": []}, "there are no seeds"),
        ({"epochs": 0}, "epochs is 0"),
        ({"form": "pairs"}, "form is 'pairs'; it must be 'auto', 'group' or 'turns'"),
        ({"group": 0}, "group is 0; it must be 'auto' or a number"),
        ({"per_member": {"rate": [1]}}, "what may differ between members"),
        ({"per_member": {"learning_rate": [1, 2]}}, "one number for each of the 1 seeds"),
        ({"fit_variables": [True]}, "4 trainable variables"),
        ({"fit_variables": [False] * 4}, "leaves nothing to train"),
        ({"validation": None}, "watches test rows, but there are none"),
        ({"seeds": 3}, "seeds is 3; it must be a list"),
        ({"seeds": [0, 2.5]}, r"seeds\[1\] is 2.5; it must be a whole number from 0"),
        ({"seeds": [-1]}, r"seeds\[0\] is -1"),
        ({"epochs": 2.5}, "epochs is 2.5; it must be a whole number"),
        ({"batch_size": "16"}, "batch_size is '16'"),
        ({"optimizer": "adam"}, "optimizer is 'adam'; it must be Adam of NDN3.training"),
        ({"early_stop": 5}, "early_stop is 5; it must be EarlyStop or None"),
        ({"validation": (1, 2)}, "validation is <class 'tuple'>; it must be Data or None"),
        ({"loss": "poisson"}, "loss is 'poisson'; it must be a function"),
        ({"loss": None}, "loss is None; it must be a function"),
        ({"checkpoint": "folder"}, "checkpoint is 'folder'; it must be a function"),
        ({"initialize": 1}, "initialize is 1; it must be a function"),
        ({"order": [0, 1]}, r"order is \[0, 1\]; it must be a function"),
        ({"loss": lambda y, p, mask: ops.sum(p)}, "must give one value per row"),
    ],
)
def test_bad_arguments_are_refused_at_once(recording, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit(**(options_of(recording, model=ndn("dense"), seeds=[0]) | changes))


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [((1,), "both must be equal. Reshape the responses"), ((3,), "the loss cannot compare them")],
)
def test_responses_of_another_shape_are_refused(recording, columns, sentence):
    images, responses, _ = recording
    data = Data(images, np.ones((len(images), *columns), responses.dtype))
    options = options_of(recording, model=ndn("dense"), validation=None, early_stop=None)
    with pytest.raises(ValueError, match=f"the responses of data have shape .*{sentence}"):
        fit(**options | {"data": data, "keep_best": False})


def test_progress_counts_repetitions(recording):
    """What is reported while some members run, wait and have ended."""

    class Stage:
        def __init__(self, epoch, ended):
            self.epoch, self.ended, self.history = epoch, ended, {"loss": [2.0]}

    told = []
    for stages in ([(440, False), (440, False), (0, False)], [(500, True), (90, True)]):
        members = [Stage(*stage) for stage in stages]
        running.report(lambda *given: told.append(given), members, 500)
    assert told == [
        (880, 1500, "epoch 440 of 500, 0 of 3 repetitions done, training cost 2"),
        (1000, 1000, "epoch 500 of 500, 2 of 2 repetitions done, training cost 2"),
    ]


def test_rows_may_be_bools():
    data = Data(np.zeros((3, 2)), np.zeros((3, 1)), rows=np.array([True, False, True]))
    np.testing.assert_array_equal(data.selected(), [0, 2])
    with pytest.raises(ValueError, match="rows are 2 bools; the data have 3 rows"):
        Data(np.zeros((3, 2)), np.zeros((3, 1)), rows=[True, False])
    with pytest.raises(ValueError, match="rows are an array of float64"):
        Data(np.zeros((3, 2)), np.zeros((3, 1)), rows=[0.0, 1.0])


def test_data_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must have the same number"):
        Data(np.zeros((3, 2)), np.zeros((4, 1)))
    with pytest.raises(ValueError, match="the mask has shape"):
        Data(np.zeros((3, 2)), np.zeros((3, 1)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="rows must lie in 0…2"):
        Data(np.zeros((3, 2)), np.zeros((3, 1)), rows=[1, 3])
