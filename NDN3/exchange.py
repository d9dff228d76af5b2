"""Models in files of their own format, and exchange with other programs: MATLAB, foreign weights.

`Exchanged` is the part of `NDN3.NDN.NDN` that reads and writes. What a weight matrix means is the
same everywhere: rows are the inputs of a unit with the channel as the fastest index, then width,
then height (c + C (w + W h)); columns are units.
"""

import os
import re
from pathlib import Path

import numpy as np
from scipy import io

from NDN3 import columns, descriptions, paths, storage

# Parts of names of foreign arrays, such as net0L1/weights or network_0/layer_1/weights_layer/var:0
NETWORK = re.compile(r"(?:^|[^a-z])(?:ff)?net(?:work)?s?[\s_\[]*(\d+)", re.IGNORECASE)
LAYER = re.compile(r"(?:layers?[\s_\[]*|(?<![a-z])l_?)(\d+)", re.IGNORECASE)


class Exchanged:
    """What is written to files and read from them.

    Attributes
    ----------
    networks : list of NDN3.ffnetwork.FFNetwork
    """

    def save_model(self, path):
        """Write the model to a file, see `NDN3.storage`.

        Parameters
        ----------
        path : path
            By custom it ends in `.ndnmod`. The file appears whole or not at all.
        """
        storage.save(self, path)

    @classmethod
    def load_model(cls, path):
        """Read a model from a file.

        Parameters
        ----------
        path : path

        Returns
        -------
        NDN
            Its predictions equal those of the saved model in every bit.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not a model file, is damaged, or was written in a newer format.
        """
        return storage.load(cls, path)

    def checkpoint_model(self, path):
        """Write the values that the model holds now; `restore_model` takes them back.

        Parameters
        ----------
        path : path
            The file is one of `save_model`.
        """
        storage.save(self, path)

    def restore_model(self, path):
        """Take the arrays and the unit norm of a file; all else stays as it is in this model.

        Parameters
        ----------
        path : path
            From `checkpoint_model` or `save_model`, of a model with equal networks; strengths of
            penalties may differ.

        Raises
        ------
        FileNotFoundError, ValueError
            As in `load_model`, and if the networks differ; the model is unchanged then.
        """
        storage.restore(self, path)

    def matlab_export(self, path):
        """Write the networks to a MATLAB file, one struct for each network and layer.

        Parameters
        ----------
        path : path
            By custom it ends in `.mat`. What is in it: `NDN3.exchange.matlab_export`.

        Raises
        ------
        FileNotFoundError
            If the folder does not exist.
        """
        matlab_export(path, self)

    def import_weights(self, arrays):
        """Take weights and biases of another program.

        Parameters
        ----------
        arrays : dict, path of an `.npz` file, list, or object with `networks`
            As for `NDN3.exchange.import_weights`, which says how names are understood.

        Returns
        -------
        list of str
            Arrays of the model that were not given; they keep their values.

        Raises
        ------
        ValueError
            If a name cannot be understood or a shape does not fit; the model is unchanged then.
        """
        return import_weights(self, arrays)


def matlab_export(path, model):
    """Write networks as structs of MATLAB.

    The file has `noise_dist`, `ffnet_out` (numbers of networks, from 0) and a struct `net0`,
    `net1`, … for each network with `xstim_n`, `ffnet_n` (numbers from 0, empty if there are none),
    `input_dims`, `output_dims` and a struct `layer0`, `layer1`, … for each layer, with `type`,
    `activation`, `input_dims`, `output_dims`, `filter_dims`, `num_inh`, `weights`, `biases`, and
    what else the layer has. MATLAB's `reshape(weights(:, n), filter_dims)` is filter n as
    (channel, x, y) where a column is a whole filter.

    Parameters
    ----------
    path : path
        By custom it ends in `.mat`. The file appears whole or not at all.
    model : NDN3.NDN.NDN

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If this is no path, or that of a folder.
    """
    path = paths.new_file(path)
    contents = {
        "noise_dist": model.noise_dist,
        "ffnet_out": row(model.keras_model.composition.outputs),
    }
    if model.poisson_unit_norm is not None:
        contents["poisson_unit_norm"] = row(model.poisson_unit_norm)
    described = zip(model.networks, model.network_list, strict=True)
    for number, (network, description) in enumerate(described):
        contents[f"net{number}"] = {
            "xstim_n": row(description["xstim_n"]),
            "ffnet_n": row(description["ffnet_n"]),
            "input_dims": row(network.input_dims),
            "output_dims": row(network.layers[-1].output_dims),
            **{f"layer{n}": matlab_layer(layer) for n, layer in enumerate(network.layers)},
        }
    with paths.replaced(path) as file:
        io.savemat(file, contents, long_field_names=True, do_compression=True)


