"""Plots of filters: in space, in space and time, separable ones."""

import numpy as np

from NDN3 import filter_views, plots_drawing, quantities

CURVE_PANEL = (1.9, 1.3)  # width and height [inch]
LONGEST_RATIO = 2.5  # of the sides of an image; the pixels of longer ones are not square


def plot_filters(
    filters,
    dims=None,
    layer_target=0,
    ffnet_target=0,
    units=None,
    common_scale=True,
    columns=None,
    axes=None,
):
    """Grid of filters on one symmetric scale of grays, zero in the middle.

    Filters [1, W, H] are images, [lags, W, 1] images of lag against space, and those with one
    dimension curves. [C, W, H] have one image for each channel or lag, in one line.

    Parameters
    ----------
    filters : NDN3.NDN.NDN, NDN3.ffnetwork.LayerView or array_like
        A model, one of its layers, or an array as in `NDN3.filter_views.shaped_filters`.
    dims : sequence of int, optional
        [C, W, H] of a filter, of a flat array.
    layer_target, ffnet_target : int
        Of a model.
    units : sequence of int, optional
        Filters to show; all by default.
    common_scale : bool
        One scale for all; otherwise each filter is shown on a scale of its own.
    columns : int, optional
        Filters side by side in a new figure.
    axes : sequence of Axes, optional
        As many as images; by default a new figure.

    Returns
    -------
    ndarray of Axes, (units, images of each)

    Raises
    ------
    ValueError
        If these are no filters, or an argument does not fit.
    """
    quantities.truth(common_scale, "common_scale")
    filters = filter_views.shaped_filters(filters, dims, layer_target, ffnet_target)
    height, width, channels, count = filters.shape
    units = plots_drawing.chosen(units, count)
    filters = filters[..., units]
    curves = sum(size > 1 for size in (height, width, channels)) <= 1
    space_time = height == 1 and channels > 1 and width > 1
    images = channels if height > 1 and channels > 1 else 1
    rows = channels if space_time else height
    stretched = space_time or not 1 / LONGEST_RATIO <= rows / width <= LONGEST_RATIO
    if images > 1 and columns is None:
        columns = 1
    size = CURVE_PANEL if curves else _panel_size(rows, width)
    grid = plots_drawing.panels(axes, len(units), images, columns, size)
    limit = plots_drawing.limit_of(filters)
    for index, unit in enumerate(units):
        own = filters[..., index]
        scale = limit if common_scale else plots_drawing.limit_of(own)
        if curves:
            _draw_curve(grid[index, 0], own.ravel(), scale)
            plots_drawing.title(grid[index, 0], f"unit {unit}")
            continue
        for channel in range(images):
            ax = grid[index, channel]
            shown = own[0].T if space_time else own[:, :, channel]
            drawn = plots_drawing.gray_image(ax, shown, scale, "auto" if stretched else "equal")
            plots_drawing.without_ticks(ax)
            text = f"unit {unit}" + (f", channel {channel}" if images > 1 else "")
            plots_drawing.title(ax, text)
    corner = plots_drawing.lower_left(grid)
    if curves:
        names = ((height, "y [pixel]"), (width, "x [pixel]"), (channels, "channel or lag"))
        label = next((name for size, name in names if size > 1), "channel or lag")
        plots_drawing.label_curve(corner, label, "weight")
        return grid
    y_label = "lag [row]" if space_time else "y [pixel]"
    plots_drawing.label_outer(corner, shown.shape, "x [pixel]", y_label)
    if axes is None and common_scale:
        plots_drawing.color_bar(grid, drawn, "weight")
    return grid


