"""Every type of layer survives its file, bit by bit, and reaches MATLAB and back."""

import numpy as np
import pytest
from every_layer import CASES, description_of, inputs
from scipy import io

from NDN3.NDN import NDN


def learned(name):
    """Model of a layer type whose arrays, states too, are not those it started with."""
    model = NDN(description_of(name, l2=0.1) if name == "normal" else description_of(name))
    source = np.random.default_rng(1)
    for layer in model.networks[0].layers:
        for array in layer.array_names:
            values = layer.array(array)
            layer.set_array(array, values + 0.05 * np.abs(source.normal(size=values.shape)))
    return model


@pytest.mark.parametrize("name", CASES)
def test_each_is_the_same_after_a_file(name, tmp_path):
    model = learned(name)
    model.save_model(tmp_path / "model")
    loaded = NDN.load_model(tmp_path / "model")
    assert loaded.network_list == model.network_list
    np.testing.assert_array_equal(
        loaded.generate_prediction(inputs()), model.generate_prediction(inputs())
    )
    model.matlab_export(tmp_path / "model.mat")
    struct = io.loadmat(tmp_path / "model.mat", simplify_cells=True)["net0"]
    exported = {
        f"layer{position}": {
            array: np.reshape(struct[f"layer{position}"][array], layer.array(array).shape)
            for array in layer.array_names
        }
        for position, layer in enumerate(model.networks[0].layers)
    }
    other = NDN(description_of(name), tf_seed=9)
    assert other.import_weights(exported) == []
    for found, expected in zip(other.networks[0].layers, model.networks[0].layers, strict=True):
        for array in expected.array_names:
            np.testing.assert_array_equal(found.array(array), expected.array(array))
