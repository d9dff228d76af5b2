"""Cost of all training rows and its gradient, of all members of a group in one compiled call.

The cost is the one that the trainer minimizes batch by batch: the mean over the rows plus the
penalties. It is computed as in predictions: no dropout, no draws, and moving averages as they are.
A model whose averages are those of its rows in predictions, too, gives them with the cost; where
the rows are summed in parts, each part has its own, and their means are given.
"""

import dataclasses
import math

import keras
import numpy as np
from keras import ops

from NDN3 import backend, forms, segments
from NDN3.batches import RowSource
from NDN3.lockstep import Program

# Rows by which the size of a forward pass is judged
PROBE_ROWS = 256


class WholeCost:
    """Cost of all training rows, as a function of one vector for each member.

    Parameters
    ----------
    model : keras.Model
    data : NDN3.batches.Data
    loss : callable
        (response, prediction, mask) -> [rows].
    free : list of (bool or ndarray)
        For each trainable variable: trained or not, or a 0/1 array.
    slots : int
    mapped, xla : bool
    most_rows : int
        That are computed at once; where there are more, they are summed in parts.

    Attributes
    ----------
    parts : int
    size : int
        Entries of a vector: those of all variables that are trained at least in part.
    averaged : list of keras.Variable
        Those that are no parameters, such as averages over rows.
    bounds : ndarray, (2, size)
        Between which each entry is held; infinite where it is free.
    """

    def __init__(self, model, data, loss, free, slots, mapped, xla, most_rows):
        self.dtype = model.trainable_variables[0].dtype
        spread = segments.spread_of(model)
        count = len(data.selected(spread))
        parts = -(-count // max(1, min(most_rows, count)))
        kind = segments.SegmentSource if spread else RowSource
        source = kind(data, model, -(-count // parts), self.dtype)
        self.program = Program(
            model=model,
            loss=loss,
            metrics={},
            optimizer=None,
            source=source,
            evaluations={},
            slots=slots,
            length=1,
            mapped=mapped,
            xla=xla,
            free=free,
        )
        self.parts = source.steps
        self.rows, self.weights = stacked_parts(source)
        counts = np.array([float(np.sum(np.asarray(part))) for part in self.weights])
        self.shares = ops.convert_to_tensor((counts / counts.sum()).astype(self.dtype))
        trained, _ = self.program.split(model.trainable_variables)
        self.shapes = [tuple(variable.shape) for variable in trained]
        self.averaged = [v for v in model.non_trainable_variables if is_float(v)]
        self.size = sum(int(np.prod(shape)) for shape in self.shapes)
        self.bounds = bounds_of(self.program.split(model.trainable_variables)[0])

    def compile(self):
        """Compiled function (vectors (slots, n), members, settings) -> found.

        `found` has, for each slot, "gradient" (slots, n), "cost" and "penalty" (slots,), and
        "state", the variables `averaged` as the model leaves them.
        """
        return backend.compiled(self.evaluated, self.program.xla)

    def evaluated(self, vectors, members, settings):
        """Costs, penalties and gradients of all slots."""
        names = ("cost", "penalty")
        nothing = {name: ops.zeros((self.program.slots,), self.dtype) for name in names}
        nothing["gradient"] = ops.zeros((self.program.slots, self.size), self.dtype)
        nothing["state"] = [
            ops.zeros((self.program.slots, *variable.shape), variable.dtype)
            for variable in self.averaged
        ]

        def added(index, total):
            rows, weights = keras.tree.map_structure(
                lambda array: None if array is None else array[index], (self.rows, self.weights)
            )
            found = self.program.mapped_over(
                lambda vector, member, settings: self.of_member(
                    vector, member, settings, rows, weights
                ),
                (vectors, members, settings),
            )
            share = self.shares[index]
            return keras.tree.map_structure(
                lambda sum_, part: sum_ + ops.cast(share, part.dtype) * part, total, found
            )

        if self.parts == 1:
            return added(0, nothing)
        return backend.repeat(self.parts, added, nothing)

    def of_member(self, vector, member, settings, rows, weights):
        """Cost, penalty and gradient of one member on one part of the rows."""
        inputs, responses, mask = rows
        program = self.program

        def objective(vectors):
            here = {
                "trainable": program.merge(self.unpacked(vectors[0]), member["frozen"]),
                "non_trainable": member["non_trainable"],
            }
            prediction, state, losses = program.forward(here, settings, inputs, False, weights)
            cost = program.cost(responses, prediction, mask, weights)
            penalty = settings["penalty"] * program.total(losses)
            variables = program.model.non_trainable_variables
            state = [s for s, v in zip(state, variables, strict=True) if is_float(v)]
            return cost + penalty, (cost, ops.cast(penalty, self.dtype), state)

        (_, found), (gradient,) = backend.value_and_gradients(objective, [vector])
        cost, penalty, state = found
        return {"cost": cost, "penalty": penalty, "gradient": gradient, "state": state}

    def unpacked(self, vector):
        """Trained variables of one member, out of its vector."""
        arrays, first = [], 0
        for shape in self.shapes:
            last = first + int(np.prod(shape))
            arrays.append(ops.reshape(vector[first:last], shape))
            first = last
        return arrays


def is_float(variable):
    """Whether a variable holds real numbers, and no key or counter of draws."""
    return keras.backend.is_float_dtype(variable.dtype)


def bounds_of(variables):
    """Bounds of all entries of variables, (2, entries), from constraints that have `bounds`."""
    free = (-np.inf, np.inf)
    found = [
        np.tile(getattr(variable.constraint, "bounds", free), (math.prod(variable.shape), 1))
        for variable in variables
    ]
    return np.concatenate(found).T


def operations(model, data):
    """Names of the operations of a forward pass, and what a row takes there and back.

    Parameters
    ----------
    model : keras.Model
    data : NDN3.batches.Data

    Returns
    -------
    set of str
        As of `NDN3.backend.operations`.
    int
        Bytes for one row of one member, an upper bound.
    """
    rows = data.selected()[:PROBE_ROWS]
    parts = keras.tree.map_structure(
        lambda array: None if array is None else np.asarray(array)[rows],
        (data.inputs, data.responses, data.mask),
    )
    some = dataclasses.replace(
        data, inputs=parts[0], responses=parts[1], mask=parts[2], rows=None, blocks=None
    )
    source = RowSource(some, model, len(rows), model.trainable_variables[0].dtype)
    names, size = backend.operations(*forms.forward_pass(model, source))
    return names, max(1, 2 * size // len(rows))


def stacked_parts(source):
    """All batches of one epoch of a source: (inputs, responses, mask) and row weights.

    Each array has a leading axis of batches; a row weighs 0 where it only fills up a batch.
    """
    feed = keras.tree.map_structure(ops.convert_to_tensor, source.feed([0], [range(1)], 1))
    batches = []
    for step in range(source.steps):
        rows = keras.tree.map_structure(lambda array: array[0], source.batch_feed(feed, 0, step))
        *parts, weights = source.batch(rows, step, None)
        if weights is None:
            weights = ops.ones((parts[1].shape[0],), parts[1].dtype)
        batches.append((tuple(parts), weights))
    return keras.tree.map_structure(
        lambda *arrays: None if arrays[0] is None else ops.stack(arrays), *batches
    )
