"""What ``runs`` shows of results: the table of scores and the learning curves."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from utils import paths, registry, run_names, states
from utils.command_lines import Refusal
from utils.known_runs import find
from utils.screen import aligned
from utils.signatures import module_constants, nearest, parse_file, part_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

FIXED = ("exp_folder", "exp", "run", "repetition", "seed", "name", "state")
LAST = ("seconds", "host", "log_dir", "model_path")


def table(what: str | None, csv: bool) -> int:
    """Print one row per run, or one per repetition as CSV.

    Parameters
    ----------
    what : str, optional
        Group, experiment or runs; everything without it.
    csv : bool
        Whether to print the rows of `registry.table`.
    """
    repetitions = repetitions_of(what)
    if csv:
        repetitions.to_csv(sys.stdout, index=False)
        return 0
    if repetitions.empty:
        print(f"no repetition has been started in {paths.results_dir()} yet")
        return 0
    blocks = [
        _block(f"{group}/{exp}", rows)
        for (group, exp), rows in repetitions.groupby(["exp_folder", "exp"], sort=False)
    ]
    print("\n\n".join(blocks))
    return 0


def repetitions_of(what: str | None) -> "pandas.DataFrame":
    """Return the rows of `registry.table` for what a command line names.

    Raises
    ------
    Refusal
        If there is nothing of that name.
    """
    if what is None:
        return registry.table()
    found = find(what, whole_group=True)
    name = run_names.parse(what)
    rows = registry.table(name.exp_folder, name.exp)
    if name.runs is not None:
        rows = rows[rows["run"].isin(name.runs)].reset_index(drop=True)
    if rows.empty:
        counts = "; ".join(f"{k.name}: {states.counts(k.runs.values())}" for k in found)
        raise Refusal(f"no repetition of {what} has been started ({counts})")
    return rows


def _names(rows: "pandas.DataFrame") -> tuple[list[str], list[str]]:
    """Return the columns of arguments that differ between runs, and those of scores."""
    places = set(zip(rows["exp_folder"].astype(str), rows["exp"].astype(str), strict=True))
    known = {
        name
        for place in places
        for info in registry.repetitions(*place)
        for name in info.get("arguments", {})
    }
    columns = [name for name in rows.columns if name not in (*FIXED, *LAST)]
    varying = [n for n in columns if n in known and len(set(rows[n].astype(str))) > 1]
    scores = [n for n in columns if n not in known and rows[n].notna().any()]
    return varying, scores


def _block(title: str, rows: "pandas.DataFrame") -> str:
    """Return the table of one experiment: arguments that differ, scores, counts."""
    from utils import analysis_runs

    varying, scores = _names(rows)
    head = ["RUN", *varying]
    for score in scores:
        head += [f"median {score}", "10th", "90th"]
    ends = ["done", *(state for state in dict.fromkeys(rows["state"]) if state != "done")]
    lines = []
    summaries = {score: analysis_runs.summary(rows, by="run", score=score) for score in scores}
    for run, own in rows.groupby("run", sort=False):
        line: list[Any] = [run, *(own[name].iloc[0] for name in varying)]
        for summary in summaries.values():
            found = summary[summary["run"] == run].iloc[0]
            line += [_number(found[name]) for name in ("median", "10th", "90th")]
        lines.append([*line, *(int((own["state"] == state).sum()) for state in ends)])
    head += ends
    return f"{title}\n" + aligned(lines, head, right=range(len(head)))


def _number(value: float) -> str:
    return "" if value != value else f"{value:.3f}"


def plot(what: str, by: str | None, tag: str | None, out: str | None) -> int:
    """Draw the learning curves of an experiment and print where the picture is.

    Correlations are drawn with the noise ceiling of the regions that the experiment reads. Runs
    started by hand are left out where there are numbered ones, unless they are named.

    Parameters
    ----------
    what : str
        Experiment or runs.
    by : str, optional
        Arguments, separated by commas, whose values get a curve each; without it all that differ
        between the runs.
    tag : str, optional
        Which summary; the correlation without it.
    out : str, optional
        Where to write the picture; into the folder of figures without it.
    """
    name = run_names.parse(what)
    if name.exp is None:
        raise Refusal(f"{what!r} names a whole group; write GROUP/EXP")
    runs = _without_hand(repetitions_of(what), name)
    import matplotlib

    matplotlib.use("Agg")
    from utils import analysis_curves, analysis_style, summaries

    varying, _ = _names(runs)
    chosen = varying if by is None else by.split(",")
    for argument in chosen:
        if argument not in runs.columns:
            raise Refusal(
                f"{what} has no argument {argument!r}; those that differ between its runs: "
                f"{', '.join(varying) or 'none'}.{nearest(argument, varying)}"
            )
    tag = tag or summaries.CORRELATION
    curves = summaries.scalars(runs, tag=tag, split="test")
    if curves.empty:
        raise Refusal(
            f"no repetition of {what} has a test summary {tag} yet; TensorBoard lists those that "
            "there are, such as loss/cost. Choose one behind --tag, or wait."
        )
    limit, source = None, ""
    if tag == summaries.CORRELATION:
        limit, source = _noise_ceiling(name.exp_folder, name.exp, runs)
    ax = analysis_curves.bands(curves, by=chosen or None, ceiling=limit)
    first_line = "; ".join(text for text in (source, _unfinished(runs)) if text)
    if first_line:
        caption = f"{first_line}\n{ax.get_title(loc='left')}"
        ax.set_title(caption, loc="left", fontsize=9, color=analysis_style.GRAY)
    figure = cast("Figure", ax.get_figure(root=True))
    if out is None:
        written = analysis_style.save(figure, f"{name.exp_folder}-{name.exp}")
    else:
        written = [analysis_style.write(figure, Path(out))]
    for path in written:
        print(path)
    return 0


def _without_hand(runs: "pandas.DataFrame", name: run_names.RunName) -> "pandas.DataFrame":
    """Leave out runs started by hand beside numbered ones; those that were named stay."""
    by_hand = runs["run"].map(lambda run: isinstance(run, str)).astype(bool)
    if name.runs is not None or by_hand.all() or not by_hand.any():
        return runs
    left = run_names.as_ranges(dict.fromkeys(runs.loc[by_hand, "run"]))
    print(f"left out, started by hand: {name}:{left}", file=sys.stderr)
    return runs[~by_hand].reset_index(drop=True)


def _unfinished(runs: "pandas.DataFrame") -> str:
    """Return ``2 repetitions unfinished, 1 diverged``, or nothing when all are done."""
    diverged = int((runs["state"] == "diverged").sum())
    others = int((runs["state"] != "done").sum()) - diverged
    counts = {"unfinished": others, "diverged": diverged}
    texts = [
        f"{number} repetition{'' if number == 1 else 's'} {word}"
        for word, number in counts.items()
        if number
    ]
    return ", ".join(texts)


def _noise_ceiling(exp_folder: str, exp: str, runs: "pandas.DataFrame") -> tuple[float | None, str]:
    """Return the mean noise ceiling of what an experiment read, and how to call these data.

    None and nothing where it cannot be told: the experiment names no region, or the data in place
    are not those that the runs were trained on.
    """
    regions = _regions(exp_folder, exp)
    if not regions:
        return None, ""
    from utils import analysis_curves

    folders = [paths.region_dir(number).name for number in regions]
    shown = set(runs["run"])
    read = {i.get("data") for i in registry.repetitions(exp_folder, exp) if i["run"] in shown}
    try:
        if read != {registry.data_checksum(folders)}:
            return None, ""
        ceiling, synthetic = analysis_curves.noise_ceiling(regions)
    except (OSError, ValueError):
        return None, ""
    if ceiling != ceiling:
        return None, ""
    kind = "synthetic" if synthetic else "measured"
    many = "region" if len(regions) == 1 else "regions"
    return ceiling, f"{many} {', '.join(map(str, regions))} ({kind})"


def _regions(exp_folder: str, exp: str) -> list[int]:
    """Return the numbers of the regions that the file of an experiment declares, if only those."""
    folder = paths.experiments_dir() / exp_folder
    stem = part_of((path.stem for path in folder.glob("*.py")), exp)
    if stem is None:
        return []
    script = folder / f"{stem}.py"
    try:
        declared = module_constants(parse_file(script))
        names = registry.data_folders(script) if "DATA" in declared else []
    except (OSError, ValueError):
        return []
    found = [re.fullmatch(r"region(\d+)", name) for name in names]
    return [int(match[1]) for match in found if match] if all(found) else []
