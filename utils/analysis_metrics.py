"""How well predictions meet responses, neuron by neuron, and percentiles over repetitions.

Responses and predictions are (T, n_neurons), repeats (n_repeats, T, n_neurons). A mask has the
shape of the responses and is one where a response was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from utils import data

Array = npt.NDArray[np.float64]
EPSILON = 1e-6  # inside the logarithm of the Poisson likelihood


class Spread(NamedTuple):
    """What a learning curve shows of many repetitions, at each step."""

    top: Array
    bottom: Array
    mid: Array
    second_bottom: Array


def _arrays(
    responses: npt.ArrayLike, predictions: npt.ArrayLike, mask: npt.ArrayLike | None
) -> tuple[Array, Array, Array]:
    """Responses, predictions and mask as (T, n_neurons) of float64, or an error."""
    observed, predicted = np.asarray(responses, float), np.asarray(predictions, float)
    weights = np.ones_like(observed) if mask is None else (np.asarray(mask) == 1).astype(float)
    if observed.ndim != 2 or not observed.shape == predicted.shape == weights.shape:
        raise ValueError(
            f"responses {observed.shape}, predictions {predicted.shape} and mask {weights.shape} "
            "must all be (images, neurons) and of one shape. Cut them to the same rows and columns."
        )
    return observed, predicted, weights


def _moments(observed: Array, predicted: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Both arrays minus their masked means, zero outside the mask; number of rows per neuron.

    Constant columns become exactly zero: rounding leaves them a tiny spread, which is no signal.
    """
    rows = weights.sum(0)
    at_least_one = np.maximum(rows, 1)
    # where() and not a product: what lies outside the mask may be anything, also NaN
    observed, predicted = (np.where(weights > 0, part, 0.0) for part in (observed, predicted))
    centered = []
    for values in (observed, predicted):
        part = (values - values.sum(0) / at_least_one) * weights
        size = np.abs(values).max(0, initial=0.0)
        part[:, np.abs(part).max(0, initial=0.0) <= 1e-12 * size] = 0.0
        centered.append(part)
    return centered[0], centered[1], rows


def _ratio(above: Array, below: Array, undefined: float) -> Array:
    """Quotient, with a fixed value where the denominator is not positive or nothing is finite."""
    quotient = np.full(np.broadcast(above, below).shape, undefined)
    with np.errstate(invalid="ignore"):
        np.divide(above, below, out=quotient, where=below > 0)
    return np.where(np.isfinite(quotient), quotient, undefined)


