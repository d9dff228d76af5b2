"""Weights that are a product of a vector over features and a mask in space ("what" and "where")."""

import math

import keras
from keras import ops

from NDN3 import quantities, regularization
from NDN3.layers.base import NDNLayer
from NDN3.layers.norms import SMALLEST_NORM, column_norms

# What penalties act on; those that are in none see features and mask one behind the other
OF_FEATURES = ("max_filt", "max_level", "d2t", "norm2_filt")
OF_MASK = ("max_space", "d2x", "local", "center", "norm2_space")
OF_FULL_WEIGHTS = ("group", "orth")


@keras.saving.register_keras_serializable("NDN3")
class Separable(NDNLayer):
    """Factorized readout: the weight of feature c at pixel q is features[c] * mask[q].

    Weights [C + W * H, units]: the first C rows are the features, the others the mask (index
    w + W * h). Parameters as in `NDNLayer`, with two differences.

    Parameters
    ----------
    normalize_weights : int
        0 scales the features to unit norm, 1 the mask, 2 both; -1 leaves them.
    pos_constraint : None, bool or int
        0 rectifies the features, 1 or True the mask, 2 both; None or False neither.

    References
    ----------
    Klindt et al. 2017, "Neural system identification for large populations separating what and
    where", NeurIPS.
    """

    layer_type = "sep"
    penalty_names = tuple(
        name for name in regularization.PENALTIES if name not in ("max", "glocal", "d2xt")
    )
    normalization_codes = (0, 1, 2, -1)

    def check_arguments(self):
        """Refuse codes that the layer does not know."""
        if self.pos_constraint not in (None, 0, 1, 2):
            raise ValueError(
                f"pos_constraint of a {self.layer_type} layer is "
                f"{quantities.shown(self.pos_constraint)}; "
                "allowed are None, 0 (features), 1 (mask) and 2 (both). Choose one of them."
            )
        if self.normalize_weights not in self.normalization_codes:
            raise ValueError(
                f"normalization of a {self.layer_type} layer is "
                f"{quantities.shown(self.normalize_weights)}; "
                "allowed are 0 (features), 1 (mask), 2 (both) and -1 (neither). Choose one of them."
            )

    def weights_shape(self):
        """(C + W * H, units)."""
        channels, width, height = self.filter_dims
        return (channels + width * height, self.n_units)

    def split(self, weights):
        """Features (C, units) and mask (W * H, units)."""
        channels = self.filter_dims[0]
        return weights[:channels], weights[channels:]

    def constrained(self, weights):
        """Weights after sign constraint and normalization."""
        features, mask = self.split(weights)
        constraint = None if self.pos_constraint is False else self.pos_constraint
        if constraint in (0, 2):
            features = ops.maximum(features, 0.0)
        if constraint in (1, 2):
            mask = ops.maximum(mask, 0.0)
        if self.normalize_weights in (0, 2):
            features = features / column_norms(features, SMALLEST_NORM)
        if self.normalize_weights in (1, 2):
            mask = mask / column_norms(mask, SMALLEST_NORM)
        return ops.concatenate([features, mask], axis=0)

    def penalized(self, name, weights):
        """Features or mask, the full weights, or features and mask as they are stored."""
        features, mask = self.split(weights)
        if name in OF_FULL_WEIGHTS:
            return self.full(features, mask)
        return features if name in OF_FEATURES else mask if name in OF_MASK else weights

    def penalized_dims(self, name):
        """Dims of the part that a penalty sees."""
        channels, width, height = self.filter_dims
        if name in OF_FEATURES:
            return [channels, 1, 1]
        return [1 if name in OF_MASK else channels, width, height]

    def full(self, features, mask):
        """Weights of every feature at every pixel, (C * W * H, units)."""
        products = ops.expand_dims(mask, 1) * ops.expand_dims(features, 0)
        return ops.reshape(products, (math.prod(self.filter_dims), -1))

    def transform(self, inputs, weights):
        """Input times the full weights."""
        return ops.matmul(inputs, self.full(*self.split(weights)))
