"""What Keras has to know before it loads a model that has layers, losses and penalties of NDN3."""

import importlib

from NDN3.layers import LAYERS, layer_class

# where classes are registered, beside the layers
MODULES = ("dropout", "keras_losses", "keras_regularizers", "network_model")


def register():
    """Make all classes of NDN3 known to `keras.models.load_model`.

    Keras finds the classes of other packages only after they were imported. A program that has
    built such a model has imported them; one that only loads it calls this first.

    Examples
    --------
    >>> register()
    >>> model = keras.models.load_model("model.keras")
    """
    for name in LAYERS:
        layer_class(name)
    for module in MODULES:
        importlib.import_module(f"NDN3.{module}")
