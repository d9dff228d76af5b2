"""Archives of a description and arrays: a zip of one JSON text and one `.npz`.

Nothing in such a file is executed when it is read: pickles are switched off. Nothing is unpacked
that is larger than its description asks for. A file appears complete or not at all, and equal
contents give equal bytes.
"""

import io
import json
import math
import tokenize
import zipfile
import zlib

import numpy as np

from NDN3 import paths, quantities

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
# Bytes of a description
DESCRIPTION_BYTES = 4 * 2**20
# a fixed date, so that a file depends on its contents alone
DATE = (1980, 1, 1, 0, 0, 0)


class Refused(ValueError):
    """A file that is not read, with the sentence that says why."""


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
    OSError
        If the system does not let the file be written.
    ValueError
        If this is no path, or that of a folder.
    """
    path = paths.new_file(path)
    stored = io.BytesIO()
    np.savez(stored, **arrays)
    text = json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, **description}, indent=1)
    with paths.replaced(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in ((DESCRIPTION, text), (ARRAYS, stored.getvalue())):
            member = zipfile.ZipInfo(name, DATE)
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, content)


def read(path, most_bytes):
    """Read description and arrays of a model file.

    Parameters
    ----------
    path : path
    most_bytes : callable
        Description -> bytes that its arrays may take at most.

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
    path = paths.checked(path, "the path of a model")
    if path.is_dir():
        raise FileNotFoundError(
            f"{path} is a folder; a model is one file, by custom *.ndnmod. Give the path of a file."
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no model file {path}. Check the path; models are saved with save_model."
        )
    with paths.sentence(f"{path} cannot be read"), open(path, "rb"):
        pass
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
