"""The likelihoods and the correlation for any Keras model: losses and a metric for `compile`.

Responses that are NaN do not count, as those that a mask of NDN3 hides: Keras hands no mask of
responses to a loss, so that this is the way to leave single ones out.
"""

import keras
import numpy as np
from keras import ops

from NDN3 import correlation, noise


class ResponseLoss(keras.losses.Loss):
    """Cost of responses under a likelihood, one value per row; the mean over rows by default.

    Responses and predictions have the shape (rows, neurons). Responses that are NaN do not count;
    the number of rows does not become smaller by them.

    Attributes
    ----------
    likelihood : NDN3.noise.Poisson, NDN3.noise.Gaussian or NDN3.noise.Bernoulli
    unit_norm : list of float or None
        By which the cost of each neuron is divided.
    """

    likelihood = None
    unit_norm = None

    def call(self, y_true, y_pred):
        """Cost of each row.

        Parameters
        ----------
        y_true, y_pred : tensor, (rows, neurons)

        Returns
        -------
        tensor, (rows,)
        """
        y_pred = ops.convert_to_tensor(y_pred)
        y_true = ops.cast(y_true, y_pred.dtype)
        hidden = ops.isnan(y_true)
        seen, predicted = (ops.where(hidden, 0.0, each) for each in (y_true, y_pred))
        return self.likelihood.cost(seen, predicted, self.unit_norm)


