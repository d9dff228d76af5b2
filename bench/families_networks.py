"""The networks of bench/families.py, one or two small ones for each family of layers.

All read 1800 rows: images of 31 x 31 pixels and the responses of 103 neurons, as in
bench/trainer.py, or noise of the size that the first layer asks for. Networks along time read
successive rows in longer batches.
"""

from dataclasses import dataclass

import numpy as np
from trainer_reference import BATCH, GRID, HIDDEN, KERNEL_SIDE, KERNELS, NEURONS, ROWS, SIDE, STRIDE
from trainer_reference import recording as images_and_responses

SERIES_BATCH = 100
LAGS = 10
TRAINS = 50
# The convolutional network with a factorized readout of Klindt et al. 2017, "Neural system
# identification for large populations separating what and where", NeurIPS, without its penalties
DEEP_KERNELS = (13, 3, 3)
DEEP_ROWS = 480
DEEP_CHANNELS = {"deep16": 16, "deep48": 48}


@dataclass(frozen=True)
class Network:
    """A network, as arguments of `ffnetwork_params`.

    Parameters
    ----------
    types, sizes : tuple
        Of its layers.
    widths, spacing : tuple
        `conv_filter_widths` and `shift_spacing`.
    linear : int
        So many layers, the first ones, have no activation function.
    dims : tuple of int
        [C, W, H] of what it reads.
    rows, batch : int
    normalization : tuple of int
    places : tuple of (int, int)
        Column and row of each unit of the last layer.
    """

    types: tuple
    sizes: tuple
    widths: tuple = ()
    spacing: tuple = ()
    linear: int = 0
    dims: tuple = (1, SIDE, SIDE)
    rows: int = ROWS
    batch: int = BATCH
    normalization: tuple = ()
    places: tuple = ()

    def description(self):
        """What NDN3 builds it from."""
        from NDN3.NDNutils import ffnetwork_params

        functions = ["lin"] * self.linear + ["softplus"] * (len(self.sizes) - self.linear)
        description = ffnetwork_params(
            input_dims=list(self.dims),
            layer_sizes=list(self.sizes),
            layer_types=list(self.types),
            act_funcs=functions,
            conv_filter_widths=list(self.widths) or None,
            shift_spacing=list(self.spacing) or None,
            normalization=list(self.normalization) or None,
            verbose=False,
        )
        if self.places:
            description["xy_out"] = [None] * (len(self.sizes) - 1) + [list(self.places)]
        return description

    def recording(self):
        """Inputs and responses, float32."""
        if self.dims == (1, SIDE, SIDE):
            return tuple(array[: self.rows] for array in images_and_responses(ROWS))
        random = np.random.default_rng(7)
        inputs = random.standard_normal((self.rows, int(np.prod(self.dims))))
        responses = random.poisson(1.0, (self.rows, self.sizes[-1]))
        return inputs.astype("float32"), responses.astype("float32")


def windowed(*types, **options):
    """A network that begins with kernels at every fourth pixel and ends in all neurons."""
    widths = options.pop("widths", (KERNEL_SIDE,))
    return Network(types, widths=widths, spacing=(STRIDE,), **options)


def deep(channels):
    """Three convolutions and a factorized readout, whose features and mask are not scaled."""
    return Network(
        ("conv", "conv", "conv", "sep"),
        (channels, channels, channels, NEURONS),
        widths=DEEP_KERNELS,
        rows=DEEP_ROWS,
        normalization=(0, 0, 0, -1),
    )


HEAD = (HIDDEN, NEURONS)
SMALL = {
    "dense": Network(("normal", "normal"), HEAD),
    "separable": Network(("sep", "readout"), HEAD),
    "dog": Network(("diff_of_gaussians", "normal", "normal"), (9, *HEAD), linear=1),
    "bounded_dog": Network(("bounded_dog", "normal", "normal"), (9, *HEAD), linear=1),
    "conv_dog": windowed("conv_diff_of_gaussians", "sep", "normal", sizes=(KERNELS, *HEAD)),
    "conv": windowed("conv", "sep", "normal", sizes=(KERNELS, *HEAD)),
    "conv_kinds": windowed(
        *("convsep", "convLNL", "sep", "normal"),
        sizes=(KERNELS, KERNELS, *HEAD),
        widths=(KERNEL_SIDE, 3),
    ),
    "readouts": windowed("conv", "hadi_readout", sizes=(KERNELS, NEURONS)),
    "points": windowed("conv", "gaussian_readout", sizes=(KERNELS, NEURONS)),
    "chosen_positions": windowed(
        *("conv", "conv_readout"),
        sizes=(KERNELS, NEURONS),
        places=tuple((neuron % GRID, neuron // GRID % GRID) for neuron in range(NEURONS)),
    ),
    "channels": windowed(
        *("conv", "dim0", "filter", "sep", "normal"),
        sizes=(2 * KERNELS, KERNELS, 1, *HEAD),
    ),
    "normalization": windowed(
        *("conv", "batch_norm", "div_norm", "sep", "normal"),
        sizes=(KERNELS, KERNELS, KERNELS, *HEAD),
        widths=(KERNEL_SIDE, None, 3),
    ),
    "combination": Network(("normal", "add", "mult", "normal"), (4 * HIDDEN, 2 * HIDDEN, *HEAD)),
    "spiking": Network(
        ("spike_history", "normal", "spkNL"),
        (TRAINS, HIDDEN, HIDDEN),
        linear=1,
        dims=(LAGS, TRAINS, 1),
    ),
    "temporal": Network(
        ("temporal", "normal", "normal"),
        (2, HIDDEN, TRAINS),
        widths=(LAGS,),
        linear=1,
        dims=(1, 10, 10),
        batch=SERIES_BATCH,
    ),
}
DEEP = {name: deep(channels) for name, channels in DEEP_CHANNELS.items()}
NETWORKS = SMALL | DEEP
