"""Model files: predictions survive, nothing foreign is opened, nothing is half written."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from NDN3 import storage, variants
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params


@pytest.fixture(scope="module")
def model():
    description = ffnetwork_params(
        input_dims=[1, 7, 7],
        layer_sizes=[2, 3, 4],
        layer_types=["conv_diff_of_gaussians", "sep", "normal"],
        act_funcs="softplus",
        conv_filter_widths=[5],
        shift_spacing=[2],
        ei_layers=[None, 1, None],
        reg_list={"l2": [None, 0.1, np.float64(0.2)], "dropout": [None, 0.5]},
        verbose=False,
    )
    description["bounds"] = [[(0.1, 10), (1, 4), (1, 3), (1, 3)], None, None]
    built = NDN(description, "gaussian", tf_seed=3, batch_size=7, legacy=True)
    built.log_correlation = "filter-NaNs"
    built.poisson_unit_norm = np.arange(1.0, 5.0)
    return built


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(5, 49)).astype("float32")


def test_a_loaded_model_is_the_same(model, images, tmp_path):
    path = tmp_path / "model.ndnmod"
    model.save_model(path)
    loaded = NDN.load_model(path)
    np.testing.assert_array_equal(
        loaded.generate_prediction(images), model.generate_prediction(images)
    )
    for name in ("noise_dist", "tf_seed", "batch_size", "legacy", "log_correlation"):
        assert getattr(loaded, name) == getattr(model, name), name
    assert loaded.network_list == model.network_list
    np.testing.assert_array_equal(loaded.poisson_unit_norm, model.poisson_unit_norm)
    assert loaded.get_reg_pen() == model.get_reg_pen()


def test_a_file_of_version_1_is_read():
    """Written by version 1 of the format: seed 3, `legacy`, input RandomState(0)."""
    path = Path(__file__).parents[2] / "fixtures" / "model_files" / "version_1.ndnmod"
    assert storage.read(path)[0]["format_version"] == 1
    loaded = NDN.load_model(path)
    predictions = loaded.generate_prediction(np.random.RandomState(0).standard_normal((2, 49)))
    expected = [
        (0.69484705, 0.8627044, 0.7056656, 0.7113431),
        (0.6911593, 0.8267093, 0.70998335, 0.7105442),
    ]
    # products of matrices differ by rounding from processor to processor
    np.testing.assert_allclose(predictions, expected, rtol=1e-6)
    assert loaded.poisson_unit_norm.tolist() == [0.5, 1, 1.5, 2]
    assert (loaded.legacy, loaded.tf_seed, loaded.batch_size) == (True, 3, 7)
    assert loaded.log_correlation == "filter-NaNs"


def several_networks():
    """Two networks that give the output; the second reads the first and has more arrays."""
    first = ffnetwork_params(
        input_dims=[1, 5, 5],
        layer_sizes=[2],
        layer_types=["conv"],
        act_funcs="softplus",
        conv_filter_widths=[3],
        verbose=False,
    )
    second = ffnetwork_params(
        layer_sizes=[3],
        layer_types=["point_readout"],
        act_funcs="softplus",
        xstim_n=None,
        ffnet_n=[0],
        verbose=False,
    )
    third = ffnetwork_params(
        layer_sizes=[2], layer_types=["normal"], act_funcs="lin", xstim_n=[1], verbose=False
    )
    return NDN([first, second, third], "gaussian", [2, 1], [[1, 5, 5], [4, 1, 1]], tf_seed=5)


def test_several_networks_and_all_their_arrays_survive(tmp_path):
    model = several_networks()
    readout = model.networks[1].layers[0]
    assert "positions" in readout.array_names
    readout.set_array("positions", readout.array("positions") * 0.7 + 0.1)
    source = np.random.default_rng(1)
    inputs = [source.normal(size=(6, 25)), source.normal(size=(6, 4))]
    responses = [source.random((6, 2)), source.random((6, 3))]
    path = tmp_path / "model.ndnmod"
    model.save_model(path)
    loaded = NDN.load_model(path)
    for target in range(3):
        np.testing.assert_array_equal(
            loaded.generate_prediction(inputs, ffnet_target=target),
            model.generate_prediction(inputs, ffnet_target=target),
        )
    for found, expected in zip(
        loaded.eval_models(inputs, responses), model.eval_models(inputs, responses), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        loaded.networks[1].layers[0].array("positions"), readout.array("positions")
    )
    description, arrays = storage.read(path)
    assert description["ffnet_out"] == [2, 1]
    del arrays["net1/layer0/positions"]
    storage.write(path, description, arrays)
    with pytest.raises(ValueError, match="has no entry 'net1/layer0/positions'"):
        NDN.load_model(path)


def test_equal_models_give_equal_bytes(model, tmp_path):
    first, second = tmp_path / "a.ndnmod", tmp_path / "b.ndnmod"
    model.save_model(first)
    NDN.load_model(first).save_model(second)
    assert first.read_bytes() == second.read_bytes()


def test_the_file_is_a_plain_zip(model, tmp_path):
    path = tmp_path / "model.ndnmod"
    model.save_model(path)
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["arrays.npz", "description.json"]
        assert json.loads(archive.read("description.json"))["format_version"] == 2
        arrays = np.load(io.BytesIO(archive.read("arrays.npz")), allow_pickle=False)
    assert arrays["net0/layer0/weights"].shape == (8, 2)


def test_a_failing_write_leaves_the_old_file(model, tmp_path, monkeypatch):
    path = tmp_path / "model.ndnmod"
    model.save_model(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        model.save_model(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.ndnmod"]


def test_a_link_stays_and_names_may_be_as_long_as_the_system_allows(model, tmp_path):
    target, link = tmp_path / ("m" * 255), tmp_path / "link.ndnmod"
    target.write_bytes(b"older")
    link.symlink_to(target.name)
    model.save_model(link)
    assert link.is_symlink()
    NDN.load_model(target)
    for path, reason in ((tmp_path / ("m" * 256), "too long"), ("/proc/x", "No such file")):
        with pytest.raises(OSError, match=rf"cannot be .*{reason}.*Give another path"):
            model.save_model(path)


def test_the_dtype_is_that_of_the_saved_model(images, tmp_path):
    description = ffnetwork_params([1, 7, 7], [4], ["normal"], "softplus", verbose=False)
    description["reg_initializers"][0]["dropout"] = 0.5
    path, other = tmp_path / "model.ndnmod", NDN(description)
    keras.config.set_dtype_policy("float64")
    try:
        double = NDN(description)
    finally:
        keras.config.set_dtype_policy("float32")
    double.networks[0].layers[0].weights[:] = 1 / 3
    double.save_model(path)
    loaded = NDN.load_model(path)
    predictions = loaded.generate_prediction(images)
    assert predictions.dtype == loaded.get_weights(0).dtype == np.float64
    np.testing.assert_array_equal(predictions, double.generate_prediction(images))
    assert variants.without_dropout(loaded.keras_model).variable_dtype == "float64"
    other.restore_model(path)
    assert other.get_weights(0)[0, 0] == np.float32(1 / 3)
    loaded.networks[0].layers[0].weights[1, 2] = 1e100
    loaded.save_model(path)
    with pytest.raises(ValueError, match="weights in .* has 1 numbers beyond 3.4e.38, the largest"):
        other.restore_model(path)
    assert other.get_weights(0)[0, 0] == np.float32(1 / 3)


def test_what_diverged_comes_back_with_a_warning(model, tmp_path):
    path, diverged = tmp_path / "model.ndnmod", model.copy_model()
    diverged.networks[0].layers[2].weights[0, 1] = np.nan
    diverged.save_model(path)
    with pytest.warns(UserWarning, match="layer2/weights .* infinity in 1 of .* that diverged"):
        loaded = NDN.load_model(path)
    np.testing.assert_array_equal(loaded.get_weights(2), diverged.get_weights(2))


def test_the_folder_must_exist(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        model.save_model(tmp_path / "missing" / "model.ndnmod")


def changed(path, model, **description):
    """Write a file whose description differs."""
    model.save_model(path)
    found, arrays = storage.read(path)
    found.update(description)
    text = json.dumps(found)
    stored = io.BytesIO()
    np.savez(stored, **arrays)
    pack(path, {"description.json": text, "arrays.npz": stored.getvalue()})


def pack(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_newer_format_is_refused(model, tmp_path):
    changed(tmp_path / "m", model, format_version=3)
    with pytest.raises(ValueError, match="format version 3; this program reads versions up to 2"):
        NDN.load_model(tmp_path / "m")


def test_another_format_is_refused(model, tmp_path):
    changed(tmp_path / "m", model, format="other")
    with pytest.raises(ValueError, match="belongs to another program"):
        NDN.load_model(tmp_path / "m")


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model file"):
        NDN.load_model(tmp_path / "m")


class Touch:
    """Would make a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_pickles_are_refused_and_not_run(tmp_path):
    trap = tmp_path / "trap"
    path = tmp_path / "m"
    path.write_bytes(pickle.dumps(Touch(trap)))
    with pytest.raises(ValueError, match="pickles, which are not read"):
        NDN.load_model(path)
    stored = io.BytesIO()
    np.savez(stored, trap=np.array([Touch(trap)], dtype=object))
    text = json.dumps({"format": "ndnmod", "format_version": 1})
    for content in (stored.getvalue(), pickle.dumps(Touch(trap)), b""):
        pack(path, {"description.json": text, "arrays.npz": content})
        with pytest.raises(ValueError, match="does not hold plain arrays"):
            NDN.load_model(path)
    assert not trap.exists()


