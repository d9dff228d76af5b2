"""Responses of a model's units to single pixels, brighter or darker than the rest of the image."""

import math
from typing import NamedTuple

import numpy as np

from NDN3 import filter_views, quantities

PIXELS_PER_CALL = 512


class SparseMapping(NamedTuple):
    """What units answer to single pixels.

    Attributes
    ----------
    on, off : ndarray, (H, W, C, units)
        Responses where one entry of the input is higher, or lower, than all others.
    baseline : ndarray, (units,)
        Responses to the input without any such pixel.
    """

    on: np.ndarray
    off: np.ndarray
    baseline: np.ndarray


def sparse_mapping(
    model,
    layer_target=-1,
    ffnet_target=-1,
    size=1.0,
    background=0.0,
    stream=0,
    pre_activation=False,
):
    """Map receptive fields with single pixels.

    For a linear unit `on - baseline` is `size` times its weights, and `off - baseline` the
    negative of that; where the two differ otherwise, the unit is not linear (a complex cell answers
    both alike).

    Parameters
    ----------
    model : NDN3.NDN.NDN
    layer_target, ffnet_target : int
        Of the units.
    size : float
        Difference of the pixel from the background, in units of the stimulus; above 0.
    background : float
        All other entries of all inputs.
    stream : int
        External input that has the pixel.
    pre_activation : bool
        Map what goes into the activation function.

    Returns
    -------
    SparseMapping

    Raises
    ------
    ValueError
        If an argument does not fit, or the model works along time, where what one row gives depends
        on others.
    """
    filter_views.network_view(model, ffnet_target)
    quantities.truth(pre_activation, "pre_activation")
    size = quantities.real(size, "size", lambda x: 0 < x < math.inf, "a finite number above 0")
    background = quantities.real(background, "background")
    if model.keras_model.time_spread:
        raise ValueError(
            f"the model needs {model.keras_model.time_spread} rows before each row; single pixels "
            "are shown to models that see each row alone. Give the lags as channels of the input "
            "(create_time_embedding)."
        )
    streams = model.keras_model.composition.streams
    if not quantities.is_whole(stream) or not 0 <= stream < len(streams):
        raise ValueError(
            f"stream is {quantities.shown(stream)}; the model has {len(streams)} external "
            f"inputs, so it must be a number from 0 to {len(streams) - 1}. Correct it."
        )
    channels, width, height = streams[stream]
    features = channels * width * height

    def responses(offsets):
        """To inputs that differ from the background by offsets, (rows, features)."""
        inputs = [np.full((len(offsets), math.prod(dims)), background) for dims in streams]
        inputs[stream] += offsets
        return model.generate_prediction(
            inputs[0] if len(inputs) == 1 else inputs,
            ffnet_target=ffnet_target,
            layer_target=layer_target,
            pre_activation=pre_activation,
        )

    found = {1: [], -1: []}
    for start in range(0, features, PIXELS_PER_CALL):
        count = min(PIXELS_PER_CALL, features - start)
        pixels = size * np.eye(count, features, start)
        for sign, parts in found.items():
            parts.append(responses(sign * pixels))
    on, off = (
        np.concatenate(parts).reshape(height, width, channels, -1) for parts in found.values()
    )
    return SparseMapping(on, off, responses(np.zeros((1, features)))[0])
