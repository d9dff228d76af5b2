"""`.ndnmod` files: one model, or an ensemble of them, as a description and arrays.

How they are packed, and what is refused before it is unpacked: `NDN3.archives`. Version 2 holds
several networks, all arrays of a layer, and ensembles (`kind`). Files of version 1 hold one network
on one input and its weights and biases; they are read, too.
"""

import contextlib
import importlib.metadata
import json
import math
import platform
import warnings

import keras
import numpy as np

from NDN3 import archives, composition, initialization, network_model
from NDN3.archives import Refused, write
from NDN3.quantities import shown

# Bytes of what is stored beside the numbers of the arrays, and of one number
MARGIN = 2**20
LONGEST_NUMBER = 16
# Layers that one file may describe; each takes memory before its arrays are known to be there
MOST_LAYERS = 2000


def save(model, path):
    """Write a model to a file.

    Parameters
    ----------
    model : NDN3.NDN.NDN
    path : path
        Its folder must exist.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    write(path, {"kind": "model", **described(model), "versions": versions()}, arrays_of(model))


def save_ensemble(ensemble, path):
    """Write an ensemble to one file; parameters as in `save`."""
    description = {
        "kind": "ensemble",
        "average": ensemble.average,
        "members": [described(model) for model in ensemble.models],
        "versions": versions(),
    }
    arrays = {}
    for prefix, model in zip(prefixes(ensemble.models), ensemble.models, strict=True):
        arrays |= arrays_of(model, prefix)
    write(path, description, arrays)


def versions():
    """Versions of what wrote a file, for people who look into it."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "keras": importlib.metadata.version("keras"),
    }


def described(model):
    """JSON-like description of a model, without its arrays."""
    return {
        "networks": model.network_list,
        "ffnet_out": list(model.keras_model.composition.outputs),
        "input_dim_list": list(map(list, model.keras_model.composition.streams)),
        "noise_dist": model.noise_dist,
        "batch_size": model.batch_size,
        "tf_seed": model.tf_seed,
        "legacy": model.legacy,
        "log_correlation": model.log_correlation,
        "dtype": model.keras_model.variable_dtype,
    }


def prefixes(members):
    """What the names of the arrays of each member begin with."""
    return [f"member{number}/" for number in range(len(members))]


def arrays_of(model, prefix=""):
    """Arrays of a model by their names in a file."""
    arrays = {
        f"{prefix}net{number}/layer{position}/{name}": layer.array(name)
        for number, network in enumerate(model.networks)
        for position, layer in enumerate(network.layers)
        for name in layer.array_names
    }
    if model.poisson_unit_norm is not None:
        arrays[f"{prefix}poisson_unit_norm"] = model.poisson_unit_norm
    return arrays


def load(model_class, path):
    """Read a model from a file.

    Parameters
    ----------
    model_class : type
        `NDN3.NDN.NDN` or a subclass.
    path : path

    Returns
    -------
    model_class

    Raises
    ------
    FileNotFoundError, ValueError
        As in `read`, and when an entry is missing or has another shape.
    """
    description, arrays = read(path)
    check_kind(path, description, "model")
    with refusals(path):
        check_all(path, description, arrays)
        model = built(path, model_class, description)
        fill(model, arrays)
    return model


def load_ensemble(ensemble_class, model_class, path):
    """Read an ensemble from a file.

    Parameters
    ----------
    ensemble_class, model_class : type
        `NDN3.ensembles.Ensemble` and `NDN3.NDN.NDN`, or subclasses.
    path : path

    Returns
    -------
    ensemble_class
        Members of one architecture share a Keras model.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load`.
    """
    description, arrays = read(path)
    check_kind(path, description, "ensemble")
    with refusals(path):
        check_all(path, description, arrays)
        models, first = [], {}
        for prefix, member in members_of(path, description):
            key = architecture(member)
            if key in first:
                model = first[key].copy_model(member["tf_seed"])
            else:
                model = first[key] = built(path, model_class, member)
            models.append(model)
            fill(model, arrays, prefix)
        return ensemble_class(models, description["average"])


def restore(model, path):
    """Give a model the arrays of a file.

    Parameters
    ----------
    model : NDN3.NDN.NDN
        Its networks have the layers of the stored ones; strengths of penalties may differ.
    path : path

    Raises
    ------
    FileNotFoundError, ValueError
        As `load`, and if the layers differ. The model is unchanged then.
    """
    description, arrays = read(path)
    check_kind(path, description, "model")
    with refusals(path):
        own = model.keras_model.composition
        ((_, stored),) = check_all(path, description, arrays, model.keras_model.variable_dtype)
        types = [
            [net.description["layer_types"] for net in each.networks] for each in (stored, own)
        ]
        if types[0] != types[1] or shapes_of(stored) != shapes_of(own):
            raise Refused(
                f"{path} is of networks with layers {types[0]}, or dims, other than those of the "
                f"model, {types[1]}; values go to equal networks only. Use NDN.load_model."
            )
        fill(model, arrays)


