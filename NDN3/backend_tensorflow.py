"""What the compiled program needs of TensorFlow: map, gradient, loops, compilation."""

import functools
import re
import threading
import warnings

import tensorflow as tf

from NDN3 import compile_cache

# A program that XLA does not compile has the framework's own, fast operations
XLA_IS_OPTIONAL = True


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
        a second time. Where XLA cannot compile it, a warning says so and it runs without.
    """
    program = None
    first_call = threading.Lock()

    def tried(*arguments, xla):
        traced = tf.function(function, jit_compile=xla, autograph=False)
        made = traced.get_concrete_function(*arguments)
        return made, made(*arguments)

    def first(*arguments):
        if not xla:
            return tried(*arguments, xla=False)
        try:
            return tried(*arguments, xla=True)
        except (tf.errors.OutOfRangeError, tf.errors.DataLossError):
            compile_cache.discard()  # a file of the cache is damaged
        except tf.errors.OpError as error:
            return warned(error, tried(*arguments, xla=False))
        return tried(*arguments, xla=True)

    def run(*arguments):
        nonlocal program
        if program is None:
            with first_call:  # groups in several threads share the program
                if program is None:
                    program, found = first(*arguments)
                    return found
        return program(*arguments)

    return run


def warned(error, found):
    """Say once that and why a program runs without XLA; return what was found so."""
    message = str(error)
    named = re.search(r"\(op: (\w+)\)|\[\[\{\{node ([^}]+)\}\}\]\]", message)
    what = next(filter(None, named.groups()), "") if named else message.partition("\n")[0][:200]
    warnings.warn(
        f"XLA cannot compile this training ({what}); it goes on without XLA, several times "
        "slower. xla=False says that this is meant.",
        stacklevel=2,
    )
    return found


def compiled_for_any_shape(function):
    """`function` of tensors, compiled anew for shapes that it has not met."""
    # TensorFlow warns of many compilations of one piece of code, and all models share this one: a
    # partial counts for itself
    return tf.function(functools.partial(function), autograph=False, reduce_retracing=True)


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


def operations(function, arguments):
    """Names of the operations of a function, and the size of all that they give.

    Parameters
    ----------
    function : callable
        Traced, not computed.
    arguments : tuple of nested structures of tensors

    Returns
    -------
    set of str
        Among them "convolution", "loop" and "random", where there is one.
    int
        Bytes; an upper bound of what is needed at once.
    """
    graph = tf.function(function, autograph=False).get_concrete_function(*arguments).graph
    names, size = set(), 0
    for operation in graph.get_operations():
        names.add(operation.type)
        if operation.type not in ("Placeholder", "Const"):
            size += sum(
                (out.shape.num_elements() or 0) * out.dtype.size for out in operation.outputs
            )
    for inner in graph.as_graph_def().library.function:
        names.update(node.op for node in inner.node_def)
    meaning = {
        "convolution": r"(Depthwise)?Conv(\d[Dd].*)?",
        "loop": "(Stateless)?While",
        "random": "(Stateless)?(Random|Truncated|Parameterized|Multinomial).*",
    }
    for meant, pattern in meaning.items():
        if any(re.fullmatch(pattern, name) for name in names):
            names.add(meant)
    return names, size


def on_accelerator():
    """Whether tensors live on a GPU or the like."""
    return bool(tf.config.list_logical_devices("GPU"))
