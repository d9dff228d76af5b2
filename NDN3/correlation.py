"""Pearson correlation of each neuron, and its mean over neurons.

Written in `keras.ops`, so that the trainer can compute it inside its compiled program; NumPy arrays
are taken too. A correlation is undefined where response or prediction is constant.
"""

from keras import ops

from NDN3 import suggestions

# Below this deviation of the response the strictest mode leaves a neuron out.
LOW_DEVIATION = 1e-5
# A sum of squares below this part of the uncentered one is rounding of a constant in float32.
ROUNDING = 1e-12


def pearson(responses, predictions, mask=None):
    """Correlation of each neuron over the rows that its mask shows.

    Parameters
    ----------
    responses, predictions : tensor, (rows, neurons)
    mask : tensor, (rows, neurons), optional

    Returns
    -------
    correlation : tensor, (neurons,)
        0 where undefined.
    defined : tensor of bool, (neurons,)
    """
    predictions = ops.convert_to_tensor(predictions)
    responses = ops.cast(responses, predictions.dtype)
    responses, squares_y, constant_y = _centered(responses, mask)
    predictions, squares_p, constant_p = _centered(predictions, mask)
    # an infinite prediction has no correlation either
    defined = ops.logical_not(constant_y | constant_p) & ops.isfinite(squares_p)
    norms = ops.sqrt(ops.where(defined, squares_y, 1.0)) * ops.sqrt(
        ops.where(defined, squares_p, 1.0)
    )
    covariance = ops.sum(responses * predictions, axis=0)
    correlation = ops.where(defined, covariance / norms, 0.0)
    return correlation, defined


def _centered(values, mask):
    """Values minus their mean, their sum of squares, and whether they are constant."""
    if mask is None:
        mask = ops.ones_like(values)
    else:
        mask = ops.cast(mask, values.dtype)
        values = ops.where(mask == 0, 0.0, values)  # what is masked may be NaN
    counted = ops.maximum(ops.sum(mask, axis=0), 1.0)
    centered = (values - ops.sum(values * mask, axis=0) / counted) * mask
    squares = ops.sum(ops.square(centered), axis=0)
    constant = squares <= ROUNDING * ops.sum(ops.square(values * mask), axis=0)
    return centered, squares, constant


def _mean_with_zeros(responses, predictions, mask):
    correlation, _ = pearson(responses, predictions, mask)
    return ops.mean(correlation)


def _kept(responses, predictions, mask):
    return pearson(responses, predictions, mask)


def _kept_if_varied(responses, predictions, mask):
    correlation, defined = pearson(responses, predictions, mask)
    responses = ops.cast(responses, correlation.dtype)
    mask = ops.ones_like(responses) if mask is None else ops.cast(mask, responses.dtype)
    _, squares, _ = _centered(responses, mask)
    variance = squares / ops.maximum(ops.sum(mask, axis=0), 1.0)
    return correlation, defined & (variance > LOW_DEVIATION**2)


def _mean_of(kept):
    def mean(responses, predictions, mask):
        correlation, keep = kept(responses, predictions, mask)
        keep = ops.cast(keep, correlation.dtype)
        return ops.sum(correlation * keep) / ops.maximum(ops.sum(keep), 1.0)

    return mean


def _count_of(kept):
    def count(responses, predictions, mask):
        correlation, keep = kept(responses, predictions, mask)
        return ops.sum(ops.cast(keep, correlation.dtype))

    return count


TAG = "correlation/correlation"
COUNT_TAG = "correlation/correlation-non-filtered-out-neurons"

# mode of `log_correlation`: the metrics that it adds to the summaries, tag -> function of
# (responses, predictions, mask)
MODES = {
    "zero-NaNs": {TAG: _mean_with_zeros},
    "filter-NaNs": {TAG: _mean_of(_kept), COUNT_TAG: _count_of(_kept)},
    "filter-low-std-gold": {TAG: _mean_of(_kept_if_varied), COUNT_TAG: _count_of(_kept_if_varied)},
}


def metrics(mode):
    """Metrics of a mode of `log_correlation`.

    Parameters
    ----------
    mode : str or None
        "zero-NaNs": undefined correlations count as 0. "filter-NaNs": they are left out.
        "filter-low-std-gold": neurons whose response hardly varies are left out, too.

    Returns
    -------
    dict of callable
        Tag -> (responses, predictions, mask) -> scalar; empty for None.

    Raises
    ------
    ValueError
        If there is no such mode.
    """
    if mode is None:
        return {}
    return dict(MODES[suggestions.known(mode, MODES, "mode of log_correlation")])
