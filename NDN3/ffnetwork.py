"""A feed-forward network: the Keras model behind a description, and the view on one training of it.

`FFNetworkModel` is an ordinary Keras model. Several trainings (one per seed) share one such model
and each hold only their own arrays; `FFNetwork` and `LayerView` show the arrays of one training in
the way in which NDN3's users know them: `network.layers[j].weights`.
"""

import copy
import json

import keras
import numpy as np
from keras import ops

from NDN3 import initialization, layers, regularization

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


def resolved(description, legacy=False):
    """Copy of a description with the bare numbers of `reg_list` at their layers.

    Parameters
    ----------
    description : dict
        From `NDN3.NDNutils.ffnetwork_params`.
    legacy : bool
        A bare number counts for the first layer only, otherwise for every layer that takes it.

    Returns
    -------
    dict
        A copy, without `reg_scalars`.

    Raises
    ------
    ValueError
        If something that is not built is asked for, or a required key is missing.
    """
    description = copy.deepcopy(dict(description))
    for key in ("input_dims", "layer_sizes", "layer_types"):
        if not description.get(key):
            raise ValueError(
                f"the description of a network has no {key}. "
                "Make it with NDN3.NDNutils.ffnetwork_params and give it there."
            )
    _refuse_unsupported(description)
    n_layers = len(description["layer_types"])
    regularizers = description.setdefault("reg_initializers", [{} for _ in range(n_layers)])
    for name, value in description.pop("reg_scalars", {}).items():
        for position, layer_type in enumerate(description["layer_types"]):
            layer = layers.layer_class(layer_type)
            taken = name in layer.penalty_names
            taken = taken or (name == regularization.DROPOUT and layer.takes_dropout)
            if position == 0 if legacy else taken or name not in known_regularizers():
                regularizers[position].setdefault(name, value)
    return description


def known_regularizers():
    """Every name that may stand in `reg_list`."""
    return [*regularization.PENALTIES, regularization.DROPOUT]


def _refuse_unsupported(description):
    """Keys of the description whose values stand for parts that are not built."""
    allowed = {
        "network_type": ("normal",),
        "xstim_n": ([0], 0, None),
        "ffnet_n": (None, []),
        "time_expand": (None, 0),
        "log_activations": (False, None),
    }
    for key, values in allowed.items():
        given = description.get(key)
        many = given if key == "time_expand" and isinstance(given, (list, tuple)) else [given]
        for value in many:
            if value not in values:
                raise ValueError(
                    f"{key} is {given!r}; one network on one external input is supported, so "
                    f"{key} must be {values[0]!r}. Leave {key} at its default."
                )


def build_layers(description, legacy=False, dtype=None):
    """Layers of a network, built for their input.

    Parameters
    ----------
    description : dict
        From `resolved`.
    legacy : bool
        Difference-of-Gaussians layers behave as in the original program.
    dtype : str, optional
        Of weights and computation.

    Returns
    -------
    list of NDN3.layers.base.NDNLayer
    """
    stack = []
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
        built = layer(
            input_dims=dims,
            regularizers=_entry(description, "reg_initializers", position),
            # Start values are set for the whole network; this keeps Python's generator untouched.
            seed=0,
            name=f"layer{position}",
            dtype=dtype,
            **arguments,
        )
        built.build((None, int(np.prod(dims))))
        stack.append(built)
        dims = built.output_dims
    return stack


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
        self._description = json.dumps(resolved(description, legacy))
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

    def call(self, inputs, training=False, layer_target=-1, pre_activation=False):
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

        Returns
        -------
        tensor, (batch, prod(output_dims of the layer))
        """
        last = range(len(self.stack))[layer_target]
        outputs = inputs
        for position, layer in enumerate(self.stack[: last + 1]):
            outputs = layer(
                outputs,
                training=training,
                pre_activation=pre_activation and position == last,
            )
        return outputs

    def precompute(self, inputs):
        """Apply the part of the first layer that has no parameters.

        Parameters
        ----------
        inputs : ndarray, (n, prod(input_dims))

        Returns
        -------
        ndarray
            (n, rows, positions) when the first layer cuts windows that fit into memory, otherwise
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
            self._predictors[options] = _compiled(self._predictor(*options))
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

    def position_of(self, variable):
        """Position of a variable in `weights`."""
        return next(i for i, other in enumerate(self.weights) if other is variable)

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


def _compiled(function):
    """Compile a function of tensors with the backend."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False, reduce_retracing=True)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function
