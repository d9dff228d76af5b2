import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys

import pytest

from utils import job_node, manifest, paths, registry, states


def sha256(data):
    return hashlib.sha256(data).hexdigest()


# identity


def test_the_key_is_a_checksum_of_sorted_json():
    text = '{"arguments":{"a":1,"b":[2]},"data":"d","exp":"e","exp_folder":"g"}'
    expected = sha256(text.encode())
    assert registry.run_key("g", "e", {"b": [2], "a": 1}, "d") == expected
    assert registry.hand_run(expected) == f"hand-{expected[:6]}"


@pytest.mark.parametrize(
    "other",
    [
        ("h", "e", {"a": 1}, "d"),
        ("g", "f", {"a": 1}, "d"),
        ("g", "e", {"a": 2}, "d"),
        ("g", "e", {"a": 1.0}, "d"),
        ("g", "e", {"a": 1, "b": 1}, "d"),
        ("g", "e", {"a": 1}, "c"),
    ],
)
def test_any_difference_changes_the_key(other):
    assert registry.run_key(*other) != registry.run_key("g", "e", {"a": 1}, "d")


@pytest.fixture
def regions(bench_folders):
    """Two regions; returns the folder of data."""
    for region in (1, 2):
        paths.region_dir(region).mkdir()
        for name in ("images", "responses"):
            (paths.region_dir(region) / f"{name}.npy").write_bytes(f"{name} {region}".encode())
    return bench_folders.data


def listed(folder, **changes):
    """Writes the manifest of all files, with other checksums for some."""
    lines = {}
    for path in sorted(folder.glob("region*/*")):
        line = manifest.line(path, synthetic=True)
        lines[manifest.key(path)] = line | {"sha256": changes.get(path.stem, line["sha256"])}
    manifest.write(folder, lines)


def test_the_data_s_checksum_is_that_of_names_and_contents(regions):
    lines = [
        f"{sha256(b'images 1')}  region1/images.npy\n",
        f"{sha256(b'responses 1')}  region1/responses.npy\n",
    ]
    expected = sha256("".join(sorted(lines)).encode())
    assert registry.data_checksum(["region1"]) == expected
    listed(regions)
    assert registry.data_checksum(["region1"]) == expected
    os.utime(regions / "region1" / "images.npy", (0, 0))
    assert registry.data_checksum(["region1"]) == expected


def test_listed_files_are_not_read_again(regions):
    """Planted checksums show where they were taken from."""
    plain = registry.data_checksum(["region1"])
    listed(regions, images="f" * 64)
    assert registry.data_checksum(["region1"]) != plain
    os.utime(regions / "region1" / "images.npy", (0, 0))
    assert registry.data_checksum(["region1"]) == plain, "another time: read"


def test_a_file_of_another_size_is_read(regions):
    listed(regions)
    before = registry.data_checksum(["region1"])
    path = regions / "region1" / "images.npy"
    status = path.stat()
    path.write_bytes(b"measured by somebody")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert registry.data_checksum(["region1"]) != before


def test_every_file_counts_but_hidden_ones(regions):
    listed(regions)
    before = registry.data_checksum(["region1"])
    (regions / "region1" / ".nfs0001").write_bytes(b"ghost")
    assert registry.data_checksum(["region1"]) == before
    (regions / "region2" / "more.npy").write_bytes(b"elsewhere")
    assert registry.data_checksum(["region1"]) == before
    (regions / "region1" / "sub").mkdir()
    (regions / "region1" / "sub" / "more.npy").write_bytes(b"here")
    assert registry.data_checksum(["region1"]) != before


def test_data_under_another_name_are_other_data(regions):
    before = registry.data_checksum(["region1"])
    (regions / "region1" / "images.npy").rename(regions / "region1" / "pictures.npy")
    assert registry.data_checksum(["region1"]) != before


def test_without_data_the_checksum_says_so(regions):
    assert registry.data_checksum([]) == registry.NO_DATA
    assert registry.data_checksum(["nowhere"]) == registry.NO_DATA


def test_folders_are_those_that_the_experiment_names(regions, tmp_path):
    (regions / "retina").mkdir()
    script = tmp_path / "toy.py"
    script.write_text("import nothing_that_exists\nDATA = ['region2', 'retina']\n")
    assert registry.data_folders(script) == ["region2", "retina"]
    script.write_text("")
    assert registry.data_folders(script) == ["region1", "region2"]


def test_a_folder_that_is_not_there_is_refused(regions, tmp_path):
    script = tmp_path / "toy.py"
    script.write_text("DATA = ['regoin1']\n")
    said = r"regoin1, .* there are region1, .*`make data` writes .* Did you mean"
    with pytest.raises(FileNotFoundError, match=said):
        registry.data_folders(script)
    shutil.rmtree(regions)  # without any data, the experiment says where they come from
    assert registry.data_folders(script) == ["regoin1"]


