"""L-BFGS: the cost of all rows, and what reaches it from NDN."""

import functools
import signal
import threading

import keras
import numpy as np
import pytest
import small_trainings
from keras import ops
from small_trainings import gaussian, ndn, poisson, same_bits, start

from NDN3 import fitting, lbfgs, whole_costs
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params
from NDN3.network_model import NetworkModel
from NDN3.training import Data

SOURCE = np.random.default_rng(0)
X = SOURCE.normal(size=(50, 49))
Y = SOURCE.poisson(1.0, (50, 5)).astype(float)
MASK = (SOURCE.random(Y.shape) < 0.8).astype(float)
TRAIN = np.arange(40)
FAR = {"maxiter": 12}
LOW = lbfgs.Limits(200, 0.0, 0.0)


@pytest.fixture
def without_xla(monkeypatch):
    """Compile faster, where no bits are compared."""
    monkeypatch.setattr(lbfgs, "fit", functools.partial(lbfgs.fit, xla=False))


def description(**options):
    given = {"input_dims": 49, "layer_sizes": [3, 5], "layer_types": ["normal", "normal"]}
    given |= {"act_funcs": "softplus", "verbose": False, **options}
    return ffnetwork_params(**given)


def alive():
    return [thread for thread in threading.enumerate() if thread.name.startswith("L-BFGS")]


# ---- the cost of all rows ----------------------------------------------------------------------


def regression(dtype, **options):
    return NetworkModel(
        description(layer_sizes=[5], layer_types=["normal"], **options), dtype=dtype
    )


def test_least_squares_with_a_penalty():
    model = regression("float64", act_funcs="lin", reg_list={"l2": [0.6]})
    (found,) = lbfgs.fit(model, Data(X, Y, rows=TRAIN), loss=gaussian, limits=LOW, xla=False)
    wide = np.hstack([X, np.ones((50, 1))])[TRAIN]
    ridge = np.diag([0.3 * 40] * 49 + [0])  # half of 0.6, beside a mean over 40 rows
    wanted = np.linalg.solve(wide.T @ wide + ridge, wide.T @ Y[TRAIN])
    np.testing.assert_allclose(found.weights[0], wanted[:-1], rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.weights[1][0], wanted[-1], rtol=0, atol=1e-8)
    residuals = wide @ wanted - Y[TRAIN]
    last = {name: values[-1] for name, values in found.history.items()}
    assert last["loss"] == pytest.approx(np.sum(residuals**2) / 40, rel=1e-7)
    assert last["train/reg_pen"] == pytest.approx(0.3 * np.sum(wanted[:-1] ** 2), rel=1e-7)
    assert last["train/cost_penalized"] == last["loss"] + last["train/reg_pen"]
    assert len(found.history["epoch"]) == found.iterations
    assert found.diverged_epoch is None


def softplus(x):
    return np.logaddexp(0, x)


def numpy_cost(arrays, rows, mask):
    """Poisson cost of the dense network of `small_trainings`, and its penalty."""
    w0, b0, w1, b1 = arrays
    images, responses, _ = small_trainings.recording()
    rates = softplus(softplus(images[rows] @ w0 + b0) @ w1 + b1) * mask[rows]
    seen = responses[rows] * mask[rows]
    cost = -np.sum(seen * np.log(rates + 1e-6) - rates) / len(rows)
    return cost + 0.1 * np.sum(w1**2) / 2


def evaluated(cost, arrays):
    """Vector of arrays, and what the compiled cost gives for it in every slot."""
    numbers = {"penalty": 1.0, **cost.program.model.numbers}
    member = lbfgs.Member(0, 0, cost, arrays, numbers)
    vector = member.vector(member.start())
    slots = keras.tree.map_structure(
        lambda array: ops.convert_to_tensor(np.stack([array] * cost.program.slots)),
        (vector, member.fixed, member.settings),
    )
    return vector, {name: np.asarray(array) for name, array in cost.compile()(*slots).items()}


