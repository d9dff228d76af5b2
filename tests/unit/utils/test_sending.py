"""Handing runs to an engine, where calls go wrong: nothing is forgotten, nothing sent twice."""

import os
import signal

import pytest
from scripted_engine import FULL, REFUSED, TIMED_OUT, Job, ScriptedEngine

from utils import environments, paths, plans, promises, queue_launches, queue_states, sending
from utils.command_lines import Refusal
from utils.engines import Call, QueueError
from utils.sending import Interrupted, Sender, Sent

PAUSES_S = sending.PAUSES_S  # the scripted engine shortens them
ABOUT = {"environment_name": "qsub-cpu", "environment": {}, "python": "python"}


@pytest.fixture
def engine(bench_folders, tmp_path, monkeypatch):
    facts = tmp_path / "facts.toml"
    facts.write_text("")
    monkeypatch.setenv("QUEUES", str(facts))
    for module in (sending, queue_launches):
        monkeypatch.setattr(module, "user", lambda: "alice")
    return ScriptedEngine(monkeypatch)


def batch(tasks=3, exp="e"):
    entries = [
        {"run": run, "script": "experiments/g/e.py", "argv": [f"--run={run}"]}
        for run in range(tasks)
    ]
    return promises.Batch("g", exp, entries, [(entry["run"], 0, 1) for entry in entries])


def terms(environment="qsub-cpu", jobs=None, **more):
    return environments.terms(environment, {}, jobs, **more)


def send(batches, **more):
    batches = batches if isinstance(batches, list) else [batches]
    return queue_launches.send(batches, terms(**more), ABOUT)


def submissions(exp="e"):
    return plans.submissions(paths.jobs_dir("g", exp))


def test_all_is_on_the_disk_before_the_first_call(engine):
    seen = []

    def look(command):
        if command[0] == "qsub" and "-w" not in command:
            (submission,) = submissions()
            told = submission.about["state"], submission.tasks(), submission.queued()
            seen.append((*told, [entry["run"] for entry in submission.entries()]))

    engine.limits["max_aj_tasks"] = 2
    engine.before_call = look
    assert send(batch(3)) == 0
    tasks = [(0, 0, 1), (1, 0, 1), (2, 0, 1)]
    assert seen == [
        ("intent", tasks, {}, [0, 1, 2]),
        ("intent", tasks, {0: "1"}, [0, 1, 2]),  # each job is noted at once
    ]
    (submission,) = submissions()
    assert submission.queued() == {0: "1", 1: "2"}
    assert submission.calls == [(0, 2), (2, 1)]
    assert [job.name for job in engine.jobs.values()] == [
        f"r{submission.token}c0",
        f"r{submission.token}c1",
    ]


def test_what_a_task_needs_to_know_is_in_the_submission(engine, tmp_path):
    (tmp_path / "facts.toml").write_text('[qsub-cpu]\nsetup = ["module load x", "b"]\n')
    send(batch(4), jobs=3, per_task=2)
    (submission,) = submissions()
    about = submission.about
    expected = {
        **{"name": "grid-engine", "first": 1, "task": "SGE_TASK_ID", "job": ["JOB_ID"]},
        **{"slots": "NSLOTS", "threads": list(environments.THREADS), "patience": 4.0},
        "seconds": 0,
    }
    assert {name: about["engine"][name] for name in expected} == expected
    told = {name: about[name] for name in ("per_task", "at_once", "arrays", "array", "together")}
    assert told == {"per_task": 2, "at_once": 3, "arrays": True, "array": True, "together": False}
    assert (about["environment_name"], about["user"]) == ("qsub-cpu", "alice")
    assert about["run_folder"] == str(paths.logs_root() / "g" / "ex")
    assert submission.setup_file.read_text() == "module load x\nb\n"


def test_a_task_knows_its_time_limit(engine):
    assert queue_launches.send([batch()], environments.terms("qsub-cpu", {"hours": 2}), ABOUT) == 0
    assert submissions()[0].about["engine"]["seconds"] == 7200


