"""Commands in the container of `containers/`: argument lists of engines, and `containers/runcmd`.

This must run on the Python of a machine that has nothing but a container engine, so it takes the
standard library and `utils.paths`, and syntax of Python 3.8.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

NAME = "neuro-bench"
ENGINES = ("docker", "podman")
BUILDERS = ("apptainer", "singularity")  # of image files, for clusters


def engine() -> str | None:
    """Return the container engine on the PATH, ``docker`` or ``podman``, or None.

    `BENCH_ENGINE` chooses where both are installed.

    Raises
    ------
    ValueError
        If `BENCH_ENGINE` names another one.
    """
    wish = os.environ.get("BENCH_ENGINE")
    if wish and wish not in ENGINES:
        raise ValueError(
            f"BENCH_ENGINE is {wish!r}, and {' or '.join(ENGINES)} can be used: set it to one of "
            "these, or unset it."
        )
    return next((name for name in ([wish] if wish else ENGINES) if shutil.which(name)), None)


def missing_engine() -> str:
    """Return the sentence for a machine without a container engine."""
    wish = os.environ.get("BENCH_ENGINE")
    where = (
        f"no {wish}, which BENCH_ENGINE asks for," if wish else f"neither {ENGINES[0]} nor podman"
    )
    return (
        f"there is {where} on the PATH of this machine: install one "
        "(Debian: apt-get install podman), or work without containers after `make env`."
    )


def missing_builder() -> str:
    """Return the sentence for a machine that cannot make image files for clusters."""
    return (
        f"there is neither {' nor '.join(BUILDERS)} on the PATH of this machine: install one "
        "(https://apptainer.org), or call `make apptainer` where the cluster has it."
    )


def image_name(gpus: bool = False) -> str:
    """Return the name of the image that `make image` builds."""
    return f"{NAME}:{'gpu' if gpus else 'cpu'}"


def run_command(
    command: Sequence[str],
    *,
    root: Path,
    folders: Sequence[Path],
    environment: dict[str, str],
    gpus: bool = False,
    program: str | None = None,
    working_folder: Path | None = None,
    options: Sequence[str] = (),
) -> list[str]:
    """Return the command line that runs a command in a container as the calling user.

    The checkout and the other folders have the same paths inside and outside, and code of the
    checkout comes before the copy of it in the image.

    Parameters
    ----------
    command : list of str
        Program and arguments, as they are found inside: ``python``, not ``env/bin/python``.
    root : Path
        The checkout.
    folders : list of Path
        Other folders that the command needs, such as moved data and results. Those that lie in
        the checkout are there already.
    environment : dict
        Variables that are set inside, besides those of the image.
    gpus : bool
        Whether the command gets the GPUs of this machine, and the image with CUDA.
    program : str, optional
        The engine; the one that `engine` finds when left out.
    working_folder : Path, optional
        Where the command is started; the checkout when left out.
    options : list of str
        Further options of the engine's ``run``.

    Raises
    ------
    FileNotFoundError
        If there is no engine.
    ValueError
        If a path cannot be mounted: it is relative, or holds a comma, a quote or a control
        character.
    """
    program = program or engine()
    if program is None:
        raise FileNotFoundError(missing_engine())
    # never the registry's: an image of this name that somebody else published is not ours
    words = [program, "run", "--rm", "--init", "--pull=never", *options]
    words += _as_caller(program)
    for folder in _without_nested([root, *folders]):
        words += ["--mount", _mount(folder)]
    for name, value in {"PYTHONPATH": str(root), **environment}.items():
        words += ["--env", f"{name}={value}"]
    if gpus:
        words += ["--device", "nvidia.com/gpu=all"] if program == "podman" else ["--gpus", "all"]
    words += ["--workdir", str(working_folder or root), image_name(gpus)]
    return [*words, *command]


def _as_caller(program: str) -> list[str]:
    if not hasattr(os, "getuid"):
        return []
    words = ["--user", f"{os.getuid()}:{os.getgid()}"]
    if program == "podman":
        # labels of SELinux would have to be changed on the user's own files
        words += ["--security-opt", "label=disable"]
        if os.getuid() != 0:
            # without root, podman maps the caller to root of the container unless told otherwise
            words.append("--userns=keep-id")
    return words


def _without_nested(folders: Sequence[Path]) -> list[Path]:
    """Return the folders, each once, without those that lie in an earlier one."""
    chosen: list[Path] = []
    for folder in folders:
        if not any(_within(folder, other) for other in chosen):
            chosen.append(folder)
    return chosen


def _within(path: Path, folder: Path) -> bool:
    return folder == path or folder in path.parents


def _mount(folder: Path) -> str:
    text = str(folder)
    if not folder.is_absolute():
        raise ValueError(
            f"{text!r} is relative, and a container's mounts are absolute: give the whole path."
        )
    if any(c in ",\"'" for c in text) or not text.isprintable():
        raise ValueError(
            f"{text!r} holds a comma, a quote or a control character, which mounts of containers "
            "may not hold: rename the folder, or move it."
        )
    return f"type=bind,source={text},target={text}"
