"""Training and evaluation of models that work along time: which rows count."""

import numpy as np
import pytest
import reference_trainer as reference
from keras import ops
from small_trainings import by_seed, poisson, same_bits

from NDN3 import segments, streams
from NDN3.NDNutils import create_time_embedding, ffnetwork_params
from NDN3.network_model import NetworkModel
from NDN3.training import (
    Adam,
    Data,
    EarlyStop,
    HostBatches,
    Sample,
    Summaries,
    fit,
    source_of,
)

COUNT, INPUTS, NEURONS, BATCH = 70, 3, 2, 8
SPREAD = 5  # two lags, two rows apart, and then one made inside of the network


@pytest.fixture(scope="module")
def recording():
    source = np.random.default_rng(5)
    inputs = source.normal(size=(COUNT, INPUTS))
    responses = source.poisson(1.0, (COUNT, NEURONS)).astype(float)
    mask = (source.random((COUNT, NEURONS)) < 0.8).astype(float)
    return inputs, responses, mask


def network(dtype="float32", l2=0.1, **changes):
    description = ffnetwork_params(
        input_dims=[INPUTS, 1, 1],
        layer_sizes=[2, NEURONS],
        layer_types=["temporal", "normal"],
        act_funcs="softplus",
        conv_filter_widths=[3],
        dilation=[2, 1],
        time_expand=[None, 2],
        reg_list={"l2": [None, l2]},
        verbose=False,
        **changes,
    )
    return NetworkModel(description, dtype=dtype)


def start(model, seed):
    source = np.random.default_rng(100 + seed)
    return [source.normal(0, 0.3, variable.shape) for variable in model.weights]


def histories(inputs):
    """All that row t needs, as one row: (rows, (SPREAD + 1) * inputs)."""
    return create_time_embedding(inputs, [SPREAD + 1, INPUTS, 1])


def forward(parameters, rows):
    """The network for rows that hold their own history."""
    kernels, bias, weights, output_bias = parameters
    past = rows.reshape(len(rows), INPUTS, SPREAD + 1)
    hidden = []
    for shift in range(2):  # the row before is needed by the lags inside of the network
        taps = past[:, :, shift : shift + 5 : 2]
        hidden.append(reference.softplus(taps @ kernels + bias).reshape(len(rows), -1))
    lagged = np.stack(hidden, axis=-1).reshape(len(rows), -1)
    return reference.softplus(lagged @ weights + output_bias)


def options(**changes):
    return (
        dict(
            epochs=4,
            batch_size=BATCH,
            loss=poisson(),
            optimizer=Adam(learning_rate=0.01),
            initialize=start,
            xla=False,  # quicker to compile, and enough for what is shown here
        )
        | changes
    )


# ---- against a reference -----------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
def test_equals_the_reference_in_float64(recording, masked):
    """Three pieces in the first block, two in the second; each row knows its history."""
    inputs, responses, mask = recording
    mask = mask if masked else None
    rows = np.r_[SPREAD : SPREAD + 24, 40 + SPREAD : 40 + SPREAD + 16]
    model = network("float64")
    assert model.time_spread == SPREAD
    (result,) = fit(
        model,
        Data(inputs, responses, mask, rows, blocks=[(0, 30), (40, 62)]),
        seeds=[2],
        **options(),
    )
    pieces = rows.reshape(5, BATCH)
    expected, costs = reference.train(
        forward,
        reference.poisson_rows,
        start(model, 2),
        histories(inputs),
        responses,
        mask,
        lambda epoch: pieces[streams.row_order(2, epoch, np.arange(5))].ravel(),
        epochs=4,
        batch=BATCH,
        rate=0.01,
        penalty=lambda p: 0.1 * np.sum(p[2] ** 2) / 2,
        norm=np.ones(NEURONS),
    )
    np.testing.assert_allclose(result.history["loss"], costs, rtol=1e-9)
    for got, wanted in zip(result.weights, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-11)


def test_evaluations_are_of_rows_with_their_history(recording):
    """Scattered rows in two blocks; rows without history, and one that is in no block, are out."""
    inputs, responses, mask = recording
    model = network("float64")
    rows = np.array([33, 3, 8, 69, 40, 12, 45, 50, 51])
    counted = [8, 12, 45, 50, 51]
    (result,) = fit(
        model,
        Data(inputs, responses, mask),
        seeds=[1],
        validation=Data(inputs, responses, mask, rows, blocks=[(40, 69), (0, 30)]),
        metrics={"rows": lambda y, p, m: ops.sum(m), "top": lambda y, p, m: ops.max(y * m)},
        early_stop=EarlyStop(1, tolerance=-1e9, watch="train"),
        summaries=Summaries(),
        **options(epochs=1, optimizer=Adam(learning_rate=0)),
    )
    weights = start(model, 1)
    predictions = forward(weights, histories(inputs))
    for name, chosen in (("test", counted), ("train", np.arange(SPREAD, COUNT))):
        shown = mask[chosen]
        costs = reference.poisson_rows(responses[chosen] * shown, predictions[chosen] * shown, 1)
        assert result.history[f"{name}/cost"][0] == pytest.approx(np.mean(costs), rel=1e-12)
        assert result.history[f"{name}/rows"][0] == shown.sum()
        assert result.history[f"{name}/top"][0] == (responses[chosen] * shown).max()


