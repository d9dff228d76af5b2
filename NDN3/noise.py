"""Likelihoods of responses: the cost that training minimizes, and the evaluation per neuron.

A likelihood of the registry `NOISE` offers: `cost`, one value per row for the trainer, in
`keras.ops`; `evaluation`, a negative log-likelihood per neuron, in NumPy; `null`, the
log-likelihood per neuron of a model that knows only the mean response; `unit_norm`, the factors by
which the cost of each neuron is divided; and `prediction_of_mean`, the constant prediction that
fits a mean response best.

A mask is 1 where a response counts. Responses and predictions are 0 where it is 0, whatever they
were, NaN included; the number of rows by which the cost is divided still counts such entries.
"""

import numpy as np
from keras import ops

from NDN3 import quantities, suggestions

EPSILON = 1e-6
SMALLEST_RATE = 1e-8


def masked(values, mask=None):
    """Values with 0 in place of what is masked.

    Parameters
    ----------
    values : array_like, (rows, neurons)
        They may be anything, such as NaN, where the mask is 0.
    mask : array_like, (rows, neurons), optional

    Returns
    -------
    values : ndarray, (rows, neurons)
        In double precision, times the mask.
    mask : ndarray, (rows, neurons)
        Ones, if there is none.
    """
    values = np.asarray(values, dtype=float)
    if mask is None:
        return values, np.ones_like(values)
    mask = np.asarray(mask, dtype=float)
    return np.where(mask == 0, 0.0, values) * mask, mask


def mean_response(responses, mask=None):
    """Mean over the rows that the mask shows.

    Parameters
    ----------
    responses : ndarray, (rows, neurons)
    mask : ndarray, (rows, neurons), optional

    Returns
    -------
    ndarray, (neurons,)
        0 for a neuron that is masked throughout.
    """
    seen, mask = masked(responses, mask)
    return np.sum(seen, axis=0) / np.maximum(np.sum(mask, axis=0), 1)


class Poisson:
    """Spike counts: y log(p + 1e-6) - p.

    Costs are per expected spike: those of a neuron are divided by its mean response in the training
    data. Evaluations are per spike.

    Attributes
    ----------
    smallest_response, largest_response : float
        Responses that are trained on lie between them.
    unit : str
        Of the evaluations.
    """

    smallest_response = 0.0
    largest_response = np.inf
    unit = "nats"

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
        return np.maximum(np.mean(masked(responses, mask)[0], axis=0), SMALLEST_RATE)

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
        seen, _ = masked(responses, mask)
        predicted, _ = masked(predictions, mask)
        total = np.sum(predicted - seen * np.log(predicted + EPSILON), axis=0)
        return total / np.maximum(np.sum(seen, axis=0), 1)

    def null(self, responses, mask=None, legacy=False):
        """Log-likelihood per spike of the mean rate.

        Parameters
        ----------
        responses : ndarray, (rows, neurons)
        mask : ndarray, (rows, neurons), optional
        legacy : bool
            As in the original program: log(rate + 1e-6) - 1 for silent neurons, too, of which the
            mean rate explains everything.

        Returns
        -------
        ndarray, (neurons,)
            0 for a neuron that is masked throughout.
        """
        seen, mask = masked(responses, mask)
        counted, spikes = np.sum(mask, axis=0), np.sum(seen, axis=0)
        logarithm = np.log(spikes / np.maximum(counted, 1) + EPSILON)
        if legacy:
            return np.where(counted > 0, logarithm - 1, 0.0)
        return spikes * (logarithm - 1) / np.maximum(spikes, 1)

    def check_predictions(self, counted):
        """Refuse predictions that have no likelihood.

        Parameters
        ----------
        counted : ndarray, (rows, neurons)
            0 where they are masked; NaN passes.

        Raises
        ------
        ValueError
            If a rate is negative.
        """
        if np.any(counted <= -EPSILON):
            raise ValueError(
                f"predictions reach down to {np.nanmin(counted):g}; under noise_dist 'poisson' "
                "they are expected counts, 0 or more. Give the last layer an activation such as "
                "act_funcs 'softplus', or use 'gaussian'."
            )

    def prediction_of_mean(self, mean):
        """Constant prediction that fits a mean response best: the mean."""
        return mean


