"""What all layers share: weights, sign constraints, normalization, penalties, activation, dropout.

Layers take and give flat tensors [batch, C * W * H]; their dims are [C, W, H] and the flat index is
c + C * (w + W * h). They are ordinary Keras layers, written for one network with matrix products,
element-wise operations, sums and slices of static shape, so that a trainer may map them over many
networks and compile the whole.
"""

import math
import random

import keras
import numpy as np
from keras import ops

from NDN3 import activations, initialization, laplacians, quantities, regularization, suggestions
from NDN3.dims import three_dims
from NDN3.dropout import Dropout
from NDN3.layers.norms import SMALLEST_NORM, column_norms


class NDNLayer(keras.layers.Layer):
    """Base of all layers.

    Parameters
    ----------
    units : int or [int, int, int]
        Units of the layer, or dims of its output.
    input_dims : int or sequence of int, optional
        [C, W, H] of the input; without it they are inferred from the size of the input.
    activation : str
        A name of `NDN3.activations.ACTIVATIONS`.
    num_inh : int
        That many units, the last ones, are inhibitory: their output is negated.
    pos_constraint : None, bool
        True rectifies the weights. A `sep` layer also takes 0, 1 and 2.
    normalize_weights : int
        Code of the normalization, see `normalized`.
    regularizers : dict, optional
        {name: strength}, and {"dropout": probability to keep a unit}. A strength may be a list of
        one number for each unit, where the penalty is a sum over units.
    boundary : str
        What the smoothness penalties take for granted outside of a filter: "zero", or "free" for
        nothing, so that the ends of a filter cost nothing.
    levels : sequence of int, optional
        Channels of the input that come from each layer of another network, see
        `NDN3.regularization.Rows`.
    weights_initializer, biases_initializer : str or None
        None is what the type of layer starts from by itself.
    seed : int, optional
        Of start values and draws in a plain Keras model; without it Python's generator, which
        `keras.utils.set_random_seed` seeds, gives one.

    Input shape: (batch, prod(input_dims)). Output shape: (batch, prod(output_dims)).

    Raises
    ------
    ValueError
        If an argument is not one of the allowed ones, or does not fit the input.
    """

    # Name in `layer_types`, for messages
    layer_type = "base"
    # Penalties that the layer takes
    penalty_names = regularization.GENERAL
    takes_dropout = True
    normalization_codes = (0, 1, -1)
    default_initializers = ("normal", "zeros")
    # Arguments beyond those of this class
    options = ()
    # Names of the arrays of the layer, the weights and the biases first
    array_names = ("weights", "biases")
    # Those of them that are not trained by gradients, such as moving averages
    statistics = ()
    # What holds after every step of training, {name of an array: keras.constraints.Constraint}
    array_constraints = {}
    # Whether the layer can be mapped over the members of a group; one that cannot says why here
    mapped = True
    # Whether what the layer gives for a row depends on which rows of the batch count
    uses_row_weights = False

    def __init__(
        self,
        units,
        input_dims=None,
        activation="lin",
        num_inh=0,
        pos_constraint=None,
        normalize_weights=0,
        regularizers=None,
        boundary="zero",
        levels=None,
        weights_initializer=None,
        biases_initializer=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = None if units is None else three_dims(units, "units")
        self.input_dims = None if input_dims is None else three_dims(input_dims, "input_dims")
        self.activation = activation
        self.activate = activations.activation(activation)
        self.num_inh = num_inh
        self.pos_constraint = pos_constraint
        self.normalize_weights = normalize_weights
        self.regularizers = regularization.checked(
            regularizers or {}, self.layer_type, self.penalty_names, self.takes_dropout
        )
        self.levels = None if levels is None else list(levels)
        self.boundary = suggestions.known(boundary, laplacians.BOUNDARIES, "boundary")
        self.weights_initializer = weights_initializer
        self.biases_initializer = biases_initializer
        self.seed = seed
        self.check_arguments()
        keep = self.regularizers.get(regularization.DROPOUT, 1.0)
        self.dropout = None
        if keep < 1:
            self.dropout = Dropout(keep, seed=seed, name="dropout", dtype=self.dtype_policy)

    def check_arguments(self):
        """Refuse codes that the layer does not know."""
        if self.normalize_weights not in self.normalization_codes:
            raise ValueError(
                f"normalization of a {self.layer_type} layer is "
                f"{quantities.shown(self.normalize_weights)}; "
                f"allowed are {', '.join(map(str, self.normalization_codes))}. Choose one of them."
            )
        if self.pos_constraint not in (None, False, True):
            raise ValueError(
                f"pos_constraint of a {self.layer_type} layer is "
                f"{quantities.shown(self.pos_constraint)}; "
                "allowed are None, False and True. Choose one of them."
            )

    # ---- shapes -------------------------------------------------------------------------------

    def inferred_dims(self, size):
        """Dims of an input of which only the size is known."""
        return [size, 1, 1]

    def weights_shape(self):
        """Shape of the weight matrix, once `input_dims` is known."""
        return (math.prod(self.input_dims), self.n_units)

    def biases_shape(self):
        """Shape of the biases."""
        return (1, self.n_units)

    def array_shapes(self):
        """Shapes of all arrays of the layer, in the order of `array_names`."""
        return (self.weights_shape(), self.biases_shape())

    def dims_of_output(self):
        """[C, W, H] of the output, once `input_dims` is known."""
        return list(self.units)

    @property
    def n_units(self):
        """Size of the last axis of what `transform` gives."""
        return math.prod(self.units)

    def build(self, input_shape):
        """Make the weights.

        Parameters
        ----------
        input_shape : tuple
            (batch, features), or (batch, positions, rows of a window) for precomputed input.
        """
        if self.input_dims is None:
            if len(input_shape) != 2 or input_shape[-1] is None:
                raise ValueError(
                    f"a {self.layer_type} layer cannot tell the dims of an input of shape "
                    f"{tuple(input_shape)}; flat inputs are (batch, features). "
                    "Give input_dims=[channels, width, height]."
                )
            self.input_dims = self.inferred_dims(int(input_shape[-1]))
        size = math.prod(self.input_dims)
        if len(input_shape) == 2 and input_shape[-1] != size:
            raise ValueError(
                f"a {self.layer_type} layer with input_dims {list(self.input_dims)} takes {size} "
                f"features, got {input_shape[-1]}. Correct input_dims or the input."
            )
        self.prepare()
        self.output_dims = self.dims_of_output()
        if not 0 <= self.num_inh <= self.n_units:
            raise ValueError(
                f"num_inh of a {self.layer_type} layer is {self.num_inh}; it must lie between 0 "
                f"and its {self.n_units} units. Correct ei_layers."
            )
        seed = random.getrandbits(32) if self.seed is None else self.seed
        arrays = self.start_values(np.random.default_rng(seed))
        self.arrays = {
            name: self._variable(name, values, name not in self.statistics)
            for name, values in zip(self.array_names, arrays, strict=True)
        }
        if self.dropout is not None:
            self.dropout.build((None, self.n_units))

    def prepare(self):
        """Derive what depends on `input_dims`; refuse penalties that need more than it offers."""
        regularization.check_dims(self)

    @property
    def kernel(self):
        """Variable of the weights."""
        return self.arrays["weights"]

    @property
    def bias(self):
        """Variable of the biases."""
        return self.arrays["biases"]

    def _variable(self, name, values, trainable):
        return self.add_weight(
            shape=values.shape,
            name=name,
            trainable=trainable,
            constraint=self.array_constraints.get(name),
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(values, dtype=dtype),
        )

    def start_values(self, source):
        """Start values of the arrays of the layer.

        Parameters
        ----------
        source : numpy.random.Generator or numpy.random.RandomState

        Returns
        -------
        tuple of ndarray
            In the order of `array_names`.
        """
        weights_name, biases_name = self.initializers()
        weights = initialization.draw(weights_name, self.weights_shape(), source)
        return weights, initialization.draw_biases(biases_name, self.biases_shape(), source)

    def initializers(self):
        """Names of the initializers of weights and biases."""
        own_weights, own_biases = self.default_initializers
        return (
            self.weights_initializer or own_weights,
            self.biases_initializer or own_biases,
        )

    # ---- weights in use -----------------------------------------------------------------------

    def constrained(self, weights):
        """Weights that the layer computes with: rectified, then normalized.

        Parameters
        ----------
        weights : tensor
            The stored ones.

        Returns
        -------
        tensor
            Of the same shape.
        """
        if self.pos_constraint:
            weights = ops.maximum(weights, 0.0)
        return self.normalized(weights)

    def normalized(self, weights):
        """Weights after normalization: 0 none, 1 unit norm, -1 norm of one at most."""
        if self.normalize_weights == 0:
            return weights
        smallest = SMALLEST_NORM if self.normalize_weights == 1 else 1.0
        return weights / column_norms(weights, smallest)

    def stored(self, weights):
        """Weights as they are kept after training.

        Parameters
        ----------
        weights : ndarray

        Returns
        -------
        ndarray
            Constrained and normalized.
        """
        return ops.convert_to_numpy(self.constrained(ops.convert_to_tensor(weights)))

    @classmethod
    def takes(cls, name):
        """Whether the layer takes a regularizer."""
        if name == regularization.DROPOUT:
            return cls.takes_dropout
        return name in cls.penalty_names or name in regularization.ACTIVITY

    @property
    def filter_dims(self):
        """Dims of one filter, [C, W, H]."""
        return self.input_dims

    def penalized_dims(self, name):
        """Dims of the rows that a penalty sees."""
        return self.filter_dims

    def penalized(self, name, weights):
        """Part of the weights that a penalty sees."""
        return weights

    @property
    def strengths(self):
        """Strengths of the penalties that are not switched off, {name: float or list of float}."""
        return {
            name: strength
            for name, strength in self.regularizers.items()
            if np.any(strength) and name != regularization.DROPOUT
        }

    def penalties(self, weights, strengths=None):
        """Penalties on weights times their strengths.

        Parameters
        ----------
        weights : tensor
            Constrained and normalized ones.
        strengths : dict of tensor, optional
            In place of the layer's own `strengths`.

        Returns
        -------
        dict of (tensor or float)
            {name: value}; a strength of zero gives 0.0 and computes nothing.
        """
        values = {name: 0.0 for name in self.regularizers if name in regularization.PENALTIES}
        for name, strength in (self.strengths if strengths is None else strengths).items():
            if name in regularization.PENALTIES:
                rows = regularization.Rows(self.penalized_dims(name), self.boundary, self.levels)
                # under a policy of mixed precision sums of squares would overflow
                part = ops.cast(self.penalized(name, weights), self.variable_dtype)
                values[name] = regularization.penalty(name, part, rows, strength)
        return values

    def activity_penalties(self, outputs, strengths=None, row_weights=None):
        """Penalties on what the units give, times their strengths.

        Parameters
        ----------
        outputs : tensor, (batch, …, units)
        strengths : dict of tensor, optional
            In place of the layer's own `strengths`.
        row_weights : tensor, (batch,), optional
            0 for rows that do not count.

        Returns
        -------
        list of tensor
        """
        strengths = self.strengths if strengths is None else strengths
        outputs = ops.cast(outputs, self.variable_dtype)
        return [
            regularization.activity_penalty(name, outputs, strength, row_weights)
            for name, strength in strengths.items()
            if name in regularization.ACTIVITY
        ]

    # ---- the computation ----------------------------------------------------------------------

    def call(self, inputs, training=False, pre_activation=False, strengths=None, row_weights=None):
        """Output of the layer.

        Parameters
        ----------
        inputs : tensor, (batch, prod(input_dims))
        training : bool
            Dropout is active.
        pre_activation : bool
            Give what goes into the activation function instead.
        strengths : dict of tensor, optional
            Of the penalties, in place of the layer's own.
        row_weights : tensor, (batch,), optional
            0 for rows that only fill up the batch; by default all count.

        Returns
        -------
        tensor, (batch, prod(output_dims))
        """
        weights = self.constrained(ops.convert_to_tensor(self.kernel))
        for value in self.penalties(weights, strengths).values():
            if not isinstance(value, float):
                self.add_loss(value)
        biases = ops.convert_to_tensor(self.bias)
        outputs = self.computed(inputs, weights, biases, training, row_weights)
        if not pre_activation:
            outputs = self.activate(outputs)
            if self.num_inh:
                outputs = outputs * ops.convert_to_tensor(self.signs(), dtype=outputs.dtype)
            for value in self.activity_penalties(outputs, strengths, row_weights):
                self.add_loss(value)
            if self.dropout is not None:
                outputs = self.dropout(outputs, training=training)
        return ops.reshape(outputs, (-1, math.prod(self.output_dims)))

    def precompute(self, inputs):
        """Do once for a data set what needs no parameters: nothing, unless a layer overrides it.

        Parameters
        ----------
        inputs : ndarray, (n, prod(input_dims))

        Returns
        -------
        ndarray
            `call` takes it instead of the inputs.
        """
        return inputs

    @property
    def time_spread(self):
        """Rows before a row that the layer needs for it; the rows then follow in time."""
        return 0

    def computed(self, inputs, weights, biases, training, row_weights):
        """Input of the activation function; for layers that do otherwise while training.

        Parameters
        ----------
        inputs, weights, biases
            As in `biased`.
        training, row_weights
            As in `call`.

        Returns
        -------
        tensor, (batch, units) or (batch, positions, units)
        """
        return self.biased(inputs, weights, biases)

    def biased(self, inputs, weights, biases):
        """Input of the activation function.

        Parameters
        ----------
        inputs : tensor, (batch, prod(input_dims)) or what `precompute` gives
        weights : tensor
            Constrained and normalized ones.
        biases : tensor, (1, units)

        Returns
        -------
        tensor, (batch, units) or (batch, positions, units)
        """
        return self.transform(inputs, weights) + biases

    def transform(self, inputs, weights):
        """Input of the activation function without the biases.

        Parameters
        ----------
        inputs : tensor, (batch, prod(input_dims))
        weights : tensor
            Constrained and normalized ones.

        Returns
        -------
        tensor, (batch, units)
        """
        return ops.matmul(inputs, weights)

    def signs(self):
        """+1 for excitatory, -1 for inhibitory units: the last `num_inh`."""
        return np.where(np.arange(self.n_units) < self.n_units - self.num_inh, 1.0, -1.0)

    def compute_output_shape(self, input_shape):
        """(batch, prod(output_dims))."""
        return (input_shape[0], math.prod(self.output_dims))

    def get_config(self):
        """Arguments that make the same layer again."""
        return {
            **super().get_config(),
            "units": None if self.units is None else list(self.units),
            "input_dims": None if self.input_dims is None else list(self.input_dims),
            "activation": self.activation,
            "num_inh": self.num_inh,
            "pos_constraint": self.pos_constraint,
            "normalize_weights": self.normalize_weights,
            "regularizers": dict(self.regularizers),
            "boundary": self.boundary,
            "levels": None if self.levels is None else list(self.levels),
            "weights_initializer": self.weights_initializer,
            "biases_initializer": self.biases_initializer,
            "seed": self.seed,
        }
