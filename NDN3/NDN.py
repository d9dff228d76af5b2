"""Class NDN: networks with their likelihood, their arrays, and what can be done with them."""

import numpy as np

from NDN3 import (
    correlation,
    descriptions,
    fitting,
    initialization,
    links,
    noise,
    quantities,
    time_axis,
    trained_parts,
    variants,
)
from NDN3.exchange import Exchanged
from NDN3.ffnetwork import FFNetwork
from NDN3.network_model import NetworkModel
from NDN3.observations import inputs_for, row_count, taken
from NDN3.scores import Scored

ROWS_PER_CALL = 1024


class NDN(Scored, Exchanged):
    """Networks of NDN3: build, train, predict, evaluate, save, load.

    Weights and biases are NumPy arrays at `networks[k].layers[j].weights` and `.biases`. Models
    made by `for_seeds` share one Keras model and hold only their own arrays.

    Parameters
    ----------
    network_list : dict or list of dict
        Descriptions of the networks, from `NDN3.NDNutils.ffnetwork_params`. A network reads
        external inputs (`xstim_n`) and networks before it (`ffnet_n`).
    noise_dist : str
        "poisson", "gaussian" or "bernoulli", see `NDN3.noise`.
    ffnet_out : int or list of int
        Networks that give the output; -1 is the last one.
    input_dim_list : list, optional
        [channels, width, height] of each external input, for descriptions without `input_dims`.
    batch_size : int, optional
        Rows per training step, when `opt_params` does not say.
    tf_seed : int
        Start values, order of batches and dropout are a function of it.
    legacy : bool
        Behave as the original program in what changes published numbers: clipped parameters of
        difference-of-Gaussians layers get no gradient and start where they did, `dim0` and
        `filter` start at zero, streams and sources stand one behind the other, `l2` of a `readout`
        counts whole, a bare number in `reg_list` for the first layer, unit norms come from all
        rows, summaries of the training rows from the last batch, dropout is active in all that
        training records and watches, null models and output biases are the old ones, and so are
        the defaults of training, start values and batch order.

    Attributes
    ----------
    networks : list of NDN3.ffnetwork.FFNetwork
    log_correlation : str or None
        Mode in which training records correlations, see `NDN3.correlation.metrics`.
    poisson_unit_norm : ndarray, (neurons,), or None
        Set by the first training.

    Raises
    ------
    ValueError
        If the description asks for something that does not exist or does not fit.
    """

    def __init__(
        self,
        network_list,
        noise_dist="poisson",
        ffnet_out=-1,
        input_dim_list=None,
        batch_size=None,
        tf_seed=0,
        legacy=False,
    ):
        keras_model = NetworkModel(
            network_list,
            ffnet_out,
            input_dim_list,
            legacy=legacy,
            seed=initialization.checked_seed(tf_seed),
        )
        self._set_up(keras_model, noise_dist, batch_size, tf_seed)
        self.start_over()

    def _set_up(self, keras_model, noise_dist, batch_size, tf_seed):
        noise.noise(noise_dist)
        if batch_size is not None:
            quantities.whole(batch_size, "batch_size")
        self.keras_model = keras_model
        self.noise_dist = noise_dist
        self.batch_size = batch_size
        self.tf_seed = initialization.checked_seed(tf_seed)
        self.legacy = keras_model.legacy
        self.poisson_unit_norm = None
        self._log_correlation = None
        self.arrays = []

    @classmethod
    def for_seeds(
        cls,
        network_list,
        noise_dist="poisson",
        seeds=(0,),
        legacy=False,
        log_correlation=None,
        ffnet_out=-1,
        input_dim_list=None,
    ):
        """One model for each seed, on one Keras model.

        Parameters
        ----------
        network_list, noise_dist, legacy, log_correlation, ffnet_out, input_dim_list
            As in the class.
        seeds : sequence of int
            May repeat.

        Returns
        -------
        list of NDN

        Raises
        ------
        ValueError
            As the class.
        """
        models = []
        if not isinstance(seeds, (list, tuple, range)) and len(quantities.shape_of(seeds)) != 1:
            raise ValueError(
                f"seeds is {quantities.shown(seeds)}; it must be a list of whole numbers from 0. "
                "Give for example seeds=[0]."
            )
        keras_model = NetworkModel(network_list, ffnet_out, input_dim_list, legacy=legacy)
        for seed in seeds:
            models.append(cls.on(keras_model, noise_dist, None, seed))
            models[-1].log_correlation = log_correlation
        return models

    @classmethod
    def on(cls, keras_model, noise_dist, batch_size, tf_seed):
        """Model on a Keras model that is there, with the start values of the seed."""
        model = cls.__new__(cls)
        model._set_up(keras_model, noise_dist, batch_size, tf_seed)
        model.start_over()
        return model

    def __repr__(self):
        """Networks with their layers and units, and the noise."""
        networks = "; ".join(str(network) for network in self.networks)
        return f"NDN({networks}; {self.noise_dist})"

    def start_over(self):
        """Set all arrays to the start values of the seed."""
        start = initialization.start_values(self.keras_model, self.tf_seed, self.legacy)
        self.take(self.keras_model, start)

    def take(self, keras_model, arrays):
        """Hold other arrays.

        Parameters
        ----------
        keras_model : NDN3.network_model.NetworkModel
            They are in the order of its weights; it may have no dropout where this model has.
        arrays : list of ndarray
        """
        self.arrays = variants.carried_over(keras_model, arrays, self.keras_model)

    @property
    def networks(self):
        """The networks, with NumPy arrays at their layers."""
        return [FFNetwork(self, n) for n in range(len(self.keras_model.composition.networks))]

    @property
    def network_list(self):
        """Descriptions of the networks, copies."""
        return self.keras_model.descriptions

    @property
    def poisson_unit_norm(self):
        """Numbers by which the cost of each neuron is divided, or None."""
        return self._poisson_unit_norm

    @poisson_unit_norm.setter
    def poisson_unit_norm(self, norm):
        neurons = sum(self.keras_model.neurons)
        self._poisson_unit_norm = None if norm is None else noise.checked_unit_norm(norm, neurons)

    @property
    def log_correlation(self):
        """Mode in which training records correlations."""
        return self._log_correlation

    @log_correlation.setter
    def log_correlation(self, mode):
        correlation.metrics(mode)
        self._log_correlation = mode

    # ---- training -----------------------------------------------------------------------------

    fit_together = staticmethod(fitting.fit_together)

    def train(
        self,
        input_data,
        output_data,
        train_indxs=None,
        test_indxs=None,
        blocks=None,
        fit_variables=None,
        use_dropout=True,
        data_filters=None,
        learning_alg="adam",
        opt_params=None,
        output_dir=None,
        silent=False,
    ):
        """Train the model.

        Parameters
        ----------
        input_data : ndarray, (rows, features), or list with one for each external input
        output_data : ndarray, (rows, neurons), or list with one for each output network
        train_indxs, test_indxs : sequence of int or of one bool per row, optional
            Rows to train on (all by default) and to evaluate.
        blocks : sequence of (int, int), optional
            [first, last] row, counted from 1, of parts that follow each other in time, such as
            trials. Rows outside do not count, and where the model works along time
            (`time_expand`, `temporal`) neither do those at the start of a block that lack the rows
            before them.
        fit_variables : list, optional
            From the method `fit_variables`; by default everything is trained.
        use_dropout : bool
        data_filters : ndarray, (rows, neurons), or list of them, optional
            0 where a response does not count; it may be anything there.
        learning_alg : {"adam", "lbfgs"}
            L-BFGS works on all training rows at once, without dropout, and looks at no test rows.
        opt_params : dict, optional
            Keys and defaults of each algorithm: `NDN3.training_options`.
        output_dir : path, optional
            Folder for the summaries (`epochs_summary`) and the checkpoint (`epochs_ckpt`), from
            which the same call goes on. Files of other trainings in it are left alone.
        silent : bool
            Print nothing, whatever `display` says.

        Returns
        -------
        int or float
            Index of the last epoch. If the training diverged it is the epoch in which the cost was
            no longer finite; a sentence is printed then, unless `silent`. NaN for L-BFGS.

        Raises
        ------
        ValueError
            If arguments are unknown or do not fit each other.
        """
        return fitting.fit_alone(
            self,
            input_data,
            output_data,
            train_indxs,
            test_indxs,
            data_filters,
            opt_params,
            blocks=blocks,
            learning_alg=learning_alg,
            fit_variables=fit_variables,
            use_dropout=use_dropout,
            output_dir=output_dir,
            silent=silent,
        )

    def fit_variables(self, layers_to_skip=None, fit_biases=False):
        """Which variables `train` shall change.

        Parameters
        ----------
        layers_to_skip : int, list of int, or list of list of int, optional
            Layers that are left as they are, of the first network, or one list for each network.
        fit_biases : bool or list of bool
            Whether the biases of the other layers are trained; a list has one for each network.

        Returns
        -------
        list of list of dict
            [network][layer]{"weights": bool, "biases": bool}, and whatever else is trained of a
            layer, such as "positions": those go with the weights, until an entry is changed.
            Entries may be changed, also to 0/1 arrays; "weights" of a `sep` layer also to that one
            of "features" and "mask" which is to be trained.

        Raises
        ------
        ValueError
            If there is no such layer, or a list is not as long as there are networks.
        """
        networks = self.keras_model.composition.networks
        return trained_parts.choice(networks, layers_to_skip, fit_biases)

    # ---- prediction (for evaluation see `Scored`) -----------------------------------------------

    def generate_prediction(
        self,
        input_data,
        data_indxs=None,
        ffnet_target=-1,
        layer_target=-1,
        use_dropout=False,
        pre_activation=False,
    ):
        """Output of the network, or of one of its layers.

        Parameters
        ----------
        input_data : ndarray, (rows, features), or list with one for each external input
        data_indxs : sequence of int, optional
            Rows to predict; all by default.
        ffnet_target : int
            Network, by default the last one.
        layer_target : int
            Position of the layer; -1 is the last.
        use_dropout : bool
        pre_activation : bool
            Give what goes into the activation function instead.

        Returns
        -------
        ndarray, (rows, prod(output_dims of the layer))
        """
        networks = self.keras_model.composition.networks
        number = descriptions.network_number(ffnet_target, len(networks))
        layer = descriptions.layer_number(layer_target, len(networks[number].layers))
        quantities.truth(pre_activation, "pre_activation")
        quantities.truth(use_dropout, "use_dropout")
        options = (number, layer, pre_activation, use_dropout)
        inputs = inputs_for(self.keras_model, input_data)
        rows = quantities.chosen_rows(data_indxs, row_count(inputs))
        return self.predicted(inputs, rows, *options)

    def predicted(self, inputs, rows, *options):
        """Predictions of some rows; options as in `NetworkModel.predict_with`."""
        spread = self.keras_model.time_spread
        if spread:  # of each row in its place in time
            parts = list(time_axis.chunks(row_count(inputs), ROWS_PER_CALL, spread))
            found = [
                self.keras_model.predict_with(self.arrays, taken(inputs, every), *options)[left:]
                for every, left in parts
            ]
            return np.concatenate(found)[rows]
        found = [
            self.keras_model.predict_with(
                self.arrays, taken(inputs, rows[start : start + ROWS_PER_CALL]), *options
            )
            for start in range(0, max(len(rows), 1), ROWS_PER_CALL)
        ]
        return np.concatenate(found)

    def set_poisson_norm(self, output_data, data_indxs=None, data_filters=None):
        """Set `poisson_unit_norm`, by which the cost of each neuron is divided, to mean responses.

        Parameters
        ----------
        output_data, data_indxs, data_filters
            As in `eval_models`. Masked responses count as zeros.

        Raises
        ------
        ValueError
            If data do not fit, or the model is not one of spike counts.
        """
        if self.noise_dist != "poisson":
            raise ValueError(
                f"noise_dist is {self.noise_dist!r}; only costs under 'poisson' are divided by "
                "norms. Leave set_poisson_norm out."
            )
        observed = self.observed(output_data, data_indxs, data_filters)
        self.poisson_unit_norm = noise.noise(self.noise_dist).unit_norm(*observed)

    def initialize_output_layer_bias(self, output_data, data_indxs=None, data_filters=None):
        """Set the biases of the output layers so that they alone give the mean responses.

        Parameters
        ----------
        output_data, data_indxs, data_filters
            As in `eval_models`. With `legacy` the biases become the mean responses themselves, as
            in the original program; otherwise what the activation function turns into them.
        """
        means = noise.mean_response(*self.observed(output_data, data_indxs, data_filters))
        outputs = noise.noise(self.noise_dist).prediction_of_mean(means)
        starts = np.cumsum(self.keras_model.neurons)[:-1]
        layers = [self.networks[n].layers[-1] for n in self.keras_model.composition.outputs]
        found = [
            links.biases_for(layer.keras_layer, wanted, "lin" if self.legacy else None)
            for layer, wanted in zip(
                layers, np.split(means if self.legacy else outputs, starts), strict=True
            )
        ]
        for layer, biases in zip(layers, found, strict=True):
            layer.biases = biases

    # ---- weights and regularization -----------------------------------------------------------

    def get_weights(self, layer_target=0, ffnet_target=0, w_range=None, reshape=False):
        """Weights of a layer, a copy.

        Parameters
        ----------
        layer_target : int
        ffnet_target : int
        w_range : sequence of int, optional
            Units; all by default.
        reshape : bool
            Give the filters their shape.

        Returns
        -------
        ndarray
            (rows, units), or reshaped (H, W, C, units), without H when it is one.

        Raises
        ------
        ValueError
            If the weights are not filters that can be reshaped.
        """
        networks = self.networks
        network = networks[descriptions.network_number(ffnet_target, len(networks))]
        layer = network.layers[descriptions.layer_number(layer_target, network.num_layers)]
        quantities.truth(reshape, "reshape")
        weights = layer.filters() if reshape else layer.weights.copy()
        if w_range is None:
            return weights
        return weights[..., quantities.rows(w_range, weights.shape[-1], "units of w_range")]

    def get_reg_pen(self):
        """Penalties of the weights that the model holds.

        Returns
        -------
        dict of dict of float
            {"net0L1": {"l2": value}}, for each layer that has penalties.
        """
        penalties = {}
        for number, network in enumerate(self.networks):
            for position, layer in enumerate(network.layers):
                values = layer.penalties()
                if values:
                    penalties[f"net{number}L{position}"] = values
        return penalties

    def set_regularization(self, reg_type, reg_val, ffnet_target=0, layer_target=None):
        """Change the strength of a regularizer before further training.

        Parameters
        ----------
        reg_type : str
        reg_val : float, list of float or None
            One strength, or one for each unit of the layer; None takes it away.
        ffnet_target : int
        layer_target : int or list of int, optional
            By default all layers that take this regularizer.

        Raises
        ------
        ValueError
            If there is no such regularizer, or a layer does not take it.
        """
        changed = variants.with_regularizer(
            self.keras_model, reg_type, reg_val, ffnet_target, layer_target
        )
        self.arrays = variants.carried_over(self.keras_model, self.arrays, changed)
        # models that shared the Keras model keep it; this one has its own now
        self.keras_model = changed

    # ---- copies (for files see `Exchanged`) -----------------------------------------------------

    def copy_model(self, tf_seed=0):
        """Model of its own with the same values.

        Parameters
        ----------
        tf_seed : int
            Of the copy; for the order of batches, the values stay.

        Returns
        -------
        NDN
        """
        copied = type(self).__new__(type(self))
        copied._set_up(self.keras_model, self.noise_dist, self.batch_size, tf_seed)
        copied.log_correlation = self.log_correlation
        copied.poisson_unit_norm = self.poisson_unit_norm
        copied.arrays = [np.array(array) for array in self.arrays]
        return copied