def row(numbers):
    """Numbers as a row of MATLAB, where they are double precision by custom."""
    return np.array([[] if numbers is None else numbers], dtype=float)


def matlab_layer(layer):
    """Fields of the struct of a layer."""
    return {
        "type": layer.keras_layer.layer_type,
        "activation": layer.keras_layer.activation,
        "num_inh": float(layer.keras_layer.num_inh),
        "input_dims": row(layer.input_dims),
        "output_dims": row(layer.output_dims),
        "filter_dims": row(layer.filter_dims),
        **{name: np.asarray(layer.array(name)) for name in layer.array_names},
    }


def import_weights(model, arrays):
    """Give a model weights and biases of another program.

    Parameters
    ----------
    model : NDN3.NDN.NDN
        It has the layers of the other one.
    arrays : dict, path of an `.npz` file, list, or object with `networks`
        A dict or file of arrays whose names say network, layer and array, such as "net0L1/weights",
        "networks[0].layers[1].biases" or "network_0/layer_1/weights_layer/weights_var:0"; dicts in
        dicts count as paths. Networks and layers are counted from 0; the network may be left out if
        there is only one. A list has one entry for each network: a list with a dict of arrays for
        each layer, or for a model of one network only the latter. An object has the attributes of a
        model: `networks[k].layers[j].weights` and `.biases`.

        Weights are (inputs, units), or filters of the shape (H, W, C, units) or (W, C, units);
        biases (1, units) or (units,). What is not given keeps its values.

    Returns
    -------
    list of str
        Arrays of the model that were not given, such as "net0/layer1/biases".

    Raises
    ------
    ValueError
        If a name cannot be understood, names nothing that the model has or something twice, or a
        shape does not fit. The model is unchanged then.
    """
    networks = model.networks
    given = {}
    for name, values in flattened(arrays):
        place = place_of(name, networks)
        if place in given:
            raise ValueError(
                f"{name!r} and another name both stand for net{place[0]}/layer{place[1]}/"
                f"{place[2]}; each array must come once. Leave one of them out."
            )
        number, position, array = place
        given[place] = fitted(name, values, networks[number].layers[position], array)
    if not given:
        raise ValueError(
            "the arrays to import are none; give at least one, named as in 'net0L1/weights'."
        )
    for (number, position, array), values in given.items():
        networks[number].layers[position].set_array(array, values)
    return [
        f"net{number}/layer{position}/{name}"
        for number, network in enumerate(networks)
        for position, layer in enumerate(network.layers)
        for name in layer.array_names
        if (number, position, name) not in given
    ]