def test_summaries_of_training_rows_have_their_history(recording):
    inputs, responses, _ = recording
    model = network("float64")
    data = Data(inputs, responses, rows=range(20, 40))
    for last_batch in (False, True):
        (result,) = fit(
            model,
            data,
            seeds=[1],
            summaries=Summaries(),
            last_batch_summary=last_batch,
            **options(epochs=1, optimizer=Adam(learning_rate=0)),
        )
        last = streams.row_order(1, 0, np.arange(3))[-1]
        chosen = np.arange(20, 40)[8 * last : 8 * last + 8] if last_batch else np.arange(20, 40)
        predictions = forward(start(model, 1), histories(inputs))[chosen]
        expected = np.mean(reference.poisson_rows(responses[chosen], predictions, 1))
        assert result.history["train/cost"][0] == pytest.approx(expected, rel=1e-12)


# ---- which rows count --------------------------------------------------------------------------


def test_what_does_not_count_changes_nothing(recording):
    """Not even NaN, in inputs that no row needs and in responses of rows that only come before."""
    inputs, responses, mask = (np.array(part) for part in recording)
    rows = np.r_[10:19, 21:30, 50:60]
    changed, spoiled, hidden = inputs.copy(), responses.copy(), mask.copy()
    changed[[*range(5), *range(31, 44), *range(61, COUNT)]] = np.nan
    unused = np.setdiff1d(np.arange(COUNT), rows)
    spoiled[unused] = np.nan
    hidden[unused] = np.inf
    results = [
        by_seed(
            fit(
                network(),
                Data(*arrays, rows, blocks=[(5, 31), (44, 61)]),
                seeds=[0, 1],
                validation=Data(*arrays, rows),
                **options(),
            )
        )
        for arrays in ((inputs, responses, mask), (changed, spoiled, hidden))
    ]
    for seed in (0, 1):
        assert same_bits(results[0][seed], results[1][seed])
        assert np.isfinite(results[0][seed].history["loss"]).all()
    for row, name in ((12, "inputs"), (6, "inputs")):  # row 6 comes before row 10
        wrong = inputs.copy()
        wrong[row] = np.nan
        with pytest.raises(ValueError, match=f"the {name} of data have NaN .* is row {row}"):
            fit(network(), Data(wrong, responses, mask, rows), **options())


def test_responses_of_rows_that_only_come_before_may_be_anything(recording):
    inputs, responses, _ = recording
    spoiled = responses.copy()
    spoiled[8] = np.nan
    found = segments.fit_arrays(Data(inputs, spoiled, rows=range(10, 20)), SPREAD)[1]
    assert not found[8].any()


def test_no_block_sees_the_rows_before_it(recording):
    inputs, responses, _ = recording
    blocks = [(0, 30), (30, COUNT)]
    source = source_of(Data(inputs, responses, blocks=blocks), network(), BATCH, "float32", None)
    windows, weights = np.asarray(source.windows), np.asarray(source.weights)
    counted = np.sort(windows[weights > 0])
    np.testing.assert_array_equal(counted, np.r_[SPREAD:30, 30 + SPREAD : COUNT])
    assert source.steps == 4 + 5
    assert source.batch_size == BATCH
    for window, weight in zip(windows, weights, strict=True):
        inside = window[: np.flatnonzero(weight)[-1] + 1]
        assert (inside < 30).all() or (inside >= 30).all()


def test_a_recording_without_any_history_is_refused(recording):
    inputs, responses, _ = recording
    with pytest.raises(ValueError, match="none has 5 rows of the recording before it"):
        fit(network(), Data(inputs[:5], responses[:5]), **options())
    short = Data(inputs, responses, blocks=[(0, 5), (20, 24)])
    with pytest.raises(ValueError, match="none has 5 rows of its block before it"):
        fit(network(), short, **options())
    with pytest.raises(ValueError, match="none is in a block"):
        Data(inputs, responses, rows=[60], blocks=[(0, 5)])
    with pytest.raises(ValueError, match="blocks share rows"):
        Data(inputs, responses, blocks=[(0, 5), (4, 9)])


def test_blocks_limit_the_rows_of_models_without_time(recording):
    inputs, responses, _ = recording
    description = ffnetwork_params(
        input_dims=[INPUTS, 1, 1], layer_sizes=[NEURONS], layer_types=["normal"], verbose=False
    )
    data = Data(inputs, responses, rows=range(10, 40), blocks=[(0, 15), (35, 70)])
    source = source_of(data, NetworkModel(description), BATCH, "float32", None)
    np.testing.assert_array_equal(source.rows, np.r_[10:15, 35:40])
    rows, weights = segments.stretch(data, 0)
    np.testing.assert_array_equal(rows, source.rows)
    assert weights is None


