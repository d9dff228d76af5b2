"""Plots of what the units of a model see: responses to single pixels, places in the image."""

import numpy as np
from matplotlib.patches import Ellipse

from NDN3 import filter_views, plots_drawing, quantities
from NDN3.pixel_mapping import SparseMapping


def plot_sparse_mapping(mapping, units=None, channel=0, columns=None, axes=None):
    """Responses of units to brighter and to darker single pixels.

    Parameters
    ----------
    mapping : NDN3.pixel_mapping.SparseMapping
        From `sparse_mapping`.
    units : sequence of int, optional
        All by default.
    channel : int
        Of the input.
    columns : int, optional
        Units side by side in a new figure.
    axes : sequence of Axes, optional
        Two for each unit; by default a new figure.

    Returns
    -------
    ndarray of Axes, (units, 2)
        Change of the response by a brighter (left) and a darker pixel, each unit on a symmetric
        scale of its own; white is an increase.

    Raises
    ------
    ValueError
        If this is no mapping, or an argument does not fit.
    """
    if not isinstance(mapping, SparseMapping):
        raise ValueError(
            f"mapping is a {type(mapping).__name__}; it must be what sparse_mapping(model) gives. "
            "Call it first."
        )
    height, width, channels, count = mapping.on.shape
    units = plots_drawing.chosen(units, count)
    (channel,) = quantities.rows([channel], channels, "channel")
    changes = [
        (responses - mapping.baseline)[:, :, channel][..., units]
        for responses in (mapping.on, mapping.off)
    ]
    grid = plots_drawing.panels(axes, len(units), 2, columns, (1.4, 1.5))
    for index, unit in enumerate(units):
        limit = plots_drawing.limit_of(*(change[..., index] for change in changes))
        for ax, change, sign in zip(grid[index], changes, "+−", strict=True):
            plots_drawing.gray_image(ax, change[..., index], limit)
            plots_drawing.without_ticks(ax)
            plots_drawing.title(ax, f"unit {unit}, {sign}")
    corner = plots_drawing.lower_left(grid)
    plots_drawing.label_outer(corner, (height, width), "x [pixel]", "y [pixel]")
    return grid


def plot_positions(
    source, dims=None, image=None, layer_target=-1, ffnet_target=-1, numbers=True, ax=None
):
    """Where units are in the image.

    Parameters
    ----------
    source : NDN3.NDN.NDN, NDN3.ffnetwork.LayerView or array_like
        A model, or a layer with places: `point_readout`, `gaussian_readout` or `sampler`,
        differences of Gaussians; or column and row of each unit [pixel], (units, 2), with `dims`.
        Gaussian ones have an ellipse of one standard deviation.
    dims : sequence of int, optional
        [C, W, H] of the image, of an array.
    image : array_like, (H, W), optional
        Map below the places, such as a stimulus or the variance of the features.
    layer_target, ffnet_target : int
        Of a model.
    numbers : bool
        Write the number of each unit.
    ax : Axes, optional
        By default of a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the units have no places, or an argument does not fit.
    """
    quantities.truth(numbers, "numbers")
    pixels, spreads, width, height = filter_views.places_of(
        source, dims, layer_target, ffnet_target
    )
    if image is not None:
        image = np.asarray(image)
        if image.shape != (height, width):
            raise ValueError(
                f"image has shape {image.shape}; the units look at {width} x {height} pixels, so "
                f"it must have shape {(height, width)}. Reshape it."
            )
    ax = plots_drawing.one_axis(ax, (4.5, 4.0))
    if image is not None:
        ax.imshow(image, cmap=plots_drawing.GRAYS, interpolation="nearest")
    ax.set_aspect("equal")
    ax.set_xlim(-0.5, width - 0.5)
    ax.set_ylim(height - 0.5, -0.5)
    if spreads is not None:
        for place, matrix in zip(pixels, spreads, strict=True):
            ax.add_patch(_ellipse(place, matrix))
    ax.plot(
        *pixels.T,
        "o",
        color=plots_drawing.POSITIVE,
        markersize=6,
        markeredgecolor="white",
        clip_on=False,
    )
    for unit, (x, y) in enumerate(pixels if numbers else ()):
        ax.annotate(
            str(unit),
            (x, y),
            xytext=(5, 4),
            textcoords="offset points",
            fontsize=plots_drawing.SMALL,
            bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.7},
        )
    ax.set_xlabel("x [pixel]")
    ax.set_ylabel("y [pixel]")
    return ax


def _ellipse(place, matrix):
    """One standard deviation of place + matrix · (two independent normal numbers)."""
    directions, lengths, _ = np.linalg.svd(matrix)
    return Ellipse(
        place,
        *(2 * lengths),
        angle=np.degrees(np.arctan2(directions[1, 0], directions[0, 0])),
        fill=False,
        edgecolor=plots_drawing.NEGATIVE,
        linewidth=1.2,
    )
