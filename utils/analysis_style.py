"""How figures look, and where they are saved.

Colors can be told apart with any kind of color vision (Okabe and Ito's set without its yellow,
which is hard to see on white). Gray is kept for what is no model: noise ceilings, published values.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils import paths

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito 2008, "Color universal design", jfly.uni-koeln.de/color
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255")
GRAY = "#555555"
SIZE = (8.0, 5.0)  # inch
# diverging, zero is white: signs stay readable in gray and without red or green
FIELD_COLORS = "RdBu_r"

_settings: dict[Any, Any] = {
    "figure.figsize": SIZE,
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "savefig.bbox": "tight",
    "font.size": 11,
    "font.family": "sans-serif",
    "axes.labelsize": 12,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    # text stays text in PDF files
    "pdf.fonttype": 42,
}


@contextmanager
def style() -> Iterator[None]:
    """Set matplotlib up inside a with block; outside of it the settings stay the user's own."""
    import matplotlib as mpl

    with mpl.rc_context(_settings):
        yield
        interactive = mpl.is_interactive()
    # the first figure of a notebook loads its backend, which switches this on to show figures
    mpl.interactive(interactive)


def new_axes(size: tuple[float, float] = SIZE) -> Axes:
    """Axis of a new figure.

    Parameters
    ----------
    size : (float, float)
        Width and height [inch].
    """
    from matplotlib import pyplot

    with style():
        return pyplot.subplots(figsize=size)[1]


def colors(names: Iterable[Hashable]) -> dict[Hashable, str]:
    """Color of each model, in the order of the names.

    Make it once for all models of a paper or a notebook and hand it to every plot: then a model has
    one color throughout, whichever others a figure shows.

    Parameters
    ----------
    names : iterable
        Repeated ones count once.

    Returns
    -------
    dict
        Name: "#rrggbb". From the eighth name on darker, then lighter shades of the same colors.
    """
    shades = ((0.0, 1.0), (0.35, 0.0), (0.3, 1.0))
    found: dict[Hashable, str] = {}
    for i, name in enumerate(dict.fromkeys(names)):
        amount, towards = shades[(i // len(COLORS)) % len(shades)]
        found[name] = _mix(COLORS[i % len(COLORS)], amount, towards)
    return found


def labels(table: pd.DataFrame, by: str | Sequence[str] | None = None) -> pd.Series[str]:
    """How the model of each row is written in figures.

    Parameters
    ----------
    table : DataFrame
        Repetitions or curves, with the columns of `registry.table`.
    by : str or sequence of str, optional
        Columns that tell models apart; a run is a model when left out.

    Returns
    -------
    Series of str
        "filters 4, hidden 0.1"; texts stand alone. Of a run its name, with its folder behind it
        where two runs of the table have the same name.

    Raises
    ------
    ValueError
        If the table has no such column.
    """
    if by is not None:
        columns = [by] if isinstance(by, str) else list(by)
        missing = [name for name in columns if name not in table.columns]
        if missing:
            known = ", ".join(map(str, table.columns))
            raise ValueError(
                f"the table has no column {', '.join(missing)}; it has {known}. Name some of those."
            )
        parts = [table[name].map(partial(_written, name)) for name in columns]
        return reduce(lambda text, part: text + ", " + part, parts)
    folder = table["exp"] + "x" + table["run"].astype(str)
    names = table["name"] if "name" in table.columns else folder
    runs_of_name = (table["exp_folder"] + "/" + folder).groupby(names).transform("nunique")
    return names.where(runs_of_name == 1, names + " (" + folder + ")")


def sort_key(column: pd.Series[Any]) -> pd.Series[Any]:
    """Key that brings models into their order: numbers by size, before texts and what is missing.

    Parameters
    ----------
    column : Series
        Of arguments, or of runs, where names of runs started by hand stand among the numbers.
    """
    if column.dtype.kind in "biufM" or hasattr(column, "cat"):
        return column
    return column.map(lambda value: (isinstance(value, str), str(value).rjust(12)))


def spread(
    positions: Sequence[float], distance: float, low: float = -np.inf, high: float = np.inf
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Places for labels: as near as possible to what they name, and never over each other.

    Parameters
    ----------
    positions : sequence of float
        Where the labels would be best.
    distance : float
        Smallest distance of two labels.
    low, high : float
        Range for the labels. When it is too short for all of them, the distance shrinks.

    Returns
    -------
    ndarray
        A place for each label, in the order of the labels given; the sum of squared shifts is the
        smallest one possible.
    """
    wanted = np.asarray(positions, np.float64)
    if len(wanted) == 0:
        return wanted
    if len(wanted) > 1:
        distance = min(distance, (high - low) / (len(wanted) - 1))
    order = np.argsort(wanted, kind="stable")
    # without the distances the places only have to keep their order: isotonic regression
    offsets = distance * np.arange(len(wanted))
    level = wanted[order] - offsets
    blocks: list[tuple[float, int]] = []
    for value in level:
        total, count = float(value), 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / count:
            before, number = blocks.pop()
            total, count = total + before, count + number
        blocks.append((total, count))
    means = np.concatenate([np.full(count, total / count) for total, count in blocks])
    placed = np.empty(len(wanted))
    placed[order] = np.clip(means, low, high - offsets[-1]) + offsets
    return placed


def save(figure: Figure, name: str) -> list[Path]:
    """Write a figure as PNG and PDF into the folder of figures.

    Parameters
    ----------
    figure : Figure
    name : str
        Name of the files, without an ending.

    Returns
    -------
    list of path

    Raises
    ------
    ValueError
        If the name is not a plain file name.
    """
    if not name or Path(name).name != name:
        raise ValueError(
            f"name of a figure must be a plain file name, got {name!r}. Leave folders out."
        )
    folder = paths.figures_dir()
    return [write(figure, folder / f"{name}{ending}") for ending in (".png", ".pdf")]


def write(figure: Figure, path: Path) -> Path:
    """Write a figure in the form that the file's ending names, whole or not at all.

    Parameters
    ----------
    figure : Figure
    path : Path
        Its folder is made if missing; without an ending it gets ``.png``.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If figures have no such form.
    OSError
        If the file cannot be written; a figure that was there before stays.
    """
    path = path if path.suffix else path.with_suffix(".png")
    aside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    # a time inside would make every PDF of the same figure another file
    metadata = {"CreationDate": None} if path.suffix == ".pdf" else None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with style():
            figure.savefig(aside, metadata=metadata)
        aside.replace(path)
    except OSError as problem:
        raise OSError(
            f"{path} cannot be written ({problem.strerror or problem}). Make room there, or choose "
            "another file."
        ) from problem
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
    return path


def _written(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None or value != value:
        text = "none"
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{name.replace('_', ' ')} {text}"


def _mix(color: str, amount: float, towards: float) -> str:
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    mixed = np.rint(255 * ((1 - amount) * channels + amount * towards)).astype(int)
    return "#" + "".join(f"{channel:02X}" for channel in mixed)
