"""Tables of results: one row per repetition, per run or per experiment; export to CSV and LaTeX.

`registry.table` gives one row per repetition. `summary` makes of it one row per whatever the
columns `by` tell apart.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from utils import analysis_metrics, analysis_style, paths

RUN = ("exp_folder", "exp", "run")
EXPERIMENT = ("exp_folder", "exp")

_latex_signs = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def summary(
    runs: pd.DataFrame, by: str | Sequence[str] = RUN, score: str = "correlation"
) -> pd.DataFrame:
    """Median, 10th and 90th percentile of a score over repetitions.

    Parameters
    ----------
    runs : DataFrame
        Of `registry.table`, one row per repetition.
    by : str or sequence of str
        Columns whose values make a row: arguments, or those in `RUN` or `EXPERIMENT`.
    score : str
        Column with the score.

    Returns
    -------
    DataFrame
        The columns `by`, then median, 10th, 90th, count (repetitions behind the numbers), diverged
        (repetitions left out because training did not stay finite) and unfinished (all others left
        out: running, failed). A row without a finished repetition has NaN in place of the
        percentiles.

    Raises
    ------
    ValueError
        If a column does not exist.
    """
    columns = [by] if isinstance(by, str) else list(by)
    _check_columns(runs, [*columns, "state"])
    if score not in runs.columns:
        if (runs["state"] == "done").any():
            _check_columns(runs, [score])
        runs = runs.assign(**{score: float("nan")})
    # lists cannot be grouped by, and None would be left out
    keyed = runs.assign(**{name: runs[name].map(_groupable) for name in columns})
    rows = []
    for values, group in keyed.groupby(columns, sort=False, dropna=False):
        scores = group.loc[group["state"] == "done", score].dropna().astype(float)
        low, median, high = (
            analysis_metrics.percentiles(scores.to_numpy()) if len(scores) else [float("nan")] * 3
        )
        diverged = int((group["state"] == "diverged").sum())
        unfinished = len(group) - len(scores) - diverged
        rows.append([*values, median, low, high, len(scores), diverged, unfinished])
    names = [*columns, "median", "10th", "90th", "count", "diverged", "unfinished"]
    table = pd.DataFrame(rows, columns=names)
    return table.sort_values(columns, key=analysis_style.sort_key, kind="stable", ignore_index=True)


def best(runs: pd.DataFrame, score: str = "correlation") -> pd.Series[Any]:
    """Row of the finished repetition with the highest score.

    Parameters
    ----------
    runs : DataFrame
        Of `registry.table`.
    score : str
        Column with the score.

    Returns
    -------
    Series
        Its ``model_path`` is what `network.load` takes.

    Raises
    ------
    ValueError
        If no repetition is finished.
    """
    _check_columns(runs, ["state"])
    finished = runs[runs["state"] == "done"]
    if len(finished):
        _check_columns(finished, [score])
        finished = finished[finished[score].notna()]
    if finished.empty:
        raise ValueError(
            f"none of {len(runs)} repetitions is finished with a score, and the best of them needs "
            "one. Wait for it, or see `runs list`."
        )
    return finished.iloc[int(finished[score].astype(float).to_numpy().argmax())]


def export(table: pd.DataFrame, name: str, decimals: int = 3) -> list[Path]:
    """Write a table as CSV and LaTeX into the folder of figures.

    Parameters
    ----------
    table : DataFrame
    name : str
        Name of the files, without an ending.
    decimals : int
        Of the numbers in LaTeX; CSV has them whole.

    Returns
    -------
    list of path
        The LaTeX file holds a ``tabular`` and needs the package ``booktabs``.

    Raises
    ------
    ValueError
        If the name is not a plain file name.
    """
    if not name or Path(name).name != name:
        raise ValueError(
            f"name of a table must be a plain file name, got {name!r}. Leave folders out."
        )
    folder = paths.figures_dir()
    folder.mkdir(parents=True, exist_ok=True)
    texts = {".csv": table.to_csv(index=False), ".tex": latex(table, decimals)}
    files = []
    for ending, text in texts.items():
        file = folder / f"{name}{ending}"
        partial = file.with_name(f"{file.name}.{os.getpid()}.part")
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)
        files.append(file)
    return files


def latex(table: pd.DataFrame, decimals: int = 3) -> str:
    """Table as a LaTeX ``tabular`` in the manner of ``booktabs``.

    Parameters
    ----------
    table : DataFrame
    decimals : int
        Of numbers that are not whole; trailing zeros stay, so that columns line up.

    Returns
    -------
    str
        Numbers to the right, texts to the left; every sign that LaTeX would read is escaped.
    """
    numeric = [pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes]
    rows = [
        [_latex_cell(value, decimals) for value in row] for row in table.itertuples(index=False)
    ]
    lines = [
        r"\begin{tabular}{" + "".join("r" if number else "l" for number in numeric) + "}",
        r"\toprule",
        " & ".join(_escaped(str(name)) for name in table.columns) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _check_columns(table: pd.DataFrame, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in table.columns]
    if missing:
        known = ", ".join(map(str, table.columns)) or "no columns at all"
        raise ValueError(
            f"the table has no column {', '.join(missing)}; it has {known}. Name some of those."
        )


def _groupable(value: Any) -> Any:
    return str(value) if isinstance(value, list | dict) else value


def _latex_cell(value: Any, decimals: int) -> str:
    if value is None or value != value:
        return "--"
    if isinstance(value, float):
        return f"{value:.{decimals}f}"
    return _escaped(str(value))


def _escaped(text: str) -> str:
    return "".join(_latex_signs.get(sign, sign) for sign in text)
