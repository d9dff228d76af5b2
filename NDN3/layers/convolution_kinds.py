"""Relatives of the convolution: two eyes, separable kernels, a mix of channels after it."""

import keras
import numpy as np
from keras import ops

from NDN3.layers.convolution import Convolution, WindowsLayer
from NDN3.layers.separable import Separable


@keras.saving.register_keras_serializable("NDN3")
class BinocularConvolution(Convolution):
    """Convolution of the images of two eyes that lie side by side.

    The left half of the width is what the left eye sees. One set of F kernels is convolved with
    the whole image, and the halves of the result become channels: the first F are those of the left
    eye, the next F those of the right one. Kernels at the border between the halves see a part of
    both, as in the original program; a gap in the images as wide as the kernel avoids that.

    Parameters as in `WindowsLayer`; the last `num_inh` of the F filters are inhibitory, for both
    eyes. Weights [C * k * k, F], biases [1, F].

    Input shape: (batch, C * W * H). Output dims: [2 F, ceil(W / shift_spacing) / 2,
    ceil(H / shift_spacing)].

    Raises
    ------
    ValueError
        If the result has no two halves.
    """

    layer_type = "biconv"

    def prepare(self):
        """Lay out the windows; refuse a width that has no halves."""
        super().prepare()
        width = self.windows.positions[1]
        if width % 2:
            raise ValueError(
                f"a biconv layer on {self.input_dims[1]} pixels with shift_spacing "
                f"{self.shift_spacing or 1} gives {width} columns; they must be an even number, "
                "half of them for each eye. Change the width of the input or shift_spacing."
            )

    def dims_of_output(self):
        """[2 F, half of the positions along the width, positions along the height]."""
        height, width = self.windows.positions
        return [2 * self.n_units, width // 2, height]

    def biased(self, inputs, weights, biases):
        """Kernels times windows plus biases, (batch, positions, F), the eye fastest in positions.

        So, flattened, the eyes follow each other like channels, and each unit still has its own
        entry of the last axis.
        """
        outputs = super().biased(inputs, weights, biases)
        height, width = self.windows.positions
        outputs = ops.reshape(outputs, (-1, height, 2, width // 2, self.n_units))
        outputs = ops.transpose(outputs, (0, 1, 3, 2, 4))
        return ops.reshape(outputs, (-1, height * width, self.n_units))


@keras.saving.register_keras_serializable("NDN3")
class SeparableConvolution(Separable, WindowsLayer):
    """Convolution with kernels that are a product of features and a mask in space.

    The weight of feature c at pixel q of the kernel is features[c] * mask[q], as in the readout
    `Separable`, whose codes of normalization and of sign constraint, and whose penalties it has.
    The original program listed this layer, but could not build it.

    Parameters as in `Separable` and `WindowsLayer`. Weights [C + k * k, F]: the first C rows are
    the features; biases [1, F].
    """

    layer_type = "convsep"
    options = WindowsLayer.options

    def kernel_matrix(self, weights):
        """(C * k * k, F)."""
        return self.full(*self.split(weights))


@keras.saving.register_keras_serializable("NDN3")
class MixedConvolution(Convolution):
    """Linear, nonlinear, linear: a convolution whose channels are mixed after its nonlinearity.

    At each position out = f(x ∗ W + b) · M. The original program listed this layer, but could not
    run it; this is what its name says: an LNL cascade (Korenberg & Hunter 1986, "The identification
    of nonlinear biological systems: LNL cascade models", Biol. Cybern. 55: 125-134) in each window.
    The mix has no biases of its own, because the layer that reads it has. It starts at identity, so
    the layer starts as a `conv` layer.

    Parameters as in `WindowsLayer`; penalties, sign constraint and normalization concern the
    kernels alone, and the last `num_inh` of the mixed channels are negated. Weights [C * k * k, F],
    biases [1, F], mix [F, F] from the channels of the convolution (rows) to those of the output.
    """

    layer_type = "convLNL"
    array_names = ("weights", "biases", "mix")

    def __init__(self, *arguments, **kwargs):
        super().__init__(*arguments, **kwargs)
        self.nonlinearity = self.activate
        self.activate = self.mixed

    def array_shapes(self):
        """Shapes of weights, biases and mix."""
        return (*super().array_shapes(), (self.n_units, self.n_units))

    def start_values(self, source):
        """Start values; the mix is the identity, and nothing is drawn for it.

        Parameters and returned value as in `NDNLayer.start_values`.
        """
        return (*super().start_values(source), np.eye(self.n_units))

    def mixed(self, outputs):
        """Nonlinearity, then the mix of channels at each position.

        Parameters
        ----------
        outputs : tensor, (batch, positions, F)
            Of the convolution.

        Returns
        -------
        tensor, (batch, positions, F)
        """
        return ops.matmul(self.nonlinearity(outputs), ops.convert_to_tensor(self.arrays["mix"]))
