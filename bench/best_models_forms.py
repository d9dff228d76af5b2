"""Models of bench/best_models.py, and for each the forms among which the inner hold-out chooses."""

import functools
from dataclasses import dataclass, field

SIDE = 31
EPOCHS = 300
COSINE = {"learning_rate": 1e-2, "schedule": "cosine"}
# Of the training rows; where an epoch takes long the training ends when these no longer improve
STOPPED = {"early_stop_mode": 1, "early_stop": 10, "inner_holdout": 0.1}


@dataclass(frozen=True)
class Form:
    """One way to build and train a model.

    Attributes
    ----------
    name : str
        What distinguishes it from the other forms of the model.
    described : callable
        Number of neurons -> arguments and changed entries of a description.
    options : dict
        `opt_params` of the training, beside those that all forms have.
    """

    name: str
    described: functools.partial
    options: dict = field(default_factory=dict)

    def description(self, neurons):
        """Description of the network, from `NDN3.NDNutils.ffnetwork_params`."""
        from NDN3.NDNutils import ffnetwork_params

        arguments, entries = self.described(neurons)
        description = ffnetwork_params(input_dims=[1, SIDE, SIDE], verbose=False, **arguments)
        return description | entries


@dataclass(frozen=True)
class Model:
    """A model in one or several forms, and how often the chosen one is trained."""

    forms: tuple
    repetitions: int = 10


def hsm(neurons, layer_type, start, filters=9):
    """Filters of the whole image, 0.2 hidden units per neuron, neurons."""
    return {
        "layer_sizes": [filters, int(0.2 * neurons), neurons],
        "layer_types": [layer_type, "normal", "normal"],
        "act_funcs": ["lin", "softplus", "softplus"],
        "reg_list": {"l2": [None, None, 0.1]},
    }, {
        "weights_initializers": [start, "normal", "normal"],
        "biases_initializers": ["trunc_normal"] * 3,
    }


def lnln(neurons, roughness, hidden):
    """Two dense layers."""
    return {
        "layer_sizes": [int(hidden * neurons), neurons],
        "layer_types": ["normal", "normal"],
        "act_funcs": "softplus",
        "reg_list": {"d2x": [roughness], "l2": [None, 0.1]},
    }, {"biases_initializers": ["trunc_normal"] * 2}


def conv_separable(neurons, filters, sparseness):
    """Kernels of 15 pixels at every eighth, hidden units with features and a mask, neurons."""
    return {
        "layer_sizes": [filters, int(0.2 * neurons), neurons],
        "layer_types": ["conv", "sep", "normal"],
        "act_funcs": "softplus",
        "conv_filter_widths": [15],
        "shift_spacing": [8, 1, 1],
        "reg_list": {"d2x": [0.01], "l1": [None, sparseness], "l2": [None, None, 0.1]},
    }, {"biases_initializers": ["trunc_normal"] * 3}


def three_convolutions(neurons, sparseness, channels=16):
    """Kernels of 13, 3 and 3 pixels, each standardized, and neurons with features and a mask."""
    return {
        "layer_sizes": [channels] * 6 + [neurons],
        "layer_types": ["conv", "batch_norm"] * 3 + ["sep"],
        "act_funcs": ["lin", "softplus"] * 3 + ["softplus"],
        "conv_filter_widths": [13, None, 3, None, 3],
        # the original has a kernel at every pixel, which takes four times as long
        "shift_spacing": [2, 1, 1, 1, 1, 1, 1],
        "reg_list": {
            "d2x": [0.1],
            "group": [None, None, 0.01, None, 0.01],
            "l1": [None] * 6 + [sparseness],
        },
    }, {}


MODELS = {
    "baseline 4": Model(
        (Form("as it is", functools.partial(hsm, layer_type="diff_of_gaussians", start="random")),)
    ),
    "bounded HSM": Model(
        tuple(
            Form(
                f"{filters} filters, rate {rate}",
                functools.partial(hsm, layer_type="bounded_dog", start="grid", filters=filters),
                {**COSINE, "learning_rate": rate},
            )
            for filters in (9, 16, 25)
            for rate in (0.01, 0.03)
        )
    ),
    "LNLN": Model(
        tuple(
            Form(
                f"d2x {roughness}, {hidden} hidden",
                functools.partial(lnln, roughness=roughness, hidden=hidden),
            )
            for roughness in (0.1, 1.0)
            for hidden in (0.2, 0.4)
        )
    ),
    "conv + separable": Model(
        tuple(
            Form(
                f"{filters} kernels, l1 {sparseness}",
                functools.partial(conv_separable, filters=filters, sparseness=sparseness),
                {**COSINE, "learning_rate": 5e-3},
            )
            for filters in (9, 16)
            for sparseness in (0.01, 0.1)
        )
    ),
    "three convolutions": Model(
        tuple(
            Form(
                f"l1 {sparseness}, 40 epochs",
                functools.partial(three_convolutions, sparseness=sparseness),
                {**COSINE, **STOPPED, "learning_rate": 3e-3, "epochs_training": 40},
            )
            for sparseness in (0.03, 0.1)
        ),
        repetitions=5,
    ),
}
