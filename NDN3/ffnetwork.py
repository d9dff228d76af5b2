"""The view on one training of a network: `network.layers[j].weights`.

Several trainings share one Keras model (`NDN3.network_model`) and each hold only their own arrays;
`FFNetwork` and `LayerView` show them in the way in which NDN3's users know them.
"""

import numpy as np
from keras import ops

from NDN3 import columns, quantities, suggestions


class LayerView:
    """One layer of one training: its arrays, and what describes it.

    `weights` and `biases` may be changed in place or assigned.

    Parameters
    ----------
    owner : NDN3.NDN.NDN
        Holds the arrays.
    number, position : int
        Of the network and of the layer in it.
    """

    def __init__(self, owner, number, position):
        self._owner = owner
        self._number = number
        self._position = position

    @property
    def keras_layer(self):
        """The Keras layer; its own values are not those of the training."""
        return self._owner.keras_model.composition.networks[self._number].layers[self._position]

    @property
    def weights(self):
        """Weights of the layer, (rows, units)."""
        return self.array("weights")

    @weights.setter
    def weights(self, values):
        self.set_array("weights", values)

    @property
    def biases(self):
        """Biases of the layer, (1, units)."""
        return self.array("biases")

    @biases.setter
    def biases(self, values):
        self.set_array("biases", values)

    @property
    def array_names(self):
        """Names of the arrays of the layer: weights, biases, and what else it has."""
        return self.keras_layer.array_names

    def array(self, name):
        """One of the arrays of the layer; it may be changed in place.

        Parameters
        ----------
        name : str
            One of `array_names`.

        Returns
        -------
        ndarray

        Raises
        ------
        ValueError
            If the layer has no such array.
        """
        return self._owner.arrays[self._index(name)]

    def _index(self, name):
        wanted = self.keras_layer.arrays[suggestions.known(name, self.array_names, "array")]
        weights = self._owner.keras_model.weights
        return next(index for index, other in enumerate(weights) if other is wanted)

    def set_array(self, name, values):
        """Give an array of the layer other values.

        Parameters
        ----------
        name : str
            One of `array_names`.
        values : array_like
            Of the shape of the array.

        Raises
        ------
        ValueError
            If there is no such array, the shape differs, or values are not finite in the precision
            of the array.
        """
        position = self._index(name)
        current = self._owner.arrays[position]
        values = columns.numbers(values, f"{name} of {self.keras_layer.name}")
        if values.shape != current.shape:
            raise ValueError(
                f"{name} of {self.keras_layer.name} have shape {current.shape}, got "
                f"{values.shape}. Give an array of the layer's shape."
            )
        # a copy, so that later changes of the caller's array do not reach the model
        self._owner.arrays[position] = self.held(name, values)

    def held(self, name, values):
        """Values as the layer holds them, a copy.

        Parameters
        ----------
        name : str
            One of `array_names`.
        values : ndarray

        Returns
        -------
        ndarray
            Of the dtype of the array.

        Raises
        ------
        ValueError
            If one of them is not finite then.
        """
        dtype = self.array(name).dtype
        with np.errstate(over="ignore"):  # what becomes infinite is refused with a sentence
            found = np.array(values, dtype=dtype)
        advice = f"Give finite numbers up to {np.finfo(dtype).max:.2g}."
        quantities.finite(found, f"{name} of {self.keras_layer.name} in {dtype}", advice=advice)
        return found

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
    number : int
        Of the network.

    Attributes
    ----------
    layers : list of LayerView
    input_dims : list of int
        [C, W, H]
    layer_types : list of str
    """

    def __init__(self, owner, number=0):
        network = owner.keras_model.composition.networks[number]
        self.layers = [
            LayerView(owner, number, position) for position in range(len(network.layers))
        ]
        self.input_dims = list(network.sources.dims)
        self.layer_types = list(network.description["layer_types"])

    def __repr__(self):
        """Dims of the input, then types and units of the layers."""
        units = [view.keras_layer.n_units for view in self.layers]
        layers = [f"{kind} {n}" for kind, n in zip(self.layer_types, units, strict=True)]
        return " > ".join([str(self.input_dims), *layers])

    @property
    def num_layers(self):
        """Number of layers."""
        return len(self.layers)