@pytest.mark.parametrize("name", ["description.json", "arrays.npz"])
def test_a_missing_member_is_named(model, tmp_path, name):
    path = tmp_path / "m"
    model.save_model(path)
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist() if n != name}
    pack(path, members)
    with pytest.raises(ValueError, match=f"has no {name}"):
        NDN.load_model(path)


def test_a_foreign_zip_and_a_torn_file_are_refused(model, tmp_path):
    path = tmp_path / "m"
    pack(path, {"hello.txt": "hello"})
    with pytest.raises(ValueError, match=r"has no arrays.npz and no description.json"):
        NDN.load_model(path)
    model.save_model(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="not a model file"):
        NDN.load_model(path)
    pack(path, {"description.json": "{", "arrays.npz": b""})
    with pytest.raises(ValueError, match="damaged"):
        NDN.load_model(path)


def test_a_missing_entry_or_a_wrong_shape_is_named(model, tmp_path):
    path = tmp_path / "m"
    model.save_model(path)
    description, arrays = storage.read(path)
    short = {name: array for name, array in arrays.items() if "layer1/biases" not in name}
    storage.write(path, description, short)
    with pytest.raises(ValueError, match="net0/layer1/biases"):
        NDN.load_model(path)
    storage.write(path, description, {**arrays, "net0/layer1/biases": np.zeros((2, 2))})
    with pytest.raises(ValueError, match=r"shape \(2, 2\) of float64; .* shape \(1, 3\)"):
        NDN.load_model(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format_version": 0}, "format version 0; it must be a whole number from 1"),
        ({"format_version": "2"}, "format version '2'; it must be"),
        ({"networks": None}, "networks in .* are None; a model file has a list of"),
        ({"networks": [1]}, r"networks in .* are \[1\]"),
        ({"networks": [{"layer_sizes": 3, "layer_types": 4, "input_dims": 5}]}, "layer_sizes is 3"),
        ({"tf_seed": [1]}, r"the seed is \[1\]; it must be a whole number"),
        ({"kind": "ensemble"}, "holds the kind 'ensemble', and 'model' is wanted"),
        ({"kind": 7}, "holds the kind '7'"),
        ({"ffnet_out": [[0]]}, r"ffnet_out is \[0\]; the model has 1 network"),
        ({"ffnet_out": 10**9}, "ffnet_out is 1000000000; the model has 1 network"),
        ({"input_dim_list": 3}, "input_dim_list is 3; it must be a list"),
        ({"noise_dist": ["poisson"]}, r"unknown noise_dist \['poisson'\]"),
        ({"log_correlation": {}}, "unknown mode of log_correlation"),
        ({"legacy": None}, "legacy is None; it must be True or False"),
        ({"batch_size": [7]}, "batch_size is .*; it must be a whole number from 1"),
    ],
)
def test_a_description_of_the_wrong_kind_is_refused(model, tmp_path, change, sentence):
    changed(tmp_path / "m", model, **change)
    with pytest.raises(ValueError, match=sentence):
        NDN.load_model(tmp_path / "m")


def nested(depth):
    """Lists in lists in lists."""
    found = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"xstim_n": [10**15]}, r"no network reads the external inputs \[0\]"),
        ({"ffnet_n": [0], "xstim_n": None}, "network 0 reads network 0; a network may read those"),
        ({"ffnet_n": [10**15]}, "network 0 reads network 1000000000000000"),
        ({"xstim_n": [[0]]}, "xstim_n"),
        ({"layer_types": ["normal"] * 2001}, "describes 2001 layers; a file may have 2000"),
        ({"input_dims": nested(300)}, "input_dims|wrong kind"),
        ({"bounds": nested(600)}, "bounds|wrong kind"),
    ],
)
def test_hostile_networks_are_refused(model, tmp_path, change, sentence):
    changed(tmp_path / "m", model, networks=[{**model.network_list[0], **change}])
    with pytest.raises(ValueError, match=sentence):
        NDN.load_model(tmp_path / "m")


def test_networks_that_read_each_other_in_a_circle_are_refused(model, tmp_path):
    circle = [{**model.network_list[0], "xstim_n": None, "ffnet_n": [n]} for n in (1, 0)]
    changed(tmp_path / "m", model, networks=circle)
    with pytest.raises(ValueError, match="network 0 reads network 1; a network may read those"):
        NDN.load_model(tmp_path / "m")