def plot_3dfilters(
    filters,
    dims=None,
    layer_target=0,
    ffnet_target=0,
    units=None,
    lag_ms=None,
    columns=None,
    axes=None,
):
    """Filters in space and time: the image at the best lag, and the course of two pixels.

    The best lag has the largest sum of squares. Of its image the largest weight (triangle up, solid
    line) and the smallest one (triangle down, dashed line) are followed over all lags.

    Parameters
    ----------
    filters, dims, layer_target, ffnet_target
        As in `plot_filters`; the channels are lags.
    units : sequence of int, optional
        Filters to show; all by default.
    lag_ms : float, optional
        Duration of a lag [ms], for the axis of time; by default it counts lags.
    columns : int, optional
        Filters side by side in a new figure.
    axes : sequence of Axes, optional
        Two for each filter; by default a new figure.

    Returns
    -------
    ndarray of Axes, (units, 2)
        Image and course.

    Raises
    ------
    ValueError
        If the filters have one lag or one pixel only, or an argument does not fit.
    """
    filters = filter_views.shaped_filters(filters, dims, layer_target, ffnet_target)
    height, width, lags, count = filters.shape
    if lags == 1 or height * width == 1:
        raise ValueError(
            f"filters have dims {[lags, width, height]}; a course in time needs two lags or more, "
            "and an image two pixels or more. Use plot_filters."
        )
    step = 1.0
    if lag_ms is not None:
        step = quantities.real(lag_ms, "lag_ms", lambda x: 0 < x < np.inf, "a number above 0")
    units = plots_drawing.chosen(units, count)
    filters = filters[..., units]
    best = filter_views.best_lags(filters)
    limit = plots_drawing.limit_of(filters)
    grid = plots_drawing.panels(axes, len(units), 2, columns, (1.6, 1.4))
    times = step * np.arange(lags)
    for index, unit in enumerate(units):
        image, course = grid[index]
        lag = best.lags[index]
        plots_drawing.gray_image(image, filters[:, :, lag, index], limit)
        plots_drawing.without_ticks(image)
        unit_name = f"lag {lag}" if lag_ms is None else f"{step * lag:g} ms"
        plots_drawing.title(image, f"unit {unit}, {unit_name}")
        course.axhline(0, color=plots_drawing.LINE, linewidth=0.5)
        course.axvline(times[lag], color=plots_drawing.LINE, linewidth=0.5, linestyle=":")
        for place, marker, color, line in (
            (best.positive[index], "^", plots_drawing.POSITIVE, "-"),
            (best.negative[index], "v", plots_drawing.NEGATIVE, "--"),
        ):
            x, y = place
            image.plot(x, y, marker, color=color, markersize=5, markeredgecolor="white")
            course.plot(times, filters[y, x, :, index], line, color=color, linewidth=1.5)
        course.set_ylim(-1.05 * limit, 1.05 * limit)
        course.tick_params(labelbottom=False, labelleft=False)
        plots_drawing.plain(course)
    corner = plots_drawing.lower_left(grid[:, 0])
    plots_drawing.label_outer(corner, (height, width), "x [pixel]", "y [pixel]")
    corner = plots_drawing.lower_left(grid[:, 1])
    plots_drawing.label_curve(corner, "lag" if lag_ms is None else "lag [ms]", "weight")
    return grid


def plot_masks(source, layer_target=-1, ffnet_target=-1, units=None, columns=None, axes=None):
    """Features and masks of separable weights: which channels, and where.

    Parameters
    ----------
    source : NDN3.NDN.NDN or NDN3.ffnetwork.LayerView
        A model with a layer of type sep, hadi_readout or convsep, or this layer.
    layer_target, ffnet_target : int
        Of a model.
    units : sequence of int, optional
        Units to show; all by default.
    columns : int, optional
        Units side by side in a new figure.
    axes : sequence of Axes, optional
        Two for each unit; by default a new figure.

    Returns
    -------
    ndarray of Axes, (units, 2)
        Features as bars, those of one scale for all units, and the mask, each on a symmetric scale
        of its own: where features carry the size of the weights, that of a mask says little.

    Raises
    ------
    ValueError
        If the layer is not separable, or an argument does not fit.
    """
    view = filter_views.layer_view(source, layer_target, ffnet_target)
    features, masks = filter_views.separable_parts(view)
    units = plots_drawing.chosen(units, features.shape[1])
    features, masks = features[:, units], masks[..., units]
    grid = plots_drawing.panels(axes, len(units), 2, columns, (1.5, 1.4))
    limit = plots_drawing.limit_of(features)
    channels = np.arange(len(features))
    for index, unit in enumerate(units):
        bars, image = grid[index]
        values = features[:, index]
        shades = np.where(values < 0, plots_drawing.NEGATIVE, plots_drawing.POSITIVE)
        bars.bar(channels, values, color=shades)
        bars.axhline(0, color=plots_drawing.LINE, linewidth=0.5)
        bars.set_ylim(-1.05 * limit, 1.05 * limit)
        bars.xaxis.get_major_locator().set_params(integer=True, nbins=3)
        bars.tick_params(labelbottom=False, labelleft=False)
        plots_drawing.plain(bars)
        plots_drawing.title(bars, f"unit {unit}")
        mask = masks[..., index]
        plots_drawing.gray_image(image, mask, plots_drawing.limit_of(mask))
        plots_drawing.without_ticks(image)
        plots_drawing.title(image, f"mask {unit}")
    corner = plots_drawing.lower_left(grid[:, 0])
    plots_drawing.label_curve(corner, "channel", "feature")
    corner = plots_drawing.lower_left(grid[:, 1])
    plots_drawing.label_outer(corner, masks.shape[:2], "x [pixel]", "y [pixel]")
    return grid


def _draw_curve(ax, values, limit):
    ax.axhline(0, color=plots_drawing.LINE, linewidth=0.5)
    ax.plot(values, ".-", color="black", linewidth=1, markersize=3)
    ax.set_ylim(-1.05 * limit, 1.05 * limit)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.tick_params(labelbottom=False, labelleft=False)
    plots_drawing.plain(ax)


def _panel_size(rows, columns):
    """Width and height [inch] for an image; the longer side is a panel wide."""
    ratio = np.clip(rows / columns, 1 / LONGEST_RATIO, LONGEST_RATIO)
    side = plots_drawing.PANEL
    return (side, side * ratio + 0.2) if ratio <= 1 else (side / ratio, side + 0.2)
