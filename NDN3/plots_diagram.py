"""Diagram of a model: networks, their layers, sizes, and who reads whom."""

from typing import NamedTuple

from matplotlib.patches import FancyBboxPatch

from NDN3 import filter_views, plots_drawing

# one network is a column of boxes; lengths are in units of the plot
WIDTH, HEIGHT = 3.2, 1.0
COLUMN, ROW = 4.6, 1.6
INCH = 0.62  # of such a unit
FILLS = {"input": "#FFFFFF", "layer": "#E8E8E8", "side": "#CFE2F0"}


class Box(NamedTuple):
    """A box of the diagram.

    Attributes
    ----------
    x, y : float
        Center.
    text : str
    kind : str
        Of `FILLS`.
    gives : bool
        Whether this is a part of what the model gives.
    """

    x: float
    y: float
    text: str
    kind: str
    gives: bool


def display_model(model, ax=None):
    """Diagram of a model.

    External inputs are at the bottom, and each network is a column: its layers from below with
    type, number of units, activation, and the dims [C, W, H] of what they give; net0L1 is layer 1
    of network 0. What the model gives comes from layers with a thick border. Solid arrows lead to
    what reads; dashed ones to a side network, from each layer that it reads.

    Parameters
    ----------
    model : NDN3.NDN.NDN
    ax : Axes, optional
        By default of a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If this is no model.
    """
    boxes, arrows = layout(model)
    xs, ys = ([box[axis] for box in boxes.values()] for axis in (0, 1))
    left, right = min(xs) - 0.6 * WIDTH, max(xs) + 0.6 * WIDTH
    low, high = min(ys) - 0.7 * HEIGHT, max(ys) + 0.7 * HEIGHT
    ax = plots_drawing.one_axis(ax, ((right - left) * INCH, (high - low) * INCH))
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.set_xlim(left, right)
    ax.set_ylim(low, high)
    for box in boxes.values():
        ax.add_patch(
            FancyBboxPatch(
                (box.x - WIDTH / 2, box.y - HEIGHT / 2),
                WIDTH,
                HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.15",
                facecolor=FILLS[box.kind],
                edgecolor="black",
                linewidth=2.4 if box.gives else 0.8,
                linestyle=":" if box.kind == "input" else "-",
            )
        )
        ax.text(box.x, box.y, box.text, ha="center", va="center", fontsize=plots_drawing.SMALL)
    for start, end, is_side in arrows:
        _draw_arrow(ax, boxes[start], boxes[end], is_side)
    return ax


def layout(model):
    """Boxes and arrows of a diagram.

    Parameters
    ----------
    model : NDN3.NDN.NDN

    Returns
    -------
    boxes : dict of Box
        With keys ("input", stream) and ("layer", network, position).
    arrows : list of (key, key, bool)
        From what is read to what reads; True for what a side network reads.
    """
    filter_views.network_view(model, 0)  # refuses what is no model
    composition = model.keras_model.composition
    boxes, arrows, tops = {}, [], []
    for number, network in enumerate(composition.networks):
        sources, count = network.sources, len(network.layers)
        # above all that it reads; a side network stands beside the layers of its source
        below = [] if sources.is_side else [tops[other] for other in sources.networks]
        base = max([0.0, *(top.y for top in below)])
        x = _free_column(boxes, [top.x for top in below], base)
        for position in range(count):
            gives = number in composition.outputs and position == count - 1
            boxes["layer", number, position] = Box(
                x,
                base + ROW * (position + 1),
                _words(network, number, position),
                "side" if sources.is_side else "layer",
                gives,
            )
            if position:
                arrows.append((("layer", number, position - 1), ("layer", number, position), False))
        tops.append(boxes["layer", number, count - 1])
        first = ("layer", number, 0)
        arrows += [(("input", stream), first, False) for stream in sources.streams]
        for other in sources.networks:
            levels = range(len(composition.networks[other].layers))
            read = levels if sources.is_side else levels[-1:]
            arrows += [(("layer", other, level), first, sources.is_side) for level in read]
    for stream, dims in enumerate(composition.streams):
        readers = [boxes[end].x for start, end, _ in arrows if start == ("input", stream)]
        wanted = sum(readers) / len(readers) if readers else 0.0
        taken = [boxes["input", other].x for other in range(stream)]
        x = max([wanted, *(place + COLUMN for place in taken)])
        boxes["input", stream] = Box(x, 0.0, f"input {stream}\n{list(dims)}", "input", False)
    return boxes, arrows


def _free_column(boxes, sources, base):
    """Middle of what a network reads if nothing stands above, or a column right of everything."""
    if sources:
        wanted = sum(sources) / len(sources)
        if all(abs(box.x - wanted) >= COLUMN or box.y <= base for box in boxes.values()):
            return wanted
    return max((box.x + COLUMN for box in boxes.values()), default=0.0)


def _words(network, number, position):
    layer = network.layers[position]
    units = f"{layer.n_units} unit" + "s" * (layer.n_units != 1)
    if layer.num_inh:
        units += f" ({layer.num_inh} inhibitory)"
    lags = network.lags[position]
    first = f"net{number}L{position} {layer.layer_type}" + (f", {lags} lags" if lags > 1 else "")
    return f"{first}\n{units}, {layer.activation}\n{list(layer.dims_of_output())}"


def _draw_arrow(ax, start, end, is_side):
    color = plots_drawing.NEGATIVE if is_side else "black"
    beside = is_side or end.y <= start.y
    if beside:  # from one column to another, at about the same height
        side = 1 if end.x > start.x else -1
        tail = (start.x + side * WIDTH / 2, start.y)
        head = (end.x - side * WIDTH / 2, end.y)
    else:
        tail, head = (start.x, start.y + HEIGHT / 2), (end.x, end.y - HEIGHT / 2)
    ax.annotate(
        "",
        xy=head,
        xytext=tail,
        arrowprops={
            "arrowstyle": "-|>",
            "color": color,
            "linewidth": 1.0,
            "linestyle": "--" if is_side else "-",
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )
