"""Keyword arguments become a description; what does not fit is refused with a sentence."""

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest

from NDN3 import activations, laplacians, layers, regularization, vocabulary
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params

HSM = {
    "input_dims": [1, 31, 31],
    "layer_sizes": [9, 20, 103],
    "layer_types": ["diff_of_gaussians", "normal", "normal"],
    "verbose": False,
}


def test_all_documented_keys_are_there():
    description = ffnetwork_params(**HSM)
    assert set(description) >= {
        "network_type",
        "xstim_n",
        "ffnet_n",
        "input_dims",
        "layer_sizes",
        "layer_types",
        "activation_funcs",
        "normalize_weights",
        "time_expand",
        "reg_initializers",
        "weights_initializers",
        "num_inh",
        "pos_constraints",
        "log_activations",
        "conv_filter_widths",
        "shift_spacing",
        "dilation",
        "reg_boundaries",
    }


def test_defaults_are_the_documented_ones():
    description = ffnetwork_params(
        layer_sizes=[4, 2], layer_types=["normal", "normal"], verbose=False
    )
    assert description["activation_funcs"] == ["relu", "relu"]
    assert description["input_dims"] is None
    assert description["normalize_weights"] == [0, 0]
    assert description["time_expand"] == [0, 0]
    assert description["reg_initializers"] == [{}, {}]
    assert description["weights_initializers"] == ["normal", "normal"]
    assert description["biases_initializers"] == ["zeros", "zeros"]
    assert description["num_inh"] == [0, 0]
    assert description["pos_constraints"] == [None, None]
    assert description["conv_filter_widths"] == [None, None]
    assert description["shift_spacing"] == [1, 1]
    assert description["dilation"] == [1, 1]
    assert description["reg_boundaries"] == ["zero", "zero"]
    assert description["xstim_n"] == [0]
    assert description["ffnet_n"] is None
    assert description["network_type"] == "normal"
    assert description["log_activations"] is False


@pytest.mark.parametrize(
    ("given", "dims"), [(7, [7, 1, 1]), ([1, 31], [1, 31, 1]), ([2, 3, 4], [2, 3, 4])]
)
def test_input_dims_are_filled_with_ones(given, dims):
    assert ffnetwork_params(**{**HSM, "input_dims": given})["input_dims"] == dims


def test_lists_are_filled_and_numbers_repeated():
    description = ffnetwork_params(
        **HSM,
        act_funcs=["lin", "softplus", "exp"],
        reg_list={"l2": [None, 0.0], "l1": 0.5},
        conv_filter_widths=[7],
        shift_spacing=[2],
        dilation=3,
        normalization=[1],
        time_expand=[4],
    )
    assert description["activation_funcs"] == ["lin", "softplus", "exp"]
    assert description["reg_initializers"] == [{}, {"l2": 0.0}, {}]
    assert description["reg_scalars"] == {"l1": 0.5}
    assert description["conv_filter_widths"] == [7, None, None]
    assert description["shift_spacing"] == [2, None, None]
    assert description["dilation"] == [3, 3, 3]
    assert description["normalize_weights"] == [1, 0, 0]
    assert description["time_expand"] == [4, 0, 0]


def test_inhibitory_units_rectify_the_next_layer():
    description = ffnetwork_params(**HSM, ei_layers=[None, 0, 5])
    assert description["num_inh"] == [0, 0, 5]
    # 0 inhibitory units still make the next layer positive; the last layer has no next one
    assert description["pos_constraints"] == [None, None, True]


def test_minus_one_leaves_units_and_the_next_layer_free():
    description = ffnetwork_params(**HSM, ei_layers=[None, -1])
    assert description["num_inh"] == [0, 0, 0]
    assert description["pos_constraints"] == [None, None, None]


