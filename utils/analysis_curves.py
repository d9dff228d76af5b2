"""Learning curves: percentiles over repetitions, drawn as lines with bands.

The distribution over random starts is the result, not one number: a line is the median of the
repetitions, its band reaches from their 10th to their 90th percentile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from utils import analysis_metrics, analysis_style, data, summaries

if TYPE_CHECKING:
    from matplotlib.axes import Axes

X_LABEL = "training epoch"
Y_LABELS = {
    summaries.CORRELATION: "mean validation correlation (Pearson r)",
    "loss/cost": "validation cost (negative log-likelihood)",
    "loss/cost_penalized": "validation cost with penalties",
    "loss/reg_pen": "regularization penalty",
}

_label_points = 10.0
_line_spacing = 1.25


def percentiles(
    curves: pd.DataFrame,
    by: str | Sequence[str] | None = None,
    limit_steps: tuple[int, int] | None = None,
) -> pd.DataFrame:
    """Median, 10th and 90th percentile over repetitions at each summarized epoch.

    Parameters
    ----------
    curves : DataFrame
        Of `summaries.scalars`.
    by : str or sequence of str, optional
        Columns that tell models apart; a run is a model when left out.
    limit_steps : (int, int), optional
        First and last epoch, both included.

    Returns
    -------
    DataFrame
        model (its label), Step, 10th, median, 90th, count (repetitions behind the numbers: those
        that still trained at that epoch and whose value is finite). Models in the order of the
        columns `by`, or of the runs.
    """
    if limit_steps is not None:
        curves = curves[curves["Step"].between(*limit_steps)]
    curves = curves[np.isfinite(curves["Value"])].reset_index(drop=True)
    models = analysis_style.labels(curves, by)
    order = ["exp_folder", "exp", "run"] if by is None else [by] if isinstance(by, str) else [*by]
    ordered = curves.sort_values(order, key=analysis_style.sort_key, kind="stable")
    models = models.loc[ordered.index]
    rows = []
    for model, of_model in ordered.groupby(models.to_numpy(), sort=False):
        for step, values in of_model.groupby("Step")["Value"]:
            low, median, high = analysis_metrics.percentiles(values.to_numpy())
            rows.append((model, step, low, median, high, len(values)))
    return pd.DataFrame(rows, columns=["model", "Step", "10th", "median", "90th", "count"])


def bands(
    curves: pd.DataFrame,
    by: str | Sequence[str] | None = None,
    limit_steps: tuple[int, int] | None = None,
    ceiling: float | None = None,
    references: Mapping[str, float] | None = None,
    colors: Mapping[Any, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the median of each model with a band from the 10th to the 90th percentile.

    Parameters
    ----------
    curves : DataFrame
        Of `summaries.scalars`, with one tag.
    by : str or sequence of str, optional
        Columns that tell models apart; a run is a model when left out.
    limit_steps : (int, int), optional
        First and last epoch, both included.
    ceiling : float, optional
        Noise ceiling, in the unit of the curves.
    references : mapping of str to float, optional
        Values to compare with, such as published ones, by the text to write beside them.
    colors : mapping, optional
        Color of each model label, of `analysis_style.colors`; made from the models of this figure
        when left out.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If no curve is left to draw.
    """
    from matplotlib.ticker import MaxNLocator

    table = percentiles(curves, by, limit_steps)
    if table.empty:
        raise ValueError(
            f"there is no curve to draw among {len(curves)} rows, limit_steps is {limit_steps}. "
            "Name a tag that the runs have, and epochs that they reached."
        )
    if ax is None:
        ax = analysis_style.new_axes()
    colors = colors or analysis_style.colors(table["model"])
    ends: list[tuple[float, float, str, str]] = []
    for model, rows in table.groupby("model", sort=False):
        color = colors[model]
        ax.fill_between(rows["Step"], rows["10th"], rows["90th"], color=color, alpha=0.15, lw=0)
        ax.plot(rows["Step"], rows["median"], color=color, label=str(model))
        step, value = rows["Step"].iloc[-1], rows["median"].iloc[-1]
        ax.plot([step], [value], color=color, marker="o", markersize=4, clip_on=False)
        ends.append((float(step), float(value), str(model), color))
    first, last = float(table["Step"].min()), float(table["Step"].max())
    # epochs count from 0: a little room, so that the tick behind the last one is shown
    right = last + max(0.01 * (last - first), float(first == last))
    levels = [(value, text, ":") for text, value in (references or {}).items()]
    if ceiling is not None:
        levels.append((float(ceiling), f"noise ceiling {ceiling:.2f}", "--"))
    for value, text, dashes in levels:
        ax.axhline(value, color=analysis_style.GRAY, ls=dashes, linewidth=1.2, label=text)
        ends.append((right, value, text, analysis_style.GRAY))

    tags = curves["Tag"].unique()
    ax.set_xlabel(X_LABEL)
    ax.set_ylabel(Y_LABELS.get(tags[0], tags[0]) if len(tags) == 1 else "value")
    ax.grid(axis="y")
    ax.set_xlim(first, right)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    # no empty strip below zero, nor below curves that begin there
    ax.set_ylim(bottom=max(ax.get_ylim()[0], min(ax.dataLim.ymin, 0)))
    ax.set_title(_explained(table["count"]), loc="left", fontsize=9, color=analysis_style.GRAY)
    _label_ends(ax, ends)
    return ax


