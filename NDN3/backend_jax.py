"""What the compiled program needs of JAX: map, gradient, loops, compilation."""

import jax
import jax.numpy as jnp
from jax import lax

XLA_IS_OPTIONAL = False


def compiled(function, xla):
    """`function` as one compiled program, made at the first call.

    Parameters
    ----------
    function : callable
        Takes and returns nested structures of tensors. Arrays that it refers to, such as the data,
        are handed to the program as arguments; JAX would otherwise copy them into its code.
    xla : bool
        Has no meaning: JAX always compiles with XLA.

    Returns
    -------
    callable
        For arguments of the structure, shapes and types of the first call only: it never compiles
        a second time.
    """
    program = constants = structure = None

    def run(*arguments):
        nonlocal program, constants, structure
        if program is None:
            traced, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
            structure, constants = jax.tree.structure(shapes), traced.consts
            evaluate = jax.core.eval_jaxpr
            program = jax.jit(lambda known, given: evaluate(traced.jaxpr, known, *given))
        return jax.tree.unflatten(structure, program(constants, jax.tree.leaves(arguments)))

    return run


def compiled_for_any_shape(function):
    """`function` of tensors, compiled anew for shapes that it has not met."""
    return jax.jit(function)


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
    return jax.vmap(lambda member: function(*member))(arguments)


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
    return jax.value_and_grad(function, has_aux=True)(parameters)


def repeat(count, body, state):
    """State after `count` calls of `state = body(index, state)`."""
    return lax.fori_loop(0, count, body, state)


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
    records = {name: jnp.zeros((length, members), dtype) for name in names}

    def step(index, carried):
        state, records = carried
        state, record = body(index, state)
        records = {name: array.at[index].set(record[name]) for name, array in records.items()}
        return state, records

    return lax.fori_loop(0, count, step, (state, records))


def choose(condition, when_true, when_false):
    """Result of one of two functions, of which only that one is computed."""
    return lax.cond(condition, when_true, when_false)


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
    meaning = {
        "conv_general_dilated": "convolution",
        "while": "loop",
        "scan": "loop",
        "random_bits": "random",
        "threefry2x32": "random",
    }
    names, size = set(), 0
    waiting = [jax.make_jaxpr(function)(*arguments).jaxpr]
    while waiting:
        for equation in waiting.pop().eqns:
            name = equation.primitive.name
            names.add(meaning.get(name, name))
            size += sum(out.aval.size * out.aval.dtype.itemsize for out in equation.outvars)
            for part in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
            ):
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns"):
                    waiting.append(inner)
    return names, size


def on_accelerator():
    """Whether tensors live on a GPU or the like."""
    return jax.default_backend() != "cpu"
