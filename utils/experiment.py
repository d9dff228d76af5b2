"""Turns the train function of an experiment file into a command.

An experiment file ends with ``experiment.main(train)``. The parameters of `train` behind the
first, which receives the run, become the command's flags. The command decides which run this is,
refuses what would break the promise of its number, claims it when it was started by hand, and
answers with an exit status: 0 all done, 3 some repetitions diverged, 2 refused, 1 failed,
128 + n stopped by signal n.
"""

import contextlib
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from NDN3 import compile_cache
from utils import experiment_flags as flags
from utils import grid, job_node, paths, progress, registry, run_names, signatures
from utils.run import NothingToDo, Refused, Run

_HERE = Path(job_node.__file__).resolve().parents[1]
OUR_CODE = [(_HERE / name).resolve() for name in ("utils", "NDN3")]

Train = Callable[..., object]

SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGXCPU")
REPEATED_S = 1.0
"""Signals so close together ask once: an engine tells every process of a job, and the wrapper its
program [s]."""

_TOGETHER = re.compile(r"--together=(\d+)")  # how the launcher starts a program for several runs


class Stopped(SystemExit):
    """A signal asked the program to end; the exit status is 128 + its number."""

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.number = number


def main(train: Train | Mapping[str, Train], exp: str | None = None) -> None:
    """Run an experiment as the command line says, and end the program.

    Parameters
    ----------
    train : callable, or dict of str to callable
        ``train(run, …)``, defined in the experiment's file, or one such function for each part of
        a file with several, by the experiment it stands for. Without ``--exp`` the parts run one
        after the other.
    exp : str, optional
        Name of the experiment when it is not the file's.
    """
    # TensorFlow greets on the error stream, and calls a machine without a GPU an error
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    compile_cache.switch_on()
    # a part without a name is called after the file
    parts = dict(train) if isinstance(train, Mapping) else {"": train}
    script = Path(next(iter(parts.values())).__code__.co_filename).resolve()

    def start(argv: Sequence[str]) -> int:
        progress.set_up_logging()
        try:
            statuses = _started(script, parts, exp or script.stem, argv)
        except (ValueError, OSError) as problem:
            unwritable = registry.unwritable(problem) if isinstance(problem, OSError) else None
            print(unwritable or problem, file=sys.stderr)
            return 1 if unwritable else 2
        # the first of these that happened
        return next((status for status in (1, 2, 3) if status in statuses), 0)

    if (descriptor := _TOGETHER.fullmatch(" ".join(sys.argv[1:]))) is None:
        sys.exit(start(sys.argv[1:]))
    from utils import together  # of no use where there are no such sockets

    try:
        channel = together.connect(int(descriptor[1]))
    except ValueError as problem:
        print(problem, file=sys.stderr)
        sys.exit(2)
    sys.exit(together.serve(channel, start))


def _started(
    script: Path, parts: dict[str, Train], default_exp: str, argv: Sequence[str]
) -> set[int]:
    """Start what is asked for; return the exit statuses."""
    named = list(parts) if "" not in parts else [default_exp]
    if any(word in ("-h", "--help") for word in argv):
        header = getattr(sys.modules.get("__main__"), "__doc__", None)
        print(flags.explained(script, _shown(script), header or "", named))
        return {0}
    chosen = flags.value_of("exp", argv)
    if chosen is not None:
        grid.check_name("--exp", chosen)
        named = [chosen]
    # everything is checked before anything is started
    prepared = [_prepare(script, exp, argv) for exp in named]
    statuses = set()
    for run, options in prepared:
        function = parts.get("") or parts[signatures.part_of(parts, run.exp) or ""]
        statuses.add(_one_run(run, options, function))
    return statuses


def _prepare(script: Path, exp: str, argv: Sequence[str]) -> tuple[Run, flags.Options]:
    declared = signatures.signature(script, exp)
    options = flags.parse_flags(argv, declared)
    given = {
        name: signatures.parse(name, declared[name][1], text)
        for name, text in options.texts.items()
    }
    arguments = registry.resolve(script, exp, given)
    exp_folder = options.values.get("exp_folder", script.parent.name)
    grid.check_name("--exp_folder", exp_folder)
    grid.check_name("--exp", exp)
    data = registry.data_checksum(registry.data_folders(script))
    request = options.request()
    run: int | str
    if "run" in options.values:
        run = _run_id(options.values["run"])
    elif all(arguments[name] == default for name, (default, _) in declared.items()) and _is_free(
        exp_folder, exp, arguments
    ):
        run = 0
    else:
        run = registry.hand_run(registry.run_key(exp_folder, exp, arguments, data))
    promised = options.values.get("key")
    if promised not in (None, registry.run_key(exp_folder, exp, arguments, data)):
        raise Refused(
            f"{registry.run_name(exp_folder, exp, run)} was sent with other defaults or other data "
            "than there are now; take the change back, or remove the run and send it again"
        )
    return Run(exp_folder, exp, run, arguments, data, request), options


