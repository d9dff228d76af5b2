"""Paths that a user gives: of what is read, of files that are to be written, of folders."""

import os
from pathlib import Path

from NDN3.quantities import shown


def checked(given, name):
    """What a user gives as a path.

    Parameters
    ----------
    given : str or path
    name : str
        Of the argument.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If it is something else, or empty.
    """
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError(f"{name} is {shown(given)}; it must be a text or a path. Give one.")
    return Path(text)


def new_file(given, name="the path"):
    """File that is to be written; one that is there already is replaced.

    Parameters and returned value as in `checked`.

    Raises
    ------
    FileNotFoundError
        If its folder does not exist.
    ValueError
        As `checked`, and if it is a folder itself.
    """
    path = checked(given, name)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"{path} cannot be written: the folder {path.parent} does not exist. "
            "Make it, or give another path."
        )
    if path.is_dir():
        raise ValueError(f"{path} is a folder; a file is to be written. Add the name of a file.")
    return path


def new_folder(given, name):
    """Folder that is there, or that can be made together with those above it; nothing is made here.

    Parameters and returned value as in `checked`.

    Raises
    ------
    ValueError
        As `checked`, and if it is a file, or lies below one.
    """
    path = checked(given, name)
    above = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not above.is_dir():
        raise ValueError(
            f"{name} is {shown(str(path))}, and {above} is a file; it must be a folder, or a place "
            "for one. Give another one."
        )
    return path