def test_without_setup_there_is_no_file_for_it(engine):
    send(batch())
    assert not submissions()[0].setup_file.exists()


@pytest.mark.parametrize("patience", [30, 1])
def test_tasks_end_before_slurm_ends_them(engine, patience):
    engine.limits["KillWait"] = patience
    send(batch(), environment="slurm-cpu")
    assert submissions()[0].about["engine"]["patience"] == max(1.0, patience - 1)


def test_a_sites_python_starts_the_programs(engine, tmp_path):
    one = batch(1)
    one.entries[0]["before"] = ["docker", "run"]  # as it was sent the last time
    send(one)
    assert "before" not in submissions()[0].entries()[0]
    (tmp_path / "facts.toml").write_text('[qsub-cpu]\npython = ["apptainer", "python"]\n')
    send(one)
    assert submissions()[1].entries()[0]["before"] == ["apptainer", "python"]


# calls


@pytest.mark.parametrize(
    ("tasks", "longest", "most", "more", "calls"),
    [
        (10, 4, 0, {}, [(0, 4), (4, 4), (8, 2)]),
        (8, 4, 0, {}, [(0, 4), (4, 4)]),
        (1, 4, 0, {}, [(0, 1)]),
        (10, 4, 0, {"per_task": 2}, [(0, 8), (8, 2)]),
        (3, 4, 0, {"array": False}, [(0, 1), (1, 1), (2, 1)]),
        (5, 4, 0, {"array": False, "per_task": 2}, [(0, 2), (2, 2), (4, 1)]),
        (10, 8, 7, {}, [(0, 3), (3, 3), (6, 3), (9, 1)]),
        (10, 4, 1000, {}, [(0, 4), (4, 4), (8, 2)]),
        (3, 2, 1, {}, [(0, 2), (2, 1)]),
    ],
)
def test_chunks(engine, tasks, longest, most, more, calls):
    sender = Sender(terms(**more))
    sender.limits = sender.limits._replace(longest_array=longest, most_tasks=most)
    assert sender.calls(tasks) == calls


def options(number, *names):
    """Values of options in the command of a job."""
    return lambda engine: [
        engine.jobs[number].command[engine.jobs[number].command.index(name) + 1]
        if name in engine.jobs[number].command
        else None
        for name in names
    ]


def test_an_array_with_several_runs_in_a_task(engine):
    send(batch(5), per_task=2)
    assert options("1", "-t")(engine) == ["1-3"]
    send(batch(2, "two"), per_task=2)  # all in one task
    assert options("2", "-t")(engine) == [None]
    assert submissions("two")[0].about["array"] is False
    send(batch(1, "one"))
    assert options("3", "-t")(engine) == [None]


def test_no_array_is_a_job_for_each(engine):
    assert send(batch(3), array=False) == 0
    assert [options(n, "-t", "-hold_jid")(engine) for n in "123"] == [[None, None]] * 3


def test_so_many_at_a_time_of_all_arrays(engine):
    engine.limits["max_aj_tasks"] = 2
    send(batch(5), jobs=2)
    held = [options(number, "-tc", "-hold_jid")(engine) for number in "123"]
    assert held == [["2", None], ["2", "1"], ["2", "2"]]
    send(batch(2, "jobs"), jobs=1, array=False)
    assert [options(n, "-tc", "-hold_jid")(engine) for n in "45"] == [[None, None], [None, "4"]]


NASTY = ["--text=a b", "--x='\"", "--y=$(id);`id`\n", "--z=☂,:", "--user-text"]


@pytest.mark.parametrize("environment", ["qsub-cpu", "slurm-cpu"])
def test_no_text_of_a_user_is_in_a_command(engine, environment):
    one = batch(2)
    for entry in one.entries:
        entry["argv"] = [*NASTY]
        entry["arguments"] = {"text": NASTY}
    assert send(one, environment=environment) == 0
    words = "\n".join(word for command in engine.commands for word in command)
    assert not [text for text in NASTY if text in words]
    assert not set("'\"`;☂") & set(words)
    (submission,) = submissions()
    assert [entry["argv"] for entry in submission.entries()] == [NASTY, NASTY]
    control = str(paths.jobs_dir("g", "e"))
    (job,) = engine.jobs.values()
    python = environments.shown_python()
    start = ["utils/run_in_env.sh", python, control, submission.token, "c0"]
    assert job.command[-5:] == start


