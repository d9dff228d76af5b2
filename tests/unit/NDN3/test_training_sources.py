"""Summaries of the trainer, other Keras models and other sources of batches."""

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
    start,
)

from NDN3 import evaluations, streams
from NDN3.NDNutils import ffnetwork_params
from NDN3.network_model import NetworkModel
from NDN3.training import Adam, Data, Dropout, EarlyStop, HostBatches, Sample, Summaries, fit


@pytest.fixture(scope="module")
def recording():
    return small_trainings.recording()


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


def test_what_is_evaluated(recording, monkeypatch):
    """Evenly spaced training rows; masked predictions; penalties at the member's own strength."""
    images, responses, mask = recording
    monkeypatch.setattr(evaluations, "SUMMARY_ROWS", 3)
    responses = np.arange(ROWS, dtype=float)[:, None] + np.zeros(NEURONS)

    def hidden(response, prediction, mask):
        return ops.max(ops.abs(ops.where(mask > 0, 0.0, prediction)))

    first, second = fit(
        ndn("dense", l2=0.5),
        Data(images, responses, mask),
        seeds=[1, 1],
        epochs=1,
        batch_size=BATCH,
        loss=gaussian,
        validation=Data(images, responses, mask),
        summaries=Summaries(),
        metrics={"hidden": hidden, "mean": lambda y, p, m: ops.sum(y) / ops.sum(m)},
        per_member={"penalty": [1.0, 0.25], "learning_rate": [0, 0]},
        initialize=start,
    )
    shown = mask[[0, 29, 59]]
    expected = (responses[[0, 29, 59]] * shown).sum() / shown.sum()
    assert first.history["train/mean"][0] == pytest.approx(expected)
    assert first.history["test/hidden"][0] == 0
    strengths = [result.history["test/reg_pen"][0] for result in (first, second)]
    assert strengths[1] == pytest.approx(strengths[0] / 4)
    history = second.history
    total = history["test/cost"] + history["test/reg_pen"]
    np.testing.assert_allclose(history["test/cost_penalized"], total, rtol=1e-6)


@pytest.mark.parametrize(("last_batch", "watched"), [(False, "train"), (True, "watched")])
def test_what_early_stopping_watches(recording, monkeypatch, last_batch, watched):
    """Of the training rows all, not only those of the summaries; with penalties or without."""
    images, _, _ = recording
    monkeypatch.setattr(evaluations, "SUMMARY_ROWS", 3)
    for penalized, measure in ((True, "cost_penalized"), (False, "cost")):
        stop = EarlyStop(3, watch="train", penalized=penalized)
        assert evaluations.watched_cost(stop, True, last_batch) == f"{watched}/{measure}"
    responses = np.arange(ROWS, dtype=float)[:, None] ** 2 + np.zeros(NEURONS)
    (result,) = fit(
        dense_model(keras.layers.Dense(NEURONS)),
        Data(images, responses, rows=range(10, 30)),
        epochs=1,
        batch_size=BATCH,
        loss=lambda y, p, mask: y[:, 0] + 0 * p[:, 0],
        early_stop=stop,
        summaries=Summaries(),
        last_batch_summary=last_batch,
        xla=False,
    )
    rows = np.arange(10, 30)
    assert result.history[f"{watched}/cost"][0] == pytest.approx(np.mean(rows**2))
    if last_batch:
        rows = streams.row_order(0, 0, rows)[BATCH:]
    assert result.history["train/cost"][0] == pytest.approx(np.mean(rows**2))


def test_metrics_of_the_last_batch_see_its_mask_and_no_padding(recording):
    """60 rows leave 12 for the last batch of 16; of each row the first two responses count."""
    images, responses, _ = recording
    mask = np.zeros(responses.shape)
    mask[:, :2] = 1
    (result,) = fit(
        dense_model(keras.layers.Dense(NEURONS)),
        Data(images, responses, mask),
        epochs=1,
        batch_size=BATCH,
        loss=gaussian,
        summaries=Summaries(),
        metrics={"shown": lambda y, p, m: ops.sum(m), "of": lambda y, p, m: ops.sum(m + 0 * y)},
        last_batch_summary=True,
        xla=False,
    )
    assert (result.history["train/shown"], result.history["train/of"]) == (12 * 2, 12 * 2)


