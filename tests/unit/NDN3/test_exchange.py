"""Exchange with other programs: MATLAB files read back, foreign weights, checkpoints."""

import re
import types

import numpy as np
import pytest
from scipy import io

from NDN3.exchange import import_weights, matlab_export
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params

IMAGES = np.random.default_rng(0).normal(size=(5, 9))


def conv(**options):
    return ffnetwork_params(
        **{
            "input_dims": [1, 3, 3],
            "layer_sizes": [2, 4],
            "layer_types": ["conv", "normal"],
            "act_funcs": ["lin", "softplus"],
            "conv_filter_widths": [3],
            "ei_layers": [1, None],
            "reg_list": {"l2": [None, 0.1]},
            "verbose": False,
            **options,
        }
    )


def on_top():
    return ffnetwork_params(
        layer_sizes=[3],
        layer_types=["point_readout"],
        act_funcs="softplus",
        xstim_n=None,
        ffnet_n=[0],
        verbose=False,
    )


def single(seed=0):
    return NDN(conv(), tf_seed=seed)


def double(seed=0):
    first = conv(
        layer_sizes=[2], layer_types=["conv"], act_funcs="softplus", ei_layers=None, reg_list=None
    )
    return NDN([first, on_top()], "gaussian", ffnet_out=[1], tf_seed=seed)


def arrays_of(model):
    return {
        (number, position, name): layer.array(name).copy()
        for number, network in enumerate(model.networks)
        for position, layer in enumerate(network.layers)
        for name in layer.array_names
    }


def assert_equal(model, other):
    assert arrays_of(model).keys() == arrays_of(other).keys()
    for place, array in arrays_of(model).items():
        np.testing.assert_array_equal(array, arrays_of(other)[place])


# ---- MATLAB -------------------------------------------------------------------------------------


def test_what_matlab_reads(tmp_path):
    model = double()
    path = tmp_path / "model.mat"
    model.matlab_export(path)
    found = io.loadmat(path, squeeze_me=True, struct_as_record=False)
    assert found["noise_dist"] == "gaussian"
    assert found["ffnet_out"] == 1
    first, second = found["net0"], found["net1"]
    assert (first.xstim_n, second.ffnet_n) == (0, 0)
    assert second.xstim_n.size == 0
    assert first.layer0.type == "conv"
    assert (first.layer0.activation, second.layer0.type) == ("softplus", "point_readout")
    assert first.layer0.output_dims.tolist() == second.input_dims.tolist() == [2, 3, 3]
    for number, view in enumerate((first, second)):
        layer = model.networks[number].layers[0]
        for name in layer.array_names:
            stored = getattr(view.layer0, name)
            np.testing.assert_array_equal(stored, np.squeeze(layer.array(name)))
            assert stored.dtype == np.float32
    # as MATLAB reshapes, with the first index as the fastest one
    dims = first.layer0.filter_dims.astype(int)
    filters = first.layer0.weights[:, 1].reshape(dims, order="F")
    expected = model.get_weights(0, reshape=True)[..., 1]
    np.testing.assert_array_equal(filters, expected.transpose(2, 1, 0))


def test_names_are_valid_in_matlab(tmp_path):
    model = single()
    model.poisson_unit_norm = np.arange(1.0, 5)
    matlab_export(tmp_path / "model", model)
    assert (tmp_path / "model").is_file()
    found = io.loadmat(tmp_path / "model", struct_as_record=False, squeeze_me=True)
    assert found["poisson_unit_norm"].tolist() == [1, 2, 3, 4]
    assert found["net0"].layer0.num_inh == 1

    def names(struct):
        for name in struct._fieldnames:
            yield name
            inner = getattr(struct, name)
            if hasattr(inner, "_fieldnames"):
                yield from names(inner)

    every = [name for name in found if not name.startswith("__")] + list(names(found["net0"]))
    assert len(every) > 20
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,62}", name) for name in every)


def test_an_export_that_fails_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="the folder .* does not exist"):
        single().matlab_export(tmp_path / "missing" / "model.mat")

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        single().matlab_export(tmp_path / "model.mat")
    assert list(tmp_path.iterdir()) == []


# ---- weights of other programs ------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "net0L{layer}/{array}",
        "net0/layer{layer}/{array}",
        "networks[0].layers[{layer}].{array}",
        "network_0/layer_{layer}/{array}_layer/{array}_var:0",
        "network_0/layer_{layer}/weights_layer/{array}_var:0",
        "ffnetwork_0/Layer_{layer}/{array}",
        "layer_{layer}/{array}",
        "l{layer}_{array}",
        "L{layer}.{array}",
    ],
)
def test_names_that_are_understood(name):
    source, target = single(1), single(2)
    given = {
        name.format(layer=layer, array=array): values
        for (_, layer, array), values in arrays_of(source).items()
    }
    assert import_weights(target, given) == []
    assert_equal(target, source)
    np.testing.assert_array_equal(
        target.generate_prediction(IMAGES), source.generate_prediction(IMAGES)
    )


