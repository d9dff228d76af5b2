"""Whole trainings in the ways of the original program, against the values that it printed."""

import numpy as np
import pytest

from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params

EPOCHS = [0, 4, 9, 14, 19]


def recording():
    state = np.random.RandomState(123)
    return state.standard_normal((50, 49)), state.poisson(1.0, (50, 5)).astype(float)


def trained(tmp_path, description):
    """The model after 20 epochs, and its summaries by split and tag."""
    from NDN3.events import read_events

    inputs, responses = recording()
    model = NDN(description, noise_dist="poisson", tf_seed=0, legacy=True)
    model.log_correlation = "zero-NaNs"
    last = model.train(
        inputs,
        responses,
        train_indxs=np.arange(40),
        test_indxs=np.arange(40, 50),
        data_filters=np.ones_like(responses),
        learning_alg="adam",
        opt_params={
            "learning_rate": 0.01,
            "batch_size": 16,
            "epochs_training": 20,
            "epochs_summary": 5,
        },
        output_dir=tmp_path,
    )
    assert last == 19
    curves = {"train": {}, "test": {}}
    for file in tmp_path.rglob("events*"):
        for step, _, tag, value in read_events(file):
            curves[file.parent.name].setdefault(tag, {})[step] = value
    for tags in curves.values():
        for steps in tags.values():
            assert list(steps) == EPOCHS
    prediction = model.generate_prediction(inputs)[40]
    return {
        split: {tag: list(steps.values()) for tag, steps in tags.items()}
        for split, tags in curves.items()
    }, prediction


def with_initializers(description):
    types = description["layer_types"]
    description["weights_initializers"] = [
        "random" if name == "diff_of_gaussians" else "normal" for name in types
    ]
    description["biases_initializers"] = ["trunc_normal"] * len(types)
    return description


def test_difference_of_gaussians_network(tmp_path):
    description = ffnetwork_params(
        input_dims=[1, 7, 7],
        layer_sizes=[3, 4, 5],
        layer_types=["diff_of_gaussians", "normal", "normal"],
        act_funcs=["lin", "softplus", "softplus"],
        reg_list={"l2": [None, None, 0.1]},
        verbose=False,
    )
    curves, prediction = trained(tmp_path, with_initializers(description))
    test, train = curves["test"], curves["train"]
    value, correlation = pytest.approx, dict(abs=5e-3)
    assert test["loss/cost"] == value([5.18305, 5.14838, 5.24999, 5.29424, 5.28848], abs=2e-3)
    assert test["loss/reg_pen"] == value([0.00903, 0.01365, 0.02482, 0.02513, 0.02255], abs=2e-3)
    assert test["loss/correlation/correlation"] == value(
        [0.03516, 0.02339, 0.03056, 0.01700, -0.00184], **correlation
    )
    assert train["loss/cost"] == value([5.63985, 5.32800, 5.19899, 5.13369, 4.98211], abs=2e-3)
    np.testing.assert_allclose(
        prediction, [1.208402, 0.906298, 1.06815, 0.892704, 1.178454], atol=2e-3
    )


def test_convolutional_network(tmp_path):
    description = ffnetwork_params(
        input_dims=[1, 7, 7],
        layer_sizes=[2, 3, 5],
        layer_types=["conv", "sep", "normal"],
        act_funcs=["softplus", "softplus", "softplus"],
        conv_filter_widths=[3],
        shift_spacing=[2],
        reg_list={"d2x": [0.01], "l1": [None, 0.1], "l2": [None, None, 0.1]},
        verbose=False,
    )
    curves, prediction = trained(tmp_path, with_initializers(description))
    test = curves["test"]
    value = pytest.approx
    assert test["loss/cost"] == value([5.17642, 5.18542, 5.26453, 5.27113, 5.27212], abs=2e-3)
    assert test["loss/reg_pen"] == value([0.62192, 0.38143, 0.35688, 0.33446, 0.32843], abs=2e-3)
    np.testing.assert_allclose(
        prediction, [1.16373, 0.850826, 0.994766, 0.907491, 1.096211], atol=2e-3
    )
