"""What the compiled program needs of TensorFlow: map, gradient, loops, compilation.

The program itself (`NDN3.lockstep`) is written with `keras.ops` and these few functions.
"""

import tensorflow as tf


def compiled(function, xla):
    """`function` as one compiled program, made at the first call.

    Parameters
    ----------
    function : callable
        Takes and returns nested structures of tensors.
    xla : bool
        Compile with XLA.

    Returns
    -------
    callable
        For arguments of the structure, shapes and types of the first call only: it never compiles
        a second time.
    """
    traced = tf.function(function, jit_compile=xla, autograph=False)
    concrete = None

    def run(*arguments):
        nonlocal concrete
        if concrete is None:
            concrete = traced.get_concrete_function(*arguments)
        return concrete(*arguments)

    return run


def map_members(function, arguments):
    """`function` of one member applied to all members, as one vectorised computation.

    Parameters
    ----------
    function : callable
        Takes the entries of `arguments` without their leading axis.
    arguments : tuple of nested structures of tensors, (members, …)

    Returns
    -------
    nested structure of tensors, (members, …)
    """
    # The fallback would be silent and serial.
    return tf.vectorized_map(
        lambda member: function(*member), arguments, fallback_to_while_loop=False
    )


def value_and_gradients(function, parameters):
    """Value, by-products and gradients of a scalar function.

    Parameters
    ----------
    function : callable
        Of a list of tensors; returns (scalar, by-products).
    parameters : list of tensor

    Returns
    -------
    (scalar, by-products), list of tensor
        A parameter without influence has a gradient of zero.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(parameters)
        value, products = function(parameters)
    gradients = tape.gradient(value, parameters, unconnected_gradients="zero")
    return (value, products), gradients


def repeat(count, body, state):
    """State after `count` calls of `state = body(index, state)`."""
    _, state = tf.while_loop(
        lambda index, _: index < count,
        lambda index, state: (index + 1, body(index, state)),
        (tf.constant(0), state),
    )
    return state


def repeat_and_record(count, length, names, members, dtype, body, state):
    """State and records of `count` calls of `state, record = body(index, state)`.

    Parameters
    ----------
    count : tensor of int32, ()
        How many calls; may differ from call to call of the compiled program.
    length : int
        The most calls; the records have this length.
    names : list of str
        Entries of a record.
    members : int
        A record holds one number per member and name.
    dtype : str
        Type of these numbers.
    body : callable
    state : nested structure of tensors

    Returns
    -------
    state : nested structure of tensors
    records : dict of tensor, (length, members)
        Rows from `count` on mean nothing.
    """
    arrays = {name: tf.TensorArray(dtype, size=length, element_shape=(members,)) for name in names}

    def step(index, state, arrays):
        state, record = body(index, state)
        arrays = {name: array.write(index, record[name]) for name, array in arrays.items()}
        return index + 1, state, arrays

    _, state, arrays = tf.while_loop(
        lambda index, *_: index < count, step, (tf.constant(0), state, arrays)
    )
    return state, {name: array.stack() for name, array in arrays.items()}


def choose(condition, when_true, when_false):
    """Result of one of two functions, of which only that one is computed."""
    return tf.cond(condition, when_true, when_false)
