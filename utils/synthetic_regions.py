"""Recordings of an imagined visual cortex whose every parameter is known.

Grey images with the spectrum of natural scenes pass difference-of-Gaussians filters, sparse hidden
units (some of them energy units, so that no model of this project contains the truth exactly) and
rectified outputs; spikes are drawn from the rates. :func:`simulate` returns what a recording holds
and, beside it, the truth behind it. Everything follows from one seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SIDE = 31  # pixels along one edge of an image
GREY_UNIT = 1e-6  # the published images are 8-bit grey levels divided by a million
CALIBRATION = 600  # images on which the ranges of the teacher's stages are set


@dataclass(frozen=True)
class Recipe:
    """What one kind of synthetic region is made of.

    Attributes
    ----------
    single_trial_ceiling : float
        Mean over neurons of the correlation between the rate and one trial.
    n_filters : int
        Number of difference-of-Gaussians filters.
    centers : tuple of float
        Range of their columns and rows, as shares of the image's edge.
    center_variance, surround_variance : tuple of float
        Range of the centers' variance, and of what the surrounds have more [pixel²].
    hidden_inputs : tuple of int
        Fewest and most filters that a hidden unit listens to.
    hidden_threshold : float
        Subtracted from the hidden units' input, in its standard deviations.
    energy_fraction : float
        Share of the hidden units that square their input.
    energy_weight : float
        Their weight on the output units, relative to that of the others.
    noise_spread : float
        Standard deviation of the logarithm of the noise scale over neurons.
    """

    single_trial_ceiling: float
    n_filters: int
    centers: tuple[float, float]
    center_variance: tuple[float, float]
    surround_variance: tuple[float, float]
    hidden_inputs: tuple[int, int]
    hidden_threshold: float
    energy_fraction: float
    energy_weight: float
    noise_spread: float


RECIPES = {
    "realistic": Recipe(
        single_trial_ceiling=0.5,
        n_filters=12,
        centers=(0.25, 0.75),
        center_variance=(1.0, 4.0),
        surround_variance=(4.0, 16.0),
        hidden_inputs=(2, 3),
        hidden_threshold=0.5,
        energy_fraction=0.2,
        energy_weight=1.0,
        noise_spread=0.5,
    ),
    # for fast tests: little noise, and a cortex that a small model learns in few epochs
    "low": Recipe(
        single_trial_ceiling=0.8,
        n_filters=9,
        centers=(0.3, 0.7),
        center_variance=(2.0, 4.0),
        surround_variance=(8.0, 16.0),
        hidden_inputs=(2, 2),
        hidden_threshold=0.0,
        energy_fraction=0.1,
        energy_weight=0.5,
        noise_spread=0.2,
    ),
}
HIDDEN_SPREAD = 2.0  # standard deviation of the hidden units' input: well beyond softplus' bend
OUTPUT_SPREAD = 1.5  # the same for the output units


def softplus(x: Array) -> Array:
    """Return log(1 + exp(x)), safe for large values."""
    return np.logaddexp(0.0, x)


def sigmoid(x: Array) -> Array:
    """Return the derivative of :func:`softplus`."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def natural_images(count: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return grey images with the 1/f amplitude spectrum of natural scenes.

    Parameters
    ----------
    count : int
        Number of images.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of uint8, (count, 961)
        Grey levels 0…255, row-major, about 125 on average with a spread of about 75.
    """
    field = 2 * SIDE + 2  # cut from a larger field, whose opposite edges would otherwise match
    frequency = np.hypot(np.fft.fftfreq(field)[:, None], np.fft.rfftfreq(field)[None, :])
    frequency[0, 0] = np.inf  # no constant part
    spectrum = np.fft.rfft2(rng.standard_normal((count, field, field))) / frequency
    crop = np.fft.irfft2(spectrum, s=(field, field))[:, :SIDE, :SIDE].reshape(count, -1)
    contrast = 70.0 * rng.lognormal(0.0, 0.35, (count, 1))
    return np.clip(np.rint(125.0 + contrast * crop / crop.std()), 0, 255).astype(np.uint8)


def _pixels() -> tuple[Array, Array]:
    """Column and row of every pixel, each (961, 1)."""
    row, column = np.divmod(np.arange(SIDE * SIDE, dtype=np.float64), SIDE)
    return column[:, None], row[:, None]


def difference_of_gaussians(parameters: Array) -> Array:
    """Return center-surround filters on the pixel grid.

    Parameters
    ----------
    parameters : ndarray, (8, n_filters)
        Rows: amplitude and variance [pixel²] of the center, its column and row [pixel], amplitude
        of the surround, by how much its variance [pixel²] exceeds the center's, two unused rows;
        the layout of the weights of a ``diff_of_gaussians`` layer.

    Returns
    -------
    ndarray, (961, n_filters)

    References
    ----------
    Antolík et al. 2016, PLoS Comput. Biol. 12(6): e1004927.
    """
    column, row = _pixels()
    amplitude, variance, x, y, amplitude_around, more = parameters[:6]
    wide = variance + more
    square = (column - x) ** 2 + (row - y) ** 2
    center = amplitude / (2 * np.pi * variance) * np.exp(-square / (2 * variance))
    surround = amplitude_around / (2 * np.pi * wide) * np.exp(-square / (2 * wide))
    return np.asarray(center - surround)


@dataclass(frozen=True)
class Teacher:
    """The imagined cortex: images in, rates out.

    Attributes
    ----------
    lgn : ndarray, (8, n_filters)
        See :func:`difference_of_gaussians`.
    hidden_weights : ndarray, (n_filters, n_hidden)
        Zero in the columns of energy units.
    hidden_biases : ndarray, (n_hidden,)
    energy_units : ndarray of bool, (n_hidden,)
    gabors : ndarray, (2, 961, n_hidden)
        Quadrature pairs of the energy units; zero elsewhere.
    output_weights : ndarray, (n_hidden, n_neurons)
    output_biases : ndarray, (n_neurons,)
    gains : ndarray, (n_neurons,)
        Scale of each neuron's rate.
    """

    lgn: Array
    hidden_weights: Array
    hidden_biases: Array
    energy_units: npt.NDArray[np.bool_]
    gabors: Array
    output_weights: Array
    output_biases: Array
    gains: Array

    def rates(self, images: Array) -> Array:
        """Return the rate of every neuron for standardized images (T, 961), as (T, n_neurons)."""
        return self.gains * softplus(
            self._hidden(images)[0] @ self.output_weights + self.output_biases
        )

    def receptive_fields(self, images: Array) -> Array:
        """Return the mean gradient of each rate with respect to the image, (n_neurons, 31, 31).

        Parameters
        ----------
        images : ndarray, (T, 961)
            Standardized images to average over; unit of the result: rate per standard deviation of
            the grey level.
        """
        hidden, drive, pairs = self._hidden(images)
        slope = sigmoid(hidden @ self.output_weights + self.output_biases) / len(images)
        kernels = difference_of_gaussians(self.lgn) @ self.hidden_weights
        linear = ~self.energy_units
        through = (slope.T @ sigmoid(drive)) * self.output_weights.T
        fields = through[:, linear] @ kernels[:, linear].T
        for pair, gabor in zip(pairs, self.gabors, strict=True):
            fields += (slope.T @ (2.0 * pair) * self.output_weights.T) @ gabor.T
        return (self.gains[:, None] * fields).reshape(-1, SIDE, SIDE)

    def _hidden(self, images: Array) -> tuple[Array, Array, Array]:
        """Hidden activity, its input, and the Gabor outputs (2, T, n_hidden)."""
        drive = (
            images @ difference_of_gaussians(self.lgn) @ self.hidden_weights + self.hidden_biases
        )
        pairs = images @ self.gabors
        return np.where(self.energy_units, (pairs**2).sum(0), softplus(drive)), drive, pairs


def _sparse(
    n_inputs: int, n_units: int, strong: tuple[int, int], rng: np.random.Generator
) -> Array:
    """Few strong weights per unit: (n_inputs, n_units), between strong[0] and strong[1] each."""
    weights = np.zeros((n_inputs, n_units))
    for unit in range(n_units):
        count = min(n_inputs, int(rng.integers(strong[0], strong[1] + 1)))
        chosen = rng.choice(n_inputs, size=count, replace=False)
        weights[chosen, unit] = rng.uniform(0.5, 1.5, count)
    return weights


def make_teacher(
    n_neurons: int, images: Array, recipe: Recipe, rng: np.random.Generator
) -> Teacher:
    """Return a teacher whose stages have sensible ranges on these images.

    Parameters
    ----------
    n_neurons : int
    images : ndarray, (T, 961)
        Standardized images.
    recipe : Recipe
    rng : numpy.random.Generator
    """
    n_hidden = max(1, int(0.2 * n_neurons))
    n_energy = min(n_hidden - 1, round(recipe.energy_fraction * n_hidden))

    lgn = np.zeros((8, recipe.n_filters))
    lgn[0] = 1.0
    lgn[1] = rng.uniform(*recipe.center_variance, recipe.n_filters)
    lgn[2:4] = SIDE * rng.uniform(*recipe.centers, (2, recipe.n_filters))
    lgn[4] = rng.uniform(0.7, 1.0, recipe.n_filters)
    lgn[5] = rng.uniform(*recipe.surround_variance, recipe.n_filters)
    lgn[[0, 4]] /= (images @ difference_of_gaussians(lgn)).std(0)
    filtered = images @ difference_of_gaussians(lgn)

    hidden = _sparse(recipe.n_filters, n_hidden, recipe.hidden_inputs, rng)
    hidden *= rng.choice([-1.0, 1.0], hidden.shape)
    hidden *= HIDDEN_SPREAD / (filtered @ hidden).std(0)
    energy = np.arange(n_hidden) >= n_hidden - n_energy
    hidden[:, energy] = 0.0
    gabors = np.zeros((2, SIDE * SIDE, n_hidden))
    for unit in np.flatnonzero(energy):
        gabors[:, :, unit] = _quadrature_pair(rng)
        gabors[:, :, unit] /= np.sqrt(((images @ gabors[:, :, unit].T) ** 2).sum(1).mean())

    silent = Teacher(
        lgn,
        hidden,
        np.where(energy, 0.0, -HIDDEN_SPREAD * recipe.hidden_threshold),
        energy,
        gabors,
        np.zeros((n_hidden, n_neurons)),
        np.zeros(n_neurons),
        np.ones(n_neurons),
    )
    activity = silent._hidden(images)[0]
    weights = _sparse(n_hidden, n_neurons, (1, 3), rng) / activity.std(0)[:, None]
    weights *= np.where(rng.random(weights.shape) < 0.2, -1.0, 1.0)
    weights[energy] *= recipe.energy_weight
    weights *= OUTPUT_SPREAD / (activity @ weights).std(0)
    biases = -(activity @ weights).mean(0)
    mean_rates = 0.5 * rng.lognormal(0.0, 0.5, n_neurons)
    gains = mean_rates / softplus(activity @ weights + biases).mean(0)
    return Teacher(lgn, hidden, silent.hidden_biases, energy, gabors, weights, biases, gains)


def _quadrature_pair(rng: np.random.Generator) -> Array:
    """Even and odd Gabor, (2, 961), somewhere in the central half of the image."""
    column, row = _pixels()
    x, y = rng.uniform(0.3 * SIDE, 0.7 * SIDE, 2)
    angle = rng.uniform(0.0, np.pi)
    width = rng.uniform(2.0, 3.5)
    phase = (
        2
        * np.pi
        * rng.uniform(0.1, 0.2)
        * ((column - x) * np.cos(angle) + (row - y) * np.sin(angle))
    )
    envelope = np.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * width**2))
    even, odd = (envelope * wave for wave in (np.cos(phase), np.sin(phase)))
    even = even - envelope * even.sum() / envelope.sum()  # blind to uniform light, like the odd one
    return np.stack([even[:, 0], odd[:, 0]])


def ceiling(rates: Array, kappa: Array, n_repeats: int) -> Array:
    """Return the correlation of each rate with the mean of ``n_repeats`` noisy trials.

    Parameters
    ----------
    rates : ndarray, (T, n_neurons)
    kappa : ndarray, (n_neurons,)
        A trial is Poisson(kappa · rate) / kappa, of variance rate / kappa.
    n_repeats : int

    Returns
    -------
    ndarray, (n_neurons,)
        sqrt(Var rate / (Var rate + mean rate / (kappa · n_repeats))).
    """
    signal = rates.var(0)
    return np.asarray(np.sqrt(signal / (signal + rates.mean(0) / (kappa * n_repeats))))


def _calibrated_kappa(rates: Array, target: float, shape: Array) -> Array:
    """``shape`` times the one factor that makes the mean single-trial ceiling the target."""
    low, high = -12.0, 12.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if ceiling(rates, shape * np.exp(middle), 1).mean() < target:
            low = middle
        else:
            high = middle
    return shape * np.exp(high)


def simulate(
    n_neurons: int, n_training: int, n_validation: int, n_repeats: int, seed: int, recipe: Recipe
) -> tuple[dict[str, Array], dict[str, npt.NDArray[np.generic]]]:
    """Return one region's recording and the truth behind it.

    Parameters
    ----------
    n_neurons, n_training, n_validation, n_repeats : int
        Neurons; training images, shown once; validation images, shown ``n_repeats`` times.
    seed : int
    recipe : Recipe

    Returns
    -------
    recording : dict of ndarray, float64
        ``training_inputs`` (n_training, 961) and ``validation_inputs`` (n_validation, 961), grey
        levels / 10⁶; ``training_set`` (n_training, n_neurons); ``raw_validation_set`` (n_repeats,
        n_validation, n_neurons); ``validation_set``, its mean over repeats.
    truth : dict of ndarray
        ``rates_training``, ``rates_validation``, ``kappa``, ``ceiling`` (for the mean of the
        repeats) and ``ceiling_single`` per neuron, ``lgn``, ``hidden_weights``, ``hidden_biases``,
        ``energy_units``, ``gabors``, ``output_weights``, ``output_biases``, ``gains`` (see
        :class:`Teacher`) and ``receptive_fields`` (n_neurons, 31, 31).
    """
    rng = np.random.default_rng(seed)
    # a teacher that saw a fixed number of images does not depend on the size of the recording
    seen = natural_images(CALIBRATION, rng).astype(np.float64)
    teacher = make_teacher(n_neurons, (seen - seen.mean()) / seen.std(), recipe, rng)
    grey = natural_images(n_training + n_validation, rng).astype(np.float64)
    shown = grey[:n_training]
    standardized = (grey - shown.mean()) / shown.std()
    rates = teacher.rates(standardized)
    training, validation = rates[:n_training], rates[n_training:]
    spread = rng.lognormal(0.0, recipe.noise_spread, n_neurons)
    kappa = _calibrated_kappa(validation, recipe.single_trial_ceiling, spread)
    repeats = rng.poisson(kappa * validation, (n_repeats, n_validation, n_neurons)) / kappa
    recording = {
        "training_inputs": shown * GREY_UNIT,
        "training_set": rng.poisson(kappa * training) / kappa,
        "validation_inputs": grey[n_training:] * GREY_UNIT,
        "validation_set": repeats.mean(0),
        "raw_validation_set": repeats,
    }
    truth: dict[str, npt.NDArray[np.generic]] = {
        "rates_training": training.astype(np.float32),
        "rates_validation": validation.astype(np.float32),
        "kappa": kappa,
        "ceiling": ceiling(validation, kappa, n_repeats),
        "ceiling_single": ceiling(validation, kappa, 1),
        "lgn": teacher.lgn,
        "hidden_weights": teacher.hidden_weights,
        "hidden_biases": teacher.hidden_biases,
        "energy_units": teacher.energy_units,
        "gabors": teacher.gabors,
        "output_weights": teacher.output_weights,
        "output_biases": teacher.output_biases,
        "gains": teacher.gains,
        "receptive_fields": teacher.receptive_fields(standardized[:n_training]).astype(np.float32),
    }
    return recording, truth
