"""A feed-forward network: the Keras model behind a description, and the view on one training of it.

`FFNetworkModel` is an ordinary Keras model. Several trainings (one per seed) share one such model
and each hold only their own arrays; `FFNetwork` and `LayerView` show the arrays of one training in
the way in which NDN3's users know them: `network.layers[j].weights`.
"""

import json

import keras
import numpy as np
from keras import ops

from NDN3 import backend, descriptions, initialization, layers

# Argument of a layer: where the description has it. All layers take the first ones, the others are
# options of some.
COMMON_KEYS = {
    "units": "layer_sizes",
    "activation": "activation_funcs",
    "num_inh": "num_inh",
    "pos_constraint": "pos_constraints",
    "normalize_weights": "normalize_weights",
    "weights_initializer": "weights_initializers",
    "biases_initializer": "biases_initializers",
}
OPTIONAL_KEYS = {
    "filter_width": "conv_filter_widths",
    "shift_spacing": "shift_spacing",
    "bounds": "bounds",
}
MISSING = {
    "activation_funcs": "lin",
    "num_inh": 0,
    "normalize_weights": 0,
    "reg_initializers": {},
}


def build_layers(description, legacy=False, dtype=None):
    """Layers of a network, built for their input.

    Parameters
    ----------
    description : dict
        From `NDN3.descriptions.resolved`.
    legacy : bool
        Difference-of-Gaussians layers behave as in the original program.
    dtype : str, optional
        Of weights and computation.

    Returns
    -------
    list of NDN3.layers.base.NDNLayer
    """
    stack = []
    for layer in _prepared_layers(description, legacy, dtype):
        layer.build((None, int(np.prod(layer.input_dims))))
        stack.append(layer)
    return stack


def array_shapes(description, legacy=False):
    """Shapes of the arrays of a network that is not built, which takes no memory.

    Parameters as in `FFNetworkModel`.

    Returns
    -------
    list of (tuple, tuple)
        Of weights and biases of each layer.
    """
    found = descriptions.resolved(description, legacy)
    return [
        (layer.weights_shape(), layer.biases_shape()) for layer in _prepared_layers(found, legacy)
    ]


def _prepared_layers(description, legacy, dtype=None):
    """Layers that know all their dims, not built yet; errors say in which layer."""
    dims = description["input_dims"]
    for position, layer_type in enumerate(description["layer_types"]):
        layer = layers.layer_class(layer_type)
        arguments = {name: _entry(description, key, position) for name, key in COMMON_KEYS.items()}
        accepted = layer.options
        arguments |= {
            name: _entry(description, key, position)
            for name, key in OPTIONAL_KEYS.items()
            if name in accepted
        }
        if "legacy" in accepted:
            arguments["legacy"] = legacy
        try:
            prepared = layer(
                input_dims=dims,
                regularizers=_entry(description, "reg_initializers", position),
                # Keeps Python's generator untouched: start values are set for the whole network.
                seed=0,
                name=f"layer{position}",
                dtype=dtype,
                **arguments,
            )
            prepared.prepare()
        except ValueError as error:
            raise ValueError(f"layer {position} of the network: {error}") from error
        dims = prepared.dims_of_output()
        yield prepared


def _entry(description, key, position):
    values = description.get(key)
    found = values[position] if values is not None and position < len(values) else None
    return MISSING.get(key) if found is None else found


