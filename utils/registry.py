"""What is known of all runs: identity, `run.json`, `experiments.txt`, the table of repetitions.

Each repetition has one small file of its own, so hundreds of jobs never share one. Everything
else, the ledger of finished runs and the table, follows from these files.
"""

import ast
import hashlib
import json
import logging
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils import job_node, manifest, paths
from utils.run_files import is_sound, unwritable
from utils.signatures import (
    REQUIRED,
    module_constants,
    nearest,
    parse_file,
    resolve,
    signature,
)

if TYPE_CHECKING:
    import pandas

__all__ = [
    "NO_DATA",
    "REQUIRED",
    "RunExists",
    "RunKeys",
    "add_to_ledger",
    "data_checksum",
    "data_folders",
    "hand_run",
    "key_part",
    "missing_data",
    "read_json",
    "repetitions",
    "resolve",
    "run_key",
    "run_name",
    "signature",
    "state_now",
    "table",
    "unwritable",
    "write_json",
    "write_text",
]

_log = logging.getLogger(__name__)

NO_DATA = "none"
"""Checksum of an experiment that reads nothing from `Data/`."""

ENDED = ("done", "diverged")
"""States of a repetition that is not to be started again."""

TRIES = 3
LEDGER_TAIL = 65_536
"""So many bytes of the ledger are searched before a line is added."""

HAND = re.compile(r"hand-[0-9a-f]{6}")
"""Names of runs that were started by hand with arguments of their own."""

_RUN_FOLDER = re.compile(rf"(.+)x([0-9]+|{HAND.pattern})")
_REPETITION_FOLDER = re.compile(r"(.+)__([0-9]+)")


class RunExists(Exception):
    """A run of this number is there already and is another one, or is not to be started again."""


