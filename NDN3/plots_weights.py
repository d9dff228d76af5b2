"""Plots of matrices of weights: between units, of one unit, of side networks."""

import math

import numpy as np

from NDN3 import columns, descriptions, filter_views, plots_drawing, quantities
from NDN3.dims import three_dims

STRENGTHS = "Greys"  # of what has no sign: white is zero


def plot_internal_weights(
    weights, layer_target=-1, ffnet_target=0, num_inh=None, num_inh_before=None, ax=None
):
    """Matrix of the weights between two layers, on a symmetric scale of grays.

    Parameters
    ----------
    weights : NDN3.NDN.NDN or array_like, (units before, units)
    layer_target, ffnet_target : int
        Of a model.
    num_inh, num_inh_before : int, optional
        That many units of the layer, and of the layer before, are inhibitory, the last ones; a line
        sets them apart. By default as the model says, and none for an array.
    ax : Axes, optional
        By default of a new figure.

    Returns
    -------
    Axes
        Rows are units before, columns are units.

    Raises
    ------
    ValueError
        If the weights are no matrix, or an argument does not fit.
    """
    own, before = 0, 0
    if filter_views.is_model(weights):
        network = filter_views.network_view(weights, ffnet_target)
        position = descriptions.layer_number(layer_target, network.num_layers)
        layers = [layer.keras_layer for layer in network.layers]
        own = layers[position].num_inh
        if position and network.layers[position].input_dims[1:] == [1, 1]:
            before = layers[position - 1].num_inh
        filters = filter_views.filters_in_use(network.layers[position])
        matrix = filters.reshape(-1, filters.shape[-1])
    else:
        matrix = _matrix(weights)
    own = own if num_inh is None else _count(num_inh, "num_inh")
    before = before if num_inh_before is None else _count(num_inh_before, "num_inh_before")
    if own > matrix.shape[1] or before > matrix.shape[0]:
        raise ValueError(
            f"num_inh is {own} and num_inh_before {before}; the weights have shape "
            f"{matrix.shape}, and no more units than that. Correct them."
        )
    ax = _matrix_image(ax, matrix)
    ax.set_xlabel("unit")
    ax.set_ylabel("input from unit")
    if before:
        _line(ax.axhline, matrix.shape[0] - before)
    if own:
        _line(ax.axvline, matrix.shape[1] - own)
    return ax


def plot_2dweights(weights, input_dims=None, num_inh=0, ax=None):
    """Weights of one unit as an image on a symmetric scale of grays.

    Parameters
    ----------
    weights : array_like, (rows, columns) or (C * W * H,)
    input_dims : sequence of int, optional
        [C, W, H] of a flat array, of which one is 1: [C, W, 1] is shown as channels against place,
        [1, W, H] as an image, [C, 1, H] as places against channels.
    num_inh : int
        That many rows, the last ones, come from inhibitory units; a line sets them apart.
    ax : Axes, optional
        By default of a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If this is no image, or an argument does not fit.
    """
    labels = "column", "row"
    if len(quantities.shape_of(weights)) == 1 and input_dims is not None:
        channels, width, height = three_dims(input_dims, "input_dims")
        values = _matrix(np.reshape(weights, (1, -1)))[0]
        if values.size != channels * width * height or 1 not in (channels, width, height):
            raise ValueError(
                f"weights have {values.size} entries, and input_dims {list(input_dims)} are not "
                "those of an image with as many; one of them must be 1. Correct them, or use "
                "plot_filters."
            )
        cube = values.reshape(height, width, channels)
        if height == 1:
            image, labels = cube[0].T, ("x [pixel]", "channel")
        elif channels == 1:
            image, labels = cube[:, :, 0], ("x [pixel]", "y [pixel]")
        else:
            image, labels = cube[:, 0], ("channel", "y [pixel]")
    else:
        image = _matrix(weights)
    inhibitory = _count(num_inh, "num_inh")
    if inhibitory > len(image):
        raise ValueError(
            f"num_inh is {inhibitory}; the image has {len(image)} rows, and no more can be "
            "inhibitory. Correct it."
        )
    ax = _matrix_image(ax, image)
    ax.set_xlabel(labels[0])
    ax.set_ylabel(labels[1])
    if inhibitory:
        _line(ax.axhline, len(image) - inhibitory)
    return ax


