"""Hand-worked values of the dense, convolutional and separable layers, in networks and alone."""

import keras
import numpy as np
import pytest
from keras import ops

from NDN3 import activations
from NDN3.layers.convolution import Convolution
from NDN3.layers.dense import LinearScale, Normal
from NDN3.layers.norms import column_norms
from NDN3.layers.separable import Separable
from NDN3.layers.windows import Windows
from NDN3.NDNutils import ffnetwork_params
from NDN3.network_model import NetworkModel


def with_weights(layer, weights, n_inputs, biases=None):
    """Build a layer and set its weights; biases are zero unless given."""
    layer.build((None, n_inputs))
    layer.kernel.assign(np.reshape(weights, layer.kernel.shape).astype("float32"))
    layer.bias.assign(np.zeros(layer.bias.shape) if biases is None else biases)
    return layer


def output(layer, inputs):
    return ops.convert_to_numpy(layer(np.atleast_2d(np.asarray(inputs, dtype="float32"))))


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (5, [[88, 175, 136], [345, 528, 345], [232, 319, 184]]),
        (6, [[366, 438, 294], [798, 870, 546], [451, 481, 271]]),
    ],
)
def test_convolution_pads_the_far_side_first(side, expected):
    layer = Convolution(1, filter_width=3, shift_spacing=2)
    with_weights(layer, np.arange(9), side**2)
    image = np.arange(side**2)
    assert np.array_equal(output(layer, image).reshape(3, 3), expected)
    windows = layer.precompute(image[np.newaxis].astype("float32"))
    assert windows.shape == (1, 9, 9)
    assert np.array_equal(output_of_windows(layer, windows).reshape(3, 3), expected)


def output_of_windows(layer, windows):
    return ops.convert_to_numpy(layer(windows))


@pytest.mark.parametrize(
    ("width", "stride", "positions"),
    [(3, 2, 16), (5, 3, 11), (7, 4, 8), (13, 2, 16), (13, 6, 6), (15, 8, 4), (30, 15, 3)],
)
def test_positions_on_31_pixels(width, stride, positions):
    windows = Windows([1, 31, 31], width, stride)
    assert windows.positions == (positions, positions)
    total = max((positions - 1) * stride + width - 31, 0)
    assert windows.padding == [(total // 2, total - total // 2)] * 2


@pytest.mark.parametrize(
    ("dims", "width", "stride"),
    [([1, 9, 9], 3, 2), ([2, 6, 5], 4, 3), ([3, 7, 1], 3, 2), ([2, 1, 8], 5, 1), ([1, 5, 5], 1, 4)],
)
def test_convolution_equals_the_native_one(dims, width, stride):
    channels, w, h = dims
    source = np.random.default_rng(0)
    layer = Convolution(4, filter_width=width, shift_spacing=stride, input_dims=dims)
    k_h, k_w = (width if size > 1 else 1 for size in (h, w))
    kernel = source.normal(size=(k_h, k_w, channels, 4)).astype("float32")
    biases = source.normal(size=(1, 4)).astype("float32")
    with_weights(layer, kernel, channels * w * h, biases)
    images = source.normal(size=(3, channels * w * h)).astype("float32")
    strides = (stride if k_h > 1 else 1, stride if k_w > 1 else 1)
    if strides[0] != strides[1]:
        # the native one wants equal strides; a stride on an axis of size one changes nothing
        strides = (stride, stride)
    native = ops.conv(images.reshape(3, h, w, channels), kernel, strides, padding="same")
    native = ops.convert_to_numpy(native) + biases
    assert layer.output_dims == [4, native.shape[2], native.shape[1]]
    np.testing.assert_allclose(output(layer, images), native.reshape(3, -1), atol=1e-5)
    windows = layer.precompute(images)
    np.testing.assert_allclose(output_of_windows(layer, windows), native.reshape(3, -1), atol=1e-5)


def test_windows_too_large_for_memory_are_left_out():
    layer = Convolution(1, filter_width=31, shift_spacing=1)
    layer.build((None, 961))
    # 31 * 31 numbers at 961 positions are 3.5 MiB an image; nothing is allocated for the rule
    many = np.broadcast_to(np.zeros((1, 961), "float32"), (200, 961))
    assert layer.precompute(many) is many
    assert layer.precompute(many[:2]).shape == (2, 961, 961)


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0, (9.4, 5)), (1, (21.01904, 2.236068)), (2, (4.203808, 2.236068)), (-1, (47, 5))],
)
def test_separable_normalization(code, expected):
    layer = Separable(2, input_dims=[2, 2, 1], normalize_weights=code)
    with_weights(layer, [(3, 1), (4, 0), (2, -1), (1, 2)], 4)
    np.testing.assert_allclose(output(layer, [1, 2, 3, 4])[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("constraint", "features", "mask"),
    [
        (None, (-3, 4), (2, -1)),
        (False, (-3, 4), (2, -1)),
        (0, (0, 4), (2, -1)),
        (True, (-3, 4), (2, 0)),
        (2, (0, 4), (2, 0)),
    ],
)
def test_separable_sign_constraints(constraint, features, mask):
    layer = Separable(1, input_dims=[2, 2, 1], pos_constraint=constraint, normalize_weights=-1)
    with_weights(layer, [-3, 4, 2, -1], 4)
    kept = ops.convert_to_numpy(layer.constrained(ops.convert_to_tensor(layer.kernel)))[:, 0]
    assert tuple(kept) == (*features, *mask)


def test_excitation_and_inhibition():
    description = ffnetwork_params(
        input_dims=[1, 2, 1],
        layer_sizes=[3, 1],
        layer_types=["normal", "normal"],
        act_funcs=["relu", "softplus"],
        ei_layers=[1],
        verbose=False,
    )
    model = NetworkModel(description)
    for layer, weights in zip(
        model.stack, ([(1, -1, 2), (0.5, 1, 1)], [(1,), (2,), (-3,)]), strict=True
    ):
        layer.kernel.assign(weights)
        layer.bias.assign(np.zeros(layer.bias.shape))
    ones = np.ones((1, 2), "float32")
    np.testing.assert_allclose(model(ones, layer_target=0)[0], [1.5, 0, -3], rtol=1e-6)
    np.testing.assert_allclose(model(ones)[0], [1.701413], rtol=1e-6)


@pytest.mark.parametrize(("code", "expected"), [(0, (7, 0.7)), (1, (1.4, 1.4)), (-1, (1.4, 0.7))])
def test_normalization_of_columns(code, expected):
    layer = with_weights(Normal(2, normalize_weights=code), [(3, 0.3), (4, 0.4)], 2)
    np.testing.assert_allclose(output(layer, [1, 1])[0], expected, rtol=1e-6)


def test_normalization_of_the_whole_matrix():
    layer = with_weights(Normal(2, normalize_weights=2), [(3, 0), (0, 4)], 2)
    # Frobenius norm 5, two units
    np.testing.assert_allclose(output(layer, [1, 1])[0], [3 / 5 * 2, 4 / 5 * 2], rtol=1e-6)


@pytest.mark.parametrize("code", [1, -1, 2])
def test_normalization_of_zeros_has_a_finite_gradient(code):
    import tensorflow as tf

    layer = with_weights(Normal(2, normalize_weights=code), np.zeros((2, 2)), 2)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(np.ones((1, 2), "float32")))
    assert np.isfinite(tape.gradient(total, layer.kernel.value)).all()


