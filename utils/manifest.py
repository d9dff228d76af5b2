"""The manifest of `Data/`: the checksum of every file, and which of them `make data` wrote.

A file that is not as its line says was put there by somebody else and counts as measured.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from utils import paths


class Line(TypedDict):
    """What the manifest says about one file."""

    sha256: str
    bytes: int
    mtime_ns: int
    synthetic: bool


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key(path: Path) -> str:
    """Return a file's name in the manifest, such as ``region1/training_set.npy``."""
    return f"{path.parent.name}/{path.name}"


def line(path: Path, synthetic: bool) -> Line:
    """Return the line that describes a file as it is now."""
    now = path.stat()
    return Line(
        sha256=sha256_of(path), bytes=now.st_size, mtime_ns=now.st_mtime_ns, synthetic=synthetic
    )


def read(data_folder: Path) -> dict[str, Line]:
    """Return the lines of a data folder's manifest by :func:`key`; empty without a manifest.

    Raises
    ------
    ValueError
        If the file is not a manifest.
    """
    path = data_folder / paths.manifest_file().name
    try:
        lines = json.loads(path.read_text(encoding="utf-8"))["files"]
        complete = all(set(Line.__annotations__) <= set(entry) for entry in lines.values())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise ValueError(
            f"{path} is not the manifest that `make data` writes. Remove it; if the regions beside "
            "it are synthetic, remove them too and call `make data`."
        )
    return dict(lines)


def write(data_folder: Path, lines: dict[str, Line]) -> None:
    """Replace a data folder's manifest in one step."""
    path = data_folder / paths.manifest_file().name
    text = json.dumps({"files": dict(sorted(lines.items()))}, indent=1) + "\n"
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def file_origin(path: Path, entry: Line | None) -> str:
    """Return ``missing``, ``synthetic`` (as `make data` wrote it) or ``measured``.

    Parameters
    ----------
    path : Path
    entry : Line or None
        The file's line in the manifest.
    """
    try:
        now = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    if entry is None or not entry["synthetic"] or now.st_size != entry["bytes"]:
        return "measured"
    if now.st_mtime_ns == entry["mtime_ns"] or sha256_of(path) == entry["sha256"]:
        return "synthetic"
    return "measured"


def origin(folder: Path, names: Iterable[str]) -> str:
    """Return where the files of a folder such as ``Data/region1`` come from.

    Parameters
    ----------
    folder : Path
    names : iterable of str
        The files that belong together.

    Returns
    -------
    {"synthetic", "measured", "mixed", "missing"}
        ``missing`` if any is missing, ``mixed`` if only some are synthetic.
    """
    lines = read(folder.parent)
    found = {file_origin(folder / name, lines.get(key(folder / name))) for name in names}
    if "missing" in found:
        return "missing"
    return found.pop() if len(found) == 1 else "mixed"
