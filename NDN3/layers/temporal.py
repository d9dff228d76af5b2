"""Filters along time: the rows of a batch follow each other, and before the first there is zero.

The number of lags L of a filter is `filter_width` (`conv_filter_widths` of a description), or the
number of rows of its `temporal_basis`. Lag l of row t is row t - dilation * l.
"""

import math

import keras
import numpy as np
from keras import ops

from NDN3 import quantities, suggestions, time_axis
from NDN3.layers.base import NDNLayer
from NDN3.tents import tent_basis_generate

# Penalties that mean something for filters with lags and no pixels
PENALTIES = ("l1", "l2", "d2t", "max", "norm2", "orth")
BASIS_KEYS = ("num_params", "doubling_time")


class AlongTime(NDNLayer):
    """What filters along time share.

    Parameters
    ----------
    units : int, optional
        See the layers.
    filter_width : int, optional
        Number of lags; it may be left out where `temporal_basis` tells it.
    dilation : int
        Rows from one lag to the next.
    temporal_basis : array_like, (lags, parameters), or dict, optional
        Filters are basis · weights. A dict {"num_params": int, "doubling_time": int} stands for
        tent functions whose spacing doubles (`NDN3.tents.tent_basis_generate`).
    **kwargs
        As in `NDNLayer`. Constraints, normalization and penalties apply to the weights, which with
        a basis are its coefficients. Biases are added only if the activation is not "lin": with
        "lin" they are not trained and change nothing.

    Raises
    ------
    ValueError
        If neither the number of lags nor a basis is given, or they do not agree.
    """

    penalty_names = PENALTIES
    options = ("filter_width", "dilation", "temporal_basis")

    def __init__(self, units=None, filter_width=None, dilation=1, temporal_basis=None, **kwargs):
        self.filter_width = filter_width
        self.dilation = dilation
        self.temporal_basis = temporal_basis
        super().__init__(units, **kwargs)

    def check_arguments(self):
        """Refuse lags, dilations and bases that are none, or do not agree."""
        super().check_arguments()
        where = f"of a {self.layer_type} layer"
        quantities.whole(self.dilation, f"dilation {where}")
        self.basis = None
        if self.temporal_basis is not None:
            self.basis = basis_matrix(self.temporal_basis, where)
        elif self.filter_width is None:
            raise ValueError(
                f"a {self.layer_type} layer was given no number of lags; it is needed where there "
                "is no temporal_basis. Give it as conv_filter_widths (filter_width)."
            )
        if self.filter_width is not None:
            quantities.whole(self.filter_width, f"the number of lags (filter_width) {where}")
            if self.basis is not None and len(self.basis) != self.filter_width:
                raise ValueError(
                    f"filter_width {where} is {self.filter_width}, and its temporal_basis has "
                    f"{len(self.basis)} lags; both must agree. Leave filter_width out."
                )

    @property
    def lags(self):
        """Number of lags of a filter."""
        return self.filter_width if self.basis is None else len(self.basis)

    @property
    def parameters_per_filter(self):
        """Number of rows of the weights: lags, or functions of the basis."""
        return self.lags if self.basis is None else self.basis.shape[1]

    @property
    def time_spread(self):
        """Rows before a row that the layer needs for it."""
        return (self.lags - 1) * self.dilation

    @property
    def lagged_entries(self):
        """Numbers that one row becomes by its lags."""
        return math.prod(self.input_dims) * self.lags

    @property
    def has_biases(self):
        """Whether biases are added."""
        return self.activation != "lin"

    @property
    def statistics(self):
        """Arrays that are not trained."""
        return () if self.has_biases else ("biases",)

    @property
    def filter_dims(self):
        """[lags or functions of the basis, 1, 1]."""
        return [self.parameters_per_filter, 1, 1]

    def weights_shape(self):
        """One column for each filter."""
        return (self.parameters_per_filter, self.n_units)

    def kernels(self, weights):
        """Filters over lags.

        Parameters
        ----------
        weights : tensor, (parameters, filters)

        Returns
        -------
        tensor, (lags, filters)
        """
        if self.basis is None:
            return weights
        return ops.matmul(ops.convert_to_tensor(self.basis, dtype=weights.dtype), weights)

    def biased(self, inputs, weights, biases):
        """Input of the activation function, with biases where there are some."""
        found = self.transform(inputs, weights)
        return found + biases if self.has_biases else found

    def get_config(self):
        """Arguments that make the same layer again."""
        given = self.temporal_basis
        if given is not None and not isinstance(given, dict):
            given = self.basis.tolist()
        return {
            **super().get_config(),
            "filter_width": self.filter_width,
            "dilation": self.dilation,
            "temporal_basis": given,
        }