def write_json(path: str | os.PathLike[str], content: object) -> None:
    """Write a file as JSON so that readers see the old content or the new one, never a part.

    Parameters
    ----------
    path : path
        The file; its folder must exist.
    content : object
        Anything that JSON knows.
    """
    write_text(Path(path), json.dumps(content, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file so that readers see the old content or the new one, never a part."""
    process = f"{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}"
    temporary = path.with_name(f".{path.name}.{process}")
    try:
        with open(temporary, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the content of a JSON file.

    Raises
    ------
    OSError
        If it cannot be read, after three tries: on a network file system a file may be replaced
        while it is being opened.
    ValueError
        If it is not JSON.
    """
    for _ in range(TRIES - 1):
        try:
            return json.loads(Path(path).read_bytes())
        except FileNotFoundError:
            raise
        except OSError:
            time.sleep(0.05)
    return json.loads(Path(path).read_bytes())


def data_folders(script_path: str | os.PathLike[str]) -> list[str]:
    """Return the folders below `Data/` that an experiment reads.

    Those of its line ``DATA = [...]``, or without that line all of ``region*``.

    Raises
    ------
    ValueError
        If ``DATA`` is not a list of texts.
    FileNotFoundError
        If ``DATA`` names a folder that is not there while others are.
    """
    path = Path(script_path)
    declared = module_constants(parse_file(path)).get("DATA")
    if declared is None:
        return sorted(entry.name for entry in _entries(paths.data_dir(), "region"))
    try:
        folders = ast.literal_eval(declared)
    except ValueError:
        folders = None
    if not isinstance(folders, list) or not all(isinstance(name, str) for name in folders):
        raise ValueError(
            f"DATA in {path} is {ast.unparse(declared)}; it is a list of folders below Data/. "
            'Write it like DATA = ["region1"].'
        )
    there = sorted(entry.name for entry in _entries(paths.data_dir()) if entry.is_dir())
    missing = [name for name in folders if not (paths.data_dir() / name).exists()]
    if missing and there:  # with no data at all, the experiment says how to get some
        raise FileNotFoundError(
            f"DATA in {path} names {missing[0]}, which is not in {paths.data_dir()}; there are "
            f"{', '.join(there)}. Name one of those, or bring the folder; `make data` writes a "
            "synthetic stand-in for each of region1 to region3."
            f"{nearest(missing[0], there)}"
        )
    return folders


def data_checksum(folders: Iterable[str]) -> str:
    """Return a checksum of the contents of data folders.

    It depends on names and contents alone. The contents' checksums are taken from the manifest
    where a file has the size and time that it was listed with; others are read.

    Parameters
    ----------
    folders : iterable of str
        Folders (or files) below `Data/`, as from `data_folders`.

    Returns
    -------
    str
        SHA-256 in hex digits; `NO_DATA` when there is no file.
    """
    root = paths.data_dir()
    listed = manifest.read(root)
    lines = set()
    for folder in folders:
        for path in _files(root / folder):
            name = path.relative_to(root).as_posix()
            status, line = path.stat(), listed.get(name)
            now = (status.st_size, status.st_mtime_ns)
            if line is not None and now == (line["bytes"], line["mtime_ns"]):
                content = line["sha256"]
            else:
                content = manifest.sha256_of(path)
            lines.add(f"{content}  {name}\n")
    if not lines:
        return NO_DATA
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _files(path: Path) -> Iterator[Path]:
    """Every file below a folder, without hidden ones, which file servers leave behind."""
    if path.is_file():
        yield path
        return
    for entry in _entries(path):
        yield from _files(Path(entry.path))


def _entries(folder: Path, prefix: str = "") -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if entry.name.startswith(prefix)]
    except OSError:
        return []
    return [entry for entry in found if not entry.name.startswith(".")]


def missing_data(before: str | None, now: str) -> str | None:
    """Return what to say where a run was trained with data and there are none now.

    Parameters
    ----------
    before, now : str
        Checksums, as from `data_checksum`.
    """
    if now != NO_DATA or before in (None, NO_DATA):
        return None
    return (
        f"was trained with data that are not in {paths.data_dir()} any more. Bring them back, or "
        "set BENCH_DATA to where they are."
    )


def code_version() -> dict[str, Any]:
    """Return the commit of the checkout and whether it is clean; None for each without git."""
    answers = []
    for command in (["rev-parse", "HEAD"], ["status", "--porcelain"]):
        try:
            done = subprocess.run(
                ["git", *command],
                cwd=paths.ROOT,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=20,
            )
        except (OSError, subprocess.TimeoutExpired):
            return {"commit": None, "clean": None}
        if done.returncode != 0:
            return {"commit": None, "clean": None}
        answers.append(done.stdout.strip())
    return {"commit": answers[0], "clean": not answers[1]}


def run_key(exp_folder: str, exp: str, arguments: Mapping[str, object], data_checksum: str) -> str:
    """Return what tells whether two runs of one number are the same run.

    Parameters
    ----------
    exp_folder, exp : str
        Group and experiment.
    arguments : mapping
        All hyper-parameters, as `resolve` gives them.
    data_checksum : str
        As from `data_checksum`.

    Returns
    -------
    str
        SHA-256 of the sorted JSON of these, in hex digits.
    """
    parts = [key_part(name, arguments[name]) for name in sorted(arguments)]
    return RunKeys(exp_folder, exp, data_checksum).key(parts)


class RunKeys:
    """The keys of an experiment's runs, where there are so many that each has to be cheap."""

    def __init__(self, exp_folder: str, exp: str, data_checksum: str):
        others = {"data": data_checksum, "exp": exp, "exp_folder": exp_folder}
        self._end = f"}},{_canonical(others)[1:]}"

    def key(self, parts: Iterable[str]) -> str:
        """Return what `run_key` does, for all hyper-parameters, each as `key_part`, by name."""
        text = f'{{"arguments":{{{",".join(parts)}{self._end}'
        return hashlib.sha256(text.encode()).hexdigest()


def key_part(name: str, value: object) -> str:
    """Return a hyper-parameter as it stands in the JSON of which `run_key` is the checksum."""
    return f"{_canonical(name)}:{_canonical(value)}"


def _canonical(content: object) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def hand_run(key: str) -> str:
    """Return the name of a run that was started by hand with arguments of its own."""
    return f"hand-{key[:6]}"


def run_name(exp_folder: str, exp: str, run: int | str) -> str:
    """Return a run as it is written on a command line, ``GROUP/EXP:3``."""
    return f"{exp_folder}/{exp}:{run}"


def repetitions(
    exp_folder: str | None = None, exp: str | None = None, run: int | str | None = None
) -> list[dict[str, Any]]:
    """Return what the `run.json` files say, one dict per repetition.

    Parameters
    ----------
    exp_folder, exp : str, optional
        Only this group, this experiment.
    run : int or str, optional
        Only this run.

    Returns
    -------
    list of dict
        In the order of group, experiment, run and repetition. Besides the file's content each has
        ``path``, the file. Of a file that cannot be read, only what its place says is known, and
        its state is ``"unreadable"``.
    """
    found = []
    for group in _folders(paths.logs_root(), exp_folder):
        exact = None if exp is None or run is None else paths.run_folder(exp, run)
        for folder in _folders(group, exact):
            named = _RUN_FOLDER.fullmatch(folder.name)
            if named is None or (exp is not None and named[1] != exp):
                continue
            if run is not None and named[2] != str(run):
                continue
            number = int(named[2]) if named[2].isdigit() else named[2]
            place = {"exp_folder": group.name, "exp": named[1], "run": number}
            for part in _folders(folder):
                info = _repetition(part, place)
                if info is not None:
                    found.append(info)
    return sorted(found, key=_order)


def _folders(parent: Path, name: str | None = None) -> list[Path]:
    # the one folder is asked for by name: a file server may list a new one late, and a listing of
    # 100 000 takes its time
    if name is not None:
        return [parent / name] if (parent / name).is_dir() else []
    return [Path(entry.path) for entry in _entries(parent) if entry.is_dir()]


def _repetition(folder: Path, place: dict[str, Any]) -> dict[str, Any] | None:
    named = _REPETITION_FOLDER.fullmatch(folder.name)
    if named is None:
        return None
    path = folder / "run.json"
    place = {**place, "repetition": int(named[2]), "name": named[1], "path": path}
    try:
        content = read_json(path)
        if not (isinstance(content, dict) and is_sound(content)):
            return {**place, "state": "unreadable"}
        return {**content, **place}
    except (FileNotFoundError, NotADirectoryError):
        return None  # a folder that something else made
    except (OSError, ValueError, RecursionError):
        return {**place, "state": "unreadable"}


def _order(info: Mapping[str, Any]) -> tuple[Any, ...]:
    run = info["run"]
    numbered = (0, run, "") if isinstance(run, int) else (1, 0, run)
    return info["exp_folder"], info["exp"], *numbered, info["repetition"]


def state_now(info: Mapping[str, Any]) -> str:
    """Return a repetition's state, ``"interrupted"`` when it is noted as running but does not.

    Only a process of this host can be asked for; a run of another one stays ``"running"``.

    Parameters
    ----------
    info : mapping
        Content of a `run.json`.
    """
    state = str(info["state"])
    if state != "running" or info.get("host") != socket.gethostname():
        return state
    if job_node.here(dict(info)):
        return state if job_node.lives(dict(info)) else "interrupted"
    boot, now = (
        str(place).partition(" ")[0] for place in (info.get("machine"), job_node.machine())
    )
    return state if not now or boot == now else "interrupted"  # this host was started anew since


def table(
    exp_folder: str | None = None, exp: str | None = None, run: int | str | None = None
) -> "pandas.DataFrame":
    """Return all repetitions as a table.

    Parameters
    ----------
    exp_folder, exp, run
        As in `repetitions`.

    Returns
    -------
    DataFrame
        One row per repetition, in the order of `repetitions`: ``exp_folder, exp, run, repetition,
        seed, name, state``, a column per argument (lists as JSON), a column per score (``score_…``
        where the name is taken), ``seconds`` [s], ``host``, ``log_dir``, ``model_path``.
    """
    import pandas

    infos = repetitions(exp_folder, exp, run)
    for path in (info["path"] for info in infos if info["state"] == "unreadable"):
        _log.warning("%s is damaged; start the run again with --resume to mend it", path)
    first = ["exp_folder", "exp", "run", "repetition", "seed", "name", "state"]
    last = ["seconds", "host", "log_dir", "model_path"]
    arguments = dict.fromkeys(name for info in infos for name in info.get("arguments", {}))
    taken = {*first, *last, *arguments}
    scores = {
        name: f"score_{name}" if name in taken else name
        for name in dict.fromkeys(name for info in infos for name in info.get("scores", {}))
    }
    rows = []
    for info in infos:
        row: dict[str, Any] = {name: info.get(name) for name in (*first, *last)}
        row["state"] = state_now(info)
        for name in ("log_dir", "model_path"):
            if row[name] is not None:
                row[name] = str(paths.results_dir() / row[name])
        for name, value in info.get("arguments", {}).items():
            row[name] = json.dumps(value) if isinstance(value, (list, dict)) else value
        for name, value in info.get("scores", {}).items():
            row[scores[name]] = value
        rows.append(row)
    return pandas.DataFrame(rows, columns=[*first, *arguments, *scores.values(), *last])


def ledger_line(exp_folder: str, exp: str, run: int | str, name: str) -> str:
    """Return the ledger's line of a finished run."""
    return f"{exp_folder}/{paths.run_folder(exp, run)}/{name}"


def add_to_ledger(exp_folder: str, exp: str, run: int | str, name: str) -> None:
    """Add a finished run to the ledger, unless it was added lately.

    A courtesy to readers: on a network file system a line can be lost when two hosts append at
    the same time. `utils.ledger` brings it back, and takes away what stands there twice.
    """
    path, line = paths.ledger_file(), ledger_line(exp_folder, exp, run, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as stream:
        # not all of it: a hundred thousand runs would each read a hundred thousand lines
        stream.seek(max(0, stream.tell() - LEDGER_TAIL))
        if line.encode() not in stream.read().splitlines():
            stream.write(f"{line}\n".encode())
