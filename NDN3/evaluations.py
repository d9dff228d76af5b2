"""Rows on which members are evaluated after an epoch, and the cost by which epochs are judged."""

import keras
import numpy as np
from keras import ops

from NDN3 import segments
from NDN3.batches import Data, precomputed, tensors

SUMMARY_ROWS = 500


class Evaluation:
    """Rows on which members are evaluated after an epoch.

    Parameters
    ----------
    data : Data
    model : keras.Model
    dtype : str
    always : bool
        After each epoch, or only when a summary is due.
    training : bool
        Evaluate as in training, with dropout (the original program did).
    last_batch_of : RowSource or SegmentSource, optional
        Evaluate the epoch's last batch of this source instead of `data` (the original program did).
    """

    def __init__(self, data, model, dtype, always=True, training=False, last_batch_of=None):
        self.always, self.training, self.source = always, training, last_batch_of
        if self.source is None:
            spread = segments.spread_of(model)
            rows, weights = segments.stretch(data, spread)
            arrays = keras.tree.map_structure(
                lambda array: None if array is None else np.asarray(array)[rows],
                segments.fit_arrays(data, spread),
            )
            self.arrays = tensors((precomputed(model, arrays[0]), *arrays[1:]), dtype)
            self.weights = None if weights is None else ops.convert_to_tensor(weights, dtype)

    def rows_of(self, feed, index):
        """What is evaluated of each slot after epoch `index`; None for all."""
        return None if self.source is None else self.source.batch_feed(feed, index, -1)

    def batch(self, rows):
        """Inputs, responses, mask and row weights (None: all count)."""
        if rows is None:
            return (*self.arrays, self.weights)
        return self.source.batch(rows, self.source.steps - 1, None)


def evaluations_of(
    model,
    data,
    validation,
    holdout,
    source,
    dtype,
    *,
    early_stop,
    keep_best,
    summaries,
    last_batch,
    training,
):
    """What is evaluated after an epoch: test rows, rows held out, training rows."""
    evaluations = {}
    watch = early_stop.watch if early_stop else "test" if keep_best else None
    if validation is not None:
        always = watch == "test" or summaries is None
        evaluations["test"] = Evaluation(validation, model, dtype, always, training)
    if holdout is not None:
        always = watch == "holdout" or summaries is None
        evaluations["holdout"] = Evaluation(holdout, model, dtype, always, training)
    if isinstance(data, Data):
        if watch == "train":
            name = watched_rows(early_stop, last_batch)
            evaluations[name] = Evaluation(data, model, dtype, True, training)
        if summaries is not None and "train" not in evaluations and last_batch:
            evaluations["train"] = Evaluation(data, model, dtype, False, training, source)
        elif summaries is not None and "train" not in evaluations:
            rows = data.selected(segments.spread_of(model))
            chosen = np.linspace(0, len(rows) - 1, min(len(rows), SUMMARY_ROWS)).astype(int)
            picked = np.sort(rows)[chosen]
            fixed = Data(data.inputs, data.responses, data.mask, picked, data.blocks)
            evaluations["train"] = Evaluation(fixed, model, dtype, False, training)
    return evaluations


def watched_rows(early_stop, last_batch):
    """Name of the evaluation of what early stopping watches.

    All training rows stand for the summaries of the training rows as well, unless these are to be
    of the last batch.
    """
    return "watched" if early_stop.watch == "train" and last_batch else early_stop.watch


def watched_cost(early_stop, keep_best, last_batch):
    """Entry of the record by which epochs are judged."""
    if early_stop is not None:
        rows = watched_rows(early_stop, last_batch)
        return f"{rows}/{'cost_penalized' if early_stop.penalized else 'cost'}"
    return "test/cost_penalized" if keep_best else "loss"