def side_network_analyze(model, ffnet_target=-1, unit=None, axes=None):
    """What a side network takes from each layer of the network that it reads.

    Parameters
    ----------
    model : NDN3.NDN.NDN
    ffnet_target : int
        A side network.
    unit : int, optional
        Show the weights of this unit of its first layer on a symmetric scale: one image for each
        channel, side by side in rows, the first one upper left. By default the strengths of all
        units: norms over pixels, channels against units.
    axes : sequence of Axes, optional
        One for each level, which is each layer that is read; by default a new figure.

    Returns
    -------
    ndarray of Axes, (levels,)
        The title of each has its share of the sum of squares. The arrays themselves come from
        `NDN3.filter_views.side_weights`.

    Raises
    ------
    ValueError
        If it is no side network, or an argument does not fit.
    """
    levels = filter_views.side_weights(model, ffnet_target)
    if unit is not None:
        chosen = plots_drawing.chosen([unit], levels[0].shape[-1])
        levels = [level[..., chosen] for level in levels]
    squares = np.array([np.sum(np.square(level, dtype=np.float64)) for level in levels])
    shares = squares / (squares.sum() or 1.0)
    if unit is None:
        images = [np.sqrt(np.sum(np.square(level), axis=(0, 1))) for level in levels]
    else:
        images = [_mosaic(level[..., 0]) for level in levels]
    grid = plots_drawing.panels(axes, len(levels), 1, len(levels), (2.4, 2.4)).ravel()
    limit = plots_drawing.limit_of(*map(np.nan_to_num, images))
    for number, (ax, image, share) in enumerate(zip(grid, images, shares, strict=True)):
        if unit is None:
            drawn = ax.imshow(
                image, cmap=STRENGTHS, vmin=0, vmax=limit, aspect="auto", interpolation="nearest"
            )
            for axis in (ax.xaxis, ax.yaxis):
                axis.get_major_locator().set_params(integer=True)
            ax.set_xlabel("unit")
        else:
            drawn = plots_drawing.gray_image(ax, image, limit)
            plots_drawing.without_ticks(ax)
        ax.set_title(f"layer {number}: {100 * share:.0f} %", fontsize=10)
    grid[0].set_ylabel("channel" if unit is None else f"unit {unit}, channels row by row")
    if axes is None:
        label = "strength (norm over pixels)" if unit is None else "weight"
        plots_drawing.color_bar(grid, drawn, label)
    return grid


def _mosaic(level):
    """Images (H, W, C) side by side in rows, with NaN between them, which is not drawn."""
    height, width, count = level.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    framed = np.full((height + 1, width + 1, rows * columns), np.nan)
    framed[:height, :width, :count] = level
    tiles = framed.reshape(height + 1, width + 1, rows, columns).transpose(2, 0, 3, 1)
    return tiles.reshape(rows * (height + 1), columns * (width + 1))[:-1, :-1]


def _matrix(weights):
    found = columns.numbers(weights, "weights")
    if found.ndim != 2 or found.size == 0 or found.dtype.kind not in "biuf":
        raise ValueError(
            f"weights are an array of {found.dtype} of shape {found.shape}; they must be a matrix "
            "of numbers. Reshape them, or give input_dims where a plot takes them."
        )
    quantities.finite(found, "weights")
    return found


def _matrix_image(given, matrix):
    """Axis with an image, and in a new figure a scale beside it."""
    ax = plots_drawing.one_axis(given, (4.5, 3.8))
    image = plots_drawing.gray_image(ax, matrix, plots_drawing.limit_of(matrix), "auto")
    for axis in (ax.xaxis, ax.yaxis):
        axis.get_major_locator().set_params(integer=True)
    if given is None:
        plots_drawing.color_bar(ax, image, "weight")
    return ax


def _count(value, name):
    return quantities.whole(value, name, 0)


def _line(draw, first):
    """Line before the first inhibitory unit."""
    draw(first - 0.5, color=plots_drawing.POSITIVE, linewidth=1.2, linestyle="--")