@keras.saving.register_keras_serializable("NDN3")
class FFNetworkModel(keras.Model):
    """Keras model of one network.

    Parameters
    ----------
    description : dict
        From `NDN3.NDNutils.ffnetwork_params`.
    legacy : bool
        Behave as the original program where it differs.
    seed : int
        Of the start values.
    dtype : str, optional
        "float32" unless Keras is set otherwise.

    Attributes
    ----------
    stack : list of NDN3.layers.base.NDNLayer
        The layers in order.

    Input shape: (batch, prod(input_dims)), or what `precompute` gives.
    Output shape: (batch, neurons).

    Raises
    ------
    ValueError
        If the description asks for something that does not exist or does not fit.
    """

    def __init__(self, description, legacy=False, seed=0, dtype=None, **kwargs):
        super().__init__(dtype=dtype, **kwargs)
        # as text, because Keras would wrap the lists of an attribute
        self._description = json.dumps(descriptions.resolved(description, legacy), default=_plain)
        self.legacy = legacy
        self.seed = seed
        self.stack = build_layers(self.description, legacy, dtype)
        self._predictors = {}
        self.build((None, int(np.prod(self.description["input_dims"]))))
        start = initialization.start_values(self, seed, legacy)
        for variable, value in zip(self.weights, start, strict=True):
            variable.assign(value)

    @property
    def description(self):
        """The resolved description, a copy."""
        return json.loads(self._description)

    def build(self, input_shape):
        """Nothing is left to build; the layers are built with the description."""
        self.built = True

    @property
    def numbers(self):
        """Strengths of the penalties, {"layer0/l2": float}: `call` takes others in their place."""
        return {
            f"{layer.name}/{name}": strength
            for layer in self.stack
            for name, strength in layer.strengths.items()
        }

    @property
    def structure(self):
        """Text for all but the numbers: networks of one structure need one compiled program."""
        description = self.description
        for layer, regularizers in zip(self.stack, description["reg_initializers"], strict=True):
            regularizers.update(dict.fromkeys(layer.strengths, "a number"))
        return json.dumps([description, self.legacy, self.variable_dtype])

    def call(self, inputs, training=False, layer_target=-1, pre_activation=False, numbers=None):
        """Output of the network, or of one of its layers.

        Parameters
        ----------
        inputs : tensor, (batch, prod(input_dims)) or as given by `precompute`
        training : bool
            Dropout is active.
        layer_target : int
            Position of the layer; -1 is the last one.
        pre_activation : bool
            Give what goes into the activation function of that layer.
        numbers : dict of tensor, optional
            In place of the model's own `numbers`.

        Returns
        -------
        tensor, (batch, prod(output_dims of the layer))
        """
        last = range(len(self.stack))[layer_target]
        outputs = inputs
        for position, layer in enumerate(self.stack[: last + 1]):
            strengths = None
            if numbers is not None:
                strengths = {name: numbers[f"{layer.name}/{name}"] for name in layer.strengths}
            outputs = layer(
                outputs,
                training=training,
                pre_activation=pre_activation and position == last,
                strengths=strengths,
            )
        return outputs

    def stateless_call(self, *args, **kwargs):
        """Call with arrays in place of the model's own values, as in Keras.

        Keras finds the penalties of such a call by the addresses of their tensors, and notes them
        in the layers. A layer that still has those of an earlier call takes a new tensor at an old
        address for its own: a penalty is lost, or counts twice.
        """
        self._clear_losses()
        return super().stateless_call(*args, **kwargs)

    def precompute(self, inputs):
        """Apply the part of the first layer that has no parameters.

        Parameters
        ----------
        inputs : ndarray, (n, prod(input_dims))

        Returns
        -------
        ndarray
            (n, positions, rows) when the first layer cuts windows that fit into memory, otherwise
            `inputs`.
        """
        return self.stack[0].precompute(inputs)

    def predict_with(self, arrays, inputs, layer_target=-1, pre_activation=False, training=False):
        """Output for one set of arrays in place of the model's own values.

        Parameters
        ----------
        arrays : list of ndarray
            In the order of `weights`.
        inputs : ndarray, (rows, prod(input_dims))
        layer_target, pre_activation, training
            As in `call`.

        Returns
        -------
        ndarray, (rows, prod(output_dims of the layer))
        """
        target = range(len(self.stack))[layer_target]
        options = (target, bool(pre_activation), bool(training))
        if options not in self._predictors:
            self._predictors[options] = backend.compiled_for_any_shape(self._predictor(*options))
        trainable, non_trainable = self.partition(arrays)
        outputs = self._predictors[options](trainable, non_trainable, inputs)
        return ops.convert_to_numpy(outputs)

    def _predictor(self, layer_target, pre_activation, training):
        def predict(trainable, non_trainable, inputs):
            return self.stateless_call(
                trainable,
                non_trainable,
                inputs,
                training=training,
                layer_target=layer_target,
                pre_activation=pre_activation,
            )[0]

        return predict

    def partition(self, arrays):
        """Arrays in the order of `weights` as (trainable ones, other ones)."""
        trainable = {id(variable) for variable in self.trainable_variables}
        parts = ([], [])
        for variable, array in zip(self.weights, arrays, strict=True):
            parts[0 if id(variable) in trainable else 1].append(
                ops.convert_to_tensor(array, dtype=variable.dtype)
            )
        return parts

    def compute_output_shape(self, input_shape):
        """(batch, neurons)."""
        return (input_shape[0], int(np.prod(self.stack[-1].output_dims)))

    def get_config(self):
        """Arguments that make the same model again."""
        return {
            "name": self.name,
            "description": self.description,
            "legacy": self.legacy,
            "seed": self.seed,
            "dtype": self.dtype,
        }


