"""Slurm: its commands and its answers, see `utils.engines`."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

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


class Slurm:
    """Slurm."""

    name = "slurm"
    title = "Slurm"
    first_task = 0
    variables: Mapping[str, Any] = {
        "task": "SLURM_ARRAY_TASK_ID",
        "job": ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID"),
        "slots": "SLURM_CPUS_PER_TASK",
    }
    ours = frozenset(
        "-J --job-name -a --array -D --chdir -o --output -e --error -W --wait --test-only "
        "--parsable --export --wrap -d --dependency --requeue --open-mode --signal".split()
    )
    ENDED = {
        "TIMEOUT": Seen("timeout", "the queue's time limit ended it"),
        "DEADLINE": Seen("timeout", "the queue's deadline ended it"),
        "OUT_OF_MEMORY": Seen("memory", "the queue's memory limit ended it"),
        "CANCELLED": Seen("cancelled", "cancelled in the queue"),
        "COMPLETED": Seen("ended", "Slurm says: COMPLETED"),
        "FAILED": Seen("ended", "Slurm says: FAILED"),
        "NODE_FAIL": Seen("ended", "its node failed"),
        "BOOT_FAIL": Seen("ended", "its node failed to start"),
        "PREEMPTED": Seen("ended", "it was preempted"),
    }
    NEVER = (
        *("PartitionConfig", "DependencyNeverSatisfied", "BadConstraints", "JobHeldAdmin"),
        *("PartitionTimeLimit", "PartitionNodeLimit", "launch failed"),
    )

    def submit_command(self, call: Call, demand: Demand, root: str) -> list[str]:
        """Return the command that submits a call; it is to be run in `root`."""
        words = ["sbatch", "--parsable", "-J", call.name]
        if call.tasks:
            throttle = f"%{call.at_once}" if call.at_once else ""
            words.append(f"--array=0-{call.tasks - 1}{throttle}")
        words += [*demand.options, "-c", str(demand.slots)]
        words += [f"--{name}={value}" for name, value in demand.resources.items()]
        if demand.seconds:
            words.append(f"--time={-(-demand.seconds // 60)}")
            words.append(f"--signal=B:USR1@{demand.warning_s}")
        after = [*call.after, *([call.task_by_task] if call.task_by_task else [])]
        words += [f"--dependency=afterany:{':'.join(after)}"] if after else []
        words += ["-D", root, "--no-requeue", "-o", call.log.replace("%", "%%")]
        words += ["--open-mode=append", f"--export={','.join(demand.environment) or 'NONE'}"]
        return [*words, *call.words]

    def parse_submitted(self, text: str) -> str:
        """Return the job's number from what `submit_command` printed.

        Raises
        ------
        QueueError
            If there is none in it.
        """
        lines = text.split()
        found = re.fullmatch(r"(\d+)(;.*)?", lines[-1]) if lines else None
        if found is None:
            raise unreadable("sbatch", text)
        return found[1]

    def judge_command(self, call: Call, demand: Demand, root: str) -> list[str]:
        """Return the command that submits nothing and says whether such a call can ever run."""
        command = self.submit_command(call, demand, root)
        return [command[0], "--test-only", *command[1:]]

    def refuses(self, why: str) -> bool:
        """Whether what `judge_command` answered is a refusal."""
        return True

    def nodes_command(self) -> list[str]:
        """Return the command that lists the states of all nodes."""
        return ["sinfo", "-h", "-N", "-o", "%T"]

    def some_are_away(self, text: str) -> bool:
        """Whether by the answer to `nodes_command` a node is drained, down or does not answer.

        Such a node is judged as if it did not exist, although jobs may wait for it.
        """
        return any(re.match(r"drain|down|fail|maint|reboot|unk|.*\*$", row) for row in text.split())

    def states_command(self, user: str) -> list[str]:
        """Return the command that lists what a user has in the queue, or had lately."""
        return ["squeue", "-u", user, "-h", "-r", "-t", "all", "-o", "%F|%K|%T|%r|%j"]

    def parse_states(self, text: str) -> Queue:
        """Return the jobs in the answer to `states_command`.

        Raises
        ------
        QueueError
            If it cannot be read.
        """
        queue: Queue = {}
        for line in text.splitlines():
            fields = line.split("|", 4)
            if queue and not (fields[0].isdigit() and fields[1:]):
                continue  # the rest of a name with a line break, which none of ours has
            if len(fields) != 5 or not fields[0].isdigit():
                raise unreadable("squeue", text)
            number, task, state, reason, name = fields
            job = queue.setdefault(number, QueueJob(name))
            seen = self._seen(state, reason)
            if task.isdigit():
                job.ranges.append((int(task), int(task), 1, seen))
            else:  # no array, or what was left of one when it was cancelled
                job.others = seen
        return queue

    def _seen(self, state: str, reason: str) -> Seen:
        if state in self.ENDED:
            return self.ENDED[state]
        if state == "PENDING":
            stuck = reason.startswith(self.NEVER)
            return Seen("stuck" if stuck else "pending", f"Slurm says: {reason}" if stuck else "")
        return Seen("running")  # a state that nobody knows is that of a living job

    def cancel_commands(self, job: str, numbers: Sequence[int] | None) -> list[list[str]]:
        """Return the commands that cancel some tasks of a job; the whole job without numbers."""
        if numbers is None:
            return [["scancel", job]]
        named = [f"{first}-{last}" for first, last in as_ranges(numbers)]
        return [["scancel", f"{job}_[{','.join(part)}]"] for part in in_parts(named)]

    def limits_command(self) -> list[str]:
        """Return the command that shows the engine's limits."""
        return ["scontrol", "show", "config"]

    def parse_limits(self, text: str) -> Limits:
        """Return the limits in the answer to `limits_command`.

        Raises
        ------
        QueueError
            If they are not in it.
        """
        told = dict(re.findall(r"^(\w+)\s*=\s*(\d+)", text, re.MULTILINE))
        if "MaxArraySize" not in told:
            raise unreadable("scontrol", text)
        return Limits(
            max(1, int(told["MaxArraySize"])),
            float(told.get("KillWait", 30)),
            int(told.get("MaxJobCount", 0)),
        )

    def log_problem(self, path: str) -> str:
        """Return the characters in a path that mean something else to the engine, in words."""
        return ", ".join(repr(sign) for sign in "\\\n" if sign in path)

    def why_command(self, job: str) -> list[str]:
        """Return the command that tells why a job is stuck: none, its states have told it."""
        return []

    def parse_why(self, text: str) -> str:
        """Return the reason in the answer to `why_command`."""
        return ""

    def ended_command(self, job: str, number: int) -> list[str]:
        """Return the command that tells how a task has ended: none, there may be no accounts."""
        return []

    def parse_ended(self, text: str, name: str) -> Seen:
        """Return how a task has ended."""
        return GONE
