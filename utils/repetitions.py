"""The repetitions of a run: their folders, their seeds, their `run.json`."""

import contextlib
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from utils import paths, registry

Place = tuple[str, str, int | str]  # exp_folder, exp, run


class Repetitions:
    """The repetitions of a run that are still to do, in the order of their indices.

    Going through them seeds the generators of Python, NumPy and, where it is loaded, TensorFlow
    with each repetition's seed. This is a safety net: what draws numbers takes the seed itself.

    Attributes
    ----------
    seeds : list of int
        Seeds of those to do.
    declared : int
        How many the run has in all.
    every_index : list of int
        Indices of all that the run has.
    """

    def __init__(
        self,
        place: Place,
        members: "list[Repetition]",
        wanted: list[int],
        declared: int,
        divided: bool,
    ):
        self._place = place
        self._members = members
        self._wanted = wanted
        self._divided = divided
        self.seeds = [member.seed for member in members]
        self.declared = declared
        self.every_index = list(range(declared))
        for member in members:
            member.begin(self._one_ended)

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> "Iterator[Repetition]":
        for member in self._members:
            _seed_everything(member.seed)
            member.restart_clock()
            yield member

    @property
    def group(self) -> int | None:
        """How many are trained together, as an earlier start of the run has noted; None before."""
        size = self._members[0].info["group"]
        return None if size is None else int(size)

    def trained_in(self, form: str, size: int) -> None:
        """Note in which form they are trained, and the size of the group for later starts."""
        for member in self._members:
            member.info.update(form=form, group=size)
            member.write()

    def _one_ended(self) -> None:
        if any(member.info["state"] == "running" for member in self._members):
            return
        infos = registry.repetitions(*self._place)
        # other parts of a divided run may not have begun
        complete = len(infos) == self.declared or not self._divided
        if complete and all(info["state"] in registry.ENDED for info in infos):
            registry.add_to_ledger(*self._place, self._members[0].info["name"])

    def fail_rest(self, reason: str) -> int:
        """Mark those that have not ended as failed; return how many there were."""
        rest = [member for member in self._members if member.info["state"] == "running"]
        for member in rest:
            with contextlib.suppress(OSError):  # where nothing can be written, say the reason only
                member.failed(reason)
        return len(rest)

    def states(self) -> Counter[str]:
        """Return how many of those asked for, also by earlier starts, are in which state."""
        infos = registry.repetitions(*self._place)
        return Counter(info["state"] for info in infos if info["repetition"] in self._wanted)


class Repetition:
    """One training of a run.

    Attributes
    ----------
    index, seed : int
        Number within the run, and what its random numbers are drawn from.
    name : str
        ``{run's name}__{index}``.
    log_dir : Path
        Its folder, which exists.
    model_path : Path
        Where to save the model; the folder exists.
    checkpoint_path : Path
        Where the trainer keeps what it needs to continue.
    info : dict
        Content of its `run.json`.
    """

    def __init__(self, place: Place, name: str, index: int, seed: int, common: dict[str, Any]):
        self.index = index
        self.seed = seed
        self.name = f"{name}__{index}"
        self.log_dir = paths.log_dir(*place, name, index)
        self.model_path = paths.model_path(*place, name, index)
        self.checkpoint_path = self.log_dir / "checkpoint.npz"
        files = {"log_dir": self.log_dir, "model_path": self.model_path}
        self.info = {
            **common,
            "repetition": index,
            "seed": seed,
            **{key: _below_results(path) for key, path in files.items()},
        }
        self._group_name = f"{place[0]}/{paths.run_folder(*place[1:])}"
        self._clock = time.monotonic()
        self._on_end: Callable[[], None] = lambda: None

    def begin(self, on_end: Callable[[], None]) -> None:
        """Make the folders and note that the repetition runs."""
        self._on_end = on_end
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self.model_path.parent.mkdir(parents=True, exist_ok=True)
        self.write()
        self._describe()

    def restart_clock(self) -> None:
        """Note that the repetition starts now and not when the run did."""
        if self.info["state"] == "running":
            self._clock, self.info["start"] = time.monotonic(), now()

    def write(self) -> None:
        """Replace the `run.json`."""
        registry.write_json(self.log_dir / "run.json", self.info)

    def finish(self, **scores: object) -> None:
        """Note that the repetition is done.

        Parameters
        ----------
        **scores : float
            Final scores. Numbers that are not finite are kept as missing.

        Raises
        ------
        ValueError
            If a score is not a number, or the repetition has ended before.
        """
        self.info["scores"] = {name: _number(name, score) for name, score in scores.items()}
        self._end("done", None)
        self.checkpoint_path.unlink(missing_ok=True)

    def diverged(self, epoch: int) -> None:
        """Note that the cost was not finite any more.

        Parameters
        ----------
        epoch : int
            When that was.
        """
        self._end("diverged", f"the cost was not finite in epoch {epoch}")

    def failed(self, reason: str) -> None:
        """Note that the repetition came to nothing, and why."""
        self._end("failed", reason)

    def _end(self, state: str, reason: str | None) -> None:
        if self.info["state"] != "running":
            raise ValueError(
                f"repetition {self.index} is {self.info['state']} already and cannot become "
                f"{state}; a repetition ends once. Call finish, diverged or failed once."
            )
        seconds = round(time.monotonic() - self._clock, 3)
        self.info.update(state=state, reason=reason, end=now(), seconds=seconds)
        self.write()
        self._describe()
        self._on_end()

    def _describe(self) -> None:
        """Tell TensorBoard's page of hyper-parameters."""
        from NDN3 import events  # takes a while to load

        # No list of metrics: TensorBoard would take the first session's list, and its
        # hyper-parameters, for those of all experiments that it shows.
        scores = {name: score for name, score in self.info["scores"].items() if score is not None}
        events.write_hparams(
            self.log_dir,
            self.info["arguments"],
            self._group_name,
            scores=scores,
            status=self.info["state"],
            start_time=datetime.fromisoformat(self.info["start"]).timestamp(),
        )


def _number(name: str, score: Any) -> float | int | None:
    given = score
    try:
        for method in ("numpy", "item"):  # a tensor, then what NumPy keeps a single number in
            if hasattr(score, method):
                score = getattr(score, method)()
    except ValueError:
        pass
    if not isinstance(score, (int, float)):
        raise ValueError(
            f"score {name} is {given!r}; a score is one number. Give finish() a number, such as "
            "a mean."
        )
    return score if math.isfinite(score) else None


def _below_results(path: Path) -> str:
    return path.relative_to(paths.results_dir()).as_posix()


def now() -> str:
    """Return the present time, UTC, ISO 8601 to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _seed_everything(seed: int) -> None:
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - for code that draws from the global generator
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None:
        tensorflow.random.set_seed(seed)
