"""The command line of an experiment: hyper-parameters, and the flags that every experiment has."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from utils import needs, run_names, signatures
from utils.run import Request

VALUES = {
    "exp_folder": ("NAME", "group; the file's folder when left out"),
    "exp": ("NAME", "experiment; the file's name, or all of its parts, when left out"),
    "run": ("NUMBER", "run; when left out 0 with default values, else hand-…"),
    "repetitions": ("0-4,7", "only these repetitions"),
    "part": ("k/K", "only the k-th of K shares of the repetitions"),
    "needs": ("GROUP/EXP:0-3", "runs whose results are used; several with + between them"),
    "key": ("KEY", "what a launcher has promised of arguments and data; refused where they differ"),
}
SWITCHES = {
    "resume": "continue repetitions that were begun and not finished",
    "diverged": "try diverged repetitions again",
}


@dataclass
class Options:
    """What the command line says."""

    texts: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    switches: set[str] = field(default_factory=set)

    def request(self) -> Request:
        """Return what it says about repetitions, and about runs that are needed.

        Raises
        ------
        ValueError
            If a list of repetitions, a part, or what is needed is malformed.
        """
        listed = self.values.get("repetitions")
        selection = None if listed is None else run_names.numbers(listed, "--repetitions")
        part, parts = self.part()
        needed = self.values.get("needs", "")
        if "needs" in self.values:
            needs.parse(needed)
        switches = {name: name in self.switches for name in SWITCHES}
        return Request(selection, max(part, 1), parts, needs=needed, **switches)

    def part(self) -> tuple[int, int]:
        """Return which of how many parts of the run is asked for; 0 of 1 is all of it."""
        given = self.values.get("part")
        if given is None:
            return 0, 1
        part, _, parts = given.partition("/")
        if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
            raise ValueError(
                f"--part is {given!r}; it is k/K with k from 1 to K. Write it like --part 1/4."
            )
        return int(part), int(parts)


def value_of(flag: str, argv: Sequence[str]) -> str | None:
    """Return the value of one flag, before it is known which others there are."""
    for place, word in enumerate(argv):
        name, equals, text = word.removeprefix("--").partition("=")
        if word.startswith("--") and name.replace("-", "_") == flag:
            return text if equals else next(iter(argv[place + 1 :]), "")
    return None


def parse_flags(argv: Sequence[str], declared: signatures.Signature) -> Options:
    """Sort a command line into hyper-parameters and the flags of every experiment.

    Parameters
    ----------
    argv : list of str
        ``--name value`` or ``--name=value``, dashes in names as good as underscores.
    declared : dict
        The hyper-parameters, as from `utils.signatures.signature`.

    Raises
    ------
    ValueError
        If a word is no flag, a flag is unknown, given twice, or has no value.
    """
    options, words = Options(), list(argv)
    allowed = [*declared, *VALUES, *SWITCHES]
    while words:
        word = words.pop(0)
        written, equals, text = word.partition("=")
        name = written.removeprefix("--").replace("-", "_")
        if not written.startswith("--"):
            raise ValueError(
                f"{word!r} is not a flag; a command line is made of --name value. Write a flag in "
                "front of it, or quote a value that has blanks."
            )
        if name not in allowed:
            raise ValueError(
                f"There is no flag {written}; there are --{', --'.join(allowed)}. Use one of "
                f"those.{signatures.nearest(written, [f'--{flag}' for flag in allowed])}"
            )
        if name in SWITCHES:
            if equals:
                raise ValueError(f"{written} takes no value, got {text!r}. Write {written} alone.")
            options.switches.add(name)
            continue
        if not equals:
            if not words or words[0].startswith("--"):
                raise ValueError(
                    f"{written} has no value; a value follows each flag. Write {written} VALUE, "
                    f"or {written}=VALUE for a value that begins with two dashes."
                )
            text = words.pop(0)
        target = options.texts if name in declared else options.values
        if name in target:
            raise ValueError(
                f"{written} is given twice, as {target[name]!r} and {text!r}; once is allowed. "
                "Leave one out."
            )
        target[name] = text
    return options


def explained(script: Path, called: str, header: str, named: Sequence[str]) -> str:
    """Return the help of an experiment.

    Parameters
    ----------
    script : Path
        Its file.
    called : str
        The file as it is called.
    header : str
        What it is about.
    named : list of str
        Its experiments.
    """
    lines = [f"python {called} [--NAME VALUE …]", "", header.strip()]
    for exp in named:
        lines += ["", "Hyper-parameters:" if len(named) == 1 else f"Hyper-parameters of {exp}:"]
        rows = []
        for name, (default, annotation) in signatures.signature(script, exp).items():
            known = default is not signatures.REQUIRED
            ending = f"default {signatures.as_text(default)}" if known else "must be given"
            rows.append((f"--{name}", f"{signatures.meaning(annotation)}; {ending}"))
        lines += _columns(rows)
    lines += ["", "Flags of every experiment:"]
    rows = [(f"--{name} {value}", text) for name, (value, text) in VALUES.items()]
    lines += _columns([*rows, *((f"--{name}", text) for name, text in SWITCHES.items())])
    return "\n".join(lines)


def _columns(rows: list[tuple[str, str]]) -> list[str]:
    width = max((len(flag) for flag, _ in rows), default=0)
    return [f"  {flag:{width}}  {text}" for flag, text in rows]
