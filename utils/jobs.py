"""The command ``runs``: what became of the runs, and what to do about them."""

import codecs
import contextlib
import errno
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

try:
    from utils import (
        job_node,
        known_runs,
        ledger,
        needs,
        paths,
        plans,
        progress,
        queue_states,
        queues,
        registry,
        run_names,
        signatures,
        states,
    )
    from utils.command_lines import Parser, Refusal, answer, hours, positive
    from utils.known_runs import Known
    from utils.screen import aligned, escaped, near, shell_line
except ModuleNotFoundError as problem:
    sys.exit(f"{problem}; run `source ./activate` in the checkout first")

MOST_LISTED = 40
FOLLOW_S = 0.5


def main() -> NoReturn:
    """Do what the command line of ``runs`` asks for, and exit."""
    sys.exit(answer(lambda: follow(sys.argv[1:])))


def follow(arguments: Sequence[str]) -> int:
    """Follow the command line of ``runs``; return the exit status."""
    options = _parser().read(arguments)
    command: Callable[[Any], int] | None = getattr(options, "command", None)
    if command is None:
        _parser().print_help()
        return 2
    if paths.results_dir().exists() and not paths.results_dir().is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "", str(paths.results_dir()))
    return command(options)


def _parser() -> Parser:
    parser = Parser(
        prog="runs",
        description="What became of the runs. RUN is GROUP/EXP:3, GROUP/EXP:3-7, or GROUP/EXP.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)

    def add(name: str, command: Callable[[Any], int], text: str) -> Parser:
        sub: Parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(command=command, parser=sub)
        return sub

    sub = add("list", list_runs, "states of the runs, those that failed first")
    sub.add_argument("what", nargs="?", metavar="GROUP[/EXP]", help="only these")
    sub.add_argument("--all", action="store_true", help=f"more than {MOST_LISTED} rows")
    sub = add("watch", watch, "states and progress of the runs, again and again until Ctrl-C")
    sub.add_argument("what", nargs="?", metavar="GROUP[/EXP]", help="only these")
    sub.add_argument("--every", type=positive, metavar="S", help="seconds between two looks (5)")
    sub = add("show", show, "all that is known about a run")
    sub.add_argument("runs", nargs="+", metavar="RUN")
    sub = add("log", log, "what a run printed")
    sub.add_argument("runs", nargs="+", metavar="RUN")
    sub.add_argument("--errors", action="store_true", help="its error stream instead")
    sub.add_argument("--follow", action="store_true", help="go on until the run ends")
    sub.add_argument(
        "--part", type=positive, metavar="K", help="of a divided run (default: what stands worst)"
    )
    sub = add("table", table, "scores: median, 10th and 90th percentile over repetitions")
    sub.add_argument("what", nargs="?", metavar="GROUP[/EXP]", help="only these")
    sub.add_argument("--csv", action="store_true", help="a row per repetition, for other programs")
    sub = add("plot", plot, "learning curves with percentile bands, as a picture")
    sub.add_argument("what", metavar="GROUP/EXP")
    sub.add_argument(
        "--by", metavar="ARG,…", help="a curve per value of these (default: all that differ)"
    )
    sub.add_argument("--tag", metavar="TAG", help="which summary (default: correlation)")
    sub.add_argument("--out", metavar="FILE", help="where to write it")
    sub = add("cancel", cancel, "stop runs")
    sub.add_argument("runs", nargs="+", metavar="RUN")
    sub = add("retry", retry, "start runs again that ended badly or were never started")
    sub.add_argument("runs", nargs="*", metavar="RUN")
    sub.add_argument(
        "--failed",
        nargs="?",
        const="",
        metavar="GROUP/EXP",
        help="all of these that are not done; alone, those among the named runs",
    )
    sub.add_argument("--jobs", type=positive, metavar="N", help="runs at a time")
    sub.add_argument("--memory", metavar="SIZE", help="in a queue, so much for each, such as 16G")
    sub.add_argument("--hours", type=hours, metavar="H", help="in a queue, so long at most")
    sub = add("send", send, "send runs to a queue that had no room for them")
    sub.add_argument("what", nargs="?", metavar="GROUP[/EXP]", help="only these")
    sub = add("remove", remove, "delete runs with all that they left, so that they can be redone")
    sub.add_argument("runs", nargs="+", metavar="RUN")
    sub.add_argument("--hand", action="store_true", help="only runs that were started by hand")
    sub.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def list_runs(options: Any) -> int:
    """Print counts per experiment and the rows that matter most."""
    found = known_runs.find(options.what, whole_group=True) if options.what else None
    found = known_runs.everything() if found is None else found
    whole = not options.what or run_names.parse(options.what).runs is None
    known = {(one.exp_folder, one.exp): one.runs for one in found} if whole else {}
    with contextlib.suppress(OSError):  # a colleague's results
        ledger.refresh(known)
    if not found:
        print(f"there are no runs in {paths.results_dir()} yet; start some with a runner")
        return 0
    print(aligned([(one.name, states.counts(one.runs.values())) for one in found]))
    total = sum(len(one.runs) for one in found)
    shown = list(itertools.islice(_worst_first(found), None if options.all else MOST_LISTED))
    rows = [_row(known, state) for known, state in shown]
    head = ("RUN", "STATE", "TRY", "STARTED", "TOOK", "HOST", "REASON")
    print()
    print(aligned(rows, head, right=(2, 4)))
    if total > len(shown):
        print(f"… and {total - len(shown)} more: --all")
    return 0


def _worst_first(found: Sequence[Known]) -> Iterator[tuple[Known, states.RunState]]:
    """Yield every run, those first that need attention."""
    there = {state.state for known in found for state in known.runs.values()}
    for name in states.STATES:
        for known in found if name in there else ():
            yield from ((known, state) for state in known.runs.values() if state.state == name)


def _row(known: Known, state: states.RunState) -> Sequence[object]:
    info = states.details(known.exp_folder, known.exp, state)
    reason = state.note or info.get("reason", "")
    if state.part and state.state != "done":
        reason = f"part {state.part}{': ' if reason else ''}{reason}"
    name, attempt = known.run_name(state.run), state.attempt or ""
    host = info.get("host", "")
    return name, state.state, attempt, _begin(info), _took(info, state), host, reason


def _begin(info: dict[str, Any]) -> str:
    begin = _moment(info.get("start") or info.get("claimed"))
    return f"{begin:%Y-%m-%d %H:%M}" if begin else ""


def _moment(text: Any) -> datetime | None:
    """Return a noted time in this machine's time zone."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except (TypeError, ValueError, OverflowError):
        return None


def _took(info: dict[str, Any], state: states.RunState) -> str:
    if type(info.get("seconds")) in (int, float) and 0 <= info["seconds"] < 1e9:
        return progress.duration(info["seconds"])
    begin = _moment(info.get("claimed"))
    if state.state != "running" or begin is None:
        return ""
    return progress.duration(time.time() - begin.timestamp())


def watch(options: Any) -> int:
    """Show how runs stand, again and again."""
    from utils import watch as view

    return view.watch(options.what, options.every or view.EVERY_S)


def show(options: Any) -> int:
    """Print all that is known about some runs."""
    texts = []
    for known in known_runs.find_all(options.runs):
        numbers = [run for run in known.runs if isinstance(run, int)]
        try:
            sent = plans.latest_entries(paths.jobs_dir(known.exp_folder, known.exp), numbers)
        except plans.Damaged as problem:
            print(problem, file=sys.stderr)
            sent = {}  # what claims, records and results say is shown all the same
        parts = known.in_parts()
        for run, state in known.runs.items():
            planned = sent[run] if isinstance(run, int) and run in sent else None
            texts.append(_description(known, state, planned, parts[run]))
    print("\n\n".join(texts))
    return 0


def _description(
    known: Known,
    state: states.RunState,
    planned: tuple[dict[str, Any], plans.Submission] | None,
    parts: Sequence[states.RunState],
) -> str:
    info = states.details(known.exp_folder, known.exp, state)
    told = registry.repetitions(known.exp_folder, known.exp, state.run)
    arguments = planned[0]["arguments"] if planned else _first(told, "arguments")
    note = f" ({state.note})" if state.note else ""
    which = f", part {state.part} of it" if state.part and state.state != "done" else ""
    rows: list[tuple[str, object]] = [("state", f"{state.state}{which}{note}")]
    if info.get("reason"):
        rows.append(("reason", info["reason"]))
    if state.attempt:
        rows.append(("attempt", state.attempt))
        rows.append(("started", f"{_begin(info)} on {info.get('host', '?')}"))
    if _took(info, state):
        memory = f", {info['memory_mb']} MB" if info.get("memory_mb") else ""
        rows.append(("took", f"{_took(info, state)}{memory}"))
    if arguments:
        texts = [f"{name}={signatures.as_text(value)}" for name, value in arguments.items()]
        rows.append(("arguments", " ".join(texts)))
    if planned:
        entry, submission = planned
        before = entry.get("before") or [submission.about.get("python", "python")]
        rows.append(("command", shell_line([*before, entry["script"], *entry["argv"]])))
        if after := entry.get("needs"):
            rows.append(("needs", needs.as_text(after)))
        rows.append(("sent", f"{submission.about.get('time', '')}, {submission.token}"))
        rows.append(("commit", _commit(submission.about)))
        if submission.engine:
            rows.append(("queue", _in_queue(submission, state)))
            rows.append(("asked for", submission.about["engine"].get("asked", "")))
    for stream in "oe":
        path = _log_path(known, state, stream)
        if path.exists():
            rows.append(("log" if stream == "o" else "errors", near(path)))
    folder = paths.logs_root() / known.exp_folder / paths.run_folder(known.exp, state.run)
    if folder.exists():
        rows.append(("results", near(folder)))
    lines = [known.run_name(state.run), aligned([(f"  {name}", text) for name, text in rows])]
    if state.part:
        lines.append(_parts(known, parts))
    if told:
        lines.append(_repetitions(told))
    return "\n".join(lines)


def _in_queue(submission: plans.Submission, state: states.RunState) -> str:
    """Return which engine has a run, and as which job."""
    places = [(task[0], task[1]) if task else None for task in submission.tasks()]
    here = (state.run, state.part)
    job = queue_states.job_of(submission, places.index(here)) if here in places else ""
    title = queues.ENGINES[submission.engine].title
    return f"{title}, job {job}" if job else f"{title}, not there yet"


def _commit(about: dict[str, Any]) -> str:
    commit = str(about.get("commit") or "unknown")[:12]
    return commit if about.get("clean") in (True, None) else f"{commit}, with changes"


def _first(told: Iterable[dict[str, Any]], key: str) -> dict[str, Any]:
    return next((info[key] for info in told if key in info), {})


def _parts(known: Known, parts: Sequence[states.RunState]) -> str:
    rows = []
    for state in parts:
        info = states.details(known.exp_folder, known.exp, state)
        begun = (state.attempt or "", _begin(info), _took(info, state), info.get("host", ""))
        rows.append((f"  {state.part}", state.state, *begun, state.note or info.get("reason", "")))
    head = ("  PART", "STATE", "TRY", "STARTED", "TOOK", "HOST", "REASON")
    return "\n" + aligned(rows, head, right=(2, 4))


def _repetitions(told: list[dict[str, Any]]) -> str:
    scores = list(dict.fromkeys(name for info in told for name in info.get("scores", {})))
    rows = [
        (
            f"  {info['repetition']}",
            info.get("seed", ""),
            registry.state_now(info),
            progress.duration(info["seconds"]) if info.get("seconds") is not None else "",
            *(_number(info.get("scores", {}).get(name)) for name in scores),
            info.get("reason") or "",
        )
        for info in told
    ]
    head = ("  REPETITION", "SEED", "STATE", "TOOK", *scores, "REASON")
    return "\n" + aligned(rows, head, right=(1, 3, *range(4, 4 + len(scores))))


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else ""


def _log_path(known: Known, state: states.RunState, stream: str) -> Path:
    jobs_dir = paths.jobs_dir(known.exp_folder, known.exp)
    return Path(job_node.log_file(jobs_dir, state.run, state.part, stream))


def log(options: Any) -> int:
    """Print the logs of some runs."""
    found = [
        (known, state if options.part is None else _chosen_part(known, parts, options.part))
        for known in known_runs.find_all(options.runs)
        for state, parts in zip(known.runs.values(), known.in_parts().values(), strict=True)
    ]
    if options.follow and len(found) > 1:
        raise Refusal(f"--follow takes one run, and {len(found)} are named; choose one of them")
    stream = "e" if options.errors else "o"
    for known, state in found:
        path = _log_path(known, state, stream)
        if not path.exists() and not (options.follow and state.state == "pending"):
            why = _why_no_log(known, state)
            raise Refusal(f"{known.part_name(state)} has no log: {why}. See runs show.")
        if len(found) > 1:
            print(f"==> {known.part_name(state)} <==")
        _copy(path, known, state, options.follow)
        if state.state == "lost":
            info = states.details(known.exp_folder, known.exp, state)
            why = state.note or info.get("reason") or states.STATES["lost"]
            print(escaped(f"{known.part_name(state)} is lost: {why}"), file=sys.stderr)
    return 0


def _chosen_part(known: Known, parts: Sequence[states.RunState], chosen: int) -> states.RunState:
    name = known.run_name(parts[0].run)
    if not parts[0].part:
        raise Refusal(f"{name} is not divided into parts; leave --part {chosen} out")
    for state in parts:
        if state.part == chosen:
            return state
    there = run_names.as_ranges(state.part for state in parts)
    raise Refusal(f"{name} has no part {chosen}; it has {there}. Choose among those.")


def _why_no_log(known: Known, state: states.RunState) -> str:
    if not isinstance(state.run, int):
        return "it was started by hand, its output went to the terminal"
    if state.state in ("new", "pending"):
        return "it has not started"
    if not state.attempt:
        return f"it is {state.state}: {state.note}"
    claim = states.details(known.exp_folder, known.exp, state)
    if not claim.get("token"):
        return "it was started by hand, its output went to the terminal"
    return claim.get("reason") or "it ended before its program was started"


def _copy(path: Path, known: Known, state: states.RunState, go_on: bool) -> None:
    """Print a log, and what is added to it until its run ends."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    position, inode = 0, 0
    if go_on and not path.exists():
        print(f"{known.part_name(state)} has not started; waiting for it", file=sys.stderr)
    while True:
        going = go_on and _under_way(known, state)  # asked before reading: nothing is missed
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as stream:
            told = os.fstat(stream.fileno())
            # another attempt has a log of its own under the same name
            same = told.st_ino == inode and position <= told.st_size
            inode = told.st_ino
            stream.seek(position if same else 0)
            sys.stdout.write(escaped(decoder.decode(stream.read()), keep="\n\t"))
            position = stream.tell()
        sys.stdout.flush()
        if not going:
            return
        time.sleep(FOLLOW_S)


def _under_way(known: Known, state: states.RunState) -> bool:
    jobs_dir = paths.jobs_dir(known.exp_folder, known.exp)
    attempt, now = job_node.latest(jobs_dir, state.run, state.part)
    if state.state == "pending" and attempt == state.attempt:
        parts = states.by_part(known.exp_folder, known.exp)
        now = parts.get((state.run, state.part), state).state
    return now in states.UNDER_WAY


def table(options: Any) -> int:
    """Print scores of runs."""
    from utils import run_results

    return run_results.table(options.what, options.csv)


def plot(options: Any) -> int:
    """Draw learning curves."""
    from utils import run_results

    return run_results.plot(options.what, options.by, options.tag, options.out)


def cancel(options: Any) -> int:
    """Stop some runs."""
    from utils import run_actions

    return run_actions.cancel(known_runs.find_all(options.runs))


def retry(options: Any) -> int:
    """Start some runs again."""
    from utils import retries

    return retries.retry(options.runs, options.failed, options.jobs, options.memory, options.hours)


def send(options: Any) -> int:
    """Send runs that had no room in a queue."""
    from utils import retries

    return retries.send(options.what)


def remove(options: Any) -> int:
    """Delete some runs."""
    from utils import run_actions

    return run_actions.remove(options.runs, options.hand, options.yes)


if __name__ == "__main__":
    main()
