"""Members and the group of slots in which they are trained."""

import time

import keras
import numpy as np
from keras import ops

from NDN3 import checkpoints, streams
from NDN3.dropout import Dropout
from NDN3.events import EventWriter, write_scalars


class Member:
    """One training with one seed: its arrays, its settings, its history.

    Parameters
    ----------
    index : int
        Position among the seeds.
    seed : int
    program : NDN3.lockstep.Program
    start : list of ndarray
        Start values in the order of `model.weights`.
    settings : dict of float
        Numbers of the optimiser and the like.
    epochs : int
    path : path or None
        Checkpoint.
    signature : str or None
    """

    def __init__(self, index, seed, program, start, settings, epochs, path, signature):
        self.index, self.seed, self.program = index, seed, program
        self.path, self.signature, self.epochs = path, signature, epochs
        self.settings = {name: np.asarray(value, program.dtype) for name, value in settings.items()}
        self.settings["stop_at"] = np.int32(epochs)
        self.state = self.start_state(start)
        self.history = {"epoch": [], "wall_time": [], "loss": []} | {
            name: [] for name in program.record_names if "/" in name
        }
        self.collected = False

    def start_state(self, start):
        """State before the first step."""
        model, optimizer = self.program.model, self.program.optimizer
        values = {
            id(variable): np.asarray(value, variable.dtype).reshape(variable.shape)
            for variable, value in zip(model.weights, start, strict=True)
        }
        for number, layer in enumerate(
            layer for layer in model._flatten_layers() if isinstance(layer, Dropout)
        ):
            values[id(layer.key)] = streams.key(self.seed, streams.DROPOUT, number)
        # What is no weight of the model is a state of Keras' own random generators.
        for number, variable in enumerate(
            variable for variable in model.non_trainable_variables if id(variable) not in values
        ):
            key = streams.key(self.seed, streams.KERAS_GENERATORS, number)
            values[id(variable)] = key.astype(variable.dtype)
        trainable = [values[id(variable)] for variable in model.trainable_variables]
        trained, _ = self.program.split(trainable)
        state = {
            "trainable": trainable,
            "non_trainable": [values[id(variable)] for variable in model.non_trainable_variables],
            "moments": [
                tuple(np.zeros_like(value) for _ in optimizer.moments) for value in trained
            ],
            "step": np.int32(0),
            "epoch": np.int32(0),
            "active": np.bool_(True),
            "diverged": np.int32(-1),
            "stopped": np.int32(-1),
            "best_cost": np.asarray(np.inf, self.program.dtype),
            "best_epoch": np.int32(-1),
        }
        if self.program.keep_best:
            state["best"] = trainable
        if self.program.early_stop is not None:
            state["window"] = np.zeros(self.program.early_stop.window, self.program.dtype)
        return state

    @property
    def epoch(self):
        """Epochs done."""
        return int(self.state["epoch"])

    @property
    def ended(self):
        """Whether nothing is left to train."""
        return not self.state["active"]

    def epoch_or_none(self, name):
        """Epoch of an event ("stopped", "diverged") that may not have happened."""
        epoch = int(self.state[name])
        return None if epoch < 0 else epoch

    def weights(self):
        """Last and best values in the order of `model.weights`."""
        return self.arranged(self.state["trainable"]), (
            self.arranged(self.state["best"]) if "best" in self.state else None
        )

    def arranged(self, trainable):
        """Values of all variables in the order of `model.weights`."""
        model = self.program.model
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        values = {
            id(variable): np.array(value)
            for variable, value in zip(
                variables, [*trainable, *self.state["non_trainable"]], strict=True
            )
        }
        return [values[id(variable)] for variable in model.weights]

    def record(self, records, slot, count):
        """Take over the summaries among the last `count` epochs."""
        every, first = self.program.summary_every, self.epoch
        now = time.time()
        for index in range(count):
            epoch = first + index
            if not records["active"][index, slot]:
                return
            if epoch == 0 or (epoch + 1) % every == 0:
                self.history["epoch"].append(epoch)
                self.history["wall_time"].append(now)
                for name in self.history.keys() - {"epoch", "wall_time"}:
                    self.history[name].append(records[name][index, slot])

    def restore(self):
        """Go on from the checkpoint, if there is one."""
        found = checkpoints.read(self.path, self.signature, self.state)
        if found is None:
            return
        self.state, self.history = found
        if self.epoch > self.epochs:
            raise ValueError(
                f"{self.path} is from epoch {self.epoch}, and only {self.epochs} are asked for; "
                "ask for at least as many, or remove the file to start from epoch 0."
            )
        # more epochs than before: a member that had reached its end goes on
        at_end = self.epoch_or_none("stopped") is None and self.epoch_or_none("diverged") is None
        if at_end and self.epoch < self.epochs:
            self.state["active"] = np.bool_(True)

    def write_checkpoint(self):
        """Write the checkpoint, if one is asked for."""
        if self.path is not None:
            checkpoints.write(self.path, self.signature, self.state, self.history)


