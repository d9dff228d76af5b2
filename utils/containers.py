"""Commands in the container of `containers/`: argument lists of engines, and `containers/runcmd`.

This must run on the Python of a machine that has nothing but a container engine, so it takes the
standard library and `utils.paths`, and syntax of Python 3.8.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from utils import paths

NAME = "neuro-bench"
ENGINES = ("docker", "podman")
BUILDERS = ("apptainer", "singularity")  # of image files, for clusters
WRONG_ARGUMENT = 2
NOT_STARTED = 125  # what engines themselves answer when they could not start a command
ANSWER_S = 30

USAGE = """containers/runcmd [--gpus] "COMMAND"

Runs a command in the container, as you and in this checkout; a shell inside reads it:

    containers/runcmd "python experiments/baseline/bl1.py --epochs 20"

--gpus takes the image with CUDA (make image GPU=1) and passes on the GPUs of this machine. The
checkout, BENCH_DATA and BENCH_RESULTS have the same paths inside. The exit status is the command's,
125 when it could not be started."""


class NotStarted(FileNotFoundError):
    """Something that a container needs is not there; the message is a whole sentence."""


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
    return next((name for name in ([wish] if wish else ENGINES) if _installed(name)), None)


def _installed(name: str) -> bool:
    program = shutil.which(name)
    if program is None:
        return False
    # a script called docker that calls podman takes podman's options, not docker's
    with open(program, "rb") as file:
        head = file.read(1000)
    return name == "podman" or not (head.startswith(b"#!") and b"podman" in head)


def _engine_or_refusal() -> str:
    program = engine()
    if program is None:
        raise NotStarted(missing_engine())
    return program


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
    NotStarted
        If there is no engine, a FileNotFoundError.
    ValueError
        If a path cannot be mounted: it is relative, or holds a comma, a quote or a control
        character.
    """
    program = program or _engine_or_refusal()
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


def moved() -> tuple[list[Path], dict[str, str]]:
    """Return the folders of data and results that lie elsewhere, and the variables that say so.

    Links are followed, because what a link names is not there inside.

    Raises
    ------
    ValueError
        If one of them does not exist.
    """
    folders, variables = [], {}
    for name, folder in (("BENCH_DATA", paths.data_dir()), ("BENCH_RESULTS", paths.results_dir())):
        place = folder.resolve()
        if os.environ.get(name):
            if not place.is_dir():
                raise ValueError(
                    f"{name} is {str(folder)!r}, and a container needs a folder that exists: "
                    f"create it with `mkdir -p {shlex.quote(str(folder))}`, or correct {name}."
                )
            variables[name] = str(place)
        if place.is_dir():
            folders.append(place)
    return folders, variables


