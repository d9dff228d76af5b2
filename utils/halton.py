"""Points that cover the interval from 0 to 1 more evenly than independent draws.

References
----------
Halton 1960, Numer. Math. 2: 84-90; digits permuted at random as in Owen 2017, "A randomized
Halton algorithm in R", arXiv:1706.02808.
"""

import itertools
import math
import random
from collections.abc import Iterator


def primes() -> Iterator[int]:
    """Yield the prime numbers: a base for each dimension."""
    found: list[int] = []
    for number in itertools.count(2):
        if all(number % prime for prime in found):
            found.append(number)
            yield number


def points(base: int, count: int, seed: str) -> Iterator[float]:
    """Yield the van der Corput sequence in a base, each digit permuted in a way of its own.

    Parameters
    ----------
    base : int
        A prime number, another one in each dimension.
    count : int
        How many; the first ones do not depend on it.
    seed : str
        The same seed gives the same points.
    """
    generator = random.Random(seed)
    # as many digits as a float can tell apart, whatever the count: the scramble of the digits
    # behind the last one that is used shifts a point within its cell
    digits = math.ceil(52 / math.log2(base))
    orders = [generator.sample(range(base), base) for _ in range(digits)]
    for index in range(count):
        fraction, scale, rest = 0.0, 1.0 / base, index
        for order in orders:
            rest, digit = divmod(rest, base)
            fraction += order[digit] * scale
            scale /= base
        yield min(fraction, math.nextafter(1.0, 0.0))
