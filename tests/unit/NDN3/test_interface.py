"""Names, arguments, orders and defaults that scripts of the original library rely on."""

import inspect

import numpy as np
import pytest

import NDN3.NDN as NDN_module
import NDN3.NDNutils as NDNutils
from NDN3 import training_options
from NDN3.NDN import NDN

REQUIRED = inspect.Parameter.empty

# (name, default) in their order; arguments that are new stand behind them
DESCRIPTION = [
    ("input_dims", None),
    ("layer_sizes", None),
    ("layer_types", None),
    ("act_funcs", "relu"),
    ("ei_layers", None),
    ("reg_list", None),
    ("normalization", None),
    ("conv_filter_widths", None),
    ("shift_spacing", 1),
    ("dilation", 1),
    ("time_expand", None),
    ("xstim_n", 0),
    ("ffnet_n", None),
    ("network_type", "normal"),
    ("verbose", True),
    ("log_activations", False),
]
KEYS = [
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
]
ROWS = [("data_indxs", None), ("data_filters", None)]
METHODS = {
    "__init__": [
        ("network_list", REQUIRED),
        ("noise_dist", "poisson"),
        ("ffnet_out", -1),
        ("input_dim_list", None),
        ("batch_size", None),
        ("tf_seed", 0),
    ],
    "train": [
        ("input_data", REQUIRED),
        ("output_data", REQUIRED),
        ("train_indxs", None),
        ("test_indxs", None),
        ("blocks", None),
        ("fit_variables", None),
        ("use_dropout", True),
        ("data_filters", None),
        ("learning_alg", "adam"),
        ("opt_params", None),
        ("output_dir", None),
        ("silent", False),
    ],
    "fit_variables": [("layers_to_skip", None), ("fit_biases", False)],
    "generate_prediction": [
        ("input_data", REQUIRED),
        ("data_indxs", None),
        ("ffnet_target", -1),
        ("layer_target", -1),
        ("use_dropout", False),
        ("pre_activation", False),
    ],
    "eval_models": [
        ("input_data", REQUIRED),
        ("output_data", REQUIRED),
        *ROWS,
        ("nulladjusted", False),
    ],
    "eval_preds": [("preds", REQUIRED), ("output_data", REQUIRED), *ROWS, ("nulladjusted", False)],
    "get_LL": [("input_data", REQUIRED), ("output_data", REQUIRED), *ROWS],
    "get_null_ll": [("output_data", REQUIRED), *ROWS],
    "set_poisson_norm": [("output_data", REQUIRED), *ROWS],
    "initialize_output_layer_bias": [("output_data", REQUIRED)],
    "save_model": [("path", REQUIRED)],
    "load_model": [("path", REQUIRED)],
    "copy_model": [("tf_seed", 0)],
    "set_regularization": [
        ("reg_type", REQUIRED),
        ("reg_val", REQUIRED),
        ("ffnet_target", 0),
        ("layer_target", None),
    ],
    "get_reg_pen": [],
    "get_weights": [
        ("layer_target", 0),
        ("ffnet_target", 0),
        ("w_range", None),
        ("reshape", False),
    ],
    "matlab_export": [("path", REQUIRED)],
    "checkpoint_model": [("path", REQUIRED)],
    "restore_model": [("path", REQUIRED)],
}
FUNCTIONS = {
    "ffnetwork_params": DESCRIPTION,
    "create_time_embedding": [
        ("stim", REQUIRED),
        ("pdims", REQUIRED),
        ("up_fac", 1),
        ("tent_spacing", 1),
    ],
    "create_NL_embedding": [("stim", REQUIRED), ("bounds", REQUIRED)],
    "shift_mat": [("m", REQUIRED), ("sh", REQUIRED), ("dim", REQUIRED), ("zpad", True)],
    "shift_mat_zpad": [("x", REQUIRED), ("shift", REQUIRED), ("dim", 0)],
    "generate_spike_history": [
        ("robs", REQUIRED),
        ("nlags", REQUIRED),
        ("neg_constraint", True),
        ("reg_par", 0),
        ("xstim_n", 1),
    ],
    "reg_path": [
        ("ndn_mod", REQUIRED),
        ("input_data", REQUIRED),
        ("output_data", REQUIRED),
        ("train_indxs", REQUIRED),
        ("test_indxs", REQUIRED),
        ("blocks", None),
        ("reg_type", "l1"),
        ("reg_vals", (1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1)),
        ("ffnet_target", 0),
        ("layer_target", 0),
        ("data_filters", None),
        ("opt_params", None),
        ("fit_variables", None),
        ("learning_alg", "adam"),
        ("output_dir", None),
        ("cumulative", False),
        ("silent", True),
    ],
    "generate_xv_folds": [
        ("nt", REQUIRED),
        ("num_folds", 5),
        ("num_blocks", 3),
        ("which_fold", None),
    ],
    "process_blocks": [
        ("block_inds", REQUIRED),
        ("data_filters", REQUIRED),
        ("batch_size", 2000),
        ("skip", 20),
    ],
    "make_block_indices": [("block_lims", REQUIRED), ("lag_skip", 0)],
    "spikes_to_robs": [("spks", REQUIRED), ("num_time_pts", REQUIRED), ("dt", REQUIRED)],
    "tent_basis_generate": [
        ("xs", None),
        ("num_params", None),
        ("doubling_time", None),
        ("init_spacing", 1),
        ("first_lag", 0),
    ],
    "design_matrix_tent_basis": [
        ("s", REQUIRED),
        ("anchors", REQUIRED),
        ("zero_left", False),
        ("zero_right", False),
    ],
    "assign_gpu": [("gpu_choice", None)],
    "setup_one_gpu": [("gpu_choice", None)],
    "setup_no_gpu": [],
}
PLOTS = [
    "display_model",
    "gabor_array",
    "gabor_sized",
    "get_gabor",
    "make_gif",
    "plot_2dweights",
    "plot_3dfilters",
    "plot_filters",
    "plot_internal_weights",
    "side_network_analyze",
    "sparse_mapping",
]
# documented defaults of `opt_params`
OPTIONS = {
    "learning_rate": 1e-3,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
    "batch_size": 128,
    "epochs_training": 100,
    "epochs_summary": None,
    "epochs_ckpt": None,
    "early_stop_mode": 0,
    "early_stop": 0,
    "MAPest": True,
    "func_tol": 0,
    "display": None,
    "use_gpu": False,
    "data_pipe_type": "data_as_var",
    "poisson_unit_norm": None,
    "run_diagnostics": False,
}
OPTIONS_LBFGS = {"maxiter": 500, "grad_tol": 1e-5, "eps": 1e-8, "func_tol": 2.2e-9}


