"""Experiment files as a user starts them: in a process of their own."""

import os
import re
import signal
import subprocess
import sys

import pytest

from utils import job_node, paths, registry
from utils.experiment_flags import parse_flags

TOY = '''"""toy: adds up numbers.

Asks nothing.
"""

import sys
import time

from utils import experiment

DATA = ["toys"]


def train(run, size: int = 3, pause: float = 0.0, kind: str = "fine", regions: list[int] = [1]):
    run.name = f"toy_{size}"
    for repetition in run.repetitions(3):
        with open(repetition.log_dir / "starts.txt", "a") as starts:
            starts.write("started\\n")
        print("at", repetition.index, flush=True)
        time.sleep(pause if repetition.index == 1 else 0)
        if kind == "broken" and repetition.index == 1:
            raise RuntimeError("no such\\nluck")
        if kind == "exits":
            sys.exit("no luck")
        if kind == "forgetful" and repetition.index == 2:
            continue
        if kind == "no data":
            raise FileNotFoundError("Data/region7 is missing. Data/README.md says where it is.")
        if kind == "diverging" and repetition.index == 1:
            repetition.diverged(17)
            continue
        repetition.finish(correlation=size * 0.1)


if __name__ == "__main__":
    experiment.main(train)
'''

PARTS = '''"""Two experiments."""

from utils import experiment

DATA = []


def train_9(run, filters: int = 9):
    run.name = f"small_{filters}"
    for repetition in run.repetitions(1):
        repetition.finish()


def train_16(run, filters: int = 16, kind: str = "fine"):
    run.name = f"large_{filters}"
    for repetition in run.repetitions(1):
        assert kind == "fine"
        repetition.finish()


if __name__ == "__main__":
    experiment.main({"bs1_exp11": train_9, "bs1_exp12": train_16})
'''