def _is_free(exp_folder: str, exp: str, arguments: dict[str, Any]) -> bool:
    """Whether run 0 is not one of a grid, which counts in its own way.

    Raises
    ------
    Refused
        If the grid has these arguments under another number.
    """
    first = registry.repetitions(exp_folder, exp, 0)
    if all(info.get("arguments", arguments) == arguments for info in first):
        return True
    for info in registry.repetitions(exp_folder, exp):
        if isinstance(info["run"], int) and info.get("arguments") == arguments:
            raise Refused(
                f"these arguments are run {info['run']} of {exp_folder}/{exp}: give "
                f"--run {info['run']}"
            )
    return False


def _run_id(text: str) -> int | str:
    if text.isdecimal():
        return run_names.numbers(text, "--run")[0]
    if registry.HAND.fullmatch(text):
        return text
    raise ValueError(
        f"--run is {text!r}; it is a number from 0 on, or hand- and six hexadecimal digits. Give "
        "one, or leave it out."
    )


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _one_run(run: Run, options: flags.Options, train: Train) -> int:
    """Train one run; return the exit status."""
    try:
        run.existing()
        with _claimed(run, options) as outcome:
            _train(run, train, outcome)
    except (registry.RunExists, Refused) as problem:
        print(problem, file=sys.stderr)
        return 2
    return outcome.status


@dataclass
class Outcome:
    """How a run ended, what was recorded of it before, and whether that is to change."""

    earlier: str = "new"
    began: bool = True
    status: int = 0
    reason: str = ""
    diverged: int = 0
    signal: int | None = None


def _train(run: Run, train: Train, outcome: Outcome) -> None:
    arguments = ", ".join(f"{n}={signatures.as_text(v)}" for n, v in run.arguments.items())
    print(f"{run}: {arguments}".rstrip(": "), flush=True)
    try:
        train(run, **run.arguments)
    except NothingToDo as nothing:
        print(nothing)
        outcome.status, outcome.began = nothing.status, outcome.earlier != "done"
        return
    except (registry.RunExists, Refused):
        outcome.began = False
        raise
    except (Stopped, KeyboardInterrupt):
        raise
    except (Exception, SystemExit) as problem:
        reason = _explain(problem)
        outcome.status, outcome.reason = 1, reason
        if run.started is not None:
            run.started.fail_rest(reason)
        return
    _judge(run, outcome)


def _explain(problem: BaseException) -> str:
    """Show where the experiment's own code failed, or a sentence that was meant for the user.

    Returns
    -------
    str
        The reason, in one line.
    """
    sentence = _sentence(problem)
    if sentence is not None:
        print(sentence, file=sys.stderr)
    else:
        frames = problem.__traceback__.tb_next if problem.__traceback__ else None
        traceback.print_exception(type(problem), problem, frames)
    said = sentence or traceback.format_exception_only(problem)[-1]
    return said.partition("\n")[0][:500]


def _sentence(problem: BaseException) -> str | None:
    """Return what a problem says where that is all there is to say, None for a fault in code."""
    # without an error number it was raised with a sentence for the user, and not by the system
    if isinstance(problem, FileNotFoundError) and problem.errno is None:
        return str(problem)
    if isinstance(problem, OSError):
        return registry.unwritable(problem)
    frames = traceback.extract_tb(problem.__traceback__)
    if not isinstance(problem, ValueError) or not frames:
        return None
    # ours has a sentence where it says `raise`; what Python itself refuses there is a fault
    where = Path(frames[-1].filename).resolve()
    ours = any(where.is_relative_to(folder) for folder in OUR_CODE)
    return str(problem) if ours and (frames[-1].line or "").startswith("raise ") else None


