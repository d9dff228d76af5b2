"""Words that a description may use, known without importing Keras.

The functions behind them are in the modules of their names: `activations`, `regularization`,
`laplacians`; the layer types are in `NDN3.layers`.
"""

ACTIVATIONS = (
    "lin",
    "identity",
    "relu",
    "leaky_relu",
    "softplus",
    "exp",
    "sigmoid",
    "tanh",
    "quad",
    "requ",
    "elu",
)
PENALTIES = (
    "l1",
    "l2",
    "norm2",
    "group",
    "d2x",
    "d2t",
    "d2xt",
    "max",
    "max_filt",
    "max_space",
    "max_level",
    "local",
    "glocal",
    "center",
    "orth",
    "norm2_filt",
    "norm2_space",
)
ACTIVITY = ("activity_l1", "activity_l2")
# Given among the regularizers, but no penalty: its value is the probability to keep a unit
DROPOUT = "dropout"
REGULARIZERS = (*PENALTIES, *ACTIVITY, DROPOUT)
# What the smoothness penalties take for granted outside of a filter
BOUNDARIES = ("zero", "free")
NORMALIZATIONS = (-1, 0, 1, 2)
NETWORK_TYPES = ("normal", "side")
