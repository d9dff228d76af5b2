"""Optimisers of the trainer: one update of one member, written as pure functions.

An optimiser names the numbers that may differ between members (`numbers`) and the moments that it
keeps for each parameter (`moments`); `update` is mapped over the members of a group.
"""

import math
from dataclasses import dataclass

from keras import ops

from NDN3 import quantities

# What each number may be: whether a float is allowed, and the same in words. A learning rate may be
# infinite in `per_member` alone, where it lets one member diverge.
LIMITS = {
    "learning_rate": (lambda x: 0 <= x < math.inf, "a finite number from 0"),
    "beta_1": (lambda x: 0 <= x < 1, "at least 0 and below 1"),
    "beta_2": (lambda x: 0 <= x < 1, "at least 0 and below 1"),
    "epsilon": (lambda x: 0 < x < math.inf, "a finite number above 0"),
    "weight_decay": (lambda x: 0 <= x < math.inf, "a finite number from 0"),
    "clip_norm": (lambda x: 0 < x < math.inf, "None or a finite number above 0"),
}


@dataclass(frozen=True)
class Adam:
    """Adam in its "epsilon hat" form.

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon : float
        As in the reference; `epsilon` is added outside of the bias correction.
    clip_norm : float, optional
        Gradients of all parameters together are scaled down to this norm when they exceed it.

    Raises
    ------
    ValueError
        If a number is none, or out of its range.

    References
    ----------
    Kingma & Ba 2015, "Adam: a method for stochastic optimization", end of section 2.
    """

    learning_rate: float = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float | None = None

    numbers = ("learning_rate", "beta_1", "beta_2", "epsilon")
    moments = ("first_moment", "second_moment")

    def __post_init__(self):
        for name in self.numbers:
            quantities.real(getattr(self, name), name, *LIMITS[name])
        if self.clip_norm is not None:
            quantities.real(self.clip_norm, "clip_norm", *LIMITS["clip_norm"])

    def update(self, parameters, gradients, moments, step, numbers):
        """One step of one member.

        Parameters
        ----------
        parameters, gradients : list of tensor
        moments : list of (tensor, tensor)
            First and second moment of each parameter.
        step : tensor of float, ()
            Number of this step, from 1.
        numbers : dict of tensor
            Values of `self.numbers`.

        Returns
        -------
        parameters, moments : list
            The new values.
        """
        if self.clip_norm is not None:
            gradients = clip_to_norm(gradients, self.clip_norm)
        beta_1, beta_2 = numbers["beta_1"], numbers["beta_2"]
        correction = ops.sqrt(1 - ops.power(beta_2, step)) / (1 - ops.power(beta_1, step))
        rate = numbers["learning_rate"] * correction
        new_parameters, new_moments = [], []
        for parameter, gradient, (first, second) in zip(
            parameters, gradients, moments, strict=True
        ):
            first = first + (1 - beta_1) * (gradient - first)
            second = second + (1 - beta_2) * (gradient * gradient - second)
            change = rate * first / (ops.sqrt(second) + numbers["epsilon"])
            new_parameters.append(parameter - change - self.decay(parameter, numbers))
            new_moments.append((first, second))
        return new_parameters, new_moments

    def decay(self, parameter, numbers):
        """Shrinkage of a parameter in one step; none in plain Adam."""
        return 0


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay.

    Parameters
    ----------
    weight_decay : float
        Fraction of each parameter that is taken off per step, times the learning rate.

    References
    ----------
    Loshchilov & Hutter 2019, "Decoupled weight decay regularization", algorithm 2.
    """

    weight_decay: float = 4e-3

    numbers = (*Adam.numbers, "weight_decay")

    def decay(self, parameter, numbers):
        """Shrinkage of a parameter in one step."""
        return numbers["learning_rate"] * numbers["weight_decay"] * parameter


def clip_to_norm(gradients, norm):
    """Gradients scaled so that the norm of all of them together is at most `norm`."""
    total = ops.sqrt(sum(ops.sum(gradient * gradient) for gradient in gradients))
    factor = norm / ops.maximum(total, norm)
    return [gradient * factor for gradient in gradients]
