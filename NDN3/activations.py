"""Activation functions by name."""

from keras import ops

from NDN3 import suggestions


def leaky_relu(x, slope=0.1):
    """`x` where it is positive, `slope * x` elsewhere."""
    return ops.maximum(x, slope * x)


def rectified_square(x):
    """Square of the positive part."""
    return ops.square(ops.relu(x))


def linear(x):
    """`x` itself."""
    return x


ACTIVATIONS = {
    "lin": linear,
    "identity": linear,
    "relu": ops.relu,
    "leaky_relu": leaky_relu,
    "softplus": ops.softplus,
    "exp": ops.exp,
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "quad": ops.square,
    "requ": rectified_square,
    "elu": ops.elu,
}


def activation(name):
    """Activation function by its name.

    Parameters
    ----------
    name : str
        One of `ACTIVATIONS`.

    Returns
    -------
    callable

    Raises
    ------
    ValueError
        If there is no such activation.
    """
    return ACTIVATIONS[suggestions.known(name, ACTIVATIONS, "activation function")]
