"""What filters and neurons look for in an image: computed from a model, drawn as pictures.

Pictures are (height, width), row 0 on top. Red is more response to brighter pixels, blue to darker
ones, white is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from utils import analysis_metrics, analysis_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = npt.NDArray[np.float64]

_panel = 1.35  # inch


def kernels(model: Any, network: int = 0) -> tuple[Array, Array | None]:
    """First-layer filters of a network on the pixel grid, and where they are centered.

    Parameters
    ----------
    model : NDN3.NDN.NDN
    network : int
        Which of the model's networks.

    Returns
    -------
    kernels : ndarray, (F, height, width)
        Weights summed over channels.
    centers : ndarray, (F, 2), or None
        Column and row [pixel] of difference-of-Gaussians filters, which have a center.

    Raises
    ------
    ValueError
        If the weights of the first layer are no pictures.
    """
    layer = model.networks[network].layers[0]
    weights = np.asarray(layer.weights, np.float64)
    behind = layer.keras_layer
    if hasattr(behind, "centers"):
        pictures = np.asarray(behind.kernels(layer.weights), np.float64)
        return pictures, np.asarray(behind.centers(layer.weights), np.float64)
    channels, width, height = layer.filter_dims
    if weights.shape[0] != channels * width * height:
        raise ValueError(
            f"the first layer is of type {behind.layer_type} with weights {weights.shape}; only "
            "filters over pixels are pictures. Draw the receptive fields of the neurons instead."
        )
    return weights.T.reshape(-1, height, width, channels).sum(-1), None


def linear_fields(model: Any, images: npt.ArrayLike, step: float = 0.1) -> Array:
    """Linear receptive fields: mean gradient of each prediction with respect to the image.

    Works for every architecture, because it only asks the model for predictions: central
    differences, pixel by pixel.

    Parameters
    ----------
    model : NDN3.NDN.NDN
    images : array_like, (T, n_pixels)
        Images to average over, normalized as those that the model was trained with.
    step : float
        Change of a pixel, in the unit of the images.

    Returns
    -------
    ndarray, (n_neurons, height, width)
        Response per unit of the images; summed over channels.
    """
    shown = np.atleast_2d(np.asarray(images, np.float32))
    n_pixels = shown.shape[1]
    changes = np.float32(step) * np.eye(n_pixels, dtype=np.float32)
    total: Array | float = 0.0
    for image in shown:
        predicted = model.generate_prediction(np.concatenate([image + changes, image - changes]))
        total = total + np.asarray(predicted[:n_pixels], np.float64) - predicted[n_pixels:]
    gradients = np.asarray(total) / (2 * step * len(shown))
    channels, width, height = model.networks[0].input_dims
    return gradients.T.reshape(-1, height, width, channels).sum(-1)


def similarity(fields: npt.ArrayLike, others: npt.ArrayLike) -> Array:
    """Correlation over pixels of each field with its counterpart.

    Parameters
    ----------
    fields, others : array_like, (n_neurons, height, width)

    Returns
    -------
    ndarray, (n_neurons,)
    """
    first, second = (np.asarray(part, float) for part in (fields, others))
    return analysis_metrics.correlation(
        first.reshape(len(first), -1).T, second.reshape(len(second), -1).T
    )


def filters(model: Any, network: int = 0, columns: int = 5) -> npt.NDArray[Any]:
    """Draw the filters of a network's first layer, with their centers.

    Parameters
    ----------
    model : NDN3.NDN.NDN
    network : int
        Which of the model's networks.
    columns : int
        Pictures in a row, at most.

    Returns
    -------
    ndarray of Axes, (F,)
    """
    pictures, centers = kernels(model, network)
    n_rows = math.ceil(len(pictures) / columns)
    grid = _grid(n_rows, min(columns, len(pictures)), "weight, relative to\nthe filter's largest")
    axes = grid.ravel()
    for i, (ax, picture) in enumerate(zip(axes, pictures, strict=False)):
        _draw(ax, picture, np.abs(picture).max())
        ax.set_title(f"filter {i + 1}", loc="center", fontsize=9)
        if centers is not None:
            ax.plot(*centers[i], marker="+", color="black", markersize=5, markeredgewidth=0.8)
    for ax in axes[len(pictures) :]:
        ax.axis("off")
    _label_pixels(grid[n_rows - 1, 0], pictures[0])
    return axes[: len(pictures)]


def receptive_fields(
    fields: Mapping[str, npt.ArrayLike], titles: Sequence[str] | None = None
) -> npt.NDArray[Any]:
    """Draw receptive fields of the same neurons from several sources below each other.

    Parameters
    ----------
    fields : mapping of str to array_like, (n_neurons, height, width)
        By the text to write beside the row, such as ``{"planted": …, "model": …}``.
    titles : sequence of str, optional
        Text above each column; "neuron 1", … when left out.

    Returns
    -------
    ndarray of Axes, (sources, n_neurons)

    Raises
    ------
    ValueError
        If the sources differ in the number of neurons.
    """
    pictures = {source: np.asarray(part, float) for source, part in fields.items()}
    counts = {source: len(part) for source, part in pictures.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise ValueError(
            f"receptive fields of {counts or 'nothing'} were given; each source needs the same "
            "neurons, at least one. Choose them with the same index."
        )
    n_neurons = next(iter(counts.values()))
    titles = titles or [f"neuron {i + 1}" for i in range(n_neurons)]
    axes = _grid(len(pictures), n_neurons, "gradient, relative to\nthe field's largest")
    for row, (source, part) in zip(axes, pictures.items(), strict=True):
        for ax, picture in zip(row, part, strict=True):
            _draw(ax, picture, np.abs(picture).max())
        row[0].set_ylabel(source, fontsize=10)
    axes[0, 0].figure.align_ylabels(axes[:, 0])
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, loc="center", fontsize=9)
    _label_pixels(axes[-1, 0], next(iter(pictures.values()))[0])
    return axes


def _grid(n_rows: int, n_columns: int, meaning: str) -> npt.NDArray[Any]:
    """Axes for pictures, and one color bar for all of them."""
    from matplotlib import cm, colors, pyplot

    with analysis_style.style():
        figure, axes = pyplot.subplots(
            n_rows,
            n_columns,
            squeeze=False,
            figsize=(_panel * n_columns + 1.2, (_panel + 0.2) * n_rows + 0.4),
        )
        scale = cm.ScalarMappable(colors.Normalize(-1, 1), analysis_style.FIELD_COLORS)
        bar = figure.colorbar(scale, ax=axes, aspect=12 * n_rows, pad=0.02, ticks=[-1, 0, 1])
        bar.set_label(meaning, fontsize=8)
        bar.outline.set_linewidth(0.5)
        bar.ax.tick_params(labelsize=8)
    return axes


def _draw(ax: Axes, picture: Array, largest: float) -> None:
    # a field of zeros has no largest value, and is drawn white
    ax.imshow(picture / (largest or 1.0), cmap=analysis_style.FIELD_COLORS, vmin=-1, vmax=1)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.5)
        spine.set_color(analysis_style.GRAY)


def _label_pixels(ax: Axes, picture: Array) -> None:
    """Tell the size of the pictures at one of them."""
    height, width = picture.shape
    ax.set_xticks([0, width - 1])
    ax.set_yticks([0, height - 1])
    ax.tick_params(labelsize=8, length=2)
    ax.set_xlabel("column [pixel]", fontsize=8)
    # a row that has a name keeps it, in its own size
    name = ax.get_ylabel()
    ax.set_ylabel(f"{name}\nrow [pixel]" if name else "row [pixel]", fontsize=10 if name else 8)
