"""Schedules of the learning rate: functions step -> factor, for `schedule` of the trainer.

Steps count from 0, and a schedule knows how many there will be; afterwards it stays where it ended.
Two schedules of one kind with equal numbers are equal, so trainings that use them share one
compiled program.

>>> schedule("cosine", 1000)
Cosine(steps=1000, final=0.0, periods=1)
>>> schedule({"name": "step", "at": [0.6], "factor": 0.3}, 1000)
Step(steps=1000, at=(0.6,), factor=0.3)
"""

import dataclasses
import math
from dataclasses import dataclass

from keras import ops

from NDN3 import quantities, suggestions

FACTOR = (lambda x: 0 <= x < math.inf, "a finite number from 0")
POSITIVE = (lambda x: 0 < x < math.inf, "a finite number above 0")
SHARE = (lambda x: 0 <= x < 1, "a share of the training, at least 0 and below 1")


@dataclass(frozen=True)
class Schedule:
    """What schedules share: the number of steps.

    Parameters
    ----------
    steps : int
        Of the whole training.

    Raises
    ------
    ValueError
        If an argument is not of the right type, or out of its range.
    """

    steps: int

    def __post_init__(self):
        quantities.whole(self.steps, "steps of a schedule")
        self.check()

    def check(self):
        """Refuse numbers out of their range."""

    def number(self, name, fits):
        """Refuse a number that is none, or does not fit."""
        quantities.real(getattr(self, name), f"{name} of schedule {self.name!r}", *fits)

    @property
    def identity(self):
        """What tells two of a kind apart."""
        return dataclasses.astuple(self)

    def __call__(self, step):
        """Factor at a step.

        Parameters
        ----------
        step : tensor of int, ()

        Returns
        -------
        tensor of float, () or dict of such
            Factor on the learning rate, or factors on several numbers of the optimiser.
        """
        return self.factor(ops.clip(ops.cast(step, "float32") / self.steps, 0.0, 1.0))


@dataclass(frozen=True)
class Constant(Schedule):
    """The learning rate as it is."""

    name = "constant"

    @property
    def identity(self):
        """Nothing: it is the same for any number of steps."""
        return ()

    def factor(self, share):
        """1 at every share of the training."""
        return ops.ones_like(share)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a period of a cosine from 1 down to `final`, once or several times.

    Parameters
    ----------
    steps : int
    final : float
        Factor at the end of a period.
    periods : int
        Each of the same length; all but the first begin with a restart at 1.

    References
    ----------
    Loshchilov & Hutter 2017, "SGDR: stochastic gradient descent with warm restarts", equation 5.
    """

    final: float = 0.0
    periods: int = 1

    name = "cosine"

    def check(self):
        """Refuse numbers out of their range."""
        self.number("final", FACTOR)
        quantities.whole(self.periods, f"periods of schedule {self.name!r}")

    def factor(self, share):
        """Factor at a share of the training."""
        there = share * self.periods
        last = self.periods - 1.0
        return falling(there - ops.minimum(ops.floor(there), last), self.final)


@dataclass(frozen=True)
class Exponential(Schedule):
    """Each step takes off the same share, from 1 down to `final`.

    Parameters
    ----------
    steps : int
    final : float
        Factor at the end.

    References
    ----------
    Senior, Heigold, Ranzato & Yang 2013, "An empirical study of learning rates in deep neural
    networks for speech recognition", ICASSP.
    """

    final: float = 0.01

    name = "exponential"

    def check(self):
        """Refuse numbers out of their range."""
        self.number("final", POSITIVE)

    def factor(self, share):
        """Factor at a share of the training."""
        return ops.exp(math.log(self.final) * share)


@dataclass(frozen=True)
class Step(Schedule):
    """Multiplied by `factor` at certain shares of the training.

    Parameters
    ----------
    steps : int
    at : sequence of float
        Shares of the training, growing.
    factor : float

    References
    ----------
    He, Zhang, Ren & Sun 2016, "Deep residual learning for image recognition", CVPR, section 3.4.
    """

    at: tuple = (0.5, 0.75)
    factor: float = 0.1

    name = "step"

    def check(self):
        """Refuse numbers out of their range."""
        self.number("factor", POSITIVE)
        if not isinstance(self.at, list | tuple) or not self.at:
            raise ValueError(
                f"at of schedule 'step' is {self.at!r}; it must be a list of shares of the "
                "training. Give for example at=[0.5, 0.75]."
            )
        for share in self.at:
            quantities.real(share, "at of schedule 'step'", *SHARE)
        if list(self.at) != sorted(set(self.at)):
            raise ValueError(
                f"at of schedule 'step' is {list(self.at)}; the shares must grow. Sort them."
            )
        # the dataclass is frozen; a list could not tell equal schedules apart by a hash
        object.__setattr__(self, "at", tuple(self.at))

    def __call__(self, step):
        """Factor at a step."""
        factor = ops.ones((), "float32")
        for share in self.at:
            passed = step >= first_step(share, self.steps)
            factor = ops.where(passed, factor * self.factor, factor)
        return factor


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up along a line to 1, down again as far, and at last down to `final`.

    Parameters
    ----------
    steps : int
    start : float
        Factor at the beginning and at the end of the cycle.
    final : float
        Factor at the end of the training.
    cycle : float
        Share of the training that the cycle takes; half of it goes up, half of it down.
    beta_1 : float
        Factor on Adam's beta_1 at the peak; it moves against the learning rate, from 1 and back.

    References
    ----------
    Smith & Topin 2018, "Super-convergence: very fast training of neural networks using large
    learning rates", section 3.
    """

    start: float = 0.1
    final: float = 0.001
    cycle: float = 0.9
    beta_1: float = 1.0

    name = "one_cycle"

    def check(self):
        """Refuse numbers out of their range."""
        for name in ("start", "final"):
            self.number(name, FACTOR)
        self.number("cycle", (lambda x: 0 < x <= 1, "a share of the training above 0, at most 1"))
        self.number("beta_1", (lambda x: 0 <= x <= 1, "at least 0 and at most 1"))

    def factor(self, share):
        """Factors at a share of the training."""
        height = ops.maximum(1 - ops.abs(2 * share / self.cycle - 1), 0.0)
        after = ops.maximum(share - self.cycle, 0.0) / max(1 - self.cycle, 1e-6)
        rate = self.start + (1 - self.start) * height + (self.final - self.start) * after
        return {"learning_rate": rate, "beta_1": 1 - (1 - self.beta_1) * height}


