"""How large should a group be on a GPU, and which form of a convolution is fast there?

    python bench/gpu.py                                   about ten minutes
    python bench/gpu.py --members 1,10 --only windows,native_turns
    python bench/gpu.py --rows 64 --members 1,2 --rounds 1 --seconds 0.1    a small try on a CPU

1, 10 and 100 members of the difference-of-Gaussians network and of a convolutional network are
trained under JAX, on the GPU if JAX sees one. It needs jax, keras, numpy and scipy, no TensorFlow.
Programs work in turn; figures are medians over the rounds. Wall time counts here, because a GPU's
work costs no CPU seconds; nothing is judged. Exit status 2 when a program failed.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

from tables import say, text
from trainer_bounds import ratio
from trainer_processes import CACHES, Program, ProgramFailed, in_turn

PROGRAMS_FILE = Path(__file__).with_name("gpu_programs.py")
# network and form of training
KINDS = {
    "dog": ("difference of Gaussians, group", "dog", "group"),
    "windows": ("convolution as windows, group", "conv", "group"),
    "native_group": ("convolution of JAX, group", "native", "group"),
    "native_turns": ("convolution of JAX, in turns", "native", "turns"),
}


def environment():
    """Environment of a program: JAX, memory as it is needed, because programs share the GPU."""
    kept = {name: value for name, value in os.environ.items() if name not in CACHES}
    paths = [str(PROGRAMS_FILE.parents[1]), os.environ.get("PYTHONPATH")]
    return kept | {
        "KERAS_BACKEND": "jax",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def start(name, folder, rows):
    """A program, started; its name is kind and number of members, such as "dog 10"."""
    kind, members = name.split()
    _, network, form = KINDS[kind]
    place = Path(folder) / f"{kind}_{members}"
    place.mkdir()
    command = [PROGRAMS_FILE, place, network, form, members, rows]
    return Program(name, command, place, environment())


def table(starts, turns):
    """One row per program, against one member of the same network (as windows) in its rounds."""
    rows = [["program", "members", "member-epochs per s", "s per epoch of all", "x one member"]]
    rows[0] += ["start s", "CPU s per s", "MB"]
    rates = {name: [turn["epochs"] / turn["wall"] for turn in of] for name, of in turns.items()}
    for name, of in turns.items():
        kind, members = name.split()
        rate = statistics.median(rates[name])
        alone = rates.get("dog 1" if kind == "dog" else "windows 1")
        rows.append(
            [
                *(KINDS[kind][0], members, f"{rate:.1f}", f"{int(members) / rate:.4f}"),
                f"{ratio(rates[name], alone):.2f}" if alone else "–",
                f"{starts[name]['start_wall']:.1f}",
                f"{statistics.median(turn['cpu'] / turn['wall'] for turn in of):.2f}",
                f"{of[-1]['mb']:.0f}",
            ]
        )
    return rows


def arguments():
    parser = argparse.ArgumentParser(
        description="Seconds per epoch of groups of members under JAX, on a GPU if there is one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{name}: {what}" for name, (what, _, _) in KINDS.items()),
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each program (5)")
    parser.add_argument("--seconds", type=float, default=2, help="wall seconds of a turn (2)")
    parser.add_argument("--members", default="1,10,100", help="sizes of groups (1,10,100)")
    parser.add_argument("--rows", type=int, default=1800, help="images of an epoch (1800)")
    parser.add_argument("--only", default=",".join(KINDS), help="kinds, with commas (all)")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    options.only = options.only.split(",")
    unknown = [name for name in options.only if name not in KINDS]
    if unknown:
        parser.error(f"no kind {', '.join(unknown)}; choose from {', '.join(KINDS)}")
    try:
        options.members = [int(word) for word in options.members.split(",")]
    except ValueError:
        parser.error(f"members must be numbers with commas between them, got {options.members!r}")
    if min(options.rounds, options.rows, *options.members) < 1 or options.seconds <= 0:
        parser.error("rounds, seconds, rows and members must be positive")
    return options


def main():
    options = arguments()
    names = [f"{kind} {members}" for kind in options.only for members in options.members]
    try:
        with tempfile.TemporaryDirectory() as folder:
            starters = {name: lambda name=name: start(name, folder, options.rows) for name in names}
            starts, turns = in_turn(starters, options.rounds, options.seconds)
    except ProgramFailed as failure:
        say(str(failure))
        return 2
    print(f"device: {starts[names[0]]['device']}", end="\n\n")
    print(text(table(starts, turns), options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
