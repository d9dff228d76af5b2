"""Several models as one: the average of what they predict.

Models that started from other seeds err in different ways, so that the average of their predictions
errs less than they do on average: under squared error by exactly the variance of the predictions
over members (Krogh & Vedelsby). Predictors of visual cortex are averaged like this as a rule.
"""

import numpy as np

from NDN3 import noise, storage, suggestions
from NDN3.NDN import NDN
from NDN3.observations import inputs_for, row_count
from NDN3.quantities import chosen_rows, shown
from NDN3.scores import Scored

AVERAGES = ("rates", "log_rates")


class Ensemble(Scored):
    """Average of models of the same responses.

    Parameters
    ----------
    models : sequence of NDN3.NDN.NDN
        Their external inputs, neurons, noise and profile agree; architectures may differ. They are
        not copied.
    average : str
        "rates": mean of the predicted rates. "log_rates": mean of their logarithms (a logarithmic
        opinion pool, Heskes), for "poisson" and "bernoulli". Under "bernoulli" predictions are log
        odds: "rates" is the mean of the probabilities, given as log odds again, "log_rates" the
        mean of the log odds.

    Attributes
    ----------
    models : list of NDN3.NDN.NDN
    average : str

    Raises
    ------
    ValueError
        If there is no model, or they do not fit each other.

    References
    ----------
    Hansen & Salamon 1990, IEEE Trans. Pattern Anal. Mach. Intell. 12(10): 993-1001.
    Krogh & Vedelsby 1995, Adv. Neural Inf. Process. Syst. 7: 231-238.
    Heskes 1998, Adv. Neural Inf. Process. Syst. 10: 266-272.
    Willeke et al. 2022, arXiv:2206.08666: ensembles of predictors of visual cortex.

    Examples
    --------
    >>> models = NDN.for_seeds(description, seeds=range(10))           # doctest: +SKIP
    >>> ensemble = Ensemble.of_trained(NDN.fit_together(models, X, Y)) # doctest: +SKIP
    >>> ensemble.eval_models(X_test, Y_test, nulladjusted=True)        # doctest: +SKIP
    """

    def __init__(self, models, average="rates"):
        self.models = list(models) if isinstance(models, (list, tuple)) else [models]
        if not self.models or not all(isinstance(model, NDN) for model in self.models):
            raise ValueError(
                f"models are {shown(models)}; an ensemble needs one NDN model or more. "
                "Give a list of them."
            )
        first = self.models[0]
        for position, model in enumerate(self.models):
            if facts_of(model) != facts_of(first):
                raise ValueError(
                    f"model {position} has {facts_of(model)}, model 0 {facts_of(first)}; members "
                    "of an ensemble predict the same neurons from the same inputs under the same "
                    "noise. Leave it out."
                )
        self.average = suggestions.known(average, AVERAGES, "average")
        if average == "log_rates" and first.noise_dist == "gaussian":
            raise ValueError(
                "average is 'log_rates', and the noise is 'gaussian', under which predictions may "
                "be negative; logarithms are of rates. Use average='rates'."
            )

    @classmethod
    def of_trained(cls, results, average="rates"):
        """Ensemble of what training yields.

        Parameters
        ----------
        results : iterable of (int, NDN3.NDN.NDN, NDN3.training.Result)
            From `NDN.fit_together`. Models whose training diverged are left out.
        average : str

        Returns
        -------
        Ensemble
            In the order of the models that were trained.

        Raises
        ------
        ValueError
            If the training of all diverged.
        """
        alone = not hasattr(results, "__iter__") or getattr(results, "ndim", 1) == 0
        found = [results] if alone else list(results)
        if not all(isinstance(each, tuple) and len(each) == 3 for each in found):
            raise ValueError(
                f"results are {shown(results)}; they must be what NDN.fit_together yields: "
                "position, model and result of each. Give these."
            )
        ended = sorted(found, key=lambda each: each[0])
        models = [
            model for _, model, result in ended if getattr(result, "diverged_epoch", None) is None
        ]
        if ended and not models:
            raise ValueError(
                f"the training of all {len(ended)} models diverged; an ensemble needs one that did "
                "not. Train them again with a lower learning_rate."
            )
        return cls(models, average)

    # ---- what the evaluation asks for -----------------------------------------------------------

    @property
    def keras_model(self):
        """Keras model of the first member."""
        return self.models[0].keras_model

    @property
    def noise_dist(self):
        """Noise of the members."""
        return self.models[0].noise_dist

    @property
    def legacy(self):
        """Profile of the members."""
        return self.models[0].legacy

    @property
    def poisson_unit_norm(self):
        """Unit norm of the first member."""
        return self.models[0].poisson_unit_norm

    def predicted(self, inputs, rows):
        """Predictions of all output networks, side by side; parameters as in `Scored`."""
        return self._averaged(model.predicted(inputs, rows) for model in self.models)

    # ---- what users ask for ---------------------------------------------------------------------

    def generate_prediction(self, input_data, data_indxs=None, ffnet_target=None):
        """Average of the predictions of the members.

        Parameters
        ----------
        input_data, data_indxs
            As in `NDN.generate_prediction`.
        ffnet_target : int, optional
            Network, the same of each member; by default all that give the output, side by side.

        Returns
        -------
        ndarray, (rows, neurons)
        """
        if ffnet_target is not None:
            return self._averaged(
                model.generate_prediction(input_data, data_indxs, ffnet_target)
                for model in self.models
            )
        inputs = inputs_for(self.keras_model, input_data)
        return self.predicted(inputs, chosen_rows(data_indxs, row_count(inputs)))

    def spread(self, input_data, data_indxs=None):
        """Standard deviation of the predictions over members.

        Parameters
        ----------
        input_data, data_indxs
            As in `generate_prediction`.

        Returns
        -------
        ndarray, (rows, neurons)
        """
        inputs = inputs_for(self.keras_model, input_data)
        rows = chosen_rows(data_indxs, row_count(inputs))
        return np.std([model.predicted(inputs, rows) for model in self.models], axis=0)

    def save_model(self, path):
        """Write all members to one file, see `NDN3.storage`.

        Parameters
        ----------
        path : path
            By custom it ends in `.ndnmod`. The file appears whole or not at all.
        """
        storage.save_ensemble(self, path)

    @classmethod
    def load_model(cls, path):
        """Read an ensemble from a file.

        Parameters
        ----------
        path : path

        Returns
        -------
        Ensemble
            Its predictions equal those of the saved one in every bit.

        Raises
        ------
        FileNotFoundError, ValueError
            As `NDN.load_model`, and if the file holds a single model.
        """
        return storage.load_ensemble(cls, NDN, path)

    def _averaged(self, predictions):
        """Average over members, of the type of the predictions."""
        # one member after the other: that of a single one is returned as it is, in every bit
        total, count = None, 0
        for each in predictions:
            part = self._before(each.astype(float))
            total, count, dtype = part if total is None else total + part, count + 1, each.dtype
        return each.copy() if count == 1 else self._after(total / count).astype(dtype)

    def _before(self, predictions):
        """Predictions on the scale on which they are averaged."""
        if self.noise_dist == "bernoulli" and self.average == "rates":
            return np.exp(-np.logaddexp(0, -predictions))
        if self.noise_dist == "poisson" and self.average == "log_rates":
            return np.log(np.maximum(predictions, 0) + noise.EPSILON)
        return predictions

    def _after(self, averages):
        """Averages on the scale of predictions."""
        if self.noise_dist == "bernoulli" and self.average == "rates":
            averages = np.clip(averages, np.finfo(float).tiny, 1 - np.finfo(float).eps)
            return np.log(averages) - np.log1p(-averages)
        if self.noise_dist == "poisson" and self.average == "log_rates":
            return np.maximum(np.exp(averages) - noise.EPSILON, 0)
        return averages


def facts_of(model):
    """What members of an ensemble have in common."""
    return {
        "external inputs": [int(np.prod(dims)) for dims in model.keras_model.composition.streams],
        "neurons": list(model.keras_model.neurons),
        "noise": model.noise_dist,
        "legacy": model.legacy,
    }
