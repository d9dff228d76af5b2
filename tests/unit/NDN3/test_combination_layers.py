"""Layers that combine streams and channels, and readouts: values, gradients, refusals."""

import keras
import numpy as np
import pytest
from keras import ops
from layer_gradients import disagreement

from NDN3.layers.channels import ChannelMix, PixelFilter
from NDN3.layers.combination import Add, Multiply
from NDN3.layers.readouts import HadamardReadout, Readout
from NDN3.layers.spiking import SpikeHistory, SpikingNonlinearity
from NDN3.NDNutils import ffnetwork_params
from NDN3.network_model import NetworkModel

ONE_TO_FOUR = np.array([[1.0, 2, 3, 4]])


def with_arrays(layer, n_inputs, weights, biases=0.0):
    """Build a layer, if it is not, and set its arrays."""
    if not layer.built:
        layer.build((None, n_inputs))
    layer.kernel.assign(np.reshape(weights, layer.kernel.shape))
    layer.bias.assign(np.broadcast_to(biases, layer.bias.shape))
    return layer


def output(layer, inputs):
    inputs = np.asarray(inputs, dtype=layer.compute_dtype)
    return ops.convert_to_numpy(layer(inputs))


def softplus(x):
    return np.log1p(np.exp(x))


# ---- hand-worked values -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "weights", "biases", "inputs", "expected", "dims"),
    [
        *(
            (Add(2, legacy), [(1, 2), (3, 4)], 0, ONE_TO_FOUR, (10, 20), [2, 1, 1])
            for legacy in (False, True)
        ),
        *(
            (Multiply(2, legacy), (0.5, 2), (0, 1), [[1, 2, 3, -4]], (2.5, 1), [2, 1, 1])
            for legacy in (False, True)
        ),
        *(
            (
                ChannelMix(2, legacy, input_dims=[2, 2, 1]),
                [(1, 2), (3, 4)],
                0,
                ONE_TO_FOUR,
                (7, 10, 15, 22),
                [2, 2, 1],
            )
            for legacy in (False, True)
        ),
        # 1·1 + 2·2 at the first pixel, 3·3 + 4·4 at the second
        (PixelFilter(input_dims=[2, 2, 1]), [(1, 3), (2, 4)], 0, ONE_TO_FOUR, (5, 25), [1, 2, 1]),
        (
            SpikeHistory(2, input_dims=[2, 2, 1]),
            [(1, 3), (2, 4)],
            0,
            ONE_TO_FOUR,
            (5, 25),
            [2, 1, 1],
        ),
        # 3 ln(1 + e⁰) and 0.5 ln(1 + e²)
        (
            SpikingNonlinearity(),
            [(1, 2), (3, 0.5)],
            (-1, 0),
            [[1, 1]],
            (2.079442, 1.063464),
            [2, 1, 1],
        ),
        (Readout(2), [(3, 0.3), (4, 0.4)], (0, 1), [[1, 1]], (7, 1.7), [2, 1, 1]),
        # features (2, -1), mask (0.25, 0.75): 0.25 (2 - 2) + 0.75 (6 - 4)
        (
            HadamardReadout(1, input_dims=[2, 2, 1]),
            (2, -1, 1, 3),
            1,
            ONE_TO_FOUR,
            (2.5,),
            [1, 1, 1],
        ),
        # the negative part of the mask is rectified: the second pixel only
        (HadamardReadout(1, input_dims=[2, 2, 1]), (2, -1, -1, 3), 0, ONE_TO_FOUR, (2,), [1, 1, 1]),
    ],
)
def test_hand_worked_values(layer, weights, biases, inputs, expected, dims):
    size = np.shape(inputs)[1]
    layer = with_arrays(layer, size, weights, biases)
    np.testing.assert_allclose(output(layer, inputs)[0], expected, rtol=1e-6)
    assert layer.output_dims == dims


@pytest.mark.parametrize("layer_class", [ChannelMix, PixelFilter, SpikeHistory])
def test_layers_without_biases_neither_apply_nor_train_them(layer_class):
    layer = with_arrays(layer_class(2, input_dims=[2, 2, 1]), 4, np.ones((2, 2)), biases=100)
    assert output(layer, ONE_TO_FOUR).max() == 7
    assert [variable.name for variable in layer.trainable_variables] == ["weights"]


