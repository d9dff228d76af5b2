"""What the compiled program needs of the framework below Keras, TensorFlow or JAX.

The program itself is written with `keras.ops` and these few functions. Importing this module
imports the one framework that Keras is set to, never the other.
"""

import keras

if keras.backend.backend() == "tensorflow":
    from NDN3.backend_tensorflow import (
        XLA_IS_OPTIONAL,
        choose,
        compiled,
        compiled_for_any_shape,
        map_members,
        on_accelerator,
        operations,
        repeat,
        repeat_and_record,
        value_and_gradients,
    )
elif keras.backend.backend() == "jax":
    from NDN3.backend_jax import (
        XLA_IS_OPTIONAL,
        choose,
        compiled,
        compiled_for_any_shape,
        map_members,
        on_accelerator,
        operations,
        repeat,
        repeat_and_record,
        value_and_gradients,
    )
else:
    raise ValueError(
        f"the backend of Keras is {keras.backend.backend()!r}; the trainer knows tensorflow and "
        "jax. Set KERAS_BACKEND to one of them before Keras is imported."
    )

__all__ = [
    "XLA_IS_OPTIONAL",
    "choose",
    "compiled",
    "compiled_for_any_shape",
    "map_members",
    "on_accelerator",
    "operations",
    "repeat",
    "repeat_and_record",
    "value_and_gradients",
]
