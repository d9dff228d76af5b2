"""Layer types by name, and the class that each stands for.

One family per file. The classes are looked up when they are asked for, so that the names are known
without importing Keras.
"""

import importlib

from NDN3 import suggestions

# name in `layer_types`: (module, class)
LAYERS = {
    "normal": ("NDN3.layers.dense", "Normal"),
    "lin_scale": ("NDN3.layers.dense", "LinearScale"),
    "diff_of_gaussians": ("NDN3.layers.gaussians", "DifferenceOfGaussians"),
    "conv_diff_of_gaussians": ("NDN3.layers.gaussians", "ConvDifferenceOfGaussians"),
    "bounded_dog": ("NDN3.layers.bounded_gaussians", "BoundedDifferenceOfGaussians"),
    "conv_bounded_dog": (
        "NDN3.layers.bounded_gaussians",
        "ConvBoundedDifferenceOfGaussians",
    ),
    "conv": ("NDN3.layers.convolution", "Convolution"),
    "biconv": ("NDN3.layers.convolution_kinds", "BinocularConvolution"),
    "convsep": ("NDN3.layers.convolution_kinds", "SeparableConvolution"),
    "convLNL": ("NDN3.layers.convolution_kinds", "MixedConvolution"),
    "conv_xy": ("NDN3.layers.chosen_positions", "ConvolutionAt"),
    "conv_readout": ("NDN3.layers.chosen_positions", "ReadoutAt"),
    "point_readout": ("NDN3.layers.points", "PointReadout"),
    "gaussian_readout": ("NDN3.layers.points", "GaussianReadout"),
    "sampler": ("NDN3.layers.points", "Sampler"),
    "sep": ("NDN3.layers.separable", "Separable"),
    "readout": ("NDN3.layers.readouts", "Readout"),
    "hadi_readout": ("NDN3.layers.readouts", "HadamardReadout"),
    "add": ("NDN3.layers.combination", "Add"),
    "mult": ("NDN3.layers.combination", "Multiply"),
    "dim0": ("NDN3.layers.channels", "ChannelMix"),
    "filter": ("NDN3.layers.channels", "PixelFilter"),
    "spike_history": ("NDN3.layers.spiking", "SpikeHistory"),
    "spkNL": ("NDN3.layers.spiking", "SpikingNonlinearity"),
    "temporal": ("NDN3.layers.temporal", "Temporal"),
    "sp_temporal": ("NDN3.layers.temporal", "SpatioTemporal"),
    "batch_norm": ("NDN3.layers.normalization", "BatchNormalization"),
    "layer_norm": ("NDN3.layers.normalization", "LayerNormalization"),
    "div_norm": ("NDN3.layers.normalization", "DivisiveNormalization"),
}

# Keys of a description for options that only some layers have, beside `conv_filter_widths`,
# `shift_spacing` and `dilation`; one entry per layer, None where a layer needs none
OWN_KEYS = (
    "bounds",
    "temporal_basis",
    "xy_out",
    "positions",
    "covariance",
    "deviation",
    "momentum",
    "per_pixel",
    "exponent",
    "free_surround",
    "frozen_centers",
)


def layer_class(name):
    """Class of a layer type.

    Parameters
    ----------
    name : str
        One of `LAYERS`.

    Returns
    -------
    type
        A subclass of `NDN3.layers.base.NDNLayer`.

    Raises
    ------
    ValueError
        If there is no such layer type.
    """
    module, class_name = LAYERS[suggestions.known(name, LAYERS, "layer type")]
    return getattr(importlib.import_module(module), class_name)