# ---- start values -------------------------------------------------------------------------------


def model_of(types, sizes, dims, **options):
    legacy = options.pop("legacy", False)
    changed = options.pop("changed", {})
    description = ffnetwork_params(
        input_dims=dims, layer_sizes=sizes, layer_types=types, verbose=False, **options
    )
    return NetworkModel({**description, **changed}, legacy=legacy)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_sum_starts_with_equal_weights(legacy):
    layer = model_of(["add"], [2], 4, act_funcs="lin", legacy=legacy).stack[0]
    np.testing.assert_allclose(ops.convert_to_numpy(layer.kernel), np.full((2, 2), 0.5**0.5))
    np.testing.assert_allclose(ops.convert_to_numpy(layer.bias), np.full((1, 2), 1e-8))
    found = output(layer, ONE_TO_FOUR.astype("float32"))
    np.testing.assert_allclose(found[0], (2.828427, 4.242640), rtol=1e-6)


def test_a_sum_starts_from_what_is_asked():
    asked = {"weights_initializers": ["normal"], "biases_initializers": ["zeros"]}
    layer = model_of(["add"], [50], 200, changed=asked).stack[0]
    assert 0.08 < np.std(ops.convert_to_numpy(layer.kernel)) < 0.12
    assert not np.any(ops.convert_to_numpy(layer.bias))


def test_start_values():
    model = model_of(
        ["dim0", "filter", "spike_history", "mult", "spkNL", "hadi_readout"],
        [4, 64, 16, 8, 8, 2],
        [1, 8, 8],
    )
    mix, pixels, history, product, rate, readout = (
        ops.convert_to_numpy(layer.kernel) for layer in model.stack
    )
    assert mix.shape == (1, 4)
    assert 0.02 < np.std(mix) < 0.3
    assert 0.08 < np.std(pixels) < 0.12
    assert history.shape == (4, 16)
    assert np.all(history > 0)  # half-normal
    assert np.all(product == 1)
    assert np.all(rate == 1)
    assert np.any(readout[:8] < 0)
    assert np.all(readout[8:] > 0)


# ---- independent implementations ----------------------------------------------------------------


def of_readout(x, w, b, dims):
    return np.einsum("ti,ij->tj", x, w) + b


def of_add(x, w, b, dims):
    channels, width, height = dims
    size = channels // len(w)
    total = np.zeros((len(x), w.shape[1]))
    for q in range(width * height):
        for s in range(len(w)):
            for k in range(size):
                total[:, k + size * q] += w[s, k + size * q] * x[:, s * size + k + channels * q]
    return total + b


def of_mult(x, w, b, dims):
    channels, width, height = dims
    size = channels // 2
    found = np.zeros((len(x), w.shape[1]))
    for j in range(w.shape[1]):
        q, k = divmod(j, size)
        gain = 1 + w[0, j] * x[:, size + k + channels * q]
        found[:, j] = x[:, k + channels * q] * np.where(gain > 0, gain, 0)
    return found + b


def of_dim0(x, w, b, dims):
    channels, width, height = dims
    image = x.reshape(-1, height, width, channels)
    return np.einsum("thwc,cf->thwf", image, w).reshape(len(x), -1)


def of_filter(x, w, b, dims):
    channels, width, height = dims
    image = x.reshape(-1, height, width, channels)
    return np.einsum("thwc,chw->thw", image, w.reshape(channels, height, width)).reshape(len(x), -1)


def of_spike_history(x, w, b, dims):
    lags, units = w.shape
    return np.stack([x[:, lags * n : lags * (n + 1)] @ w[:, n] for n in range(units)], axis=1)


def of_spknl(x, w, b, dims):
    return w[1] * softplus(w[0] * x + b)


def of_hadi_readout(x, w, b, dims):
    channels, width, height = dims
    image = x.reshape(len(x), height * width, channels)
    mask = np.where(w[channels:] > 0, w[channels:], 0)
    mask = mask / mask.sum(axis=0)
    return np.einsum("tqc,cj,qj->tj", image, w[:channels], mask) + b


