"""Start values of weights and biases, drawn in NumPy.

Values are a function of seed and architecture alone: layers in order, in each layer the weights
before the biases (difference-of-Gaussians layers draw the biases first). They are drawn with NumPy
so that they are equal under every Keras backend, and from a generator of their own so that no
global random state is read or changed.
"""

import numpy as np

from NDN3 import draws, quantities, streams, suggestions

STANDARD_DEVIATION = 0.1


def draw(name, shape, source):
    """Start values of one array.

    Parameters
    ----------
    name : str
        "normal", "trunc_normal" (half-normal), "zeros" or "ones".
    shape : tuple of int
    source : numpy.random.Generator or numpy.random.RandomState

    Returns
    -------
    ndarray, `shape`

    Raises
    ------
    ValueError
        If there is no such initializer.
    """
    suggestions.known(name, ("normal", "trunc_normal", "zeros", "ones"), "initializer")
    if name == "zeros":
        return np.zeros(shape)
    if name == "ones":
        return np.ones(shape)
    values = source.normal(size=shape, scale=STANDARD_DEVIATION)
    return np.abs(values) if name == "trunc_normal" else values


def draw_biases(name, shape, source):
    """Start values of biases: "trunc_normal" is an ordinary normal there.

    Parameters and returned value as in `draw`; "ones" is not offered.
    """
    suggestions.known(name, ("zeros", "normal", "trunc_normal"), "initializer of biases")
    return draw("normal" if name == "trunc_normal" else name, shape, source)


def checked_seed(seed):
    """Return a seed as an int.

    Raises
    ------
    ValueError
        If it is not a whole number from 0.
    """
    return quantities.whole(seed, "the seed", 0)


def start_values(model, seed, legacy=False):
    """Start values of a whole network.

    Parameters
    ----------
    model : NDN3.network_model.NetworkModel
    seed : int
    legacy : bool
        Draw from NumPy's old generator, as the original program did.

    Returns
    -------
    list of ndarray
        In the order of `model.weights`.
    """
    if legacy:  # the old generator takes 32 bits
        quantities.whole(seed, "the seed with legacy", 0, 2**32 - 1)
        source = np.random.RandomState(seed)
    else:
        source = streams.generator(seed, streams.START_VALUES)
    drawn = draws.keys(model, seed)
    for layer in model.stack:
        values = layer.start_values(source)
        drawn |= {id(layer.arrays[n]): v for n, v in zip(layer.array_names, values, strict=True)}
    # The remaining variables are counters of draws, which start at zero.
    return [
        np.asarray(drawn.get(id(variable), np.zeros(variable.shape)), dtype=variable.dtype)
        for variable in model.weights
    ]