def flattened(arrays, path=""):
    """Arrays that a user gives, each with a name.

    Parameters
    ----------
    arrays : object
        As in `import_weights`.
    path : str
        Before the names.

    Returns
    -------
    list of (str, array_like)

    Raises
    ------
    ValueError
        If it is nothing that is understood.
    """
    if isinstance(arrays, (str, os.PathLike)):
        if not Path(arrays).is_file():
            raise FileNotFoundError(f"there is no file {arrays} of arrays. Check the path.")
        try:
            with np.load(arrays, allow_pickle=False) as stored:
                return [(name, stored[name]) for name in stored.files]
        except (ValueError, OSError, EOFError, AttributeError, TypeError) as error:
            raise ValueError(
                f"{arrays} cannot be read as an .npz file of plain arrays; pickled objects are not "
                "read because they may run code. Save the arrays with numpy.savez."
            ) from error
    if isinstance(arrays, np.lib.npyio.NpzFile):
        return [(name, arrays[name]) for name in arrays.files]
    if hasattr(arrays, "networks"):
        return [
            (f"net{number}/layer{position}/{name}", getattr(layer, name))
            for number, network in enumerate(arrays.networks)
            for position, layer in enumerate(network.layers)
            for name in ("weights", "biases")
            if getattr(layer, name) is not None
        ]
    if isinstance(arrays, dict):
        found = []
        for name, values in arrays.items():
            inner = f"{path}/{name}" if path else str(name)
            nested = isinstance(values, dict)
            found += flattened(values, inner) if nested else [(inner, values)]
        return found
    if isinstance(arrays, (list, tuple)) and all(
        isinstance(e, (dict, list, tuple)) for e in arrays
    ):
        # a list of networks, or the layers of the only one
        networks = [arrays] if all(isinstance(each, dict) for each in arrays) else arrays
        return [
            pair
            for number, layers in enumerate(networks)
            for position, layer in enumerate(layers)
            for pair in flattened(layer, f"net{number}/layer{position}")
        ]
    raise ValueError(
        f"{path or 'arrays'} to import are a {type(arrays).__name__}; they must be a dict of named "
        "arrays, the path of an .npz file, a list of layers, or a model. Give one of these."
    )


def place_of(name, networks):
    """Network, layer and array for which a name stands.

    Parameters
    ----------
    name : str
    networks : list of NDN3.ffnetwork.FFNetwork

    Returns
    -------
    number, position : int
    array : str

    Raises
    ------
    ValueError
        If the name does not say, or there is no such thing.
    """
    path, _, last = name.replace(".", "/").rpartition("/")
    network, layer = NETWORK.search(name), LAYER.search(NETWORK.sub("/", name))
    if layer is None or (network is None and len(networks) > 1):
        raise ValueError(
            f"the name {name!r} does not say which {'network and ' * (len(networks) > 1)}layer it "
            "is of; names are such as 'net0L1/weights' or 'layer_1/biases'. Rename the array."
        )
    number = descriptions.network_number(
        int(network[1]) if network else 0, len(networks), f"the network of {name!r}"
    )
    layers = networks[number].layers
    position = descriptions.layer_number(int(layer[1]), len(layers), f"the layer of {name!r}")
    known = layers[position].array_names
    words = {"weights": "weight", "biases": "bias"}
    # what stands in the last part of the path counts before what stands in earlier ones
    for part in (last, path):
        found = [array for array in known if words.get(array, array) in part.lower()]
        if len(found) == 1:
            return number, position, found[0]
    raise ValueError(
        f"the name {name!r} does not say which array of the layer it is; the layer has "
        f"{', '.join(known)}. Rename the array."
    )


def fitted(name, values, layer, array):
    """Values in the shape that a layer has.

    Raises
    ------
    ValueError
        If they have another one, or are no numbers.
    """
    shape = layer.array(array).shape
    values = columns.numbers(values, repr(name))
    fits = values.shape == shape
    if array == "biases":
        fits |= values.shape == shape[1:] and shape[0] == 1
    if array == "weights":  # whole filters: (H, W, C, units), row after row the same numbers
        channels, width, height = layer.filter_dims
        filters = {(height, width, channels), (width, channels) if height == 1 else ()}
        fits |= values.shape[:-1] in filters - {()} and values.shape[-1] == shape[-1]
        fits &= values.size == np.prod(shape)
    if not fits:
        raise ValueError(
            f"{name!r} has shape {values.shape}; {array} of {layer.keras_layer.name} "
            f"({layer.keras_layer.layer_type}) are finite numbers of shape {shape}. "
            "Give them in that shape."
        )
    return layer.held(array, values.reshape(shape))
