"""`.ndnmod` files: a zip of one JSON description and one `.npz` with the arrays.

Nothing in such a file is executed when it is read: pickles are switched off. A file appears
complete or not at all, and equal models give equal bytes.
"""

import importlib.metadata
import io
import json
import math
import os
import platform
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from NDN3 import composition, quantities

FORMAT = "ndnmod"
FORMAT_VERSION = 2
DESCRIPTION = "description.json"
ARRAYS = "arrays.npz"
# What reading a torn, changed, encrypted or otherwise foreign zip may raise
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    MemoryError,
    ValueError,
    tokenize.TokenError,
)
# Bytes of a description, and of what is stored beside the numbers of the arrays
DESCRIPTION_BYTES = 4 * 2**20
MARGIN = 2**20
LONGEST_NUMBER = 16
# a fixed date, so that a file depends on the model alone
DATE = (1980, 1, 1, 0, 0, 0)


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
    description = {
        "networks": model.network_list,
        "ffnet_out": list(model.keras_model.composition.outputs),
        "input_dim_list": list(map(list, model.keras_model.composition.streams)),
        "noise_dist": model.noise_dist,
        "batch_size": model.batch_size,
        "tf_seed": model.tf_seed,
        "legacy": model.legacy,
        "log_correlation": model.log_correlation,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "keras": importlib.metadata.version("keras"),
        },
    }
    arrays = {}
    for number, network in enumerate(model.networks):
        for position, layer in enumerate(network.layers):
            for name in layer.array_names:
                arrays[f"net{number}/layer{position}/{name}"] = layer.array(name)
    if model.poisson_unit_norm is not None:
        arrays["poisson_unit_norm"] = model.poisson_unit_norm
    write(path, description, arrays)


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
    networks = description.get("networks")
    if not isinstance(networks, list) or {dict} != {type(network) for network in networks}:
        raise ValueError(
            f"networks in {path} are {str(networks)[:60]}; a model file has a list of "
            "descriptions. Save the model again."
        )
    try:
        # before anything is built, so that a small file cannot ask for much memory
        check_shapes(path, composed(description), arrays)
        model = model_class(
            networks,
            description["noise_dist"],
            ffnet_out=description.get("ffnet_out", -1),
            input_dim_list=description.get("input_dim_list"),
            batch_size=description["batch_size"],
            tf_seed=description["tf_seed"],
            legacy=description["legacy"],
        )
        model.log_correlation = description["log_correlation"]
        for number, network in enumerate(model.networks):
            for position, layer in enumerate(network.layers):
                for name in layer.array_names:
                    layer.set_array(name, arrays[f"net{number}/layer{position}/{name}"])
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
        raise ValueError(
            f"{path} has no entry {error}; a model file has all of them. Save the model again."
        ) from error
    except (AttributeError, IndexError, OverflowError, TypeError) as error:
        raise ValueError(
            f"the description in {path} has values of the wrong kind; a model file has those that "
            "save_model writes. Save the model again."
        ) from error
    model.poisson_unit_norm = arrays.get("poisson_unit_norm")
    return model


def composed(description):
    """Networks of a description, not built, which takes no memory."""
    # files of version 1 have one network on one input and do not say so
    return composition.compose(
        description["networks"],
        description.get("ffnet_out", -1),
        description.get("input_dim_list"),
        description["legacy"],
    )


def shapes_of(networks):
    """Shape of each array of a composition, by its name in the file."""
    return {
        f"net{number}/layer{position}/{name}": shape
        for number, network in enumerate(networks.networks)
        for position, layer in enumerate(network.layers)
        for name, shape in zip(layer.array_names, layer.array_shapes(), strict=True)
    }


def check_shapes(path, networks, arrays):
    """Refuse arrays that are not those of the described networks.

    Parameters
    ----------
    path : path
        For the message.
    networks : NDN3.composition.Composition
    arrays : dict of ndarray

    Raises
    ------
    KeyError
        If one is missing.
    ValueError
        If one has another shape, or is not of numbers.
    """
    expected = shapes_of(networks)
    if "poisson_unit_norm" in arrays:
        expected["poisson_unit_norm"] = (sum(networks.neurons),)
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype.kind not in "fiu":
            raise Refused(
                f"{name} in {path} has shape {array.shape} of {array.dtype}; the description asks "
                f"for shape {shape} of numbers. Save the model again."
            )


