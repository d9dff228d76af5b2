"""Hyper-parameters of an experiment, read from its file without running it, and their values.

The parameters of the train function are the only declaration: names, types, defaults. A launcher,
which must not import the libraries that an experiment needs, and the experiment itself both look
here, so that they agree on what a name, a text behind a flag or a default stands for.
"""

import ast
import difflib
import functools
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

REQUIRED = object()
"""Stands for the default of a hyper-parameter that has none."""

# flags of every experiment, arguments of every grid, and columns of the table of all runs
RESERVED = frozenset(
    "help exp_folder exp run repetitions resume diverged part needs key first_run script "
    "repetition seed name state seconds host log_dir model_path".split()
)

Signature = dict[str, tuple[Any, str]]

_SIMPLE = {
    "int": ["int"],
    "float": ["float"],
    "str": ["str"],
    "bool": ["bool"],
    "None": ["none"],
    "list": ["list"],
    "List": ["list"],
    "Sequence": ["list"],
    "tuple": ["list"],
    "dict": ["dict"],
    "object": ["any"],
    "Any": ["any"],
}
_MEANING = {
    "int": "a whole number such as 20_000",
    "float": "a number such as 1e-3",
    "str": "a text",
    "bool": "true or false",
    "none": "none",
    "list": "a list such as [1,2]",
    "dict": 'a mapping such as {"a":1}',
    "any": "JSON or a text",
}


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean …?"`` with the most similar allowed name, or an empty text."""
    found = difflib.get_close_matches(name, list(allowed), n=1)
    return f" Did you mean {found[0]}?" if found else ""


def part_of(parts: Iterable[str], exp: str) -> str | None:
    """Return the part of a file that stands for `exp`.

    That is the part of the same name, or the longest one that `exp` continues with an underscore:
    a grid started under ``bs1_exp11_short`` still belongs to ``bs1_exp11``.
    """
    candidates = [part for part in parts if exp == part or exp.startswith(f"{part}_")]
    return max(candidates, key=len, default=None)


def signature(script_path: str | os.PathLike[str], exp: str) -> Signature:
    """Return the hyper-parameters of an experiment, in the order of its train function.

    Parameters
    ----------
    script_path : path
        The experiment file.
    exp : str
        The experiment; decides which function counts where the file has several parts.

    Returns
    -------
    dict of str to (default, annotation)
        The default is `REQUIRED` where there is none. The annotation is its source text, or the
        default's type where the function has none.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read as Python, does not hand a function of its own to
        ``experiment.main``, has no part of that name, or declares a parameter whose name, type
        or default cannot be a flag.
    """
    path = Path(script_path)
    tree = parse_file(path)
    function = _train_function(path, tree, exp)
    constants = module_constants(tree)
    given = function.args
    if given.vararg or given.kwarg:
        raise ValueError(
            f"{function.name} in {path} takes *args or **kwargs; each hyper-parameter needs a "
            "name and a default. Write them out."
        )
    positional = [*given.posonlyargs, *given.args]
    padding: list[ast.expr | None] = [None] * (len(positional) - len(given.defaults))
    pairs = list(zip(positional, [*padding, *given.defaults], strict=True))[1:]
    pairs += zip(given.kwonlyargs, given.kw_defaults, strict=True)
    return {
        parameter.arg: _declared(path, function.name, parameter, default, constants)
        for parameter, default in pairs
    }


def parse_file(path: Path) -> ast.Module:
    """Return an experiment file as a syntax tree.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is no Python.
    """
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"There is no experiment file {path}; a group is a folder below experiments/ and an "
            "experiment a file in it. Check both names."
        ) from None
    except (SyntaxError, ValueError) as problem:
        line = getattr(problem, "lineno", None)
        raise ValueError(
            f"{path} is not valid Python ({problem.args[0]}, line {line}); an experiment file is. "
            "Mend that line."
        ) from None