def test_forms_that_are_understood(tmp_path):
    source = double(1)
    stored = {f"net{n}L{p}/{name}": values for (n, p, name), values in arrays_of(source).items()}
    np.savez(tmp_path / "arrays.npz", **stored)
    layers = [
        [{name: layer.array(name) for name in layer.array_names} for layer in network.layers]
        for network in source.networks
    ]
    nested = {
        f"network_{n}": {f"layer_{p}": layer for p, layer in enumerate(network)}
        for n, network in enumerate(layers)
    }
    with np.load(tmp_path / "arrays.npz") as opened:
        for given in (stored, tmp_path / "arrays.npz", str(tmp_path / "arrays.npz"), opened):
            target = double(2)
            assert target.import_weights(given) == []
            assert_equal(target, source)
    for given in (layers, nested):
        target = double(2)
        assert target.import_weights(given) == []
        assert_equal(target, source)
    # an object in the manner of a model knows weights and biases only
    target = double(2)
    assert target.import_weights(source) == ["net1/layer0/positions"]
    assert target.networks[1].layers[0].weights.tolist() == source.get_weights(0, 1).tolist()
    alone, target = single(1), single(2)
    foreign = types.SimpleNamespace(weights=alone.get_weights(0), biases=None)
    network = types.SimpleNamespace(layers=[foreign])
    left = target.import_weights(types.SimpleNamespace(networks=[network]))
    assert left == ["net0/layer0/biases", "net0/layer1/weights", "net0/layer1/biases"]
    (weights,) = {tuple(target.get_weights(0).ravel())}
    assert weights == tuple(alone.get_weights(0).ravel())


def test_layers_of_the_only_network_may_be_a_list():
    source, target = single(1), single(2)
    given = [{"weights": each.weights, "biases": each.biases} for each in source.networks[0].layers]
    assert target.import_weights(given) == []
    assert_equal(target, source)


def test_filters_and_flat_biases_are_brought_into_shape():
    source, target = single(1), single(2)
    target.import_weights(
        {
            "layer0/weights": source.get_weights(0, reshape=True),
            "layer0/biases": source.networks[0].layers[0].biases[0],
        }
    )
    np.testing.assert_array_equal(target.get_weights(0), source.get_weights(0))
    assert target.networks[0].layers[0].biases.shape == (1, 2)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "the arrays to import are none"),
        (3, "arrays to import are a int; they must be a dict"),
        ({"weights": np.zeros((9, 2))}, "'weights' does not say which layer"),
        (
            {"layer0": np.zeros((9, 2))},
            "does not say which array of the layer it is; the layer has",
        ),
        ({"layer2/weights": 0}, r"the layer of 'layer2/weights' is 2; the network has 2 layers"),
        ({"net1L0/weights": 0}, "the network of 'net1L0/weights' is 1; the model has 1 network"),
        ({"L0/weights": np.zeros((2, 9))}, r"has shape \(2, 9\); weights of layer0 \(conv\)"),
        ({"L0/weights": np.full((9, 2), np.nan)}, "has NaN or infinity"),
        ({"L0/weights": "text"}, "'L0/weights' (is 'text'|has shape)"),
        ({"L0/biases": np.zeros(3)}, r"has shape \(3,\); biases of layer0"),
        (
            {"L0/weights": np.zeros((9, 2)), "net0/layer0/weights": np.zeros((9, 2))},
            "both stand for net0/layer0/weights",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(given, sentence):
    model = single()
    before = arrays_of(model)
    if isinstance(given, dict) and given:
        given = {"layer1/weights": np.ones((18, 4)), **given}
    with pytest.raises(ValueError, match=sentence):
        model.import_weights(given)
    for place, array in arrays_of(model).items():
        np.testing.assert_array_equal(array, before[place])


def test_weights_that_are_no_whole_filters_are_refused_as_filters():
    model = NDN(conv(layer_types=["conv", "sep"], conv_filter_widths=[3, None]))
    with pytest.raises(ValueError, match=r"has shape \(3, 3, 2, 4\); weights of layer1 \(sep\)"):
        model.import_weights({"layer1/weights": np.zeros((3, 3, 2, 4))})


def test_a_model_of_several_networks_must_be_told_which():
    with pytest.raises(ValueError, match="does not say which network and layer"):
        double().import_weights({"layer0/weights": np.zeros((9, 2))})


def test_files_that_are_no_plain_arrays(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        single().import_weights(tmp_path / "missing.npz")
    np.savez(tmp_path / "objects.npz", **{"L0/weights": np.array([{}], dtype=object)})
    (tmp_path / "text.npz").write_text("weights")
    for name in ("objects.npz", "text.npz"):
        with pytest.raises(ValueError, match="pickled objects are not read"):
            single().import_weights(tmp_path / name)


# ---- checkpoints --------------------------------------------------------------------------------


def test_a_checkpoint_brings_back_the_values(tmp_path):
    model = single()
    model.poisson_unit_norm = np.ones(4)
    before = model.generate_prediction(IMAGES)
    model.checkpoint_model(tmp_path / "checkpoint")
    model.networks[0].layers[0].weights[:] = 3
    model.poisson_unit_norm = None
    # another strength of a penalty is no other network
    model.set_regularization("l2", 7.0, layer_target=1)
    model.restore_model(tmp_path / "checkpoint")
    np.testing.assert_array_equal(model.generate_prediction(IMAGES), before)
    assert model.poisson_unit_norm.tolist() == [1, 1, 1, 1]
    assert model.networks[0].layers[1].reg == {"l2": 7.0}


def test_values_of_other_networks_are_refused(tmp_path):
    path = tmp_path / "checkpoint"
    NDN(conv(layer_sizes=[2, 3])).checkpoint_model(path)
    model = single()
    before = arrays_of(model)
    with pytest.raises(ValueError, match="values go to equal networks only"):
        model.restore_model(path)
    double().checkpoint_model(path)
    with pytest.raises(ValueError, match="values go to equal networks only"):
        model.restore_model(path)
    with pytest.raises(FileNotFoundError, match="no model file"):
        model.restore_model(tmp_path / "missing")
    for place, array in arrays_of(model).items():
        np.testing.assert_array_equal(array, before[place])
