"""Members that SciPy minimizes in step, on costs written in NumPy."""

import queue
import threading

import numpy as np
import pytest

from NDN3 import in_step, lbfgs

LOW = lbfgs.Limits(200, 0.0, 0.0)


def alive():
    return [thread for thread in threading.enumerate() if thread.name.startswith("L-BFGS")]


class Quadratics:
    """Quadratics d A d / 2 of the distance d to a minimum; it notes what it was asked for."""

    def __init__(self, count, size=6):
        source = np.random.default_rng(3)
        roots = source.normal(size=(count, size, size))
        self.matrices = roots @ roots.swapaxes(1, 2) + 0.5 * np.eye(size)
        self.minima = source.normal(size=(count, size))
        self.calls = []

    def __call__(self, members, points):
        self.calls.append((list(members), points.copy()))
        indices = [member or 0 for member in members]
        distances = points - self.minima[indices]
        slopes = np.einsum("mij,mj->mi", self.matrices[indices], distances)
        return np.sum(distances * slopes, axis=1) / 2, slopes


def minimize(cost, starts, slots, at_iteration=lambda index: None):
    return list(in_step.minimize(starts, cost, slots, LOW, at_iteration))


def test_a_quadratic_to_eight_digits():
    cost = Quadratics(5)
    found = dict(minimize(cost, [np.zeros(6)] * 5, slots=2))
    assert sorted(found) == [0, 1, 2, 3, 4]
    for index, outcome in found.items():
        np.testing.assert_allclose(outcome.x, cost.minima[index], rtol=0, atol=1e-8)
    assert not alive()


def test_one_that_has_ended_costs_no_step_and_repeats_its_point():
    cost = Quadratics(3)
    starts = [np.zeros(6), cost.minima[1], np.ones(6)]
    evaluations = {index: outcome.nfev for index, outcome in minimize(cost, starts, slots=4)}
    assert evaluations[1] < evaluations[0]
    assert len(cost.calls) == max(evaluations.values())
    members, points = cost.calls[-1]
    assert members.count(None) >= 2
    before = next(p for m, p in reversed(cost.calls) if m[1] == 1)
    np.testing.assert_array_equal(points[1], before[1])


def test_a_free_slot_is_taken_by_the_next_one():
    cost = Quadratics(3)
    minimize(cost, [cost.minima[0], np.zeros(6), np.zeros(6)], slots=2)
    together = [members for members, _ in cost.calls]
    assert together[0] == [0, 1]
    assert [2, 1] in together


def test_a_member_that_fails_does_not_stop_the_others():
    cost = Quadratics(3)
    count = 0

    def at_iteration(index):
        nonlocal count
        if index == 1:
            count += 1
            if count == 3:
                raise OSError("no more")

    found = dict(minimize(cost, [np.zeros(6)] * 3, 3, at_iteration))
    assert isinstance(found[1], OSError)
    for index in (0, 2):
        np.testing.assert_allclose(found[index].x, cost.minima[index], rtol=0, atol=1e-8)


def test_a_cost_that_fails_ends_all_threads():
    cost = Quadratics(2)

    def broken(members, points):
        if len(cost.calls) == 4:
            raise OSError("the device is gone")
        return cost(members, points)

    with pytest.raises(OSError, match="the device is gone"):
        minimize(broken, [np.zeros(6)] * 2, 2)
    assert not alive()


def test_who_stops_asking_leaves_no_threads():
    results = in_step.minimize(
        [np.zeros(6)] * 4, Quadratics(4), 2, lbfgs.Limits(3), lambda index: None
    )
    next(results)
    results.close()
    assert not alive()


@pytest.mark.parametrize("nothing", [np.inf, np.nan, -np.inf])
def test_a_line_search_turns_back_where_nothing_is_finite(nothing):
    """A barrier at 1, beyond which the cost is no number; the minimum is inside."""

    def cost(members, points):
        inside = np.abs(points) < 1
        x = np.where(inside, points, 0)
        values = np.sum(-0.1 * np.log(1 - x**2) - x, axis=1)
        slopes = 0.2 * x / (1 - x**2) - 1
        out = ~inside.all(axis=1)
        return np.where(out, nothing, values), np.where(out[:, np.newaxis], nothing, slopes)

    ((_, outcome),) = minimize(cost, [np.array([-0.9, 0.5, 0.0])], 1)
    # 0.2 x = 1 - x²
    np.testing.assert_allclose(outcome.x, np.sqrt(1.01) - 0.1, rtol=1e-7)
    ((_, beyond),) = minimize(cost, [np.array([2.0, 0.0, 0.0])], 1)
    assert not np.isfinite(beyond.fun)


def test_the_wall_rises_from_the_last_iteration():
    runner = in_step.Runner(0, np.zeros(2), LOW, None, queue.SimpleQueue(), lambda index: None)
    point = np.zeros(2)
    for value, slope in ((3.0, (-1.0, 0.0)), (2.0, (-0.5, 2.0))):
        runner.answers.put((value, np.array(slope)))
        assert runner.ask(point)[0] == value
        runner.iterated(point)
        point += (2.0, 1.0)  # the caller may use its array again
    runner.answers.put((np.nan, np.full(2, np.nan)))
    value, slope = runner.ask(np.array([6.0, 4.0]))
    assert value == 2.0 + abs(-0.5 * 4 + 2.0 * 3)
    np.testing.assert_array_equal(slope, (0.5, -2.0))
