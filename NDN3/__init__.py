"""Networks of visual cortex: layers, likelihoods, and a trainer of many repetitions at once.

Importing the package imports nothing else. Where things are:

NDN             class NDN: build, train, predict, evaluate, save, load
NDNutils        ffnetwork_params: keyword arguments to the description of a network
descriptions    what a description may ask for
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
fitting         NDN's arguments of training, translated for the trainer
training        the trainer, for networks of this package and for any Keras model
events          event files for TensorBoard
suggestions     sentences for unknown names
"""
