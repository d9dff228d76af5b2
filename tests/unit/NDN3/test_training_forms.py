"""By which rule a model is trained as a group or in turns, with XLA or without."""

import keras
import numpy as np
import pytest
import small_trainings
import tensorflow as tf
from keras import ops
from small_trainings import BATCH, NEURONS, SIZE, by_seed, dense_model, ndn, poisson, same_bits

from NDN3 import forms
from NDN3.batches import RowSource
from NDN3.NDNutils import ffnetwork_params
from NDN3.network_model import NetworkModel
from NDN3.training import Data, Dropout, fit


@pytest.fixture(scope="module")
def recording():
    return small_trainings.recording()


def chosen(model, recording, **changes):
    images, responses, _ = recording
    source = RowSource(Data(images, responses), model, BATCH, "float32")
    options = dict(form="auto", group="auto", xla="auto", count=7, threads=1, memory=2**31)
    return forms.choose(model, source, **(options | changes))


def images_model(*layers):
    return dense_model(keras.layers.Reshape((SIZE, SIZE, 1)), *layers)


def series_model(*layers):
    return dense_model(keras.layers.Reshape((SIZE, SIZE)), *layers, keras.layers.Dense(NEURONS))


FLAT = keras.layers.Flatten


def test_from_100_000_parameters_on_members_take_turns():
    for inputs, turns in ((99_998, False), (99_999, True)):  # and a bias
        model = keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(1)])
        assert forms.needs_turns(model, set()) == turns


@pytest.mark.parametrize(
    ("make", "form", "xla"),
    [
        (lambda: dense_model(keras.layers.Dense(NEURONS, "softplus")), "group", True),
        (lambda: dense_model(keras.layers.Dense(4), Dropout(0.5)), "group", True),
        (lambda: dense_model(keras.layers.LayerNormalization()), "group", True),
        (lambda: ndn("conv"), "group", True),  # windows instead of a native convolution
        (lambda: dense_model(keras.layers.Dense(4), keras.layers.Dropout(0.5)), "turns", True),
        (lambda: images_model(keras.layers.Conv2D(2, 3), FLAT()), "turns", False),
        (lambda: images_model(keras.layers.DepthwiseConv2D(3), FLAT()), "turns", False),
        (lambda: images_model(keras.layers.Conv2DTranspose(2, 3), FLAT()), "turns", False),
        (lambda: series_model(keras.layers.Conv1D(2, 3), FLAT()), "turns", False),
        (lambda: series_model(keras.layers.GRU(3)), "turns", True),
        (lambda: series_model(keras.layers.GRU(3, unroll=True)), "turns", True),
        (lambda: series_model(keras.layers.Bidirectional(keras.layers.LSTM(2))), "turns", True),
        (lambda: dense_model(keras.layers.Dense(2100)), "turns", True),  # 105 000 parameters
        (lambda: dense_model(keras.layers.Dense(1900)), "group", True),  # 95 000 parameters
    ],
)
def test_form_follows_from_the_model(make, form, xla, recording):
    found = chosen(make(), recording)
    assert (found.name, found.xla) == (form, xla)
    assert found.slots == (7 if form == "group" else 1)


@pytest.mark.parametrize(
    ("layer_type", "inputs", "lags", "form"),
    [
        ("temporal", 99, 10, "group"),
        ("temporal", 100, 10, "turns"),
        ("sp_temporal", 100, 10, "turns"),
        ("normal", 99, 10, "group"),
        ("normal", 100, 10, "turns"),
    ],
)
def test_many_lags_are_trained_in_turns(layer_type, inputs, lags, form):
    before = {"time_expand": [lags]} if layer_type == "normal" else {"conv_filter_widths": [lags]}
    description = ffnetwork_params(
        [inputs, 1, 1], [2], [layer_type], "lin", verbose=False, **before
    )
    model = NetworkModel(description)
    assert model.lagged_entries == inputs * lags
    assert forms.needs_turns(model, set(), rows=128) == (form == "turns")
    assert not forms.needs_turns(model, set(), rows=16)


