"""Sweep of the strength of one regularizer: as many models, trained together."""

import numpy as np

from NDN3 import layer_entries, paths, quantities, suggestions, vocabulary

# Any strength that switches a penalty on; each model then has its own
SWITCHED_ON = 1.0


def reg_path(
    ndn_mod,
    input_data,
    output_data,
    train_indxs,
    test_indxs,
    blocks=None,
    reg_type="l1",
    reg_vals=(1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1),
    ffnet_target=0,
    layer_target=0,
    data_filters=None,
    opt_params=None,
    fit_variables=None,
    learning_alg="adam",
    output_dir=None,
    cumulative=False,
    silent=True,
):
    """Train a model with several strengths of one regularizer, and test each.

    All strengths start from the arrays and the seed of `ndn_mod`, and are trained together in one
    program, as `NDN.fit_together(models, …, per_member={"layer0/l1": reg_vals})` does; each comes
    out as it would alone. Where each goes on from the one before (`cumulative`), and for dropout
    and strengths per unit, they are trained one after the other.

    Parameters
    ----------
    ndn_mod : NDN3.NDN.NDN
        Left as it is.
    input_data, output_data, data_filters, opt_params, fit_variables, learning_alg, blocks
        As in `NDN.train`.
    train_indxs, test_indxs : sequence of int or of one bool per row
        Rows to train on, and rows to test on.
    reg_type : str
    reg_vals : sequence of (float or list of float)
        Strengths. With `cumulative` the order counts.
    ffnet_target : int
        Network of the layer.
    layer_target : int, list of int or None
        Layers that get the strength; None for all that take the regularizer.
    output_dir : path, optional
        Each strength has its summaries in a folder of its own in it, such as `l1_0.01`.
    cumulative : bool
        Each strength starts from what was learned with the one before.
    silent : bool
        Print no test result.

    Returns
    -------
    LLxs : ndarray, (strengths,)
        Mean over neurons of what `NDN.eval_models` gives for the test rows: negative
        log-likelihoods, lower is better.
    test_mods : list of NDN3.NDN.NDN
        The trained models; each has its strength.

    Raises
    ------
    ValueError
        If there is no such regularizer or strength, or as `NDN.train`.

    Examples
    --------
    A strength of `l2` for the last of two layers::

        LLxs, models = NDNutils.reg_path(
            model, stimulus, robs, train_indxs, test_indxs,
            reg_type="l2", reg_vals=[0, 0.01, 0.1, 1], layer_target=1,
            opt_params={"batch_size": 64, "epochs_training": 50},
        )
        best = models[np.argmin(LLxs)]
    """
    suggestions.known(reg_type, vocabulary.REGULARIZERS, "regularizer in reg_type")
    values = reg_vals.tolist() if hasattr(reg_vals, "tolist") else reg_vals
    if not isinstance(values, (list, tuple)) or not values:
        raise ValueError(
            f"reg_vals is {quantities.shown(reg_vals)}; it must be a list of strengths. "
            "Give for example reg_vals=[0, 0.01, 0.1]."
        )
    for number, value in enumerate(values):
        layer_entries.strengths(value, reg_type, f"reg_vals[{number}]")
    for name, rows in (("train_indxs", train_indxs), ("test_indxs", test_indxs)):
        if rows is None or quantities.is_empty(rows):
            raise ValueError(
                f"{name} is {'None' if rows is None else 'empty'}; a sweep needs rows to train on "
                "and others to test on. Give both."
            )

    def with_strength(model, value):
        changed = model.copy_model(model.tf_seed)
        changed.set_regularization(reg_type, value, ffnet_target, layer_target)
        return changed

    if not hasattr(ndn_mod, "copy_model"):
        raise ValueError(
            f"ndn_mod is {quantities.shown(ndn_mod)}; it must be an NDN model. Give the model."
        )

    names = [f"{reg_type}_{str(value).replace(', ', '_').strip('[]')}" for value in values]
    folders = None
    if output_dir is not None:
        folders = [paths.new_folder(output_dir, "output_dir") / name for name in names]
    data = (input_data, output_data)
    options = {
        "data_filters": data_filters,
        "blocks": blocks,
        "opt_params": opt_params,
        "fit_variables": fit_variables,
        "learning_alg": learning_alg,
    }
    numbers = reg_type != vocabulary.DROPOUT and not any(np.ndim(value) for value in values)
    if numbers and not cumulative:
        prototype = with_strength(ndn_mod, SWITCHED_ON)
        models = [prototype.copy_model(ndn_mod.tf_seed) for _ in values]
        trained = ndn_mod.fit_together(
            models,
            *data,
            train_indxs,
            test_indxs,
            per_member=_of_members(prototype, reg_type, ffnet_target, layer_target, values),
            folder_of=None if folders is None else lambda position: folders[position],
            **options,
        )
        for _ in trained:
            pass
        models = [with_strength(model, value) for model, value in zip(models, values, strict=True)]
    else:
        models = []
        for position, value in enumerate(values):
            start = models[-1] if cumulative and models else ndn_mod
            models.append(with_strength(start, value))
            models[-1].train(
                *data,
                train_indxs,
                test_indxs,
                output_dir=None if folders is None else folders[position],
                silent=silent,
                **options,
            )
    scores = []
    for model, value in zip(models, values, strict=True):
        found = model.eval_models(
            *data, data_indxs=test_indxs, data_filters=data_filters, blocks=blocks
        )
        scores.append(np.mean(np.concatenate(found) if isinstance(found, list) else found))
        if not silent:
            print(f"{reg_type} = {value}: {scores[-1]:.6g}")
    return np.array(scores), models


def _of_members(prototype, reg_type, ffnet_target, layer_target, values):
    """Strengths of the members by the names that the trainer has for them."""
    layers = prototype.networks[ffnet_target].layers
    if layer_target is None:
        layer_target = [n for n, layer in enumerate(layers) if layer.keras_layer.takes(reg_type)]
    targets = layer_target if isinstance(layer_target, (list, tuple)) else [layer_target]
    return {f"{layers[target].keras_layer.name}/{reg_type}": list(values) for target in targets}
