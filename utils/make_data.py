"""What `make data` runs: synthetic V1 regions where no recording is in place, and the manifest.

Files that this program did not write are kept, checked and used. A region is synthetic as a whole
or not at all. Nothing is ever half-written: files are made in a folder aside and renamed.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np

from utils import data, manifest, paths, synthetic_regions

ASIDE = ".making-"


class Published(NamedTuple):
    """Size of a published region, and the seed of its stand-in."""

    n_neurons: int
    n_training: int
    n_validation: int
    n_repeats: int
    seed: int


REGIONS = {
    1: Published(103, 1800, 50, 10, seed=1),
    2: Published(55, 1260, 50, 8, seed=2),
    3: Published(102, 1800, 50, 12, seed=3),
}


class DataProblem(Exception):
    """Something about the files in place that only their owner can mend."""


def make_region(
    folder: Path,
    n_neurons: int,
    n_training: int,
    n_validation: int,
    n_repeats: int,
    seed: int,
    noise: str = "realistic",
) -> None:
    """Write a synthetic region in the published format, its truth, and its lines of the manifest.

    Parameters
    ----------
    folder : Path
        Such as ``Data/region1``; synthetic files in it are replaced, the manifest lies beside it.
    n_neurons, n_training, n_validation, n_repeats : int
        Neurons; training images, shown once; validation images, shown ``n_repeats`` times.
    seed : int
    noise : {"realistic", "low"}
        Mean correlation of the rate with one trial 0.5, or 0.8 (0.93 with the mean of 4 trials).

    Raises
    ------
    ValueError
        If a number is too small or the noise unknown.
    FileExistsError
        If the folder holds files that this program did not write.
    """
    sizes = {"n_neurons": (n_neurons, 1), "n_training": (n_training, 2)}
    sizes |= {"n_validation": (n_validation, 2), "n_repeats": (n_repeats, 1), "seed": (seed, 0)}
    for name, (value, least) in sizes.items():
        if value < least:
            raise ValueError(f"{name} must be {least} or more, got {value}. Ask for a larger one.")
    if noise not in synthetic_regions.RECIPES:
        raise ValueError(
            f"noise must be one of {', '.join(synthetic_regions.RECIPES)}, got {noise!r}. "
            "Name one of them."
        )
    if foreign := _by_origin(folder)["measured"]:
        raise FileExistsError(
            f"{folder} holds {', '.join(foreign)}, not written by `make data`. A synthetic region "
            "needs a folder of its own, so name another one or move these files away."
        )
    recording, truth = synthetic_regions.simulate(
        n_neurons, n_training, n_validation, n_repeats, seed, synthetic_regions.RECIPES[noise]
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=ASIDE))
    try:
        for name in data.FILES:
            with _durable(aside / name) as file:
                np.save(file, recording[Path(name).stem])
        lines = {
            manifest.key(folder / name): manifest.line(aside / name, synthetic=True)
            for name in data.FILES
        }
        with _durable(aside / data.TRUTH) as file:
            sums = [line["sha256"] for line in lines.values()]
            arrays: dict[str, Any] = {"noise": noise, "sha256": sums, **truth}
            np.savez(file, **arrays)
        # The manifest first: a file without its line would pass for somebody else's,
        # a line without its file only says that the file has to be made.
        manifest.write(folder.parent, manifest.read(folder.parent) | lines)
        folder.mkdir(exist_ok=True)
        for name in (*data.FILES, data.TRUTH):
            (aside / name).replace(folder / name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _durable(path: Path) -> Iterator[BinaryIO]:
    """Open a new file whose content is on the disk before its name is used."""
    try:
        with path.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        # NumPy has no more to say than how many values did not fit
        number = problem.errno or errno.ENOSPC
        raise OSError(number, os.strerror(number), str(path)) from problem


def _by_origin(folder: Path) -> dict[str, list[str]]:
    """File names of a region by ``missing``, ``synthetic`` and ``measured``."""
    lines = manifest.read(folder.parent)
    found: dict[str, list[str]] = {"missing": [], "synthetic": [], "measured": []}
    for name in data.FILES:
        found[manifest.file_origin(folder / name, lines.get(manifest.key(folder / name)))].append(
            name
        )
    return found


def ensure_region(folder: Path, size: Published, noise: str) -> bool:
    """Check a region, or write its stand-in, and bring its lines in the manifest up to date.

    Parameters
    ----------
    folder : Path
        Such as ``Data/region1``.
    size : Published
    noise : str
        See :func:`make_region`.

    Returns
    -------
    bool
        Whether anything was written.

    Raises
    ------
    DataProblem
        If files of different origin would be mixed, or those in place do not fit each other.
    """
    found = _by_origin(folder)
    if found["measured"]:
        _check_measured(folder, found)
        written = _note(folder, synthetic=False)
        if _noise_of(folder) is not None:  # our own, about files that are gone
            (folder / data.TRUTH).unlink()
            written = True
        print(f"{folder.name}: recordings of your own, kept; no planted truth is known for them.")
        return written
    if not found["missing"] and (stored := _noise_of(folder)) is not None:
        if stored != noise:
            raise DataProblem(
                f"{folder} holds a synthetic region with {stored} noise, asked for was {noise}. "
                "Name another --folder, or remove this one and call again."
            )
        return _note(folder, synthetic=True)
    print(
        f"{folder.name}: {size.n_neurons} neurons, {size.n_training} + {size.n_validation} images, "
        f"{size.n_repeats} repeats, {noise} noise …",
        end=" ",
        flush=True,
    )
    start = time.monotonic()
    make_region(folder, *size, noise=noise)
    print(f"synthetic, written in {time.monotonic() - start:.1f} s.")
    return True


def _check_measured(folder: Path, found: dict[str, list[str]]) -> None:
    if found["missing"] or found["synthetic"]:
        state = [f"{', '.join(found['measured'])} from elsewhere"]
        state += (
            [f"{', '.join(found['synthetic'])} as synthetic files"] if found["synthetic"] else []
        )
        state += [f"no {', '.join(found['missing'])}"] if found["missing"] else []
        raise DataProblem(
            f"{folder} has {'; '.join(state)}. All five must come from one source, so add the "
            "others as Data/README.md says, or remove the folder and call `make data` again."
        )
    try:
        data.read_region(folder)
    except ValueError as error:
        raise DataProblem(str(error)) from error


def _noise_of(folder: Path) -> str | None:
    """Kind of noise a synthetic region was made with, None without its truth."""
    try:
        with np.load(folder / data.TRUTH, allow_pickle=False) as stored:
            return str(stored["noise"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _note(folder: Path, synthetic: bool) -> bool:
    """Renew the lines of files whose size or time has changed; whether there were any."""
    lines = manifest.read(folder.parent)
    renewed = {}
    for name in data.FILES:
        old, now = lines.get(manifest.key(folder / name)), (folder / name).stat()
        same = old is not None and (old["bytes"], old["mtime_ns"]) == (now.st_size, now.st_mtime_ns)
        if not same or old is None or old["synthetic"] != synthetic:
            renewed[manifest.key(folder / name)] = manifest.line(folder / name, synthetic)
    if renewed:
        manifest.write(folder.parent, lines | renewed)
    return bool(renewed)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one call at a time work on a data folder, and clear what a killed one left aside."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".make_data.lock").open("a") as lock:
        if sys.platform != "win32":  # there, two calls at once are the user's to avoid
            import fcntl

            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"Another call works on {folder}; waiting for it.", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob(f"{ASIDE}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _region_list(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if any(part not in map(str, REGIONS) for part in parts):
        raise argparse.ArgumentTypeError(
            f"region must be 1, 2 or 3, got {text!r}. List them with commas, such as 1,2"
        )
    return sorted({int(part) for part in parts})


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say in one sentence what was wrong."""
        self.exit(2, f"{message}. --help lists what is allowed.\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 (a problem in place), 2 (bad arguments)."""
    parser = _Parser(
        prog="python -m utils.make_data",
        description="Write synthetic V1 regions where no recording is in place; check what is.",
    )
    parser.add_argument(
        "--regions",
        type=_region_list,
        default=list(REGIONS),
        metavar="1,2",
        help="which regions (default: all three)",
    )
    parser.add_argument(
        "--folder", type=Path, help=f"where region1 … lie (default: {paths.data_dir()})"
    )
    parser.add_argument(
        "--noise",
        choices=list(synthetic_regions.RECIPES),
        default="realistic",
        help="mean ceiling of a single trial: 0.5 (realistic, the default) or 0.8 (low)",
    )
    options = parser.parse_args(argv)
    folder: Path = options.folder or paths.data_dir()
    status, written = 0, False
    try:
        with _alone(folder):
            for number in options.regions:
                try:
                    region = folder / paths.region_dir(number).name
                    written |= ensure_region(region, REGIONS[number], options.noise)
                except DataProblem as problem:
                    print(problem, file=sys.stderr)
                    status = 1
    except KeyboardInterrupt:
        print("\nStopped; nothing is half-written. The same call goes on.", file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:  # a full disk, no permission, a broken manifest
        if isinstance(error, OSError) and error.errno is not None:
            where = f": {error.filename}" if error.filename else ""
            error = ValueError(
                f"{folder} cannot be used ({error.strerror}{where}). Make room or get access "
                "there, or name another folder with --folder or BENCH_DATA."
            )
        print(error, file=sys.stderr)
        return 1
    if not status and not written:
        names = ", ".join(f"region{number}" for number in options.regions)
        print(f"{names}: in place in {folder}, nothing to write.")
    return status


if __name__ == "__main__":
    sys.exit(main())