class Bench:
    """A folder of experiments, started by hand."""

    def __init__(self, folder):
        self.folder = folder / "experiments" / "toys"
        self.folder.mkdir(parents=True)
        self.write("toy", TOY)

    def write(self, exp, text):
        (self.folder / f"{exp}.py").write_text(text)

    def command(self, *flags, exp="toy"):
        return [sys.executable, str(self.folder / f"{exp}.py"), *flags]

    def start(self, *flags, exp="toy", **environment):
        return subprocess.run(
            self.command(*flags, exp=exp),
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **environment},
        )

    def begin(self, *flags):
        """Starts a run that sleeps in its second repetition, and waits until it is there."""
        process = subprocess.Popen(
            self.command("--pause=60", *flags),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in process.stdout:
            if line == "at 1\n":
                return process
        pytest.fail(process.stderr.read())


@pytest.fixture
def bench(bench_folders, tmp_path):
    (bench_folders.data / "toys").mkdir()
    (bench_folders.data / "toys" / "numbers").write_text("1 2 3")
    return Bench(tmp_path)


def states(exp="toy", run=None):
    return [info["state"] for info in registry.repetitions("toys", exp, run)]


def runs(exp="toy"):
    return list(dict.fromkeys(info["run"] for info in registry.repetitions("toys", exp)))


def starts(run):
    """How often each repetition was begun."""
    files = [i["path"].with_name("starts.txt") for i in registry.repetitions("toys", "toy", run)]
    return [len(file.read_text().splitlines()) if file.exists() else 0 for file in files]


def test_what_a_launcher_has_promised_is_compared(bench):
    """A default in the file may have changed since the run was sent."""
    key = registry.run_key("toys", "toy", {"size": 5}, registry.NO_DATA)
    ended = bench.start("--run=0", f"--key={key}")
    assert ended.returncode == 2
    assert "toys/toy:0 was sent with other defaults or other data" in ended.stderr
    assert registry.repetitions("toys", "toy", 0) == []
    assert bench.start("--run=0").returncode == 0
    told = registry.repetitions("toys", "toy", 0)[0]["key"]
    assert bench.start("--run=0", "--resume", f"--key={told}").returncode == 0


def records(exp="toy"):
    files = paths.jobs_dir("toys", exp).glob("state/*/*")
    return sorted(
        path.relative_to(paths.jobs_dir("toys", exp) / "state").as_posix() for path in files
    )


def one_sentence(done, status=2):
    """What a refused command says: one line, no traceback."""
    assert done.returncode == status, done.stderr
    (line,) = done.stderr.splitlines()
    return line


def ledger():
    return paths.ledger_file().read_text().splitlines()


# numbers of runs started by hand


def test_with_default_values_it_is_run_0(bench):
    done = bench.start()
    assert (done.returncode, done.stderr) == (0, "")
    assert states(run=0) == ["done"] * 3
    assert ledger() == ["toys/toyx0/toy_3"]
    assert records() == ["0000/0.0.1.claim", "0000/0.0.1.done"]
    assert "toys/toy:0: 3 done" in done.stdout

    again = bench.start()
    assert again.returncode == 0
    assert "toys/toy:0: already done, 3 repetitions" in again.stdout
    assert starts(0) == [1, 1, 1]
    assert records() == ["0000/0.0.1.claim", "0000/0.0.1.done"]

    spelled_out = bench.start("--size", "3", "--regions=[1]")
    assert "toys/toy:0: already done" in spelled_out.stdout


def test_with_other_values_it_is_a_run_of_its_own(bench):
    done = bench.start("--size=20_000", "--regions", "[1,2]", "--repetitions", "0,2")
    assert done.returncode == 0, done.stderr
    first, second = registry.repetitions("toys", "toy")
    assert first["arguments"] == {"size": 20000, "pause": 0.0, "kind": "fine", "regions": [1, 2]}
    assert first["run"] == f"hand-{first['key'][:6]}"
    assert (first["repetition"], second["repetition"]) == (0, 2)
    checksum = registry.data_checksum(["toys"])
    assert first["data"] == checksum
    assert first["key"] == registry.run_key("toys", "toy", first["arguments"], checksum)
    assert records() == [f"hand/{first['run']}.0.1.claim", f"hand/{first['run']}.0.1.done"]
    claim = job_node.read_json(
        job_node.state_file(paths.jobs_dir("toys", "toy"), first["run"], 0, 1, "claim")
    )
    assert claim["repetitions"] == "0,2"

    # the one that is missing is simply done when it is asked for
    assert bench.start("--size=20000", "--regions=[1,2]").returncode == 0
    assert starts(first["run"]) == [1, 1, 1]


def test_the_place_and_the_number_may_be_given(bench):
    flags = ["--exp-folder=others", "--exp", "toy_short", "--run=7", "--size=1"]
    assert bench.start(*flags).returncode == 0
    (info, *_) = registry.repetitions("others", "toy_short", 7)
    assert (info["exp_folder"], info["exp"], info["run"]) == ("others", "toy_short", 7)
    assert bench.start("--run", "hand-0a1b2c").returncode == 0
    assert runs() == ["hand-0a1b2c"]


def test_a_run_that_the_launcher_started_is_not_claimed_again(bench):
    done = bench.start("--run=3", "--resume", BENCH_JOB="0123456789")
    assert done.returncode == 0
    assert records() == []
    assert {info["job"] for info in registry.repetitions("toys", "toy", 3)} == {"0123456789"}


# promises


def test_a_number_keeps_its_arguments(bench):
    bench.start("--run=4", "--size=3")
    sentence = one_sentence(bench.start("--run=4", "--size=5", "--resume"))
    assert "run 4 of toys/toy exists with size=3; it is now asked for with size=5." in sentence
    assert records() == ["0000/4.0.1.claim", "0000/4.0.1.done"]


def test_a_changed_default_is_another_run(bench):
    bench.start()
    bench.write("toy", TOY.replace("size: int = 3", "size: int = 4"))
    sentence = one_sentence(bench.start("--run=0"))
    assert "exists with size=3; it is now asked for with size=4" in sentence


def test_changed_data_are_another_run(bench, bench_folders):
    bench.start()
    (bench_folders.data / "toys" / "numbers").write_text("4 5 6")
    assert "other data in Data/" in one_sentence(bench.start())


# interruption


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGXCPU])
def test_a_signal_ends_it_and_resume_continues(bench, number):
    process = bench.begin("--run=0")
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    name = number.name
    assert errors == f"toys/toy:0: stopped by {name}; --resume continues it.\n"
    assert states() == ["done", "running", "running"]
    assert registry.state_now(registry.repetitions("toys", "toy", 0)[1]) == "interrupted"
    assert records() == ["0000/0.0.1.cancelled", "0000/0.0.1.claim"]

    sentence = one_sentence(bench.start("--pause=60", "--run=0"))
    assert "2 of its repetitions" in sentence
    assert "--resume" in sentence
    assert "runs remove toys/toy:0" in sentence
    assert records() == ["0000/0.0.1.cancelled", "0000/0.0.1.claim"]


