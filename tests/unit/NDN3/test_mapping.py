"""Every layer, penalty and likelihood can be mapped over members and compiled."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from NDN3 import correlation, noise, regularization
from NDN3.layers import LAYERS, layer_class
from NDN3.NDNutils import ffnetwork_params
from NDN3.network_model import NetworkModel

MEMBERS = 3
# Networks in which every type of layer stands first and, where its type allows, deeper; with
# every penalty that images allow (the others are in test_penalties.py).
NETWORKS = {
    "dense": {
        "layer_sizes": [1, 4, 3],
        "layer_types": ["lin_scale", "normal", "normal"],
        "ei_layers": [None, 1, None],
        "normalization": [0, 2, 1],
        "reg_list": {
            name: [None, 0.1]
            for name in regularization.GENERAL
            if name not in ("d2t", "max_level")  # there are neither lags nor levels
        },
    },
    "gaussians": {
        "layer_sizes": [4, 3, 2],
        "layer_types": ["diff_of_gaussians", "normal", "normal"],
        "act_funcs": ["lin", "softplus", "exp"],
        "reg_list": {"dropout": [None, 0.5], "l2": [None, None, 0.1]},
    },
    "gaussians in windows": {
        "layer_sizes": [2, 2, 3],
        "layer_types": ["conv_diff_of_gaussians", "conv_diff_of_gaussians", "normal"],
        "conv_filter_widths": [5, 4],
        "shift_spacing": [2, 1],
    },
    "bounded gaussians": {
        "layer_sizes": [2, 3, 3],
        "layer_types": ["conv_bounded_dog", "bounded_dog", "normal"],
        "conv_filter_widths": [5],
        "shift_spacing": [2],
        "ei_layers": [None, 1, None],
        "own": {"free_surround": [None, True, None], "frozen_centers": [True, None, None]},
    },
    "normalization": {
        "layer_sizes": [4, 4, 4, 4, 3],
        "layer_types": ["conv", "batch_norm", "div_norm", "layer_norm", "normal"],
        "conv_filter_widths": [3, None, 3],
        "shift_spacing": [2],
        "ei_layers": [None, 1, None, None, None],
        "normalization": [0, 0, 1, 0, 0],
        "reg_list": {
            "l1": [None, 0.1, 0.1, 0.1],
            "d2x": [None, None, 0.1],
            "dropout": [None, 0.5, None, 0.5],
        },
        "own": {
            "exponent": [None, None, 1.5, None, None],
            "per_pixel": [None, None, None, True, None],
        },
    },
    "convolution": {
        "layer_sizes": [2, 3, 4, 3],
        "layer_types": ["conv", "conv", "sep", "normal"],
        "conv_filter_widths": [3, 3],
        "shift_spacing": [2, 2],
        "normalization": [1, -1, 2, 0],
        "reg_list": {
            "d2x": [0.1, 0.1, 0.1],
            "max_filt": [None, 0.1, 0.1],
            "l1": [None, None, 0.1],
            "dropout": [0.5],
        },
    },
    "relatives of the convolution": {
        "layer_sizes": [2, 3, 3, 4, 3],
        "layer_types": ["biconv", "convsep", "convLNL", "conv_xy", "normal"],
        "conv_filter_widths": [3, 3, 3, 2],
        "shift_spacing": [1, 2, 1, 1],
        "ei_layers": [1, None, 1, None, None],
        "normalization": [1, 2, -1, 0, 0],
        "reg_list": {
            "d2x": [0.1, 0.1, 0.1, 0.1],
            "l1": [None, None, None, 0.1],
            "dropout": [0.5, None, 0.5],
        },
        "own": {"xy_out": [None, None, None, [[0, 0], [1, 3], [1, 1], [0, 2]], None]},
    },
    "points": {
        "layer_sizes": [[1, 4, 4], [2, 4, 4], [2, 3, 3], 3],
        "layer_types": ["conv_readout", "point_readout", "gaussian_readout", "sampler"],
        "ei_layers": [None, 1, None, None],
        "normalization": [0, 1, 0, -1],
        "reg_list": {"l1": [0.1, 0.1, 0.1], "l2": [None, None, None, 0.1], "dropout": [0.5, 0.5]},
        "own": {
            "xy_out": [[[unit % 8, unit // 2] for unit in range(16)], None, None, None],
            "covariance": [None, None, "full", "diagonal"],
        },
    },
    "time": {
        "layer_sizes": [2, 1, 4, 3],
        "layer_types": ["temporal", "sp_temporal", "temporal", "normal"],
        "act_funcs": ["lin", "softplus", "relu", "softplus"],
        "conv_filter_widths": [3, 2, 2],
        "dilation": [1, 2, 1, 1],
        "normalization": [1, 0, 0, 0],
        "ei_layers": [None, 3, None, None],
        "time_expand": [None, 2],
        "reg_list": {"l2": 0.1, "dropout": [None, None, 0.5]},
    },
    "channels": {
        "layer_sizes": [4, 128, 64, 3, 6, 3],
        "layer_types": ["dim0", "add", "mult", "dim0", "hadi_readout", "readout"],
        "ei_layers": [None, None, None, 1, None, None],
        "normalization": [1, -1, 0, 0, 0, 2],
        "reg_list": {
            "l1": [0.1] * 6,
            "l2": [None, 0.1, None, 0.1, 0.1, [0.1, 0.2, 0.3]],
            "dropout": [0.5, None, None, None, 0.5],
        },
    },
    "pixels": {
        "layer_sizes": [64, 16, 8, 4, 4, 3],
        "layer_types": ["filter", "spike_history", "add", "mult", "spkNL", "hadi_readout"],
        "normalization": [0, 1, 0, 0, 0, 0],
        "reg_list": {"l1": [0.1] * 6, "d2t": [None, 0.1], "dropout": [0.5, None, 0.5, 0.5, 0.5]},
    },
}

CASES = [
    ("dense", False, "gaussian"),
    ("gaussians", True, "poisson"),
    ("gaussians in windows", False, "bernoulli"),
    ("bounded gaussians", False, "poisson"),
    ("normalization", False, "gaussian"),
    ("convolution", False, "poisson"),
    ("relatives of the convolution", False, "poisson"),
    ("points", False, "poisson"),
    ("channels", False, "poisson"),
    ("pixels", True, "gaussian"),
    ("time", False, "poisson"),
]


def described(name):
    """Description of one of the networks."""
    options = {"act_funcs": "softplus", **NETWORKS[name]}
    own = options.pop("own", {})  # keys of a description that no argument gives
    return ffnetwork_params(input_dims=[1, 8, 8], verbose=False, **options) | own


def recording(name, rows):
    """Images and responses for it."""
    source = np.random.default_rng(0)
    images = source.normal(size=(rows, 64))
    neurons = NETWORKS[name]["layer_sizes"][-1]
    return images, source.poisson(1.0, (rows, neurons)).clip(0, 1).astype(float)


def test_every_type_of_layer_and_likelihood_is_among_them():
    assert set(noise.NOISE) == {"poisson", "gaussian", "bernoulli"}
    assert {name for network in NETWORKS.values() for name in network["layer_types"]} == set(LAYERS)
    for name in LAYERS:
        assert layer_class(name).layer_type == name
        assert layer_class(name).mapped


@pytest.mark.parametrize(("name", "legacy", "noise_dist"), CASES)
def test_mapped_equals_one_by_one(name, legacy, noise_dist):
    # in double precision, so that nothing but a mistake makes a difference
    model = NetworkModel(described(name), legacy=legacy, dtype="float64")
    images, responses = recording(name, 6)
    source = np.random.default_rng(1)
    inputs = model.precompute(images)
    assert inputs.ndim == (3 if "conv" in NETWORKS[name]["layer_types"][0] else 2)
    cost = noise.noise(noise_dist).cost
    metric = correlation.metrics("zero-NaNs")[correlation.TAG]
    traces = 0

    def one(trainable, other, inputs):
        nonlocal traces
        traces += 1
        with tf.GradientTape() as tape:
            tape.watch(trainable)
            prediction, _, losses = model.stateless_call(
                trainable, other, inputs, training=True, return_losses=True
            )
            value = ops.mean(cost(responses, prediction)) + sum(losses)
        gradients = tape.gradient(value, trainable)
        return value, metric(responses, prediction, None), gradients

    members = [
        [
            (np.asarray(v) + 0.1 * source.normal(size=v.shape)).astype(v.dtype)
            for v in map(ops.convert_to_numpy, model.trainable_variables)
        ]
        for _ in range(MEMBERS)
    ]
    others = [
        [np.full(v.shape, member + 1, v.dtype) for v in model.non_trainable_variables]
        for member in range(MEMBERS)
    ]
    stacked = [
        [np.stack(arrays) for arrays in zip(*rows, strict=True)] for rows in (members, others)
    ]
    mapped = tf.function(
        lambda *arguments: tf.vectorized_map(
            lambda member: one(*member), arguments, fallback_to_while_loop=False
        ),
        jit_compile=True,
        autograph=False,
    )
    together = mapped(*stacked, np.stack([inputs] * MEMBERS))
    mapped(*stacked, np.stack([inputs] * MEMBERS))
    assert traces == 1
    for member in range(MEMBERS):
        alone = one(
            *([tf.constant(array) for array in rows[member]] for rows in (members, others)), inputs
        )
        np.testing.assert_allclose(together[0][member], alone[0], rtol=1e-9)
        np.testing.assert_allclose(together[1][member], alone[1], rtol=1e-6, atol=1e-9)
        scale = max(float(np.max(np.abs(gradient))) for gradient in alone[2])
        for mapped_gradient, gradient in zip(together[2], alone[2], strict=True):
            np.testing.assert_allclose(mapped_gradient[member], gradient, atol=1e-9 * scale)