def test_a_row_that_comes_twice_counts_twice(recording):
    inputs, responses, _ = recording
    rows = [20, 21, 21, 22]
    model = network("float64", l2=0)
    data = Data(inputs, responses, rows=rows)
    (result,) = fit(model, data, seeds=[1], validation=data, **options(epochs=1, optimizer=Adam(0)))
    predictions = forward(start(model, 1), histories(inputs))
    expected = np.mean(reference.poisson_rows(responses[rows], predictions[rows], 1))
    for name in ("loss", "test/cost"):
        assert result.history[name][0] == pytest.approx(expected, rel=1e-12)


# ---- the order, and company --------------------------------------------------------------------


def test_the_order_of_rows_orders_pieces(recording):
    """A piece comes when the first of its rows that counts comes."""
    inputs, responses, _ = recording
    rows = np.r_[10:34]
    data = Data(inputs, responses, rows=rows)
    order = np.r_[27:34, 19, 11:18, 10, 26, 20:26, 18]
    source = source_of(data, network(), BATCH, "float32", lambda seed, epoch: order)
    np.testing.assert_array_equal(source.first_rows, [10, 18, 26])
    np.testing.assert_array_equal(source.ordered(0, 0), [0, 2, 1])
    wrong = source_of(data, network(), BATCH, "float32", lambda seed, epoch: order[1:])
    with pytest.raises(ValueError, match="each of the 24 training rows once"):
        wrong.ordered(0, 0)


def test_the_order_differs_between_epochs_and_seeds(recording):
    inputs, responses, _ = recording
    source = source_of(Data(inputs, responses), network(), BATCH, "float32", None)
    feed = source.feed([3, 4], [range(5, 7), range(0)], 3)["pieces"]
    assert feed.shape == (3, source.steps, 2)
    assert feed.nbytes == 3 * source.bytes_per_epoch(2)
    for index, epoch in enumerate((5, 6)):
        expected = streams.row_order(3, epoch, np.arange(source.steps))
        np.testing.assert_array_equal(feed[index, :, 0], expected)
    assert not np.array_equal(feed[0, :, 0], feed[1, :, 0])
    assert not feed[:, :, 1].any()


def test_in_company_as_alone(recording):
    inputs, responses, mask = recording
    data = Data(inputs, responses, mask, rows=range(COUNT - 10))
    rest = options(
        epochs=6,
        validation=Data(inputs, responses, mask, rows=range(COUNT - 10, COUNT)),
        early_stop=EarlyStop(2, tolerance=0.0),
        keep_best=True,
        group=3,
        xla=True,
    )
    together = by_seed(fit(network(), data, seeds=range(4), **rest))
    (alone,) = fit(network(), data, seeds=[3], **rest)
    assert same_bits(alone, together[3])
    (turns,) = fit(network(), data, seeds=[3], **rest | {"form": "turns", "xla": False})
    for one, other in zip(turns.weights, together[3].weights, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


# ---- batches that users make -------------------------------------------------------------------


def test_the_first_rows_of_batches_that_users_make_only_come_before(recording):
    """Pieces in the order of time, drawn in the step or made on the host, as `Data` makes them."""
    inputs, responses, _ = recording
    rows = np.arange(SPREAD, SPREAD + 2 * BATCH)
    windows = [np.arange(first, first + SPREAD + BATCH) for first in (0, BATCH)]

    def draw(arrays, key, step):
        first = (step % 2) * BATCH
        return tuple(ops.take(part, first + np.arange(SPREAD + BATCH), axis=0) for part in arrays)

    made = [
        Data(inputs, responses, rows=rows),
        Sample((inputs, responses), draw, steps=2),
        HostBatches(lambda seed, epoch: [(inputs[w], responses[w]) for w in windows], steps=2),
    ]
    found = []
    for data in made:
        in_time = {"order": lambda seed, epoch: rows} if isinstance(data, Data) else {}
        rest = options(batch_size=BATCH if in_time else None, epochs=2)
        (result,) = fit(network("float64"), data, seeds=[1], **rest, **in_time)
        found.append(result)
    for other in found[1:]:
        np.testing.assert_allclose(other.history["loss"], found[0].history["loss"], rtol=1e-12)
        for one, two in zip(found[0].weights, other.weights, strict=True):
            np.testing.assert_allclose(two, one, rtol=1e-10)
    short = HostBatches(lambda seed, epoch: [(inputs[:5], responses[:5])], steps=1)
    with pytest.raises(ValueError, match="a batch has 5 rows, and the model needs 5 rows before"):
        list(fit(network(), short, seeds=[1], **options(batch_size=None)))
