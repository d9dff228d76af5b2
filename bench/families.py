"""How fast each family of layers is trained, against the same network in Keras' own loop.

    python bench/families.py                         everything, 25 minutes
    python bench/families.py --families dog,deep16   these networks
    python bench/families.py --quick                 one short round on few rows, nothing is judged

Small networks: the trainer with one member and with ten, against `model.fit` with the same layers,
batches and optimizer, with XLA and without; also with XLA and a whole epoch per call, which is
shown, not judged. Three convolutions with a factorized readout: the trainer with one member against
the best `fit` of all, with NDN3's layers or with Keras' own convolutions. Every way is a process of
its own, held to one thread, and works in turn with the others of its network; figures are CPU
seconds, medians over the rounds, ratios medians of the ratios within the rounds. Exit status: 0
when every bound holds, 1 when one is missed, 2 when a program failed.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from families_networks import DEEP, NETWORKS
from tables import say, text
from trainer_processes import Program, ProgramFailed, environment, in_turn

PROGRAMS_FILE = Path(__file__).with_name("families_programs.py")
WAYS = {
    "one": "the trainer, one member",
    "ten": "the trainer, ten members",
    "fit": "fit",
    "fit_xla": "fit, XLA",
    "fit_epochs": "fit, XLA, an epoch per call",
    "native": "fit, Keras' convolutions",
    "native_xla": "… with XLA",
    "native_epochs": "… an epoch per call",
}
SMALL_WAYS = ("one", "ten", "fit", "fit_xla", "fit_epochs")
DEEP_WAYS = ("one", "fit", "fit_xla", "native", "native_xla", "native_epochs")
# What the ways of the trainer are judged against: the best of these in each round
JUDGES = {"small": ("fit", "fit_xla"), "deep": DEEP_WAYS[1:]}
LEAST = {"small": 5.0, "deep": 1.0}
# Less is not told apart on a shared machine
NOISE = {"small": 0.0, "deep": 0.05}
QUICK_ROWS, QUICK_SECONDS = 64, 0.1


def size(name):
    """Whether a network is "small" or "deep"."""
    return "deep" if name in DEEP else "small"


def started(name, way, folder, rows):
    """One training, started in a process of its own."""
    place = Path(folder) / f"{name}_{way}"
    place.mkdir()
    command = [PROGRAMS_FILE, place, name, way, rows]
    return Program(way, command, place, environment(place))


def measured(name, chosen, folder, rows, rounds, seconds):
    """What the chosen ways of one network answer; as of `in_turn`."""
    ways = [way for way in (DEEP_WAYS if name in DEEP else SMALL_WAYS) if way in chosen]
    starters = {way: lambda way=way: started(name, way, folder, rows) for way in ways}
    return in_turn(starters, rounds, seconds)


def seconds_per_epoch(turns):
    """CPU seconds in which one member gets one epoch, {way: one number per round}."""
    return {way: [turn["cpu"] / turn["epochs"] for turn in of] for way, of in turns.items()}


def ratio(seconds, way, others):
    """Median over the rounds of how many times as long the fastest of some other ways takes."""
    fastest = [min(of) for of in zip(*(seconds[other] for other in others), strict=True)]
    pairs = zip(fastest, seconds[way], strict=True)
    return statistics.median(other / own for other, own in pairs)


def verdicts(name, seconds):
    """(way, ratio, whether it is large enough) of the ways of the trainer."""
    kind = size(name)
    others = [way for way in JUDGES[kind] if way in seconds]
    ways = [way for way in ("one", "ten") if way in seconds and others]
    ratios = [ratio(seconds, way, others) for way in ways]
    least = LEAST[kind] - NOISE[kind]
    return [(way, value, value >= least) for way, value in zip(ways, ratios, strict=True)]


def rows_of(name, starts, turns):
    """One row for each way, for the table."""
    seconds = seconds_per_epoch(turns)
    reached = {way: (value, holds) for way, value, holds in verdicts(name, seconds)}
    rows = []
    for way, values in seconds.items():
        value, holds = reached.get(way, (None, True))
        start = starts[way]
        rows.append(
            [
                *(name, WAYS[way], f"{1000 * statistics.median(values):.4g}"),
                f"{value:.2f}" if way in reached else "",
                f"{ratio(seconds, way, ['fit_epochs']):.2f}"
                if way in reached and "fit_epochs" in seconds
                else "",
                f"{start['start_cpu'] - start['loaded_cpu']:.1f}",
                f"{max(turn['mb'] for turn in turns[way]):.0f}",
                ("reached" if holds else "MISSED") if way in reached else "",
            ]
        )
    return rows


def arguments():
    parser = argparse.ArgumentParser(
        description="Each family of layers: the trainer against Keras' fit, in CPU seconds.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{name}: {', '.join(of.types)}" for name, of in NETWORKS.items())
        + "\n\n"
        + "\n".join(f"{way}: {what}" for way, what in WAYS.items()),
    )
    parser.add_argument("--families", default=",".join(NETWORKS), help="with commas (all)")
    parser.add_argument("--ways", default=",".join(WAYS), help="with commas (all)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way (5)")
    parser.add_argument("--seconds", type=float, default=1.5, help="CPU seconds of a turn (1.5)")
    parser.add_argument("--quick", action="store_true", help="a try: few rows, nothing is judged")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    for what, known in (("families", NETWORKS), ("ways", WAYS)):
        chosen = getattr(options, what).split(",")
        unknown = [name for name in chosen if name not in known]
        if unknown:
            parser.error(f"{what} has {', '.join(unknown)}; choose from {', '.join(known)}")
        setattr(options, what, chosen)
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("rounds and seconds must be positive")
    return options


def main():
    options = arguments()
    rounds, seconds = options.rounds, options.seconds
    if options.quick:
        rounds, seconds = 1, QUICK_SECONDS
    rows = [["network", "way", "ms per epoch of a member", "x best fit", "x an epoch per call"]]
    rows[0] += ["compiling and 3 epochs, s", "MB", ""]
    holds = True
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name in options.families:
                say(name)
                count = QUICK_ROWS if options.quick else NETWORKS[name].rows
                starts, turns = measured(name, options.ways, folder, count, rounds, seconds)
                holds &= all(verdict for *_, verdict in verdicts(name, seconds_per_epoch(turns)))
                found = rows_of(name, starts, turns)
                say(text(found))  # the whole table comes at the end
                rows += found
    except ProgramFailed as failure:
        say(str(failure))
        return 2
    if options.quick:
        rows = [row[:-1] for row in rows]
    print(text(rows, options.markdown))
    if options.quick:
        return 0
    judged = ", ".join(f"{least:g} for {kind} networks" for kind, least in LEAST.items())
    print(f"times the best fit, at least {judged}: {'yes' if holds else 'MISSED'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
