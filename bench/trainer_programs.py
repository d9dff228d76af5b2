"""Starts one of the programs that bench/trainer.py compares, in the process that it is run in.

``trainer_programs.py NAME FOLDER turns|check`` for a program that works in turn with others,
``trainer_programs.py NAME FOLDER NUMBER…`` for one that is measured as a whole.
"""

import sys

import trainer_wholes
from trainer_turns import Turns, tensorflow


def session(turns, *arguments):
    from trainer_sessions import session

    session(turns, *arguments)


def dog_fit(turns, **options):
    from trainer_fits import dog_fit

    dog_fit(turns, **options)


def ordinary(turns, name, with_trainer):
    import trainer_fits

    trainer_fits.ordinary(turns, getattr(trainer_fits, name), with_trainer)


def members(turns, name, *arguments, threads=1):
    tensorflow(threads)
    import trainer_members

    getattr(trainer_members, name)(turns, *arguments)


def events(turns, name):
    import trainer_events

    getattr(trainer_events, name)(turns)


PROGRAMS = {
    "session": lambda turns: session(turns, "dog"),
    "lean_session": lambda turns: session(turns, "dog", True),
    "fit": lambda turns: dog_fit(turns, jit_compile=False, whole_epochs=False),
    "best_fit": lambda turns: dog_fit(turns, jit_compile=True, whole_epochs=True),
    "all": lambda turns: members(turns, "with_everything"),
    "group": lambda turns: members(turns, "bare", "dog", 10),
    "one": lambda turns: members(turns, "bare", "dog", 1),
    "one_group": lambda turns: members(turns, "in_calls", 1),
    "two_groups": lambda turns: members(turns, "in_calls", 2, threads=2),
    "refill": lambda turns: members(turns, "twenty_members", True),
    "no_refill": lambda turns: members(turns, "twenty_members", False),
    "unet_fit": lambda turns: ordinary(turns, "unet", False),
    "unet_turns": lambda turns: ordinary(turns, "unet", True),
    "gru_fit": lambda turns: ordinary(turns, "gru", False),
    "gru_turns": lambda turns: ordinary(turns, "gru", True),
    "conv_session": lambda turns: session(turns, "conv"),
    "conv_group": lambda turns: members(turns, "bare", "conv", 10),
    "conv_one": lambda turns: members(turns, "bare", "conv", 1),
    "conv_native": lambda turns: members(turns, "bare", "native", 10),
    "events_own": lambda turns: events(turns, "own"),
    "events_tf": lambda turns: events(turns, "tensorflow_summaries"),
}

if __name__ == "__main__":
    _, program, output_folder, *mode = sys.argv
    if program in PROGRAMS:
        PROGRAMS[program](Turns(output_folder, check=mode == ["check"]))
    else:
        trainer_wholes.run(program, output_folder, mode)
