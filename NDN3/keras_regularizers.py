"""The penalties as a regularizer for the layers of any Keras model."""

import math

import keras
from keras import ops

from NDN3 import laplacians, regularization, suggestions
from NDN3.NDNutils import three_dims

ALLOWED = (*regularization.GENERAL, *regularization.ACTIVITY)


@keras.saving.register_keras_serializable("NDN3")
class Penalty(keras.regularizers.Regularizer):
    """Penalty on the weights, or on the output, of an ordinary Keras layer.

    Parameters
    ----------
    name : str
        A penalty on weights, one of `NDN3.regularization.GENERAL`, for `kernel_regularizer`; or on
        activity, one of `NDN3.regularization.ACTIVITY`, for `activity_regularizer`.
    strength : float or sequence of float
        One number, or one for each unit where the penalty is a sum over units.
    dims : int or sequence of int, optional
        [C, W, H] of the rows of the weights, channel fastest, then width. Without it a kernel of
        `Dense`, (n, units), is [n, 1, 1], and one of a convolution, ([H,] W, C, units), is
        [C, W, H].
    boundary : str
        What the smoothness penalties take for granted outside of a filter: "zero" or "free".
    levels : sequence of int, optional
        Channels of each level, for `max_level`.

    Raises
    ------
    ValueError
        If a name is unknown, a strength is negative, dims are not three sizes; when it is called,
        if the weights do not fit.

    Examples
    --------
    >>> keras.layers.Dense(20, kernel_regularizer=Penalty("d2x", 0.01, dims=[1, 31, 31]))
    """

    def __init__(self, name, strength, dims=None, boundary="zero", levels=None):
        self.name = suggestions.known(name, ALLOWED, "penalty")
        self.strength = regularization.checked_strength(strength, name, "a Keras layer")
        self.dims = None if dims is None else three_dims(dims, "dims")
        self.boundary = suggestions.known(boundary, laplacians.BOUNDARIES, "boundary")
        self.levels = None if levels is None else list(levels)

    def __call__(self, values):
        """Penalty times its strength.

        Parameters
        ----------
        values : tensor
            Weights, (rows, units) or ([H,] W, C, units); or outputs, (batch, …, units).

        Returns
        -------
        tensor, ()
            For outputs a sum over the batch: Keras divides it by the size of the batch.
        """
        units = values.shape[-1]
        regularization.check_length(self.name, self.strength, units, "a Keras layer")
        if self.name in regularization.ACTIVITY:
            rows = ops.cast(ops.shape(values)[0], values.dtype)
            return rows * regularization.activity_penalty(self.name, values, self.strength)
        rows = regularization.Rows(self.dims_of(values), self.boundary, self.levels)
        regularization.check_rows(self.name, rows, "a Keras layer")
        weights = ops.reshape(values, (-1, units))
        return regularization.penalty(self.name, weights, rows, self.strength)

    def dims_of(self, kernel):
        """[C, W, H] of the rows of a kernel.

        Parameters
        ----------
        kernel : tensor, (rows, units) or ([H,] W, C, units)

        Returns
        -------
        list of int

        Raises
        ------
        ValueError
            If the kernel is something else, or does not have as many rows as `dims` say.
        """
        if not 2 <= len(kernel.shape) <= 4:
            raise ValueError(
                f"the weights under {self.name} have the shape {tuple(kernel.shape)}; it takes "
                "(rows, units), (W, C, units) and (H, W, C, units). Use it for the kernel of such "
                "a layer."
            )
        found = [*reversed(kernel.shape[:-1]), 1, 1][:3]
        if self.dims is None:
            return found
        if math.prod(self.dims) != math.prod(found):
            raise ValueError(
                f"dims of {self.name} are {self.dims}, {math.prod(self.dims)} rows; the weights "
                f"have {math.prod(found)}. Give the dims of the input of the layer."
            )
        return self.dims

    def get_config(self):
        """Arguments that make the same regularizer again."""
        return {
            "name": self.name,
            "strength": self.strength,
            "dims": self.dims,
            "boundary": self.boundary,
            "levels": self.levels,
        }
