"""What a user may get wrong: one sentence each, from this library, and nothing is changed by it."""

import functools
import inspect
import random
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest

import NDN3
from NDN3 import NDNutils, training
from NDN3.ensembles import Ensemble
from NDN3.NDN import NDN

SOURCE = np.random.default_rng(0)
X = SOURCE.normal(size=(50, 49))
Y = SOURCE.poisson(1.0, (50, 5)).astype(float)
M = np.ones_like(Y)
TRAIN, TEST = np.arange(40), np.arange(40, 50)
RIGHT = {"input_data": X, "output_data": Y, "train_indxs": TRAIN, "opt_params": {"batch_size": 25}}


def description(**options):
    given = {"layer_sizes": [3, 5], "layer_types": ["normal", "normal"], "act_funcs": "softplus"}
    return NDNutils.ffnetwork_params(49, **{**given, "verbose": False, **options})


@pytest.fixture(scope="module")
def model():
    built = NDN(description(reg_list={"l2": 0.1}))
    built.set_poisson_norm(Y)
    return built


@pytest.fixture(scope="module")
def pair():
    """Two networks on two inputs; both give the output."""
    one = description(layer_sizes=[5], layer_types=["normal"])
    return NDN([one, {**one, "xstim_n": [1]}], ffnet_out=[0, 1])


def state(model):
    """All that a call could change, the generators of Python and NumPy too."""
    old = np.random.get_state()  # noqa: NPY002
    variables = [np.asarray(each).tobytes() for each in model.keras_model.weights]
    named = [model.poisson_unit_norm, model.log_correlation, model.batch_size, model.tf_seed]
    descriptions = [repr(each) for each in (model.network_list, named, RIGHT["opt_params"])]
    arrays = [array.tobytes() for array in (*model.arrays, X, Y, M)]
    return arrays, variables, descriptions, old[1].tobytes(), old[2], random.getstate()


