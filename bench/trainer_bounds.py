"""What bench/trainer.py compares, and the bounds that its figures must keep.

Figures are kept by (name, quantity), one value per round. Quantities of a program that works in
turn: "per CPU s" and "per wall s", member-epochs; "s per epoch", CPU seconds in which each of its
members gets one epoch; "ms", CPU milliseconds per call. Of a whole process: "CPU s", "wall s" and
what else it tells.
"""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    """A program that works in turn with the others of its subject.

    Parameters
    ----------
    text : str
    subject : str
        Programs of one subject are started together; ratios are taken within their rounds.
    members : int
        That it trains at the same time.
    threads : int
    checked : bool
        Whether it learns what the others of its subject learn.
    """

    text: str
    subject: str
    members: int = 1
    threads: int = 1
    checked: bool = True


PROGRAMS = {
    "session": Program("graph mode, one session.run a step", "dog"),
    "lean_session": Program("the same with the trainer's formulas", "dog"),
    "fit": Program("Keras model.fit, one step per call", "dog"),
    "best_fit": Program("Keras model.fit, XLA, an epoch per call", "dog"),
    "all": Program("the trainer, ten members, all features on", "dog", members=10),
    "group": Program("the trainer, ten members, bare", "dog", members=10),
    "one": Program("the trainer, one member", "dog"),
    "one_group": Program("whole calls, a group of ten on one core", "cores", members=10),
    "two_groups": Program(
        "whole calls, two groups of ten on two cores", "cores", members=20, threads=2
    ),
    "refill": Program("twenty members through ten slots", "refill", members=10, checked=False),
    "no_refill": Program("ten members, then ten more", "refill", members=10, checked=False),
    "unet_fit": Program("U-Net, Keras model.fit", "unet"),
    "unet_turns": Program("U-Net, the trainer", "unet"),
    "gru_fit": Program("GRU, Keras model.fit", "gru"),
    "gru_turns": Program("GRU, the trainer", "gru"),
    "conv_session": Program("convolution, one session.run a step", "conv"),
    "conv_group": Program("convolution as windows, ten members", "conv", members=10),
    "conv_one": Program("convolution as windows, one member", "conv"),
    "conv_native": Program("convolution of TensorFlow, ten members in turns", "conv", members=10),
    "events_own": Program("20 members x 4 scalars, NDN3.events", "events", checked=False),
    "events_tf": Program("20 members x 4 scalars, tf.summary", "events", checked=False),
}
SUBJECTS = tuple(dict.fromkeys(program.subject for program in PROGRAMS.values()))
# Beside its first program, what a subject's figures are shown against
REFERENCES = {"dog": "fit"}


@dataclass(frozen=True)
class Bound:
    """What a figure, or the ratio of two, must not fall below, or must stay below.

    Parameters
    ----------
    what : str
    name : str
    quantity : str
    against : str, optional
        Name of the figure of the same quantity by which it is divided, round by round.
    least, below : float, optional
        One of them; without any the figure is shown, not judged.
    """

    what: str
    name: str
    quantity: str
    against: str | None = None
    least: float | None = None
    below: float | None = None

    def value(self, figures):
        """Median over the rounds, None when it was not measured."""
        found = figures.get((self.name, self.quantity))
        if self.against is None or not found:
            return statistics.median(found) if found else None
        others = figures.get((self.against, self.quantity))
        return ratio(found, others) if others else None

    def holds(self, value):
        if self.least is not None:
            return value >= self.least
        return self.below is None or value < self.below

    def verdict(self, value):
        if self.least is None and self.below is None:
            return "not judged"
        return "reached" if self.holds(value) else "MISSED"

    def __str__(self):
        unit = "" if self.against or self.quantity not in UNITS else f" {UNITS[self.quantity]}"
        if self.least is not None:
            return f"≥ {self.least:g}{unit}"
        return "–" if self.below is None else f"< {self.below:g}{unit}"


UNITS = {"CPU s": "s", "MB": "MB", "ms": "ms"}
BOUNDS = [
    Bound("ten members, all features on, against fit", "all", "per CPU s", "fit", least=14),
    Bound("… against the best fit", "all", "per CPU s", "best_fit", least=5),
    Bound("… against the session loop", "all", "per CPU s", "session", least=9),
    Bound("one member against the session loop", "one", "per CPU s", "session", least=7),
    Bound("all features on against the bare group", "all", "per CPU s", "group", least=0.85),
    Bound(
        "ten seeds together against one in the session loop, an epoch",
        *("all", "s per epoch", "session"),
        below=1,
    ),
    Bound("ten seeds against one compiled, an epoch", "group", "s per epoch", "one", below=10),
    Bound("ten seeds against one, start to end", "ten seeds", "CPU s", "one seed", below=4),
    Bound(
        "two groups on two cores against one on one, wall time",
        *("two_groups", "per wall s", "one_group"),
        least=1.7,
    ),
    Bound("U-Net, a member, against fit", "unet_turns", "per CPU s", "unet_fit", least=1.2),
    Bound("GRU, a member, against fit", "gru_turns", "per CPU s", "gru_fit", least=1.6),
    Bound(
        "convolution, ten members, against the session loop",
        *("conv_group", "per CPU s", "conv_session"),
        least=4,
    ),
    Bound(
        "convolution as windows against TensorFlow's own",
        *("conv_group", "per CPU s", "conv_native"),
    ),
    Bound("first result of a fresh process, cold", "cold", "CPU s", below=10),
    Bound("… with compiled programs on the disk", "cached", "CPU s", below=6),
    Bound("… cold, all features on", "cold with everything", "CPU s"),
    Bound("… on the disk, all features on", "cached with everything", "CPU s"),
    Bound("memory of a group of 20 above that of one", "20 above 1", "MB", below=100),
    Bound("4 scalars for 20 members, flushed", "events_own", "ms", below=1),
    Bound("… against tf.summary", "events_tf", "ms", "events_own"),
    Bound("compilations after the first chunk", "later", "compilations", below=1),
    Bound(
        "twenty members through ten slots against ten and ten", "refill", "per CPU s", "no_refill"
    ),
    Bound("next grid point against the first, to its result", "next", "CPU s", "first"),
]


def figures_of(turns):
    """Figures of the programs that worked in turn, from their answers."""
    figures = {}
    for name, of in turns.items():
        rates = [turn["epochs"] / turn["cpu"] for turn in of]
        figures[name, "per CPU s"] = rates
        figures[name, "per wall s"] = [turn["epochs"] / turn["wall"] for turn in of]
        figures[name, "s per epoch"] = [PROGRAMS[name].members / rate for rate in rates]
        figures[name, "ms"] = [1000 / rate for rate in rates]
    return figures


def ratio(values, others):
    """Median over the rounds of one figure divided by another of the same round."""
    return statistics.median(a / b for a, b in zip(values, others, strict=True))


def judged(figures):
    """(bound, value) of every bound whose figures were measured."""
    found = [(bound, bound.value(figures)) for bound in BOUNDS]
    return [(bound, value) for bound, value in found if value is not None]