class Group:
    """Slots that are trained by one program, and the members in them.

    Slots without a member hold a copy of one and stay inactive.
    """

    def __init__(self, program, run, members, slots):
        self.program, self.run, self.members, self.slots = program, run, members, slots
        self.state, self.writers = None, {}
        self.count = self.next_count = 1  # epochs of the coming chunk, and of the one after it
        self.written = time.monotonic()

    @property
    def running_members(self):
        """Members whose result has not been handed out."""
        return [member for member in self.members if not member.collected]

    @property
    def running(self):
        """Whether there is something to train."""
        return bool(self.running_members)

    def since_checkpoint(self):
        """Seconds since checkpoints were written."""
        return time.monotonic() - self.written

    def write_checkpoints(self):
        """Write a checkpoint for each member whose result has not been handed out."""
        for member in self.running_members:
            member.write_checkpoint()
        self.written = time.monotonic()

    def collect(self):
        """Members that ended and have not been collected before."""
        ended = [member for member in self.running_members if member.ended]
        for member in ended:
            member.collected = True
        return ended

    def stacked(self, of_member):
        """One structure with a leading axis of slots."""
        rows = [of_member(member) for member in self.members]
        rows += rows[:1] * (self.slots - len(rows))
        return keras.tree.map_structure(
            lambda *leaves: ops.convert_to_tensor(np.stack(leaves)), *rows
        )

    def start(self):
        """Put the members into the slots."""
        self.state = self.stacked(lambda member: member.state)
        used = np.arange(self.slots) < len(self.members)
        self.state["active"] = ops.logical_and(self.state["active"], ops.convert_to_tensor(used))
        self.settings = self.stacked(lambda member: member.settings)

    def coming(self, done, count):
        """Epochs of each slot in a chunk of `count` that begins `done` epochs from now."""
        epochs = []
        for member in self.members:
            first = member.epoch + done
            last = first if member.ended else min(first + count, member.epochs)
            epochs.append(range(first, max(first, last)))
        return epochs + [range(0)] * (self.slots - len(epochs))

    def advance(self, ahead, seconds):
        """Train the next chunk, of about `seconds`, and take over what it brings."""
        if self.state is None:
            self.start()
        seeds = [member.seed for member in self.members]
        seeds += [0] * (self.slots - len(seeds))
        length = self.program.length
        count, self.count = self.count, self.next_count
        feed = ahead.get(seeds, self.coming(0, count), length)
        ahead.announce(seeds, self.coming(count, self.count), length)
        count = min(count, max(len(epochs) for epochs in self.coming(0, count)))
        began = time.monotonic()
        self.state, records = self.run(
            self.state,
            keras.tree.map_structure(ops.convert_to_tensor, feed),
            self.settings,
            ops.convert_to_tensor(count, dtype="int32"),
        )
        state = keras.tree.map_structure(np.asarray, self.state)
        records = {name: np.asarray(values) for name, values in records.items()}
        took = time.monotonic() - began
        # Only how many epochs one call does, never what they compute, depends on time.
        self.next_count = int(np.clip(count * seconds / max(took, 1e-6), 1, length))
        for slot, member in enumerate(self.members):
            if not member.ended:
                seen = len(member.history["epoch"])
                member.record(records, slot, count)
                member.state = keras.tree.map_structure(lambda leaf, i=slot: leaf[i], state)
                self.summarize(member, seen)

    # ---- event files --------------------------------------------------------------------------

    def open_summaries(self, summaries):
        """Write the event files anew from the histories, and go on from there."""
        if summaries is None or summaries.folder_of is None:
            return
        for member in self.members:
            folder = summaries.folder_of(member.index) / "summaries"
            splits = [name for name in ("train", "test") if name in self.program.evaluations]
            self.writers[member.index] = {}
            for split in splits:
                write_scalars(folder / split, self.rows(member, split, 0))
                if not member.ended:
                    self.writers[member.index][split] = EventWriter(folder / split)

    def rows(self, member, split, first):
        """Summaries of one member from number `first` on: (epoch, time, values by tag)."""
        for index in range(first, len(member.history["epoch"])):
            values = {
                f"loss/{measure}": member.history[f"{split}/{measure}"][index]
                for measure in self.program.measures
            }
            yield int(member.history["epoch"][index]), member.history["wall_time"][index], values

    def summarize(self, member, first):
        """Append the summaries of the last chunk to the event files."""
        for split, writer in self.writers.get(member.index, {}).items():
            for epoch, wall_time, values in self.rows(member, split, first):
                writer.scalars(epoch, values, wall_time)
            writer.flush()
            if member.ended:
                writer.close()

    def close_summaries(self):
        """Close the event files."""
        for writers in self.writers.values():
            for writer in writers.values():
                writer.close()
