"""Networks of visual cortex: layers, likelihoods, and a trainer of many repetitions at once.

Importing the package imports nothing else. Where things are:

NDN             class NDN: build, train, predict, evaluate, save, load
NDNutils        what scripts need around a model: ffnetwork_params, and what the next lines have
time_embedding  lags as columns; tents: piecewise linear functions; spikes: times to counts
folds           rows to train and to test on, blocks, speckles, an inner hold-out
regularization_path  a sweep of one strength; devices: which GPU
descriptions    what a description may ask for; layer_entries: its lists; vocabulary: its words
ffnetwork       the Keras model of a description, and the view on its layers
layers          the names allowed in `layer_types`, one family of layers per file
activations     activation functions by name
initialization  start values, drawn in NumPy from a seed
regularization  penalties by name; penalties, laplacians: the formulae behind them
keras_regularizers  the penalties for the layers of any Keras model
noise           Poisson and Gaussian likelihoods and their null models
correlation     Pearson correlation per neuron and its means over neurons
observations    inputs, responses and masks, checked for shape
storage         .ndnmod files
plots           filters, masks, weights, diagrams (plots_*: one family each); gabors: Gabor filters
filter_views    what plots show, as arrays; pixel_mapping: responses to single pixels
fitting         NDN's arguments of training, translated for the trainer
training        the trainer, for networks of this package and for any Keras model
events          event files for TensorBoard
suggestions     sentences for unknown names
"""
