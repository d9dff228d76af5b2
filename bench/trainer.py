"""How fast the trainer is, against Keras' own loop and against a session loop.

    python bench/trainer.py                      everything, about fifteen minutes
    python bench/trainer.py --rounds 5 --only session,group
    python bench/trainer.py --check              do all programs do the same work?

Every program is started in a process of its own, held to one thread, and works in turn with the
others of its subject; the figure of a program is its median over the rounds, a ratio is the median
of the ratios within the rounds, because other work on the machine disturbs rounds, not programs.
What is judged are ratios of CPU seconds, and the few figures that are promised in seconds or
megabytes; other absolute figures are printed and never judged. Exit status: 0 when every bound
holds, 1 when one is missed, 2 when a program failed.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from tables import say, text
from trainer_bounds import (
    PROGRAMS,
    REFERENCES,
    SUBJECTS,
    figures_of,
    judged,
    ratio,
)
from trainer_processes import ProgramFailed, in_turn, started, whole

WHOLE = {
    "end_to_end": "processes that train ten seeds, or one",
    "first_result": "a fresh process until its first numbers, cold and with its programs on disk",
    "memory": "peak memory of a group of 20 and of one",
    "later_compilations": "programs compiled after the first chunk",
    "grid_points": "a grid point and the next in one process, from start to result",
}
CHECK_TOLERANCE = 0.01


def whole_processes(names, folder, rounds, epochs):
    """Figures of processes that are measured from start to end.

    Parameters
    ----------
    names : list of str
        Of `WHOLE`.
    folder : Path
    rounds, epochs : int
        How often, and how long the trainings of `end_to_end` are.

    Returns
    -------
    dict
        (name, quantity) -> one value per round.
    """
    figures = {}

    def note(name, **quantities):
        for quantity, value in quantities.items():
            figures.setdefault((name, quantity.replace("_", " ")), []).append(value)

    def timed(name, program, place, *numbers):
        found = whole(program, folder / place, *numbers)
        note(name, CPU_s=found["cpu"], wall_s=found["wall"])
        return found

    for number in range(rounds):
        for name in names:
            say(f"{name}, round {number + 1} of {rounds}")
            place = f"{name}{number}"
            if name == "end_to_end":
                timed("one seed", name, f"{place}_one", 1, epochs)
                timed("ten seeds", name, f"{place}_ten", 10, epochs)
            elif name == "first_result":
                for what, features in (("", 0), (" with everything", 1)):
                    there = f"{place}_{features}"
                    timed(f"cold{what}", name, there, features)
                    clear_runs(folder / there)
                    timed(f"cached{what}", name, there, features)
            elif name == "memory":
                many, one = (whole(name, folder / f"{place}_{n}", n)["mb"] for n in (20, 1))
                note("20 above 1", MB=many - one)
                note("group of 20", MB=many)
            elif name == "later_compilations":
                note("later", compilations=whole(name, folder / place)["compilations"])
            else:
                found = whole(name, folder / place)
                for point in ("first", "next"):
                    cpu, wall = found[point]
                    note(point, CPU_s=cpu, wall_s=wall)
    return figures


def clear_runs(folder):
    """Remove checkpoints of an earlier process, so that the next one begins anew."""
    for path in folder.glob("member*/checkpoint.npz"):
        path.unlink()


def speed_rows(subject, starts, turns):
    """One row per program of a subject for the table of speeds."""
    rates = {name: of for (name, what), of in figures_of(turns).items() if what == "per CPU s"}
    walls = {name: of for (name, what), of in figures_of(turns).items() if what == "per wall s"}
    first = next(name for name in PROGRAMS if PROGRAMS[name].subject == subject)
    references = [name for name in (first, REFERENCES.get(subject)) if name in rates]
    rows = [["program", "per CPU s", "per wall s", *(f"x {name}" for name in references)]]
    rows[0] += ["start CPU s", "MB"]
    for name, of in turns.items():
        row = [f"{statistics.median(figures[name]):.1f}" for figures in (rates, walls)]
        row += [f"{ratio(rates[name], rates[other]):.2f}" for other in references]
        row += [f"{starts[name]['start_cpu']:.1f}", f"{of[-1]['mb']:.0f}"]
        rows.append([PROGRAMS[name].text, *row])
    return rows


def whole_rows(figures):
    """One row per figure of whole processes."""
    rows = [["whole process", "quantity", "median", "rounds"]]
    for (name, quantity), of in figures.items():
        values = " ".join(f"{value:.1f}" for value in of)
        rows.append([name, quantity, f"{statistics.median(of):.1f}", values])
    return rows


def bound_rows(results):
    """One row per bound for the table of ratios."""
    return [["figure", "bound", "measured", ""]] + [
        [bound.what, str(bound), f"{value:.2f}", bound.verdict(value)] for bound, value in results
    ]


def in_folders(names, folder, mode="turns"):
    """Functions that start these programs, by name."""
    return {
        name: lambda name=name: started(name, folder, PROGRAMS[name].threads, mode)
        for name in names
    }


def check(names, folder):
    """Whether the programs of each subject reach the same cost in ten epochs of the same start."""
    same = True
    for subject in SUBJECTS:
        costs = {}
        chosen = [n for n in names if PROGRAMS[n].subject == subject and PROGRAMS[n].checked]
        for name, start in in_folders(chosen, folder, mode="check").items():
            program = start()
            try:
                costs[name] = program.answer()["cost"]
            finally:
                program.stop()
            print(f"{name:13} cost after ten epochs {costs[name]:.4f}", flush=True)
        if costs:
            middle = statistics.median(costs.values())
            same &= all(abs(cost / middle - 1) <= CHECK_TOLERANCE for cost in costs.values())
    return same


def arguments():
    parser = argparse.ArgumentParser(
        description="Speed of the trainer against Keras' fit and a session loop, in CPU seconds.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(
            f"{subject}: " + ", ".join(n for n in PROGRAMS if PROGRAMS[n].subject == subject)
            for subject in SUBJECTS
        )
        + "\n"
        + "\n".join(f"{name}: {what}" for name, what in WHOLE.items()),
    )
    parser.add_argument("--rounds", type=int, default=7, help="turns of each program (7)")
    parser.add_argument("--seconds", type=float, default=1.5, help="CPU seconds of a turn (1.5)")
    parser.add_argument("--end-rounds", type=int, default=3, help="of whole processes (3)")
    parser.add_argument("--epochs", type=int, default=300, help="epochs start to end (300)")
    parser.add_argument("--only", help="subjects or programs, with commas between them (all)")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--check", action="store_true", help="compare what the programs learn")
    options = parser.parse_args()
    known = [*SUBJECTS, *PROGRAMS, *WHOLE]
    options.only = options.only.split(",") if options.only else known
    unknown = [name for name in options.only if name not in known]
    if unknown:
        parser.error(f"no program {', '.join(unknown)}; choose from {', '.join(known)}")
    if min(options.rounds, options.end_rounds, options.epochs) < 1 or options.seconds <= 0:
        parser.error("rounds, seconds and epochs must be positive")
    return options


def main():
    options = arguments()
    names = [
        name
        for name, program in PROGRAMS.items()
        if name in options.only or program.subject in options.only
    ]
    figures = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            if options.check:
                return 0 if check(names, folder) else 1
            for subject in SUBJECTS:
                chosen = [name for name in names if PROGRAMS[name].subject == subject]
                if chosen:
                    starters = in_folders(chosen, folder)
                    starts, turns = in_turn(starters, options.rounds, options.seconds)
                    figures |= figures_of(turns)
                    rows = speed_rows(subject, starts, turns)
                    print(text(rows, options.markdown), end="\n\n", flush=True)
            wholes = [name for name in WHOLE if name in options.only]
            if wholes:
                found = whole_processes(wholes, Path(folder), options.end_rounds, options.epochs)
                print(text(whole_rows(found), options.markdown), end="\n\n", flush=True)
                figures |= found
    except ProgramFailed as failure:
        say(str(failure))
        return 2
    results = judged(figures)
    if results:
        print(text(bound_rows(results), options.markdown))
    return 0 if all(bound.holds(value) for bound, value in results) else 1


if __name__ == "__main__":
    sys.exit(main())
