"""L-BFGS on all training rows: SciPy's, the members of a group in step.

What a member becomes depends on its start values alone, in every bit, as long as the number of
slots is the same. Memory is that of one pass over the rows for each slot; where that is too much,
the rows are summed in parts.
"""

import math
import time
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops
from scipy import optimize

from NDN3 import (
    arguments,
    backend,
    checkpoints,
    data_checks,
    forms,
    in_step,
    programs,
    quantities,
    start_values,
    whole_costs,
)
from NDN3.batches import Data
from NDN3.lockstep import numbers_of
from NDN3.running import Result
from NDN3.whole_costs import WholeCost


@dataclass(frozen=True)
class Limits:
    """Where L-BFGS ends; it also ends where no step along a line lowers the cost any more.

    Parameters
    ----------
    iterations : int
        The most there are.
    gradient : float
        End when no entry of the gradient is larger.
    fall : float
        End when the cost falls by no larger share in one iteration.

    Raises
    ------
    ValueError
        If a number is none, or out of its range.
    """

    iterations: int = 500
    gradient: float = 1e-5
    fall: float = 2.2e-9

    def __post_init__(self):
        quantities.whole(self.iterations, "iterations of L-BFGS")
        for name in ("gradient", "fall"):
            fits = (lambda x: 0 <= x < math.inf, "a finite number from 0")
            quantities.real(getattr(self, name), f"{name} of L-BFGS", *fits)


@dataclass
class Minimum(Result):
    """What became of one member.

    Attributes
    ----------
    history : dict of ndarray
        One entry per iteration: "epoch" (its number), "wall_time", "loss" (the cost without
        penalties), "train/cost", "train/reg_pen" and "train/cost_penalized".
    best_epoch : int
        The last iteration, -1 if there was none.
    diverged_epoch : int or None
        The same, if the cost is not finite where it ended.
    iterations, evaluations : int
    message : str
        Why it ended, in SciPy's words.
    """

    iterations: int
    evaluations: int
    message: str


def fit(
    model,
    data,
    seeds=(0,),
    *,
    loss,
    limits=None,
    per_member=None,
    fit_variables=None,
    initialize=None,
    group="auto",
    form="auto",
    xla="auto",
    memory=forms.MEMORY,
    declared=None,
    decided=None,
    reuse=False,
    progress=None,
):
    """Minimize the cost of all training rows, once for each seed.

    Parameters
    ----------
    model, data, seeds, loss, fit_variables, initialize, declared, decided, reuse
        As for `NDN3.training.fit`; `data` is a `Data`.
    limits : Limits, optional
    per_member : dict of sequence, optional
        One number per seed for "penalty" (factor on all penalties) and numbers of the model
        (`model.numbers`), such as "layer1/l2".
    group : int or "auto"
        Number of slots; "auto" is the number of seeds, at most 10.
    form, xla
        As for `NDN3.training.fit`; "turns" has one slot, and the members follow each other. Without
        XLA, who shares the slots may change the last bits.
    memory : int
        What the rows of one pass may take [bytes]; 2 GiB by default.
    progress : callable, optional
        Called after each evaluation with (iterations done, the most there are, text), both numbers
        summed over members.

    Returns
    -------
    iterator of Minimum
        Each member when it ends. If something was raised in the thread of a member, it is raised
        after all others have come.

    Raises
    ------
    ValueError
        If arguments do not fit each other.

    References
    ----------
    Liu & Nocedal 1989, "On the limited memory BFGS method for large scale optimization".
    """
    limits = Limits() if limits is None else limits
    seeds = checked(model, data, seeds, loss, limits, declared, memory)
    forms.checked(form, group, xla)
    arguments.build(model, data)
    data_checks.check(data, model, loss, {}, "data")
    free = arguments.free_variables(model, fit_variables)
    names, per_row = whole_costs.operations(model, data)
    if form == "auto":
        form = "turns" if forms.needs_turns(model, names) else "group"
    if xla == "auto":
        xla = "convolution" not in names or backend.on_accelerator()
    slots = 1
    if form == "group":
        slots = min(declared or len(seeds), forms.LARGEST_GROUP) if group == "auto" else group
    most_rows = memory // (slots * per_row)
    cost = WholeCost(model, data, loss, free, slots, form == "group", xla, most_rows)
    if reuse:
        arrays = arrays_of(data)
        identity = checkpoints.signature(
            data=arrays,
            options=["lbfgs", slots, form, xla, cost.parts],
            free=[np.asarray(entry) for entry in free],
        )
        key = (model.structure, identity, loss)
        run = programs.compiled(cost, key, sum(array.nbytes for array in arrays))
    else:
        run = cost.compile()
    settings = member_settings(model, per_member, len(seeds))
    members = []
    for index, seed in enumerate(seeds):
        if initialize is None:
            start = start_values.draw(model, seed)
        else:
            start = arguments.start_values(model, initialize(model, seed))
        numbers = {name: values[index] for name, values in settings.items()}
        members.append(Member(index, seed, cost, start, numbers))
    if decided is not None:
        decided(form, slots)
    return Minimization(cost, run, members, limits, progress).results()