@pytest.mark.parametrize("line", ["DATA = 'region1'", "DATA = [1]", "DATA = f()"])
def test_folders_are_a_list_of_texts(regions, tmp_path, line):
    (tmp_path / "toy.py").write_text(line)
    with pytest.raises(ValueError, match="DATA in .*toy.py is .*list of folders"):
        registry.data_folders(tmp_path / "toy.py")


# files


def test_json_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    registry.write_json(path, {"a": 1})
    assert registry.read_json(path) == {"a": 1}
    with pytest.raises(TypeError):
        registry.write_json(path, {"a": object()})

    def full(_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        registry.write_json(path, {"a": 2})
    assert registry.read_json(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def plant(exp_folder, exp, run, repetition, name="n", **content):
    """Writes a run.json as an experiment would."""
    folder = paths.log_dir(exp_folder, exp, run, name, repetition)
    folder.mkdir(parents=True)
    info = {
        "exp_folder": exp_folder,
        "exp": exp,
        "run": run,
        "repetition": repetition,
        "seed": repetition,
        "name": name,
        "key": "k",
        "arguments": {},
        "state": "done",
        "scores": {},
        "log_dir": f"logs/{exp_folder}/{exp}x{run}/{name}__{repetition}",
        **content,
    }
    registry.write_json(folder / "run.json", info)
    return folder / "run.json"


@pytest.fixture
def planted(bench_folders):
    for place in [
        ("g", "e", 10, 0),
        ("g", "e", 2, 1),
        ("g", "e", 2, 0),
        ("g", "e", "hand-0a1b2c", 0),
    ]:
        plant(*place)
    plant("g", "ex3", 2, 0, name="a__b")
    plant("h", "e", 2, 0)
    return bench_folders


def found(*which):
    return [
        (info["exp_folder"], info["exp"], info["run"], info["repetition"])
        for info in registry.repetitions(*which)
    ]


def test_repetitions_are_found_in_order(planted):
    assert found() == [
        ("g", "e", 2, 0),
        ("g", "e", 2, 1),
        ("g", "e", 10, 0),
        ("g", "e", "hand-0a1b2c", 0),
        ("g", "ex3", 2, 0),
        ("h", "e", 2, 0),
    ]


@pytest.mark.parametrize(
    "which, count",
    [
        (("g",), 5),
        (("g", "e"), 4),
        (("g", "e", 2), 2),
        (("g", "e", "2"), 2),
        (("g", "e", "hand-0a1b2c"), 1),
        (("g", "ex3"), 1),
        (("g", None, 2), 3),
        ((None, "e", 2), 3),
        (("g", "e", 3), 0),
        (("nowhere",), 0),
    ],
)
def test_repetitions_are_filtered(planted, which, count):
    assert len(registry.repetitions(*which)) == count


def test_without_results_there_are_no_repetitions(bench_folders):
    assert registry.repetitions() == []


def test_a_file_that_cannot_be_read_does_not_hide_the_others(planted):
    path = paths.log_dir("g", "ex3", 2, "a__b", 0) / "run.json"
    for content in ("{", "[]", "{}", "", '{"state": "done"}'):
        path.write_text(content)
        (info,) = registry.repetitions("g", "ex3")
        place = (info["exp_folder"], info["exp"], info["run"], info["name"], info["repetition"])
        assert place == ("g", "ex3", 2, "a__b", 0)
        assert (info["state"], info["path"]) == ("unreadable", path)
    assert len(registry.repetitions()) == 6
    assert registry.table()["state"].value_counts()["unreadable"] == 1


def test_folders_of_something_else_are_left_out(planted):
    (paths.logs_root() / "g" / "notes").mkdir()
    (paths.logs_root() / "g" / "ex2" / "events").mkdir(parents=True)
    (paths.logs_root() / "g" / "ex2" / "n__7").mkdir()
    (paths.logs_root() / "file").write_text("")
    assert len(registry.repetitions()) == 6


def test_one_run_is_found_without_looking_at_others(planted, monkeypatch):
    seen = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: seen.append(str(path)) or scandir(path))
    registry.repetitions("g", "e", 2)
    assert not [path for path in seen if path.endswith(("ex10", "ex3x2", "h"))]


# states


def ended_process():
    """Describes a process of this machine that has ended."""
    program = "from utils import job_node; import json; print(json.dumps(job_node.own_process()))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=paths.ROOT, check=True
    )
    return json.loads(done.stdout)


def test_a_running_repetition_without_a_process_is_dead():
    own = {"state": "running", **job_node.own_process()}
    assert registry.state_now(own) == "running"
    assert registry.state_now({"state": "running", **ended_process()}) == "interrupted"
    assert registry.state_now({"state": "done", **ended_process()}) == "done"