def test_a_small_file_cannot_ask_for_much_memory(model, tmp_path, monkeypatch):
    network = {**model.network_list[0], "layer_sizes": [2, 10**9, 4]}
    changed(tmp_path / "m", model, networks=[network])

    def build(*_):
        raise AssertionError("it was built")

    monkeypatch.setattr("NDN3.layers.base.NDNLayer.build", build)
    with pytest.raises(ValueError, match=r"layer1/weights .* asks for shape \(18, 1000000000\)"):
        NDN.load_model(tmp_path / "m")


def test_a_folder_is_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="is a folder; a model is one file"):
        NDN.load_model(tmp_path)


def test_changed_bytes_are_damage(model, tmp_path):
    path = tmp_path / "m"
    model.save_model(path)
    content = bytearray(path.read_bytes())
    for position in range(100, 140):
        content[position] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="damaged or not a model"):
        NDN.load_model(path)


@pytest.mark.parametrize(
    ("description", "arrays", "sentence"),
    [
        (None, {"a.npy": bytes(50_000_000)}, "arrays.npz in .* unpacks to .* needs at most"),
        (b" " * 50_000_000, {}, "description.json in .* unpacks to .* needs at most"),
        (b"1" * 5000, {}, "damaged or not a model"),
        (None, {"a.npy": "huge"}, "a.npy in .* unpacks to 8000000000128 bytes"),
        (None, {"a.npy": b"\x93NUMPY\x01\x00\x08\x00{'a': ((\n"}, "damaged"),
    ],
)
def test_a_bomb_is_not_unpacked(model, tmp_path, description, arrays, sentence):
    path = tmp_path / "m"
    model.save_model(path)
    with zipfile.ZipFile(path) as archive:
        description = description or archive.read("description.json")
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in arrays.items():
            if content == "huge":
                header = io.BytesIO()
                np.lib.format.write_array_header_1_0(
                    header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
                )
                content = header.getvalue()
            archive.writestr(name, content)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("description.json", description)
        archive.writestr("arrays.npz", stored.getvalue())
    with pytest.raises(ValueError, match=sentence) as said:
        NDN.load_model(path)
    assert str(path) in str(said.value)


def test_no_path_is_refused():
    with pytest.raises(ValueError, match="the path of a model is None; it must be"):
        NDN.load_model(None)