@keras.saving.register_keras_serializable("NDN3")
class Temporal(AlongTime):
    """Causal convolution along time of each input with each of F filters.

    y[t, i * F + f] = g(Σ_l k[l, f] x[t - dilation * l, i] + b_f), with the filters k the weights
    [lags, F], or basis · weights. The output has dims [C * F, W, H]; biases are [1, F]. Other
    parameters: `AlongTime`.
    """

    layer_type = "temporal"

    def check_arguments(self):
        """Refuse what is no number of filters as well."""
        super().check_arguments()
        if self.units is None:
            raise ValueError(
                "a temporal layer was given no units; they are its filters. Give a number of them."
            )

    def dims_of_output(self):
        """Channels times filters, at the pixels of the input."""
        channels, width, height = self.input_dims
        return [channels * self.n_units, width, height]

    def transform(self, inputs, weights):
        """Filtered inputs, (rows, inputs, filters)."""
        return ops.matmul(time_axis.lagged(inputs, self.lags, self.dilation), self.kernels(weights))


@keras.saving.register_keras_serializable("NDN3")
class SpatioTemporal(AlongTime):
    """Causal convolution along time of each input with a filter of its own.

    y[t, i] = g(Σ_l k[l, i] x[t - dilation * l, i] + b_i), with the filters k the weights
    [lags, N], or basis · weights, for the N inputs. `units` is ignored: the output has dims
    [N, 1, 1]. Other parameters: `AlongTime`.
    """

    layer_type = "sp_temporal"

    @property
    def n_units(self):
        """Number of inputs."""
        return math.prod(self.input_dims)

    def dims_of_output(self):
        """The inputs as channels."""
        return [self.n_units, 1, 1]

    def transform(self, inputs, weights):
        """Filtered inputs, (rows, inputs)."""
        copies = time_axis.lagged(inputs, self.lags, self.dilation)
        return ops.sum(copies * ops.transpose(self.kernels(weights)), axis=-1)


def basis_matrix(given, where):
    """Matrix of a temporal basis.

    Parameters
    ----------
    given : array_like or dict
        As in `AlongTime`.
    where : str
        For messages.

    Returns
    -------
    ndarray, (lags, parameters)

    Raises
    ------
    ValueError
        If it is no matrix of finite numbers, or the dict has other keys.
    """
    if isinstance(given, dict):
        for name in given:
            suggestions.known(name, BASIS_KEYS, "key of temporal_basis")
        if "num_params" not in given:
            raise ValueError(
                f"temporal_basis {where} is {quantities.shown(given)}; a dict must have "
                "num_params, the number of tent functions. Add it."
            )
        return np.asarray(tent_basis_generate(**given), float)
    try:
        found = np.asarray(given, float)
    except (TypeError, ValueError):  # rows of a list that differ in length, or words
        found = np.array(np.nan)
    if found.ndim != 2 or not found.size or not np.isfinite(found).all():
        raise ValueError(
            f"temporal_basis {where} is {quantities.shown(given)}; it must be a matrix (lags, "
            "parameters) of finite numbers, or a dict with num_params. Correct it."
        )
    return found
