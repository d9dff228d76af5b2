"""The trainer against a reference in NumPy; its promises on company, order and resumption."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from NDN3 import streams
from NDN3.ffnetwork import FFNetworkModel
from NDN3.NDNutils import ffnetwork_params
from NDN3.training import (
    Adam,
    AdamW,
    Data,
    Dropout,
    EarlyStop,
    HostBatches,
    Sample,
    Summaries,
    fit,
)

ROOT = Path(__file__).parents[3]
spec = importlib.util.spec_from_file_location(
    "reference_trainer", Path(__file__).with_name("reference_trainer.py")
)
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)

SIZE, NEURONS, ROWS, BATCH = 7, 5, 60, 16  # so the last batch has 12 rows
BOUNDS = [(1e-6, 10), (1, 5), (2, 5), (2, 5)]
LAYERS = {
    "dense": (["normal", "normal"], ["softplus", "softplus"]),
    "dog": (["diff_of_gaussians", "normal"], ["lin", "softplus"]),
    "conv": (["conv", "normal"], ["softplus", "softplus"]),
}


@pytest.fixture(scope="module")
def recording():
    generator = np.random.default_rng(5)
    images = generator.normal(size=(ROWS, SIZE * SIZE))
    responses = generator.poisson(1.0, (ROWS, NEURONS)).astype(float)
    mask = (generator.random((ROWS, NEURONS)) < 0.8).astype(float)
    return images, responses, mask


def poisson(norm=1.0):
    def loss(response, prediction, mask):
        return -ops.sum((response * ops.log(prediction + 1e-6) - prediction) / norm, axis=-1)

    return loss


def gaussian(response, prediction, mask):
    return ops.sum(ops.square(response - prediction), axis=-1)


def ndn(kind, l2=0.0, dtype="float32"):
    types, activations = LAYERS[kind]
    description = ffnetwork_params(
        input_dims=[1, SIZE, SIZE],
        layer_sizes=[3, NEURONS],
        layer_types=types,
        act_funcs=activations,
        reg_list={"l2": [None, l2]},
        conv_filter_widths=[3] if kind == "conv" else None,
        shift_spacing=[2] if kind == "conv" else 1,
        verbose=False,
    )
    if kind == "dog":
        description["bounds"] = [BOUNDS, None]
    model = FFNetworkModel(description, dtype=dtype)
    model.build((None, SIZE * SIZE))
    return model


def start(model, seed):
    """Start values in reach of every kind of layer."""
    generator = np.random.default_rng(100 + seed)
    values = [generator.normal(0, 0.3, variable.shape) for variable in model.weights]
    if values[0].shape[0] == 8:  # difference of Gaussians: some outside of their bounds
        values[0] = generator.uniform(0.5, 6, values[0].shape)
    return values


def dense_model(*layers):
    return keras.Sequential([keras.Input((SIZE * SIZE,)), *layers])


def small():
    return dense_model(
        keras.layers.Dense(4, "softplus"), Dropout(0.7), keras.layers.Dense(NEURONS, "softplus")
    )


def by_seed(results):
    return {result.seed: result for result in results}


def same_bits(a, b):
    return all(
        np.array_equal(x, y, equal_nan=True) for x, y in zip(a.weights, b.weights, strict=True)
    ) and all(
        np.array_equal(a.history[name], b.history[name], equal_nan=True)
        for name in a.history
        if name != "wall_time"
    )


def distance(a, b):
    largest = max(np.abs(x).max() for x in a.weights)
    return (
        max(np.abs(x - y).max() for x, y in zip(a.weights, b.weights, strict=True) if x.size)
        / largest
    )


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


# ---- who depends on whom -----------------------------------------------------------------------


def options_of(recording, **changes):
    images, responses, mask = recording
    return (
        dict(
            model=small(),
            data=Data(images, responses, mask, rows=range(10, ROWS)),
            epochs=9,
            batch_size=BATCH,
            loss=poisson(),
            validation=Data(images[:10], responses[:10], mask[:10]),
            early_stop=EarlyStop(3, tolerance=-0.02),
        )
        | changes
    )


def test_company_does_not_matter(recording):
    options = options_of(recording)
    together = by_seed(fit(seeds=[0, 1, 2, 3], group=4, **options))
    for seeds in ([3], [3, 9], [3, 2, 1, 0]):
        assert same_bits(by_seed(fit(seeds=seeds, group=4, **options))[3], together[3])
    for group in (2, 3, 10):
        other = by_seed(fit(seeds=[0, 1, 2, 3], group=group, **options))[3]
        assert distance(other, together[3]) < 2e-6
        assert other.group == group
    assert not same_bits(together[2], together[3])


@pytest.mark.parametrize("form", ["group", "turns"])
def test_interrupted_training_ends_with_the_same_bits(recording, tmp_path, form):
    options = options_of(recording, early_stop=EarlyStop(3, tolerance=-1.0), keep_best=True)
    seeds, whole = [4, 7], dict(options, epochs=12)
    undisturbed = by_seed(fit(seeds=seeds, form=form, **whole))

    def path(index):
        return tmp_path / f"{seeds[index]}.npz"

    for epochs in (4, 6):
        list(fit(seeds=seeds, form=form, checkpoint=path, **dict(options, epochs=epochs)))
    resumed = by_seed(fit(seeds=seeds, form=form, checkpoint=path, **whole))
    for seed in seeds:
        assert same_bits(resumed[seed], undisturbed[seed])
        assert list(resumed[seed].history["epoch"]) == list(range(12))
    # resumed again: all is done, nothing changes
    again = by_seed(fit(seeds=seeds, form=form, checkpoint=path, **whole))
    assert same_bits(again[4], undisturbed[4])


def test_members_of_different_age_train_side_by_side(recording, tmp_path):
    options = options_of(recording, early_stop=None)
    undisturbed = by_seed(fit(seeds=[0, 1], **options))
    list(fit(seeds=[1], group=2, checkpoint=lambda _: tmp_path / "1", **dict(options, epochs=5)))
    mixed = by_seed(fit(seeds=[0, 1], checkpoint=lambda index: tmp_path / str(index), **options))
    for seed in (0, 1):
        assert same_bits(mixed[seed], undisturbed[seed])


def test_checkpoint_of_another_training_is_refused(recording, tmp_path):
    options = options_of(recording)
    path = tmp_path / "checkpoint.npz"
    list(fit(seeds=[0], checkpoint=lambda _: path, **options))
    with pytest.raises(ValueError, match="another model, data, batch size"):
        fit(seeds=[0], checkpoint=lambda _: path, **dict(options, batch_size=8))
    path.write_bytes(b"torn")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        fit(seeds=[0], checkpoint=lambda _: path, **options)
    (fresh,) = fit(seeds=[0], checkpoint=lambda _: path, resume=False, **options)
    assert fresh.history["epoch"][0] == 0


PROGRAM = """
import sys, json, numpy as np, keras
from keras import ops
from NDN3.training import *
generator = np.random.default_rng(0)
images, responses = generator.normal(size=(60, 9)), generator.poisson(1.0, (60, 4))
model = keras.Sequential([keras.Input((9,)), keras.layers.Dense(5, "softplus"), Dropout(0.8),
                          keras.layers.Dense(4, "softplus")])
