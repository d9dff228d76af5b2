"""Sentences that `NDN.train` prints: what an option does not do here, why a training diverged."""

from NDN3 import training_options
from NDN3.activations import SIGNED


def without_meaning(model, opt_params, learning_alg, use_dropout, output_dir):
    """What was asked for and cannot be done, in sentences.

    Parameters
    ----------
    model : NDN3.NDN.NDN
    opt_params, learning_alg, use_dropout, output_dir
        As in `NDN.train`.

    Returns
    -------
    list of str
    """
    sentences = []
    names = training_options.left_out(opt_params, learning_alg)
    if names:
        other = "adam" if learning_alg == "lbfgs" else "lbfgs"
        sentences.append(
            f"learning_alg is {learning_alg!r}; of opt_params {', '.join(names)} "
            f"{'has' if len(names) == 1 else 'have'} a meaning under {other!r} only."
        )
    given = opt_params or {}
    if learning_alg == "lbfgs":
        if given.get("early_stop_mode"):
            sentences.append("L-BFGS stops where the cost no longer falls: nothing is watched.")
        if use_dropout and any(layer.dropout is not None for layer in model.keras_model.stack):
            sentences.append("L-BFGS needs a cost without chance: it trains without dropout.")
    elif output_dir is None:
        files = [name for name in ("epochs_summary", "epochs_ckpt") if given.get(name) is not None]
        if files:
            sentences.append(
                f"output_dir is None; {' and '.join(files)} of opt_params "
                f"{'asks' if len(files) == 1 else 'ask'} for files, which need a folder, and none "
                "is written. Give output_dir."
            )
    return sentences


def on_divergence(model, learning_alg, epoch):
    """What happened, and what to do.

    Parameters
    ----------
    model : NDN3.NDN.NDN
        Its training diverged.
    learning_alg : {"adam", "lbfgs"}
    epoch : int
        Which one it was; L-BFGS has none.

    Returns
    -------
    str
    """
    adam = learning_alg == "adam"
    when = f" in epoch {epoch}: its cost is no longer" if adam else ": its cost is not"
    causes = below_zero(model) if model.noise_dist == "poisson" else []
    if causes:
        return (
            f"The training diverged{when} finite; under noise_dist 'poisson' predictions must be "
            f"above 0, and those of an output layer with {' or '.join(causes)} can be negative. "
            "Train a new model with another one, such as act_funcs 'softplus', or use noise_dist "
            "'gaussian'."
        )
    if adam:
        return f"The training diverged{when} finite. Lower the learning_rate and train a new model."
    return f"The training diverged{when} finite. Start from smaller weights."


def below_zero(model):
    """What lets the predictions of a model be negative, in words."""
    composition = model.keras_model.composition
    outputs = [composition.networks[number].layers[-1] for number in composition.outputs]
    found = {f"activation {out.activation!r}": None for out in outputs if out.activation in SIGNED}
    return [*found, *["inhibitory units"] * any(out.num_inh for out in outputs)]
