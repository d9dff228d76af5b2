"""In which form a model is trained: members as one group, or in turns, with XLA or without.

The form follows from rules about the model and never from a measurement, so that two trainings of
one model cannot take different forms.
"""

import warnings
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from NDN3 import backend, quantities

LARGEST_GROUP = 10
# far more than any machine trains at once; without a bound a slip is an error of memory, not of
# the argument
MOST_SLOTS = 10_000
# A group shares the cost of starting each operation, which matters only for small operations.
LARGEST_GROUPED_MODEL = 100_000
MEMORY = 2 * 2**30
# From so many numbers on that the rows of a batch become by their lags, the members of a group need
# more memory at once than a processor has close at hand.
LEAST_LAGS_IN_TURNS = 128_000
# From so many numbers in the windows of a row on, members one by one with native convolutions are
# faster than a group that multiplies kernels and windows, and take a fraction of its memory.
LEAST_NATIVE_WINDOWS = 50_000


@dataclass(frozen=True)
class Form:
    """How members are trained.

    Parameters
    ----------
    mapped : bool
        As one group; otherwise each on its own, in turns.
    slots : int
        Members that are trained at the same time by one call of the program.
    xla : bool
    """

    mapped: bool
    slots: int
    xla: bool

    @property
    def name(self):
        """How the form is called: "group" or "turns"."""
        return "group" if self.mapped else "turns"


def choose(model, source, *, form, group, xla, count, threads, memory):
    """Form of a training.

    Parameters
    ----------
    model : keras.Model
    source : NDN3.batches.RowSource, SampleSource or HostSource
    form : {"auto", "group", "turns"}
    group : int or "auto"
    xla : bool or "auto"
    count : int
        Number of members that the rule counts.
    threads : int
        Groups that may work at the same time.
    memory : int
        Bytes that the members of a group may take.

    Returns
    -------
    Form
    """
    names, size = backend.operations(*forward_pass(model, source))
    if form == "auto":
        rows = getattr(source, "batch_size", 0)
        form = "turns" if needs_turns(model, names, rows) else "group"
    if xla == "auto":
        # On a CPU, XLA's own convolutions in a loop are many times slower than the framework's.
        xla = "convolution" not in names or backend.on_accelerator()
    if form == "turns":
        return Form(False, 1, bool(xla))
    if group == "auto":
        group = -(-min(count, LARGEST_GROUP) // threads)
        parameters = sum(int(np.prod(weight.shape)) * 4 for weight in model.weights)
        # values, gradients, two moments, the best values; what a batch gives, and its gradients
        most = max(1, memory // (5 * parameters + 2 * size))
        if most < group:
            warnings.warn(
                f"a group of {group} members would take about "
                f"{group * (5 * parameters + 2 * size) / 2**20:.0f} MB, and memory allows "
                f"{memory / 2**20:.0f} MB; groups have {most}. A larger memory= allows more.",
                stacklevel=4,
            )
            group = most
    return Form(True, int(group), bool(xla))


def takes_native(model, form, xla):
    """Whether members take turns without XLA, and layers use native convolutions.

    Parameters
    ----------
    model : keras.Model
    form : {"auto", "group", "turns"}
    xla : bool or "auto"
    """
    if not backend.XLA_IS_OPTIONAL or form == "group" or xla is True:
        return False
    if form == "turns" and xla is False:
        return True
    entries = sum(getattr(layer, "window_entries", 0) for layer in model._flatten_layers())
    return entries >= LEAST_NATIVE_WINDOWS and not backend.on_accelerator()


def checked(form, group, xla):
    """Refuse what is no form.

    Raises
    ------
    ValueError
        If an argument is none of those that `choose` allows.
    """
    if not isinstance(form, str) or form not in ("auto", "group", "turns"):
        raise ValueError(f"form is {form!r}; it must be 'auto', 'group' or 'turns'. Choose one.")
    if not isinstance(group, str) or group != "auto":
        if not quantities.is_whole(group) or not 1 <= group <= MOST_SLOTS:
            raise ValueError(
                f"group is {str(group)[:60]}; it must be 'auto' or a number of slots from 1 to "
                f"{MOST_SLOTS}. Correct it."
            )
    if not isinstance(xla, bool) and not (isinstance(xla, str) and xla == "auto"):
        raise ValueError(f"xla is {xla!r}; it must be 'auto', True or False. Choose one.")


def forward_pass(model, source):
    """Function of one member's forward pass on one batch, and its arguments."""
    member = {"step": ops.zeros((), "int32")}

    def forward(feed, trainable, non_trainable):
        inputs = source.batch(feed, 0, member)[0]
        return model.stateless_call(trainable, non_trainable, inputs, training=True)

    values = (
        [ops.convert_to_tensor(variable) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    )
    feed = keras.tree.map_structure(ops.convert_to_tensor, source.example())
    return forward, (feed, *values)


def needs_turns(model, names, rows=0):
    """Whether a model cannot be mapped over members, or gains nothing by it.

    Parameters
    ----------
    model : keras.Model
    names : set of str
        Operations of its forward pass.
    rows : int
        Of a batch; 0 where that is not known.
    """
    layers = list(model._flatten_layers())
    recurrent = any(isinstance(layer, keras.layers.RNN) for layer in layers)
    # layers of NDN3 say themselves whether they can be mapped
    unmapped = not all(getattr(layer, "mapped", True) for layer in layers)
    cannot = recurrent or unmapped or names & {"convolution", "loop", "random"}
    large = model.count_params() >= LARGEST_GROUPED_MODEL
    many_lags = rows * getattr(model, "lagged_entries", 0) >= LEAST_LAGS_IN_TURNS
    return bool(cannot) or large or (many_lags and not backend.on_accelerator())
