"""Sentences for unknown names: what was given, what is allowed, which one was probably meant."""

import difflib

from NDN3.quantities import shown

# What things are called elsewhere
ALSO_CALLED = {
    "conv2d": "conv",
    "convolution": "conv",
    "dense": "normal",
    "separable": "sep",
    "epochs": "epochs_training",
    "max_epochs": "epochs_training",
    "n_epochs": "epochs_training",
    "lr": "learning_rate",
    "linear": "lin",
}


def known(name, allowed, what):
    """Return `name` if it is one of `allowed`.

    Parameters
    ----------
    name : object
        What the user gave.
    allowed : iterable of str
    what : str
        What the name stands for, such as "layer type".

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If it is not.
    """
    allowed = list(allowed)
    if isinstance(name, str) and name in allowed:
        return name
    text = name if isinstance(name, str) else shown(name)
    meant = ALSO_CALLED.get(text.lower(), text.lower())
    nearest = [meant] if meant in allowed else difflib.get_close_matches(text, allowed, 1, 0.5)
    advice = f"Did you mean {nearest[0]!r}?" if nearest else "Choose one of them."
    raise ValueError(f"unknown {what} {shown(name)}; allowed are {', '.join(allowed)}. {advice}")