def arguments(function):
    return [
        (name, parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    ]


@pytest.mark.parametrize("name", METHODS)
def test_methods_have_their_arguments(name):
    found = arguments(getattr(NDN, name))
    expected = METHODS[name]
    assert found[: len(expected)] == expected
    assert REQUIRED not in [default for _, default in found[len(expected) :]], "new ones: optional"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_their_arguments(name):
    found = arguments(getattr(NDNutils, name))
    expected = FUNCTIONS[name]
    assert found[: len(expected)] == expected
    assert REQUIRED not in [default for _, default in found[len(expected) :]], "new ones: optional"


@pytest.mark.parametrize("name", PLOTS)
def test_plots_are_there(name):
    assert callable(getattr(NDNutils, name))


def test_options_have_their_defaults():
    assert OPTIONS.items() <= training_options.DEFAULTS.items()
    assert OPTIONS_LBFGS.items() <= training_options.LBFGS_DEFAULTS.items()


def test_the_module_holds_the_class():
    assert NDN_module.NDN is NDN
    assert NDN.load_model.__self__ is NDN


# ---- each argument does what it says -----------------------------------------------------------

X = np.random.default_rng(0).normal(size=(60, 16))
Y = np.random.default_rng(1).poisson(1.0, (60, 3)).astype(float)
TRAIN, TEST = np.arange(40), np.arange(40, 60)
SHORT = {"batch_size": 20, "epochs_training": 2}
SMALL = {
    "input_dims": [1, 4, 4],
    "layer_sizes": [2, 3],
    "layer_types": ["normal", "normal"],
    "act_funcs": "softplus",
    "verbose": False,
}
EFFECTS = {
    "input_dims": ([4, 2, 2], "input_dims", [4, 2, 2]),
    "layer_sizes": ([[2, 1, 1], 3], "layer_sizes", [[2, 1, 1], 3]),
    "layer_types": (["conv", "sep"], "layer_types", ["conv", "sep"]),
    "act_funcs": (["elu", "exp"], "activation_funcs", ["elu", "exp"]),
    "ei_layers": ([1], "num_inh", [1, 0]),
    "reg_list": ({"l2": [None, 0.1]}, "reg_initializers", [{}, {"l2": 0.1}]),
    "normalization": ([1], "normalize_weights", [1, 0]),
    "conv_filter_widths": ([3], "conv_filter_widths", [3, None]),
    "shift_spacing": (2, "shift_spacing", [2, 2]),
    "dilation": (2, "dilation", [2, 2]),
    "time_expand": ([3], "time_expand", [3, 0]),
    "xstim_n": (0, "xstim_n", [0]),
    "ffnet_n": (0, "ffnet_n", [0]),
    "network_type": ("side", "network_type", "side"),
    "log_activations": (True, "log_activations", True),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_arguments_of_descriptions(name):
    given, key, expected = EFFECTS[name]
    description = NDNutils.ffnetwork_params(**{**SMALL, name: given})
    assert description[key] == expected
    assert set(KEYS) <= set(description)


def test_every_argument_of_descriptions_is_tried(capsys):
    assert set(EFFECTS) | {"verbose"} == {name for name, _ in DESCRIPTION}
    NDNutils.ffnetwork_params(**{**SMALL, "verbose": True})
    assert capsys.readouterr().out.count("layer ") == 2
    NDNutils.ffnetwork_params(**SMALL)
    assert not capsys.readouterr().out


def trained(**options):
    model = NDN(NDNutils.ffnetwork_params(**SMALL))
    model.train(X, Y, **{"opt_params": SHORT, "silent": True, **options})
    return model


def test_arguments_of_train_by_their_places(tmp_path):
    model = NDN(NDNutils.ffnetwork_params(**SMALL), "poisson", -1, None, None, 0)
    options = {**SHORT, "epochs_summary": 1}
    fit = model.fit_variables([0], True)
    mask = np.ones_like(Y)
    last = model.train(
        X, Y, TRAIN, TEST, None, fit, True, mask, "adam", options, str(tmp_path), True
    )
    assert last == 1 and (tmp_path / "summaries" / "test").is_dir()
    by_name = trained(train_indxs=TRAIN, test_indxs=TEST, fit_variables=fit, data_filters=mask)
    for one, other in zip(model.arrays, by_name.arrays, strict=True):
        np.testing.assert_array_equal(one, other)
    untouched = NDN(NDNutils.ffnetwork_params(**SMALL)).arrays
    np.testing.assert_array_equal(model.arrays[0], untouched[0])
    assert (model.arrays[2] != untouched[2]).any()


@pytest.mark.parametrize(
    ("fit_biases", "expected"),
    [(False, [False, False]), (True, [True, True]), ([True], [True, True])],
)
def test_biases_of_all_networks_or_of_each(fit_biases, expected):
    model = NDN(NDNutils.ffnetwork_params(**SMALL))
    (found,) = model.fit_variables(fit_biases=fit_biases)
    assert [layer["biases"] for layer in found] == expected


@pytest.mark.parametrize("given", ["yes", [True, False], [1], 1])
def test_biases_are_told_by_truths(given):
    model = NDN(NDNutils.ffnetwork_params(**SMALL))
    with pytest.raises(ValueError, match="^fit_biases is .*; it must be True or False, or"):
        model.fit_variables(fit_biases=given)


def test_norms_may_be_a_list_with_one_array_for_each_network():
    rates = Y.mean(axis=0)
    one = trained(opt_params={**SHORT, "poisson_unit_norm": [rates]})
    other = trained(opt_params={**SHORT, "poisson_unit_norm": rates})
    np.testing.assert_array_equal(one.poisson_unit_norm, rates)
    np.testing.assert_array_equal(one.arrays[0], other.arrays[0])


def test_methods_by_the_places_of_their_arguments(tmp_path):
    model = trained()
    mask = np.ones_like(Y)
    mask[45:50] = 0
    scores = model.eval_models(X, Y, TEST, mask, True)
    preds = model.generate_prediction(X, TEST, -1, -1, False, False)
    np.testing.assert_array_equal(model.eval_preds(preds, Y, TEST, mask, True), scores)
    plain, null = model.eval_models(X, Y, TEST, mask), model.get_null_ll(Y, TEST, mask)
    np.testing.assert_allclose(-plain - null, scores, rtol=1e-5)
    hidden = model.generate_prediction(X, None, 0, 0, False, True)
    np.testing.assert_allclose(
        np.log1p(np.exp(hidden)), model.generate_prediction(X, layer_target=0), rtol=1e-5
    )
    assert model.get_weights(0, 0, [1], True).shape == (4, 4, 1, 1)
    before = model.get_LL(X, Y, TEST, mask)
    model.set_poisson_norm(Y * 2, TEST, mask)
    assert model.get_LL(X, Y, TEST, mask) < before
    model.set_regularization("l2", 0.5, 0, 1)
    (penalty,) = model.get_reg_pen()["net0L1"].values()
    np.testing.assert_allclose(penalty, 0.25 * np.sum(model.get_weights(1) ** 2), rtol=1e-5)
    copied = model.copy_model(3)
    copied.initialize_output_layer_bias(Y)
    assert (copied.get_weights(1) == model.get_weights(1)).all() and copied.tf_seed == 3
    assert (copied.networks[0].layers[1].biases != model.networks[0].layers[1].biases).all()
    model.checkpoint_model(str(tmp_path / "now.ndn"))
    model.networks[0].layers[0].weights[:] = 0
    model.restore_model(str(tmp_path / "now.ndn"))
    np.testing.assert_array_equal(model.generate_prediction(X, TEST), preds)
    model.matlab_export(str(tmp_path / "now.mat"))
    assert (tmp_path / "now.mat").stat().st_size > 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"opt_params": {"early_stop_mode": 1, "early_stop": 2}}, "there are no test rows"),
        ({"train_indxs": [0, 2], "blocks": [[1, 20], [21, 40], [41, 60]]}, "not of blocks"),
    ],
)
def test_what_meant_something_else_gets_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        trained(**options)