IMPLEMENTATIONS = [
    (Readout, 3, [2, 3, 2], of_readout),
    (Add, 16, [4, 4, 2], of_add),
    (Add, 5, [15, 1, 1], of_add),
    (Multiply, 16, [4, 4, 2], of_mult),
    (ChannelMix, 5, [3, 4, 2], of_dim0),
    (PixelFilter, 8, [3, 4, 2], of_filter),
    (SpikeHistory, 4, [3, 4, 1], of_spike_history),
    (SpikeHistory, 4, [12, 1, 1], of_spike_history),
    (SpikingNonlinearity, None, [3, 2, 1], of_spknl),
    (HadamardReadout, 3, [3, 4, 2], of_hadi_readout),
]


def random_layer(layer_class, units, dims, **options):
    """Layer in float64 with random arrays, and an input."""
    layer = layer_class(
        units, input_dims=dims, weights_initializer="normal", dtype="float64", **options
    )
    source = np.random.default_rng(1)
    size = int(np.prod(dims))
    layer.build((None, size))
    arrays = [source.normal(size=layer.arrays[name].shape) for name in layer.array_names]
    return with_arrays(layer, size, *arrays), arrays, source.normal(size=(6, size))


@pytest.mark.parametrize(("layer_class", "units", "dims", "implementation"), IMPLEMENTATIONS)
def test_layers_equal_an_independent_implementation(layer_class, units, dims, implementation):
    layer, arrays, inputs = random_layer(layer_class, units, dims, activation="softplus")
    expected = softplus(implementation(inputs, *arrays, dims))
    np.testing.assert_allclose(output(layer, inputs), expected, rtol=1e-12)


@pytest.mark.parametrize("legacy", [False, True])
def test_networks_side_by_side_are_added_pixel_by_pixel(legacy):
    first, second = (
        ffnetwork_params(
            input_dims=[1, 4, 3], layer_sizes=[2], layer_types=["dim0"], xstim_n=n, verbose=False
        )
        for n in (0, 1)
    )
    total = ffnetwork_params(
        layer_sizes=[24],
        layer_types=["add"],
        act_funcs="lin",
        xstim_n=None,
        ffnet_n=[0, 1],
        verbose=False,
    )
    model = NetworkModel([first, second, total], legacy=legacy)
    source = np.random.default_rng(0)
    for layer in model.stack[:2]:
        layer.kernel.assign(source.normal(size=(1, 2)))
    streams = tuple(source.normal(size=(5, 12)).astype("float32") for _ in range(2))
    images = [ops.convert_to_numpy(model(streams, ffnet_target=n)) for n in (0, 1)]
    expected = (images[0] + images[1]) / np.sqrt(2) + 1e-8
    np.testing.assert_allclose(ops.convert_to_numpy(model(streams)), expected, rtol=1e-5)
    assert model.stack[2].output_dims == [2, 4, 3]


def test_spike_history_follows_the_lags_that_the_network_makes():
    model = model_of(["spike_history"], [2], [2, 1, 1], time_expand=[3], act_funcs="lin")
    weights = np.array([(1, 2), (10, 20), (100, 200)], "float32")
    model.stack[0].kernel.assign(weights)
    spikes = np.array([(1, 0), (0, 1), (0, 0), (0, 0)], "float32")
    expected = [(1, 0), (10, 2), (100, 20), (0, 200)]
    np.testing.assert_allclose(ops.convert_to_numpy(model(spikes)), expected)


# ---- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer_class", "units", "dims"), [entry[:3] for entry in IMPLEMENTATIONS])
def test_gradients_agree_with_central_differences(layer_class, units, dims):
    penalties = {"l1": 0.1, "l2": 0.2, **({"d2t": 0.3} if layer_class is SpikeHistory else {})}
    layer, _, inputs = random_layer(
        layer_class, units, dims, activation="softplus", num_inh=1, regularizers=penalties
    )
    assert max(disagreement(layer, inputs).values()) < 1e-6


# ---- signs, normalization, dropout --------------------------------------------------------------


