"""Curves of trained runs as tables: event files -> DataFrame (Step, Run, Value, Tag).

Reads what this program writes (TensorFlow 2 scalars) and trees of the original one (TensorFlow 1),
also while training goes on. What was read is kept in one parquet file per tag below the results, so
that a thousand curves open again in a fraction of a second; a file whose size or time has changed
is read anew.
"""

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from NDN3 import events
from utils import paths

if TYPE_CHECKING:
    import pandas as pd

CORRELATION = "loss/correlation/correlation"

# columns of the table of repetitions that say nothing about a curve
_bookkeeping = ("state", "seconds", "host", "log_dir", "model_path", "path")

_log = logging.getLogger(__name__)

Curve: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
_NOTHING: Curve = (np.empty(0, np.int64), np.empty(0))


def scalars(runs: "pd.DataFrame", tag: str = CORRELATION, split: str = "test") -> "pd.DataFrame":
    """Curves of repetitions, one row per summarized epoch.

    Parameters
    ----------
    runs : DataFrame
        Rows of `registry.table`, one per repetition.
    tag : str
        Such as ``"loss/cost"``.
    split : {"test", "train"}
        Which summaries of a repetition.

    Returns
    -------
    DataFrame
        Step (epoch, from 0), Run (0, 1, … one per row of `runs`), Value, Tag, and the columns of
        `runs` that describe the repetition: experiment, run, repetition, arguments, scores.
        Repetitions without such a curve have no rows. An epoch that stands in two files of a
        repetition counts once, as the later file has it.
    """
    folders = [
        paths.results_dir() / str(log_dir) / "summaries" / split for log_dir in runs["log_dir"]
    ]
    try:
        curves = _folder_curves(folders, tag)
    except FileNotFoundError:
        # a training that resumes has just put a new file in the place of its old ones
        curves = _folder_curves(folders, tag)
    table = _table(curves, tag)
    described = runs.drop(columns=[*_bookkeeping, *table.columns], errors="ignore")
    rows = described.iloc[table["Run"].to_numpy()].reset_index(drop=True)
    return table.join(rows)


def read_files(files: Iterable[str | Path], tag: str = CORRELATION) -> "pd.DataFrame":
    """Curves of event files anywhere, one file one run.

    Parameters
    ----------
    files : iterable of path
        Such as `find` returns.
    tag : str

    Returns
    -------
    DataFrame
        Step, Run (0, 1, … the place of the file in `files`), Value, Tag.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    """
    listed = [Path(path) for path in files]
    curves = _curves(listed, tag)
    return _table([_join([curves[path]]) for path in listed], tag)


def find(root: str | Path, regex: str) -> list[Path]:
    """Event files below a folder whose path, seen from that folder, matches somewhere.

    Parameters
    ----------
    root : path
        Such as the ``logs`` folder of any tree of results.
    regex : str
        Such as ``"baseline/bl1.*/test/"``.

    Returns
    -------
    list of path, sorted

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {root}. Give one that holds event files.")
    pattern = re.compile(regex)
    found = (path for path in root.rglob(f"{events.PREFIX}*") if path.is_file())
    return sorted(path for path in found if pattern.search(path.relative_to(root).as_posix()))


def _folder_curves(folders: Sequence[Path], tag: str) -> list[Curve]:
    files = [events.event_files(folder) for folder in folders]
    curves = _curves([path for of_folder in files for path in of_folder], tag)
    return [_join([curves[path] for path in of_folder]) for of_folder in files]


def _table(curves: Sequence[Curve], tag: str) -> "pd.DataFrame":
    import pandas as pd

    lengths = [len(steps) for steps, _ in curves]
    return pd.DataFrame(
        {
            "Step": np.concatenate([np.empty(0, np.int64), *(steps for steps, _ in curves)]),
            "Run": np.repeat(np.arange(len(curves)), lengths),
            "Value": np.concatenate([np.empty(0), *(values for _, values in curves)]),
            "Tag": pd.Series([tag] * sum(lengths), dtype="str"),
        }
    )


def _join(curves: Sequence[Curve]) -> Curve:
    """One curve in the order of its steps; a later value of the same step wins."""
    steps = np.concatenate([np.empty(0, np.int64), *(steps for steps, _ in curves)])
    values = np.concatenate([np.empty(0), *(values for _, values in curves)])
    # unique keeps the first occurrence, hence from behind
    kept, where = np.unique(steps[::-1], return_index=True)
    return kept, values[::-1][where]


def _curves(files: Iterable[Path], tag: str) -> Mapping[Path, Curve]:
    """Curve of each file, from the cache where the file has not changed since.

    A file that cannot be read is named in the log and has an empty curve, of a damaged one what
    stands before the damage.
    """
    cache = _cache_file(tag)
    known = _load(cache)
    kept: dict[str, tuple[int, int, Curve]] = {}
    curves: dict[Path, Curve] = {}
    changed = False
    for path in files:
        key = os.path.abspath(path)
        try:
            stat = os.stat(path)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"There is no event file {path}. It may just have been replaced: read again."
            ) from None
        entry = known.get(key)
        if entry is None or entry[:2] != (stat.st_size, stat.st_mtime_ns):
            try:
                read = [(step, value) for step, _, _, value in events.read_events(path, tag)]
            except FileNotFoundError:
                raise
            except OSError as problem:
                _log.warning("%s cannot be read (%s) and is left out", path, problem.strerror)
                curves[path] = _NOTHING
                continue
            steps = np.array([step for step, _ in read], np.int64)
            values = np.array([value for _, value in read], np.float64)
            entry = (stat.st_size, stat.st_mtime_ns, (steps, values))
            changed = True
        kept[key] = entry
        curves[path] = entry[2]
    if changed:
        others = {key: entry for key, entry in known.items() if os.path.exists(key)}
        # results that may not be written to are read without a cache
        with contextlib.suppress(OSError):
            _store(cache, {**others, **kept})
    return curves


def _cache_file(tag: str) -> Path:
    readable = re.sub(r"\W+", "-", tag).strip("-")
    digest = hashlib.sha256(tag.encode()).hexdigest()[:8]
    return paths.results_dir() / ".cache" / "summaries" / f"{readable}-{digest}.parquet"


def _load(cache: Path) -> dict[str, tuple[int, int, Curve]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(cache)
        columns = [table[name].to_pylist() for name in ("path", "size", "time")]
        lists = [table[name].combine_chunks() for name in ("steps", "values")]
    except (OSError, KeyError, pa.ArrowException):
        # none yet, or one that something else damaged: everything is read anew
        return {}
    bounds = lists[0].offsets.to_numpy()
    steps, values = (column.values.to_numpy() for column in lists)
    return {
        path: (size, time, (steps[bounds[i] : bounds[i + 1]], values[bounds[i] : bounds[i + 1]]))
        for i, (path, size, time) in enumerate(zip(*columns, strict=True))
    }


def _store(cache: Path, entries: Mapping[str, tuple[int, int, Curve]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table(
        {
            "path": list(entries),
            "size": [size for size, _, _ in entries.values()],
            "time": [time for _, time, _ in entries.values()],
            "steps": pa.array([curve[0] for _, _, curve in entries.values()], pa.list_(pa.int64())),
            "values": pa.array(
                [curve[1] for _, _, curve in entries.values()], pa.list_(pa.float64())
            ),
        }
    )
    cache.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.with_suffix(f".{os.getpid()}.part")
    parquet.write_table(table, partial)
    os.replace(partial, cache)