def test_entries_for_each_layer():
    description = ffnetwork_params(
        **HSM,
        reg_list={"l2": [None, [0.1, 0.2]], "d2x": np.array([0.5]), "l1": [None, np.float64(2)]},
        reg_boundaries=[None, "free"],
        xstim_n=None,
        ffnet_n=[0, 2],
        time_expand=3,
        normalization=np.array([1, 2]),
        ei_layers=2,
    )
    assert description["reg_initializers"] == [{"d2x": 0.5}, {"l2": [0.1, 0.2], "l1": 2.0}, {}]
    assert description["reg_boundaries"] == ["zero", "free", "zero"]
    assert ffnetwork_params(**HSM, reg_boundaries="free")["reg_boundaries"] == ["free"] * 3
    assert description["xstim_n"] is None
    assert description["ffnet_n"] == [0, 2]
    # one number of lags, units or a code is of the first layer, where it is not for all
    assert description["time_expand"] == [3, 0, 0]
    assert description["normalize_weights"] == [1, 2, 0]
    assert description["num_inh"] == [2, 0, 0]
    assert json.loads(json.dumps(description)) == description


def test_a_side_network_reads_no_external_input():
    description = ffnetwork_params(**HSM, network_type="side", ffnet_n=0)
    assert description["xstim_n"] is None
    assert description["ffnet_n"] == [0]


def test_types_that_start_otherwise_say_so():
    description = ffnetwork_params(
        layer_sizes=[1, 2, 3, 4],
        layer_types=["lin_scale", "diff_of_gaussians", "conv_diff_of_gaussians", "sep"],
        verbose=False,
    )
    assert description["weights_initializers"] == [None, "random", "random", "normal"]


def test_verbose_prints_one_line_per_layer(capsys):
    ffnetwork_params(**{**HSM, "verbose": True})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "diff_of_gaussians" in lines[1]


