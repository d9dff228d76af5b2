"""The legacy profile: what it does otherwise, each on both sides, and that it changes nothing else.

Values of the original program that hold in both profiles are in the tests of layers, penalties
and likelihoods, its trainings in `test_published_training.py`, its start values and order of rows
in `test_initialization.py`; statistics of each split are in `tests/unit/utils/test_data.py`.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf
from every_layer import CASES, description_of, inputs
from keras import ops

from NDN3 import fitting, streams, training, training_options
from NDN3.composition import Sources
from NDN3.layers import layer_class
from NDN3.layers.combination import Add, Multiply
from NDN3.layers.gaussians import DifferenceOfGaussians, default_bounds, random_parameters
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params
from NDN3.network_model import NetworkModel
from NDN3.noise import NOISE, noise

PROFILES = pytest.mark.parametrize("legacy", [False, True])


def described(**options):
    """A network, without the line for each layer."""
    return ffnetwork_params(**{"input_dims": 4, "verbose": False, **options})


# ---- differences of Gaussians --------------------------------------------------------------------


def gradient(legacy, parameters):
    """Gradient with respect to the parameters, of the sum of squares for three images."""
    bounds = [(0.1, 10), (1, 5), (2, 5), (2, 5)]
    layer = DifferenceOfGaussians(1, bounds=bounds, legacy=legacy, dtype="float64")
    layer.build((None, 49))
    layer.kernel.assign(np.reshape(parameters, (8, 1)))
    image = np.random.default_rng(1).normal(size=(3, 49))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(tf.square(layer(image)))
    return tape.gradient(value, layer.kernel.value).numpy()[:, 0]


def test_gradient_outside_of_the_bounds():
    outside, at_the_bounds = (-1, 0.5, 6, 1, -1, 9, 0, 0), (0.1, 1, 5, 2, 0.1, 5, 0, 0)
    assert np.array_equal(gradient(True, outside), np.zeros(8))
    # straight through: the gradient of the value in use
    passed = gradient(False, outside)
    np.testing.assert_allclose(passed, gradient(False, at_the_bounds), rtol=1e-12)
    assert np.all(passed[:6] != 0)
    # the filter is the same
    inside = (2, 2, 3, 3, 1, 1, 0, 0)
    np.testing.assert_array_equal(gradient(True, inside), gradient(False, inside))


def test_filters_start_two_rows_further():
    bounds = default_bounds(31, 31)
    within, shifted = (
        random_parameters(bounds, 1000, np.random.default_rng(0), legacy=legacy)
        for legacy in (False, True)
    )
    difference = shifted - within
    np.testing.assert_allclose(difference[[3, 7]], 2)
    assert not np.delete(difference, [3, 7], axis=0).any()
    (low, high) = bounds[3]
    assert low <= within[3].min() < within[3].max() <= high
    # 2 / (31 - 4) of them beyond the bound, where nothing moves them
    assert np.mean(shifted[3] > high) == pytest.approx(2 / 27, abs=0.02)


# ---- other layers --------------------------------------------------------------------------------

WEIGHTS = np.array([(1, -2), (0.5, 1), (-1, 0), (2, 1), (3, -1), (0, 2)], "float32")


@pytest.mark.parametrize(
    ("strength", "legacy", "expected"),
    [
        ([0.5, 2], True, {"l1": 17.75, "l2": 29.625, "max": 238.75, "d2x": 135.625}),
        ([0.5, 2], False, {"l1": 17.75, "l2": 14.8125, "max": 238.75, "d2x": 135.625}),
        (0.5, True, {"l1": 7.25, "l2": 13.125}),
        (0.5, False, {"l1": 7.25, "l2": 6.5625}),
        (0.0, True, {"l2": 0.0}),
    ],
)
def test_squares_of_a_readout_count_whole_or_half(strength, legacy, expected):
    description = described(
        input_dims=[2, 3, 1],
        layer_sizes=[2],
        layer_types=["readout"],
        reg_list={name: [strength] for name in expected},
    )
    model = NetworkModel(description, legacy=legacy)
    found = model.stack[0].penalties(WEIGHTS)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)
    model.stack[0].kernel.assign(WEIGHTS)
    model(np.zeros((1, 6), "float32"))
    assert sum(map(float, model.losses)) == pytest.approx(sum(expected.values()))


@PROFILES
@pytest.mark.parametrize("layer_type", ["dim0", "filter"])
def test_start_at_zero(layer_type, legacy):
    description = described(input_dims=[3, 2, 2], layer_sizes=[4], layer_types=[layer_type])
    layer = NetworkModel(description, legacy=legacy).stack[0]
    assert np.any(ops.convert_to_numpy(layer.kernel)) != legacy


@PROFILES
@pytest.mark.parametrize("dims", [[4, 4, 2], [4, 8, 1], [32, 1, 1]])
@pytest.mark.parametrize("layer_class", [Add, Multiply])
def test_streams_stand_one_behind_the_other_or_at_each_pixel(layer_class, dims, legacy):
    layer = layer_class(16, input_dims=dims, legacy=legacy, dtype="float64")
    layer.build((None, 32))
    source = np.random.default_rng(1)
    weights, biases, x = (
        source.normal(size=shape) for shape in (layer.kernel.shape, (1, 16), (6, 32))
    )
    layer.kernel.assign(weights)
    layer.bias.assign(biases)
    if legacy:
        first, second = x[:, :16], x[:, 16:]
    else:
        pixels = x.reshape(6, -1, 2, dims[0] // 2)
        first, second = (pixels[:, :, stream].reshape(6, 16) for stream in (0, 1))
    if layer_class is Add:
        expected = weights[0] * first + weights[1] * second + biases
    else:
        expected = first * np.maximum(1 + weights * second, 0) + biases
    np.testing.assert_allclose(layer(x), expected, rtol=1e-12)
    assert layer.output_dims == [dims[0] // 2, *dims[1:]]


def test_streams_whose_channels_do_not_divide():
    """Only one behind the other is left of the ways to read them; then there are no pixels."""
    layer = Add(24, input_dims=[3, 16, 1], legacy=True, dtype="float64")
    layer.build((None, 48))
    layer.kernel.assign(np.ones((2, 24)))
    x = np.random.default_rng(0).normal(size=(2, 48))
    np.testing.assert_allclose(layer(x), x[:, :24] + x[:, 24:] + 1e-8, rtol=1e-12)
    assert layer.output_dims == [24, 1, 1]
    with pytest.raises(ValueError, match="3 must be a multiple of 2"):
        Add(24, input_dims=[3, 16, 1]).prepare()


@PROFILES
def test_sources_stand_one_behind_the_other_or_at_each_pixel(legacy):
    one, two = np.array([[1, 2]]), np.array([[3, 4, 5, 6]])
    images = Sources([0, 1], [], False, [[1, 2, 1], [2, 2, 1]], legacy)
    expected = [[1, 2, 3, 4, 5, 6]] if legacy else [[1, 3, 4, 2, 5, 6]]
    assert images.joined([one, two]).tolist() == expected
    numbers = Sources([0, 1], [], False, [[2, 1, 1], [4, 1, 1]], legacy)
    assert numbers.joined([one, two]).tolist() == [[1, 2, 3, 4, 5, 6]]


# ---- descriptions and defaults -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("legacy", "expected"), [(True, [{"l2": 1.0}, {}]), (False, [{"l2": 1.0}] * 2)]
)
def test_a_bare_number_goes_to_every_layer_or_to_the_first(legacy, expected):
    description = described(
        layer_sizes=[3, 2], layer_types=["normal", "normal"], reg_list={"l2": 1.0}
    )
    model = NetworkModel(description, legacy=legacy)
    assert [layer.regularizers for layer in model.stack] == expected


def test_defaults_of_training():
    default = training_options.options({}, legacy=False)
    assert default == training_options.DEFAULTS
    changed = {"learning_rate": (1e-3, 1e-4), "early_stop": (0, 1)}
    assert (default["batch_size"], default["epsilon"]) == (128, 1e-8)
    old = training_options.options({"batch_size": 128}, legacy=True)
    differing = {name: (default[name], old[name]) for name in old if default[name] != old[name]}
    assert differing == changed
    with pytest.raises(ValueError, match="batch_size is None"):
        training_options.options({}, legacy=True)
    assert training_options.options(None, legacy=True, batch_size=8)["batch_size"] == 8
    by_profile = [
        training_options.options({}, legacy, learning_alg="lbfgs") for legacy in (False, True)
    ]
    assert by_profile[0] == by_profile[1]


@PROFILES
def test_start_values_are_of_another_generator(legacy):
    model = NDN(described(layer_sizes=[3], layer_types=["normal"]), tf_seed=7, legacy=legacy)
    old, new = np.random.RandomState(7), streams.generator(7, streams.START_VALUES)  # noqa: NPY002
    expected = (old if legacy else new).normal(size=(4, 3), scale=0.1)
    np.testing.assert_allclose(model.networks[0].layers[0].weights, expected, rtol=1e-6)


# ---- training ------------------------------------------------------------------------------------

SOURCE = np.random.default_rng(0)
X, Y = SOURCE.normal(size=(30, 4)), SOURCE.poisson(1.0, (30, 2))
TRAIN, TEST, BATCH, EPOCHS = np.arange(20), np.arange(20, 30), 8, 6


def rates_of(model, rows, gain):
    """Predictions where the only hidden unit is taken `gain` times."""
    first, second = model.networks[0].layers
    hidden = gain * np.logaddexp(0, X[rows] @ first.weights + first.biases)
    return np.logaddexp(0, hidden @ second.weights + second.biases)


def cost_of(model, rows, gain):
    rates = rates_of(model, rows, gain)
    costs = rates - Y[rows] * np.log(rates + 1e-6)
    return float(np.mean(np.sum(costs / model.poisson_unit_norm, axis=1)))


@PROFILES
def test_what_training_reports(legacy, monkeypatch):
    """Weights stand still. Half of the time dropout takes the hidden unit, or doubles it."""
    given = {}
    fit = functools.partial(training.fit, xla=False)
    monkeypatch.setattr(
        training, "fit", lambda *data, **options: (given.update(options), fit(*data, **options))[1]
    )
    description = described(
        layer_sizes=[1, 2],
        layer_types=["normal", "normal"],
        act_funcs="softplus",
        reg_list={"dropout": [0.5]},
    )
    description["weights_initializers"] = ["normal", "ones"]
    model = NDN(description, legacy=legacy)
    model.log_correlation = "zero-NaNs"
    options = {
        "learning_rate": 1e-30,
        "batch_size": BATCH,
        "epochs_training": EPOCHS,
        "epochs_summary": 1,
        "early_stop_mode": 1,
        "early_stop": 1,
    }
    (result,), (again,) = (
        [each for _, _, each in NDN.fit_together([model], X, Y, TRAIN, TEST, opt_params=options)]
        for _ in range(2)
    )
    # the norm is that of all rows, or of those that are trained on
    rows = slice(None) if legacy else TRAIN
    np.testing.assert_allclose(model.poisson_unit_norm, Y[rows].mean(axis=0))
    # with dropout, costs of test rows jump, and early stopping takes it for a rise
    gains = (0, 2) if legacy else (1,)
    of_test = {cost_of(model, TEST, gain) for gain in gains}
    found = result.history["test/cost"]
    assert {min(of_test, key=lambda cost, each=each: abs(cost - each)) for each in found} == of_test
    assert all(min(abs(each - cost) for cost in of_test) < 1e-5 for each in found)
    assert (result.stopped_epoch is not None) == legacy
    # the last batch of each epoch, in an order that each training begins anew, or all rows
    for history in (result.history, again.history):
        old = np.random.RandomState(0)  # noqa: NPY002
        for each in history["train/cost"]:
            rows = old.permutation(TRAIN)[2 * BATCH :] if legacy else TRAIN
            assert min(abs(each - cost_of(model, rows, gain)) for gain in gains) < 1e-5
    assert isinstance(given.get("order"), streams.SequentialOrder) == legacy
    # correlations of the fixed rows stand still, too
    rates = rates_of(model, TRAIN, 1)
    pairs = [np.corrcoef(Y[TRAIN, neuron], rates[:, neuron])[0, 1] for neuron in (0, 1)]
    reported = result.history["train/correlation/correlation"]
    assert np.allclose(reported, np.mean(pairs), atol=1e-5) != legacy
    # whatever the profile, what is predicted and scored afterwards has no dropout
    rates = rates_of(model, TEST, 1)
    np.testing.assert_allclose(model.generate_prediction(X, TEST), rates, rtol=1e-5)
    total = model.get_LL(X, Y, TEST)
    assert total == pytest.approx(cost_of(model, TEST, 1), rel=1e-5)
    scores = model.eval_models(X, Y, TEST)
    np.testing.assert_allclose(scores, noise("poisson").evaluation(Y[TEST], rates), rtol=1e-5)


def test_norms_are_of_all_rows_or_of_those_trained_on_and_are_set_once():
    mask = np.ones(Y.shape)
    mask[::3, 1] = 0
    for legacy, rows in ((False, TRAIN), (True, np.arange(30))):
        model = NDN(described(layer_sizes=[2], layer_types=["normal"]), legacy=legacy)
        expected = np.mean((Y * mask)[rows], axis=0)
        norm = fitting.unit_norm(model, None, Y, mask, TRAIN)
        np.testing.assert_allclose(norm, expected, rtol=1e-6)
        model.poisson_unit_norm = norm
        again = fitting.unit_norm(model, None, Y * 2, mask, TRAIN)
        np.testing.assert_allclose(again, expected, rtol=1e-6)
        assert fitting.unit_norm(model, 1.5, Y, mask, TRAIN).tolist() == [1.5] * 2


# ---- evaluation ----------------------------------------------------------------------------------


def test_null_model_of_a_silent_neuron():
    silent = np.zeros((4, 1))
    assert noise("poisson").null(silent).tolist() == [0]
    assert noise("poisson").null(silent, legacy=True).tolist() == [np.log(1e-6) - 1]


def test_null_model_of_squared_errors_where_there_is_a_mask():
    responses = np.array([(1, 0), (2, 3), (0, 1), (1, 4)], float)
    mask = np.array([(1, 1), (1, 0), (1, 1), (0, 1)], float)
    variances = np.array([np.var([1, 2, 0]), np.var([0, 1, 4])])
    for legacy, expected in ((False, variances), (True, [variances.sum()] * 2)):
        null = noise("gaussian").null(responses, mask, legacy)
        np.testing.assert_allclose(null, np.negative(expected))
        # without one there is nothing that differs
        null = noise("gaussian").null(responses, None, legacy)
        np.testing.assert_allclose(null, -responses.var(axis=0))


def test_null_model_of_log_odds():
    spikes = np.array([(1, 0), (0, 1), (1, 1), (0, 1)], float)
    # means 1/2 and 3/4: four entropies over two and three spikes
    entropies = [np.log(2), 2 * np.log(2) - 0.75 * np.log(3)]
    expected = [-4 * entropies[0] / 2, -4 * entropies[1] / 3]
    np.testing.assert_allclose(noise("bernoulli").null(spikes), expected, rtol=1e-12)
    assert noise("bernoulli").null(spikes, legacy=True).tolist() == [0, 0]


@pytest.mark.parametrize("name", NOISE)
def test_the_profile_reaches_the_scores(name):
    """Through the model: its null model is what it is compared with."""
    spikes, mask = np.array([(1.0, 0), (0, 1), (1, 1)]), np.array([(1, 1), (1, 1), (0, 1)])
    spikes[:, 0] *= name != "poisson"
    found = {}
    for legacy in (False, True):
        model = NDN(described(layer_sizes=[2], layer_types=["normal"]), name, legacy=legacy)
        null = model.get_null_ll(spikes, data_filters=mask)
        np.testing.assert_array_equal(null, noise(name).null(spikes, mask, legacy))
        plain, adjusted = (
            model.eval_preds(np.full((3, 2), 0.4), spikes, None, mask, nulladjusted)
            for nulladjusted in (False, True)
        )
        np.testing.assert_allclose(adjusted, -plain - null)
        found[legacy] = plain, adjusted
    np.testing.assert_array_equal(found[False][0], found[True][0])
    assert (found[False][1] != found[True][1]).any()


@PROFILES
def test_output_biases_are_the_means_or_give_them(legacy):
    description = described(layer_sizes=[2], layer_types=["normal"], act_funcs="softplus")
    model = NDN(description, legacy=legacy)
    model.initialize_output_layer_bias(np.array([(1, 0), (2, 3), (0, 1), (1, 4)]))
    means = np.array([[1, 2]])
    expected = means if legacy else np.log(np.expm1(means))
    np.testing.assert_allclose(model.networks[0].layers[0].biases, expected, rtol=1e-6)


# ---- nothing else --------------------------------------------------------------------------------

# What differs of each type of layer; everything else is equal in every bit.
OTHERWISE = {
    "diff_of_gaussians": {"start"},
    "conv_diff_of_gaussians": {"start"},
    "readout": {"penalties"},
    "add": {"outputs"},
    "mult": {"outputs"},
    "dim0": {"start"},
    "filter": {"start"},
}


def test_training_is_otherwise_equal(monkeypatch):
    """From the same arrays, without dropout, in one batch of all rows, with a given norm."""
    monkeypatch.setattr(training, "fit", functools.partial(training.fit, xla=False))
    description = described(
        input_dims=[1, 2, 2],
        layer_sizes=[3, 2],
        layer_types=["diff_of_gaussians", "normal"],
        act_funcs=["lin", "softplus"],
        reg_list={"l2": [None, 0.1]},
    )
    description["bounds"] = [[(0.01, 10), (0.1, 10), (0, 1), (0, 1)], None]
    one, other = (NDN(description, legacy=legacy) for legacy in (False, True))
    other.take(one.keras_model, one.arrays)
    options = {
        "learning_rate": 0.01,
        "batch_size": len(TRAIN),
        "epochs_training": 3,
        "epochs_summary": 1,
        "poisson_unit_norm": 0.7,
        "early_stop": 0,
    }
    results = []
    for model in (one, other):
        model.log_correlation = "zero-NaNs"
        ((_, _, result),) = NDN.fit_together([model], X, Y, TRAIN, TEST, opt_params=options)
        results.append(result)
    default, old = results
    for name in default.history.keys() - {"wall_time"}:
        np.testing.assert_allclose(default.history[name], old.history[name], atol=1e-5)
    for one_array, other_array in zip(default.weights, old.weights, strict=True):
        np.testing.assert_allclose(one_array, other_array, atol=1e-5)
    assert old.history["train/cost"][2] < old.history["train/cost"][0]


@pytest.mark.parametrize("name", CASES)
def test_everything_else_is_equal(name):
    penalties = [each for each in ("l1", "l2") if layer_class(name).takes(each)]
    description = description_of(name, **dict.fromkeys(penalties, 0.1))
    found = []
    for legacy in (False, True):
        model = NetworkModel(description, legacy=legacy)
        layer = model.stack[0]
        start = layer.start_values(np.random.default_rng(0))
        arrays = found[0]["start"] if found else start
        for variable, array in zip(layer.arrays.values(), arrays, strict=True):
            variable.assign(array)
        for variable in model.stack[1].weights:
            variable.assign(np.full(variable.shape, 0.1))
        found.append(
            {
                "start": start,
                "outputs": [ops.convert_to_numpy(model(inputs(dtype="float32")))],
                "penalties": list(map(float, model.losses)),
                "dims": layer.output_dims,
            }
        )
    default, old = found
    assert len(default["penalties"]) == len(penalties)
    differing = {
        part
        for part in default
        if not all(np.array_equal(a, b) for a, b in zip(default[part], old[part], strict=True))
    }
    assert differing == OTHERWISE.get(name, set())
