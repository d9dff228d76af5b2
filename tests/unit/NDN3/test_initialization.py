"""Start values: the published ones of the old generator, and those of the documented streams."""

import random

import every_layer
import keras
import numpy as np
import pytest
from keras import ops

from NDN3 import initialization, streams
from NDN3.layers import layer_class
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params
from NDN3.network_model import NetworkModel

EPS = float(np.finfo(float).eps)


def hsm(biases):
    description = ffnetwork_params(
        input_dims=[1, 31, 31],
        layer_sizes=[9, 20, 103],
        layer_types=["diff_of_gaussians", "normal", "normal"],
        act_funcs=["lin", "softplus", "softplus"],
        verbose=False,
    )
    description["bounds"] = [[(EPS, 10), (1, 25), (2, 29), (2, 29)], None, None]
    description["biases_initializers"] = [biases] * 3
    return description


def close(values, expected):
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=5e-7)


def test_old_generator_with_random_biases():
    dog, dog_b, hidden, hidden_b, out, out_b = NDN(hsm("trunc_normal"), legacy=True).arrays
    close(
        dog[:, 0],
        [7.91725, 21.880291, 16.089905, 20.657217, 2.103826, 4.871428, 7.307724, 20.33083],
    )
    close(dog_b[0, :3], [0.176405, 0.040016, 0.097874])
    close(hidden[0, :3], [0.04106, 0.017743, -0.040178])
    close(hidden_b[0, :3], [-0.029779, -0.030901, -0.1676])
    close(out[0, :3], [-0.005257, -0.193628, 0.018878])
    close(out_b[0, :3], [0.05083, 0.058337, 0.09266])


def test_old_generator_with_biases_of_zero():
    dog, dog_b, hidden, hidden_b, out, out_b = NDN(hsm("zeros"), legacy=True).arrays
    close(
        dog[:, 0],
        [5.488135, 10.202597, 23.010233, 29.506062, 6.120957, 17.095308, 7.639672, 7.73094],
    )
    close(hidden[0, :3], [0.006652, 0.030247, -0.063432])
    close(out[0, :3], [0.149448, -0.206998, 0.042626])
    for biases in (dog_b, hidden_b, out_b):
        assert not biases.any()


def test_default_bounds_are_those_of_31_pixels():
    given, default = hsm("zeros"), hsm("zeros")
    del default["bounds"]
    for one, other in zip(NDN(given).arrays, NDN(default).arrays, strict=True):
        np.testing.assert_array_equal(one, other)


def test_first_epoch_of_the_old_generator():
    order = streams.SequentialOrder(np.arange(1800))(0, 0)
    assert order[:8].tolist() == [597, 831, 1174, 467, 1722, 1136, 1710, 182]


def test_documented_stream():
    arrays = NDN(hsm("normal"), tf_seed=7).arrays
    source = streams.generator(7, streams.START_VALUES)
    close(arrays[1][0], source.normal(size=(1, 9), scale=0.1)[0])  # biases of this layer first
    close(arrays[0][0], EPS + (10 - EPS) * source.random(9))
    source.random((7, 9))
    close(arrays[2], source.normal(size=(9, 20), scale=0.1))
    close(arrays[3], source.normal(size=(1, 20), scale=0.1))


def test_half_normal_weights_and_ordinary_biases():
    source = np.random.default_rng(0)
    assert initialization.draw("trunc_normal", (1000,), source).min() >= 0
    assert initialization.draw_biases("trunc_normal", (1000,), source).min() < 0
    assert initialization.draw("ones", (3,), source).tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="unknown initializer 'uniform'"):
        initialization.draw("uniform", (3,), source)
    with pytest.raises(ValueError, match="unknown initializer of biases 'ones'"):
        initialization.draw_biases("ones", (3,), source)


def test_seeds_give_different_values():
    one, other = NDN.for_seeds(hsm("normal"), seeds=[0, 1])
    assert all((a != b).all() for a, b in zip(one.arrays, other.arrays, strict=True))


def next_numbers():
    """Next numbers of the global generators of Python, NumPy and Keras."""
    return (
        random.random(),
        np.random.random_sample(),  # noqa: NPY002
        *ops.convert_to_numpy(keras.random.uniform((2,))).tolist(),
    )


@pytest.mark.parametrize("legacy", [True, False])
def test_no_global_generator_is_touched(legacy, tmp_path):
    """By no type of layer, nor by dropout; whether it is made, predicts, or is stored."""
    keras.utils.set_random_seed(1)
    undisturbed = next_numbers()
    keras.utils.set_random_seed(1)
    model = NDN(hsm("normal"), legacy=legacy)
    model.save_model(tmp_path / "model.ndnmod")
    NDN.load_model(tmp_path / "model.ndnmod").copy_model(3)
    assert next_numbers() == undisturbed
    descriptions = []
    for name in every_layer.CASES:
        dropout = {"dropout": 0.5} if layer_class(name).takes_dropout else {}
        descriptions.append(every_layer.description_of(name, **dropout))
    keras.utils.set_random_seed(1)
    everything = NDN(descriptions, ffnet_out=list(range(len(descriptions))), legacy=legacy)
    everything.save_model(tmp_path / "model.ndnmod")
    NDN.load_model(tmp_path / "model.ndnmod")
    everything.generate_prediction(every_layer.inputs(), use_dropout=True)
    assert next_numbers() == undisturbed


def test_layers_of_a_plain_model_follow_the_seed_of_keras():
    from NDN3.layers.dense import Normal

    values = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        layer = Normal(3)
        layer.build((None, 4))
        values.append(layer.kernel.numpy())
    np.testing.assert_array_equal(*values)
    fixed = [Normal(3, seed=2) for _ in range(2)]
    for layer in fixed:
        layer.build((None, 4))
    np.testing.assert_array_equal(fixed[0].kernel.numpy(), fixed[1].kernel.numpy())
    assert (fixed[0].kernel.numpy() != values[0]).all()


@pytest.mark.parametrize(
    ("sizes", "types", "options", "count"),
    [
        ([9, 20, 103], ["diff_of_gaussians", "normal", "normal"], {}, 2444),
        (
            [30, 20, 103],
            ["conv", "sep", "normal"],
            {"conv_filter_widths": [15], "shift_spacing": [8]},
            9883,
        ),
        (
            [9, 20, 103],
            ["conv", "normal", "normal"],
            {"conv_filter_widths": [7], "shift_spacing": [4]},
            14153,
        ),
        (
            [9, 20, 103],
            ["conv", "normal", "normal"],
            {"conv_filter_widths": [3], "shift_spacing": [2]},
            48353,
        ),
        (
            [48, 48, 48, 103],
            ["conv", "conv", "conv", "sep"],
            {"conv_filter_widths": [13, 3, 3], "shift_spacing": [2, 2, 2]},
            56423,
        ),
    ],
)
def test_numbers_of_parameters(sizes, types, options, count):
    description = ffnetwork_params(
        input_dims=[1, 31, 31], layer_sizes=sizes, layer_types=types, verbose=False, **options
    )
    assert NetworkModel(description).count_params() == count