def check_all(path, description, arrays, dtype=None):
    """Networks of all models of a file, whose arrays are there.

    This is done before anything is built, so that a small file cannot ask for much memory.

    Parameters
    ----------
    path : path
        For the message.
    description : dict
    arrays : dict of ndarray
    dtype : str, optional
        Of the model that takes the arrays, by default of the stored ones.
    """
    found = compositions(path, description)
    members = dict(members_of(path, description))
    for prefix, networks in found:
        check_shapes(path, networks, arrays, prefix)
        check_numbers(path, networks, arrays, prefix, dtype or dtype_of(path, members[prefix]))
    return found


def dtype_of(path, description):
    """Dtype of the arrays of a stored model; files that do not say are in that of the process.

    Raises
    ------
    ValueError
        If it is not one of those that models have.
    """
    dtype = description.get("dtype", keras.config.dtype_policy().variable_dtype)
    if dtype not in network_model.DTYPES:
        raise Refused(
            f"dtype in {path} is {shown(dtype)}; it must be {' or '.join(network_model.DTYPES)}. "
            "Save the model again."
        )
    return dtype


def built(path, model_class, description):
    """Model of a description, with start values, in the dtype of the stored one."""
    keras_model = network_model.NetworkModel(
        description["networks"],
        description.get("ffnet_out", -1),
        description.get("input_dim_list"),
        legacy=description["legacy"],
        seed=initialization.checked_seed(description["tf_seed"]),
        dtype=dtype_of(path, description),
    )
    model = model_class.on(
        keras_model,
        description["noise_dist"],
        description["batch_size"],
        description["tf_seed"],
    )
    model.log_correlation = description["log_correlation"]
    return model


def fill(model, arrays, prefix=""):
    """Give a model its arrays from a file."""
    values = {
        id(variable): arrays[f"{prefix}net{number}/layer{position}/{name}"]
        for number, network in enumerate(model.networks)
        for position, layer in enumerate(network.layers)
        for name, variable in layer.keras_layer.arrays.items()
    }
    model.arrays = [
        np.array(values.get(id(variable), current), dtype=current.dtype)
        for variable, current in zip(model.keras_model.weights, model.arrays, strict=True)
    ]
    model.poisson_unit_norm = arrays.get(f"{prefix}poisson_unit_norm")


@contextlib.contextmanager
def refusals(path):
    """Turn what a wrong description makes go wrong into a sentence."""
    try:
        yield
    except Refused:
        raise
    except ValueError as error:
        raise Refused(f"{path} describes no model: {error}") from error
    except MemoryError as error:
        raise Refused(
            f"{path} describes a model that does not fit into memory; this machine has less than "
            "it needs. Use one with more, or save the model again."
        ) from error
    except KeyError as error:
        raise Refused(
            f"{path} has no entry {error}; a model file has all of them. Save the model again."
        ) from error
    except (AttributeError, IndexError, OverflowError, RecursionError, TypeError) as error:
        raise Refused(
            f"the description in {path} has values of the wrong kind; a model file has those that "
            "save_model writes. Save the model again."
        ) from error


def read(path):
    """Read description and arrays of a model file.

    Parameters
    ----------
    path : path

    Returns
    -------
    description : dict
    arrays : dict of ndarray

    Raises
    ------
    FileNotFoundError, ValueError
        As in `NDN3.archives.read`.
    """
    return archives.read(path, most_bytes)


def most_bytes(description):
    """Bytes that the arrays of a description may take at most."""
    try:
        entries = 0
        for _, networks in compositions("the file", description):
            entries += sum(map(math.prod, shapes_of(networks).values())) + sum(networks.neurons)
    except Exception:  # a description that `load` refuses with a sentence of its own
        return MARGIN
    return MARGIN + LONGEST_NUMBER * entries


def check_kind(path, description, kind):
    """Refuse a file that holds something else.

    Raises
    ------
    ValueError
        It says what there is.
    """
    found = description.get("kind", "model")
    if found != kind:
        raise Refused(
            f"{path} holds the kind {str(found)[:60]!r}, and {kind!r} is wanted; models are loaded "
            "with NDN.load_model, ensembles with Ensemble.load_model. Use the other one."
        )


