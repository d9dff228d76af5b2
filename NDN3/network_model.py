"""The Keras model of one or more networks that may read each other.

`NetworkModel` is an ordinary Keras model. Several trainings (one per seed) share one such model
and each hold only their own arrays.
"""

import copy
import json
import math

import keras
from keras import ops

from NDN3 import (
    backend,
    composition,
    initialization,
    quantities,
    regularization,
    stacks,
    time_axis,
)
from NDN3.layers.windows import native_convolutions

# Of arrays and computation; costs, penalties and unit norms lose too much in less
DTYPES = ("float32", "float64")


@keras.saving.register_keras_serializable("NDN3")
class NetworkModel(keras.Model):
    """Keras model of one or more networks.

    Parameters
    ----------
    network_list, ffnet_out, input_dim_list, legacy, dtype
        As in `NDN3.composition.compose`.
    seed : int
        Of the start values.

    Attributes
    ----------
    composition : NDN3.composition.Composition
    stack : list of NDN3.layers.base.NDNLayer
        The layers of all networks in order.

    Input: one array (batch, features), or a tuple of them in the order of `xstim_n`, or what
    `precompute` gives. Where `time_spread` is not 0, the rows of a batch follow in time.
    Output shape: (batch, neurons of all output networks).

    Raises
    ------
    ValueError
        If a description asks for something that does not exist or does not fit.
    """

    def __init__(
        self,
        network_list,
        ffnet_out=-1,
        input_dim_list=None,
        legacy=False,
        seed=0,
        dtype=None,
        **kwargs,
    ):
        super().__init__(dtype=dtype, **kwargs)
        if self.dtype_policy.name not in DTYPES:
            raise ValueError(
                f"the dtype policy is {self.dtype_policy.name!r}; models of NDN3 compute in "
                f"{' or '.join(DTYPES)}. Set it with keras.config.set_dtype_policy('float32')."
            )
        quantities.truth(legacy, "legacy")
        self.composition = composition.compose(
            network_list, ffnet_out, input_dim_list, legacy, dtype
        )
        self.legacy = legacy
        self.seed = seed
        networks = self.composition.networks
        self.stack = [stacks.built(layer) for network in networks for layer in network.layers]
        self._predictors = {}
        self.build((None, math.prod(networks[0].sources.dims)))
        start = initialization.start_values(self, seed, legacy)
        for variable, value in zip(self.weights, start, strict=True):
            variable.assign(value)

    def build(self, input_shape):
        """Nothing is left to build; the layers are built with the descriptions."""
        self.built = True

    # ---- what it is ---------------------------------------------------------------------------

    @property
    def descriptions(self):
        """The resolved descriptions, copies."""
        return [copy.deepcopy(network.description) for network in self.composition.networks]

    @property
    def neurons(self):
        """Number of outputs of each output network."""
        return self.composition.neurons

    @property
    def time_spread(self):
        """Rows before a row that the output needs for it."""
        return self.composition.time_spread

    @property
    def lagged_entries(self):
        """Numbers that one row becomes by lags, before layers and in them, in all networks."""
        before = sum(
            math.prod(layer.input_dims)
            for network in self.composition.networks
            for layer, lags in zip(network.layers, network.lags, strict=True)
            if lags > 1
        )
        return before + sum(getattr(layer, "lagged_entries", 0) for layer in self.stack)

    @property
    def uses_row_weights(self):
        """Whether a row's output or a penalty depends on which rows of the batch count."""
        return any(
            layer.uses_row_weights or regularization.ACTIVITY.keys() & layer.strengths.keys()
            for layer in self.stack
        )

    @property
    def numbers(self):
        """Strengths of the penalties, {"layer0/l2": float}: `call` takes others in their place.

        Those that are lists, one number for each unit, are not among them.
        """
        return {
            f"{layer.name}/{name}": strength
            for layer in self.stack
            for name, strength in layer.strengths.items()
            if not isinstance(strength, list)
        }

    @property
    def structure(self):
        """Text for all but the numbers: networks of one structure need one compiled program."""
        described = self.descriptions
        entries = [entry for each in described for entry in each["reg_initializers"]]
        for layer, regularizers in zip(self.stack, entries, strict=True):
            replaced = {name for name in layer.strengths if f"{layer.name}/{name}" in self.numbers}
            regularizers.update(dict.fromkeys(replaced, "a number"))
        outputs = list(self.composition.outputs)
        return json.dumps(
            [described, outputs, self.legacy, self.variable_dtype, self.kinds_of_averages]
        )

    @property
    def kinds_of_averages(self):
        """What becomes of the averages of each layer, None for a layer that has none."""
        return [getattr(layer, "averages", None) for layer in self.stack]

    # ---- the computation ----------------------------------------------------------------------

    def call(
        self,
        inputs,
        training=False,
        ffnet_target=None,
        layer_target=-1,
        pre_activation=False,
        numbers=None,
        row_weights=None,
    ):
        """Output of the model, or of one layer of one network.

        Parameters
        ----------
        inputs : tensor or tuple of tensor, or what `precompute` gives
        training : bool
            Dropout is active.
        ffnet_target : int, optional
            A network; by default all that give the output, side by side, and for one layer the
            last of them.
        layer_target : int
            Position of the layer in it; -1 is the last one.
        pre_activation : bool
            Give what goes into the activation function of that layer.
        numbers : dict of tensor, optional
            In place of the model's own `numbers`.
        row_weights : tensor, (batch,), optional
            0 for rows that only fill up the batch.

        Returns
        -------
        tensor, (batch, prod(output dims))
        """
        networks = self.composition.networks
        targets = self.composition.outputs
        if ffnet_target is None and (layer_target != -1 or pre_activation):
            ffnet_target = targets[-1]
        if ffnet_target is not None:
            targets = [range(len(networks))[ffnet_target]]
        options = {"training": training, "row_weights": row_weights}
        found = {}
        for number in self.composition.needed(targets):
            last = len(networks[number].layers) - 1
            if ffnet_target is not None and number == targets[0]:
                last = range(last + 1)[layer_target]
            before = pre_activation and number == targets[-1]
            outputs = self.read(number, inputs, found)
            found[number] = []
            for position in range(last + 1):
                layer, lags = networks[number].layers[position], networks[number].lags[position]
                outputs = layer(
                    time_axis.embedded(outputs, lags),
                    pre_activation=before and position == last,
                    strengths=strengths_of(layer, numbers),
                    **options,
                )
                found[number].append(outputs)
        given = [found[number][-1] for number in targets]
        return given[0] if len(given) == 1 else ops.concatenate(given, axis=1)

    def stateless_call(self, *args, **kwargs):
        """Call with arrays in place of the model's own values, as in Keras.

        Keras finds the penalties of such a call by the addresses of their tensors, and notes them
        in the layers. A layer that still has those of an earlier call takes a new tensor at an old
        address for its own: a penalty is lost, or counts twice.
        """
        self._clear_losses()
        return super().stateless_call(*args, **kwargs)

    def read(self, number, inputs, found):
        """Input of a network.

        Parameters
        ----------
        number : int
        inputs : tensor, tuple or dict
            As in `call`.
        found : dict
            Outputs of the layers of each earlier network.

        Returns
        -------
        tensor
        """
        sources = self.composition.networks[number].sources
        if isinstance(inputs, dict) and sources.streams:
            given = inputs[f"net{number}"]
            if not sources.networks:
                return given
            parts = list(given)
        elif not sources.streams:
            parts = []
        elif hasattr(inputs, "shape") and len(inputs.shape) == 3:
            return inputs  # windows, of the only network
        else:
            streams = inputs if isinstance(inputs, tuple | list) else (inputs,)
            parts = [streams[stream] for stream in sources.streams]
        for other in sources.networks:
            parts += found[other] if sources.is_side else found[other][-1:]
        return sources.joined(parts)

    def precompute(self, inputs):
        """Apply the part of the first layers that has no parameters.

        Parameters
        ----------
        inputs : ndarray, (n, features), or tuple of ndarray

        Returns
        -------
        ndarray or dict of ndarray
            Of each network that reads external inputs: (n, positions, rows) where the first layer
            cuts windows that fit into memory, otherwise the inputs as they are.
        """
        networks = self.composition.networks
        streams = inputs if isinstance(inputs, tuple | list) else (inputs,)
        found = {}
        for number, network in enumerate(networks):
            sources = network.sources
            own = [streams[stream] for stream in sources.streams]
            if not own:
                continue
            if sources.networks:
                found[f"net{number}"] = tuple(own)
            elif network.lags[0] == 1:
                found[f"net{number}"] = network.layers[0].precompute(sources.joined(own))
            else:
                found[f"net{number}"] = sources.joined(own)
        return found["net0"] if len(networks) == 1 else found

    def predict_with(
        self,
        arrays,
        inputs,
        ffnet_target=None,
        layer_target=-1,
        pre_activation=False,
        training=False,
    ):
        """Output for one set of arrays in place of the model's own values.

        Parameters
        ----------
        arrays : list of ndarray
            In the order of `weights`.
        inputs : ndarray, (rows, features), or tuple of ndarray
        ffnet_target, layer_target, pre_activation, training
            As in `call`.

        Returns
        -------
        ndarray, (rows, prod(output dims))
        """
        options = {
            "ffnet_target": ffnet_target,
            "layer_target": layer_target,
            "pre_activation": bool(pre_activation),
            "training": bool(training),
        }
        key = tuple(options.values())
        if key not in self._predictors:

            def predict(trainable, non_trainable, inputs):
                # one network, and no loop: windows would only take memory
                with native_convolutions():
                    return self.stateless_call(trainable, non_trainable, inputs, **options)[0]

            self._predictors[key] = backend.compiled_for_any_shape(predict)
        return ops.convert_to_numpy(self._predictors[key](*self.partition(arrays), inputs))

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
        return (None, sum(self.neurons))

    def get_config(self):
        """Arguments that make the same model again."""
        return {
            "name": self.name,
            "network_list": self.descriptions,
            "ffnet_out": list(self.composition.outputs),
            "input_dim_list": list(map(list, self.composition.streams)),
            "legacy": self.legacy,
            "seed": self.seed,
            "dtype": self.dtype,
        }


def strengths_of(layer, numbers):
    """Strengths of the penalties of a layer, with those of `numbers` in place of its own."""
    if numbers is None:
        return None
    return {
        # Keras does not take tensors beside lists
        name: numbers.get(
            f"{layer.name}/{name}", ops.convert_to_tensor(strength, dtype=layer.compute_dtype)
        )
        for name, strength in layer.strengths.items()
    }