def test_a_killed_run_is_continued(bench):
    bench.write("toy", TOY.replace("time.sleep(pause", "time.sleep(len(sys.argv) > 1 and 60.0"))
    process = subprocess.Popen(
        bench.command("--run=0"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    while process.stdout.readline() != "at 1\n":
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert states() == ["done", "running", "running"]
    assert job_node.latest(paths.jobs_dir("toys", "toy"), 0) == (1, "lost")

    bench.write("toy", TOY)
    done = bench.start("--resume")
    assert done.returncode == 0, done.stderr
    assert states() == ["done"] * 3
    assert starts(0) == [1, 2, 1]
    assert job_node.latest(paths.jobs_dir("toys", "toy"), 0) == (2, "done")
    assert ledger() == ["toys/toyx0/toy_3"]


def test_a_run_at_work_is_not_started_twice(bench):
    process = bench.begin()
    (run,) = runs()
    try:
        for flags in ([], ["--resume"]):
            sentence = one_sentence(bench.start("--pause=60", *flags))
            assert f"toys/toy:{run} is being run by process {process.pid} on " in sentence
    finally:
        process.kill()
        process.communicate()
    assert starts(run) == [1, 1, 0]


# ends


def test_a_diverged_repetition_shows_in_the_exit_status(bench):
    done = bench.start("--kind=diverging", "--run=1")
    assert done.returncode == 3
    assert "1 diverged, 2 done" in done.stdout
    assert states(run=1) == ["done", "diverged", "done"]
    record = paths.jobs_dir("toys", "toy") / "state/0000/1.0.1.done"
    assert job_node.read_json(str(record))["diverged"] == 1
    assert ledger() == ["toys/toyx1/toy_3"]

    again = bench.start("--kind=diverging", "--run=1", "--resume")
    assert again.returncode == 3
    assert "1 of them diverged" in again.stdout
    assert bench.start("--kind=diverging", "--run=1", "--diverged").returncode == 3
    assert starts(1) == [1, 2, 1]


def test_an_error_of_the_experiment_is_shown_and_noted(bench):
    done = bench.start("--kind=broken", "--run=1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "toy.py" in done.stderr
    assert "utils/experiment.py" not in done.stderr
    assert states(run=1) == ["done", "failed", "failed"]
    assert registry.repetitions("toys", "toy", 1)[2]["reason"] == "RuntimeError: no such"
    record = paths.jobs_dir("toys", "toy") / "state/0000/1.0.1.failed"
    assert job_node.read_json(str(record))["reason"] == "RuntimeError: no such"
    assert not paths.ledger_file().exists()


def test_an_experiment_that_exits_has_failed(bench):
    done = bench.start("--kind=exits", "--run=1")
    assert done.returncode == 1
    assert states(run=1) == ["failed"] * 3


def test_missing_data_are_one_sentence(bench):
    sentence = one_sentence(bench.start("--kind", "no data", "--run=1"), status=1)
    assert sentence == "Data/region7 is missing. Data/README.md says where it is."
    assert states(run=1) == ["failed"] * 3


def test_an_unfinished_repetition_is_a_failure(bench):
    sentence = one_sentence(bench.start("--kind=forgetful", "--run=1"), status=1)
    assert "1 repetitions were not finished" in sentence
    assert states(run=1) == ["done", "done", "failed"]


def test_an_experiment_has_repetitions(bench):
    bench.write("toy", TOY.replace("run.repetitions(3)", "[]"))
    assert "train returned without run.repetitions()" in one_sentence(bench.start(), status=1)


def test_a_run_without_a_name_is_refused(bench):
    bench.write("toy", TOY.replace("run.name =", "name ="))
    assert "run.name is not set" in one_sentence(bench.start())
    assert records() == []


# flags


def test_help_is_made_of_the_file_and_quick(bench):
    before = os.times()
    done = bench.start("--run=3", "--help")
    after = os.times()
    assert done.returncode == 0
    assert "toy: adds up numbers." in done.stdout
    words = " ".join(done.stdout.split())
    assert "--size a whole number such as 20_000; default 3" in words
    assert "--regions a list such as [1,2]; default [1]" in words
    for flag in ("exp_folder", "exp", "run", "repetitions", "resume", "diverged", "part"):
        assert f"--{flag} " in words
    # processor time: other work on this machine does not count
    spent = after.children_user + after.children_system
    assert spent - before.children_user - before.children_system < 0.5
    assert registry.repetitions() == []


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (["--sise", "4"], r"There is no flag --sise; there are --size, .*mean --size\?"),
        (["--size", "4.5"], "--size is '4.5'; it must be a whole number"),
        (["--size"], "--size has no value"),
        (["--size", "--resume"], "--size has no value"),
        (["--size=1", "--size=2"], "--size is given twice"),
        (["size=1"], "'size=1' is not a flag"),
        (["--regions=1,2"], "--regions is '1,2'; it must be a list such as"),
        (["--resume=true"], "--resume takes no value"),
        (["--run=x"], "--run is 'x'"),
        (["--run=-1"], "--run is '-1'"),
        (["--repetitions=a"], "--repetitions 'a'"),
        (["--repetitions=4-1"], "--repetitions '4-1'"),
        (["--repetitions=0-7"], "asks for 7; this run has the repetitions 0 to 2"),
        (["--part=3/2"], "--part is '3/2'"),
        (["--exp=a/b"], "--exp is 'a/b'"),
        (["--exp_folder=.."], "--exp_folder is '..'"),
    ],
)
def test_a_wrong_flag_is_one_sentence(bench, flags, sentence):
    assert re.search(sentence, one_sentence(bench.start(*flags)))
    assert registry.repetitions() == []
    assert records() == []


def test_dashes_are_as_good_as_underscores():
    declared = {"learning_rate": (0.1, "float"), "size": (1, "int")}
    options = parse_flags(["--learning-rate", "-1e-3", "--size=--3", "--resume"], declared)
    assert options.texts == {"learning_rate": "-1e-3", "size": "--3"}
    assert options.switches == {"resume"}
    assert not options.values


def test_shares_of_the_repetitions(bench):
    for part, share in ((1, [0]), (2, [1, 2])):
        assert bench.start("--run=2", f"--part={part}/2").returncode == 0
        assert [info["repetition"] for info in registry.repetitions("toys", "toy", 2)][
            -len(share) :
        ] == share
        claim = job_node.state_file(paths.jobs_dir("toys", "toy"), 2, part, 1, "claim")
        assert job_node.read_json(claim)["parts"] == 2
    assert records() == [
        "0000/2.1.1.claim",
        "0000/2.1.1.done",
        "0000/2.2.1.claim",
        "0000/2.2.1.done",
    ]
    assert ledger() == ["toys/toyx2/toy_3"]


# several experiments in a file


def test_parts_run_one_after_the_other(bench):
    bench.write("bs1", PARTS)
    done = bench.start(exp="bs1")
    assert done.returncode == 0, done.stderr
    assert ledger() == ["toys/bs1_exp11x0/small_9", "toys/bs1_exp12x0/large_16"]
    assert "Hyper-parameters of bs1_exp12" in bench.start("--help", exp="bs1").stdout


def test_exp_picks_a_part(bench):
    bench.write("bs1", PARTS)
    assert bench.start("--exp=bs1_exp12", "--filters=4", exp="bs1").returncode == 0
    assert bench.start("--exp=bs1_exp11_short", "--run=0", exp="bs1").returncode == 0
    assert [line.partition("/")[2][:9] for line in ledger()] == ["bs1_exp12", "bs1_exp11"]
    assert ledger()[1] == "toys/bs1_exp11_shortx0/small_9"
    assert "has no part bs1_exp13" in one_sentence(bench.start("--exp=bs1_exp13", exp="bs1"))


def test_a_failing_part_does_not_stop_the_others(bench):
    text = PARTS.replace(
        '"bs1_exp11": train_9, "bs1_exp12": train_16', '"a": train_16, "b": train_9'
    )
    bench.write("bs1", text.replace('kind: str = "fine"', 'kind: str = "broken"'))
    assert bench.start(exp="bs1").returncode == 1
    assert (states("a"), states("b")) == (["failed"], ["done"])


def test_a_flag_of_one_part_is_refused_before_any_starts(bench):
    bench.write("bs1", PARTS)
    assert "no flag --kind" in one_sentence(bench.start("--kind=fine", exp="bs1"))
    assert registry.repetitions() == []


def test_the_file_may_name_the_experiment(bench):
    bench.write("other", TOY.replace("main(train)", 'main(train, exp="b1")'))
    assert bench.start(exp="other").returncode == 0
    assert runs("b1") == [0]
