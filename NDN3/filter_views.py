"""What plots show of models, as arrays: filters in their shape, best lags, masks, levels, places.

Weights are those that the layer computes with: rectified and normalized. Nothing here draws.
"""

from typing import NamedTuple

import numpy as np

from NDN3 import descriptions, quantities
from NDN3.dims import three_dims


class BestLags(NamedTuple):
    """Where and when filters are strongest; one entry for each unit.

    Attributes
    ----------
    lags : ndarray of int, (units,)
        Lag with the largest sum of squares over pixels.
    positive, negative : ndarray of int, (units, 2)
        Column and row of the largest and of the smallest weight at that lag [pixel].
    """

    lags: np.ndarray
    positive: np.ndarray
    negative: np.ndarray


class Places(NamedTuple):
    """Where units are in an image.

    Attributes
    ----------
    pixels : ndarray, (units, 2)
        Column and row [pixel].
    spreads : ndarray, (units, 2, 2), or None
        Matrices A: a place is drawn as pixels + A · (two independent normal numbers) [pixel].
    width, height : int
        Of the image [pixel].
    """

    pixels: np.ndarray
    spreads: np.ndarray | None
    width: int
    height: int


def network_view(model, ffnet_target):
    """A network of a model.

    Parameters
    ----------
    model : NDN3.NDN.NDN
    ffnet_target : int

    Returns
    -------
    NDN3.ffnetwork.FFNetwork

    Raises
    ------
    ValueError
        If this is no model, or has no such network.
    """
    if not hasattr(model, "networks") or not hasattr(model, "keras_model"):
        raise ValueError(
            f"the model is a {type(model).__name__}; it must be an NDN. Give the model itself."
        )
    networks = model.networks
    return networks[descriptions.network_number(ffnet_target, len(networks))]


def layer_view(source, layer_target, ffnet_target):
    """A layer of a model, or the layer that was given.

    Parameters
    ----------
    source : NDN3.NDN.NDN or NDN3.ffnetwork.LayerView
    layer_target, ffnet_target : int
        Looked at for a model.

    Returns
    -------
    NDN3.ffnetwork.LayerView
    """
    if hasattr(source, "keras_layer"):
        return source
    network = network_view(source, ffnet_target)
    return network.layers[descriptions.layer_number(layer_target, network.num_layers)]


def is_model(source):
    """Whether filters come from a model or a layer, and not as an array."""
    return hasattr(source, "keras_layer") or hasattr(source, "networks")


def filters_in_use(layer):
    """Filters of a layer.

    Parameters
    ----------
    layer : NDN3.ffnetwork.LayerView

    Returns
    -------
    ndarray, (H, W, C, units)
        Those of differences of Gaussians are sampled, those of separable layers multiplied out, and
        those of temporal layers, whose lags are the channels, put together from their basis.

    Raises
    ------
    ValueError
        If the weights are not filters.
    """
    kind = layer.keras_layer
    weights = kind.stored(layer.weights)
    if hasattr(kind, "kernels"):
        kernels = np.asarray(kind.kernels(weights))
        if kernels.ndim == 2:  # over lags, (lags, units)
            return kernels[np.newaxis, np.newaxis]
        return np.transpose(kernels, (1, 2, 0))[:, :, np.newaxis]
    if hasattr(kind, "full"):
        weights = np.asarray(kind.full(*kind.split(weights)))
    channels, width, height = layer.filter_dims
    if len(weights) != channels * width * height:
        raise ValueError(
            f"the weights of {kind.name} (type {kind.layer_type}) have {len(weights)} rows, "
            f"filters of dims {layer.filter_dims} have {channels * width * height}; only whole "
            "filters can be shown. Choose another layer."
        )
    return weights.reshape(height, width, channels, -1)


def shaped_filters(source, dims=None, layer_target=0, ffnet_target=0):
    """Filters as an array of four axes.

    Parameters
    ----------
    source : NDN3.NDN.NDN, NDN3.ffnetwork.LayerView or array_like
        A model, a layer, or filters (H, W, C, units), (W, C, units) as `get_weights` gives them
        where H is one, or (C * W * H, units) with `dims`.
    dims : sequence of int, optional
        [C, W, H] of one filter, of a flat array.
    layer_target, ffnet_target : int
        Of a model.

    Returns
    -------
    ndarray, (H, W, C, units)

    Raises
    ------
    ValueError
        If the array is of another shape, or not finite.
    """
    if is_model(source):
        filters = filters_in_use(layer_view(source, layer_target, ffnet_target))
    else:
        filters = _numbers(source, "filters")
        if filters.ndim == 2 and dims is not None:
            channels, width, height = three_dims(dims, "dims")
            if len(filters) != channels * width * height:
                raise ValueError(
                    f"filters have {len(filters)} rows, dims {list(dims)} have "
                    f"{channels * width * height}; both must be equal. Correct dims."
                )
            filters = filters.reshape(height, width, channels, -1)
        elif filters.ndim == 3:
            filters = filters[np.newaxis]
        if filters.ndim != 4 or filters.size == 0:
            raise ValueError(
                f"filters have shape {filters.shape}; they must be (H, W, C, units), "
                "(W, C, units), or (rows, units) with dims=[C, W, H]. Reshape them."
            )
    quantities.finite(filters, "filters")
    return filters


