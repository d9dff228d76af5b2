"""Paths that a user gives: of what is read, of files that are to be written, of folders."""

import contextlib
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
    OSError
        If the system cannot look there: a name is too long, or a folder is closed to the user.
    """
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError(f"{name} is {shown(given)}; it must be a text or a path. Give one.")
    with sentence(f"{name} is {shown(text)}; it cannot be looked at"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(text)
    return Path(text)


@contextlib.contextmanager
def sentence(beginning):
    """Give errors of the system in the block the form of a sentence; their class stays.

    Parameters
    ----------
    beginning : str
        What cannot be done; the system's reason and what to do follow.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        told = type(error)(f"{beginning} ({reason}). Give another path, or correct that.")
        told.errno = error.errno  # who handles a full disk knows it by this number
        raise told from error


def made(folder):
    """Folder, made together with those above it if it is missing.

    Raises
    ------
    OSError
        If that cannot be.
    """
    with sentence(f"the folder {shown(str(folder))} cannot be made"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def replaced(path):
    """File that is written in the block and takes its place at the end, whole or not at all.

    A link stays a link: the file that it leads to is replaced.

    Parameters
    ----------
    path : Path

    Yields
    ------
    file object
        Open for writing bytes.

    Raises
    ------
    OSError
        If it cannot be written; what was there is as it was.
    """
    path = Path(os.path.realpath(path))
    # cut, because the name itself may be as long as the system allows
    temporary = path.with_name(f".{path.name[:50]}.{os.getpid()}")
    with sentence(f"{shown(str(path))} cannot be written"):
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()


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
    PermissionError
        If the user may not write there.
    """
    path = checked(given, name)
    above = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not above.is_dir():
        raise ValueError(
            f"{name} is {shown(str(path))}, and {above} is a file; it must be a folder, or a place "
            "for one. Give another one."
        )
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(
            f"{name} is {shown(str(path))}, and {above} may not be written to; it must be a folder "
            "of yours. Give another one, or change the permissions."
        )
    return path
