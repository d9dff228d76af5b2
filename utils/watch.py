"""What ``runs watch`` shows: counts, running runs with their progress, what ended badly and why.

On a terminal the view is redrawn in place until Ctrl-C; elsewhere it is printed again and again
until nothing is under way. Logs are read of the runs that are shown alone, and rarely.
"""

import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

from utils import job_node, known_runs, paths, progress, run_names, screen, states
from utils.command_lines import Refusal
from utils.live_states import LiveStates

MOST_PLAIN = 20
"""So many runs are shown where there is no terminal."""

EVERY_S = 5
LOOK_AGAIN_S = 60.0
READ_S = 30.0

Shown = tuple[LiveStates, states.RunState]


class View:
    """What is seen of some experiments.

    Parameters
    ----------
    what : str, optional
        Group, or group and experiment; everything without it.
    clock : callable
        Gives the time in seconds.

    Raises
    ------
    Refusal, ValueError
        If there is nothing of that name.
    """

    def __init__(self, what: str | None = None, clock: Callable[[], float] = time.monotonic):
        name = run_names.parse(what) if what else None
        if name is not None and name.runs is not None:
            raise Refusal(
                f"runs watch takes GROUP or GROUP/EXP, not {what}; `runs log {what} --follow` "
                "shows one run"
            )
        found = known_runs.find(what, whole_group=True) if what else known_runs.everything()
        self._name = name
        self._clock = clock
        self.live = {
            (known.exp_folder, known.exp): LiveStates(
                known.exp_folder, known.exp, known.runs, clock
            )
            for known in found
        }
        self._looked = clock()
        self._said: dict[tuple[str, states.RunState], tuple[float, str]] = {}

    def look(self) -> None:
        """Find out what has changed; experiments that are new are seen within a minute."""
        if self._clock() - self._looked >= LOOK_AGAIN_S:
            self._looked = self._clock()
            for place in states.with_jobs():
                if place not in self.live and self._wanted(*place):
                    self.live[place] = LiveStates(*place, {}, self._clock)
        for live in self.live.values():
            live.look()

    def _wanted(self, group: str, exp: str) -> bool:
        name = self._name
        return name is None or (group == name.exp_folder and name.exp in (None, exp))

    @property
    def under_way(self) -> bool:
        """Whether a run is running, waiting, or cannot be asked."""
        return any(live.counts()[name] for live in self.live.values() for name in states.UNDER_WAY)

    def lines(self, most: int) -> list[str]:
        """Return the view as lines, with at most so many runs.

        Parameters
        ----------
        most : int
            Half of it at most is for runs that ended badly while others are running.
        """
        counts = [(live.name, states.listed(live.counts())) for live in self.live.values()]
        text = screen.aligned([row for row in counts if row[1]])
        running, bad = self._notable()
        n_bad = min(len(bad), max(most // 2, most - len(running)))
        shown = [*running[: most - n_bad], *bad[:n_bad]]
        self._said = {(live.name, state): self._told(live, state) for live, state in shown}
        lines = text.splitlines()
        if shown:
            rows = [
                (f"{name}:{state.run}", state.state, state.attempt or "", said)
                for (name, state), (_, said) in self._said.items()
            ]
            head = ("RUN", "STATE", "TRY", "PROGRESS OR REASON")
            lines += ["", *screen.aligned(rows, head, right=(2,)).splitlines()]
        left = len(running) + len(bad) - len(shown)
        return [*lines, f"… and {left} more: runs list --all"] if left else lines

    def _notable(self) -> tuple[list[Shown], list[Shown]]:
        """Runs that are running, and those that ended badly, the worst first."""
        every = [(live, state) for live in self.live.values() for state in live.notable()]
        running = [pair for pair in every if pair[1].state in states.UNDER_WAY]
        severity = list(states.STATES).index
        bad = [pair for pair in every if pair[1].state not in states.UNDER_WAY]
        return running, sorted(bad, key=lambda pair: severity(pair[1].state))

    def _told(self, live: LiveStates, state: states.RunState) -> tuple[float, str]:
        """Return what a run said last, or why it ended, and when that was read."""
        now = self._clock()
        read, said = self._said.get((live.name, state), (-READ_S, ""))
        if state.state != "running" and said:
            return read, said
        if now - read < READ_S:
            return read, said
        if state.state == "running":
            jobs_dir = paths.jobs_dir(live.exp_folder, live.exp)
            log = job_node.log_file(jobs_dir, state.run, state.part, "o")
            far = progress.read(job_node.last_line(log))
            return now, str(far) if far else said
        info = states.details(live.exp_folder, live.exp, state)
        return now, str(state.note or info.get("reason") or states.STATES[state.state])


def watch(
    what: str | None,
    every: float = EVERY_S,
    stream: TextIO | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Show how runs stand, again and again; return the exit status.

    Parameters
    ----------
    what : str, optional
        Group, or group and experiment; everything without it.
    every : float
        Seconds between two looks.
    stream : text stream, optional
        Where to write; the standard output without it.
    sleep : callable
        Waits for so many seconds.
    """
    stream = stream or sys.stdout
    view = View(what)
    if not view.live:
        print(f"there are no runs in {paths.results_dir()} yet; start some with a runner")
        return 0
    terminal = progress.is_terminal(stream)
    drawn = 0
    try:
        while True:
            view.look()
            if terminal:
                drawn = _draw(view, every, stream, drawn)
            else:
                lines = [time.strftime("%H:%M:%S"), *view.lines(MOST_PLAIN), ""]
                stream.write("\n".join(lines) + "\n")
                stream.flush()
                if not view.under_way:
                    return 0
            sleep(every)
    except KeyboardInterrupt:  # how one ends looking; the runs go on
        return 0


def _draw(view: View, every: float, stream: TextIO, drawn: int) -> int:
    """Write the view over the `drawn` lines of the one before; return how many it has."""
    size = shutil.get_terminal_size()
    last = f"{time.strftime('%H:%M:%S')}, again every {every:g} s; Ctrl-C ends the view alone"
    most = max(1, size.lines - len(view.live) - 5)
    # a line that fills the last column or row would make a terminal scroll
    lines = [*view.lines(most)[: size.lines - 2], last]
    text = "\n".join(screen.shortened(line, size.columns - 1) for line in lines)
    back = f"\x1b[{drawn}A\r\x1b[J" if drawn else ""
    encoding = stream.encoding or "utf-8"
    stream.write(back + text.encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()
    return len(lines)
