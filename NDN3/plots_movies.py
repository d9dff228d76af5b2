"""Moving pictures of weights or stimuli."""

import os
from contextlib import suppress

import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.figure import Figure

from NDN3 import columns, paths, plots_drawing, quantities

LONGER_SIDE = 3.0  # [inch]


def make_gif(frames, path, fps=10, limits=None):
    """Write frames as a GIF, in grays.

    A filter in space and time `filters[:, :, :, unit]` of shape (H, W, lags) is shown in time by
    ``make_gif(np.moveaxis(filter, 2, 0), path)``.

    Parameters
    ----------
    frames : array_like, (frames, H, W)
    path : path
        Its ending must be ``.gif``; the folder is made if missing.
    fps : float
        Frames per second.
    limits : (float, float), optional
        Values shown black and white; by default the largest absolute value, negative and positive,
        so that zero is the middle gray.

    Returns
    -------
    Path
        The file. A file that was there is replaced when the new one is whole.

    Raises
    ------
    ValueError
        If these are no frames, or an argument does not fit.
    """
    frames = columns.numbers(frames, "frames")
    if frames.ndim != 3 or frames.size == 0 or frames.dtype.kind not in "biuf":
        raise ValueError(
            f"frames are an array of {frames.dtype} of shape {frames.shape}; they must be numbers "
            "(frames, height, width). Reshape them."
        )
    quantities.finite(frames, "frames")
    frames = frames.astype(np.float64)
    path = paths.checked(path, "path")
    if path.suffix.lower() != ".gif":
        raise ValueError(f"path is {str(path)!r}; this writes GIF files. Let it end with '.gif'.")
    rate = quantities.real(fps, "fps", lambda x: 0 < x <= 50, "a number above 0, up to 50")
    low, high = _limits(limits, frames)
    paths.new_folder(path.parent, "the folder of path").mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.{os.getpid()}.gif")
    height, width = frames.shape[1:]
    scale = LONGER_SIDE / max(height, width)
    # a figure of its own, known to nobody else, so that nothing shows it or keeps it
    figure = Figure(figsize=(max(width * scale, 0.5), max(height * scale, 0.5)))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    image = ax.imshow(
        frames[0],
        cmap=plots_drawing.GRAYS,
        vmin=low,
        vmax=high,
        aspect="auto",
        interpolation="nearest",
    )
    writer = PillowWriter(fps=rate)
    try:
        with writer.saving(figure, str(aside), dpi=100):
            for frame in frames:
                image.set_data(frame)
                writer.grab_frame()
        aside.replace(path)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
    return path


def _limits(limits, frames):
    if limits is None:
        largest = plots_drawing.limit_of(frames)
        return -largest, largest
    if quantities.shape_of(limits) != (2,):
        raise ValueError(
            f"limits are {quantities.shown(limits)}; they must be two numbers, shown black "
            "and white. Correct them."
        )
    low, high = (quantities.real(value, "limits") for value in limits)
    if low >= high:
        raise ValueError(
            f"limits are {limits}; the first one must be below the second one. Correct them."
        )
    return low, high
