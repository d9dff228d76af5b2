"""Likelihoods of responses: the cost that training minimizes, and the evaluation per neuron.

A likelihood of the registry `NOISE` offers four things: `cost`, one value per row for the trainer,
in `keras.ops`; `evaluation`, a negative log-likelihood per neuron, in NumPy; `null`, the
log-likelihood per neuron of a model that knows only the mean rate; and `unit_norm`, the factors by
which the cost of each neuron is divided.

A mask is 1 where a response counts. Responses and predictions are multiplied by it, so that a
masked entry costs nothing; the number of rows by which the cost is divided still counts it.
"""

import numpy as np
from keras import ops

from NDN3 import suggestions

EPSILON = 1e-6
SMALLEST_RATE = 1e-8


def _masked(responses, mask):
    responses = np.asarray(responses, dtype=float)
    return responses, np.ones_like(responses) if mask is None else np.asarray(mask, dtype=float)


class Poisson:
    """Spike counts: y log(p + 1e-6) - p.

    Costs are per expected spike: those of a neuron are divided by its mean response in the training
    data. Evaluations are in nats per spike.

    Attributes
    ----------
    smallest_response : float
        Responses are not below it.
    """

    smallest_response = 0.0

    def cost(self, responses, predictions, unit_norm=None):
        """Cost of each row.

        Parameters
        ----------
        responses, predictions : tensor, (rows, neurons)
        unit_norm : ndarray, (neurons,), optional

        Returns
        -------
        tensor, (rows,)
        """
        costs = predictions - responses * ops.log(predictions + EPSILON)
        if unit_norm is not None:
            costs = costs / ops.convert_to_tensor(unit_norm, dtype=costs.dtype)
        return ops.sum(costs, axis=-1)

    def unit_norm(self, responses, mask=None):
        """Mean response of each neuron over all rows, masked ones as zeros.

        Parameters
        ----------
        responses : ndarray, (rows, neurons)
        mask : ndarray, (rows, neurons), optional

        Returns
        -------
        ndarray, (neurons,)
        """
        responses, mask = _masked(responses, mask)
        return np.maximum(np.mean(responses * mask, axis=0), SMALLEST_RATE)

    def evaluation(self, responses, predictions, mask=None):
        """Negative log-likelihood per spike.

        Parameters
        ----------
        responses, predictions : ndarray, (rows, neurons)
        mask : ndarray, (rows, neurons), optional

        Returns
        -------
        ndarray, (neurons,)
            0 for a neuron that is masked throughout.
        """
        responses, mask = _masked(responses, mask)
        seen, predicted = responses * mask, predictions * mask
        total = np.sum(predicted - seen * np.log(predicted + EPSILON), axis=0)
        return total / np.maximum(np.sum(seen, axis=0), 1)

    def null(self, responses, mask=None):
        """Log-likelihood per spike of the mean rate.

        Parameters
        ----------
        responses : ndarray, (rows, neurons)
        mask : ndarray, (rows, neurons), optional

        Returns
        -------
        ndarray, (neurons,)
            0 for a neuron that is masked throughout.
        """
        responses, mask = _masked(responses, mask)
        counted = np.sum(mask, axis=0)
        rate = np.sum(responses * mask, axis=0) / np.maximum(counted, 1)
        return np.where(counted > 0, np.log(rate + EPSILON) - 1, 0.0)


class Gaussian:
    """Squared errors. Evaluations are mean squares; the null model is the variance, negated."""

    smallest_response = -np.inf

    def cost(self, responses, predictions, unit_norm=None):
        """Cost of each row; parameters and returned value as in `Poisson.cost`."""
        return ops.sum(ops.square(responses - predictions), axis=-1)

    def unit_norm(self, responses, mask=None):
        """None: squared errors are not scaled."""
        return None

    def evaluation(self, responses, predictions, mask=None):
        """Mean squared error; parameters and returned value as in `Poisson.evaluation`."""
        responses, mask = _masked(responses, mask)
        squares = np.square((responses - predictions) * mask)
        return np.sum(squares, axis=0) / np.maximum(np.sum(mask, axis=0), 1)

    def null(self, responses, mask=None):
        """Negated variance; parameters and returned value as in `Poisson.null`."""
        responses, mask = _masked(responses, mask)
        counted = np.maximum(np.sum(mask, axis=0), 1)
        mean = np.sum(responses * mask, axis=0) / counted
        return -np.sum(np.square((responses - mean) * mask), axis=0) / counted


NOISE = {"poisson": Poisson(), "gaussian": Gaussian()}


def noise(name):
    """Likelihood by its name.

    Parameters
    ----------
    name : str
        One of `NOISE`.

    Returns
    -------
    Poisson or Gaussian

    Raises
    ------
    ValueError
        If there is no such likelihood.
    """
    return NOISE[suggestions.known(name, NOISE, "noise_dist")]


def checked_unit_norm(given, neurons):
    """Factors of the cost that a user gives, one for each neuron.

    Parameters
    ----------
    given : float or array_like, (neurons,)
    neurons : int

    Returns
    -------
    ndarray, (neurons,)

    Raises
    ------
    ValueError
        If they are not positive numbers, or not as many.
    """
    try:
        norm = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        norm = np.array(np.nan)
    if norm.shape not in ((), (1,), (neurons,)) or not (np.isfinite(norm) & (norm > 0)).all():
        shown = (
            repr(given) if norm.ndim == 0 else f"an array of shape {norm.shape}, {str(given):.60}"
        )
        raise ValueError(
            f"poisson_unit_norm is {shown}; it must be one positive number, or {neurons}, one for "
            "each neuron. Correct it, or leave it out."
        )
    return np.broadcast_to(norm, (neurons,)).copy()
