"""V1 recordings: regions read, normalized, pooled with a mask; what their repeats say about noise.

Images are rows of pixels (row-major), responses rows of neurons; one row per presented image.
Nothing here writes. `make data` puts recordings in place, `Data/README.md` says whence they come.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from utils import manifest, paths

Array = npt.NDArray[np.float64]
Array32 = npt.NDArray[np.float32]

REGIONS = (1, 2, 3)
FILES = (
    "training_inputs.npy",
    "training_set.npy",
    "validation_inputs.npy",
    "validation_set.npy",
    "raw_validation_set.npy",
)
TRUTH = "truth.npz"
SOURCE = "supplement S1 of Antolík et al. 2016, PLoS Comput Biol 12(6): e1004927"

IMAGES = ("normalize_mean_std", "times_mil", "identity")
RESPONSES = ("identity", "normalize_std")


@dataclass(frozen=True, eq=False)
class Region:
    """One region as its files hold it, before any normalization.

    Attributes
    ----------
    training_inputs, validation_inputs : ndarray, (T, n_pixels)
    training_set, validation_set : ndarray, (T, n_neurons)
        Single trials; mean over repeats.
    raw_validation_set : ndarray, (n_repeats, T_validation, n_neurons)
    """

    training_inputs: Array
    training_set: Array
    validation_inputs: Array
    validation_set: Array
    raw_validation_set: Array


@dataclass(frozen=True, eq=False)
class Recording:
    """Images and the responses to them, of one region or of several pooled ones.

    Attributes
    ----------
    images : ndarray of float32, (T, n_pixels)
    responses : ndarray of float32, (T, n_neurons)
        Zero where a neuron was not recorded.
    mask : ndarray of float32, (T, n_neurons), or None
        One where the neuron's region saw the image, else zero; None for a single region.
    regions : tuple of int
    neurons_per_region : tuple of int
    repeats : list of ndarray of float32, (n_repeats, 50, neurons of the region), or None
        The single repeats behind the responses, per region; None on training data.
    """

    images: Array32
    responses: Array32
    mask: Array32 | None
    regions: tuple[int, ...]
    neurons_per_region: tuple[int, ...]
    repeats: list[Array32] | None

    @property
    def n_images(self) -> int:
        """Number of rows."""
        return len(self.images)

    @property
    def n_neurons(self) -> int:
        """Number of columns of the responses."""
        return self.responses.shape[1]


@dataclass(frozen=True, eq=False)
class NoiseCeiling:
    """How far the best possible model would get, per neuron.

    Attributes
    ----------
    cc_max : ndarray, (n_neurons,)
        Estimated correlation of the true rate with the mean over repeats; NaN where undefined.
    n_undefined : int
        Neurons whose signal power is not positive: noise hides all that repeats itself.
    planted : ndarray, (n_neurons,), or None
        The exact ceiling, known for synthetic data only.
    """

    cc_max: Array
    n_undefined: int
    planted: Array | None


# ------------------------------------------------------------------------------------ reading


def _read(folder: Path, name: str, n_axes: int) -> Array:
    """One file as float64 with ``n_axes`` axes; some copies carry singleton axes too many."""
    path = folder / name
    try:
        with path.open("rb") as stream:  # np.load leaves open what turns out to be no archive
            values = np.load(stream, allow_pickle=False)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"{path} is missing; it is part of {SOURCE}, and Data/README.md says how to fetch it. "
            "`make data` writes a synthetic stand-in."
        ) from None
    except (ValueError, EOFError, OSError, MemoryError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is no readable array of numbers ({error}); fetch it again as Data/README.md "
            "says, or remove the folder and call `make data`."
        ) from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise ValueError(f"{path} holds no plain numbers; expected floats, fetch it again.")
    values = values.astype(np.float64)
    while values.ndim > n_axes and 1 in values.shape:
        values = values.squeeze(values.shape.index(1))
    if values.ndim != n_axes or not values.size:
        raise ValueError(
            f"{path} has shape {values.shape}; expected {n_axes} axes, see the table in "
            "Data/README.md."
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"{path} holds {int((~np.isfinite(values)).sum())} values that are not finite, and "
            "needs none. Fetch it again as Data/README.md says, or remove the folder and call "
            "`make data`."
        )
    return values


def read_region(folder: Path) -> Region:
    """Return what the five files of one region hold.

    Parameters
    ----------
    folder : Path
        Such as ``Data/region1``.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file cannot be read, is not finite, or does not fit the others.
    """
    region = Region(*(_read(folder, name, 3 if name.startswith("raw") else 2) for name in FILES))
    images, trials, held_images, means, repeats = (
        getattr(region, Path(name).stem).shape for name in FILES
    )
    pairs = [
        (1, trials[0], 0, images[0], "rows"),
        (3, means[0], 2, held_images[0], "rows"),
        (2, held_images[1], 0, images[1], "pixels"),
        (3, means[1], 1, trials[1], "neurons"),
        (4, repeats[1], 3, means[0], "rows"),
        (4, repeats[2], 3, means[1], "neurons"),
    ]
    for file, count, other, wanted, what in pairs:
        if count != wanted:
            raise ValueError(
                f"{folder / FILES[file]} has {count} {what}, {FILES[other]} has {wanted}; both "
                "need the same, so fetch both again as Data/README.md says."
            )
    return region


# ------------------------------------------------------------------------- normalizing, pooling


def normalize_mean_std(values: Array, statistics_of: Array | None = None) -> Array:
    """Return values minus mean, divided by standard deviation, both over a whole array.

    Parameters
    ----------
    values : ndarray
    statistics_of : ndarray, optional
        Where mean and standard deviation are taken from; default ``values`` itself.

    Raises
    ------
    ValueError
        If the standard deviation is zero.
    """
    reference = values if statistics_of is None else statistics_of
    return (values - reference.mean()) / _spread(reference)


def normalize_std(values: Array, statistics_of: Array | None = None) -> Array:
    """Return values divided by the standard deviation of a whole array.

    Parameters and errors are those of :func:`normalize_mean_std`.
    """
    return values / _spread(values if statistics_of is None else statistics_of)


def _spread(values: Array) -> float:
    spread = float(values.std())
    if not spread > 0:
        raise ValueError(
            f"all {values.size} values are {values.flat[0]:g}; a normalization by the standard "
            "deviation needs values that differ, so choose 'identity' or other data."
        )
    return spread


def merge(
    images: Sequence[npt.NDArray[np.floating]], responses: Sequence[npt.NDArray[np.floating]]
) -> tuple[Array32, Array32, Array32]:
    """Return several recordings as one, with the mask that tells which response was measured.

    Parameters
    ----------
    images : sequence of ndarray, (T_r, n_pixels)
    responses : sequence of ndarray, (T_r, n_r)

    Returns
    -------
    images : ndarray of float32, (ΣT_r, n_pixels)
        The recordings below each other.
    responses : ndarray of float32, (ΣT_r, Σn_r)
        Block-diagonal: rows of a recording times its own neurons, zero elsewhere.
    mask : ndarray of float32, (ΣT_r, Σn_r)
        One in these blocks, zero elsewhere.

    Raises
    ------
    ValueError
        If the images differ in size or rows do not match.
    """
    pixels = sorted({part.shape[1] for part in images})
    if len(images) != len(responses) or len(pixels) != 1:
        raise ValueError(
            f"{len(images)} sets of images with {pixels} pixels came with {len(responses)} sets of "
            "responses; pooling needs one set of responses per set of images and images of one "
            "size, so crop or scale them first."
        )
    for part, answer in zip(images, responses, strict=True):
        if len(part) != len(answer):
            raise ValueError(
                f"{len(part)} images came with {len(answer)} rows of responses; pooling needs one "
                "row per image, so look for the one that is missing."
            )
    rows = np.cumsum([0, *(len(part) for part in images)])
    columns = np.cumsum([0, *(part.shape[1] for part in responses)])
    merged = np.zeros((rows[-1], columns[-1]), np.float32)
    mask = np.zeros_like(merged)
    for r, part in enumerate(responses):
        block = np.s_[rows[r] : rows[r + 1], columns[r] : columns[r + 1]]
        merged[block] = part
        mask[block] = 1
    return np.concatenate([part.astype(np.float32) for part in images]), merged, mask


def load_regions(
    regions: int | Iterable[int],
    images: str = "normalize_mean_std",
    responses: str = "identity",
    legacy: bool = False,
) -> tuple[Recording, Recording]:
    """Return training and validation recordings of one region, or of several pooled.

    Parameters
    ----------
    regions : int or iterable of int
        Of 1, 2, 3; the order of the neurons follows it.
    images : {"normalize_mean_std", "times_mil", "identity"}
        Grey levels minus mean over standard deviation, per region and over all pixels; grey levels
        0…255 (the files hold millionths); as stored.
    responses : {"identity", "normalize_std"}
        As stored; divided by the standard deviation over all neurons of the region.
    legacy : bool
        Let each split use statistics of its own, as the published results did. Otherwise the
        validation data are normalized with the statistics of the training data.

    Returns
    -------
    training, validation : Recording

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a region or a name is unknown, or files do not fit each other.
    """
    numbers = _region_numbers(regions)
    for option, value, allowed in (("images", images, IMAGES), ("responses", responses, RESPONSES)):
        if value not in allowed:
            raise ValueError(
                f"{option} must be one of {', '.join(allowed)}, got {value!r}. Name one of them."
            )
    parts = []
    for number in numbers:
        # first what is wrong with a file, then whether it belongs to the others
        folder = paths.region_dir(number)
        region = read_region(folder)
        others = [name for name in FILES if manifest.origin(folder, [name]) == "measured"]
        if 0 < len(others) < len(FILES):
            raise ValueError(
                f"{folder} holds synthetic files, but {', '.join(others)} is not as `make data` "
                "wrote it. Remove the folder and call `make data`, or fetch all five files again "
                "as Data/README.md says."
            )
        parts.append(_normalized(region, images, responses, legacy))
    training = _pooled(
        numbers, [part.training_inputs for part in parts], [part.training_set for part in parts]
    )
    return training, _pooled(
        numbers,
        [part.validation_inputs for part in parts],
        [part.validation_set for part in parts],
        [part.raw_validation_set.astype(np.float32) for part in parts],
    )


def _region_numbers(regions: int | Iterable[int]) -> tuple[int, ...]:
    numbers = (regions,) if isinstance(regions, (int, np.integer, str)) else tuple(regions)
    for number in numbers:
        if isinstance(number, (bool, str)) or number not in REGIONS:
            raise ValueError(
                f"region must be 1, 2 or 3, got {number}. Data/README.md says how to fetch the "
                "recordings."
            )
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(
            f"regions must name at least one region and none twice, got {list(numbers)}. "
            "Name each once, such as [1, 2]."
        )
    return tuple(int(number) for number in numbers)


def _normalized(region: Region, images: str, responses: str, legacy: bool) -> Region:
    inputs = [region.training_inputs, region.validation_inputs]
    answers = [region.training_set, region.validation_set, region.raw_validation_set]
    if images == "normalize_mean_std":
        inputs = [normalize_mean_std(part, part if legacy else inputs[0]) for part in inputs]
    elif images == "times_mil":
        inputs = [part * 1e6 for part in inputs]
    if responses == "normalize_std":
        # repeats share the scale of their mean, or they could not be compared with it
        statistics = [answers[0], answers[1], answers[1]] if legacy else [answers[0]] * 3
        answers = [normalize_std(*pair) for pair in zip(answers, statistics, strict=True)]
    return Region(inputs[0], answers[0], inputs[1], answers[1], answers[2])


def _pooled(
    regions: tuple[int, ...],
    images: list[Array],
    responses: list[Array],
    repeats: list[Array32] | None = None,
) -> Recording:
    stacked, merged, mask = merge(images, responses)
    return Recording(
        stacked,
        merged,
        mask if len(regions) > 1 else None,
        regions,
        tuple(part.shape[1] for part in responses),
        repeats,
    )


# ------------------------------------------------------------------------------ noise and truth


def signal_power(repeats: npt.NDArray[np.floating]) -> Array:
    """Return the variance over images that all repeats share.

    Parameters
    ----------
    repeats : ndarray, (n_repeats, T, n_neurons)

    Returns
    -------
    ndarray, (n_neurons,)
        [Var_t(Σ_r y) − Σ_r Var_t(y)] / (R (R − 1)); an unbiased estimate, so it can be negative.

    Raises
    ------
    ValueError
        If there are fewer than two repeats or two images.

    References
    ----------
    Sahani & Linden 2003, NIPS 15.
    """
    values = np.asarray(repeats, dtype=np.float64)
    if values.ndim != 3 or min(values.shape[:2]) < 2:
        raise ValueError(
            f"repeats have shape {values.shape}; signal power needs (repeats, images, neurons) "
            "with two repeats and two images at least, so record more or leave it out."
        )
    count = len(values)
    together = values.sum(0).var(0, ddof=1)
    apart = values.var(1, ddof=1).sum(0)
    # of a constant neuron only rounding is left
    varies = np.ptp(values, (0, 1)) > 0
    return np.where(varies, (together - apart) / (count * (count - 1)), 0.0)


def cc_max(repeats: npt.NDArray[np.floating]) -> Array:
    """Return the estimated correlation of the true rate with the mean over repeats.

    Parameters
    ----------
    repeats : ndarray, (n_repeats, T, n_neurons)

    Returns
    -------
    ndarray, (n_neurons,)
        sqrt(signal power / Var_t of the mean); NaN where the signal power is not positive.

    References
    ----------
    Schoppe et al. 2016, Front. Comput. Neurosci. 10:10.
    """
    power = signal_power(repeats)
    defined = power > 0
    total = np.asarray(repeats, dtype=np.float64).mean(0).var(0, ddof=1)
    ceiling = np.full(power.shape, np.nan)
    ceiling[defined] = np.sqrt(power[defined] / total[defined])
    return ceiling


def noise_ceiling(recording: Recording) -> NoiseCeiling:
    """Return how far a perfect model would get, from repeats and, where known, from the truth.

    Parameters
    ----------
    recording : Recording
        Validation data of :func:`load_regions`.

    Raises
    ------
    ValueError
        If the recording has no repeats.
    """
    if recording.repeats is None:
        raise ValueError(
            "this recording has single trials only; a noise ceiling needs repeats, so give the "
            "validation part that load_regions returns."
        )
    estimated = np.concatenate([cc_max(part) for part in recording.repeats])
    truths = [truth(region) for region in recording.regions]
    known = [one["ceiling"] for one in truths if one is not None]
    planted = np.concatenate(known) if len(known) == len(truths) else None
    return NoiseCeiling(estimated, int(np.isnan(estimated).sum()), planted)


def truth(region: int) -> dict[str, npt.NDArray[Any]] | None:
    """Return what was planted in a synthetic region, or None when the data are not synthetic.

    Parameters
    ----------
    region : int

    Returns
    -------
    dict of ndarray or None
        See :func:`utils.synthetic_regions.simulate`.

    Raises
    ------
    ValueError
        If the manifest cannot be read.
    """
    folder = paths.region_dir(region)
    if manifest.origin(folder, FILES) != "synthetic":
        return None
    lines = manifest.read(folder.parent)
    try:
        with np.load(folder / TRUTH, allow_pickle=False) as stored:
            planted = dict(stored)
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile):
        return None
    # the truth of other synthetic files, left from before, is no truth about these
    described = planted.pop("sha256", np.array([])).tolist()
    if described != [lines[manifest.key(folder / name)]["sha256"] for name in FILES]:
        return None
    return planted
