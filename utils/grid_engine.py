"""Grid Engine: its commands and its answers, see `utils.engines`."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from utils.engines import (
    GONE,
    Call,
    Demand,
    Limits,
    Queue,
    QueueJob,
    Seen,
    as_ranges,
    in_parts,
    unreadable,
)


class GridEngine:
    """Grid Engine and its descendants."""

    name = "grid-engine"
    title = "Grid Engine"
    first_task = 1
    variables: Mapping[str, Any] = {
        "task": "SGE_TASK_ID",
        "job": ("JOB_ID",),
        "slots": "NSLOTS",
    }
    ours = frozenset(
        "-N -t -tc -cwd -wd -j -o -e -r -notify -V -b -shell -sync -w -verify -help -terse -now "
        "-hold_jid -hold_jid_ad -clear -@".split()
    )
    PATIENCE_S = 5.0  # `notify` of a queue can be shorter than the usual 60 s

    def submit_command(self, call: Call, demand: Demand, root: str) -> list[str]:
        """Return the command that submits a call; it is to be run in `root`."""
        words = ["qsub", "-terse", "-N", call.name]
        if call.tasks:
            words += ["-t", f"1-{call.tasks}"]
            words += ["-tc", str(call.at_once)] if call.at_once else []
        words += demand.options
        if demand.parallel_environment:
            words += ["-pe", demand.parallel_environment, str(demand.slots)]
        resources = dict(demand.resources)
        if demand.seconds:
            soft = max(1, demand.seconds - demand.warning_s)
            resources |= {"h_rt": str(demand.seconds), "s_rt": str(soft)}
        if resources:
            words += ["-l", ",".join(f"{name}={value}" for name, value in resources.items())]
        if call.after:
            words += ["-hold_jid", ",".join(call.after)]
        if call.task_by_task:
            words += ["-hold_jid_ad", call.task_by_task]
        words += ["-cwd", "-j", "y", "-o", call.log, "-r", "n", "-notify"]
        # a name without a value would be handed over empty
        there = [name for name in demand.environment if name in os.environ]
        words += ["-v", ",".join(there)] if there else []
        # without the latter a shell on the node would read the words once more
        return [*words, "-b", "y", "-shell", "n", *call.words]

    def parse_submitted(self, text: str) -> str:
        """Return the job's number from what `submit_command` printed.

        Raises
        ------
        QueueError
            If there is none in it.
        """
        lines = text.split()
        found = re.fullmatch(r"(\d+)(\.\d+-\d+:\d+)?", lines[-1]) if lines else None
        if found is None:
            raise unreadable("qsub", text)
        return found[1]

    def judge_command(self, call: Call, demand: Demand, root: str) -> list[str]:
        """Return the command that submits nothing and says whether such a call can ever run."""
        command = self.submit_command(call, demand, root)
        return [command[0], "-w", "v", *command[1:]]

    def refuses(self, why: str) -> bool:
        """Whether what `judge_command` answered is a refusal; it is too strict to be believed."""
        return "rejected" in why

    def nodes_command(self) -> list[str]:
        """Return the command that lists the states of all nodes: none, judged by what they have."""
        return []

    def some_are_away(self, text: str) -> bool:
        """Whether a request may be refused for a node that is away."""
        return False

    def states_command(self, user: str) -> list[str]:
        """Return the command that lists what a user has in the queue."""
        return ["qstat", "-xml", "-u", user]

    def parse_states(self, text: str) -> Queue:
        """Return the jobs in the answer to `states_command`.

        Raises
        ------
        QueueError
            If it cannot be read.
        """
        try:
            root = ElementTree.fromstring(text)
        except ElementTree.ParseError:
            raise unreadable("qstat", text) from None
        if root.tag != "job_info":
            raise unreadable("qstat", text)
        queue: Queue = {}
        for entry in root.iter("job_list"):
            number = entry.findtext("JB_job_number", "")
            job = queue.setdefault(number, QueueJob(entry.findtext("JB_name", "")))
            seen = self._seen(entry.findtext("state", ""))
            tasks = entry.findtext("tasks")
            if tasks is None:
                job.others = seen
                continue
            for part in tasks.split(","):
                numbers = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part.strip())
                if numbers is None:
                    raise unreadable("qstat", text)
                first = int(numbers[1])
                job.ranges.append((first, int(numbers[2] or first), int(numbers[3] or 1), seen))
        return queue

    @staticmethod
    def _seen(letters: str) -> Seen:
        """Letters combine; those that nobody knows are those of a living job."""
        if "E" in letters:
            return Seen("stuck", f"Grid Engine could not start it (state {letters})")
        if set(letters) & set("rtsST"):
            return Seen("running")
        return Seen("pending")

    def cancel_commands(self, job: str, numbers: Sequence[int] | None) -> list[list[str]]:
        """Return the commands that cancel some tasks of a job; the whole job without numbers."""
        if numbers is None:
            return [["qdel", job]]
        named = [f"{job}.{first}-{last}" for first, last in as_ranges(numbers)]
        return [["qdel", *part] for part in in_parts(named)]

    def limits_command(self) -> list[str]:
        """Return the command that shows the engine's limits."""
        return ["qconf", "-sconf"]

    def parse_limits(self, text: str) -> Limits:
        """Return the limits in the answer to `limits_command`.

        Raises
        ------
        QueueError
            If they are not in it.
        """
        found = re.search(r"^max_aj_tasks\s+(\d+)", text, re.MULTILINE)
        if found is None:
            raise unreadable("qconf", text)
        return Limits(int(found[1]) or 10**9, self.PATIENCE_S)

    def log_problem(self, path: str) -> str:
        """Return the characters in a path that mean something else to the engine, in words."""
        return ", ".join(repr(sign) for sign in ":,$\n" if sign in path)

    def why_command(self, job: str) -> list[str]:
        """Return the command that tells all about a job that has not ended."""
        return ["qstat", "-j", job]

    def parse_why(self, text: str) -> str:
        """Return the first reason for which a job is in its error state, empty when none is."""
        found = re.search(r"^error reason\s+\d+:\s*(.*)$", text, re.MULTILINE)
        # in front of the reason stand a time and the process that failed
        return re.sub(r"^\S+ \S+ \[[\d:]+\]: ", "", found[1].strip()) if found else ""

    def ended_command(self, job: str, number: int) -> list[str]:
        """Return the command that tells how a task has ended; 0 for a job that is no array."""
        return ["qacct", "-j", job, *(["-t", str(number)] if number else [])]

    def parse_ended(self, text: str, name: str) -> Seen:
        """Return how a task of the job of that name has ended, by the engine's accounts."""
        accounts = [
            dict(re.findall(r"^(\w+)[^\S\n]+(.*\S)", account, re.MULTILINE))
            for account in re.split(r"^=+$", text, flags=re.MULTILINE)
        ]
        # the number of a job that was forgotten may have been another's
        mine = [account for account in accounts if account.get("jobname") == name]
        if not mine or not {"failed", "exit_status"} <= mine[-1].keys():
            return GONE
        failed, status = mine[-1]["failed"], mine[-1]["exit_status"].split()[0]
        if failed.split()[0] == "37":
            return Seen("timeout", "the queue's time limit ended it")
        if failed.split()[0] != "0":
            return Seen("ended", f"Grid Engine says: failed {failed}")
        return Seen("ended", f"its job ended with status {status}")