def _judge(run: Run, outcome: Outcome) -> None:
    """Set the exit status after the train function has returned."""
    if run.started is None:
        outcome.status = 1
        outcome.reason = (
            f"{run}: train returned without run.repetitions(); a run consists of repetitions. "
            "Call it and finish each."
        )
    elif left := run.started.fail_rest("train returned before the repetition was finished"):
        outcome.status = 1
        outcome.reason = (
            f"{run}: train returned and {left} repetitions were not finished; each ends with "
            "finish, diverged or failed. Call one of these."
        )
    if outcome.reason:
        print(outcome.reason, file=sys.stderr)
        return
    states = run.started.states() if run.started is not None else {}
    outcome.diverged = states.get("diverged", 0)
    outcome.status = 1 if states.get("failed") else 3 if outcome.diverged else 0
    if outcome.status == 1:
        outcome.reason = f"{states['failed']} repetitions failed"
    logs = paths.logs_root() / run.exp_folder / paths.run_folder(run.exp, run.run)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    print(f"{run}: {counts}; see {_shown(logs)}")


@contextlib.contextmanager
def _claimed(run: Run, options: flags.Options) -> Iterator[Outcome]:
    """Hold the claim of a run that was started by hand, and record how it ended.

    A run that the launcher has started is claimed and recorded by `utils.job_node` beside it.
    """
    outcome = Outcome()
    if os.environ.get("BENCH_JOB"):
        with _signals(run, outcome):
            yield outcome
        return
    jobs, (part, parts) = paths.jobs_dir(run.exp_folder, run.exp), options.part()
    about: dict[str, Any] = {"token": None, "task": None}
    about["repetitions"] = options.values.get("repetitions")
    if part:
        about["parts"] = parts
    attempt, outcome.earlier = job_node.latest(jobs, run.run, part)
    mine = outcome.earlier != "running" and job_node.claim(jobs, run.run, part, attempt + 1, about)
    if not mine:
        newest = job_node.newest_attempt(jobs, run.run, part)
        holder = job_node.state_file(jobs, run.run, part, newest, "claim")
        info = job_node.read_json(holder)
        raise registry.RunExists(
            f"{run} is being run by process {info.get('pid', '?')} on {info.get('host', '?')}; a "
            "run is trained once at a time. Wait for it, or stop it."
        )
    claim = job_node.state_file(jobs, run.run, part, attempt + 1, "claim")
    heartbeat = job_node.Heartbeat(claim)
    start, begin = job_node.now_iso(), time.monotonic()
    try:
        with _signals(run, outcome):
            yield outcome
    finally:
        heartbeat.stop()
        if not outcome.began:
            Path(claim).unlink(missing_ok=True)  # what is recorded of the run holds as before
        else:
            info = {
                **about,
                **job_node.own_process(),
                "start": start,
                "end": job_node.now_iso(),
                "seconds": round(time.monotonic() - begin, 3),
                "exit": outcome.status,
                "reason": outcome.reason,
                "signal": outcome.signal,
                "arguments": run.arguments,
            }
            if outcome.diverged:
                info["diverged"] = outcome.diverged
            ended = "cancelled" if outcome.signal else "failed" if outcome.status == 1 else "done"
            _record(run, part, attempt + 1, ended, info, outcome)


def _record(
    run: Run, part: int, attempt: int, ended: str, info: dict[str, Any], outcome: Outcome
) -> None:
    try:
        jobs = paths.jobs_dir(run.exp_folder, run.exp)
        job_node.record(jobs, run.run, part, attempt, ended, info)
    except OSError as problem:
        print(
            f"{run}: its record cannot be written ({problem}); it counts as lost", file=sys.stderr
        )
        outcome.status = outcome.status or 1


@contextlib.contextmanager
def _signals(run: Run, outcome: Outcome) -> Iterator[None]:
    """Let signals end the block by `Stopped`; they are ignored while what follows is recorded."""
    heard = float("-inf")

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        if time.monotonic() - heard < REPEATED_S:
            return  # what an experiment saves when it is stopped is not to be torn apart
        heard = time.monotonic()
        raise Stopped(number)

    def unraisable(lost: "sys.UnraisableHookArgs") -> None:
        """Send a signal again that came where errors are lost: in a `__del__`, in the collector."""
        nonlocal heard
        if isinstance(lost.exc_value, Stopped):
            heard = float("-inf")
            threading.Timer(0.01, os.kill, (os.getpid(), lost.exc_value.number)).start()
        else:
            others(lost)

    others, sys.unraisablehook = sys.unraisablehook, unraisable
    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    except (Stopped, KeyboardInterrupt) as end:
        outcome.signal = end.number if isinstance(end, Stopped) else signal.SIGINT
        outcome.status = 128 + outcome.signal
        outcome.reason = f"stopped by {signal.Signals(outcome.signal).name}"
        print(f"{run}: {outcome.reason}; --resume continues it.", file=sys.stderr)
        raise Stopped(outcome.signal) from None
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        sys.unraisablehook = others