def checked(model, data, seeds, loss, limits, declared, memory):
    """Refuse arguments of the wrong type.

    Returns
    -------
    list of int
        The seeds.
    """
    for name, value, kind in (
        ("model", model, keras.Model),
        ("data", data, Data),
        ("limits", limits, Limits),
    ):
        if not isinstance(value, kind):
            raise ValueError(
                f"{name} is a {type(value).__name__}; L-BFGS needs a {kind.__name__}. Make one."
            )
    if not callable(loss):
        raise ValueError(f"loss is {loss!r}; it must be a function. Give one.")
    quantities.whole(memory, "memory [bytes]")
    if declared is not None:
        quantities.whole(declared, "declared (None or a number of members)")
    seeds = [quantities.whole(seed, f"seeds[{i}]", 0) for i, seed in enumerate(seeds)]
    if not seeds:
        raise ValueError("there are no seeds; give at least one, such as seeds=[0].")
    return seeds


def member_settings(model, per_member, count):
    """Numbers of each member: name -> array (members,)."""
    settings = {"penalty": 1.0, **numbers_of(model)}
    for name, values in (per_member or {}).items():
        if name not in settings:
            raise ValueError(
                f"per_member has {name!r}; what may differ between members under L-BFGS is "
                f"{', '.join(sorted(settings))}. Choose among them."
            )
        arguments.check_member_numbers(name, values, count)
        settings[name] = values
    return {
        name: np.broadcast_to(np.asarray(value, float), (count,))
        for name, value in settings.items()
    }


def arrays_of(data):
    """Arrays that the compiled cost depends on."""
    parts = keras.tree.flatten((data.inputs, data.responses, data.mask, data.rows, data.blocks))
    return [np.asarray(part) for part in parts if part is not None]


class Member:
    """One minimization: its arrays, its numbers, its history.

    Parameters
    ----------
    index : int
        Position among the seeds.
    seed : int
    cost : NDN3.whole_costs.WholeCost
    start : list of ndarray
        Start values in the order of `model.weights`.
    settings : dict of float
    """

    def __init__(self, index, seed, cost, start, settings):
        self.index, self.seed, self.cost = index, seed, cost
        model, program = cost.program.model, cost.program
        dtype = program.dtype
        values = {
            id(variable): np.asarray(value, variable.dtype).reshape(variable.shape)
            for variable, value in zip(model.weights, start, strict=True)
        }
        # What is no weight of the model is a state of Keras' own random generators: nothing is
        # drawn here.
        other = [
            values.get(id(variable), np.zeros(variable.shape, variable.dtype))
            for variable in model.non_trainable_variables
        ]
        trained, frozen = program.split([values[id(v)] for v in model.trainable_variables])
        self.fixed = {"frozen": frozen, "non_trainable": other}
        self.settings = {name: np.asarray(value, dtype) for name, value in settings.items()}
        self.whole = np.concatenate([array.ravel() for array in trained])
        parts = zip(trained, program.split(program.free)[0], strict=True)
        self.is_free = np.concatenate([np.broadcast_to(f, a.shape).ravel() > 0 for a, f in parts])
        self.history = {
            name: []
            for name in (
                *("epoch", "wall_time", "loss"),
                *("train/cost", "train/reg_pen", "train/cost_penalized"),
            )
        }
        self.evaluations, self.last = 0, {}

    def start(self):
        """What L-BFGS begins with: the free entries of the vector, within their bounds."""
        start = self.whole[self.is_free].astype(float)
        bounds = self.bounds()
        return start if bounds is None else np.clip(start, bounds.lb, bounds.ub)

    def bounds(self):
        """Bounds of the free entries, None if there are none (`scipy.optimize.Bounds`)."""
        low, high = (side[self.is_free] for side in self.cost.bounds)
        return optimize.Bounds(low, high) if np.isfinite([low, high]).any() else None

    def vector(self, point):
        """Vector of all entries of trained variables at a point of the free ones."""
        found = self.whole.copy()
        found[self.is_free] = point
        return found

    def record(self):
        """Note what an iteration has reached."""
        cost, penalty = self.last["cost"], self.last["penalty"]
        values = (len(self.history["epoch"]), time.time(), cost, cost, penalty, cost + penalty)
        for name, value in zip(self.history, values, strict=True):
            self.history[name].append(value)

    def weights(self, point, averages):
        """Values of all variables in the order of `model.weights`.

        Parameters
        ----------
        point : ndarray
            The free entries.
        averages : list of ndarray
            Of `WholeCost.averaged`.
        """
        model, program = self.cost.program.model, self.cost.program
        vector, trained, first = self.vector(point), [], 0
        for shape in self.cost.shapes:
            last = first + math.prod(shape)
            trained.append(vector[first:last].reshape(shape))
            first = last
        arrays = [*program.merge(trained, self.fixed["frozen"]), *self.fixed["non_trainable"]]
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        arrays, variables = [*arrays, *averages], [*variables, *self.cost.averaged]
        values = {id(v): np.array(array) for v, array in zip(variables, arrays, strict=True)}
        return [values[id(variable)] for variable in model.weights]