@pytest.mark.parametrize(("layer_class", "units", "dims"), [entry[:3] for entry in IMPLEMENTATIONS])
def test_inhibitory_units_and_positive_weights(layer_class, units, dims):
    layer, arrays, inputs = random_layer(
        layer_class, units, dims, activation="softplus", num_inh=1, pos_constraint=True
    )
    free, *_ = random_layer(layer_class, units, dims, activation="softplus")
    free.kernel.assign(np.maximum(arrays[0], 0))
    expected = output(free, inputs)
    columns = np.arange(expected.shape[1]) % layer.n_units == layer.n_units - 1
    np.testing.assert_allclose(output(layer, inputs), np.where(columns, -expected, expected))
    assert np.all(expected > 0)
    assert np.all(layer.stored(arrays[0]) >= 0)


@pytest.mark.parametrize(
    ("layer_class", "units", "dims", "codes"),
    [
        (Add, 4, [8, 1, 1], (1, -1)),
        (ChannelMix, 4, [3, 2, 2], (1, -1)),
        (PixelFilter, 4, [3, 2, 2], (1, -1)),
        (SpikeHistory, 4, [3, 4, 1], (1, -1)),
        (Readout, 4, [8, 1, 1], (1, -1, 2)),
    ],
)
def test_normalization(layer_class, units, dims, codes):
    for code in codes:
        layer, (weights, biases), inputs = random_layer(
            layer_class, units, dims, normalize_weights=code
        )
        norms = np.sqrt((weights**2).sum(axis=0))
        scales = {
            1: norms,
            -1: np.maximum(norms, 1),
            2: np.sqrt((weights**2).sum()) / weights.shape[1],
        }
        free, *_ = random_layer(layer_class, units, dims)
        free.kernel.assign(weights / scales[code])
        np.testing.assert_allclose(output(layer, inputs), output(free, inputs))


def test_the_mask_of_a_hadamard_readout_is_kept_as_a_distribution():
    layer, (weights, _), _ = random_layer(HadamardReadout, 3, [2, 3, 2])
    kept = layer.stored(weights)
    np.testing.assert_array_equal(kept[:2], weights[:2])
    np.testing.assert_allclose(kept[2:].sum(axis=0), 1)
    assert np.all(kept[2:] >= 0)
    # nothing is left of a mask without a positive entry, and nothing is divided by zero
    weights[2:] = -1
    assert not np.any(layer.stored(weights)[2:])


def test_dropout_takes_whole_channels():
    layer = ChannelMix(6, input_dims=[1, 5, 4], regularizers={"dropout": 0.5}, seed=3)
    layer = with_arrays(layer, 20, np.ones((1, 6)))
    kept = ops.convert_to_numpy(layer(np.ones((3, 20), "float32"), training=True))
    channels = kept.reshape(-1, 6)
    assert np.all(channels == channels[0])
    assert set(channels[0]) == {0, 2}


# ---- penalties ----------------------------------------------------------------------------------


def test_penalties_of_the_other_layers():
    weights = np.array([(1, -2), (0.5, 1), (-1, 0)], "float32")
    # second differences of (1, 0.5, -1) and (-2, 1, 0) with zeros around
    d2t = 1.5**2 + 1**2 + 2.5**2 + 5**2 + 4**2 + 1
    history = SpikeHistory(2, input_dims=[3, 2, 1], regularizers={"l1": 1, "l2": 1, "d2t": 1})
    found = with_arrays(history, 6, weights).penalties(weights)
    expected = {"l1": 5.5, "l2": 3.625, "d2t": d2t}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)
    for layer in (
        ChannelMix(2, input_dims=[3, 4, 1], regularizers={"l1": [1, 10], "l2": 1}),
        PixelFilter(2, input_dims=[3, 2, 1], regularizers={"l1": [1, 10], "l2": 1}),
        Add(2, input_dims=6, regularizers={"l1": [1, 10], "l2": 1}),
    ):
        layer.build((None, int(np.prod(layer.input_dims))))
        found = {name: float(value) for name, value in layer.penalties(weights).items()}
        assert found == pytest.approx({"l1": 32.5, "l2": 3.625})


