"""Penalties of a readout: one strength for each neuron, and the full weight of l2."""

import numpy as np
import pytest

from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params
from NDN3.network_model import NetworkModel

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
def test_penalties_of_a_readout(strength, legacy, expected):
    description = ffnetwork_params(
        input_dims=[2, 3, 1],
        layer_sizes=[2],
        layer_types=["readout"],
        reg_list={name: [strength] for name in expected},
        verbose=False,
    )
    model = NetworkModel(description, legacy=legacy)
    found = model.stack[0].penalties(WEIGHTS)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)
    model.stack[0].kernel.assign(WEIGHTS)
    model(np.zeros((1, 6), "float32"))
    assert sum(map(float, model.losses)) == pytest.approx(sum(expected.values()))


def test_strengths_of_neurons_may_be_set_later_and_are_stored(tmp_path):
    description = ffnetwork_params(
        input_dims=6,
        layer_sizes=[2],
        layer_types=["readout"],
        reg_list={"l1": [np.array([1.0, 2.0])]},
        verbose=False,
    )
    assert description["reg_initializers"] == [{"l1": [1.0, 2.0]}]
    model = NDN(description)
    model.networks[0].layers[0].weights = WEIGHTS
    assert model.get_reg_pen() == {"net0L0": {"l1": pytest.approx(7.5 + 2 * 7)}}
    model.set_regularization("l1", [0.5, 2], layer_target=0)
    assert model.get_reg_pen() == {"net0L0": {"l1": pytest.approx(17.75)}}
    model.save_model(tmp_path / "readout.ndnmod")
    again = NDN.load_model(tmp_path / "readout.ndnmod")
    assert again.get_reg_pen() == {"net0L0": {"l1": pytest.approx(17.75)}}
