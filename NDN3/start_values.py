"""Start values of any Keras model, drawn in NumPy from a member's own stream.

Keras' initialisers draw from the framework's generators, whose numbers differ between backends.
Here the same distributions are drawn again in NumPy, so that a seed means the same start
everywhere.
"""

import keras
import numpy as np
from keras import ops

from NDN3 import streams

# Keras names a layer's initialiser after its variable, but for these
INITIALIZERS_OF = {
    "recurrent_kernel": "recurrent_initializer",
    "depthwise_kernel": "depthwise_initializer",
    "pointwise_kernel": "pointwise_initializer",
}


def draw(model, seed):
    """Start values of all variables of a model.

    Parameters
    ----------
    model : keras.Model
        Built.
    seed : int

    Returns
    -------
    list of ndarray
        In the order of `model.weights`.

    Raises
    ------
    ValueError
        If a trainable variable has an initialiser that is not known here; pass `initialize=` then.
    """
    owners = {
        id(variable): layer
        for layer in model._flatten_layers()
        for variable in layer._trainable_variables
    } | {
        id(variable): layer
        for layer in model._flatten_layers()
        for variable in layer._non_trainable_variables
    }
    generator = streams.generator(seed, streams.START_VALUES)
    values, own = [], {}
    for layer in model._flatten_layers():
        if hasattr(layer, "start_values"):  # NDN3's layers know distributions that Keras does not
            arrays = layer.start_values(generator)
            own |= {id(layer.arrays[n]): v for n, v in zip(layer.array_names, arrays, strict=True)}
    for variable in model.weights:
        if id(variable) in own:
            values.append(np.asarray(own[id(variable)], variable.dtype))
            continue
        layer = owners.get(id(variable))
        attribute = INITIALIZERS_OF.get(variable.name, f"{variable.name}_initializer")
        initializer = getattr(layer, attribute, None)
        if initializer is None and not variable.trainable:
            values.append(ops.convert_to_numpy(variable))  # counters and the like keep theirs
            continue
        values.append(drawn(initializer, variable, generator, layer))
    return values


def drawn(initializer, variable, generator, layer):
    """One variable's start values from the distribution of a Keras initialiser."""
    shape, kind = tuple(variable.shape), keras.initializers
    if isinstance(initializer, kind.Zeros):
        value = np.zeros(shape)
    elif isinstance(initializer, kind.Ones):
        value = np.ones(shape)
    elif isinstance(initializer, kind.Constant):
        value = np.broadcast_to(initializer.value, shape)
    elif isinstance(initializer, kind.RandomNormal):
        value = generator.normal(initializer.mean, initializer.stddev, shape)
    elif isinstance(initializer, kind.TruncatedNormal):
        value = initializer.mean + truncated(generator, initializer.stddev, shape)
    elif isinstance(initializer, kind.RandomUniform):
        value = generator.uniform(initializer.minval, initializer.maxval, shape)
    elif isinstance(initializer, kind.VarianceScaling):
        value = variance_scaled(initializer, generator, shape)
    elif isinstance(initializer, kind.Orthogonal):
        value = orthogonal(initializer.gain, generator, shape)
    else:
        name = type(initializer).__name__ if initializer is not None else "no known initialiser"
        raise ValueError(
            f"variable {variable.path} has {name}; start values are drawn for zeros, ones, "
            "constants, (truncated) normal, uniform, variance scaling (Glorot, He, LeCun) and "
            "orthogonal. "
            "Pass initialize=, a function of (model, seed)."
        )
    value = np.array(value, variable.dtype)
    if getattr(layer, "unit_forget_bias", False) and variable.name == "bias":
        units = shape[-1] // 4
        value[..., units : 2 * units] = 1  # the forget gate of an LSTM
    return value


def truncated(generator, deviation, shape):
    """Normal numbers, those beyond two deviations drawn again."""
    value = generator.normal(0, 1, shape)
    while (outside := np.abs(value) > 2).any():
        value[outside] = generator.normal(0, 1, outside.sum())
    return deviation * value


def variance_scaled(initializer, generator, shape):
    """Numbers whose variance is scale / fan (Glorot & Bengio 2010, He et al. 2015)."""
    receptive = int(np.prod(shape[:-2])) if len(shape) > 2 else 1
    fan_in = shape[-2] * receptive if len(shape) > 1 else shape[0] if shape else 1
    fan_out = shape[-1] * receptive if shape else 1
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    variance = initializer.scale / max(1.0, fan[initializer.mode])
    if initializer.distribution == "uniform":
        limit = np.sqrt(3 * variance)
        return generator.uniform(-limit, limit, shape)
    if initializer.distribution == "truncated_normal":
        # the factor makes up for the variance that truncation takes away
        return truncated(generator, np.sqrt(variance) / 0.87962566103423978, shape)
    return generator.normal(0, np.sqrt(variance), shape)


def orthogonal(gain, generator, shape):
    """A matrix with orthonormal rows or columns (Saxe et al. 2014)."""
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    q, r = np.linalg.qr(generator.normal(0, 1, (max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diag(r))
    return gain * (q.T if rows < columns else q).reshape(shape)