@dataclass(frozen=True)
class WarmupCosine(Schedule):
    """Up along a line from nearly 0 to 1, then half a period of a cosine down to `final`.

    Parameters
    ----------
    steps : int
    warmup : float
        Share of the training that goes up.
    final : float
        Factor at the end.

    References
    ----------
    Goyal et al. 2017, "Accurate, large minibatch SGD", section 2.2; Loshchilov & Hutter 2017, as
    in `Cosine`.
    """

    warmup: float = 0.05
    final: float = 0.0

    name = "warmup_cosine"

    def check(self):
        """Refuse numbers out of their range."""
        self.number("warmup", SHARE)
        self.number("final", FACTOR)

    def __call__(self, step):
        """Factor at a step."""
        first = first_step(self.warmup, self.steps)
        step = ops.cast(step, "float32")
        rising = (step + 1) / max(first, 1)
        share = ops.clip((step - first) / max(self.steps - first, 1), 0.0, 1.0)
        return ops.where(step < first, rising, falling(share, self.final))


def first_step(share, steps):
    """First step at which a share of the training has passed."""
    return math.ceil(round(share * steps, 6))  # .07 of 100 steps are 7.000000000000001 in floats


def falling(share, final):
    """Half a period of a cosine from 1 down to `final`."""
    return final + (1 - final) * (1 + ops.cos(math.pi * share)) / 2


SCHEDULES = {
    kind.name: kind for kind in (Constant, Cosine, Exponential, Step, OneCycle, WarmupCosine)
}


def schedule(given, steps):
    """Schedule by its name.

    Parameters
    ----------
    given : str or dict
        A name of `SCHEDULES`, or {"name": name} with arguments of that class.
    steps : int
        Of the whole training.

    Returns
    -------
    Schedule

    Raises
    ------
    ValueError
        If there is no such schedule, or an argument is not of the right type, or out of its range.
    """
    named = {"name": given} if isinstance(given, str) else given
    if not isinstance(named, dict) or "name" not in named:
        raise ValueError(
            f"schedule is {quantities.shown(given)}; it must be a name or a dict with a name, of "
            f"{', '.join(SCHEDULES)}. Give for example {{'name': 'cosine', 'final': 0.01}}."
        )
    kind = SCHEDULES[suggestions.known(named["name"], SCHEDULES, "schedule")]
    allowed = [field.name for field in dataclasses.fields(kind) if field.name != "steps"]
    arguments = {name: value for name, value in named.items() if name != "name"}
    for name in arguments:
        suggestions.known(name, allowed or ["name"], f"argument of schedule {kind.name!r}")
    return kind(steps=steps, **arguments)