def _plain(value):
    """Turn numbers and arrays of NumPy into what JSON knows."""
    return value.tolist()


class LayerView:
    """One layer of one training: its arrays, and what describes it.

    `weights` and `biases` may be changed in place or assigned.

    Parameters
    ----------
    owner : NDN3.NDN.NDN
        Holds the arrays.
    position : int
        Of the layer.
    """

    def __init__(self, owner, position):
        self._owner = owner
        self._position = position

    @property
    def keras_layer(self):
        """The Keras layer; its own values are not those of the training."""
        return self._owner.keras_model.stack[self._position]

    @property
    def weights(self):
        """Weights of the layer, (rows, units)."""
        return self._owner.arrays[self._index(self.keras_layer.kernel)]

    @weights.setter
    def weights(self, values):
        self._assign(self._index(self.keras_layer.kernel), values, "weights")

    @property
    def biases(self):
        """Biases of the layer, (1, units)."""
        return self._owner.arrays[self._index(self.keras_layer.bias)]

    @biases.setter
    def biases(self, values):
        self._assign(self._index(self.keras_layer.bias), values, "biases")

    def _index(self, variable):
        weights = self._owner.keras_model.weights
        return next(index for index, other in enumerate(weights) if other is variable)

    def _assign(self, position, values, name):
        current = self._owner.arrays[position]
        values = np.asarray(values)
        if values.shape != current.shape:
            raise ValueError(
                f"{name} of {self.keras_layer.name} have shape {current.shape}, got "
                f"{values.shape}. Give an array of the layer's shape."
            )
        # a copy, so that later changes of the caller's array do not reach the model
        self._owner.arrays[position] = np.array(values, dtype=current.dtype)

    def penalties(self):
        """Penalties of these weights times their strengths, {name: float}."""
        layer = self.keras_layer
        values = layer.penalties(layer.constrained(ops.convert_to_tensor(self.weights)))
        return {name: float(value) for name, value in values.items()}

    @property
    def reg(self):
        """Regularizers by name."""
        return dict(self.keras_layer.regularizers)

    @property
    def input_dims(self):
        """Dims of the input, [C, W, H]."""
        return list(self.keras_layer.input_dims)

    @property
    def output_dims(self):
        """Dims of the output, [C, W, H]."""
        return list(self.keras_layer.output_dims)

    @property
    def filter_dims(self):
        """Dims of one filter, [C, W, H]."""
        return list(self.keras_layer.filter_dims)

    def filters(self):
        """Give the filters their shape.

        Returns
        -------
        ndarray
            A copy, (H, W, C, units), without H when it is one.

        Raises
        ------
        ValueError
            If the weights are not whole filters.
        """
        channels, width, height = self.filter_dims
        if len(self.weights) != channels * width * height:
            raise ValueError(
                f"the weights of {self.keras_layer.name} have {len(self.weights)} rows, filters of "
                f"dims {self.filter_dims} have {channels * width * height}; only whole filters can "
                "be reshaped. Use reshape=False."
            )
        shape = (width, channels, -1) if height == 1 else (height, width, channels, -1)
        return self.weights.reshape(shape).copy()

    @property
    def num_filters(self):
        """Number of filters or units."""
        return self.keras_layer.n_units


class FFNetwork:
    """One network of one training.

    Parameters
    ----------
    owner : NDN3.NDN.NDN
        Holds the arrays.

    Attributes
    ----------
    layers : list of LayerView
    input_dims : list of int
        [C, W, H]
    layer_types : list of str
    """

    def __init__(self, owner):
        description = owner.keras_model.description
        self.layers = [
            LayerView(owner, position) for position in range(len(description["layer_types"]))
        ]
        self.input_dims = description["input_dims"]
        self.layer_types = description["layer_types"]

    @property
    def num_layers(self):
        """Number of layers."""
        return len(self.layers)
