"""The GPUs of this machine, found without a library for them, and who gets which."""

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

VARIABLE = "CUDA_VISIBLE_DEVICES"
NONE = "none"
ANSWER_S = 10.0

_NAME = re.compile(r"\d+|(GPU|MIG)-[0-9A-Za-z/-]+")


def visible(devices: Path = Path("/dev")) -> list[str]:
    """Return what programs may be told to use, as `CUDA_VISIBLE_DEVICES` names it.

    That variable has the last word where it is set: somebody shares the GPUs out.

    Parameters
    ----------
    devices : Path
        Folder with the devices of the machine.
    """
    given = os.environ.get(VARIABLE)
    if given is None:
        return [str(number) for number in range(_count(devices))]
    # CUDA itself stops reading at the first word that names none, such as -1
    return list(itertools.takewhile(_NAME.fullmatch, (word.strip() for word in given.split(","))))


def _count(devices: Path) -> int:
    found = [path for path in devices.glob("nvidia*") if path.name[6:].isdigit()]
    if found or not shutil.which("nvidia-smi"):
        return len(found)
    try:  # under WSL the devices have other names
        said = subprocess.run(
            ["nvidia-smi", "-L"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    lines = said.stdout.splitlines() if said.returncode == 0 else []
    return sum(bool(re.match(r"GPU \d+:", line)) for line in lines)


def chosen(text: str, there: Sequence[str]) -> list[str]:
    """Return the GPUs that a text such as ``0,1`` names.

    Parameters
    ----------
    text : str
        What was given behind ``--gpus``.
    there : list of str
        The GPUs of this machine, as from `visible`.

    Raises
    ------
    ValueError
        If one is not there, or named twice.
    """
    names = [word.strip() for word in text.split(",")]
    for name in names:
        # a name that is no number is known to nobody but the driver
        named_otherwise = not name.isdigit() and all(gpu.isdigit() for gpu in there)
        if not _NAME.fullmatch(name) or (name not in there and not named_otherwise):
            raise ValueError(
                f"--gpus is {text!r}; this machine has {', '.join(there)}. Name some of these, "
                "with commas between them."
            )
    if len(set(names)) < len(names):
        raise ValueError(
            f"--gpus is {text!r}, which names a GPU twice; once is allowed. For several runs at a "
            "time on one GPU say so with --jobs."
        )
    return names


def shares(names: Sequence[str], each: int) -> list[dict[str, str]]:
    """Return the variables of each share of so many GPUs; what is left over belongs to nobody.

    Parameters
    ----------
    names : list of str
        The GPUs.
    each : int
        GPUs of one run.
    """
    groups = [names[begin : begin + each] for begin in range(0, len(names), each)]
    return [{VARIABLE: ",".join(group)} for group in groups if len(group) == each]
