"""Members that SciPy minimizes side by side: each in a thread of its own, all in step.

SciPy's L-BFGS-B asks for value and gradient at one point at a time. Here every member hands in its
point, then one call computes the values and gradients of all, and each goes on. A member that has
ended costs no step of the others, and the next one takes its place.
"""

import queue
import threading
from collections import deque

import numpy as np
from scipy import optimize

# Evaluations in one line search
LINE_SEARCH = 20


class Stopped(Exception):
    """Raised in the thread of a member that is not to go on."""


class Runner(threading.Thread):
    """Thread in which SciPy minimizes the cost of one member.

    Parameters
    ----------
    index : int
        The member.
    start : ndarray, (n,)
    limits : NDN3.lbfgs.Limits
    bounds : scipy.optimize.Bounds or None
    desk : queue.SimpleQueue
        Gets the thread itself whenever it has asked for an evaluation, or ended.
    at_iteration : callable
        As for `minimize`.

    Attributes
    ----------
    point : ndarray of float64, (n,)
        The last one that it asked for.
    outcome : scipy.optimize.OptimizeResult, BaseException or None
        None until it ends.
    """

    def __init__(self, index, start, limits, bounds, desk, at_iteration):
        super().__init__(name=f"L-BFGS of member {index}", daemon=True)
        self.index, self.limits, self.bounds, self.desk = index, limits, bounds, desk
        self.point, self.outcome = np.array(start, float), None
        self.answers = queue.SimpleQueue()
        self.at_iteration = at_iteration
        self.found = self.reached = None  # (point, value, gradient)

    def run(self):
        """Minimize; the problem of one member is kept, so that the others go on."""
        try:
            self.outcome = optimize.minimize(
                self.ask,
                self.point,
                jac=True,
                method="L-BFGS-B",
                bounds=self.bounds,
                callback=self.iterated,
                options={
                    "maxiter": self.limits.iterations,
                    "maxfun": (LINE_SEARCH + 1) * (self.limits.iterations + 1),
                    "maxls": LINE_SEARCH,
                    "gtol": self.limits.gradient,
                    "ftol": self.limits.fall,
                },
            )
        except BaseException as problem:
            self.outcome = problem
        finally:
            self.desk.put(self)

    def ask(self, point):
        """Value and gradient at a point, once all members have asked."""
        self.point = np.array(point)
        self.desk.put(self)
        answer = self.answers.get()
        if answer is None:
            raise Stopped
        self.found = (self.point, *answer)
        if self.reached is None:
            self.reached = self.found
        if all_finite(*answer) or not all_finite(*self.reached):
            return answer
        return self.wall(point)

    def wall(self, point):
        """Value and gradient that stand for those of a point where the cost is not finite.

        SciPy's line search takes infinity for the end of all progress; in front of a slope that
        rises as it fell before it turns back and tries a shorter step.
        """
        start, value, gradient = self.reached
        return value + abs(np.dot(gradient, point - start)), -gradient

    def iterated(self, _point):
        """Go on from the point that was evaluated last."""
        self.reached = self.found
        self.at_iteration(self.index)


def minimize(starts, evaluate, slots, limits, at_iteration, bounds=None):
    """Minimize the costs of several members, `slots` of them at a time.

    Parameters
    ----------
    starts : list of ndarray, (n,)
        Where each member begins.
    evaluate : callable
        (members, points) -> values (slots,), gradients (slots, n). `members` has the index of the
        member in each slot, None in a slot that is empty; `points` is (slots, n), with the last
        one of a slot that is empty.
    slots : int
    limits : NDN3.lbfgs.Limits
    at_iteration : callable
        Called with the index of a member whenever an iteration of it ends, in its thread. The point
        that was evaluated last for it is the one that it has reached; nothing is evaluated
        meanwhile.
    bounds : scipy.optimize.Bounds, optional
        The starts lie within them.

    Yields
    ------
    index : int
    outcome : scipy.optimize.OptimizeResult or BaseException
        Each member when it ends, several at once in the order of their indices. An exception is
        one that was raised in the thread of the member.

    References
    ----------
    Byrd, Lu, Nocedal & Zhu 1995, "A limited memory algorithm for bound constrained optimization".
    """
    waiting = deque(range(len(starts)))
    desk = queue.SimpleQueue()
    runners = [None] * slots
    points = np.stack([np.array(starts[0], float)] * slots)
    try:
        while waiting or any(runners):
            busy = 0
            for slot in range(slots):
                if runners[slot] is None and waiting:
                    index = waiting.popleft()
                    runner = Runner(index, starts[index], limits, bounds, desk, at_iteration)
                    runner.start()
                    runners[slot] = runner
                    busy += 1
            ended = met(desk, busy, runners)
            while not ended:  # so all have asked
                members = [None if runner is None else runner.index for runner in runners]
                for slot, runner in enumerate(runners):
                    if runner is not None:
                        points[slot] = runner.point
                values, gradients = evaluate(members, points)
                living = [(s, runner) for s, runner in enumerate(runners) if runner is not None]
                for slot, runner in living:
                    runner.answers.put((float(values[slot]), np.array(gradients[slot], float)))
                ended = met(desk, len(living), runners)
            runners = [None if runner in ended else runner for runner in runners]
            for runner in ended:
                yield runner.index, runner.outcome
    finally:
        for runner in runners:
            if runner is not None:
                runner.answers.put(None)
                runner.join()


def all_finite(*arrays):
    """Whether numbers and arrays hold nothing but finite numbers."""
    return all(np.isfinite(array).all() for array in arrays)


def met(desk, busy, runners):
    """Wait until every thread that computes has asked or ended; return those that have ended."""
    for _ in range(busy):
        desk.get()
    ended = [runner for runner in runners if runner is not None and runner.outcome is not None]
    return sorted(ended, key=lambda runner: runner.index)
