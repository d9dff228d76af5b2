"""Evaluation of models: scores per neuron, their null models, total cost.

`Scored` is the part of `NDN3.NDN.NDN` and of `NDN3.ensembles.Ensemble` that evaluates. Nothing here
changes a model.
"""

import numpy as np
from keras import ops

from NDN3 import noise, quantities, suggestions, time_blocks
from NDN3.observations import (
    by_network,
    check_inputs,
    check_mask,
    check_smallest,
    inputs_for,
    responses_for,
    row_count,
)

# What one unit is in nats
UNITS = {"nats": 1.0, "bits": np.log(2)}


class Scored:
    """What predicts responses, and the likelihood under which the predictions are scored.

    Attributes
    ----------
    keras_model : NDN3.network_model.NetworkModel
        Its external inputs and output networks are those of the data.
    noise_dist : str
    legacy : bool
    poisson_unit_norm : ndarray, (neurons,), or None
    """

    def predicted(self, inputs, rows):
        """Predictions of all output networks, side by side.

        Parameters
        ----------
        inputs : ndarray or tuple of ndarray
            From `NDN3.observations.inputs_for`.
        rows : ndarray of int

        Returns
        -------
        ndarray, (rows, neurons)
        """
        raise NotImplementedError

    def eval_models(
        self,
        input_data,
        output_data,
        data_indxs=None,
        data_filters=None,
        nulladjusted=False,
        units="nats",
        blocks=None,
    ):
        """Evaluate each neuron.

        Parameters
        ----------
        input_data : ndarray, (rows, features), or list with one for each external input
        output_data : ndarray, (rows, neurons), or list with one for each output network
        data_indxs : sequence of int or of one bool per row, optional
            Rows to evaluate; all by default.
        data_filters : ndarray, (rows, neurons), or list of them, optional
            0 where a response does not count; it may be anything there, such as NaN.
        nulladjusted : bool
            Compare with a model that knows only the mean response.
        units : str
            "nats" or "bits", of log-likelihoods; squared errors have neither.
        blocks : sequence of (int, int), optional
            As in `NDN.train`: of the rows, those count that training would count.

        Returns
        -------
        ndarray, (neurons,), or list of them if there are several output networks
            Negative log-likelihood (lower is better): per spike for "poisson" and "bernoulli", mean
            squared error for "gaussian". With `nulladjusted` the log-likelihood above that of the
            null model (higher is better): for spikes in bits the information of Brenner et al.
            Responses that sum up to less than 1 count as one spike, so that the score of a silent
            neuron is that of all its rows.

        Raises
        ------
        ValueError
            If data or options do not fit, responses that count are not finite, or predictions under
            "poisson" are negative where they count.

        References
        ----------
        Brenner et al. 2000, Neural Comput. 12(7): 1531-1552: information per spike.
        """
        inputs = inputs_for(self.keras_model, input_data)
        count = row_count(inputs)
        rows = self._counted(data_indxs, count, blocks)
        responses, mask = self.observed(output_data, rows, data_filters, count)
        preds = self._predicted(inputs, rows, mask)
        return self._scores(responses, preds, mask, nulladjusted, units)

    def eval_preds(
        self,
        preds,
        output_data,
        data_indxs=None,
        data_filters=None,
        nulladjusted=False,
        units="nats",
    ):
        """Evaluate each neuron on ready predictions.

        Parameters
        ----------
        preds : ndarray, (rows, neurons), or list with one for each output network
            One row for each of `output_data`, or for each of `data_indxs` if these are given.
        output_data, data_indxs, data_filters, nulladjusted, units
            As in `eval_models`. Rows of blocks come from `NDN3.NDNutils.make_block_indices`.

        Returns
        -------
        ndarray, (neurons,), or list of them
            As `eval_models`.

        Raises
        ------
        ValueError
            As `eval_models`, and if there are no predictions or not one for each row.
        """
        responses, mask = self.observed(output_data, data_indxs, data_filters)
        if preds is None:
            raise ValueError("preds is None; it must be predictions (rows, neurons). Give them.")
        preds = responses_for(self.keras_model, preds, len(responses), "preds")
        counted = noise.masked(preds, mask)[0]
        quantities.finite(counted, "preds (rows in use)")
        noise.noise(self.noise_dist).check_predictions(counted)
        return self._scores(responses, preds, mask, nulladjusted, units)

    def get_null_ll(self, output_data, data_indxs=None, data_filters=None, units="nats"):
        """Log-likelihood of a model that knows only the mean response of each neuron.

        Parameters
        ----------
        output_data, data_indxs, data_filters, units
            As in `eval_models`. The mean is that of the evaluated rows.

        Returns
        -------
        ndarray, (neurons,), or list of them
            Per spike, or the negated variance for "gaussian". Responses that sum up to less than 1
            count as one spike, as in `eval_models`.
        """
        likelihood, unit = self._likelihood(units)
        responses, mask = self.observed(output_data, data_indxs, data_filters)
        return by_network(self.keras_model, likelihood.null(responses, mask, self.legacy) / unit)

    def get_LL(self, input_data, output_data, data_indxs=None, data_filters=None, blocks=None):
        """Total cost: what training minimizes, of these rows, without the penalties.

        Parameters
        ----------
        input_data, output_data, data_indxs, data_filters, blocks
            As in `eval_models`.

        Returns
        -------
        float
            Sum over neurons (mean for "bernoulli"), mean over rows, masked ones included. That of
            "poisson" is divided by `poisson_unit_norm`, if there is one.
        """
        inputs = inputs_for(self.keras_model, input_data)
        count = row_count(inputs)
        rows = self._counted(data_indxs, count, blocks)
        responses, mask = self.observed(output_data, rows, data_filters, count)
        preds = self._predicted(inputs, rows, mask)
        seen, preds = (
            noise.masked(each, mask)[0].astype(preds.dtype) for each in (responses, preds)
        )
        costs = noise.noise(self.noise_dist).cost(seen, preds, self.poisson_unit_norm)
        return float(np.mean(ops.convert_to_numpy(costs), dtype=float))

    def observed(self, output_data, data_indxs=None, data_filters=None, count=None):
        """Responses to score, and where they count.

        Parameters
        ----------
        output_data, data_indxs, data_filters
            As in `eval_models`.
        count : int, optional
            Rows of what they belong to.

        Returns
        -------
        responses : ndarray, (rows, neurons of all output networks)
        mask : ndarray like `responses`, or None

        Raises
        ------
        ValueError
            As in `eval_models`.
        """
        listed = isinstance(output_data, (list, tuple)) and len(output_data) > 0
        first = output_data[0] if listed and quantities.shape_of(output_data[0]) else output_data
        if not quantities.shape_of(first) or len(first) == 0:
            raise ValueError(
                f"output_data is {quantities.shown(output_data)}; scores need an array "
                "(rows, neurons) with a row or more, or a list with one for each output network. "
                "Give responses."
            )
        count = len(first) if count is None else count
        responses = responses_for(self.keras_model, output_data, count)
        mask = responses_for(self.keras_model, data_filters, count, "data_filters")
        rows = quantities.chosen_rows(data_indxs, count)
        responses = responses[rows]
        check_mask(mask, rows)
        if mask is not None:
            mask = mask[rows]
        counted = noise.masked(responses, mask)[0]
        advice = "Replace them, or leave those rows out of data_indxs."
        quantities.finite(counted, "output_data (rows in use)", rows, advice)
        check_smallest(self.noise_dist, counted)
        return responses, mask

    def _counted(self, data_indxs, count, blocks):
        """Rows to evaluate; with blocks those that have in theirs what the model needs."""
        rows = quantities.chosen_rows(data_indxs, count)
        if blocks is None:
            return rows
        pairs = time_blocks.from_pairs(blocks, count)
        return time_blocks.counted(rows, self._spread, count, pairs, "data_indxs")

    @property
    def _spread(self):
        """Rows that the model reads before a row."""
        return self.keras_model.time_spread

    def _predicted(self, inputs, rows, mask):
        """Predictions that the likelihood knows, of finite inputs where any neuron counts."""
        counted = rows if mask is None else rows[mask.any(axis=1)]
        check_inputs(inputs, counted, self._spread, "data_indxs")
        preds = self.predicted(inputs, rows)
        noise.noise(self.noise_dist).check_predictions(noise.masked(preds, mask)[0])
        return preds

    def _likelihood(self, units):
        """Likelihood of the model, and what a unit is in that of its scores."""
        likelihood = noise.noise(self.noise_dist)
        suggestions.known(units, UNITS, "units")
        if units != "nats" and likelihood.unit != "nats":
            raise ValueError(
                f"units is {units!r}, and scores under noise_dist {self.noise_dist!r} are mean "
                "squared errors, no log-likelihoods. Leave units out."
            )
        return likelihood, UNITS[units]

    def _scores(self, responses, predictions, mask, nulladjusted, units):
        likelihood, unit = self._likelihood(units)
        quantities.truth(nulladjusted, "nulladjusted")
        # predictions of a model that diverged have scores that are not finite either
        with np.errstate(invalid="ignore", over="ignore"):
            scores = likelihood.evaluation(responses, predictions, mask)
        if nulladjusted:
            scores = -scores - likelihood.null(responses, mask, self.legacy)
        return by_network(self.keras_model, scores / unit)