def refused(call):
    """The sentence with which a call is refused; None if it is not."""
    try:
        call()
    except (ValueError, TypeError, FileNotFoundError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        assert Path(NDN3.__file__).parent in Path(last.filename).parents, f"raised in {last}"
        assert "raise " in last.line, last.line
        sentence = str(error)
        assert "\n" not in sentence and len(sentence) < 700, sentence
        assert sentence.endswith((".", "?")), sentence
        return sentence
    return None


def set_weights(model, values):
    model.networks[0].layers[0].weights = values


def spoiled(array, value):
    changed = array.copy()
    changed[7, 2] = value
    return changed


FIT = [{"weights": True, "biases": True}]
TRAINING = [
    ({"input_data": X[:, :9]}, r"input_data has shape \(50, 9\); the input dims .* 49 columns"),
    ({"input_data": [X, X]}, "input_data is a list of 2; the model has one of its external"),
    ({"input_data": spoiled(X, np.nan)}, r"input_data .* in 1 of 1960 entries.*\[7, 2\]"),
    ({"output_data": spoiled(Y, np.nan)}, "leave those rows out of train_indxs and test_indxs"),
    ({"input_data": X * 1e300}, "input_data .*NaN or infinity"),
    ({"input_data": X.astype(object)}, r"as an array of numbers \(ndarray of dtype object\)"),
    ({"input_data": np.ma.masked_less(X, 0)}, "input_data is a masked array of numpy.ma"),
    ({"output_data": np.ma.masked_less(Y, 1)}, "output_data is a masked .* 0 in data_filters"),
    ({"input_data": X.astype(str)}, "input_data cannot be read as an array of numbers"),
    ({"input_data": X + 1j}, "input_data cannot be read as an array of numbers"),
    ({"input_data": [[1.0], [1.0, 2.0]]}, "input_data cannot be read as an array of numbers"),
    ({"input_data": X[:0], "output_data": Y[:0]}, "train_indxs must lie in"),
    ({"output_data": None}, "output_data is None; it must be responses"),
    ({"output_data": [None]}, "output_data cannot be read"),
    ({"output_data": Y[:20]}, "output_data has 20 rows, what it belongs to 50"),
    ({"output_data": Y[:, :3]}, "output_data has shape .*; the last layer has 5 columns"),
    ({"output_data": spoiled(Y, np.inf)}, "output_data .*NaN or infinity"),
    ({"output_data": spoiled(Y, -1)}, "reach down to -1; responses under noise_dist 'poisson'"),
    ({"data_filters": M[:, :4]}, "data_filters has shape .* 5 columns"),
    ({"data_filters": spoiled(M, np.nan)}, "data_filters .*NaN or infinity"),
    ({"data_filters": M * 0}, "data_filters are 0 in all of the 40 rows in use"),
    ({"data_filters": spoiled(M, 2)}, "data_filters have 2 in row 7, column 2; .* 1, or does not"),
    ({"data_filters": M * (np.arange(50) < 40)[:, None], "test_indxs": TEST}, "the 10 rows in use"),
    ({"train_indxs": np.arange(40.0)}, "train_indxs are an array of float64"),
    ({"train_indxs": np.arange(40) < 20}, "train_indxs are 40 bools; the data have 50 rows"),
    ({"train_indxs": [0, 50]}, "train_indxs must lie in 0…49"),
    ({"train_indxs": []}, "train_indxs must lie in 0…49 and be at least one, got none"),
    ({"train_indxs": [[0, 1], [2]]}, "train_indxs are an array of object"),
    ({"test_indxs": [-1]}, "test_indxs must lie in 0…49"),
    ({"test_indxs": 3}, "test_indxs are an array of int64"),
    ({"blocks": [[5, 1]]}, r"blocks have \[5, 1\]; a block is"),
    ({"blocks": [[1, 51]]}, r"blocks have \[1, 51\]; a block is"),
    ({"blocks": "all"}, "blocks are 'all'; they must be pairs"),
    ({"fit_variables": [FIT]}, r"one list for each network, of \[2\] layers"),
    ({"fit_variables": [[]]}, "one list for each network"),
    ({"fit_variables": [[True, True]]}, "fit_variables has True for a normal layer"),
    ({"fit_variables": [[{"wieghts": True, "biases": True}, *FIT]]}, "it must be a dict with"),
    ({"fit_variables": [[FIT[0] | {"weights": np.ones((3, 3))}, *FIT]]}, "fit_variables of"),
    ({"fit_variables": [[{"weights": False, "biases": False}] * 2]}, "nothing to train"),
    ({"use_dropout": "yes"}, "use_dropout is 'yes'; it must be True or False"),
    ({"silent": 1}, "silent is 1; it must be True or False"),
    ({"learning_alg": "lbgfs"}, "unknown learning_alg 'lbgfs'.* Did you mean 'lbfgs'"),
    ({"output_dir": 3}, "output_dir is 3; it must be a text or a path"),
    ({"output_dir": __file__}, "output_dir is .* is a file; it must be a folder"),
    ({"learning_alg": "LBFGS"}, "Did you mean 'lbfgs'"),
    ({"opt_params": {"lr": 3}}, "unknown key of opt_params 'lr'.* Did you mean 'learning_rate'"),
    ({"opt_params": {"epochs": 3}}, "opt_params 'epochs'.* Did you mean 'epochs_training'"),
    ({"opt_params": {"batch_size": 2**31}}, "batch_size is .* from 1 to 2147483647"),
    ({"opt_params": {"learning_rate": 1e300}}, r"learning_rate is 1e\+300; .* up to 3e\+38"),
    ({"opt_params": {"poisson_unit_norm": [1, 2]}}, "must be one positive number, or 5"),
    ({"opt_params": {"poisson_unit_norm": -1}}, "poisson_unit_norm is -1"),
    ({"opt_params": {"poisson_unit_norm": np.ones(5) * 1j}}, "poisson_unit_norm is array"),
]


@pytest.mark.parametrize("algorithm", ["adam", "lbfgs"])
@pytest.mark.parametrize(("given", "sentence"), TRAINING)
def test_training(model, given, sentence, algorithm):
    before = state(model)
    with pytest.raises(AssertionError, match=sentence):
        arguments = {"learning_alg": algorithm, "silent": True, **RIGHT, **given}
        raise AssertionError(refused(lambda: model.train(**arguments)))
    assert state(model) == before


CALLS = [
    (lambda m: m.eval_models(X, Y, units="bit"), "unknown units 'bit'.*Did you mean 'bits'"),
    (lambda m: m.eval_models(X, Y, nulladjusted=1), "nulladjusted is 1; it must be True or"),
    (lambda m: m.eval_models(X, None), "output_data is None; scores need an array"),
    (lambda m: m.eval_models(X[:0], Y[:0]), "scores need an array .* with a row or more"),
    (lambda m: m.eval_models(X, []), "scores need an array"),
    (lambda m: m.eval_models(X, Y * np.nan), "output_data .* has NaN or infinity in 250 of 250"),
    (lambda m: m.eval_models(X, -Y), "output_data reach down to"),
    (lambda m: m.eval_models(X, Y[:, :2]), "the last layer has 5 columns"),
    (lambda m: m.eval_models(X, Y[:5]), "output_data has 5 rows, what it belongs to 50"),
    (lambda m: m.eval_models(X, Y, None, M * np.nan), "data_filters .* has NaN or infinity"),
    (lambda m: m.eval_models(X, Y, None, M * 0), "data_filters are 0 in all of the 50 rows"),
    (lambda m: m.eval_models(X, Y, None, M / 2), "data_filters have 0.5 in row 0, column 0"),
    (lambda m: m.eval_models(X, Y, [50]), "rows of data_indxs must lie in 0…49"),
    (lambda m: m.eval_models(X, Y, TEST, blocks=[[1, 40]]), "data_indxs are 10 rows, of which"),
    (lambda m: m.eval_models(X * np.nan, Y), "input_data .* has NaN or infinity in 2450 of 2450"),
    (lambda m: m.get_LL(X * np.inf, Y), "input_data .* has NaN or infinity in 2450 of 2450"),
    (lambda m: m.get_LL(X, Y[:2]), "output_data has 2 rows, what it belongs to 50"),
    (lambda m: m.eval_preds(None, Y), "preds is None; it must be predictions"),
    (lambda m: m.eval_preds(Y[:2], Y), "preds has 2 rows, what it belongs to 50"),
    (lambda m: m.eval_preds(spoiled(Y, np.inf), Y), "preds .*has NaN or infinity in 1 of 250"),
    (lambda m: m.eval_preds(Y - 0.1, Y), "reach down to -0.1; under noise_dist 'poisson' they are"),
    (lambda m: m.eval_preds(np.ma.masked_less(Y, 1), Y), "preds is a masked array of numpy.ma"),
    (lambda m: m.eval_models(X, np.ma.masked_less(Y, 1)), "output_data is a masked array"),
    (
        lambda m: m.eval_models(X, spoiled(Y, np.nan), [6, 7]),
        r"first at \[7, 2\].*out of data_indx",
    ),
    (lambda m: m.get_null_ll("spikes"), "output_data is 'spikes'; scores need an array"),
    (lambda m: m.set_poisson_norm(-Y), "output_data reach down to"),
    (lambda m: setattr(m, "poisson_unit_norm", [1, 2]), "one positive number, or 5, one for each"),
    (lambda m: setattr(m, "log_correlation", "zero"), "unknown mode of log_correlation"),
    (lambda m: m.generate_prediction(X[:, :9]), r"the input dims \[49, 1, 1\] ask for 49 col"),
    (lambda m: m.generate_prediction(X, ffnet_target=1), "the model has 1 network"),
    (lambda m: m.generate_prediction(X, layer_target=2), "the network has 2 layers"),
    (lambda m: m.generate_prediction(X, pre_activation=2), "pre_activation is 2; it must be True"),
    (lambda m: m.get_weights(w_range=[3]), "units of w_range must lie in 0…2"),
    (lambda m: m.get_weights(reshape="x"), "reshape is 'x'; it must be True or False"),
    (lambda m: m.set_regularization("l3", 1), "unknown regularizer 'l3'"),
    (lambda m: m.set_regularization("l2", -1), "reg_val of 'l2' is -1; it must be a finite"),
    (lambda m: m.set_regularization("l2", [1, 2]), "l2 .* has 2 values|2 numbers|one for each"),
    (lambda m: m.set_regularization("dropout", 0), "is 0; it must be the probability to keep"),
    (lambda m: m.set_regularization("l2", 1, layer_target=[]), "takes the regularizer 'l2', or"),
    (lambda m: m.set_regularization("l2", 1, layer_target=2), "the network has 2 layers"),
    (lambda m: m.fit_variables(5), "layers_to_skip is 5; the network has 2 layers"),
    (lambda m: m.copy_model(-1), "the seed is -1; it must be a whole number from 0"),
    (lambda m: m.save_model(3), "the path is 3; it must be a text or a path"),
    (lambda m: m.save_model("no/such/folder/m"), "the folder no/such/folder does not exist"),
    (lambda m: m.matlab_export(Path(__file__).parent), "is a folder; a file is to be written"),
    (lambda m: m.restore_model("nowhere"), "there is no model file nowhere"),
    (lambda m: NDN.load_model(None), "the path of a model is None; it must be a text"),
    (lambda m: m.import_weights(3), "to import are a int; they must be a dict"),
    (lambda m: Ensemble(None), "models are None; an ensemble needs one NDN model"),
    (lambda m: m.import_weights({"L0/weights": np.full((49, 3), 1e300)}), "in float32 has NaN or"),
    (
        lambda m: m.import_weights({"L0/weights": np.full((49, 3), 1j)}),
        "dtype complex128.*real num",
    ),
    (lambda m: set_weights(m, np.full((49, 3), 1e300)), r"Give finite numbers up to 3.4e\+38"),
    (lambda m: set_weights(m, spoiled(X[:, :3][:49], np.nan)), r"NaN or infinity .* \[7, 2\]"),
    (
        lambda m: set_weights(m, np.ones((49, 3), object)),
        r"\(ndarray of dtype object\); it must be",
    ),
    (lambda m: Ensemble.of_trained(np.array(3)), r"results are array\(3\); they must be what"),
    (lambda m: list(NDN.fit_together([m, m], X, Y)), "models has one model twice"),
    (lambda m: Ensemble.of_trained(m), "results are .*; they must be what NDN.fit_together yields"),
    (lambda m: list(NDN.fit_together([m, 3], X, Y)), "models has 3 in it; all must be NDN models"),
    (lambda m: NDN.for_seeds(description(), seeds=None), "seeds is None; it must be a list"),
    (lambda m: NDN(description(), tf_seed="a"), "the seed is 'a'; it must be a whole number"),
    (lambda m: NDN(description(), tf_seed=2**32, legacy=True), "seed with legacy .* 4294967295"),
    (lambda m: NDN(description(), legacy="yes"), "legacy is 'yes'; it must be True or False"),
    (lambda m: NDN(description(), input_dim_list=[[1, 7, 7]]), r"\[49, 1, 1\].*\[1, 7, 7\] in inp"),
    (lambda m: NDN(description(), input_dim_list=7), "input_dim_list is 7; it must be a list of"),
    (lambda m: NDN(description(), input_dim_list=[49, 49]), "has 2 entries; the networks read 1"),
    (lambda m: NDN(description(layer_sizes=[10**15, 5])), "layer0 has arrays .* no memory for so"),
    (lambda m: NDNutils.reg_path(None, X, Y, TRAIN, TEST), "ndn_mod is None; it must be an NDN"),
    (lambda m: NDNutils.reg_path(m, X, Y, TRAIN, [], reg_vals=[1]), "test_indxs is empty"),
]


@pytest.mark.parametrize(("call", "sentence"), CALLS)
def test_calls(model, call, sentence):
    before = state(model)
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(refused(lambda: call(model)))
    assert state(model) == before


@pytest.mark.parametrize(
    ("inputs", "responses", "sentence"),
    [
        (X, [Y, Y], "input_data is one ndarray; the model has 2 external inputs"),
        ([X], [Y, Y], "input_data is a list of 1; the model has 2 external inputs"),
        ([X, X[:9]], [Y, Y], r"input_data have \[50, 9\] rows; row i of one"),
        ([X, X], Y, "output_data is one ndarray; the model has 2 output networks"),
        ([X, X], [Y, Y[:, 1:]], r"output_data\[1\] has shape \(50, 4\); the last layer has 5"),
        ([X, X], [Y, None], r"output_data\[1\] cannot be read as an array of numbers"),
    ],
)
def test_several_inputs_and_outputs(pair, inputs, responses, sentence):
    before = state(pair)
    for call in (pair.train, pair.eval_models, pair.get_LL):
        with pytest.raises(AssertionError, match=sentence):
            raise AssertionError(refused(functools.partial(call, inputs, responses)))
    assert state(pair) == before


# ---- anything at all, for every argument --------------------------------------------------------

RAGGED = [[1, 2], [3]]
OBJECTS = np.array([None, "a"], dtype=object)
ODD = [
    None,
    "",
    "abc",
    True,
    -1,
    2.5,
    np.nan,
    10**30,
    [],
    [[]],
    RAGGED,
    {},
    {1},
    b"x",
    1j,
    iter(()),
]
ODD += [OBJECTS, np.array(3), np.zeros(0), np.full((2, 2, 2), np.nan), np.zeros((50, 49)), object()]
BASES = {
    NDNutils.ffnetwork_params: {
        "input_dims": [1, 4, 4],
        "layer_sizes": [2, 3],
        "layer_types": ["conv", "normal"],
        "verbose": False,
    },
    NDNutils.create_time_embedding: {"stim": X[:, :4], "pdims": [3, 2, 2]},
    NDNutils.create_NL_embedding: {"stim": X, "bounds": [-1, 0, 1]},
    NDNutils.shift_mat: {"m": X, "sh": 1, "dim": 0},
    NDNutils.generate_spike_history: {"robs": Y, "nlags": 3},
    NDNutils.generate_xv_folds: {"nt": 100},
    NDNutils.make_block_indices: {"block_lims": [[1, 20], [21, 50]]},
    NDNutils.process_blocks: {"block_inds": [[1, 50]], "data_filters": [M]},
    NDNutils.spikes_to_robs: {"spks": [0.1, 0.2], "num_time_pts": 9, "dt": 0.1},
    NDNutils.tent_basis_generate: {"num_params": 4},
    NDNutils.design_matrix_tent_basis: {"s": X[:, 0], "anchors": [-1, 0, 1]},
    NDNutils.design_matrix_event_basis: {"events": [1], "num_time_pts": 9, "basis": np.eye(3)},
    NDNutils.inner_holdout: {"rows": np.arange(9), "share": 0.3, "seed": 0},
    NDNutils.speckled_folds: {"n_rows": 50, "n_neurons": 3},
    NDNutils.get_gabor: {"size": 8, "orientation": 0.0, "frequency": 0.2},
    NDNutils.gabor_array: {"size": 8},
    NDN: {"network_list": description()},
    NDN.for_seeds: {"network_list": description()},
}
METHODS = {
    "eval_models": {"input_data": X, "output_data": Y},
    "eval_preds": {"preds": Y, "output_data": Y},
    "get_LL": {"input_data": X, "output_data": Y},
    "get_null_ll": {"output_data": Y},
    "generate_prediction": {"input_data": X},
    "get_weights": {},
    "fit_variables": {},
    "import_weights": {"arrays": {}},
}
# sizes of this many bytes and more would be tried, and entries of this many
LARGE = ("nt", "num_time_pts", "n_rows", "n_neurons", "up_fac", "size", "nlags", "n_orientations")
LARGE += ("num_folds", "num_blocks", "tent_spacing", "num_params")


def tried(call, right):
    """Call with each odd value for each argument; a refusal is a sentence."""
    for name in inspect.signature(call).parameters:
        for value in ODD:
            huge = isinstance(value, int) and value > 10**9 and name in LARGE
            if name in ("options", "verbose") or huge:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                refused(functools.partial(call, **{**right, name: value}))


@pytest.mark.parametrize("function", BASES, ids=lambda function: function.__name__)
def test_functions_refuse_anything_with_a_sentence(function):
    tried(function, BASES[function])


@pytest.mark.parametrize("method", METHODS)
def test_methods_refuse_anything_with_a_sentence(model, method):
    before = state(model)
    tried(getattr(model, method), METHODS[method])
    assert state(model) == before


@pytest.mark.parametrize("key", sorted(description()))
def test_descriptions_refuse_anything_with_a_sentence(key):
    for value in [*ODD, *([value, None] for value in ODD)]:
        refused(lambda given=value: NDN({**description(), key: given}))


# ---- what is masked ------------------------------------------------------------------------------


def test_an_infinite_prediction_under_a_mask(monkeypatch):
    """exp(x) of a large x is infinite; in rows that count for nobody it costs nothing."""
    monkeypatch.setattr(training, "fit", functools.partial(training.fit, xla=False))
    images, mask = X.copy(), M.copy()
    images[45], mask[45] = 1e6, 0
    found = []
    for inputs in (images, np.where(mask[:, :1] == 0, 0, X)):
        model = NDN(description(act_funcs=["lin", "exp"]))
        model.networks[0].layers[0].weights[:] = 0.01
        model.networks[0].layers[1].weights[:] = 0.01
        options = {"batch_size": 20, "epochs_training": 2}
        trained = NDN.fit_together(
            [model], inputs, Y, TRAIN, TEST, data_filters=mask, opt_params=options
        )
        ((_, _, result),) = trained
        found.append(result.history["test/cost"])
    assert np.isfinite(found[0]).all()
    np.testing.assert_array_equal(*found)


def test_blocks_count_the_same_rows_in_scores_as_in_training(model):
    rows = NDNutils.make_block_indices([[1, 20], [31, 50]])
    for name in ("eval_models", "get_LL"):
        score = getattr(model, name)
        on_blocks = score(X, Y, blocks=[[1, 20], [31, 50]])
        np.testing.assert_array_equal(on_blocks, score(X, Y, rows))
        assert not np.array_equal(on_blocks, score(X, Y))
    along = NDN(description(time_expand=[3]))
    found = along.eval_models(X, Y, blocks=[[1, 20], [31, 50]])
    later = NDNutils.make_block_indices([[1, 20], [31, 50]], lag_skip=2)
    np.testing.assert_array_equal(found, along.eval_models(X, Y, later))
    # row 7 is read for rows 7 to 9
    without = [row for row in range(50) if row not in (7, 8, 9)]
    unknown = spoiled(X, np.nan)
    np.testing.assert_array_equal(along.eval_models(unknown, Y, without)[0] > 0, True)
    for call in (along.eval_models, along.get_LL):
        sentence = refused(functools.partial(call, unknown, Y, [9]))
        assert "first at [7, 2]" in sentence and "those rows and 2 after each" in sentence
    sentence = refused(functools.partial(along.train, unknown, Y, [9, 20]))
    assert "first at [7, 2]" in sentence and "out of train_indxs and test_indxs" in sentence
