"""Normalization layers: hand-worked values, NumPy and Keras beside them, statistics that last."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from layer_gradients import disagreement

from NDN3 import streams
from NDN3.layers.normalization import (
    EPSILON,
    BatchNormalization,
    DivisiveNormalization,
    LayerNormalization,
)
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params

DIMS = [3, 4, 2]
SOURCE = np.random.default_rng(0)
INPUTS = 2 + 3 * SOURCE.normal(size=(5, 24))
ROWS, BATCH = 28, 16  # the second batch of an epoch has 12 rows


def built(layer, **arrays):
    """Layer in double precision with the given arrays."""
    layer.build((None, int(np.prod(layer.input_dims))))
    for name, values in arrays.items():
        layer.arrays[name].assign(np.reshape(values, layer.arrays[name].shape))
    return layer


def output(layer, inputs, **options):
    return ops.convert_to_numpy(layer(np.asarray(inputs, float), **options))


def batch_layer(dims=DIMS, **options):
    return BatchNormalization(input_dims=dims, dtype="float64", **options)


# ---- batches ----------------------------------------------------------------------------------


def test_batch_of_two_by_hand():
    layer = built(batch_layer([2, 1, 1]), weights=[1, 3], biases=[0, 10])
    found = output(layer, [[1, 2], [3, 6]], training=True)
    expected = [[-1, 10 - 3], [1, 10 + 3]]  # means 2 and 4, deviations 1 and 2
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(layer.arrays["means"], [[0.2, 0.4]])
    np.testing.assert_allclose(layer.arrays["variances"], [[1.0, 0.9 + 0.4]])


def test_moving_averages_are_used_in_predictions():
    layer = built(batch_layer([2, 1, 1]), weights=[2, 1], means=[1, 0], variances=[4, 1])
    np.testing.assert_allclose(output(layer, [[5, -3]]), [[4, -3]], rtol=1e-5)
    assert np.array_equal(layer.arrays["means"], [[1, 0]])


def test_batches_equal_those_of_keras():
    gains, shifts = SOURCE.normal(size=(2, 3))
    layer = built(batch_layer(momentum=0.7), weights=gains, biases=shifts)
    peer = keras.layers.BatchNormalization(momentum=0.7, epsilon=EPSILON, dtype="float64")
    peer.build((None, 8, 3))
    peer.gamma.assign(gains)
    peer.beta.assign(shifts)
    for training in (True, True, False):
        theirs = peer(INPUTS.reshape(5, 8, 3), training=training)
        found = output(layer, INPUTS, training=training)
        np.testing.assert_allclose(found, np.reshape(theirs, (5, 24)), rtol=1e-9)
    np.testing.assert_allclose(layer.arrays["means"][0], peer.moving_mean, rtol=1e-9)
    np.testing.assert_allclose(layer.arrays["variances"][0], peer.moving_variance, rtol=1e-9)


def cost_and_gradients(layer, inputs, row_weights, trainable=None):
    """Cost that only rows with a weight enter, its gradients, and the statistics after it."""
    trainable = [tf.convert_to_tensor(value) for value in (trainable or layer.trainable_variables)]
    inputs = tf.convert_to_tensor(inputs)
    factors = np.random.default_rng(1).normal(size=inputs.shape)
    with tf.GradientTape() as tape:
        tape.watch([*trainable, inputs])
        outputs, statistics = layer.stateless_call(
            trainable, layer.non_trainable_variables, inputs, training=True, row_weights=row_weights
        )
        costs = tf.reduce_sum(factors * outputs**3, axis=1)
        if row_weights is not None:
            costs = tf.where(row_weights > 0, costs, 0.0)
        cost = tf.reduce_sum(costs)
    return cost, tape.gradient(cost, [*trainable, inputs]), statistics


def test_rows_that_fill_up_a_batch_do_not_count():
    layer = built(batch_layer(), weights=[1, 2, -1], biases=[0, 1, 2])
    rows = SOURCE.normal(size=(12, 24))
    filled = np.concatenate([rows, np.full((4, 24), 1e6)])
    weights = np.repeat([1.0, 0.0], [12, 4])
    alone = cost_and_gradients(layer, rows, None)
    padded = cost_and_gradients(layer, filled, weights)
    np.testing.assert_allclose(padded[0], alone[0], rtol=1e-12)
    for found, expected in zip(padded[1], alone[1], strict=True):
        np.testing.assert_allclose(found[: len(expected)], expected, rtol=1e-10, atol=1e-12)
    assert not np.any(padded[1][-1][12:])
    for found, expected in zip(padded[2], alone[2], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    nothing = np.concatenate([rows, np.full((4, 24), np.inf)])
    statistics = cost_and_gradients(layer, nothing, weights)[2]
    np.testing.assert_allclose(statistics, alone[2], rtol=1e-12)


@pytest.mark.parametrize("row_weights", [None, np.array([1.0, 0, 1, 1, 0])])
def test_gradients_of_a_batch_equal_central_differences(row_weights):
    layer = built(batch_layer([2, 2, 1]), weights=[1, 2], biases=[0.5, 1])
    inputs = INPUTS[:, :4]
    values = [ops.convert_to_numpy(variable) for variable in layer.trainable_variables]
    gradients = map(ops.convert_to_numpy, cost_and_gradients(layer, inputs, row_weights)[1])
    for number, gradient in enumerate(gradients):
        for index in np.ndindex(gradient.shape):
            sides = []
            for step in (1e-5, -1e-5):
                moved = [*(value.copy() for value in values), inputs.copy()]
                moved[number][index] += step
                sides.append(cost_and_gradients(layer, moved[2], row_weights, moved[:2])[0])
            numeric = (sides[0] - sides[1]) / 2e-5
            assert abs(numeric - gradient[index]) <= 1e-6 * np.abs(gradient).max()


def test_gradients_of_a_prediction_equal_central_differences():
    layer = built(batch_layer([2, 2, 1]), weights=[1, 2], means=[1, 2], variances=[2, 3])
    found = disagreement(layer, INPUTS[:, :4])
    assert max(found.values()) <= 1e-6, found


# ---- moving averages through training, copies and files ---------------------------------------


def reader(layer_type="batch_norm", **own):
    """Network that normalizes its input, so that NumPy knows what is averaged."""
    description = ffnetwork_params([2, 2, 1], [2, 3], [layer_type, "normal"], "lin", verbose=False)
    return description | own


@pytest.fixture(scope="module")
def recording():
    inputs = (1 + SOURCE.normal(size=(40, 4)) * [1, 2, 1, 2]).astype("float32")
    return inputs, SOURCE.normal(size=(40, 3)).astype("float32")


def averages(inputs, seed, epochs, momentum=0.9):
    """Moving averages after some epochs of batches in the documented order."""
    mean, variance = np.zeros(2), np.ones(2)
    for epoch in range(epochs):
        order = streams.row_order(seed, epoch, np.arange(ROWS))
        for first in range(0, ROWS, BATCH):
            pixels = inputs[order[first : first + BATCH]].astype(float).reshape(-1, 2)
            mean = momentum * mean + (1 - momentum) * pixels.mean(axis=0)
            variance = momentum * variance + (1 - momentum) * pixels.var(axis=0)
    return mean, variance


def statistics_of(model):
    layer = model.networks[0].layers[0]
    return layer.array("means")[0], layer.array("variances")[0]


OPTIONS = {"batch_size": BATCH, "learning_rate": 0.01}


def test_seeds_in_company_keep_their_own_averages(recording):
    models = NDN.for_seeds(reader(momentum=[0.8, None]), "gaussian", seeds=[0, 5])
    options = OPTIONS | {"epochs_training": 3}
    trained = NDN.fit_together(models, *recording, train_rows=range(ROWS), opt_params=options)
    for _, model, _ in trained:
        expected = averages(recording[0], model.tf_seed, 3, momentum=0.8)
        np.testing.assert_allclose(statistics_of(model), expected, rtol=1e-5)
    assert not np.allclose(*(statistics_of(model) for model in models), rtol=1e-3)


def test_training_goes_on_and_copies_and_files_keep_the_averages(recording, tmp_path):
    model = NDN(reader(), "gaussian", tf_seed=3)
    for _ in range(2):
        model.train(*recording, range(ROWS), opt_params=OPTIONS | {"epochs_training": 2})
    mean, variance = np.zeros(2), np.ones(2)
    for start in (0, 0):  # a second call begins with epoch 0 again, and with these averages
        once = averages(recording[0], 3, 2)
        decay = 0.9**4
        mean = decay * mean + once[0]
        variance = decay * variance + once[1] - decay * (start + 1)
    np.testing.assert_allclose(statistics_of(model), (mean, variance), rtol=1e-5)
    model.save_model(tmp_path / "model.ndnmod")
    predicted = model.generate_prediction(recording[0])
    for other in (model.copy_model(), NDN.load_model(tmp_path / "model.ndnmod")):
        assert np.array_equal(statistics_of(other), statistics_of(model))
        assert np.array_equal(other.generate_prediction(recording[0]), predicted)
    changed = model.copy_model()
    changed.set_regularization("l2", 0.1, layer_target=1)
    assert np.array_equal(statistics_of(changed), statistics_of(model))
    hidden = model.networks[0].layers[1]
    normed = (recording[0].reshape(-1, 2) - mean) / np.sqrt(variance + EPSILON)
    gain, shift = (getattr(model.networks[0].layers[0], n) for n in ("weights", "biases"))
    expected = (normed * gain + shift).reshape(-1, 4) @ hidden.weights + hidden.biases
    np.testing.assert_allclose(predicted, expected, atol=1e-5)


def test_the_best_weights_come_with_the_averages_of_their_epoch(recording):
    models = NDN.for_seeds(reader(), "gaussian", seeds=[0])
    options = OPTIONS | {
        **{"epochs_training": 40, "early_stop_mode": 1, "early_stop": 3},
        "learning_rate": 0.3,  # far too fast: the best epoch is an early one
    }
    ((_, model, result),) = NDN.fit_together(
        models, *recording, range(ROWS), range(ROWS, 40), opt_params=options
    )
    assert result.best_epoch < result.stopped_epoch - 1
    best = averages(recording[0], 0, result.best_epoch + 1)
    np.testing.assert_allclose(statistics_of(model), best, rtol=1e-5)
    last = averages(recording[0], 0, result.stopped_epoch + 1)
    np.testing.assert_allclose(result.weights[2][0], last[0], rtol=1e-5)
    assert not np.allclose(best, last, rtol=1e-3)


def at_rest(model, layer=0):
    """What is trained where a layer is skipped."""
    return model.fit_variables(layers_to_skip=[layer], fit_biases=True)


def test_a_layer_at_rest_keeps_its_averages_and_uses_them(recording):
    model = NDN(reader(), "gaussian", tf_seed=3)
    normalizing, hidden = model.networks[0].layers
    normalizing.set_array("means", [[1.0, 2.0]])
    normalizing.set_array("variances", [[4.0, 0.5]])
    before = [array.copy() for array in model.arrays]
    start = hidden.weights.copy(), hidden.biases.copy()
    options = {"batch_size": ROWS, "learning_rate": 1e-3, "epochs_training": 1}
    inputs, responses = (part[:ROWS] for part in recording)
    fit = NDN.fit_together(
        [model], inputs, responses, opt_params=options, fit_variables=at_rest(model), xla=False
    )
    ((_, _, result),) = fit
    for place in range(4):
        np.testing.assert_array_equal(model.arrays[place], before[place])
    normed = ((inputs.reshape(-1, 2) - [1, 2]) / np.sqrt([4, 0.5])).reshape(-1, 4)
    cost = np.sum(np.square(normed @ start[0] + start[1] - responses)) / ROWS
    np.testing.assert_allclose(result.history["loss"], [cost], rtol=1e-4)
    # with a gain that is trained, it is not at rest
    wanted = at_rest(model)
    wanted[0][0]["weights"] = True
    fit = NDN.fit_together(
        [model], inputs, responses, opt_params=options, fit_variables=wanted, xla=False
    )
    list(fit)
    mean = inputs.reshape(-1, 2).mean(axis=0)
    np.testing.assert_allclose(statistics_of(model)[0], [0.9, 1.8] + 0.1 * mean, rtol=1e-5)


def test_lbfgs_normalizes_by_the_training_rows_and_keeps_their_averages(recording):
    inputs, responses = recording
    description = ffnetwork_params(
        [2, 2, 1], [4, 4, 3], ["normal", "batch_norm", "normal"], ["quad", "lin", "lin"]
    )
    models = NDN.for_seeds(description, "gaussian", seeds=[0, 1, 2])
    options = {"maxiter": 8}
    trained = NDN.fit_together(
        models, inputs, responses, range(ROWS), learning_alg="lbfgs", opt_params=options, xla=False
    )
    for _, model, result in trained:
        read = model.generate_prediction(inputs[:ROWS], layer_target=0)
        layer = model.networks[0].layers[1]
        np.testing.assert_allclose(layer.array("means")[0], read.mean(axis=0), rtol=1e-4)
        np.testing.assert_allclose(layer.array("variances")[0], read.var(axis=0), rtol=1e-4)
        errors = model.generate_prediction(inputs[:ROWS]) - responses[:ROWS]
        cost = np.sum(np.square(errors)) / ROWS  # of predictions: what was minimized
        np.testing.assert_allclose(result.history["train/cost"][-1], cost, rtol=1e-4)
        assert cost < 0.9 * np.sum(np.square(responses[:ROWS])) / ROWS
    model = models[0]
    before = [array.copy() for array in model.arrays[2:6]]
    trained = NDN.fit_together(
        [model],
        inputs,
        responses,
        learning_alg="lbfgs",
        opt_params=options,
        fit_variables=at_rest(model, 1),
        xla=False,
    )
    list(trained)
    for one, other in zip(model.arrays[2:6], before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_plain_keras_lets_a_layer_rest():
    layer = BatchNormalization(input_dims=[2, 2, 1], seed=1)
    layer.build((None, 4))
    inputs = INPUTS[:, :4].astype("float32")
    layer.trainable = False
    np.testing.assert_array_equal(layer(inputs, training=True), layer(inputs))
    np.testing.assert_array_equal(layer.arrays["means"], np.zeros((1, 2)))
    layer.trainable = True
    layer(inputs, training=True)
    assert np.all(layer.arrays["means"] != 0)


def test_plain_keras_moves_the_averages():
    model = keras.Sequential([keras.Input((4,)), BatchNormalization(input_dims=[2, 2, 1])])
    model.compile("sgd", "mse")
    inputs = INPUTS[:, :4].astype("float32")
    model.fit(inputs, inputs, batch_size=5, verbose=0)
    np.testing.assert_allclose(
        model.layers[0].arrays["means"][0], 0.1 * inputs.reshape(-1, 2).mean(axis=0), rtol=1e-5
    )
    again = keras.Sequential.from_config(model.get_config())
    again.set_weights(model.get_weights())
    assert np.array_equal(again(inputs), model(inputs))


# ---- rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_pixel", [False, True])
def test_rows_equal_those_of_keras(per_pixel):
    gains, shifts = SOURCE.normal(size=(2, 3))
    layer = LayerNormalization(input_dims=DIMS, per_pixel=per_pixel, dtype="float64")
    built(layer, weights=gains, biases=shifts)
    peer = keras.layers.LayerNormalization(
        axis=2 if per_pixel else [1, 2], epsilon=EPSILON, dtype="float64"
    )
    peer.build((None, 8, 3))
    shape = peer.gamma.shape
    peer.gamma.assign(np.broadcast_to(gains, shape))
    peer.beta.assign(np.broadcast_to(shifts, shape))
    theirs = np.reshape(peer(INPUTS.reshape(5, 8, 3)), (5, 24))
    for training in (True, False):
        np.testing.assert_allclose(output(layer, INPUTS, training=training), theirs, rtol=1e-9)


def test_row_by_hand():
    row = [[0, 2, 4, 10]]  # channels 0 and 1 at two pixels
    whole = built(LayerNormalization(input_dims=[2, 2, 1], dtype="float64"))
    np.testing.assert_allclose(output(whole, row), (np.array(row) - 4) / np.sqrt(14), rtol=1e-5)
    pixel = LayerNormalization(input_dims=[2, 2, 1], per_pixel=True, dtype="float64")
    pixel = built(pixel, weights=[1, 2], biases=[0, 1])
    np.testing.assert_allclose(output(pixel, row), [[-1, 3, -1, 3]], rtol=1e-5)


# ---- pools ------------------------------------------------------------------------------------


def test_division_by_hand():
    layer = DivisiveNormalization(input_dims=[2, 1, 1], dtype="float64")
    built(layer, weights=[[1, 0.5], [0, 1]], saturations=[1, -2], biases=[0, 1])
    found = output(layer, [[3, 4], [-3, 4], [-1, -1]])
    expected = [[9 / (1 + 9), 1 + 16 / (4 + 4.5 + 16)], [0, 1 + 16 / 20], [0, 1]]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    layer.arrays["weights"].assign([[-5, 0.5], [0, 1]])  # counts as zero
    np.testing.assert_allclose(output(layer, [[3, 4]])[0, 0], 9, rtol=1e-12)
    assert np.array_equal(layer.stored(np.array([[-5.0, 0.5]])), [[0, 0.5]])


@pytest.mark.parametrize(("width", "exponent"), [(None, 2), (3, 2), (2, 1), (3, 2.5)])
def test_division_equals_loops(width, exponent):
    layer = DivisiveNormalization(
        input_dims=DIMS, filter_width=width, exponent=exponent, dtype="float64"
    )
    side = width or 1
    weights = np.abs(SOURCE.normal(size=(3 * side * side, 3)))
    saturations, biases = SOURCE.uniform(0.5, 2, size=(2, 3))
    built(layer, weights=weights, saturations=saturations, biases=biases)
    expected = np.zeros((5, 2, 4, 3))
    powers = np.maximum(INPUTS, 0).reshape(5, 2, 4, 3) ** exponent
    pool = weights.reshape(side, side, 3, 3)
    before = (side - 1) // 2
    for row, h, w, channel in np.ndindex(expected.shape):
        total = saturations[channel] ** exponent
        for i, j, other in np.ndindex(side, side, 3):
            y, x = h + i - before, w + j - before
            if 0 <= y < 2 and 0 <= x < 4:
                total += pool[i, j, other, channel] * powers[row, y, x, other]
        expected[row, h, w, channel] = powers[row, h, w, channel] / total + biases[channel]
    np.testing.assert_allclose(output(layer, INPUTS), expected.reshape(5, 24), rtol=1e-9)


def test_nothing_divides_by_zero():
    layer = DivisiveNormalization(input_dims=[2, 1, 1], exponent=10.0)
    built(layer, weights=np.zeros((2, 2)), saturations=[0, 0])
    inputs = tf.zeros((1, 2))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs)
    assert np.array_equal(outputs, np.zeros((1, 2)))
    assert np.all(np.isfinite(tape.gradient(outputs, inputs)))


@pytest.mark.parametrize(
    "layer",
    [
        LayerNormalization(input_dims=[2, 2, 1], dtype="float64"),
        LayerNormalization(input_dims=[3, 2, 1], per_pixel=True, dtype="float64"),
        DivisiveNormalization(input_dims=[2, 2, 1], dtype="float64"),
        DivisiveNormalization(input_dims=[2, 2, 1], filter_width=2, exponent=1.5, dtype="float64"),
    ],
)
def test_gradients_equal_central_differences(layer):
    built(layer)
    for variable in layer.trainable_variables:
        variable.assign(SOURCE.uniform(0.2, 2, size=variable.shape))
    found = disagreement(layer, SOURCE.normal(size=(4, int(np.prod(layer.input_dims)))))
    assert max(found.values()) <= 1e-6, found


# ---- all of them ------------------------------------------------------------------------------

KINDS = (BatchNormalization, LayerNormalization, DivisiveNormalization)


@pytest.mark.parametrize("kind", KINDS)
def test_channels_are_the_units(kind):
    layer = built(kind(input_dims=DIMS, num_inh=1, activation="softplus", seed=0))
    free = built(kind(input_dims=DIMS, activation="softplus", seed=0))
    assert layer.output_dims == DIMS
    inputs = INPUTS.astype("float32")
    signs = np.tile([1, 1, -1], 8)
    np.testing.assert_allclose(layer(inputs), free(inputs) * signs, rtol=1e-6)
    again = kind.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        (BatchNormalization, {"momentum": 1}, "momentum of a batch_norm layer is 1; .* below 1"),
        (BatchNormalization, {"momentum": "x"}, "momentum of a batch_norm layer is 'x'"),
        (BatchNormalization, {"normalize_weights": 1}, "allowed are 0"),
        (BatchNormalization, {"regularizers": {"d2x": 1}}, "does not take the regularizer 'd2x'"),
        (LayerNormalization, {"per_pixel": 1}, "per_pixel of a layer_norm layer is 1"),
        (DivisiveNormalization, {"exponent": 0.5}, "exponent of a div_norm layer is 0.5; .* 1 to"),
        (DivisiveNormalization, {"filter_width": 0}, "filter_width of a div_norm layer is 0"),
        (DivisiveNormalization, {"filter_width": 5}, "4 x 2 pixels, so it can be 4 at most"),
    ],
)
def test_what_does_not_fit_is_refused(kind, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        kind(input_dims=DIMS, **options).build((None, 24))


def test_single_numbers_cannot_be_normalized():
    with pytest.raises(ValueError, match=r"per_pixel=True reads input of dims \[1, 4, 2\]"):
        LayerNormalization(input_dims=[1, 4, 2], per_pixel=True).build((None, 8))
    with pytest.raises(ValueError, match="momentum.* has no momentum"):
        NDN(reader("layer_norm", momentum=[0.5, None]))


def test_averages_are_not_among_what_may_be_fitted():
    description = ffnetwork_params([3, 1, 1], [3, 2], ["batch_norm", "normal"], verbose=False)
    named = [set(entry) for entry in NDN(description).fit_variables()[0]]
    assert named == [{"weights", "biases"}] * 2
