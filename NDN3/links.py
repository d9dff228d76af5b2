"""Inverses of the activation functions, in NumPy: which input gives a wanted output."""

import numpy as np

from NDN3 import suggestions

# Outputs are kept so far inside what an activation function can give
MARGIN = 1e-6


def _above_zero(outputs):
    return np.maximum(outputs, MARGIN)


def _inverse_softplus(outputs):
    outputs = _above_zero(outputs)
    return outputs + np.log(-np.expm1(-outputs))


def _inverse_sigmoid(outputs):
    outputs = np.clip(outputs, MARGIN, 1 - MARGIN)
    return np.log(outputs) - np.log1p(-outputs)


def _inverse_elu(outputs):
    return np.where(outputs > 0, outputs, np.log1p(np.clip(outputs, MARGIN - 1, 0)))


INVERSES = {
    "lin": np.asarray,
    "identity": np.asarray,
    "relu": lambda outputs: np.maximum(outputs, 0),
    "leaky_relu": lambda outputs: np.where(outputs > 0, outputs, outputs / 0.1),
    "softplus": _inverse_softplus,
    "exp": lambda outputs: np.log(_above_zero(outputs)),
    "sigmoid": _inverse_sigmoid,
    "tanh": lambda outputs: np.arctanh(np.clip(outputs, MARGIN - 1, 1 - MARGIN)),
    "quad": lambda outputs: np.sqrt(np.maximum(outputs, 0)),
    "requ": lambda outputs: np.sqrt(np.maximum(outputs, 0)),
    "elu": _inverse_elu,
}


def inverse(name, outputs):
    """Input of an activation function that gives an output.

    Parameters
    ----------
    name : str
        A name of `NDN3.activations.ACTIVATIONS`.
    outputs : ndarray
        Those that the function never gives are taken for the nearest that it does.

    Returns
    -------
    ndarray
        Of the same shape.

    Raises
    ------
    ValueError
        If there is no such function.
    """
    known = suggestions.known(name, INVERSES, "activation function with an inverse")
    return INVERSES[known](np.asarray(outputs, dtype=float))


def biases_for(layer, outputs, activation=None):
    """Biases with which a layer whose weights add nothing gives some outputs.

    Parameters
    ----------
    layer : NDN3.layers.base.NDNLayer
    outputs : ndarray, (prod(output_dims),)
        Of inhibitory units their absolute values.
    activation : str, optional
        In place of that of the layer.

    Returns
    -------
    ndarray
        Of the shape of the biases. A bias that serves several pixels gets the mean of what they
        need.

    Raises
    ------
    ValueError
        If the biases are not one for each unit.
    """
    shape = layer.biases_shape()
    units = int(np.prod(shape))
    if units != layer.n_units or len(outputs) % units:
        raise ValueError(
            f"the biases of {layer.name}, a {layer.layer_type} layer, have shape {shape} for "
            f"{len(outputs)} outputs; they must be one for each unit. Set them by hand."
        )
    needed = inverse(activation or layer.activation, outputs)
    return needed.reshape(-1, units).mean(axis=0).reshape(shape)
