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


@ops.custom_gradient
def softplus(x):
    """Logarithm of 1 + exp(x), in its stable form.

    Value and gradient share one exponential, which makes the compiled step of a small network some
    percent faster than with Keras' own.
    """
    exponential = ops.exp(-ops.abs(x))

    def gradient(*upstream_and_rest, upstream=None):
        if upstream is None:  # TensorFlow hands it over by position, JAX by name
            (upstream,) = upstream_and_rest
        share = 1 / (1 + exponential)
        return upstream * ops.where(x >= 0, share, exponential * share)

    return ops.maximum(x, 0) + ops.log1p(exponential), gradient


ACTIVATIONS = {
    "lin": linear,
    "identity": linear,
    "relu": ops.relu,
    "leaky_relu": leaky_relu,
    "softplus": softplus,
    "exp": ops.exp,
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "quad": ops.square,
    "requ": rectified_square,
    "elu": ops.elu,
}

# Those whose outputs can be negative
SIGNED = ("lin", "identity", "leaky_relu", "tanh", "elu")


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
