"""Members trained to their end: groups of slots take turns, or work side by side in threads."""

import concurrent.futures
import contextlib
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from NDN3 import interrupts
from NDN3.batches import Ahead
from NDN3.groups import Group

CHUNK_SECONDS = 1.0
CHECKPOINT_SECONDS = 15.0


@dataclass
class Result:
    """What became of one member.

    Attributes
    ----------
    index : int
        Position in `seeds`.
    seed : int
    weights : list of ndarray
        In the order of `model.weights`.
    best_weights : list of ndarray or None
        Those of the best epoch, if they were asked for.
    history : dict of ndarray
        One entry per summary: "epoch", "loss" (mean over the batches), and, such as
        "test/cost", what was evaluated.
    best_epoch : int
        Epoch with the lowest watched cost; -1 if it never was a number.
    stopped_epoch, diverged_epoch : int or None
        Epoch in which early stopping ended the training, or cost or weights were no longer finite.
    seconds : float
        Wall time since training began.
    form : {"group", "turns"}
        How members were trained.
    group : int
        Number of slots; with the same number every bit comes out again.
    """

    index: int
    seed: int
    weights: list
    best_weights: list | None
    history: dict
    best_epoch: int
    stopped_epoch: int | None
    diverged_epoch: int | None
    seconds: float
    form: str
    group: int


class Training:
    """All members of one call, and the groups in which they are trained.

    Parameters
    ----------
    program : NDN3.lockstep.Program
    run : callable
        The compiled program.
    members : list of NDN3.groups.Member
    epochs : int
        Of each member.
    threads : int
        Groups that work at the same time.
    summaries : NDN3.training.Summaries, optional
    progress : callable, optional
        As for `NDN3.training.fit`.
    """

    def __init__(self, program, run, members, epochs, threads, summaries, progress):
        self.program, self.members, self.epochs = program, members, epochs
        self.threads, self.progress = threads, progress
        self.form = "group" if program.mapped else "turns"
        self.feeding = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        waiting = deque(members)
        # In turns all members advance together. Otherwise a group has as many slots as the program,
        # and who finds none free waits.
        count = len(members)
        if program.mapped:
            count = min(threads, -(-count // program.slots))
        self.groups = [
            Group(
                program,
                run,
                waiting,
                program.slots,
                Ahead(program.source, self.feeding),
                summaries,
            )
            for _ in range(count)
        ]

    def results(self):
        """Result of each member when it ends."""
        began = time.monotonic()
        idle = deque(self.groups)
        with contextlib.ExitStack() as at_end:
            at_end.callback(self.close)
            workers = None
            if self.threads > 1:
                workers = concurrent.futures.ThreadPoolExecutor(max_workers=self.threads)
                at_end.callback(workers.shutdown)
            busy = {}
            while idle or busy:
                found = []
                # Left only to hand out results, so that no signal comes between two chunks.
                with interrupts.deferred(lambda: self.write_checkpoints(busy)) as pending:
                    while (idle or busy) and not found and not pending:
                        while idle and len(busy) < self.threads and not pending:
                            group = idle.popleft()
                            busy[started(workers, group)] = group
                        advanced = [busy.pop(future) for future in first_ended(busy)]
                        if self.progress is not None:
                            report(self.progress, self.members, self.epochs)
                        for group in advanced:
                            found += self.taken_from(group, time.monotonic() - began)
                            if group.running or group.waiting:
                                idle.append(group)
                yield from found

    def taken_from(self, group, seconds):
        """Results of the members of a group that have ended; writes checkpoints when due."""
        ended = any(member.ended for member in group.running_members)
        if ended or group.since_checkpoint() > CHECKPOINT_SECONDS:
            group.write_checkpoints()
        found = []
        for member in group.collect():
            found.append(self.result(member, seconds))
            member.release()
        return found

    def write_checkpoints(self, busy):
        """Write those of all groups, once the chunks that are being computed have ended."""
        concurrent.futures.wait(busy)
        for group in self.groups:
            group.write_checkpoints()

    def result(self, member, seconds):
        """Result of a member that has ended."""
        weights, best = member.weights()
        return Result(
            index=member.index,
            seed=member.seed,
            weights=weights,
            best_weights=best,
            history={name: np.asarray(values) for name, values in member.history.items()},
            best_epoch=int(member.state["best_epoch"]),
            stopped_epoch=member.epoch_or_none("stopped"),
            diverged_epoch=diverged_epoch(member, weights),
            seconds=seconds,
            form=self.form,
            group=self.program.slots,
        )

    def close(self):
        """End the thread that makes batches, close the event files."""
        self.feeding.shutdown(wait=True, cancel_futures=True)
        for group in self.groups:
            group.close_summaries()


def diverged_epoch(member, weights):
    """Epoch in which a member diverged, or None.

    The trainer looks at costs before each step; what the last step did shows in the weights, and in
    the cost of the training rows where it was evaluated after it.

    Parameters
    ----------
    member : NDN3.groups.Member
        It has ended.
    weights : list of ndarray
        Its last ones.

    Returns
    -------
    int or None
    """
    found = member.epoch_or_none("diverged")
    if found is not None:
        return found
    last, history = member.epoch - 1, member.history
    evaluated = bool(history["epoch"]) and history["epoch"][-1] == last
    costs = [history["train/cost"][-1]] if evaluated and "train/cost" in history else []
    return None if all(np.isfinite(each).all() for each in (*weights, *costs)) else last


def started(workers, group):
    """Future of a group's next chunk; without workers it is computed right here."""
    if workers is not None:
        return workers.submit(group.advance, CHUNK_SECONDS)
    future = concurrent.futures.Future()
    future.set_result(group.advance(CHUNK_SECONDS))
    return future


def first_ended(futures):
    """Futures that have ended, at least one; a problem in one of them is raised here."""
    ended, _ = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_COMPLETED)
    for future in ended:
        future.result()
    return ended


def report(progress, members, epochs):
    """Tell the caller how far the members are."""
    done = sum(epochs if member.ended else member.epoch for member in members)
    running = [member for member in members if not member.ended]
    epoch = max(member.epoch for member in running or members)
    costs = [member.history["loss"][-1] for member in members if member.history["loss"]]
    text = f"epoch {epoch} of {epochs}, {len(members) - len(running)} of {len(members)} "
    text += "repetitions done"
    if costs:
        text += f", training cost {np.median(costs):.4g}"
    progress(done, epochs * len(members), text)