@pytest.mark.parametrize("most_rows", [1000, 20])
def test_value_and_gradient_of_all_rows(most_rows):
    images, responses, mask = small_trainings.recording()
    model, rows = ndn("dense", l2=0.1, dtype="float64"), np.arange(3, 60)
    spoiled = np.where(mask > 0, responses, np.nan)
    cost = whole_costs.WholeCost(
        model, Data(images, spoiled, mask, rows), poisson(), [True] * 4, 2, True, False, most_rows
    )
    assert cost.parts == (1 if most_rows == 1000 else 3)
    arrays = start(model, 1)
    vector, found = evaluated(cost, arrays)
    values = found["cost"] + found["penalty"]
    np.testing.assert_allclose(values, numpy_cost(arrays, rows, mask), rtol=1e-12)

    def at(vector):
        parts = np.split(vector, np.cumsum([array.size for array in arrays])[:-1])
        shaped = [p.reshape(a.shape) for p, a in zip(parts, arrays, strict=True)]
        return numpy_cost(shaped, rows, mask)

    gradient = found["gradient"][-1]
    for entry in range(0, vector.size, 7):
        step = np.zeros_like(vector)
        step[entry] = 1e-5
        slope = (at(vector + step) - at(vector - step)) / 2e-5
        assert gradient[entry] == pytest.approx(slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind", ["dense", "dog"])
def test_company_changes_no_bit(kind):
    images, responses, mask = small_trainings.recording()
    options = dict(loss=poisson(), initialize=start, group=3, limits=lbfgs.Limits(15))
    model, data = ndn(kind, l2=0.1), Data(images, responses, mask)
    together = {r.seed: r for r in lbfgs.fit(model, data, [0, 1, 2, 3, 4], **options)}
    assert {result.group for result in together.values()} == {3}
    for seeds in ([3], [4, 1]):
        for alone in lbfgs.fit(model, data, seeds, **options):
            assert same_bits(alone, together[alone.seed])
            assert alone.evaluations == together[alone.seed].evaluations


def test_a_pass_takes_no_more_memory_than_allowed(without_xla, monkeypatch):
    parts = []
    compile_cost = whole_costs.WholeCost.compile
    monkeypatch.setattr(
        whole_costs.WholeCost,
        "compile",
        lambda cost: parts.append(cost.parts) or compile_cost(cost),
    )
    images, responses, _ = small_trainings.recording()
    found = []
    for memory in (2**31, 50_000):
        (result,) = lbfgs.fit(
            ndn("dense", dtype="float64"),
            Data(images, responses),
            loss=poisson(),
            initialize=start,
            limits=lbfgs.Limits(5),
            memory=memory,
        )
        found.append(result.history["loss"])
    assert parts[0] == 1 < parts[1] < 60
    np.testing.assert_allclose(*found, rtol=1e-9)


def test_members_that_follow_each_other(without_xla):
    images, responses, _ = small_trainings.recording()
    options = dict(loss=poisson(), initialize=start, limits=lbfgs.Limits(5))
    model, data = ndn("dense"), Data(images, responses)
    turns = list(lbfgs.fit(model, data, [0, 1], form="turns", **options))
    assert [(result.form, result.group) for result in turns] == [("turns", 1)] * 2
    group = sorted(lbfgs.fit(model, data, [0, 1], **options), key=lambda result: result.index)
    for one, other in zip(turns, group, strict=True):
        for a, b in zip(one.weights, other.weights, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)


def test_one_failing_member_is_told_after_the_others(without_xla, monkeypatch):
    record = lbfgs.Member.record

    def failing(member):
        if member.index == 1 and len(member.history["epoch"]) == 2:
            raise OSError("no more")
        record(member)

    monkeypatch.setattr(lbfgs.Member, "record", failing)
    images, responses, _ = small_trainings.recording()
    ended = []
    with pytest.raises(OSError, match="no more"):
        for result in lbfgs.fit(
            ndn("dense"), Data(images, responses), [0, 1, 2], loss=poisson(), limits=lbfgs.Limits(5)
        ):
            ended.append(result.index)
    assert sorted(ended) == [0, 2]


# ---- from NDN ----------------------------------------------------------------------------------


def test_train_lowers_the_cost_and_gives_nan(without_xla, capsys):
    model = NDN(description(reg_list={"dropout": [0.5]}))
    before = model.get_LL(X, Y, TRAIN)
    given = {**FAR, "batch_size": 4, "early_stop_mode": 1, "early_stop": 2, "display": 4}
    last = model.train(X, Y, TRAIN, learning_alg="lbfgs", opt_params=given)
    assert np.isnan(last)
    assert model.get_LL(X, Y, TRAIN) < 0.9 * before
    np.testing.assert_allclose(model.poisson_unit_norm, Y[TRAIN].mean(axis=0))
    said = capsys.readouterr().out
    assert "batch_size, early_stop_mode, early_stop have a meaning under 'adam' only" in said
    assert "nothing is watched" in said
    assert "without dropout" in said
    assert "iteration 4 of 12" in said
    plain = NDN(description())
    plain.train(X, Y, TRAIN, learning_alg="lbfgs", opt_params={**FAR, "eps": 0.1}, silent=True)
    assert not capsys.readouterr().out
    for one, other in zip(model.networks[0].layers, plain.networks[0].layers, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)


def test_masked_responses_change_no_bit(without_xla):
    trained = []
    for hidden in (0.0, 1e6, np.nan):
        model = NDN(description())
        responses = np.where(MASK > 0, Y, hidden)
        model.train(X, responses, TRAIN, data_filters=MASK, learning_alg="lbfgs", opt_params=FAR)
        trained.append(model.arrays)
    for arrays in trained[1:]:
        for one, other in zip(trained[0], arrays, strict=True):
            np.testing.assert_array_equal(one, other)


def test_only_what_is_asked_for_is_fitted(without_xla):
    model = NDN(description())
    before = [array.copy() for array in model.arrays]
    wanted = model.fit_variables(layers_to_skip=[0])
    partly = np.ones((3, 5), int)
    partly[1] = 0
    wanted[0][1]["weights"] = partly
    model.train(X, Y, learning_alg="lbfgs", fit_variables=wanted, opt_params=FAR)
    for position in (0, 1, 3):
        np.testing.assert_array_equal(model.arrays[position], before[position])
    moved = model.arrays[2] != before[2]
    np.testing.assert_array_equal(moved, partly > 0)


def test_weights_are_stored_as_they_are_used(without_xla):
    model = NDN(description(normalization=[1, 0], ei_layers=[1, None]))
    model.train(X, Y, learning_alg="lbfgs", opt_params=FAR)
    first, second = model.networks[0].layers
    np.testing.assert_allclose(np.linalg.norm(first.weights, axis=0), 1, rtol=1e-5)
    assert second.weights.min() >= 0


def test_a_group_of_models_with_strengths_of_their_own(without_xla):
    strengths = [0.0, 1.0, 30.0]
    models = NDN.for_seeds(description(reg_list={"l2": [None, 0.1]}), seeds=[0, 0, 0])
    told = []
    ended = list(
        NDN.fit_together(
            models,
            X,
            Y,
            TRAIN,
            learning_alg="lbfgs",
            group=2,
            opt_params=FAR,
            per_member={"layer1/l2": strengths},
            decided=lambda form, slots: told.append((form, slots)),
        )
    )
    assert told == [("group", 2)]
    assert sorted(position for position, _, _ in ended) == [0, 1, 2]
    sizes = [np.linalg.norm(model.get_weights(1)) for model in models]
    assert sizes[0] > sizes[1] > sizes[2]
    assert all(isinstance(result, lbfgs.Minimum) for _, _, result in ended)


def test_several_networks(without_xla):
    model = NDN([description(), description(layer_sizes=[2, 4])], ffnet_out=[0, 1])
    before = model.get_LL(X, [Y, Y[:, :4]])
    model.train(X, [Y, Y[:, :4]], learning_alg="lbfgs", opt_params=FAR, silent=True)
    assert model.get_LL(X, [Y, Y[:, :4]]) < 0.9 * before


def test_networks_along_time_see_whole_recordings():
    described = ffnetwork_params(
        input_dims=[1, 3, 1],
        layer_sizes=[2, 2],
        layer_types=["temporal", "normal"],
        conv_filter_widths=[4],
        act_funcs=["lin", "softplus"],
        verbose=False,
    )
    model = NetworkModel(described, dtype="float64")
    source = np.random.default_rng(1)
    movie, counts = source.normal(size=(90, 3)), source.poisson(1.0, (90, 2)).astype(float)
    rows = np.r_[10:40, 50:80]
    arrays = [ops.convert_to_numpy(variable) for variable in model.weights]
    predicted = model.predict_with(arrays, movie)[rows]
    wanted = -np.mean(np.sum(counts[rows] * np.log(predicted + 1e-6) - predicted, axis=1))
    for most_rows in (1000, 25):
        free = [True] * len(model.trainable_variables)
        cost = whole_costs.WholeCost(
            model, Data(movie, counts, rows=rows), poisson(), free, 1, True, False, most_rows
        )
        assert (cost.parts > 2) == (most_rows == 25)
        _, found = evaluated(cost, arrays)
        np.testing.assert_allclose(found["cost"], wanted, rtol=1e-10)


@pytest.mark.parametrize("by_signal", [False, True])
def test_an_interruption_leaves_the_models_as_they_were(without_xla, by_signal):
    models = NDN.for_seeds(description(), seeds=[0, 1])
    before = [[array.copy() for array in model.arrays] for model in models]
    calls = 0

    def progress(done, whole, text):
        nonlocal calls
        calls += 1
        if calls == 4:
            if by_signal:
                signal.raise_signal(signal.SIGINT)
            else:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(
            NDN.fit_together(models, X, Y, learning_alg="lbfgs", opt_params=FAR, progress=progress)
        )
    assert calls == 4
    assert not alive()
    for model, arrays in zip(models, before, strict=True):
        assert model.poisson_unit_norm is None
        for one, other in zip(model.arrays, arrays, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_cost_without_end_is_told(without_xla, capsys):
    model = NDN(description(act_funcs=["lin", "exp"]))
    for layer in model.networks[0].layers:
        layer.weights[:] = 30.0
    model.train(np.abs(X), Y, learning_alg="lbfgs", opt_params=FAR)
    assert "The training diverged: its cost is not finite" in capsys.readouterr().out


def test_numbers_alone_compile_nothing_new(without_xla, monkeypatch):
    made = []
    compile_cost = whole_costs.WholeCost.compile
    monkeypatch.setattr(
        whole_costs.WholeCost, "compile", lambda cost: made.append(1) or compile_cost(cost)
    )
    for seed, strength in ((0, 0.125), (1, 0.25)):
        model = NDN(description(reg_list={"l2": [strength, strength]}), tf_seed=seed)
        model.train(X[:, ::-1], Y, learning_alg="lbfgs", opt_params={"maxiter": 2 + seed})
    assert len(made) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"checkpoint": print}, "unknown argument of fit_together under 'lbfgs' 'checkpoint'"),
        ({"per_member": {"learning_rate": [1]}}, "may differ between members under L-BFGS is"),
        ({"per_member": {"penalty": [1, 2]}}, "one number for each of the 1 seeds"),
        ({"group": 0}, "number of slots"),
        ({"memory": 0.5}, "memory .* is 0.5"),
        ({"declared": 0}, "declared .* is 0"),
        ({"opt_params": {"maxiter": 0}}, "maxiter is 0"),
        ({"opt_params": {"maxiter": 3, "max_iter": 4}}, "maxiter under two names"),
        ({"opt_params": {"func_tol": -1}}, "fall of L-BFGS is -1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        list(fitting.fit_together([NDN(description())], X, Y, learning_alg="lbfgs", **arguments))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"model": None}, "model is a NoneType; L-BFGS needs a Model"),
        ({"data": X}, "data is a ndarray; L-BFGS needs a Data"),
        ({"limits": 500}, "limits is a int; L-BFGS needs a Limits"),
        ({"loss": "poisson"}, "loss is 'poisson'; it must be a function"),
        ({"seeds": []}, "there are no seeds"),
        ({"seeds": [-1]}, r"seeds\[0\] is -1"),
    ],
)
def test_what_is_no_cost_is_refused(arguments, sentence):
    given = {"model": ndn("dense"), "data": Data(X, Y), "loss": poisson(), **arguments}
    with pytest.raises(ValueError, match=sentence):
        lbfgs.fit(**given)