class Gaussian:
    """Squared errors. Evaluations are mean squares; the null model is the variance, negated."""

    smallest_response = -np.inf
    largest_response = np.inf
    unit = "squares"

    def cost(self, responses, predictions, unit_norm=None):
        """Cost of each row; parameters and returned value as in `Poisson.cost`."""
        return ops.sum(ops.square(responses - predictions), axis=-1)

    def unit_norm(self, responses, mask=None):
        """None: squared errors are not scaled."""
        return None

    def evaluation(self, responses, predictions, mask=None):
        """Mean squared error; parameters and returned value as in `Poisson.evaluation`."""
        seen, counts = masked(responses, mask)
        predicted, _ = masked(predictions, mask)
        squares = np.square(seen - predicted)
        return np.sum(squares, axis=0) / np.maximum(np.sum(counts, axis=0), 1)

    def null(self, responses, mask=None, legacy=False):
        """Negated variance; parameters and returned value as in `Poisson.null`.

        With `legacy` and a mask it is, as in the original program, the sum over all neurons.
        """
        seen, counts = masked(responses, mask)
        deviations = seen - mean_response(responses, mask) * counts
        counted = np.maximum(np.sum(counts, axis=0), 1)
        variances = np.sum(np.square(deviations), axis=0) / counted
        if legacy and mask is not None:
            variances = np.full_like(variances, np.sum(variances))
        return -variances

    def check_predictions(self, counted):
        """Every number has a likelihood; parameters as in `Poisson.check_predictions`."""

    def prediction_of_mean(self, mean):
        """Constant prediction that fits a mean response best: the mean."""
        return mean


class Bernoulli:
    """Spike or none: cross entropy of responses from 0 to 1, with predictions as log odds.

    The cost is the mean over rows and neurons. Evaluations are per spike. A masked entry is a
    response of 0 predicted by log odds of 0: it adds log 2, the same for every model, which the
    comparison with the null model takes away.
    """

    smallest_response = 0.0
    largest_response = 1.0
    unit = "nats"

    def cost(self, responses, predictions, unit_norm=None):
        """Cost of each row; parameters and returned value as in `Poisson.cost`."""
        costs = ops.relu(predictions) - predictions * responses
        # stable for large log odds of either sign
        costs = costs + ops.log1p(ops.exp(-ops.abs(predictions)))
        return ops.mean(costs, axis=-1)

    def unit_norm(self, responses, mask=None):
        """None: the cost is a mean over neurons already."""
        return None

    def evaluation(self, responses, predictions, mask=None):
        """Cross entropy per spike; parameters and returned value as in `Poisson.evaluation`."""
        seen, counts = masked(responses, mask)
        predicted, _ = masked(predictions, mask)
        entropies = np.logaddexp(0, predicted) - predicted * seen
        shown = np.any(counts != 0, axis=0)
        return np.where(shown, np.sum(entropies, axis=0) / np.maximum(np.sum(seen, axis=0), 1), 0.0)

    def null(self, responses, mask=None, legacy=False):
        """Log-likelihood per spike of the mean response: minus its entropy in each row.

        Parameters and returned value as in `Poisson.null`; a mean of 1 or more has no entropy. With
        `legacy` it is 0, because the original program had no such null model.
        """
        seen, counts = masked(responses, mask)
        if legacy:
            return np.zeros(seen.shape[1])
        counted = np.sum(counts, axis=0)
        mean = np.clip(mean_response(responses, mask), 0, 1)
        inner = np.clip(mean, np.finfo(float).tiny, 1 - np.finfo(float).eps)
        entropy = -mean * np.log(inner) - (1 - mean) * np.log1p(-inner)
        total = counted * entropy + (len(seen) - counted) * np.log(2)
        return -np.where(counted > 0, total / np.maximum(np.sum(seen, axis=0), 1), 0.0)

    def check_predictions(self, counted):
        """Every number has a likelihood; parameters as in `Poisson.check_predictions`."""

    def prediction_of_mean(self, mean):
        """Constant prediction that fits a mean response best: its log odds."""
        mean = np.clip(mean, EPSILON, 1 - EPSILON)
        return np.log(mean) - np.log1p(-mean)


NOISE = {"poisson": Poisson(), "gaussian": Gaussian(), "bernoulli": Bernoulli()}


def noise(name):
    """Likelihood by its name.

    Parameters
    ----------
    name : str
        One of `NOISE`.

    Returns
    -------
    Poisson, Gaussian or Bernoulli

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
    given : float, array_like, (neurons,), or list of them
        A list has one array for each output network.
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
        listed = isinstance(given, (list, tuple)) and {np.ndim(each) for each in given} == {1}
        norm = np.asarray(np.concatenate(given) if listed else given)
        norm = norm.astype(float) if norm.dtype.kind in "iuf" else np.array(np.nan)
    except (TypeError, ValueError):  # lists of different lengths
        norm = np.array(np.nan)
    if norm.shape not in ((), (1,), (neurons,)) or not (np.isfinite(norm) & (norm > 0)).all():
        shape = "" if norm.ndim == 0 else f" of shape {norm.shape}"
        raise ValueError(
            f"poisson_unit_norm is {quantities.shown(given)}{shape}; it must be one "
            f"positive number, or {neurons}, one for each neuron. Correct it, or leave it out."
        )
    return np.broadcast_to(norm, (neurons,)).copy()
