"""Keyword arguments become a description; what does not fit is refused with a sentence."""

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"layer_sizes": None}, "layer_sizes is None"),
        ({"layer_types": ["normal"]}, "one name for each of the 3"),
        ({"layer_types": ["diff_of_gausians", "normal", "normal"]}, "Did you mean 'diff_of_gau"),
        ({"act_funcs": ["relu"] * 4}, "act_funcs has 4 entries"),
        ({"reg_list": {"l2": [1, 2, 3, 4]}}, "has 4 entries"),
        ({"input_dims": [1, 2, 3, 4]}, "up to three positive whole numbers"),
        ({"input_dims": [1, 0]}, "up to three positive whole numbers"),
    ],
)
def test_what_does_not_fit_is_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        ffnetwork_params(**{**HSM, **change})


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


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"layer_sizes": 3}, "layer_sizes is 3; it must list"),
        ({"layer_sizes": [None, 4]}, r"layer_sizes\[0\] \(layer 0\) is None"),
        ({"layer_sizes": [5, "a"]}, r"layer_sizes\[1\] \(layer 1\) is 'a'"),
        ({"layer_sizes": [2.7, 4]}, r"layer_sizes\[0\] \(layer 0\) is 2.7"),
        ({"layer_sizes": [4, -3]}, r"layer_sizes\[1\] \(layer 1\) is -3"),
        ({"reg_list": [1]}, r"reg_list is \[1\]; it must be a dict"),
        ({"reg_list": {"l2": [None, float("nan")]}}, r"reg_list\['l2'\] of layer 1 is nan"),
        ({"reg_list": {"l2": "x"}}, r"reg_list\['l2'\] is 'x'"),
        ({"input_dims": "abc"}, "input_dims is 'abc'"),
        ({"conv_filter_widths": ["x"]}, r"conv_filter_widths\[0\] \(layer 0\) is 'x'"),
        ({"shift_spacing": "x"}, r"shift_spacing\[0\] \(layer 0\) is 'x'"),
        ({"ei_layers": ["x"]}, r"ei_layers\[0\] \(layer 0\) is 'x'"),
    ],
)
def test_entries_of_the_wrong_kind_name_argument_and_layer(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        ffnetwork_params(**{**CONV, **change})
