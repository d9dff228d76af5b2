"""The compiled program of the trainer: whole epochs of a group of members in one call.

A member is one training with one seed. Everything is written for one member, in words of one
member, and mapped over the slots of a group; slots never see each other. All arrays of a state
have a leading axis [slots]. With `mapped=False` there is one slot and no map, so that any Keras
model works.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from NDN3 import backend
from NDN3.layers.windows import native_convolutions


@dataclass
class Program:
    """What is fixed while a group is trained; `compile` makes the function of it.

    Parameters
    ----------
    model : keras.Model
        Built; gives the architecture, its values are not used.
    loss : callable
        (response, prediction, mask) -> [rows].
    metrics : dict of callable
        Name -> (response, prediction, mask) -> scalar.
    optimizer : NDN3.optimizers.Adam
    source : NDN3.batches.RowSource, SampleSource or HostSource
        Where batches come from.
    evaluations : dict of NDN3.evaluations.Evaluation
        Sets of rows that are evaluated after an epoch, "test" and "train".
    slots : int
    length : int
        The most epochs in one call.
    mapped : bool
    xla : bool
    free : list of (bool or ndarray)
        For each trainable variable: trained or not, or a 0/1 array.
    schedule : callable, optional
        Step -> factor of the learning rate, or dict of factors by name.
    early_stop : NDN3.training.EarlyStop, optional
    watched : str
        Entry of the record that tells the best epoch and feeds early stopping.
    keep_best : bool
    summary_every : int
        The train set is evaluated at epoch 0 and at every `summary_every`-th epoch.
    """

    model: keras.Model
    loss: Any
    metrics: dict
    optimizer: Any
    source: Any
    evaluations: dict
    slots: int
    length: int
    mapped: bool
    xla: bool
    free: list
    schedule: Any = None
    early_stop: Any = None
    watched: str = "loss"
    keep_best: bool = False
    summary_every: int = 1

    def __post_init__(self):
        self.dtype = self.model.trainable_variables[0].dtype
        self.numbers = list(numbers_of(self.model))
        self.is_trained = [
            bool(np.any(free)) if isinstance(free, np.ndarray) else bool(free) for free in self.free
        ]
        self.constraints = [variable.constraint for variable in self.model.trainable_variables]
        names = ["loss", "active"]
        for name in self.evaluations:
            names += [f"{name}/{measure}" for measure in self.measures]
        self.record_names = names

    @property
    def native(self):
        """Whether layers of one network alone may use the framework's own convolution."""
        return backend.XLA_IS_OPTIONAL and not self.mapped and not self.xla

    @property
    def measures(self):
        """Names of what one evaluation gives."""
        return ["cost", "reg_pen", "cost_penalized", *self.metrics]

    def compile(self):
        """Compiled function (state, feed, settings, count) -> (state, records)."""
        return backend.compiled(self.chunk, self.xla)

    def forward(self, member, settings, inputs, training, weights):
        """Prediction, state that is not trained, and penalties of one member."""
        extra = {}
        if self.numbers:
            extra["numbers"] = {name: settings[name] for name in self.numbers}
        if getattr(self.model, "uses_row_weights", False):
            extra["row_weights"] = weights
        # so that no penalty is taken for one of an earlier trace, see `NetworkModel.stateless_call`
        self.model._clear_losses()
        with native_convolutions(self.native):
            return self.model.stateless_call(
                member["trainable"],
                member["non_trainable"],
                inputs,
                training=training,
                return_losses=True,
                **extra,
            )

    # ---- a whole call -------------------------------------------------------------------------

    def chunk(self, state, feed, settings, count):
        """`count` epochs of all slots."""

        def epoch(index, state):
            return self.epoch(index, state, feed, settings)

        return backend.repeat_and_record(
            count, self.length, self.record_names, self.slots, self.dtype, epoch, state
        )

    def epoch(self, index, state, feed, settings):
        """One epoch of all slots: its steps, then the evaluations and the bookkeeping."""
        active = state["active"]
        zeros = ops.zeros((self.slots,), self.dtype)

        def step(step_index, carried):
            members, total = carried
            batch = self.source.batch_feed(feed, index, step_index)
            members, cost = self.mapped_over(
                lambda member, batch, settings: self.step(member, batch, step_index, settings),
                (members, batch, settings),
            )
            return members, total + cost

        members, total = backend.repeat(self.source.steps, step, (state, zeros))
        record = {"loss": total / self.source.steps, "active": ops.cast(active, self.dtype)}
        for name, evaluation in self.evaluations.items():
            record.update(self.evaluated(name, evaluation, members, feed, index, settings))
        costs = (record["loss"], record[self.watched])
        members = self.mapped_over(self.close_epoch, (members, *costs, settings))
        return members, record

    def mapped_over(self, function, arguments):
        """`function` of one member applied to every slot."""
        if self.mapped:
            return backend.map_members(function, arguments)
        alone = keras.tree.map_structure(lambda tensor: tensor[0], arguments)
        return keras.tree.map_structure(lambda tensor: ops.expand_dims(tensor, 0), function(*alone))

    # ---- one member ---------------------------------------------------------------------------

    def step(self, member, feed, step_index, settings):
        """One batch of one member -> (member, cost of the batch)."""
        inputs, responses, mask, weights = self.source.batch(feed, step_index, member)
        trained, frozen = self.split(member["trainable"])

        def objective(trained):
            here = {**member, "trainable": self.merge(trained, frozen)}
            prediction, non_trainable, losses = self.forward(here, settings, inputs, True, weights)
            cost = self.cost(responses, prediction, mask, weights)
            return cost + settings["penalty"] * self.total(losses), (cost, non_trainable)

        (_, (cost, non_trainable)), gradients = backend.value_and_gradients(objective, trained)
        gradients = [
            gradient * free if isinstance(free, np.ndarray) else gradient
            for gradient, free in zip(gradients, self.split(self.free)[0], strict=True)
        ]
        step = member["step"] + 1
        numbers = self.scheduled(settings, member["step"])
        updated, moments = self.optimizer.update(
            trained, gradients, member["moments"], ops.cast(step, self.dtype), numbers
        )
        updated = [
            new if constraint is None else constraint(new)
            for new, constraint in zip(updated, self.split(self.constraints)[0], strict=True)
        ]
        updated = [  # entries that are frozen do not decay either
            ops.where(free, new, old) if isinstance(free, np.ndarray) else new
            for new, old, free in zip(updated, trained, self.split(self.free)[0], strict=True)
        ]
        new = {
            **member,
            "trainable": self.merge(updated, frozen),
            "non_trainable": list(non_trainable),
            "moments": moments,
            "step": step,
        }
        active = member["active"]
        return keep_where(active, new, member), ops.where(active, cost, 0.0)

    def cost(self, responses, prediction, mask, weights):
        """Mean of the loss over the rows of a batch that count."""
        responses, prediction = counted(responses, prediction, mask)
        losses = self.loss(responses, prediction, mask)
        if weights is None:
            return ops.mean(losses)
        # where, because a padded row may hold anything, and infinity times zero is not zero
        losses = ops.where(weights > 0, losses * weights, 0.0)
        return ops.sum(losses) / ops.sum(weights)

    def total(self, losses):
        """Sum of the model's penalties."""
        return sum(losses) if losses else ops.zeros((), self.dtype)

    def scheduled(self, settings, step):
        """Numbers of the optimiser at a step."""
        numbers = {name: settings[name] for name in self.optimizer.numbers}
        if self.schedule is None:
            return numbers
        factors = self.schedule(step)
        if not isinstance(factors, dict):
            factors = {"learning_rate": factors}
        return {
            name: value * ops.cast(factors[name], self.dtype) if name in factors else value
            for name, value in numbers.items()
        }

    def split(self, values):
        """Trained and frozen ones of a list in the order of the trainable variables."""
        pairs = list(zip(values, self.is_trained, strict=True))
        return [value for value, on in pairs if on], [value for value, on in pairs if not on]

    def merge(self, trained, frozen):
        """Inverse of `split`."""
        trained, frozen = iter(trained), iter(frozen)
        return [next(trained if on else frozen) for on in self.is_trained]

    def measure(self, evaluation, member, settings, rows):
        """Costs and metrics of one member on one set of rows."""
        inputs, responses, mask, weights = evaluation.batch(rows)
        prediction, _, losses = self.forward(member, settings, inputs, evaluation.training, weights)
        cost = self.cost(responses, prediction, mask, weights)
        penalty = settings["penalty"] * self.total(losses)
        responses, prediction = counted(responses, prediction, mask)
        measures = [cost, penalty, cost + penalty]
        measures += [
            metric(responses, prediction, visible(mask, weights))
            for metric in self.metrics.values()
        ]
        return [ops.cast(measure, self.dtype) for measure in measures]

    def evaluated(self, name, evaluation, members, feed, index, settings):
        """Record entries of one evaluation of all slots."""
        rows = evaluation.rows_of(feed, index)
        slots = (members, settings) if rows is None else (members, settings, rows)

        def measured():
            return self.mapped_over(
                lambda member, settings, rows=None: self.measure(
                    evaluation, member, settings, rows
                ),
                slots,
            )

        if evaluation.always:
            values = measured()
        else:
            epoch = members["epoch"]
            due = (epoch == 0) | ((epoch + 1) % self.summary_every == 0)
            missing = ops.full((self.slots,), np.nan, self.dtype)
            values = backend.choose(
                ops.any(due & members["active"]),
                measured,
                lambda: [missing for _ in self.measures],
            )
        return {f"{name}/{key}": value for key, value in zip(self.measures, values, strict=True)}

    def close_epoch(self, member, loss, watched, settings):
        """Bookkeeping of one member after an epoch: divergence, best, stopping."""
        epoch, active = member["epoch"], member["active"]
        finite = ops.isfinite(loss) & ops.isfinite(watched)
        better = watched < member["best_cost"]
        new = {
            **member,
            "epoch": epoch + 1,
            "diverged": ops.where(finite, member["diverged"], epoch),
            "best_cost": ops.where(better, watched, member["best_cost"]),
            "best_epoch": ops.where(better, epoch, member["best_epoch"]),
        }
        if self.keep_best:
            # with what is not trained: weights mean little beside moving averages of later ones
            kept = {name: member[name] for name in ("trainable", "non_trainable")}
            new["best"] = keep_where(better, kept, member["best"])
        going_on = finite & (epoch + 1 < settings["stop_at"])
        if self.early_stop is not None:
            length = self.early_stop.window
            here = ops.equal(ops.arange(length), epoch % length)
            window = ops.where(here, watched, member["window"])
            before, after = ops.mean(member["window"]), ops.mean(window)
            stop = (epoch > length) & (before - after - settings["tolerance"] < 0)
            new["window"] = window
            new["stopped"] = ops.where(stop & finite, epoch, member["stopped"])
            going_on = going_on & ops.logical_not(stop)
        new["active"] = active & going_on
        return keep_where(active, new, member)


def keep_where(condition, new, old):
    """`new` where the member's condition holds, else `old`, for every array of a structure."""
    return keras.tree.map_structure(lambda a, b: ops.where(condition, a, b), new, old)


def counted(responses, prediction, mask):
    """Responses and predictions, 0 where the mask is; infinity times 0 would be NaN."""
    if mask is None:
        return responses, prediction
    finite = ops.where(ops.equal(mask, 0), ops.zeros_like(prediction), prediction)
    return responses * mask, finite * mask


def visible(mask, weights):
    """Mask of what counts among evaluated entries, None when everything does."""
    if weights is None:
        return mask
    shown = ops.expand_dims(weights, -1)
    return shown if mask is None else mask * shown


def numbers_of(model):
    """Numbers that a model takes as arguments, {name: float}; most Keras models have none."""
    return getattr(model, "numbers", {})
