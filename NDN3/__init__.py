"""Networks of visual cortex: layers, likelihoods, and a trainer of many repetitions at once.

Importing the package imports nothing else. Where things are:

NDN             class NDN: build, train, predict, evaluate, save, load
NDNutils        what scripts need around a model: ffnetwork_params, and what the next lines have
time_embedding  lags as columns; tents: piecewise linear functions; spikes: times to counts
folds           rows to train and to test on, blocks, speckles, an inner hold-out
regularization_path  a sweep of one strength; devices: which GPU
descriptions    what a description may ask for; layer_entries: its lists; vocabulary: its words
network_model   the Keras model of descriptions; composition: who reads whom; stacks: their layers
ffnetwork       the view on the layers of one training
layers          the names allowed in `layer_types`, one family of layers per file
activations     activation functions by name
initialization  start values, drawn in NumPy from a seed
regularization  penalties by name; penalties, laplacians: the formulae behind them
keras_regularizers  the penalties for the layers of any Keras model
noise           likelihoods and their null models; scores: evaluation; keras_losses: as Keras losses
correlation     Pearson correlation per neuron and its means over neurons
observations    inputs, responses and masks, checked for shape
ensembles       several models as one
storage         .ndnmod files; exchange: MATLAB, weights of other programs
time_axis       rows that follow each other in time; time_blocks: their parts, such as trials
plots           filters, masks, weights, diagrams (plots_*: one family each); gabors: Gabor filters
filter_views    what plots show, as arrays; pixel_mapping: responses to single pixels
fitting         NDN's arguments of training, translated for the trainer
training        the trainer, for these networks and for any Keras model; lbfgs: all rows at once
schedules       of the learning rate; optimizers: steps; streams: random numbers from seeds
events          event files for TensorBoard
suggestions     sentences for unknown names
"""
