"""The command of every ``*_runner.py``: a grid is checked, planned, and run somewhere.

``python experiments/GROUP/EXP_runner.py ENVIRONMENT [options]``, or for an experiment without a
runner ``python utils/runners.py GROUP EXP ENVIRONMENT [options]``, which starts it once, as run 0
with its defaults.
"""

import argparse
import ast
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn


def _explain(
    kind: type[BaseException], problem: BaseException, trace: TracebackType | None
) -> None:
    """Answer what happens before `main` is called: a grid that cannot be."""
    from utils import grid, screen

    if not isinstance(problem, grid.GridError):
        _others(kind, problem, trace)
        return
    print(screen.escaped(problem), file=sys.stderr)
    sys.exit(2)


_others, sys.excepthook = sys.excepthook, _explain


try:
    from utils import (
        division,
        environments,
        grid,
        launches,
        paths,
        promises,
        queue_launches,
        run_names,
        signatures,
        stages,
        variants,
    )
    from utils.command_lines import Parser, Refusal, answer, number, positive
except ModuleNotFoundError as problem:
    sys.exit(f"{problem}; run `source ./activate` in the checkout first")

MOST_PRINTED = 1000


def main(
    runs: Sequence[grid.Run],
    threads: int = 1,
    memory: str | None = None,
    gpus: int = 0,
    hours: float | None = None,
) -> NoReturn:
    """Do what the command line of a runner asks for, and exit.

    Parameters
    ----------
    runs : list of Run
        The grid.
    threads : int
        Threads that one run uses.
    memory : str, optional
        Memory of one run, such as ``"16G"``; where a queue needs to know.
    gpus : int
        GPUs of one run.
    hours : float, optional
        Longest duration of one run [h]; where a queue needs to know.
    """
    resources = {"threads": threads, "memory": memory, "gpus": gpus, "hours": hours}
    program = os.path.relpath(sys.argv[0])
    sys.exit(answer(lambda: launch(runs, resources, sys.argv[1:], f"python {program}")))


def launch(
    runs: Sequence[grid.Run], resources: Mapping[str, Any], arguments: Sequence[str], program: str
) -> int:
    """Follow a runner's command line; return the exit status.

    Parameters
    ----------
    runs : list of Run
        The grid.
    resources : dict
        What one run needs: ``threads``, ``memory``, ``gpus``, ``hours``.
    arguments : list of str
        The command line without the program.
    program : str
        How the program was called, for its help.
    """
    options = _parser(program).read(arguments)
    if options.environment is None:
        print(f"usage: {program} ENVIRONMENT [options]; environments:")
        print(environments.listed())
        return 2
    environment = environments.check(options.environment)
    # a generator can be gone through once
    runs = list(runs) if isinstance(runs, Iterable) else [runs]
    if not runs:
        raise Refusal("the grid has no runs; check the lists of values in the runner")
    if not all(isinstance(run, grid.Run) for run in runs):
        raise Refusal(
            "the grid is no list of runs; make it with grid.product, zipped, one or sample, and "
            "add such lists with +"
        )
    environments.check_resources(resources)
    if options.repetitions is not None:
        run_names.numbers(options.repetitions, "--repetitions")
    if options.split is not None and options.split > division.MOST_PARTS:
        raise Refusal(
            f"--split {options.split} is too many; a run has {division.MOST_PARTS} parts at most. "
            "Give fewer."
        )
    # all of the grid, so that needs are called as the runs are that they name
    runs = variants.changed(runs, options.set or [], options.label or "")
    chosen = _chosen(runs, options.only)
    wish = promises.Wish(
        options.resume,
        options.diverged,
        options.repetitions,
        options.split,
        allow_missing=options.allow_missing,
    )
    planned = promises.by_experiment(chosen, wish)
    for sentence in promises.alike(planned):
        print(sentence, file=sys.stderr)
    terms = environments.terms(
        environment,
        resources,
        options.jobs,
        options.gpus,
        options.retries,
        options.detach,
        options.together,
        options.per_task,
        not options.no_array,
    )
    queued = environment in environments.QUEUED
    if options.check and not queued:
        raise Refusal(
            f"--check asks the engine of a queue, and {environment} has none; use --dry-run"
        )
    if options.check or (options.dry_run and queued):
        batches = [promises.decide(*place, entries, wish) for place, entries in planned.items()]
        text, status = queue_launches.dry_run(batches, terms, options.check)
        print("\n".join([text, *launches.kept(batches), *stages.remarks(planned, batches)]))
        return status
    if options.dry_run:
        batches = [promises.decide(*place, entries, wish) for place, entries in planned.items()]
        print("\n".join([dry_run(batches, terms), *stages.remarks(planned, batches)]))
        return 0
    return launches.start(planned, wish, terms)


