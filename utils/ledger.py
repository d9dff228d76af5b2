"""`experiments.txt`: a line for each finished run, brought up to date from what is known of runs.

Programs add their line when a run ends, a courtesy that a file server may lose. Here the lines are
compared with the states of the runs, which stand in names of files, and only where they differ
`run.json` files are read: a hundred thousand finished runs cost nothing again.
"""

import contextlib
import os
from collections.abc import Mapping

from utils import paths, registry, states

Place = tuple[str, str]
Runs = Mapping[states.RunId, states.RunState]


def refresh(known: Mapping[Place, Runs] | None = None, always: bool = False) -> bool:
    """Write the ledger anew when a record is younger, or it is gone.

    Parameters
    ----------
    known : dict, optional
        For (group, experiment) the states of its runs, where somebody has just asked for them.
    always : bool
        Whether to do it in any case: a run that was removed leaves no record.

    Returns
    -------
    bool
        Whether it was not up to date.
    """
    newest = max(map(_youngest, states.with_jobs()), default=0)
    with contextlib.suppress(FileNotFoundError):
        if paths.ledger_file().stat().st_mtime_ns >= newest and not always:
            return False
    there = states.experiments()
    if not there and not paths.ledger_file().exists():
        return False
    known = known or {}
    every = {
        place: known[place] if place in known else states.states(*place, runs)
        for place, runs in there.items()
    }
    update(every)
    # not the present time: a record may have come while the states were read
    os.utime(paths.ledger_file(), ns=(newest, newest))
    return True


def _youngest(place: Place) -> int:
    """When the last claim or record of an experiment came [ns]; 0 for none."""
    folders = states.state_folders(paths.jobs_dir(*place))
    return max((os.stat(folder).st_mtime_ns for folder in folders), default=0)


def update(every: Mapping[Place, Runs]) -> list[str]:
    """Write a line for each finished run, in the order in which they ended.

    A line stays unread where the run is done by its record. Where it is not, or where a run that
    is done has no line, its `run.json` files tell whether all repetitions have ended.

    Parameters
    ----------
    every : dict
        For each (group, experiment) that there is the states of its runs.

    Returns
    -------
    list of str
        The lines.
    """
    before = _lines()
    listed: dict[tuple[str, str], list[str]] = {}
    for line in before:
        group, _, rest = line.partition("/")
        listed.setdefault((group, rest.partition("/")[0]), []).append(line)
    kept: set[str] = set()
    added: list[tuple[str, str]] = []
    for (group, exp), runs in every.items():
        for run, state in runs.items():
            lines = listed.get((group, paths.run_folder(exp, run)), [])
            # a line that was torn, or runs into another one, has other parts than these
            if state.state == "done" and len(lines) == 1 and lines[0].count("/") == 2:
                kept.add(lines[0])
            elif state.state == "done" or lines:
                end, line = _as_told(group, exp, run)
                if line in lines:
                    kept.add(line)
                elif line:
                    added.append((end, line))
    after = [line for line in dict.fromkeys(before) if line in kept]
    after += [line for _, line in sorted(added)]
    if after != before or not paths.ledger_file().exists():
        paths.ledger_file().parent.mkdir(parents=True, exist_ok=True)
        registry.write_text(paths.ledger_file(), "".join(f"{line}\n" for line in after))
    return after


def _as_told(group: str, exp: str, run: states.RunId) -> tuple[str, str]:
    """Return when a run ended and its line, both empty when a repetition has not ended."""
    told = registry.repetitions(group, exp, run)
    if not told or any(info["state"] not in registry.ENDED for info in told):
        return "", ""
    end = max(str(info.get("end")) for info in told)
    return end, registry.ledger_line(group, exp, run, told[0]["name"])


def _lines() -> list[str]:
    try:
        text = paths.ledger_file().read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return text[: text.rfind("\n") + 1].splitlines()  # a line ends, or was torn