def members_of(path, description):
    """Descriptions of the models of a file.

    Parameters
    ----------
    path : path
        For the message.
    description : dict

    Returns
    -------
    list of (str, dict)
        Each after the prefix of its arrays.

    Raises
    ------
    ValueError
        If they are no descriptions, or describe more layers than a file may.
    """
    several = description.get("kind") == "ensemble"
    members = description.get("members") if several else [description]
    if not isinstance(members, list) or {dict} != {type(member) for member in members}:
        raise Refused(
            f"members in {path} are {str(members)[:60]}; an ensemble has a list of descriptions. "
            "Save it again."
        )
    n_layers = 0
    for member in {architecture(member): member for member in members}.values():
        networks = member.get("networks")
        if not isinstance(networks, list) or {dict} != {type(network) for network in networks}:
            raise Refused(
                f"networks in {path} are {str(networks)[:60]}; a model file has a list of "
                "descriptions. Save the model again."
            )
        types = [network.get("layer_types") for network in networks]
        n_layers += sum(len(each) for each in types if isinstance(each, list))
    if n_layers > MOST_LAYERS:
        raise Refused(
            f"{path} describes {n_layers} layers; a file may have {MOST_LAYERS}. "
            "Save the models in several files."
        )
    return list(zip(prefixes(members), members, strict=True)) if several else [("", description)]


def compositions(path, description):
    """Networks of the models of a file, not built, which takes little memory.

    Parameters
    ----------
    path : path
        For the message.
    description : dict

    Returns
    -------
    list of (str, NDN3.composition.Composition)
        Each after the prefix of its arrays; members of one architecture share theirs.
    """
    found, known = [], {}
    for prefix, member in members_of(path, description):
        key = architecture(member)
        if key not in known:
            # files of version 1 have one network on one input and do not say so
            known[key] = composition.compose(
                member["networks"],
                member.get("ffnet_out", -1),
                member.get("input_dim_list"),
                member["legacy"],
            )
        found.append((prefix, known[key]))
    return found


def architecture(description):
    """Text for what members may have in common: all but the seed."""
    return json.dumps({**description, "tf_seed": None})


def shapes_of(networks):
    """Shape of each array of a composition, by its name in the file."""
    return {
        f"net{number}/layer{position}/{name}": shape
        for number, network in enumerate(networks.networks)
        for position, layer in enumerate(network.layers)
        for name, shape in zip(layer.array_names, layer.array_shapes(), strict=True)
    }


def check_shapes(path, networks, arrays, prefix=""):
    """Refuse arrays that are not those of some networks.

    Parameters
    ----------
    path : path
        For the message.
    networks : NDN3.composition.Composition
    arrays : dict of ndarray
    prefix : str
        Of their names.

    Raises
    ------
    KeyError
        If one is missing.
    ValueError
        If one has another shape, or is not of numbers.
    """
    expected = shapes_of(networks)
    if f"{prefix}poisson_unit_norm" in arrays:
        expected["poisson_unit_norm"] = (sum(networks.neurons),)
    for name, shape in expected.items():
        array = arrays[prefix + name]
        if array.shape != tuple(shape) or array.dtype.kind not in "fiu":
            raise Refused(
                f"{prefix}{name} in {path} has shape {array.shape} of {array.dtype}; the "
                f"description asks for shape {tuple(shape)} of numbers. Save the model again."
            )


def check_numbers(path, networks, arrays, prefix, dtype):
    """Refuse numbers that the dtype of a model cannot hold; parameters as in `check_shapes`.

    Raises
    ------
    ValueError
        If one would become infinite.

    Warns
    -----
    UserWarning
        If there is NaN or infinity in the file, as after a training that diverged.
    """
    for name in shapes_of(networks):
        array = arrays[prefix + name]
        finite = np.isfinite(array)
        with np.errstate(over="ignore"):
            overflows = np.isfinite(array.astype(dtype)) != finite
        if overflows.any():
            raise Refused(
                f"{prefix}{name} in {path} has {np.count_nonzero(overflows)} numbers beyond "
                f"{np.finfo(dtype).max:.2g}, the largest of {dtype}; the model cannot hold them. "
                "Save the model again."
            )
        if not finite.all():
            warnings.warn(
                f"{prefix}{name} in {path} has NaN or infinity in {np.count_nonzero(~finite)} of "
                f"{finite.size} entries, as after a training that diverged; the model predicts "
                "nothing. Train a new one.",
                stacklevel=5,
            )