class HandWritten(keras.layers.Layer):
    """A native convolution that no class of layers tells of."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(3, 3, 1, 2))

    def call(self, inputs):
        return ops.conv(inputs, self.kernel)


def test_what_counts_are_operations_not_names_of_layers(recording):
    found = chosen(images_model(HandWritten(), FLAT()), recording)
    assert (found.name, found.xla) == ("turns", False)


def test_what_the_caller_says_wins(recording):
    dense = dense_model(keras.layers.Dense(NEURONS))
    assert chosen(dense, recording, form="turns", xla=False) == forms.Form(False, 1, False)
    assert chosen(dense, recording, group=25, count=3).slots == 25
    convolution = images_model(keras.layers.Conv2D(2, 3), FLAT())
    assert chosen(convolution, recording, xla=True).xla


@pytest.mark.parametrize(
    ("count", "threads", "slots"), [(1, 1, 1), (9, 1, 9), (30, 1, 10), (30, 2, 5), (7, 2, 4)]
)
def test_size_of_the_group(count, threads, slots, recording):
    model = dense_model(keras.layers.Dense(NEURONS))
    assert chosen(model, recording, count=count, threads=threads).slots == slots


def test_memory_bounds_the_group(recording):
    """49 × 5 + 5 parameters five times, 16 × 5 products and sums and 16 inputs, in float32."""
    model = dense_model(keras.layers.Dense(NEURONS))
    inputs = BATCH * SIZE * SIZE
    least = 4 * (5 * model.count_params() + 2 * (inputs + BATCH * NEURONS))
    most = 4 * (5 * model.count_params() + 2 * (5 * inputs + 5 * BATCH * NEURONS))
    with pytest.warns(UserWarning, match="groups have 1. A larger memory= allows more"):
        assert chosen(model, recording, memory=2 * least - 1).slots == 1
    with pytest.warns(UserWarning, match="memory allows"):
        assert chosen(model, recording, memory=1).slots == 1
    assert chosen(model, recording, memory=7 * most).slots == 7
    assert chosen(model, recording, memory=1, group=7).slots == 7, "a given size is used"


def test_training_goes_on_in_a_group_of_one(recording):
    images, responses, _ = recording
    options = dict(epochs=3, batch_size=BATCH, loss=poisson(), initialize=small_trainings.start)
    data = Data(images, responses)
    with pytest.warns(UserWarning, match="groups have 1"):
        results = by_seed(fit(ndn("dense"), data, [0, 1], memory=1000, **options))
    alone = by_seed(fit(ndn("dense"), data, [0, 1], group=1, **options))
    assert results[1].group == 1
    assert same_bits(results[1], alone[1])


class InPython(keras.layers.Layer):
    """An operation that XLA does not know."""

    def call(self, inputs):
        doubled = tf.numpy_function(lambda array: 2 * array, [inputs], tf.float32)
        doubled.set_shape(inputs.shape)
        return inputs + tf.stop_gradient(doubled)


def test_goes_on_without_xla_where_xla_cannot(recording):
    images, responses, _ = recording
    model = dense_model(InPython(), keras.layers.Dense(NEURONS, "softplus"))
    options = dict(epochs=3, batch_size=BATCH, loss=poisson(), form="turns")
    data = Data(images, responses)
    with pytest.warns(UserWarning) as caught:
        results = list(fit(model, data, [0, 1], **options))
    (warning,) = caught
    assert "XLA cannot compile this training" in str(warning.message)
    assert "PyFunc" in str(warning.message)
    without = list(fit(model, data, [0, 1], xla=False, **options))
    for a, b in zip(results, without, strict=True):
        assert same_bits(a, b)


def test_the_caller_is_told_what_was_decided(recording):
    images, responses, _ = recording
    told = []
    options = dict(epochs=2, batch_size=BATCH, loss=poisson(), declared=6)
    options["initialize"] = small_trainings.start
    data = Data(images, responses)
    fit(ndn("dense"), data, [4], decided=lambda *form: told.append(form), **options)
    assert told == [("group", 6)]


def test_an_error_of_the_model_is_no_fault_of_xla(recording):
    class Broken(keras.layers.Layer):
        def call(self, inputs, training=False):
            if training:
                tf.debugging.assert_less(inputs, -1e9)
            return inputs

    images, responses, _ = recording
    model = dense_model(keras.layers.Dense(NEURONS, "softplus"), Broken())
    with pytest.raises(tf.errors.InvalidArgumentError):
        list(
            fit(
                model,
                Data(images, np.abs(responses)),
                epochs=1,
                batch_size=BATCH,
                loss=poisson(),
                xla=False,
            )
        )