def test_penalties_of_a_hadamard_readout_see_its_parts():
    layer = HadamardReadout(
        1, input_dims=[2, 3, 1], regularizers={"l1": 1, "max_filt": 1, "d2x": 1}
    )
    layer.build((None, 6))
    found = layer.penalties(layer.constrained(np.array([[2], [-1], [2], [6], [-1]], "float32")))
    # features (2, -1), mask (0.25, 0.75, 0), its second differences (0.25, -1.25, 0.75)
    expected = {"l1": 4, "max_filt": 8, "d2x": 0.25**2 + 1.25**2 + 0.75**2}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("types", "sizes", "dims", "options", "sentence"),
    [
        (["add"], [3], 7, {}, "layer 0 .* add layer of 3 units reads 7 features .* multiple"),
        (["add"], [32], [1, 8, 8], {}, r"which are 2 streams; .* 1 must be a multiple of 2"),
        (["mult"], [3], 9, {}, "mult layer of 3 units reads 9 features .* exactly two streams"),
        (["normal", "mult"], [4, 4], 9, {}, "layer 1 .* reads 4 features .* 8 features"),
        (["filter"], [3], [2, 2, 2], {}, "has 3 units and an input of 4 pixels .* Give 4, or 1"),
        (["spike_history"], [3], 8, {}, "3 units reads 8 features .* equally many lags"),
        (["spkNL"], [3], 4, {}, "3 units and an input of 4 features .* Give 4"),
        (["dim0"], [3], [2, 2, 2], {"reg_list": {"d2x": [1]}}, "does not take .* 'd2x'"),
        (["spike_history"], [4], 8, {"reg_list": {"dropout": [0.5]}}, "not take .* 'dropout'"),
        (["spike_history"], [8], 8, {"reg_list": {"d2t": [0.5]}}, "d2t .* one lag"),
        (["mult"], [4], 8, {"normalization": [1]}, "normalization of a mult layer is 1"),
        (["spkNL"], [4], 4, {"normalization": [1]}, "normalization of a spkNL layer is 1"),
        (["hadi_readout"], [4], [2, 2, 2], {"normalization": [2]}, "allowed are 0. Choose"),
        (["readout"], [4], 8, {"reg_list": {"l1": [[1, 2]]}}, "2 strengths, .* 4 units"),
        (["readout"], [2], 8, {"reg_list": {"l1": [[1, -2]]}}, "layer 0, unit 1, is -2"),
        (["readout"], [2], 8, {"reg_list": {"l1": [[1, "a"]]}}, "layer 0, unit 1, is 'a'"),
    ],
)
def test_what_does_not_fit_is_refused(types, sizes, dims, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        model_of(types, sizes, dims, **options)


def test_a_sign_constraint_of_sep_has_no_meaning_for_a_hadamard_readout():
    with pytest.raises(ValueError, match="pos_constraint of a hadi_readout layer is 2"):
        HadamardReadout(2, pos_constraint=2)


# ---- descriptions and plain Keras ---------------------------------------------------------------


def test_the_printed_dims_are_those_of_the_layers(capsys):
    types = ["dim0", "add", "mult", "filter", "spike_history", "add", "spkNL", "readout"]
    sizes = [4, 128, 64, 64, 16, 8, 8, 3]
    description = ffnetwork_params(input_dims=[1, 8, 8], layer_sizes=sizes, layer_types=types)
    lines = capsys.readouterr().out.splitlines()[1:]
    model = NetworkModel(description)
    for line, layer in zip(lines, model.stack, strict=True):
        assert f"gives {layer.output_dims}," in line


def test_they_are_copied_by_keras():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((24,)),
            ChannelMix(4, input_dims=[2, 4, 3], legacy=False),
            Add(24, input_dims=[4, 4, 3]),
            Multiply(12, input_dims=[2, 4, 3], activation="softplus"),
            PixelFilter(12, input_dims=[1, 4, 3]),
            SpikingNonlinearity(12, input_dims=[1, 4, 3]),
            HadamardReadout(6, input_dims=[1, 4, 3], regularizers={"l1": 0.1}),
            SpikeHistory(3),
            Readout(2, legacy=True, regularizers={"l2": [0.1, 0.2]}),
        ]
    )
    model.compile("adam", "mse", jit_compile=False)
    inputs = np.random.default_rng(0).normal(size=(20, 24)).astype("float32")
    losses = model.fit(inputs, inputs[:, :2] ** 2, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    copied = keras.Sequential.from_config(model.get_config())
    copied.set_weights(model.get_weights())
    np.testing.assert_array_equal(copied(inputs), model(inputs))
    assert copied.layers[-1].legacy