class Minimization:
    """All members of one call.

    Parameters
    ----------
    cost : NDN3.whole_costs.WholeCost
    run : callable
        The compiled cost.
    members : list of Member
    limits : Limits
    progress : callable, optional
    """

    def __init__(self, cost, run, members, limits, progress):
        self.cost, self.run, self.members = cost, run, members
        self.limits, self.progress = limits, progress
        self.placed, self.fixed, self.ended = None, None, 0

    def results(self):
        """Minimum of each member when it ends."""
        began = time.monotonic()
        problems = []
        # looked at by the threads of the members; nothing is evaluated meanwhile
        minima = in_step.minimize(
            [member.start() for member in self.members],
            self.evaluated,
            self.cost.program.slots,
            self.limits,
            lambda index: self.members[index].record(),
            self.members[0].bounds(),
        )
        for index, outcome in minima:
            self.ended += 1
            if isinstance(outcome, optimize.OptimizeResult):
                yield self.minimum(self.members[index], outcome, time.monotonic() - began)
            else:
                problems.append(outcome)
        if problems:
            raise problems[0]

    def evaluated(self, indices, points):
        """Values and gradients at the points of the members in the slots."""
        if indices != self.placed:
            spare = next(index for index in indices if index is not None)
            there = [self.members[spare if index is None else index] for index in indices]
            self.fixed = keras.tree.map_structure(
                lambda *rows: ops.convert_to_tensor(np.stack(rows)),
                *[(member.fixed, member.settings) for member in there],
            )
            self.placed, self.there = indices, there
        vectors = [m.vector(point) for m, point in zip(self.there, points, strict=True)]
        found = self.run(ops.convert_to_tensor(np.stack(vectors)), *self.fixed)
        found = {name: np.asarray(found[name]) for name in ("cost", "penalty", "gradient")}
        values = found["cost"].astype(float) + found["penalty"]
        for slot, index in enumerate(indices):
            if index is not None:
                member = self.members[index]
                member.last = {name: float(found[name][slot]) for name in ("cost", "penalty")}
                member.evaluations += 1
        if self.progress is not None:
            self.report()
        gradients = [
            gradient[member.is_free]
            for member, gradient in zip(self.there, found["gradient"], strict=True)
        ]
        return values, gradients

    def report(self):
        """Tell the caller how far the members are."""
        done = [len(member.history["epoch"]) for member in self.members]
        count = len(done)
        costs = [m.last["cost"] + m.last["penalty"] for m in self.members if m.last]
        self.progress(
            sum(done),
            self.limits.iterations * count,
            f"iteration {max(done)} of {self.limits.iterations} at most, {self.ended} of {count} "
            f"repetitions done, training cost with penalties {np.median(costs):.6g}",
        )

    def averages(self, member, point):
        """Averages over the training rows at a point."""
        if not self.cost.averaged:
            return []
        slots = self.cost.program.slots
        fixed = keras.tree.map_structure(
            lambda array: ops.convert_to_tensor(np.stack([array] * slots)),
            (member.fixed, member.settings),
        )
        found = self.run(ops.convert_to_tensor(np.stack([member.vector(point)] * slots)), *fixed)
        return [np.asarray(array)[0] for array in found["state"]]

    def minimum(self, member, outcome, seconds):
        """Result of a member that has ended."""
        last = len(member.history["epoch"]) - 1
        finite = np.isfinite(outcome.fun) and np.isfinite(outcome.x).all()
        return Minimum(
            index=member.index,
            seed=member.seed,
            weights=member.weights(outcome.x, self.averages(member, outcome.x)),
            best_weights=None,
            history={name: np.asarray(values) for name, values in member.history.items()},
            best_epoch=last,
            stopped_epoch=None,
            diverged_epoch=None if finite else max(last, 0),
            seconds=seconds,
            form="group" if self.cost.program.mapped else "turns",
            group=self.cost.program.slots,
            iterations=int(outcome.nit),
            evaluations=member.evaluations,
            message=str(outcome.message),
        )