@keras.saving.register_keras_serializable("NDN3")
class PoissonLoss(ResponseLoss):
    """Sum over neurons of p - y log(p + 1e-6), for predicted rates p and spike counts y.

    Parameters
    ----------
    unit_norm : float or sequence of float, optional
        By which the cost of each neuron is divided, such as its mean response.
    name : str
    **kwargs
        Arguments of `keras.losses.Loss`.

    Raises
    ------
    ValueError
        If a norm is not a positive number.
    """

    likelihood = noise.NOISE["poisson"]

    def __init__(self, unit_norm=None, name="poisson_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        if unit_norm is not None:
            self.unit_norm = noise.checked_unit_norm(unit_norm, np.size(unit_norm)).tolist()

    def get_config(self):
        """Arguments that make the same loss again."""
        return {**super().get_config(), "unit_norm": self.unit_norm}


@keras.saving.register_keras_serializable("NDN3")
class GaussianLoss(ResponseLoss):
    """Sum over neurons of squared errors.

    Parameters
    ----------
    name : str
    **kwargs
        Arguments of `keras.losses.Loss`.
    """

    likelihood = noise.NOISE["gaussian"]

    def __init__(self, name="gaussian_loss", **kwargs):
        super().__init__(name=name, **kwargs)


@keras.saving.register_keras_serializable("NDN3")
class BernoulliLoss(ResponseLoss):
    """Mean over neurons of the cross entropy, for predicted log odds and responses from 0 to 1.

    A response that does not count adds log 2, whatever is predicted.

    Parameters
    ----------
    name : str
    **kwargs
        Arguments of `keras.losses.Loss`.
    """

    likelihood = noise.NOISE["bernoulli"]

    def __init__(self, name="bernoulli_loss", **kwargs):
        super().__init__(name=name, **kwargs)


@keras.saving.register_keras_serializable("NDN3")
class Correlation(keras.metrics.Metric):
    """Pearson correlation of each neuron over all rows of an epoch, and its mean over neurons.

    Sums are joined batch by batch around the means (Chan et al.), so that nothing cancels out.

    Parameters
    ----------
    mode : str
        What becomes of neurons without one, see `NDN3.correlation.metrics`.
    name : str
    **kwargs
        Arguments of `keras.metrics.Metric`.

    Raises
    ------
    ValueError
        If there is no such mode.

    References
    ----------
    Chan, Golub & LeVeque 1983, Am. Stat. 37(3): 242-247.
    """

    SUMS = ("count", "mean_y", "mean_p", "squares_y", "squares_p", "products")

    def __init__(self, mode="zero-NaNs", name="correlation", **kwargs):
        super().__init__(name=name, **kwargs)
        if not correlation.metrics(mode):
            raise ValueError(
                f"the mode of a correlation is None; allowed are {', '.join(correlation.MODES)}. "
                "Choose one of them."
            )
        self.mode = mode
        self.sums = None

    def _make(self, neurons):
        # like Keras' own metrics: the number of neurons is known with the first batch
        self.sums = {
            name: self.add_variable(shape=(neurons,), initializer="zeros", name=name)
            for name in self.SUMS
        }

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch.

        Parameters
        ----------
        y_true, y_pred : tensor, (rows, neurons)
            Responses that are NaN do not count.
        sample_weight : tensor, (rows,) or (rows, neurons), optional
        """
        y_pred = ops.convert_to_tensor(y_pred, dtype=self.dtype)
        y_true = ops.cast(y_true, self.dtype)
        if self.sums is None:
            self._make(y_pred.shape[-1])
        weights = ops.cast(ops.logical_not(ops.isnan(y_true)), self.dtype)
        if sample_weight is not None:
            given = ops.cast(sample_weight, self.dtype)
            weights = weights * (given[:, None] if len(given.shape) == 1 else given)
        y_true, y_pred = (ops.where(weights == 0, 0.0, each) for each in (y_true, y_pred))
        old = {name: ops.convert_to_tensor(variable) for name, variable in self.sums.items()}
        added = ops.sum(weights, axis=0)
        count = old["count"] + added
        safe = ops.where(count > 0, count, 1.0)
        means = [
            ops.sum(each * weights, axis=0) / ops.where(added > 0, added, 1.0)
            for each in (y_true, y_pred)
        ]
        inner = [each - mean for each, mean in zip((y_true, y_pred), means, strict=True)]
        apart = [means[0] - old["mean_y"], means[1] - old["mean_p"]]
        between = old["count"] * added / safe

        def joined(name, first, second):
            within = ops.sum(weights * inner[first] * inner[second], axis=0)
            return old[name] + within + apart[first] * apart[second] * between

        new = {
            "count": count,
            "mean_y": old["mean_y"] + apart[0] * added / safe,
            "mean_p": old["mean_p"] + apart[1] * added / safe,
            "squares_y": joined("squares_y", 0, 0),
            "squares_p": joined("squares_p", 1, 1),
            "products": joined("products", 0, 1),
        }
        for name, variable in self.sums.items():
            variable.assign(new[name])

    def result(self):
        """Mean over neurons.

        Returns
        -------
        tensor, ()
            0 before the first batch.
        """
        if self.sums is None:
            return ops.zeros((), dtype=self.dtype)
        sums = {name: ops.convert_to_tensor(variable) for name, variable in self.sums.items()}
        keep = ops.ones_like(sums["count"], dtype="bool")
        for part in ("y", "p"):
            squares = sums[f"squares_{part}"]
            uncentered = squares + sums["count"] * ops.square(sums[f"mean_{part}"])
            keep = keep & (squares > correlation.ROUNDING * uncentered) & ops.isfinite(squares)
        norms = [ops.sqrt(ops.where(keep, sums[name], 1.0)) for name in ("squares_y", "squares_p")]
        values = ops.where(keep, sums["products"] / (norms[0] * norms[1]), 0.0)
        if self.mode == "zero-NaNs":
            return ops.mean(values)
        if self.mode == "filter-low-std-gold":
            variance = sums["squares_y"] / ops.maximum(sums["count"], 1.0)
            keep = keep & (variance > correlation.LOW_DEVIATION**2)
        kept = ops.cast(keep, values.dtype)
        return ops.sum(values * kept) / ops.maximum(ops.sum(kept), 1.0)

    def get_config(self):
        """Arguments that make the same metric again."""
        return {**super().get_config(), "mode": self.mode}
