"""One training of bench/gpu.py: ``gpu_programs.py FOLDER KIND FORM MEMBERS ROWS``."""

import sys
import time

import jax
from trainer_members import bare
from trainer_turns import Turns

if __name__ == "__main__":
    _, folder, kind, form, members, rows = sys.argv
    device = jax.devices()[0]
    turns = Turns(folder, clock=time.monotonic, device=f"{device.platform} {device.device_kind}")
    group = "auto" if form == "turns" else int(members)
    bare(turns, kind, int(members), int(rows), form=form, group=group)