def test_paths_below_the_checkout_are_relative(engine, tmp_path, monkeypatch):
    (tmp_path / "a:b" / "utils").mkdir(parents=True)
    own = (paths.ROOT / "utils" / "queues.toml").read_text()
    (tmp_path / "a:b" / "utils" / "queues.toml").write_text(own)
    monkeypatch.setattr(paths, "ROOT", tmp_path / "a:b")
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "a:b" / "results"))
    assert send(batch()) == 0
    (log,) = options("1", "-o")(engine)
    assert log == f"results/job_logs/g/e/.jobs/{submissions()[0].stem}.engine.log"


@pytest.mark.parametrize(
    ("environment", "folder", "signs"),
    [
        ("qsub-cpu", "a:b", "':'"),
        ("qsub-cpu", "a,b$c", "',', '$'"),
        ("qsub-cpu", "a\nb", "'\\n'"),
        ("slurm-cpu", "a\\b", r"'\\'"),
        ("slurm-cpu", "a\nb", "'\\n'"),
    ],
)
def test_folders_that_an_engine_reads_otherwise_are_refused(
    engine, tmp_path, monkeypatch, environment, folder, signs
):
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / folder))
    with pytest.raises(Refusal) as caught:
        send(batch(), environment=environment)
    assert f"reads {signs} there as something else; set BENCH_RESULTS" in str(caught.value)
    assert engine.commands == []
    assert not (tmp_path / folder).exists()


# what goes wrong


