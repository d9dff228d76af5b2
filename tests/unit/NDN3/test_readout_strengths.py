"""Penalties of a readout: one strength for each neuron."""

import numpy as np
import pytest

from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params

WEIGHTS = np.array([(1, -2), (0.5, 1), (-1, 0), (2, 1), (3, -1), (0, 2)], "float32")


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
