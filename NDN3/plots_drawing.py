"""What all plots of models share: colors, figures of many panels, images of weights.

Weights are shown in grays around the middle gray for zero, white for positive ones: this needs no
colors, and stays what it is in print. Lines for positive and negative ones differ in dashes too.
"""

import math

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes

from NDN3 import quantities

GRAYS = "gray"
# of the set of Okabe & Ito 2008, "Color universal design", which all can tell apart
POSITIVE, NEGATIVE = "#D55E00", "#0072B2"
LINE = "#555555"
SMALL = 8  # size of texts in panels [point]
PANEL = 1.3  # side of a small panel [inch]
# rows of panels are as many as make a figure of about this ratio of width to height
RATIO = 1.5


def one_axis(ax, size):
    """The axis that was given, or that of a new figure.

    Parameters
    ----------
    ax : matplotlib.axes.Axes or None
    size : (float, float)
        Width and height of a new figure [inch].

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If something else was given.
    """
    if ax is None:
        return pyplot.figure(figsize=size, layout="constrained").add_subplot()
    if not isinstance(ax, Axes):
        raise ValueError(
            f"ax is a {type(ax).__name__}; it must be one axis of matplotlib. Give one, or leave "
            "it out for a new figure."
        )
    return ax


def panels(axes, count, per_unit=1, columns=None, size=(PANEL, PANEL)):
    """Axes for some panels for each of some units.

    Parameters
    ----------
    axes : sequence of Axes, or None
        As many as panels; None makes a new figure.
    count : int
        Units.
    per_unit : int
        Panels of each, side by side.
    columns : int, optional
        Units side by side; by default such that the figure is a bit wider than high.
    size : (float, float)
        Width and height of a panel [inch].

    Returns
    -------
    ndarray of Axes, (count, per_unit)

    Raises
    ------
    ValueError
        If axes of another number were given.
    """
    if axes is not None:
        found = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
        if len(found) != count * per_unit or not all(isinstance(ax, Axes) for ax in found):
            raise ValueError(
                f"axes are {len(found)}, and {count * per_unit} axes of matplotlib are needed "
                f"({count} units with {per_unit} each). Give as many, or leave them out."
            )
        return found.reshape(count, per_unit)
    if columns is None:
        wanted = math.sqrt(RATIO * count * size[1] / (per_unit * size[0]))
        rows = math.ceil(count / max(1, round(wanted)))
        columns = math.ceil(count / rows)  # so that no row is almost empty
    columns = quantities.whole(columns, "columns")
    rows = math.ceil(count / columns)
    figure = pyplot.figure(
        figsize=(max(columns * per_unit * size[0] + 0.8, 3.0), max(rows * size[1] + 0.3, 1.8)),
        layout="constrained",
    )
    grid = figure.add_gridspec(rows, columns * per_unit)
    found = np.empty((count, per_unit), dtype=object)
    for unit in range(count):
        row, column = divmod(unit, columns)
        for panel in range(per_unit):
            found[unit, panel] = figure.add_subplot(grid[row, column * per_unit + panel])
    return found


def color_bar(axes, image, label):
    """Scale beside all axes of a figure that was made for them."""
    figure = np.ravel(axes)[0].figure
    bar = figure.colorbar(image, ax=list(np.ravel(axes)), shrink=0.8, aspect=25, pad=0.02)
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_linewidth(0.5)


def limit_of(*arrays):
    """Largest absolute value of all arrays, 1 where all are zero."""
    largest = max(float(np.abs(array).max()) for array in arrays)
    return largest if largest > 0 else 1.0


def gray_image(ax, values, limit, aspect="equal"):
    """Image of weights on a scale from -limit to limit.

    Parameters
    ----------
    ax : Axes
    values : ndarray, (rows, columns)
    limit : float
    aspect : {"equal", "auto"}

    Returns
    -------
    matplotlib.image.AxesImage
    """
    for spine in ax.spines.values():
        spine.set_linewidth(0.5)
    return ax.imshow(
        values,
        cmap=GRAYS,
        vmin=-limit,
        vmax=limit,
        aspect=aspect,
        interpolation="nearest",
    )


def label_outer(ax, shape, x_label, y_label):
    """Ticks at the first and last pixel, and labels, of one panel that stands for all."""
    rows, columns = shape
    ax.set_xticks(sorted({0, columns - 1}))
    ax.set_yticks(sorted({0, rows - 1}))
    ax.tick_params(labelsize=SMALL, length=2)
    ax.set_xlabel(x_label, fontsize=SMALL, labelpad=1)
    ax.set_ylabel(y_label, fontsize=SMALL, labelpad=1)


def label_curve(ax, x_label, y_label):
    """Numbers and labels of one panel of curves that stands for all."""
    ax.tick_params(labelbottom=True, labelleft=True)
    ax.set_xlabel(x_label, fontsize=SMALL)
    ax.set_ylabel(y_label, fontsize=SMALL)


def lower_left(axes):
    """The axis in the last row that is furthest to the left; it has the labels for all."""

    def place(ax):
        box = ax.get_position()
        return round(box.y0, 3), box.x0

    return min(np.ravel(axes), key=place)


def without_ticks(ax):
    """Neither ticks nor their labels."""
    ax.set_xticks([])
    ax.set_yticks([])


def title(ax, text):
    """Title of a panel."""
    ax.set_title(text, fontsize=SMALL, pad=3)


def plain(ax):
    """Axis of curves: two spines, small texts."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=SMALL, length=2)


def chosen(units, count):
    """Numbers of the units to draw; all for None."""
    return np.arange(count) if units is None else quantities.rows(units, count, "units")