def test_import_is_light():
    program = (
        "import sys, NDN3, NDN3.NDNutils\n"
        "heavy = {'tensorflow', 'keras', 'jax', 'pandas'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


CONV = {
    "input_dims": [1, 31, 31],
    "layer_sizes": [8, 103],
    "layer_types": ["conv", "sep"],
    "conv_filter_widths": [7, None],
    "shift_spacing": [4, 1],
    "verbose": False,
}


def test_verbose_shows_filters_and_dims_of_convolutions(capsys):
    ffnetwork_params(**{**CONV, "verbose": True})
    _, first, second = capsys.readouterr().out.splitlines()
    assert "conv, 8 units, relu, filters 7, stride 4, gives [8, 8, 8]" in first
    assert "sep, 103 units, relu, gives [103, 1, 1]" in second


def test_verbose_shows_what_else_there_is_to_know(capsys):
    ffnetwork_params(
        input_dims=[1, 8, 1],
        layer_sizes=[6, 4],
        layer_types=["normal", "normal"],
        ei_layers=[2],
        normalization=[0, 1],
        time_expand=[3],
        reg_list={"l1": 0.5},
    )
    _, first, second = capsys.readouterr().out.splitlines()
    assert first == (
        "  layer 0: normal, 6 units, relu, 2 of them inhibitory, 3 lags, gives [6, 1, 1], "
        "{'l1': 0.5}"
    )
    assert second == (
        "  layer 1: normal, 4 units, relu, weights from 0, normalization 1, gives [4, 1, 1], "
        "{'l1': 0.5}"
    )


@pytest.mark.parametrize(
    "kind", ["normal", "conv", "sep", "lin_scale", "biconv", "spkNL", "temporal", "batch_norm"]
)
def test_verbose_gives_the_dims_of_the_model(kind, capsys):
    arguments = {
        "input_dims": [2, 6, 4],
        "layer_sizes": [48 if kind == "spkNL" else 5],
        "layer_types": [kind],
        "conv_filter_widths": [3],
    }
    model = NDN(ffnetwork_params(**arguments))
    line = capsys.readouterr().out.splitlines()[1]
    assert f"gives {model.networks[0].layers[0].output_dims}, " in line


def test_verbose_shows_what_is_still_to_be_changed(capsys):
    # such as a description to which options are added afterwards
    description = ffnetwork_params(
        input_dims=[1, 1, 1],
        layer_sizes=[4, 3],
        layer_types=["normal", "normal"],
        reg_list={"l2": [None, [0.1, 0.2]]},
    )
    lines = capsys.readouterr().out.splitlines()
    assert "gives [4, 1, 1]" in lines[1] and "gives" not in lines[2]
    assert "still to be changed: layer 1" in lines[3] and "2 strengths" in lines[3]
    assert description["reg_initializers"][1] == {"l2": [0.1, 0.2]}


def test_verbose_needs_no_dims(capsys):
    ffnetwork_params(layer_sizes=[4], layer_types=["conv"])
    assert capsys.readouterr().out.splitlines()[1] == (
        "  layer 0: conv, 4 units, relu, filters as large as the input, stride 1, {}"
    )


def test_words_are_those_that_there_are():
    assert set(vocabulary.ACTIVATIONS) == set(activations.ACTIVATIONS)
    assert set(vocabulary.PENALTIES) == set(regularization.PENALTIES)
    assert set(vocabulary.ACTIVITY) == set(regularization.ACTIVITY)
    assert vocabulary.DROPOUT == regularization.DROPOUT
    assert set(vocabulary.BOUNDARIES) == set(laplacians.BOUNDARIES)
    codes = {
        code for name in layers.LAYERS for code in layers.layer_class(name).normalization_codes
    }
    assert set(vocabulary.NORMALIZATIONS) == codes


# argument, what is wrong with it, what the sentence says
REFUSED = [
    ("input_dims", [1, 2, 3, 4], "input_dims is .* up to three positive whole numbers"),
    ("input_dims", [1, 0], "input_dims is .* up to three positive whole numbers"),
    ("input_dims", [1, 2.5], "input_dims is .* up to three positive whole numbers"),
    ("input_dims", "abc", "input_dims is 'abc'"),
    ("layer_sizes", None, "layer_sizes is None; it must list"),
    ("layer_sizes", 3, "layer_sizes is 3; it must list"),
    ("layer_sizes", [], r"layer_sizes is \[\]; it must list"),
    ("layer_sizes", [None, 4], r"layer_sizes\[0\] \(layer 0\) is None"),
    ("layer_sizes", [5, "a"], r"layer_sizes\[1\] \(layer 1\) is 'a'"),
    ("layer_sizes", [2.7, 4], r"layer_sizes\[0\] \(layer 0\) is 2.7"),
    ("layer_sizes", [4, -3], r"layer_sizes\[1\] \(layer 1\) is -3"),
    ("layer_sizes", [4, [1, 2, 3, 4]], r"layer_sizes\[1\] \(layer 1\) is \[1, 2, 3, 4\]"),
    ("layer_sizes", [True, 4], r"layer_sizes\[0\] \(layer 0\) is True"),
    ("layer_types", None, "layer_types is None; it must list one name for each of the 2"),
    ("layer_types", "conv", "layer_types is 'conv'; it must list"),
    ("layer_types", ["conv"], "layer_types is .* one name for each of the 2"),
    ("layer_types", ["conv", "sepp"], r"layer_types\[1\] 'sepp'; .* Did you mean 'sep'"),
    ("layer_types", ["conv", 3], r"layer_types\[1\] 3; allowed are"),
    ("act_funcs", ["relu"] * 3, "act_funcs has 3 entries; the network has 2"),
    ("act_funcs", "sofplus", r"act_funcs\[0\] \(layer 0\) 'sofplus'; .* mean 'softplus'"),
    ("act_funcs", ["lin", 1], r"act_funcs\[1\] \(layer 1\) 1; allowed"),
    ("ei_layers", ["x"], r"ei_layers\[0\] \(layer 0\) is 'x'"),
    ("ei_layers", [None, -2], r"ei_layers\[1\] \(layer 1\) is -2; .* from -1"),
    ("ei_layers", [1, 2, 3], "ei_layers has 3 entries"),
    ("reg_list", [1], r"reg_list is \[1\]; it must be a dict"),
    ("reg_list", {"l3": [1]}, "regularizer in reg_list 'l3'; allowed are"),
    ("reg_list", {"max_fill": 1}, "reg_list 'max_fill'; .* Did you mean 'max_filt'"),
    ("reg_list", {"l2": [1, 2, 3]}, r"reg_list\['l2'\] has 3 entries"),
    ("reg_list", {"l2": [None, float("nan")]}, r"reg_list\['l2'\] of layer 1 is nan"),
    ("reg_list", {"l2": [float("inf")]}, r"reg_list\['l2'\] of layer 0 is inf"),
    ("reg_list", {"l2": [-0.1]}, r"reg_list\['l2'\] of layer 0 is -0.1; .* from 0"),
    ("reg_list", {"l2": [True]}, r"reg_list\['l2'\] of layer 0 is True"),
    ("reg_list", {"l2": "x"}, r"reg_list\['l2'\] is 'x'"),
    ("reg_list", {"l2": [None, [1, -1]]}, r"reg_list\['l2'\] of layer 1, unit 1, is -1"),
    ("reg_list", {"l2": [None, []]}, r"reg_list\['l2'\] of layer 1 is an empty list"),
    ("reg_list", {"dropout": [0]}, r"reg_list\['dropout'\] of layer 0 is 0; .* to keep a unit"),
    ("reg_list", {"dropout": 1.5}, r"reg_list\['dropout'\] is 1.5; .* to keep a unit"),
    ("reg_list", {"dropout": [[0.5]]}, r"reg_list\['dropout'\] of layer 0 is \[0.5\]"),
    ("normalization", [0, 3], r"normalization\[1\] \(layer 1\) is 3; allowed are -1, 0, 1, 2"),
    ("normalization", "x", r"normalization\[0\] \(layer 0\) is 'x'"),
    ("normalization", [True], r"normalization\[0\] \(layer 0\) is True"),
    ("normalization", [0, 0, 0], "normalization has 3 entries"),
    ("conv_filter_widths", ["x"], r"conv_filter_widths\[0\] \(layer 0\) is 'x'"),
    ("conv_filter_widths", [3, 0], r"conv_filter_widths\[1\] \(layer 1\) is 0"),
    ("conv_filter_widths", [3, 3, 3], "conv_filter_widths has 3 entries"),
    ("shift_spacing", "x", r"shift_spacing\[0\] \(layer 0\) is 'x'"),
    ("shift_spacing", [1, 0], r"shift_spacing\[1\] \(layer 1\) is 0"),
    ("shift_spacing", [1] * 3, "shift_spacing has 3 entries"),
    ("dilation", 0, r"dilation\[0\] \(layer 0\) is 0"),
    ("dilation", [1, 1.5], r"dilation\[1\] \(layer 1\) is 1.5"),
    ("dilation", [1] * 3, "dilation has 3 entries"),
    ("time_expand", [-1], r"time_expand\[0\] \(layer 0\) is -1"),
    ("time_expand", [0, "x"], r"time_expand\[1\] \(layer 1\) is 'x'"),
    ("time_expand", [0] * 3, "time_expand has 3 entries"),
    ("xstim_n", -1, "xstim_n .* is -1"),
    ("xstim_n", "a", "xstim_n .* is 'a'"),
    ("xstim_n", [0, 0], r"xstim_n is \[0, 0\]; a source counts once"),
    ("ffnet_n", [0.5], "ffnet_n .* is 0.5"),
    ("ffnet_n", True, "ffnet_n .* is True"),
    ("network_type", "sampler", "unknown network_type 'sampler'; allowed are normal, side"),
    ("network_type", None, "unknown network_type None"),
    ("verbose", 2, "verbose is 2; it must be True or False"),
    ("log_activations", "no", "log_activations is 'no'"),
    ("reg_boundaries", "fre", r"reg_boundaries\[0\] \(layer 0\) 'fre'; .* Did you mean 'free'"),
    ("reg_boundaries", [None, 0], r"reg_boundaries\[1\] \(layer 1\) 0; allowed"),
    ("reg_boundaries", ["zero"] * 3, "reg_boundaries has 3 entries"),
]


@pytest.mark.parametrize(("argument", "value", "sentence"), REFUSED)
def test_what_does_not_fit_is_refused(argument, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        ffnetwork_params(**{**CONV, argument: value})


def test_the_table_of_refusals_has_every_argument():
    assert {row[0] for row in REFUSED} == set(inspect.signature(ffnetwork_params).parameters)