def test_dropout_in_evaluations_only_where_it_is_asked_for(recording):
    """The weights stand still: without dropout an evaluation gives the same in each epoch."""
    images, responses, _ = recording
    for asked, different in ((False, 1), (True, 3)):
        (result,) = fit(
            dense_model(Dropout(0.5), keras.layers.Dense(NEURONS)),
            Data(images, responses),
            epochs=3,
            batch_size=BATCH,
            loss=gaussian,
            optimizer=Adam(learning_rate=0.0),
            validation=Data(images, responses),
            evaluate_with_dropout=asked,
            xla=False,
        )
        assert len(set(result.history["test/cost"])) == different


def test_strengths_belong_to_their_layers(recording):
    """Half the sum of squares of a layer's weights, times the strength of this layer."""
    images, responses, _ = recording
    description = ffnetwork_params(
        input_dims=[1, 7, 7],
        layer_sizes=[3, NEURONS],
        layer_types=["normal", "normal"],
        act_funcs=["softplus", "softplus"],
        reg_list={"l2": [1.0, 1.0]},
        verbose=False,
    )
    model = NetworkModel(description)
    model.build((None, 49))
    results = fit(
        model,
        Data(images, responses),
        [4, 4],
        epochs=1,
        batch_size=BATCH,
        loss=poisson(),
        initialize=start,
        validation=Data(images, responses),
        per_member={"layer0/l2": [2.0, 0.0], "layer1/l2": [0.0, 3.0], "learning_rate": [0, 0]},
        xla=False,
    )
    first, _, second, _ = start(model, 4)
    expected = [2 * np.sum(first**2) / 2, 3 * np.sum(second**2) / 2]
    for result, penalty in zip(results, expected, strict=True):
        assert result.history["test/reg_pen"][0] == pytest.approx(penalty, rel=1e-5)


def test_draws_of_a_sample_are_those_of_the_documented_stream():
    """A cost that is the numbers drawn tells the key of each member and the step of each batch."""

    def draw(arrays, key, step):
        return arrays, ops.reshape(streams.uniform(key, ops.cast(step, "uint32"), 6), (6, 1))

    options = dict(epochs=3, loss=lambda y, p, mask: y[:, 0] + 0 * p[:, 0], xla=False)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    for result in fit(model, Sample(np.ones((6, 2), np.float32), draw, steps=2), [0, 5], **options):
        key = streams.key(result.seed, 3)
        drawn = [np.mean(streams.uniform(key, np.uint32(step), 6)) for step in range(6)]
        expected = np.reshape(drawn, (3, 2)).mean(axis=1)
        np.testing.assert_allclose(result.history["loss"], expected, rtol=1e-6)


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


def test_start_values_of_a_convolution_count_the_positions_of_its_filter():
    from NDN3 import start_values

    model = keras.Sequential([keras.Input((12, 2)), keras.layers.Conv1D(64, 5)])
    kernel, _ = start_values.draw(model, 4)
    limit = np.sqrt(6 / (5 * 2 + 5 * 64))
    assert 0.97 * limit < np.abs(kernel).max() <= limit


def test_an_lstm_begins_by_remembering():
    """The bias of the forget gate, the second of four, is one, as Keras has it."""
    from NDN3 import start_values

    model = keras.Sequential([keras.Input((12, 2)), keras.layers.LSTM(3)])
    *_, bias = start_values.draw(model, 4)
    np.testing.assert_array_equal(bias, [0] * 3 + [1] * 3 + [0] * 6)


def test_unknown_initializer_is_refused_by_name(recording):
    model = dense_model(
        keras.layers.Dense(
            NEURONS, kernel_initializer=lambda shape, dtype=None: ops.zeros(shape, dtype)
        )
    )
    images, responses, _ = recording
    with pytest.raises(ValueError, match="Pass initialize="):
        fit(model, Data(images, responses), epochs=1, batch_size=BATCH, loss=poisson())


def test_layers_of_ndn3_draw_their_own_start_values():
    """In a network of NDN3 and, from the same stream, in any Keras model."""
    from NDN3 import initialization, start_values
    from NDN3.layers.dense import Normal

    network = ndn("conv")
    for a, b in zip(
        start_values.draw(network, 4), initialization.start_values(network, 4), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    model = dense_model(Normal(4, activation="softplus"), keras.layers.Dense(NEURONS))
    weights, biases, kernel, _ = start_values.draw(model, 4)
    assert weights.shape == (49, 4) and weights.std() > 0 and np.all(biases == 0)
    assert np.abs(kernel).max() <= np.sqrt(6 / (4 + NEURONS))
