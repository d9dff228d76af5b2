"""Readouts: layers that turn the features of a network into one output for each neuron."""

import keras
import numpy as np
from keras import ops

from NDN3.layers.base import NDNLayer
from NDN3.layers.dense import Normal
from NDN3.layers.norms import SMALLEST_NORM
from NDN3.layers.separable import Separable


@keras.saving.register_keras_serializable("NDN3")
class Readout(Normal):
    """A fully connected layer to the neurons: f(x · W + b).

    Every strength of a penalty may be a list with a number for each neuron, also where a
    description gives it: `reg_list={"l2": [None, [0.1, 0.5, 0.2]]}`.

    Parameters
    ----------
    units, **kwargs
        As in `Normal`.
    legacy : bool
        The penalty `l2` is the sum of squares, without the half, as in the original program.

    References
    ----------
    Sahani & Linden 2003, "Evidence optimization techniques for estimating stimulus-response
    functions", Adv. Neural Inf. Process. Syst. 15: 301-308: strengths differ between neurons.
    """

    layer_type = "readout"
    options = ("legacy",)

    def __init__(self, units, legacy=False, **kwargs):
        super().__init__(units, **kwargs)
        self.legacy = legacy

    def penalties(self, weights, strengths=None):
        """Penalties on weights times their strengths; as in `NDNLayer.penalties`."""
        values = super().penalties(weights, strengths)
        if self.legacy and "l2" in values:
            values["l2"] = 2.0 * values["l2"]
        return values

    def get_config(self):
        """Arguments that make the same layer again."""
        return {**super().get_config(), "legacy": self.legacy}


@keras.saving.register_keras_serializable("NDN3")
class HadamardReadout(Separable):
    """Factorized readout with a mask that is a distribution over pixels.

    The weight of feature c at pixel q is the (Hadamard) product of both factors,

        f(Σ_{c,q} x[c, q] features[c, j] mask[q, j] + b[j]),

    where the mask is rectified and sums to one, so that output j is a weighted mean over pixels and
    the features alone carry its size and sign. Weights [C + W * H, units]: the features, then the
    mask (index w + W * h). The mask starts from absolute values: what is rectified away would have
    no gradient.

    The original program declared a layer of this name that could not be run. Taken as its intent
    is the readout of Klindt et al. 2017 with the scale of the mask fixed, which in `sep` is left to
    the features or to nobody.

    Parameters
    ----------
    pos_constraint : None or bool
        True rectifies the features too.
    **kwargs
        As in `NDNLayer`, without codes of normalization; penalties as in `Separable`, and their
        strengths may be lists with a number for each unit.

    References
    ----------
    Klindt et al. 2017, "Neural system identification for large populations separating what and
    where", NeurIPS.
    """

    layer_type = "hadi_readout"
    normalization_codes = (0,)

    def check_arguments(self):
        """Refuse codes that the layer does not know, which are other ones than those of `sep`."""
        NDNLayer.check_arguments(self)

    def start_values(self, source):
        """Start values; parameters and returned values as in `NDNLayer.start_values`."""
        weights, biases = super().start_values(source)
        features, mask = self.split(weights)
        return np.concatenate([features, np.abs(mask)]), biases

    def constrained(self, weights):
        """Features, and the mask as a distribution."""
        features, mask = self.split(weights)
        if self.pos_constraint:
            features = ops.maximum(features, 0.0)
        mask = ops.maximum(mask, 0.0)
        total = ops.sum(mask, axis=0, keepdims=True)
        return ops.concatenate([features, mask / ops.maximum(total, SMALLEST_NORM)], axis=0)