def noise_ceiling(regions: int | Sequence[int]) -> tuple[float, bool]:
    """Noise ceiling of some regions: how far the best possible model would get.

    Parameters
    ----------
    regions : int or sequence of int
        Of 1, 2, 3, as for `data.load_regions`.

    Returns
    -------
    ceiling : float
        Mean over neurons: of the exact values where the data are synthetic, otherwise of those
        estimated from the repeats of the validation images. NaN where no neuron has one.
    synthetic : bool
        Whether the values are exact.
    """
    _, validation = data.load_regions(regions)
    found = data.noise_ceiling(validation)
    per_neuron = found.cc_max if found.planted is None else found.planted
    known = per_neuron[np.isfinite(per_neuron)]
    return float(known.mean()) if known.size else float("nan"), found.planted is not None


def comparison(
    experiments: Mapping[str, pd.DataFrame],
    limit_steps: tuple[int, int] | None = None,
    ceiling: float | None = None,
    references: Mapping[str, float] | None = None,
    colors: Mapping[Any, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one line with its band for each experiment.

    Parameters
    ----------
    experiments : mapping of str to DataFrame
        Curves of `summaries.scalars` or `summaries.read_files` by the text to write beside them.
        All repetitions of all runs given for an experiment make its line, so give one run of each
        where the runs differ.
    limit_steps, ceiling, references, colors, ax
        As in `bands`.

    Returns
    -------
    Axes
    """
    named = [curves.assign(experiment=name) for name, curves in experiments.items()]
    together = pd.concat(named, ignore_index=True)
    # categories keep the order in which the experiments were given
    together["experiment"] = pd.Categorical(together["experiment"], list(experiments))
    return bands(together, "experiment", limit_steps, ceiling, references, colors, ax)


def _explained(counts: pd.Series[int]) -> str:
    fewest, most = int(counts.min()), int(counts.max())
    if most == 1:
        return "one repetition each"
    number = str(most) if fewest == most else f"{fewest} to {most}"
    return f"median of {number} repetitions, band from 10th to 90th percentile"


def _label_ends(ax: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write a text beside each line, tied to its end, moved up or down where two would overlap."""
    low, high = ax.get_ylim()
    height = ax.get_window_extent().height / ax.figure.dpi * 72
    distance = _label_points * _line_spacing * (high - low) / height
    places = analysis_style.spread([end[1] for end in ends], distance, low, high)
    left, right = ax.get_xlim()
    for (step, value, text, color), place in zip(ends, places, strict=True):
        ax.annotate(
            text,
            xy=(step, value),
            xycoords="data",
            xytext=(1.03, (place - low) / (high - low)),
            textcoords="axes fraction",
            color=color,
            fontsize=_label_points,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.7,
                # the way from a curve that ended early must not look like more of it
                "linestyle": "-" if step > right - 0.02 * (right - left) else ":",
                "relpos": (0, 0.5),
                # not cut where it enters the text's box, which a steep line does from below
                "patchA": None,
                "shrinkA": 2,
                "shrinkB": 0,
            },
        )
    # the labels fix what the vertical axis shows
    ax.set_ylim(low, high)