def write(path, description, arrays):
    """Write a model file; an older one stays whole until the new one is on disk.

    Parameters
    ----------
    path : path
        Its folder must exist.
    description : dict
        JSON-like; format and version are added.
    arrays : dict of ndarray

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"{path} cannot be written: the folder {path.parent} does not exist. "
            "Make it, or give another path."
        )
    stored = io.BytesIO()
    np.savez(stored, **arrays)
    text = json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, **description}, indent=1)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, content in ((DESCRIPTION, text), (ARRAYS, stored.getvalue())):
                    member = zipfile.ZipInfo(name, DATE)
                    member.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(member, content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a model file, is damaged, or was written in a newer format.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(
            f"the path of a model is {path!r}; it must be a text or a path. Give that of a file."
        )
    path = Path(path)
    if path.is_dir():
        raise FileNotFoundError(
            f"{path} is a folder; a model is one file, by custom *.ndnmod. Give the path of a file."
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no model file {path}. Check the path; models are saved with save_model."
        )
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is damaged or not a model file, which is a zip of {DESCRIPTION} and "
            f"{ARRAYS}. Models of the original NDN3 are pickles, which are not read because they "
            "may run code: train the model again."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            missing = {DESCRIPTION, ARRAYS} - sizes.keys()
            if missing:
                raise Refused(
                    f"{path} has no {' and no '.join(sorted(missing))}; a model file has "
                    f"{DESCRIPTION} and {ARRAYS}. Save the model again."
                )
            check_size(path, DESCRIPTION, sizes[DESCRIPTION], DESCRIPTION_BYTES)
            description = json.loads(archive.read(DESCRIPTION))
            check_format(path, description)
            most = most_bytes(description)
            check_size(path, ARRAYS, sizes[ARRAYS], most)
            return description, _arrays(path, archive.read(ARRAYS), most)
    except Refused:
        raise
    except UNREADABLE as error:
        raise ValueError(
            f"{path} is damaged or not a model; a model file must be whole. Save the model again."
        ) from error


class Refused(ValueError):
    """A file that is not read, with the sentence that says why."""


def most_bytes(description):
    """Bytes that the arrays of a description may take at most."""
    try:
        networks = composed(description)
        entries = sum(map(math.prod, shapes_of(networks).values())) + sum(networks.neurons)
    except Exception:  # a description that `load` refuses with a sentence of its own
        return MARGIN
    return MARGIN + LONGEST_NUMBER * entries


def check_size(path, name, size, most):
    """Refuse, before it is unpacked, what is larger than a model can need.

    Raises
    ------
    ValueError
        If it is.
    """
    if size > most:
        raise Refused(
            f"{name} in {path} unpacks to {size} bytes; the model needs at most {most}. "
            "Save the model again."
        )


def _arrays(path, content, most):
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            check_size(path, ARRAYS, sum(info.file_size for info in archive.infolist()), most)
            for info in archive.infolist():
                with archive.open(info) as member:
                    check_header(path, info, member)
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except Refused:
        raise
    except (TypeError, *UNREADABLE) as error:
        raise Refused(
            f"{ARRAYS} in {path} is damaged or does not hold plain arrays; pickled objects are "
            "not read because they may run code. Save the model again."
        ) from error


def check_header(path, info, member):
    """Refuse an array whose header asks for more than its bytes, which NumPy would allocate.

    Raises
    ------
    ValueError
        If it does, or is no header.
    """
    version = np.lib.format.read_magic(member)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"version {version} of the header")
    shape, _, dtype = read_header(member)
    # pickled objects have no size of their own; they are refused when they are read
    if not dtype.hasobject:
        needed = member.tell() + math.prod(shape) * dtype.itemsize
        check_size(path, info.filename, needed, info.file_size)


def check_format(path, description):
    """Refuse a description that is not one of this format and version.

    Raises
    ------
    ValueError
        If it is of another format, or newer.
    """
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise Refused(
            f"the description in {path} is not of the format {FORMAT!r}; the file belongs to "
            "another program. Give the path of a model saved with save_model."
        )
    version = description.get("format_version")
    if not quantities.is_whole(version) or version < 1:
        raise Refused(
            f"{path} has format version {version!r}; it must be a whole number from 1. "
            "Save the model again."
        )
    if version > FORMAT_VERSION:
        raise Refused(
            f"{path} has format version {version}; this program reads versions up to "
            f"{FORMAT_VERSION}. Update it to read this file."
        )
