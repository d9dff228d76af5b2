"""Spike times as counts, the spike history of a network, and the choice of a GPU."""

import os
import subprocess
import sys

import numpy as np
import pytest

from NDN3.NDNutils import generate_spike_history, spikes_to_robs


def test_spikes_are_counted_in_their_bins():
    counts = spikes_to_robs([0.0, 0.05, 0.1, 0.25, 0.4, -0.1, 7.0], 4, 0.1)
    # a bin has its left edge; 0.4 lies at the end of the last one and does not count
    assert counts.tolist() == [[2], [1], [1], [0]]
    assert counts.dtype.kind == "i"


def test_each_spike_on_a_grid_of_milliseconds_is_in_its_bin():
    spikes = [float(f"{ms / 1000:.3f}") for ms in range(5000)]
    assert spikes_to_robs(spikes, 5000, 0.001).tolist() == [[1]] * 5000
    assert spikes_to_robs([0.3], 5, 0.1)[:, 0].tolist() == [0, 0, 0, 1, 0]


def test_spikes_of_several_neurons_against_a_loop():
    source = np.random.default_rng(0)
    trains = [source.uniform(-1, 6, size) for size in (200, 0, 30)]
    expected = np.zeros((10, 3), int)
    for neuron, times in enumerate(trains):
        for time in times:
            for t in range(10):
                expected[t, neuron] += t * 0.5 <= time < (t + 1) * 0.5
    np.testing.assert_array_equal(spikes_to_robs(trains, 10, 0.5), expected)
    np.testing.assert_array_equal(spikes_to_robs(trains[0][:, None], 10, 0.5), expected[:, :1])


def test_the_history_begins_one_bin_before():
    robs = np.arange(1, 9).reshape(4, 2)
    history, description = generate_spike_history(robs, 2)
    expected = np.zeros((4, 4))
    for t in range(4):
        for neuron in range(2):
            for lag in range(2):
                if t - 1 - lag >= 0:
                    expected[t, neuron * 2 + lag] = robs[t - 1 - lag, neuron]
    np.testing.assert_array_equal(history, expected)
    assert description["input_dims"] == [2, 2, 1]
    assert description["layer_types"] == ["spike_history"]
    assert description["layer_sizes"] == [2]
    assert description["activation_funcs"] == ["lin"]
    assert description["xstim_n"] == [1]
    assert description["pos_constraints"] == [True] and description["num_inh"] == [2]
    assert description["reg_initializers"] == [{}]


def test_the_history_may_excite():
    _, description = generate_spike_history(np.ones((3, 2)), 2, False, reg_par=0.5, xstim_n=None)
    assert description["pos_constraints"] == [None] and description["num_inh"] == [0]
    assert description["reg_initializers"] == [{"d2t": 0.5}]
    assert description["xstim_n"] is None


def test_a_model_with_spike_history_finds_that_spikes_suppress():
    from NDN3.NDN import NDN
    from NDN3.NDNutils import ffnetwork_params

    source = np.random.default_rng(0)
    stimulus = source.normal(size=(2000, 1))
    rate, robs = np.zeros(2000), np.zeros((2000, 1))
    for t in range(2000):
        before = robs[t - 1, 0] if t else 0.0
        rate[t] = np.log1p(np.exp(1.0 + stimulus[t, 0] - 1.5 * before))
        robs[t] = source.poisson(rate[t])
    history, spiking = generate_spike_history(robs, 1)
    driven = ffnetwork_params([1, 1, 1], [1], ["normal"], "lin", verbose=False)
    added = ffnetwork_params(
        layer_sizes=[1], layer_types=["add"], act_funcs="softplus", xstim_n=None, ffnet_n=[0, 1],
        verbose=False,
    )  # fmt: skip
    model = NDN([driven, spiking, added], tf_seed=1)
    options = {"epochs_training": 20, "batch_size": 50, "learning_rate": 0.02}
    model.train([stimulus, history], robs, opt_params=options)
    drive, suppression = model.networks[0].layers[0].weights, model.networks[1].layers[0].weights
    streams = model.networks[2].layers[0].weights[:, 0]
    assert drive[0, 0] * streams[0] == pytest.approx(1.0, abs=0.25)
    assert suppression[0, 0] * streams[1] == pytest.approx(1.5, abs=0.4)


def test_a_gpu_is_chosen_before_tensorflow_is_loaded():
    program = (
        "import os, sys, NDN3.NDNutils as NDNutils\n"
        "before = os.environ.get('CUDA_VISIBLE_DEVICES')\n"
        "assert NDNutils.assign_gpu() is None\n"
        "assert os.environ.get('CUDA_VISIBLE_DEVICES') == before\n"
        "assert NDNutils.setup_one_gpu(1) == 1\n"
        "assert os.environ['CUDA_VISIBLE_DEVICES'] == '1'\n"
        "NDNutils.setup_no_gpu()\n"
        "assert os.environ['CUDA_VISIBLE_DEVICES'] == '-1'\n"
        "sys.modules['jax'] = sys\n"
        "try:\n"
        "    NDNutils.assign_gpu(0)\n"
        "except ValueError as error:\n"
        "    assert 'after jax was loaded' in str(error)\n"
        "    assert os.environ['CUDA_VISIBLE_DEVICES'] == '-1'\n"
        "else:\n"
        "    sys.exit('it was accepted')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    assert "GPU 1 is used" in done.stdout and "No GPU is picked" in done.stdout


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: spikes_to_robs([0.1], 0, 0.1), "num_time_pts is 0"),
        (lambda: spikes_to_robs([0.1], 3, 0), "dt is 0; it must be a finite number above 0"),
        (lambda: spikes_to_robs([0.1], 3, float("inf")), "dt is inf"),
        (lambda: spikes_to_robs([0.1, float("nan")], 3, 0.1), "spks has NaN"),
        (lambda: spikes_to_robs([[0.1], ["x"]], 3, 0.1), r"spks\[1\] is"),
        (lambda: generate_spike_history(np.ones((3, 2)), 0), "nlags is 0"),
        (lambda: generate_spike_history("x", 2), "robs is 'x'"),
        (lambda: generate_spike_history(np.ones((3, 2)), 2, "no"), "neg_constraint is 'no'"),
        (lambda: generate_spike_history(np.ones((3, 2)), 2, reg_par=-1), "reg_par is -1"),
        (lambda: generate_spike_history(np.ones((3, 2)), 2, xstim_n=-1), "xstim_n .* is -1"),
    ],
)
def test_what_does_not_fit_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
