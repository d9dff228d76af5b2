"""Members and the group of slots in which they are trained."""

import contextlib
import time

import keras
import numpy as np
from keras import ops

from NDN3 import checkpoints, draws, streams


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

    def start_state(self, start):
        """State before the first step."""
        model, optimizer = self.program.model, self.program.optimizer
        values = {
            id(variable): np.asarray(value, variable.dtype).reshape(variable.shape)
            for variable, value in zip(model.weights, start, strict=True)
        }
        values |= draws.keys(model, self.seed)
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
            state["best"] = {name: state[name] for name in ("trainable", "non_trainable")}
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
        return self.arranged(self.state), (
            self.arranged(self.state["best"]) if "best" in self.state else None
        )

    def arranged(self, state):
        """Values of all variables in the order of `model.weights`."""
        model = self.program.model
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        values = {
            id(variable): np.array(value)
            for variable, value in zip(
                variables, [*state["trainable"], *state["non_trainable"]], strict=True
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
        found = checkpoints.read(self.path, self.signature, self.state, self.history)
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
        if at_end:  # or it was interrupted where it is to end now
            self.state["active"] = np.bool_(self.epoch < self.epochs)

    def release(self):
        """Forget all arrays but how far the training came."""
        self.state = {name: self.state[name] for name in ("active", "epoch")}

    def write_checkpoint(self):
        """Write the checkpoint, if one is asked for."""
        if self.path is not None:
            checkpoints.write(self.path, self.signature, self.state, self.history)


class Group:
    """Slots that are trained by one program, and the members in them.

    A slot whose member has ended takes the next waiting one, whatever the age of its neighbours:
    slots never see each other. A slot without a member holds a copy of another one's arrays and
    stays inactive.

    Parameters
    ----------
    program : NDN3.lockstep.Program
    run : callable
        `program.compile()`.
    waiting : collections.deque of Member
        Members without a slot; several groups may take from it.
    slots : int
    ahead : NDN3.batches.Ahead
        Makes the batches of this group.
    summaries : NDN3.training.Summaries, optional
    """

    def __init__(self, program, run, waiting, slots, ahead, summaries):
        self.program, self.run, self.waiting, self.ahead = program, run, waiting, ahead
        self.summaries = summaries
        self.members = [None] * slots
        self.state, self.settings, self.writers = None, None, {}
        self.count = self.next_count = 1  # epochs of the coming chunk, and of the one after it
        self.written = time.monotonic()

    @property
    def running_members(self):
        """Members in the slots whose result has not been handed out."""
        return [member for member in self.members if member is not None]

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
        """Members that ended, in the order of their seeds; their slots are free now."""
        ended = [member for member in self.running_members if member.ended]
        self.members = [None if member in ended else member for member in self.members]
        return sorted(ended, key=lambda member: member.index)

    def refill(self):
        """Put waiting members into free slots."""
        entered = []
        for slot, member in enumerate(self.members):
            if member is None:
                with contextlib.suppress(IndexError):  # nobody waits any more
                    self.members[slot] = self.waiting.popleft()
                    entered.append(slot)
                    self.open_summaries(self.members[slot])
        if entered and self.running:
            self.load(entered)

    def load(self, entered):
        """Move the arrays of members that have just entered into their slots."""
        if self.state is None:
            self.state = self.stacked(lambda member: member.state)
            self.settings = self.stacked(lambda member: member.settings)
            used = np.array([member is not None for member in self.members])
            active = ops.logical_and(self.state["active"], ops.convert_to_tensor(used))
            self.state["active"] = active
            return

        def placed(tensor, *rows):
            array = np.array(tensor)
            for slot, row in zip(entered, rows, strict=True):
                array[slot] = row
            return ops.convert_to_tensor(array)

        members = [self.members[slot] for slot in entered]
        states, settings = (
            [member.state for member in members],
            [member.settings for member in members],
        )
        self.state = keras.tree.map_structure(placed, self.state, *states)
        self.settings = keras.tree.map_structure(placed, self.settings, *settings)

    def stacked(self, of_member):
        """One structure with a leading axis of slots."""
        spare = of_member(self.running_members[0])
        rows = [spare if member is None else of_member(member) for member in self.members]
        return keras.tree.map_structure(
            lambda *leaves: ops.convert_to_tensor(np.stack(leaves)), *rows
        )

    def coming(self, done, count):
        """Epochs of each slot in a chunk of `count` that begins `done` epochs from now."""
        epochs = []
        for member in self.members:
            if member is None or member.ended:
                epochs.append(range(0))
            else:
                first = member.epoch + done
                epochs.append(range(first, max(first, min(first + count, member.epochs))))
        return epochs

    def advance(self, seconds):
        """Train the next chunk, of about `seconds`, and take over what it brings.

        The slots that became free are refilled first.
        """
        self.refill()
        seeds = [0 if member is None else member.seed for member in self.members]
        length = self.program.length
        count, self.count = self.count, self.next_count
        left = [len(epochs) for epochs in self.coming(0, count) if epochs]
        if not left:
            return
        # A slot that falls idle in the middle of a chunk could already train the next member.
        count = min(left) if self.waiting else max(left)
        feed = self.ahead.get(seeds, self.coming(0, count), length)
        self.ahead.announce(seeds, self.coming(count, self.count), length)
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
            if member is not None and not member.ended:
                seen = len(member.history["epoch"])
                member.record(records, slot, count)
                member.state = keras.tree.map_structure(lambda leaf, i=slot: leaf[i], state)
                self.summarize(member, seen)

    # ---- event files --------------------------------------------------------------------------

    def open_summaries(self, member):
        """Write the event files of a member anew from its history, and go on from there."""
        if self.summaries is None or self.summaries.folder_of is None:
            return
        # here, because a machine that only trains may lack the tensorboard package
        from NDN3.events import EventWriter, write_scalars

        folder = self.summaries.folder_of(member.index) / "summaries"
        splits = [name for name in ("train", "test") if name in self.program.evaluations]
        mark = self.summaries.mark
        self.writers[member.index] = {}
        for split in splits:
            write_scalars(folder / split, self.rows(member, split, 0), mark)
            if not member.ended:
                self.writers[member.index][split] = EventWriter(folder / split, mark=mark)

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