def image_problem(program: str, gpus: bool = False) -> str | None:
    """Return why the image cannot be used, as a sentence; None when it is there."""
    name = image_name(gpus)
    make = f"make image{' GPU=1' if gpus else ''}"
    try:
        done = subprocess.run(
            [program, "image", "inspect", "--format", "{{.Id}}", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWER_S,
        )
    except subprocess.TimeoutExpired:
        return f"{program} did not answer within {ANSWER_S} s: see whether `{program} info` does."
    if done.returncode == 0:
        return None
    said = done.stderr.decode(errors="replace").strip()
    if any(words in said.lower() for words in ("no such image", "image not known")):
        return f"there is no image {name} on this machine: build it with `{make}`."
    last = said.splitlines()[-1] if said else f"exit status {done.returncode}"
    return (
        f"{program} does not answer ({last!r}): start it, or set BENCH_ENGINE to the other one of "
        f"{' and '.join(ENGINES)}."
    )


def build_command(program: str, root: Path, gpus: bool = False) -> list[str]:
    """Return the command line that builds the image with a container engine."""
    recipe = root / "containers" / "Dockerfile"
    options = ["--build-arg", f"GPU={int(gpus)}", "--tag", image_name(gpus), "--file", str(recipe)]
    return [program, "build", *options, str(root)]


def image_file(root: Path, gpus: bool = False) -> Path:
    """Return the file that `make apptainer` writes."""
    return root / "containers" / f"{NAME}-{'gpu' if gpus else 'cpu'}.sif"


def build_file_command(program: str, root: Path, gpus: bool = False) -> list[str]:
    """Return the command line that builds the image file; it has to be started in `root`."""
    recipe = root / "containers" / "apptainer.def"
    # without root, only a made-up one can install packages
    options = ["--fakeroot"] if hasattr(os, "getuid") and os.getuid() != 0 else []
    options += ["--force", "--build-arg", f"gpu={int(gpus)}"]
    return [program, "build", *options, str(image_file(root, gpus)), str(recipe)]


def terminal_options() -> list[str]:
    """Return the options with which a container gets this process's input and terminal."""
    try:
        if not os.isatty(0):
            return ["--interactive"]
        if os.tcgetpgrp(0) != os.getpgrp():
            return []  # in the background, whoever reads from the terminal is stopped
    except OSError:
        return []
    return ["--interactive", "--tty"] if os.isatty(1) else ["--interactive"]


def runcmd(arguments: Sequence[str]) -> int:
    """Become the container that runs a command; return an exit status when there is none.

    Parameters
    ----------
    arguments : list of str
        What was typed behind `containers/runcmd`.
    """
    _notice_closed_pipes()
    if list(arguments) in (["--help"], ["-h"]):
        print(USAGE)
        return 0
    try:
        gpus, command = _read(arguments)
        program = _engine_or_refusal()
        folders, variables = moved()
        here = Path.cwd()
        line = run_command(
            ["sh", "-c", command],
            root=paths.ROOT,
            folders=folders,
            environment=variables,
            gpus=gpus,
            program=program,
            working_folder=here if _within(here, paths.ROOT) else paths.ROOT,
            options=terminal_options(),
        )
        problem = image_problem(program, gpus)
        if problem:
            raise NotStarted(problem)
        _become(line)
    except ValueError as refused:
        print(refused, file=sys.stderr)
        return WRONG_ARGUMENT
    except OSError as problem:
        print(problem, file=sys.stderr)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return NOT_STARTED


def _read(arguments: Sequence[str]) -> tuple[bool, str]:
    """Return whether GPUs are asked for, and the command."""
    gpus = list(arguments[:1]) == ["--gpus"]
    words = list(arguments[1:] if gpus else arguments)
    if words and words[0].startswith("-"):
        raise ValueError(
            f"{words[0]!r} is not known here; the options are --gpus and --help, and they come "
            "before the command."
        )
    if len(words) > 1:
        whole = " ".join(map(shlex.quote, words))
        raise ValueError(
            f"the command is one argument, got {len(words)}: quote it as a whole, "
            f"containers/runcmd {shlex.quote(whole)}."
        )
    if not words or not words[0].strip():
        raise ValueError(
            "there is no command to run, one in quotes is needed: "
            'containers/runcmd "python -m utils.jobs list".'
        )
    return gpus, words[0]


def _become(line: Sequence[str]) -> None:
    """Replace this process, so that signals and the exit status are the container's own."""
    sys.stdout.flush()
    os.execvp(line[0], list(line))


def _notice_closed_pipes() -> None:
    """Let signals that Python ignores end this process, and what it becomes."""
    for name in ("SIGPIPE", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def main(arguments: Sequence[str]) -> int:
    """Build the image, or the image file, for `make`; return an exit status.

    Parameters
    ----------
    arguments : list of str
        ``image`` or ``apptainer``, and ``--gpus`` for the one with CUDA.
    """
    _notice_closed_pipes()
    wish, *options = [*arguments, ""]
    gpus = "--gpus" in options
    try:
        if wish == "image":
            line = build_command(_engine_or_refusal(), paths.ROOT, gpus)
        elif wish == "apptainer":
            builder = next((name for name in BUILDERS if shutil.which(name)), None)
            if builder is None:
                raise NotStarted(missing_builder())
            line = build_file_command(builder, paths.ROOT, gpus)
        else:
            raise ValueError(
                f"{wish!r} cannot be built, image and apptainer can: call `make image` or "
                "`make apptainer`."
            )
        print(" ".join(map(shlex.quote, line)))
        os.chdir(paths.ROOT)
        _become(line)
    except ValueError as refused:
        print(refused, file=sys.stderr)
        return WRONG_ARGUMENT
    except OSError as problem:
        print(problem, file=sys.stderr)
    return NOT_STARTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
