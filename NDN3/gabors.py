"""Gabor filters: gratings under a Gaussian, the usual sketch of a receptive field in V1.

All have unit norm (the sum of squared pixels is one), so that a unit that weighs an image with one
gives the length of the image's projection on it. Filters are arrays [row, column], the row counted
downwards as in images.

References
----------
Daugman 1985, "Uncertainty relation for resolution in space, spatial frequency, and orientation
optimized by two-dimensional visual cortical filters", J. Opt. Soc. Am. A 2: 1160-1169.
Jones & Palmer 1987, "An evaluation of the two-dimensional Gabor filter model of simple receptive
fields in cat striate cortex", J. Neurophysiol. 58: 1233-1258.
"""

import math

import numpy as np

from NDN3 import quantities

# Of `gabor_sized`: cycles of the grating in a patch, and standard deviations of the envelope in it.
# Three deviations lie between the center and a border, where 1 % of the envelope is left.
CYCLES = 2.0
DEVIATIONS = 6.0
# Above it pixels are too far apart to show the grating (Nyquist)
HIGHEST_FREQUENCY = 0.5


def get_gabor(size, orientation, frequency, phase=0.0, sigma=None, aspect=1.0, center=None):
    """One Gabor filter.

    exp(-(u² + (aspect · v)²) / (2 sigma²)) · cos(2π · frequency · u + phase), divided by its norm,
    where u = x cos(orientation) + y sin(orientation) runs across the stripes and
    v = y cos(orientation) - x sin(orientation) along them; x is the column and y the row, from the
    center on.

    Parameters
    ----------
    size : int or (int, int)
        Width, or width and height [pixel].
    orientation : float
        Direction in which the grating changes [rad]: 0 gives upright stripes, and from there it
        turns clockwise as seen on the screen, because rows count downwards.
    frequency : float
        Of the grating [cycles / pixel], up to 0.5.
    phase : float
        Of the grating in the center [rad]: 0 is even, -π/2 odd.
    sigma : float, optional
        Standard deviation of the envelope across the stripes [pixel]; by default a sixth of the
        smaller side.
    aspect : float
        Deviation across the stripes divided by that along them.
    center : (float, float), optional
        Column and row of the center [pixel]; by default the middle of the patch.

    Returns
    -------
    ndarray, (height, width)
        Of unit norm.

    Raises
    ------
    ValueError
        If an argument is out of range, or the filter is zero at all pixels.
    """
    width, height = _sides(size)
    angle = quantities.real(orientation, "orientation [rad]")
    shift = quantities.real(phase, "phase [rad]")
    cycles = _frequency(frequency)
    deviation = min(width, height) / DEVIATIONS if sigma is None else _above_zero(sigma, "sigma")
    aspect = _above_zero(aspect, "aspect")
    column, row = ((width - 1) / 2, (height - 1) / 2) if center is None else _center(center)
    x = np.arange(width) - column
    y = np.arange(height)[:, np.newaxis] - row
    across = x * math.cos(angle) + y * math.sin(angle)
    along = y * math.cos(angle) - x * math.sin(angle)
    envelope = np.exp(-(across**2 + (aspect * along) ** 2) / (2 * deviation**2))
    pattern = envelope * np.cos(2 * math.pi * cycles * across + shift)
    norm = np.linalg.norm(pattern)
    # what is left of a grating that is zero at every pixel is rounding
    if norm <= 1e-9 * np.linalg.norm(envelope) or norm == 0:
        raise ValueError(
            f"a Gabor filter of {width} x {height} pixels with frequency {cycles}, phase {shift}, "
            f"sigma {deviation} and center {(column, row)} is zero at every pixel, and only one "
            "that is not can have unit norm. Change the phase, the center or sigma."
        )
    return pattern / norm


def gabor_sized(size, orientation, phase=0.0):
    """Gabor filter that fills a square patch.

    Two cycles of the grating fit into the patch, and the envelope has a deviation of a sixth of it.

    Parameters
    ----------
    size : int
        Width and height [pixel].
    orientation, phase : float
        [rad], as in `get_gabor`.

    Returns
    -------
    ndarray, (size, size)
        Of unit norm.

    Raises
    ------
    ValueError
        If the size is below 4 pixels, in which two cycles cannot be shown, or an angle is no
        number.
    """
    size = quantities.whole(size, "size of a Gabor filter [pixel]", math.ceil(2 * CYCLES))
    return get_gabor(size, orientation, CYCLES / size, phase)


def gabor_array(size, n_orientations=8, frequencies=None, phases=(0.0, -math.pi / 2), **options):
    """Gabor filters of all orientations, frequencies and phases.

    Parameters
    ----------
    size : int or (int, int)
        Width, or width and height [pixel].
    n_orientations : int
        Orientations, evenly from 0 to π (which is left out: it is 0 again).
    frequencies : sequence of float, optional
        [cycles / pixel]; by default one, with two cycles in the smaller side.
    phases : sequence of float
        [rad]; by default an even and an odd filter, a quadrature pair.
    **options
        `sigma`, `aspect` and `center` as in `get_gabor`.

    Returns
    -------
    ndarray, (height, width, 1, filters)
        In the form of the filters of a layer, so `plot_filters` shows them, and
        ``reshape(height * width, -1)`` gives the weights of a layer on images [1, width, height].
        The phase changes fastest, the frequency slowest.

    Raises
    ------
    ValueError
        If an argument is out of range, or a list is empty.
    """
    count = quantities.whole(n_orientations, "n_orientations")
    if frequencies is None:
        frequencies = (CYCLES / min(_sides(size)),)
    for name, values in (("frequencies", frequencies), ("phases", phases)):
        if not quantities.shape_of(values) or len(values) == 0:
            raise ValueError(
                f"{name} of gabor_array are {quantities.shown(values)}; they must be a list "
                "of at least one number. Correct them."
            )
    filters = [
        get_gabor(size, math.pi * number / count, frequency, phase, **options)
        for frequency in frequencies
        for number in range(count)
        for phase in phases
    ]
    return np.stack(filters, axis=-1)[:, :, np.newaxis]


def _sides(size):
    sides = tuple(size) if quantities.shape_of(size) else (size, size)
    if len(sides) != 2:
        raise ValueError(
            f"size of a Gabor filter is {quantities.shown(size)}; it must be one whole number, or "
            "width and height [pixel]. Correct it."
        )
    return tuple(quantities.whole(side, "size of a Gabor filter [pixel]") for side in sides)


def _center(center):
    if quantities.shape_of(center) != (2,):
        raise ValueError(
            f"center of a Gabor filter is {quantities.shown(center)}; it must be column and row "
            "[pixel]. Correct it, or leave it out for the middle."
        )
    return tuple(quantities.real(place, "center of a Gabor filter [pixel]") for place in center)


def _frequency(value):
    return quantities.real(
        value,
        "frequency [cycles / pixel]",
        lambda number: 0 <= number <= HIGHEST_FREQUENCY,
        f"a number from 0 to {HIGHEST_FREQUENCY}, two pixels for each cycle",
    )


def _above_zero(value, name):
    return quantities.real(
        value, name, lambda number: 0 < number < math.inf, "a finite number above 0"
    )
