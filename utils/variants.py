"""The same grid with other arguments, under experiment names of its own: ``--set``, ``--as``."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from utils import grid, promises, signatures


def changed(runs: Sequence[grid.Run], settings: Sequence[str], label: str) -> list[grid.Run]:
    """Return the runs with some arguments changed, under experiment names of their own.

    Of several experiments those get an argument that have it, and all of them another name: what
    a stage makes of changed runs is not what it makes of the others. Needs among them follow.

    Parameters
    ----------
    runs : list of Run
        The grid.
    settings : list of str
        ``name=value``, the value as behind a flag.
    label : str
        What is appended to the experiment's name; six digits of the settings' checksum when empty.

    Raises
    ------
    ValueError
        If a setting is malformed, or no hyper-parameter of any experiment, or no value of its
        type.
    """
    if not settings and not label:
        return list(runs)
    texts = _texts(settings)
    if not label:
        canonical = json.dumps(texts, sort_keys=True).encode()
        label = f"set-{hashlib.sha256(canonical).hexdigest()[:6]}"
    grid.check_name("the label behind --as", label)
    declared: dict[tuple[str, str], signatures.Signature] = {}
    for run in runs:
        place = (run.script, run.exp)
        if place not in declared:
            declared[place] = signatures.signature(promises.script_file(run), run.exp)
    for name in texts:
        _check_known(name, declared)
    values = {
        place: {
            name: signatures.parse(name, its[name][1], text)
            for name, text in texts.items()
            if name in its
        }
        for place, its in declared.items()
    }
    here = {(run.exp_folder, run.exp) for run in runs}
    renamed: dict[tuple[grid.Need, ...], tuple[grid.Need, ...]] = {(): ()}
    found = []
    for run in runs:
        if run.needs not in renamed:
            renamed[run.needs] = tuple(
                replace(need, exp=f"{need.exp}_{label}")
                if (need.exp_folder, need.exp) in here
                else need
                for need in run.needs
            )
        arguments = {**run.arguments, **values[run.script, run.exp]}
        needs = renamed[run.needs]
        found.append(replace(run, exp=f"{run.exp}_{label}", arguments=arguments, needs=needs))
    return found


def _texts(settings: Sequence[str]) -> dict[str, str]:
    """Return the texts of the new values by the names of the arguments."""
    texts: dict[str, str] = {}
    for setting in settings:
        written, equals, text = setting.partition("=")
        name = written.replace("-", "_")
        if not equals:
            raise ValueError(f"--set {setting!r} has no value; write it like --set epochs=20")
        if name in texts:
            raise ValueError(
                f"--set gives {written} twice, as {texts[name]!r} and {text!r}; once is allowed. "
                "Leave one out."
            )
        texts[name] = text
    return texts


def _check_known(name: str, declared: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    """Refuse the name of a hyper-parameter that none of the experiments has."""
    if any(name in its for its in declared.values()):
        return
    names = ", ".join(dict.fromkeys(exp for _, exp in declared))
    allowed = dict.fromkeys(known for its in declared.values() for known in its)
    signatures.check_known(name, allowed, f"the grid of {names}" if len(declared) > 1 else names)
