"""What a grid leaves behind, in a form in which two grids can be compared bit by bit."""

import io
import json
import zipfile

import numpy as np

from NDN3 import events

ENDED = ("done", "diverged")


def bits(results):
    """Everything of a folder of results that has to be the same when a grid is trained again.

    Parameters
    ----------
    results : Path
        Such as ``training_data/``.

    Returns
    -------
    dict
        (kind, place) -> content, comparable with ``==``. The kinds are ``model`` (the bytes, types
        and shapes of its arrays), ``curves`` (each value of each summary), ``scores`` (with seed
        and state) and ``files`` (what a folder of results holds; curves may lie in several files).
    """
    found = {}
    for path in sorted((results / "models").rglob("*.ndnmod")):
        found["model", _place(path, results)] = arrays(path)
    for path in sorted((results / "logs").rglob("run.json")):
        told = json.loads(path.read_bytes())
        place = _place(path.parent, results)
        scores = sorted((told.get("scores") or {}).items())
        found["scores", place] = (told["state"], told["seed"], repr(scores))
        for part in ("train", "test"):
            found["curves", f"{place}/{part}"] = curves(path.parent / "summaries" / part)
    for root in (results / "logs", results / "models"):
        for folder in sorted(path for path in root.rglob("*") if path.is_dir()):
            names = {_kind(path.name) for path in folder.iterdir() if path.is_file()}
            found["files", _place(folder, results)] = names
    return found


def arrays(path):
    """Name -> (type, shape, bytes) of each array of a model file."""
    with zipfile.ZipFile(path) as archive:
        stored = io.BytesIO(archive.read("arrays.npz"))
    with np.load(stored, allow_pickle=False) as held:
        return {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in held.items()}


def curves(folder):
    """Every scalar in a folder of summaries as (tag, step, value), sorted; a copy shows twice."""
    return sorted(
        (tag, step, repr(value))
        for file in events.event_files(folder)
        for step, _, tag, value in events.read_events(file)
    )


def differences(wanted, found):
    """What is missing, too much or different, one line each; no line when all is equal."""
    lines = []
    for kind, place in sorted(wanted.keys() | found.keys()):
        if (kind, place) not in found:
            lines.append(f"{kind} of {place} is missing")
        elif (kind, place) not in wanted:
            lines.append(f"{kind} of {place} is not in the undisturbed grid")
        elif wanted[kind, place] != found[kind, place]:
            lines.append(f"{kind} of {place} differs")
    return lines


def left_behind(results):
    """Checkpoints, temporary files, locks and half-removed folders, which should not be there."""
    return sorted(
        _place(path, results)
        for path in results.rglob("*")
        if path.name in ("checkpoint.npz", "lock")
        or (path.name.startswith(".") and path.name != ".jobs")
    )


def finished(results):
    """Place -> bytes of the `run.json` of each repetition that has ended."""
    found = {}
    for path in (results / "logs").rglob("run.json"):
        content = path.read_bytes()
        if json.loads(content)["state"] in ENDED:
            found[_place(path.parent, results)] = content
    return found


def _place(path, results):
    return path.relative_to(results).as_posix()


def _kind(name):
    """A file's name without the time and process that event files carry in theirs."""
    if not name.startswith("events.out.tfevents"):
        return name
    return "hyper-parameters" if "hparams" in name else "summaries"