def test_a_process_number_that_another_one_has_now_does_not_count():
    own = {"state": "running", **job_node.own_process()}
    assert registry.state_now(own | {"pid_start": own["pid_start"] - 1}) == "interrupted"


def test_a_repetition_of_another_host_cannot_be_told():
    info = {"state": "running", **ended_process(), "host": "elsewhere", "machine": "other pid:[1]"}
    assert registry.state_now(info) == "running"


def test_a_host_that_was_started_anew_runs_nothing_of_before():
    info = {"state": "running", "host": socket.gethostname(), "pid": os.getpid()}
    assert registry.state_now(info | {"machine": "another-boot pid:[1]"}) == "interrupted"


# table


def test_the_table_has_a_column_for_everything(bench_folders):
    plant(
        "g", "e", 1, 0, arguments={"n": 9, "regions": [1, 2]}, scores={"correlation": 0.5, "n": 3}
    )
    plant(
        "g", "e", 0, 0, arguments={"n": 4, "kind": "l1"}, scores={"correlation": None}, seconds=2.5
    )
    runs = registry.table()
    assert list(runs.columns) == [
        "exp_folder",
        "exp",
        "run",
        "repetition",
        "seed",
        "name",
        "state",
        "n",
        "kind",
        "regions",
        "correlation",
        "score_n",
        "seconds",
        "host",
        "log_dir",
        "model_path",
    ]
    assert list(runs["run"]) == [0, 1]
    assert list(runs["n"]) == [4, 9]
    assert runs["regions"][1] == "[1, 2]"
    assert runs["correlation"].isna().tolist() == [True, False]
    assert runs["score_n"][1] == 3
    assert runs["log_dir"][0] == str(bench_folders.results / "logs/g/ex0/n__0")
    assert runs["log_dir"].map(os.path.isdir).all()


def test_the_table_of_nothing_has_the_columns(bench_folders):
    runs = registry.table("g")
    assert len(runs) == 0
    assert {"exp_folder", "run", "state", "log_dir"} <= set(runs.columns)


# ledger


def lines():
    return paths.ledger_file().read_text().splitlines()


def test_a_finished_run_stands_in_the_ledger_once(bench_folders):
    for _ in range(2):
        registry.add_to_ledger("g", "e", 3, "name")
    registry.add_to_ledger("g", "e", "hand-0a1b2c", "name")
    assert lines() == ["g/ex3/name", "g/exhand-0a1b2c/name"]


def test_a_long_ledger_is_not_read_for_every_line(bench_folders):
    text = "".join(f"g/ex{run}/{'n' * 60}\n" for run in range(3000))
    paths.ledger_file().write_text(text)
    for _ in range(2):
        registry.add_to_ledger("g", "e", 2999, "n" * 60)
    registry.add_to_ledger("g", "e", 3000, "é")
    assert paths.ledger_file().read_text() == text + "g/ex3000/é\n"


@pytest.mark.parametrize(
    "changes",
    [
        *[{"seconds": value} for value in ("long", [1], True, 10**400, float("inf"))],
        *[{"scores": value} for value in ({"r": "good"}, {"r": 10**400}, {"r": [1]}, [1])],
        *[{"log_dir": value} for value in (5, ["a"])],
        {"model_path": {}},
        {"declared": "ten"},
    ],
)
def test_a_file_with_something_of_a_wrong_kind_is_damaged(bench_folders, changes):
    sound = plant("g", "e", 0, 0)
    content = json.loads(sound.read_text())
    plant("g", "e", 0, 1).write_text(json.dumps({**content, **changes}))
    assert list(registry.table()["state"]) == [content["state"], "unreadable"]


def test_what_only_looks_like_a_number_is_none(bench_folders):
    shutil.copytree(plant("g", "e", 0, 0).parents[1], paths.logs_root() / "g" / "ex²")
    assert [info["run"] for info in registry.repetitions()] == [0]
    assert list(states.states("g", "e")) == [0]
    assert [job_node.parse_state_file(f"{name}.claim") for name in ("².0.1", "1.².1")] == [None] * 2


@pytest.mark.parametrize("place", ["/dev/null", "/dev/null/below", "/proc/results"])
def test_where_no_results_can_be_is_said(monkeypatch, place):
    monkeypatch.setenv("BENCH_RESULTS", place)
    with pytest.raises(OSError, match=place.split("/")[1]) as problem:
        paths.jobs_dir("g", "e").mkdir(parents=True)
    sentence = registry.unwritable(problem.value)
    assert sentence.startswith(f"results cannot be written to {place} (")
    assert "set BENCH_RESULTS to a folder" in sentence


def test_what_is_missing_below_the_results_is_another_problem(bench_folders):
    with pytest.raises(FileNotFoundError) as problem:
        (paths.logs_root() / "g").iterdir().__next__()
    assert registry.unwritable(problem.value) is None