def best_lags(filters):
    """Find the lag at which each filter is strongest, and its strongest pixels there.

    Parameters
    ----------
    filters : ndarray, (H, W, lags, units)

    Returns
    -------
    BestLags
    """
    height, width, _, count = filters.shape
    lags = np.argmax(np.sum(np.square(filters), axis=(0, 1)), axis=0)
    flat = filters[:, :, lags, np.arange(count)].reshape(height * width, count)
    places = [
        np.stack(np.divmod(index, width)[::-1], axis=1)
        for index in (flat.argmax(0), flat.argmin(0))
    ]
    return BestLags(lags, *places)


def separable_parts(layer):
    """Features and masks of a separable layer.

    Parameters
    ----------
    layer : NDN3.ffnetwork.LayerView

    Returns
    -------
    features : ndarray, (C, units)
    masks : ndarray, (H, W, units)

    Raises
    ------
    ValueError
        If the layer is not separable.
    """
    kind = layer.keras_layer
    if not hasattr(kind, "split"):
        raise ValueError(
            f"{kind.name} is of type {kind.layer_type}; only sep, convsep and hadi_readout have "
            "features and masks. Choose such a layer, or use plot_filters."
        )
    features, masks = kind.split(kind.stored(layer.weights))
    _, width, height = layer.filter_dims
    return features, masks.reshape(height, width, -1)


def side_weights(model, ffnet_target=-1):
    """Weights with which a side network reads each layer of another network.

    Parameters
    ----------
    model : NDN3.NDN.NDN
    ffnet_target : int
        A side network.

    Returns
    -------
    list of ndarray, (H, W, C, units)
        Of the first layer of the side network, for each layer that it reads.

    Raises
    ------
    ValueError
        If it is no side network, or its weights cannot be told apart by level.
    """
    network_view(model, ffnet_target)  # refuses what is no model
    networks = model.keras_model.composition.networks
    number = descriptions.network_number(ffnet_target, len(networks))
    network, sources = networks[number], networks[number].sources
    if not sources.is_side:
        raise ValueError(
            f"network {number} is no side network; only those read all layers of another one. "
            "Choose one with network_type='side'."
        )
    filters = filters_in_use(layer_view(model, 0, number))
    _, width, height = sources.dims
    one_behind_other = sources.legacy or width * height == 1
    whole = filters[..., 0].size == np.prod(sources.dims)
    if network.lags[0] > 1 or (one_behind_other and not whole):
        raise ValueError(
            f"the first layer of side network {number} reads lags, or windows of layers that lie "
            "one behind the other; its weights belong to no level. Choose another network."
        )
    channels = [part[0] for part in sources.parts]
    if not one_behind_other:
        return np.split(filters, np.cumsum(channels)[:-1], axis=2)
    flat = filters.reshape(-1, filters.shape[-1])
    sizes = [int(np.prod(part)) for part in sources.parts]
    return [
        rows.reshape(*reversed(layer.dims_of_output()), -1)
        for rows, layer in zip(
            np.split(flat, np.cumsum(sizes)[:-1]),
            networks[sources.networks[0]].layers,
            strict=True,
        )
    ]


def places_of(source, dims=None, layer_target=-1, ffnet_target=-1):
    """Where units are in an image.

    Parameters
    ----------
    source : NDN3.NDN.NDN, NDN3.ffnetwork.LayerView or array_like
        A model or a layer that has positions (`point_readout` and its relatives) or centers
        (differences of Gaussians), or column and row of each unit [pixel], (units, 2).
    dims : sequence of int, optional
        [C, W, H] of the image, of an array.
    layer_target, ffnet_target : int
        Of a model.

    Returns
    -------
    Places

    Raises
    ------
    ValueError
        If the layer has no places, or the array is not of this shape.
    """
    if not is_model(source):
        pixels = _numbers(source, "positions")
        if pixels.ndim != 2 or pixels.shape[1] != 2 or dims is None:
            raise ValueError(
                f"positions have shape {pixels.shape} and dims are {dims!r}; they must be column "
                "and row of each unit, (units, 2), in an image of dims [C, W, H]. Give both."
            )
        return Places(pixels, None, *three_dims(dims, "dims")[1:])
    layer = layer_view(source, layer_target, ffnet_target)
    kind = layer.keras_layer
    if "positions" in layer.array_names:
        width, height = layer.input_dims[1:]
        half = (np.array([width, height]) - 1) / 2
        pixels = (np.clip(layer.array("positions"), -1, 1).T + 1) * half
        spreads = None
        if "deviations" in layer.array_names:
            spreads = half[:, np.newaxis] * _matrices(layer.array("deviations"))
        return Places(pixels, spreads, width, height)
    if hasattr(kind, "centers"):
        return Places(np.asarray(kind.centers(layer.weights)), None, *layer.filter_dims[1:])
    raise ValueError(
        f"{kind.name} is of type {kind.layer_type}, whose units have no place of their own; "
        "point_readout, gaussian_readout and differences of Gaussians have. Choose another layer."
    )


def _matrices(deviations):
    """(units, 2, 2) of stored deviations: two rows are a diagonal, four a matrix row by row."""
    if len(deviations) == 2:
        return deviations.T[:, :, np.newaxis] * np.eye(2)
    return deviations.T.reshape(-1, 2, 2)


def _numbers(values, name):
    try:
        found = np.asarray(values)
    except ValueError:  # lists of different lengths
        found = np.array(None)
    if found.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} are a {type(values).__name__} of {found.dtype}; they must be an array of "
            "numbers, a model or one of its layers. Correct them."
        )
    return found.astype(np.float64) if found.dtype.kind != "f" else found