def module_constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Return what a module's top-level names are set to, unevaluated."""
    return {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _train_function(path: Path, tree: ast.Module, exp: str) -> ast.FunctionDef:
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    calls = [
        node.args[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("experiment.main", "main")
        and node.args
    ]
    trained = calls[-1] if calls else None
    if isinstance(trained, ast.Dict):
        parts = {
            key.value: value
            for key, value in zip(trained.keys, trained.values, strict=True)
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        }
        part = part_of(parts, exp)
        if part is None:
            raise ValueError(
                f"{path} has no part {exp}; its parts are {', '.join(parts)}. "
                f"Name one of those.{nearest(exp, parts)}"
            )
        trained = parts[part]
    if not isinstance(trained, ast.Name) or trained.id not in functions:
        raise ValueError(
            f"{path} hands no function of its own to experiment.main; an experiment file ends with "
            "`experiment.main(train)`. Define train in the file and add that line."
        )
    function = functions[trained.id]
    if not (function.args.posonlyargs or function.args.args):
        raise ValueError(
            f"{function.name} in {path} takes no run; its first parameter receives the run. "
            f"Write `def {function.name}(run, …)`."
        )
    return function


def _declared(
    path: Path,
    function: str,
    parameter: ast.arg,
    default: ast.expr | None,
    constants: Mapping[str, ast.expr],
) -> tuple[Any, str]:
    name = parameter.arg
    where = f"parameter {name} of {function} in {path}"
    if name in RESERVED:
        raise ValueError(
            f"{where} has a name that the harness uses itself; reserved are "
            f"{', '.join(sorted(RESERVED))}. Choose another one."
        )
    if isinstance(default, ast.Name):
        default = constants.get(default.id, default)
    value = REQUIRED
    if default is not None:
        try:
            value = ast.literal_eval(default)
        except ValueError:
            raise ValueError(
                f"{where} has the default {ast.unparse(default)}; a default is a plain value, "
                "because it is read without running the file. Write out its value."
            ) from None
    if parameter.annotation is not None:
        annotation = ast.unparse(parameter.annotation)
    elif value is REQUIRED or value is None:
        raise ValueError(
            f"{where} has neither a type nor a default that shows one; a flag needs a type. "
            f"Write `{name}: float = …` or the like."
        )
    else:
        annotation = type(value).__name__
    alternatives = _alternatives(annotation, where)
    if value is not REQUIRED:
        try:
            value = _fit(alternatives, value)
        except TypeError:
            raise ValueError(
                f"{where} has the default {value!r}, which is not {meaning(annotation)}. Change "
                "the default or the type."
            ) from None
    return value, annotation


@functools.lru_cache(maxsize=1024)
def _alternatives(annotation: str, where: str) -> list[Any]:
    """Kinds of value that an annotation allows: names of `_MEANING`, lists, literals."""
    try:
        return _kinds(ast.parse(annotation, mode="eval").body)
    except (SyntaxError, KeyError):
        raise ValueError(
            f"{where} is annotated {annotation}; a flag can be {', '.join(sorted(_SIMPLE))}, "
            "Literal[…], and unions and lists of these. Use one of those."
        ) from None


def _kinds(node: ast.expr) -> list[Any]:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):  # a quoted annotation
            return _kinds(ast.parse(node.value, mode="eval").body)
        return list(_SIMPLE[str(node.value)])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _kinds(node.left) + _kinds(node.right)
    if isinstance(node, ast.Subscript):
        name = _last_name(node.value)
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if name == "Literal":
            return [("literal", [ast.literal_eval(item) for item in items])]
        if name in ("Optional", "Union"):
            kinds = [kind for item in items for kind in _kinds(item)]
            return kinds + (["none"] if name == "Optional" else [])
        if _SIMPLE[name] == ["list"]:
            named = [item for item in items if ast.unparse(item) != "..."]
            return [("list", [kind for item in named for kind in _kinds(item)])]
        return list(_SIMPLE[name])
    return list(_SIMPLE[_last_name(node)])


def _last_name(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


def meaning(annotation: str) -> str:
    """Return in words what a hyper-parameter of this type may be."""
    return " or ".join(_meaning(kind) for kind in _alternatives(annotation, "the value"))


def _meaning(kind: Any) -> str:
    if isinstance(kind, str):
        return _MEANING[kind]
    if kind[0] == "literal":
        return ", ".join(as_text(option) for option in kind[1])
    return _MEANING["list"]


def _fit(alternatives: list[Any], value: Any) -> Any:
    """Value as the first kind that it already is; TypeError when it is none of them."""
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        value = value.tolist()
    types = {"none": type(None), "bool": bool, "int": int, "float": float, "str": str, "dict": dict}
    for kind in alternatives:
        if kind == "any" or (isinstance(kind, str) and type(value) is types.get(kind)):
            return value
        if kind == "list" and isinstance(value, (list, tuple)):
            return list(value)
        if kind[0] == "list" and isinstance(value, (list, tuple)):
            return [_fit(kind[1], item) for item in value]
        if kind[0] == "literal" and any(
            value == option and type(value) is type(option) for option in kind[1]
        ):
            return value
    if type(value) is int and "float" in alternatives:
        return float(value)
    raise TypeError


def as_text(value: object) -> str:
    """Return a value as it is written behind a flag; `parse` reads it back."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str):
        return value
    if value is None:
        return "none"
    return json.dumps(value)


def parse(name: str, annotation: str, text: str) -> Any:
    """Return the value that a text stands for.

    Parameters
    ----------
    name : str
        The hyper-parameter, for the message.
    annotation : str
        Its type, as `signature` gives it.
    text : str
        What was written behind the flag.

    Raises
    ------
    ValueError
        If the text is no value of that type.
    """
    alternatives = _alternatives(annotation, name)
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(
            f"--{name} is {text!r}; a text holds no zero byte and nothing but UTF-8. Write it "
            "without such characters."
        )
    for kind in alternatives:
        if kind[0] == "literal":
            for option in kind[1]:
                if as_text(option) == text:
                    return option
    for kind, read in _READERS.items():
        if kind in alternatives:
            try:
                return read(text)
            except (ValueError, KeyError):
                continue
    try:
        return _fit(alternatives, json.loads(text))
    except (ValueError, TypeError):
        if "str" in alternatives or "any" in alternatives:
            return text
        raise ValueError(
            f"--{name} is {text!r}; it must be {meaning(annotation)}. Give it such a value."
        ) from None


# in this order, because every whole number is a number, too
_READERS: dict[str, Callable[[str], Any]] = {
    "none": lambda text: {"none": None, "null": None}[text.lower()],
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": int,
    "float": float,
}


def resolve(
    script_path: str | os.PathLike[str], exp: str, arguments: Mapping[str, object]
) -> dict[str, Any]:
    """Return all hyper-parameters of a run: the given ones, checked, and defaults for the rest.

    Parameters
    ----------
    script_path : path
        The experiment file.
    exp : str
        The experiment.
    arguments : mapping
        Hyper-parameters that differ from the defaults, as values (not as text).

    Raises
    ------
    ValueError
        If a name is not a hyper-parameter, a value is not of its type, or a hyper-parameter
        without a default is missing.
    """
    return resolve_declared(signature(script_path, exp), exp, arguments)


def resolve_declared(
    declared: Signature, exp: str, arguments: Mapping[str, object]
) -> dict[str, Any]:
    """Do what `resolve` does with a signature that is known.

    Parameters
    ----------
    declared : dict
        As from `signature`.
    exp, arguments
        As in `resolve`.
    """
    check_names(arguments, declared, exp)
    return {
        name: settled(name, annotation, exp, arguments[name]) if name in arguments else default
        for name, (default, annotation) in declared.items()
    }


def check_names(names: Iterable[str], declared: Signature, exp: str) -> None:
    """Refuse names that an experiment does not have, and a missing one that has no default.

    Raises
    ------
    ValueError
        With the names that it has, or with what the missing one must be.
    """
    given = set(names)
    for name in names:
        check_known(name, declared, exp)
    for name, (default, annotation) in declared.items():
        if default is REQUIRED and name not in given:
            raise ValueError(
                f"{exp} was given no {name}, which has no default; it must be "
                f"{meaning(annotation)}. Add {name}=…."
            )


def settled(name: str, annotation: str, exp: str, value: object) -> Any:
    """Return what a hyper-parameter's value stands for, as every run of any grid has it.

    Raises
    ------
    ValueError
        If the value is not of that type.
    """
    try:
        fitting = _fit(_alternatives(annotation, name), value)
    except TypeError:
        raise ValueError(
            f"{name} of {exp} is {value!r}; it must be {meaning(annotation)}. Give it such a value."
        ) from None
    # through the text, so that a value means the same in a grid and behind a flag
    return parse(name, annotation, as_text(fitting))


def check_known(name: str, declared: Iterable[str], exp: str) -> None:
    """Refuse the name of a hyper-parameter that an experiment does not have.

    Raises
    ------
    ValueError
        With the names that it has.
    """
    allowed = list(declared)
    if name not in allowed:
        raise ValueError(
            f"{exp} has no hyper-parameter {name}; it has {', '.join(allowed) or 'none'}. "
            f"Use one of those.{nearest(name, allowed)}"
        )
