"""Plots of models: filters, masks, weights, places, diagrams.

Functions take a model or arrays, and axes of matplotlib (`ax` for one, `axes` for as many as there
are panels); without them they make a figure. They return the axes, save nothing and show nothing
(`matplotlib.pyplot.show` does, or a notebook), and leave all settings of matplotlib alone; only
`make_gif` writes a file. Gabor filters are in `NDN3.gabors`.
"""

from NDN3.pixel_mapping import sparse_mapping
from NDN3.plots_diagram import display_model
from NDN3.plots_filters import plot_3dfilters, plot_filters, plot_masks
from NDN3.plots_models import plot_positions, plot_sparse_mapping
from NDN3.plots_movies import make_gif
from NDN3.plots_weights import plot_2dweights, plot_internal_weights, side_network_analyze

__all__ = [
    "display_model",
    "make_gif",
    "plot_2dweights",
    "plot_3dfilters",
    "plot_filters",
    "plot_internal_weights",
    "plot_masks",
    "plot_positions",
    "plot_sparse_mapping",
    "side_network_analyze",
    "sparse_mapping",
]