def correlation(
    responses: npt.ArrayLike, predictions: npt.ArrayLike, mask: npt.ArrayLike | None = None
) -> Array:
    """Return Pearson's correlation per neuron over the rows of its mask.

    Parameters
    ----------
    responses, predictions : array_like, (T, n_neurons)
    mask : array_like, (T, n_neurons), optional

    Returns
    -------
    ndarray, (n_neurons,)
        Zero where it is undefined: no rows, or a constant response or prediction.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    observed, predicted, weights = _arrays(responses, predictions, mask)
    y, p, _ = _moments(observed, predicted, weights)
    below = np.sqrt((y**2).sum(0)) * np.sqrt((p**2).sum(0))
    return np.clip(_ratio((y * p).sum(0), below, 0.0), -1.0, 1.0)


def explained_variance(
    responses: npt.ArrayLike, predictions: npt.ArrayLike, mask: npt.ArrayLike | None = None
) -> Array:
    """Return 1 − Var(y − p) / Var(y) per neuron; NaN where the response is constant.

    Parameters and errors are those of :func:`correlation`.
    """
    observed, predicted, weights = _arrays(responses, predictions, mask)
    y, p, _ = _moments(observed, predicted, weights)
    return 1.0 - _ratio(((y - p) ** 2).sum(0), (y**2).sum(0), np.nan)


def null_adjusted_likelihood(
    responses: npt.ArrayLike, predictions: npt.ArrayLike, mask: npt.ArrayLike | None = None
) -> Array:
    """Return how much better than a constant rate the Poisson prediction is [nats/spike].

    Parameters and errors are those of :func:`correlation`.

    Returns
    -------
    ndarray, (n_neurons,)
        Σ[y log(p + ε) − p] / Σy minus [log(ȳ + ε) − 1]; positive is better than the constant
        mean ȳ; zero for a neuron without rows. Divide by log 2 for bits.
    """
    observed, predicted, weights = _arrays(responses, predictions, mask)
    y, p = (np.where(weights > 0, part, 0.0) for part in (observed, predicted))
    spikes, rows = y.sum(0), weights.sum(0)
    likelihood = (y * np.log(p + EPSILON) - p).sum(0) / np.maximum(spikes, 1)
    null = np.log(spikes / np.maximum(rows, 1) + EPSILON) - 1
    return np.where(rows > 0, likelihood - null, 0.0)


def noise_power(repeats: npt.ArrayLike) -> Array:
    """Return the variance over repeats, averaged over images, per neuron.

    Parameters
    ----------
    repeats : array_like, (n_repeats, T, n_neurons)

    Raises
    ------
    ValueError
        If there are fewer than two repeats.
    """
    values = np.asarray(repeats, float)
    if values.ndim != 3 or len(values) < 2:
        raise ValueError(
            f"repeats have shape {values.shape}; their noise needs (repeats, images, neurons) with "
            "two repeats at least. Record more, or leave it out."
        )
    return np.asarray(values.var(0, ddof=1).mean(0))


def cc_norm(repeats: npt.ArrayLike, predictions: npt.ArrayLike) -> Array:
    """Return the correlation with the mean over repeats as a share of what noise allows.

    Parameters
    ----------
    repeats : array_like, (n_repeats, T, n_neurons)
    predictions : array_like, (T, n_neurons)

    Returns
    -------
    ndarray, (n_neurons,)
        Correlation / :func:`utils.data.cc_max`; NaN where that is undefined. Chance can bring it
        above one.

    References
    ----------
    Schoppe et al. 2016, Front. Comput. Neurosci. 10:10.
    """
    values = np.asarray(repeats, float)
    return correlation(values.mean(0), predictions) / data.cc_max(values)


def feve(repeats: npt.ArrayLike, predictions: npt.ArrayLike) -> Array:
    """Return the fraction of the explainable variance that is explained, per neuron.

    Parameters
    ----------
    repeats : array_like, (n_repeats, T, n_neurons)
    predictions : array_like, (T, n_neurons)

    Returns
    -------
    ndarray, (n_neurons,)
        1 − (mean (y − p)² − σ²) / (Var y − σ²) over all trials, σ² the :func:`noise_power`; one for
        the true rate, zero for the mean, NaN where noise is all there is.

    References
    ----------
    Cadena et al. 2019, PLoS Comput. Biol. 15(4): e1006897.
    """
    values, predicted = np.asarray(repeats, float), np.asarray(predictions, float)
    noise = noise_power(values)
    if predicted.shape != values.shape[1:]:
        raise ValueError(
            f"predictions {predicted.shape} do not fit repeats {values.shape}; they need one row "
            "per image and one column per neuron. Cut them to the same rows and columns."
        )
    unexplained = ((values - predicted) ** 2).mean((0, 1)) - noise
    explainable = np.where(np.ptp(values, (0, 1)) > 0, values.var((0, 1)) - noise, 0.0)
    return 1.0 - _ratio(unexplained, explainable, np.nan)


def percentiles(
    values: npt.ArrayLike, points: Sequence[float] = (10, 50, 90), axis: int = 0
) -> Array:
    """Return percentiles over repetitions, interpolated linearly between order statistics.

    Parameters
    ----------
    values : array_like
        A value that is NaN (a repetition that diverged) is left out.
    points : sequence of float
        In percent.
    axis : int
        That of the repetitions.

    Returns
    -------
    ndarray, (len(points), ...)
        NaN where no value is left.
    """
    table = np.moveaxis(np.asarray(values, float), axis, 0)
    flat = table.reshape(len(table), -1)
    found = np.full((len(points), flat.shape[1]), np.nan)
    for column in range(flat.shape[1]):
        left = flat[~np.isnan(flat[:, column]), column]
        if left.size:
            found[:, column] = np.percentile(left, points)
    return found.reshape(len(points), *table.shape[1:])


def spread(values: npt.ArrayLike, median_mode: bool = True) -> Spread:
    """Return the lines and bars of a learning curve over repetitions.

    Parameters
    ----------
    values : array_like, (n_repetitions, ...)
    median_mode : bool
        Percentiles 90, 10, 50 and 25; otherwise 95, 5, 75 and 25.
    """
    points = (90, 10, 50, 25) if median_mode else (95, 5, 75, 25)
    return Spread(*percentiles(values, points))