def test_norms_of_small_columns():
    weights = np.array([[3e-5, 3e-9], [4e-5, 4e-9]])
    np.testing.assert_allclose(column_norms(weights, 1e-6), [[5e-5, 1e-6]], rtol=1e-6)


def test_linear_scale():
    layer = with_weights(LinearScale(), [[2]], 2, biases=[[0.5]])
    assert output(layer, [1, 2]).tolist() == [[2.5, 4.5]]
    fresh = LinearScale()
    assert output(fresh, [1, 2]).tolist() == [[1, 2]]
    assert fresh.output_dims == [2, 1, 1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("softplus", (0.201413, 0.693147, 2.126928)),
        ("elu", (-0.77687, 0, 2)),
        ("requ", (0, 0, 4)),
        ("leaky_relu", (-0.15, 0, 2)),
        ("quad", (2.25, 0, 4)),
        ("lin", (-1.5, 0, 2)),
        ("identity", (-1.5, 0, 2)),
        ("relu", (0, 0, 2)),
        ("exp", np.exp([-1.5, 0, 2])),
        ("sigmoid", 1 / (1 + np.exp([1.5, 0, -2]))),
        ("tanh", np.tanh([-1.5, 0, 2])),
    ],
)
def test_activations(name, expected):
    values = activations.activation(name)(np.array([-1.5, 0, 2], "float32"))
    np.testing.assert_allclose(ops.convert_to_numpy(values), expected, rtol=1e-5, atol=1e-7)


def test_the_slope_of_leaky_relu_can_be_set():
    assert float(activations.leaky_relu(np.float32(-2), slope=0.25)) == -0.5


def test_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'softplus'"):
        Normal(2, activation="softpuls")


def test_units_may_have_dims():
    layer = Normal([2, 3, 1])
    assert output(layer, [1, 2]).shape == (1, 6)
    assert layer.output_dims == [2, 3, 1]


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (lambda: Normal(2, normalize_weights=3), "allowed are 0, 1, -1, 2"),
        (lambda: Normal(2, pos_constraint=2), "allowed are None, False and True"),
        (lambda: Separable(2, pos_constraint=3), "pos_constraint of a sep layer is 3"),
        (lambda: Convolution(2, filter_width=0), "positive whole number of pixels"),
        (lambda: Convolution(2).build((None, 10)), "Give input_dims"),
        (lambda: Normal(2, input_dims=3).build((None, 4)), "takes 3 features, got 4"),
        (lambda: Normal(2, num_inh=3).build((None, 4)), "between 0 and its 2 units"),
        (lambda: Normal(2, regularizers={"d2x": 1.0}).build((None, 4)), "filters have one pixel"),
        (lambda: LinearScale(normalize_weights=1), "normalization of a lin_scale layer is 1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(layer, sentence):
    with pytest.raises(ValueError, match=sentence):
        layer()


def test_layers_work_in_a_plain_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((81,)),
            Convolution(2, filter_width=3, shift_spacing=2, activation="softplus"),
            Separable(3, input_dims=[2, 5, 5], regularizers={"l1": 0.1}),
            Normal(4, activation="softplus"),
        ]
    )
    model.compile("adam", "mse")
    images = np.random.default_rng(0).normal(size=(20, 81)).astype("float32")
    responses = images[:, :4] ** 2
    history = model.fit(images, responses, epochs=5, verbose=0).history["loss"]
    assert history[-1] < history[0]
    copied = keras.Sequential.from_config(model.get_config())
    copied.set_weights(model.get_weights())
    np.testing.assert_array_equal(copied(images), model(images))
