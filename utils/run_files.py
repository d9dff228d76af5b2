"""What runs leave behind: what a `run.json` must hold, and why nothing can be written."""

import errno
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from utils import paths

# reasons of the system that a user can do something about
_NO_WRITING = {
    getattr(errno, f"E{name}", -1)
    for name in "NOSPC DQUOT ROFS ACCES PERM NOTDIR EXIST FBIG NOENT".split()
}

NECESSARY = ("state", "key", "seed", "arguments")
"""What it must hold to say anything about its repetition."""


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_count(value: object) -> bool:
    return value is None or (type(value) is int and value >= 0)


def _is_number(value: Any) -> bool:
    # JSON knows whole numbers that no float can hold
    return value is None or (type(value) in (int, float) and _fits(value))


def _fits(value: float) -> bool:
    try:
        return not math.isinf(value)
    except OverflowError:
        return False


def _are_scores(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


_KINDS: dict[str, Callable[[Any], bool]] = {
    "state": lambda value: isinstance(value, str),
    "key": lambda value: isinstance(value, str),
    "arguments": lambda value: isinstance(value, dict),
    "scores": _are_scores,
    "seconds": _is_number,
    "declared": _is_count,
    **dict.fromkeys(("reason", "host", "log_dir", "model_path", "needs"), _is_text),
}


def is_sound(content: Mapping[str, Any]) -> bool:
    """Whether nothing necessary is missing and everything is of the kind that it should be.

    Parameters
    ----------
    content : mapping
        What the file holds.
    """
    return all(name in content for name in NECESSARY) and all(
        _KINDS[name](value) for name, value in content.items() if name in _KINDS
    )


def unwritable(problem: OSError) -> str | None:
    """Return the sentence for results that cannot be written, None for any other problem.

    Parameters
    ----------
    problem : OSError
        What the system answered.
    """
    results = paths.results_dir()
    absent = problem.errno == errno.ENOENT
    if problem.errno not in _NO_WRITING or (absent and problem.filename is None):
        return None
    if problem.filename is not None:
        place = Path(os.fsdecode(problem.filename)).absolute()
        # what is missing below the results was to be read; where they themselves cannot be made,
        # the system has a folder that takes no others, such as /proc
        below = place.is_relative_to(results) and not absent
        if not (below or results.is_relative_to(place)):
            return None
    reason = os.strerror(problem.errno or 0)
    if problem.errno in (errno.EEXIST, errno.ENOTDIR):
        files = [place for place in (results, *results.parents) if _is_no_folder(place)]
        if not files:
            return None
        reason = f"{files[0]} is a file and no folder"
    return (
        f"results cannot be written to {results} ({reason}); free space there, or set "
        "BENCH_RESULTS to a folder that can be written"
    )


def _is_no_folder(path: Path) -> bool:
    return path.exists() and not path.is_dir()