def test_a_refused_call_stops_and_the_rest_is_named(engine, capsys):
    engine.limits["max_aj_tasks"] = 2
    engine.script("qsub", None, {"text": "qsub ended with status 1: unknown queue"})
    assert send([batch(5), batch(2, "other")]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("2 runs of g/e sent to Grid Engine as job 1; logs in ")
    assert err == (
        "5 of 7 runs were not sent: qsub ended with status 1: unknown queue; the same command "
        "with --resume sends the rest\n"
    )
    assert submissions()[0].queued() == {0: "1"}
    assert submissions("other") == []


def test_what_passes_is_tried_again_three_times(engine, capsys):
    engine.script("qsub", REFUSED, REFUSED, REFUSED)
    assert send(batch()) == 0
    assert len(engine.asked("qsub")) == 4
    assert len(engine.asked("qstat")) == 3, "the job is looked for before each"
    assert capsys.readouterr().err == "qsub is not well; tried again in 0 s\n" * 3
    engine.script("qsub", *[REFUSED] * 4)
    assert send(batch(1, "two")) == 1
    assert "1 of 1 runs was not sent: qsub is not well; the same" in capsys.readouterr().err
    assert submissions("two")[0].queued() == {}


@pytest.mark.parametrize("program", ["qsub", "qconf"])
def test_pauses_grow_and_there_is_none_behind_the_last_try(engine, monkeypatch, capsys, program):
    pauses = []
    monkeypatch.setattr(sending, "PAUSES_S", PAUSES_S)
    monkeypatch.setattr(sending.time, "sleep", pauses.append)
    engine.script(program, *[REFUSED] * 4)
    assert send(batch()) == 1
    assert pauses == [2.0, 5.0, 10.0]
    said = [f"{program} is not well; tried again in {pause} s" for pause in (2, 5, 10)]
    assert capsys.readouterr().err.splitlines()[:3] == said


def test_a_call_that_was_accepted_without_an_answer_is_not_made_twice(engine):
    engine.jobs["77"] = Job("somebody", {0: "r"})
    engine.script("qsub", {**TIMED_OUT, "accepted": True})
    assert send(batch()) == 0
    assert len(engine.asked("qsub")) == 1
    assert submissions()[0].queued() == {0: "1"}


def test_in_doubt_nothing_is_sent_twice(engine, capsys):
    engine.script("qsub", TIMED_OUT)
    engine.script("qstat", REFUSED)
    assert send(batch()) == 1
    (submission,) = submissions()
    assert len(engine.asked("qsub")) == 1
    assert capsys.readouterr().err == (
        "3 of 3 runs were not sent: qsub is not well, and now it answers nothing; whether it took "
        f"r{submission.token}c0 shows in `runs list` as soon as it answers again; the same command "
        "with --resume sends the rest\n"
    )


def test_a_call_that_surely_came_to_nothing_needs_no_answer(engine):
    engine.script("qsub", REFUSED)
    engine.script("qstat", REFUSED)
    assert send(batch()) == 0
    assert len(engine.asked("qsub")) == 2


def test_an_answer_without_a_number_is_no_job(engine, capsys):
    engine.script("qsub", {"answer": "Welcome to the cluster!\n"})
    assert send(batch()) == 1
    assert "qsub answered what cannot be read: 'Welcome" in capsys.readouterr().err
    assert len(engine.asked("qsub")) == 1
    engine.script("qsub", {"answer": "1:0x\n", "accepted": True})
    assert send(batch(exp="two")) == 0
    assert len(engine.asked("qsub")) == 2
    assert submissions("two")[0].queued() == {0: "1"}


@pytest.mark.parametrize("more", [{}, REFUSED, TIMED_OUT])
def test_a_full_queue_is_no_error(engine, capsys, more):
    engine.limits["max_aj_tasks"] = 2
    engine.script("qsub", None, {**FULL, **more})
    assert send(batch(5)) == 0
    assert capsys.readouterr().err == (
        "3 of 5 runs were not sent, the queue is full; `runs send g/e` sends more when there is "
        "room (qsub is not well)\n"
    )
    assert len(engine.asked("qsub")) == 2, "a full queue is not asked again"
    assert engine.asked("qstat") == []


@pytest.mark.parametrize(
    ("most", "there", "accepted"), [(9, 0, 8), (9, 2, 4), (9, 5, 0), (0, 5, 10), (100, 5, 10)]
)
def test_room_is_known_before_slurm_makes_one_wait(engine, capsys, most, there, accepted):
    """It takes fewer than `MaxJobCount`; arrays of half as many, so 4, 4 and 2."""
    engine.limits |= {"MaxJobCount": most, "MaxArraySize": 4}
    if there:
        engine.ask(["sbatch", "-J", "other", f"--array=0-{there - 1}"])
        engine.commands.clear()
    assert send(batch(10), environment="slurm-cpu") == 0
    sent = [len(job.states) for job in engine.jobs.values() if job.name != "other"]
    assert sum(sent) == accepted
    assert len(engine.asked("sbatch")) == len(sent)
    err = capsys.readouterr().err
    assert ("9 tasks at most, of all users" in err) == (accepted < 10)


def test_room_is_that_of_now(engine):
    engine.limits |= {"MaxJobCount": 9, "MaxArraySize": 4}
    assert queue_states.queue("slurm", "alice") == {}
    engine.ask(["sbatch", "-J", "other", "--array=0-4"])
    sender = Sender(terms("slurm-cpu"))
    sender.ask_limits()
    assert sender.room == 9 - 1 - 5


def test_an_engine_that_does_not_answer_gets_nothing(engine, capsys):
    engine.script("qconf", *[REFUSED] * 4)
    assert send(batch()) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "nothing was sent: qconf is not well"
    assert len(engine.asked("qconf")) == 4
    assert submissions() == []
    engine.script("qconf", {"text": "no such command"})
    assert send(batch()) == 1
    assert len(engine.asked("qconf")) == 5


def test_what_can_never_start_is_not_sent_to_slurm(engine, capsys):
    engine.texts["judge"] = "too many GPUs"
    with pytest.raises(Refusal, match="Slurm would never start these runs, nothing was sent: too"):
        send(batch(), environment="slurm-gpu")
    assert submissions() == []
    assert send(batch(), environment="qsub-gpu") == 0
    assert capsys.readouterr().err == (
        "Grid Engine finds no queue or node that could start these runs now, they are sent all "
        "the same: too many GPUs\n"
    )


def test_what_fits_no_node_is_sent_to_slurm_while_nodes_are_away(engine, capsys):
    engine.texts["judge"] = "Requested node configuration is not available"
    with pytest.raises(Refusal, match="nothing was sent: Requested node .*; ask for less, or"):
        send(batch(), environment="slurm-cpu")
    engine.script("sinfo", {})
    with pytest.raises(Refusal, match="nothing was sent"):
        send(batch(), environment="slurm-cpu")
    engine.texts["sinfo"] = "idle\ndrained\n"
    assert send(batch(), environment="slurm-cpu") == 0
    assert "they are sent all the same: Requested node" in capsys.readouterr().err
    engine.texts["judge"] = "invalid partition"
    with pytest.raises(Refusal, match="nothing was sent"):
        send(batch(), environment="slurm-cpu")


@pytest.mark.parametrize(
    ("flags", "raised"), [(REFUSED, True), (TIMED_OUT, True), (FULL, False), ({}, False)]
)
def test_a_judgement_is_the_engines_or_none(engine, monkeypatch, flags, raised):
    def ask(command, *_):
        assert command[:3] == ["qsub", "-w", "v"]
        assert command[command.index("-t") + 1] == "1-2"
        raise QueueError("no", **flags)

    monkeypatch.setattr(sending.engines, "ask", ask)
    if raised:
        with pytest.raises(QueueError):
            Sender(terms()).judge(batch(1000))
    else:
        assert Sender(terms()).judge(batch(1000)) == ("" if flags else "no")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_number_of_a_job(engine, capsys, number):
    engine.limits["max_aj_tasks"] = 2
    before = signal.getsignal(number)

    def press(command):
        if "-w" not in command and command[0] == "qsub" and len(engine.asked("qsub")) == 2:
            os.kill(os.getpid(), number)

    engine.before_call = press
    assert send(batch(5)) == 128 + number
    assert submissions()[0].queued() == {0: "1", 1: "2"}
    assert len(engine.asked("qsub")) == 2
    assert signal.getsignal(number) is before
    assert capsys.readouterr().err == (
        "stopping as soon as the engine has answered\n1 of 5 runs was not sent: stopped; the same "
        "command with --resume sends the rest\n"
    )


def test_after_a_signal_nothing_is_tried_again(engine):
    engine.script("qsub", REFUSED)
    engine.before_call = lambda c: c[0] == "qstat" and signal.raise_signal(signal.SIGINT)
    assert send(batch()) == 130
    assert len(engine.asked("qsub")) == 1
    assert Interrupted(2).number == 2


def test_what_was_accepted_is_counted(engine):
    submission = plans.Submission(paths.jobs_dir("g", "e"), "send-x-y", {"calls": [[0, 4], [4, 2]]})
    assert Sent(batch(), submission, {1: "7"}).accepted == 2
    assert Sent(batch(), submission).accepted == 0
    assert Sent(batch(), submission, {0: "6", 1: "7"}).accepted == 6


def test_the_name_of_a_user_without_an_account_is_a_number(monkeypatch):
    import pwd

    assert sending.user() == pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert sending.user() == "4000000"


def test_a_call_names_its_tasks(engine):
    sender = Sender(terms(per_task=3, jobs=2))
    call = sender.call(paths.jobs_dir("g", "e"), "00ff", 4, 7, True, "send-x")
    assert isinstance(call, Call)
    assert (call.name, call.tasks, call.at_once) == ("r00ffc4", 3, 2)
    assert call.words[-1] == "c4"
    assert sender.call(paths.jobs_dir("g", "e"), "00ff", 4, 7, False).tasks == 0