def loss(y, p, mask):
    return -ops.sum(ops.cast(y, p.dtype) * ops.log(p + 1e-6) - p, axis=-1)
def progress(done, total, text):
    print(done, total, flush=True)
for result in fit(model, Data(images, responses), range(3), epochs=int(sys.argv[2]), batch_size=16,
                  loss=loss, checkpoint=lambda i: f"{sys.argv[1]}/{i}.npz", progress=progress):
    np.savez(f"{sys.argv[1]}/result{result.seed}.npz", *result.weights)
"""


def start_program(folder, epochs):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), str(epochs)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def weights_in(folder):
    return [
        [np.load(folder / f"result{seed}.npz")[name] for name in ("arr_0", "arr_1", "arr_2")]
        for seed in range(3)
    ]


def test_interrupted_program_finishes_its_chunk_and_goes_on_later(tmp_path):
    """SIGINT leaves a checkpoint and an exit status that is not 0; so does SIGTERM."""
    undisturbed, disturbed = tmp_path / "a", tmp_path / "b"
    undisturbed.mkdir(), disturbed.mkdir()
    epochs = 2000
    with start_program(undisturbed, epochs) as program:
        _, errors = program.communicate(timeout=200)
        assert program.returncode == 0, errors
    for number in (signal.SIGINT, signal.SIGTERM):
        with start_program(disturbed, epochs) as program:
            program.stdout.readline()  # it trains
            time.sleep(0.1)
            program.send_signal(number)
            program.communicate(timeout=100)
            assert program.returncode != 0
        assert sorted(p.name for p in disturbed.glob("*.npz"))[:3] == ["0.npz", "1.npz", "2.npz"]
    with start_program(disturbed, epochs) as program:
        output, errors = program.communicate(timeout=200)
        assert program.returncode == 0, errors
    assert int(output.split()[0]) > 3, "training should have gone on, not begun again"
    for a, b in zip(weights_in(undisturbed), weights_in(disturbed), strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


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
    """Row 0 pads the last batch; whatever it holds, steps without it are unchanged."""
    images, responses, _ = recording
    rows = np.arange(1, 31)  # row 0 is never trained on
    changed = images.copy()
    changed[0] = 1e6
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


def test_dropout_numbers_are_uniform():
    numbers = np.concatenate(
        [np.asarray(streams.uniform(streams.key(s, 2), np.uint32(s), 20_000)) for s in range(5)]
    )
    counts, _ = np.histogram(numbers, bins=50, range=(0, 1))
    chi_squared = np.sum((counts - len(numbers) / 50) ** 2 / (len(numbers) / 50)) / 49
    assert chi_squared < 1.6  # 49 degrees of freedom: exceeded with probability 0.005


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
        ({"form": "pairs"}, "form must be 'group' or 'turns'"),
        ({"group": 0}, "group must be 'auto' or a number"),
        ({"per_member": {"rate": [1]}}, "what may differ between members"),
        ({"per_member": {"learning_rate": [1, 2]}}, "one number for each of the 1 seeds"),
        ({"fit_variables": [True]}, "4 trainable variables"),
        ({"fit_variables": [False] * 4}, "leaves nothing to train"),
        ({"validation": None}, "watches test rows, but there are none"),
    ],
)
def test_bad_arguments_are_refused_at_once(recording, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit(**(options_of(recording, model=ndn("dense"), seeds=[0]) | changes))


def test_data_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must have the same number"):
        Data(np.zeros((3, 2)), np.zeros((4, 1)))
    with pytest.raises(ValueError, match="the mask has shape"):
        Data(np.zeros((3, 2)), np.zeros((3, 1)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="rows must lie in 0…2"):
        Data(np.zeros((3, 2)), np.zeros((3, 1)), rows=[1, 3])


# ---- summaries ---------------------------------------------------------------------------------


def test_summaries_on_schedule_and_in_event_files(recording, tmp_path):
    from NDN3.events import read_events

    def mean_prediction(response, prediction, mask):
        return ops.mean(prediction)

    options = options_of(recording, early_stop=None, epochs=10, metrics={"mean": mean_prediction})
    (result,) = fit(
        seeds=[3], summaries=Summaries(lambda index: tmp_path / str(index), every=4), **options
    )
    assert list(result.history["epoch"]) == [0, 3, 7]
    for split in ("train", "test"):
        (file,) = (tmp_path / "0" / "summaries" / split).iterdir()
        values = {}
        for step, _, tag, value in read_events(file):
            values.setdefault(tag, []).append((step, value))
        assert set(values) == {"loss/cost", "loss/reg_pen", "loss/cost_penalized", "loss/mean"}
        for tag, pairs in values.items():
            name = tag.replace("loss", split)
            np.testing.assert_allclose([v for _, v in pairs], result.history[name])
            assert [step for step, _ in pairs] == [0, 3, 7]


def test_no_epoch_stands_twice_after_a_resumption(recording, tmp_path):
    from NDN3.events import read_events

    options = options_of(recording, early_stop=None)
    for epochs in (4, 9):
        list(
            fit(
                seeds=[0],
                summaries=Summaries(lambda index: tmp_path),
                checkpoint=lambda index: tmp_path / "checkpoint.npz",
                **dict(options, epochs=epochs),
            )
        )
    steps = [
        step
        for file in sorted((tmp_path / "summaries" / "test").iterdir())
        for step, _, tag, _ in read_events(file)
        if tag == "loss/cost"
    ]
    assert steps == list(range(9))


# ---- other Keras models, other sources ---------------------------------------------------------


def recurrent(dtype="float32"):
    return keras.Sequential([keras.Input((12, 2)), keras.layers.GRU(6), keras.layers.Dense(1)])


def convolutional():
    return keras.Sequential(
        [
            keras.Input((12, 2)),
            keras.layers.Conv1D(4, 3, padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.Activation("relu"),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(1),
        ]
    )


def squared(response, prediction, mask):
    return ops.mean(ops.square(response - prediction), axis=-1)


def windows(arrays, key, step):
    """Eight windows of 12 samples cut from a recording, and the sum of their first channel."""
    starts = ops.cast(ops.floor(streams.uniform(key, ops.cast(step, "uint32"), 8) * 180), "int32")
    rows = ops.expand_dims(starts, 1) + ops.convert_to_tensor(np.arange(12, dtype=np.int32))
    inputs = ops.take(arrays, rows, axis=0)
    return inputs, ops.sum(inputs[:, :, 0], axis=1, keepdims=True)


@pytest.mark.parametrize(("make", "xla"), [(recurrent, True), (convolutional, False)])
def test_keras_models_train_in_turns_on_windows(make, xla, tmp_path):
    """Copies in turns equal one by one in every bit, resumed ones too; the cost falls."""
    signal_ = np.random.default_rng(3).normal(size=(192, 2)).astype(np.float32)
    options = dict(
        model=make(),
        data=Sample(signal_, windows, steps=10),
        epochs=8,
        loss=squared,
        optimizer=Adam(learning_rate=0.02),
        form="turns",
        xla=xla,
    )
    together = by_seed(fit(seeds=[0, 1, 2], **options))
    (alone,) = fit(seeds=[1], **options)
    assert same_bits(together[1], alone)
    for result in together.values():
        assert result.history["loss"][-1] < 0.8 * result.history["loss"][0]
    path = tmp_path / "checkpoint.npz"
    list(fit(seeds=[1], checkpoint=lambda _: path, **dict(options, epochs=3)))
    (resumed,) = fit(seeds=[1], checkpoint=lambda _: path, **options)
    assert same_bits(resumed, alone)


def test_statistics_of_batch_normalization_come_back():
    signal_ = np.random.default_rng(3).normal(2.0, 1.0, size=(192, 2)).astype(np.float32)
    model = convolutional()
    (result,) = fit(
        model,
        Sample(signal_, windows, steps=10),
        epochs=6,
        loss=squared,
        form="turns",
        xla=False,
    )
    names = [weight.path.split("/")[-1] for weight in model.weights]
    moved = result.weights[names.index("moving_mean")]
    assert np.all(np.abs(moved) > 0.05)
    assert np.all(np.asarray(model.weights[names.index("moving_mean")]) == 0), "model unchanged"


def test_host_batches_equal_rows_in_memory(recording):
    """The same batches, made by Python one chunk ahead or gathered in the program."""
    images, responses, _ = recording
    images, responses = images[:48].astype(np.float32), responses[:48].astype(np.float32)

    def of_epoch(seed, epoch):
        order = streams.row_order(seed, epoch, np.arange(48))
        for first in range(0, 48, BATCH):
            rows = order[first : first + BATCH]
            yield images[rows], responses[rows]

    options = dict(seeds=[0, 5], epochs=7, loss=poisson(), initialize=start)
    model = ndn("dense")
    rows = list(fit(model, Data(images, responses), batch_size=BATCH, **options))
    host = list(fit(model, HostBatches(of_epoch, steps=3), **options))
    for a, b in zip(rows, host, strict=True):
        assert distance(a, b) < 1e-6
    with pytest.raises(ValueError, match="it must give at least 4"):
        fit(model, HostBatches(of_epoch, steps=4), **options)


def test_default_start_values_have_the_distribution_of_the_initializers():
    model = keras.Sequential(
        [
            keras.Input((300,)),
            keras.layers.Dense(200, kernel_initializer="glorot_uniform", bias_initializer="ones"),
            keras.layers.Dense(100, kernel_initializer="he_normal"),
            keras.layers.Dense(100, kernel_initializer="orthogonal"),
        ]
    )
    from NDN3 import start_values

    glorot, ones, he, zeros, orthogonal, _ = start_values.draw(model, 4)
    limit = np.sqrt(6 / 500)
    assert 0.99 * limit < np.abs(glorot).max() <= limit
    assert np.all(ones == 1) and np.all(zeros == 0)
    assert abs(he.std() / np.sqrt(2 / 200) - 1) < 0.02
    np.testing.assert_allclose(orthogonal.T @ orthogonal, np.eye(100), atol=1e-5)
    for a, b in zip(start_values.draw(model, 4), start_values.draw(model, 4), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(start_values.draw(model, 5)[0], glorot)


def test_unknown_initializer_is_refused_by_name(recording):
    model = dense_model(
        keras.layers.Dense(
            NEURONS, kernel_initializer=lambda shape, dtype=None: ops.zeros(shape, dtype)
        )
    )
    images, responses, _ = recording
    with pytest.raises(ValueError, match="Pass initialize="):
        fit(model, Data(images, responses), epochs=1, batch_size=BATCH, loss=poisson())
