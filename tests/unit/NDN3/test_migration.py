"""Each sentence that the page about moving scripts quotes is the one that one gets."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import NDN3.NDN as NDN
import NDN3.NDNutils as NDNutils

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "migrate-an-ndn3-script.md"
X = np.random.default_rng(0).normal(size=(60, 16))
Y = np.random.default_rng(1).poisson(1.0, (60, 3)).astype(float)


def model(**options):
    given = {
        "input_dims": [1, 4, 4],
        "layer_sizes": [2, 3],
        "layer_types": ["normal", "normal"],
        "act_funcs": "softplus",
        "verbose": False,
    }
    return NDN.NDN(NDNutils.ffnetwork_params(**{**given, **options}))


def train(opt_params=None, responses=Y, **options):
    model().train(X, responses, opt_params=opt_params, **options)


def pickled(folder):
    (folder / "old.pkl").write_bytes(pickle.dumps({"weights": 1}))
    return str(folder / "old.pkl")


SAID = [
    ("unknown key of opt_params 'epoch_training'", lambda _: train({"epoch_training": 5})),
    ("Did you mean 'epochs_training'?", lambda _: train({"epoch_training": 5})),
    ("batch_size is None; it must be a number of rows", lambda _: train({"batch_size": None})),
    ("there are no test rows", lambda _: train({"early_stop_mode": 1, "early_stop": 5})),
    ("early_stop_mode is 3; allowed are 0 (off), 1", lambda _: train({"early_stop_mode": 3})),
    ("Use the profiler of TensorFlow", lambda _: train({"run_diagnostics": True})),
    ("histograms of activations are not written", lambda _: model(log_activations=True)),
    ("unknown network_type 'sampler'", lambda _: model(network_type="sampler")),
    (
        "unknown key of a description 'partial_fit'",
        lambda _: NDN.NDN(
            model(layer_types=["normal", "sep"]).network_list[0] | {"partial_fit": 0}
        ),
    ),
    (
        "the probability to keep a unit, above 0 and at most 1",
        lambda _: model(reg_list={"dropout": [0]}),
    ),
    (
        "does not take the regularizer 'max'; it takes",
        lambda _: model(layer_types=["normal", "sep"], reg_list={"max": [None, 0.1]}),
    ),
    (
        "they are numbers of rows, not of blocks",
        lambda _: train(train_indxs=[0, 1], blocks=[[1, 20], [21, 40], [41, 60]]),
    ),
    ("unexpected keyword argument 'use_gpu'", lambda _: model().eval_models(X, Y, use_gpu=True)),
    ("unexpected keyword argument 'fold'", lambda _: NDNutils.generate_xv_folds(60, fold=5)),
    ("has no attribute", lambda _: model().num_networks),
    ("has NaN or infinity in", lambda _: train(responses=np.where(Y == 0, np.nan, Y))),
    (
        "Models of the original NDN3 are pickles",
        lambda folder: NDN.NDN.load_model(pickled(folder)),
    ),
    (
        "does not exist. Make it, or give another path.",
        lambda folder: model().save_model(str(folder / "models" / "cell.ndn")),
    ),
]


@pytest.mark.parametrize(("sentence", "call"), SAID, ids=[sentence for sentence, _ in SAID])
def test_sentences(sentence, call, tmp_path):
    assert f"`{sentence}`" in PAGE.read_text()
    refusals = (ValueError, FileNotFoundError, TypeError, AttributeError)
    with pytest.raises(refusals, match=re.escape(sentence)):
        call(tmp_path)


def test_a_penalty_without_meaning_warns():
    assert "a warning: `costs nothing`" in PAGE.read_text()
    with pytest.warns(UserWarning, match="costs nothing"):
        model(reg_list={"norm2_filt": [0.1]})


def test_all_sentences_of_the_table_are_tried():
    (table,) = re.findall(r"\| what you read .*?\n\n", PAGE.read_text(), flags=re.S)
    rows = [line.split(" | ")[1] for line in table.splitlines()[2:] if line]
    quoted = {quote for row in rows for quote in re.findall(r"`([^`]+)`", row)}
    assert quoted == {sentence for sentence, _ in SAID} | {"costs nothing"}


@pytest.mark.parametrize(
    "kind", ["convsep", "convLNL", "hadi_readout", "spkNL", "conv_xy", "conv_readout", "sampler"]
)
def test_layers_that_never_worked_are_there(kind):
    assert kind in PAGE.read_text()
    units = 16 if kind == "spkNL" else 2
    description = NDNutils.ffnetwork_params(
        [1, 4, 4], [units], [kind], conv_filter_widths=[3], verbose=False
    )
    if kind in ("conv_xy", "conv_readout"):
        description["xy_out"] = [[[1, 1], [2, 2]]]
    elif kind == "sampler":
        description["positions"] = [[[0.0, 0.0], [0.5, -0.5]]]
    assert np.isfinite(NDN.NDN(description).generate_prediction(X[:3])).all()