def _parser(program: str) -> Parser:
    parser = Parser(
        prog=program,
        description=getattr(sys.modules.get("__main__"), "__doc__", None) or "Start runs.",
        epilog="Environments:\n" + environments.listed(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("environment", nargs="?", metavar="ENVIRONMENT", help="where the runs are started")
    add(
        "--jobs",
        type=positive,
        metavar="N",
        help="runs at a time (default: cores / threads; in a queue as it decides)",
    )
    add("--gpus", metavar="LIST", help="GPUs to share out, such as 0,1, or none")
    add("--only", metavar="RUNS", help="only these runs of the grid, such as 3,5-7")
    add("--resume", action="store_true", help="continue runs that were started and are not done")
    add(
        "--retries",
        type=number,
        default=0,
        metavar="N",
        help="try lost and killed runs again, so many times (default: 0)",
    )
    add(
        "--together",
        action="store_true",
        help="one program for many runs of an experiment, one after the other: saves loading and "
        "compiling again",
    )
    add(
        "--per-task",
        type=positive,
        default=1,
        metavar="K",
        help="in a queue, K runs one after the other in each task: for runs of seconds",
    )
    add("--no-array", action="store_true", help="in a queue, one job for each task, and no array")
    add("--detach", action="store_true", help="return at once and let the runs go on")
    add("--dry-run", action="store_true", help="print what would run, and start nothing")
    add(
        "--check",
        action="store_true",
        help="like --dry-run, and ask the engine of a queue whether it could ever start the runs",
    )
    add(
        "--set",
        nargs="+",
        action="extend",
        metavar="NAME=VALUE",
        help="change arguments in every run; the results go under another experiment name",
    )
    add("--as", dest="label", metavar="LABEL", help="that name becomes {exp}_LABEL")
    add("--repetitions", metavar="LIST", help="only these repetitions of each run, such as 0-4,7")
    add(
        "--split",
        type=positive,
        metavar="K",
        help="divide the repetitions of each new run into K parts, each a task of its own",
    )
    add("--diverged", action="store_true", help="also try diverged repetitions again")
    add(
        "--allow-missing",
        action="store_true",
        help="start stages although runs that they need are not done",
    )
    return parser


def _chosen(runs: Sequence[grid.Run], only: str | None) -> list[grid.Run]:
    if only is None:
        return list(runs)
    wanted = set(run_names.numbers(only, "--only"))
    there = {run.run for run in runs}
    missing = sorted(wanted - there)
    if missing:
        raise Refusal(
            f"the grid has no run {run_names.as_ranges(missing)}; it has "
            f"{run_names.as_ranges(sorted(there))}. Choose among those."
        )
    return [run for run in runs if run.run in wanted]


def dry_run(batches: Iterable[promises.Batch], terms: environments.Terms) -> str:
    """Return what would run: each command, the total, and why other runs would not."""
    batches = list(batches)
    programs = environments.programs(terms)
    entries = [entry for batch in batches for entry in batch.entries]
    lines = []
    for entry in entries[:MOST_PRINTED]:
        lines.append(programs.shown(entry))
        lines += [f"    {after}" for after in [stages.after(entry)] if after]
    if len(entries) > MOST_PRINTED:
        lines.append(f"… and {len(entries) - MOST_PRINTED} more like these")
    tasks = sum(len(batch.tasks) for batch in batches)
    at_most = f"{min(terms.at_once, tasks)} at a time" if entries else "nothing to start"
    variables = " ".join(f"{name}={value}" for name, value in terms.threads.items())
    runs = launches.counted(len(entries), tasks)
    lines.append(f"{runs}, {at_most}, in {paths.ROOT}, with {variables}")
    for name in terms.shares[0]:
        values = [share[name] or "''" for share in terms.shares]
        lines.append(f"each with {name}={' or '.join(values)}")
    if terms.together:
        lines.append("runs of an experiment share a program, one after the other")
    lines += filter(None, [terms.crowded(tasks)])
    return "\n".join([*lines, *launches.kept(batches)])


def declared_experiments(script: Path, default: str) -> list[str]:
    """Return the experiment names that a file hands to ``experiment.main``, read without running.

    Parameters
    ----------
    script : Path
        The experiment file.
    default : str
        The name that it has when it hands none.

    Raises
    ------
    Refusal
        If a name is not written as a plain text.
    """
    calls = [
        node
        for node in ast.walk(signatures.parse_file(script))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("experiment.main", "main")
        and node.args
    ]
    if not calls:
        return [default]
    call = calls[-1]
    named: list[ast.expr | None] = [kw.value for kw in call.keywords if kw.arg == "exp"]
    named += call.args[1:2]
    if isinstance(call.args[0], ast.Dict):
        named = list(call.args[0].keys)
    found = []
    for node in named:
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str | None):
            raise Refusal(
                f"{script} hands experiment.main a name that is computed; write it as a plain "
                "text, so that it can be known before the file runs"
            )
        found.append(node.value or default)
    return found or [default]


def single(arguments: Sequence[str], program: str) -> int:
    """Follow the command line of an experiment without a runner; return the exit status.

    Parameters
    ----------
    arguments : list of str
        GROUP, EXP, and what a runner takes.
    program : str
        How the program was called.
    """
    groups = sorted(p.name for p in paths.experiments_dir().iterdir() if p.is_dir())
    if len(arguments) < 2 or arguments[0].startswith("-") or arguments[1].startswith("-"):
        print(f"usage: {program} GROUP EXP ENVIRONMENT [options]; groups: {', '.join(groups)}")
        print(f"Environments:\n{environments.listed()}")
        return 0 if {"-h", "--help"} & set(arguments) else 2
    group, exp, *rest = arguments
    if group not in groups:
        raise Refusal(
            f"there is no group {group!r} below experiments/; there are {', '.join(groups)}."
            f"{signatures.nearest(group, groups)}"
        )
    script = paths.experiment_file(group, exp)
    if not script.is_file():
        names = [p.stem for p in sorted(script.parent.glob("*.py"))]
        names = [name for name in names if not name.endswith("_runner")]
        raise Refusal(
            f"{group} has no experiment file {exp}.py; it has {', '.join(names)}."
            f"{signatures.nearest(exp, names)}"
        )
    where = script.relative_to(paths.experiments_dir()).as_posix()
    runs = [
        run
        for name in declared_experiments(script, exp)
        for run in grid.one(group, name, script=where)
    ]
    return launch(runs, environments.NEEDS, rest, f"{program} {group} {exp}")


if __name__ == "__main__":
    called = f"python {os.path.relpath(sys.argv[0])}"
    sys.exit(answer(lambda: single(sys.argv[1:], called)))
