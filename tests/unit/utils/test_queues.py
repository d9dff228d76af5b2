"""Site facts: what is refused of them, and what a run asks of a cluster by them."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from utils import environments, paths, queues
from utils.command_lines import Refusal

OWN = (paths.ROOT / "utils" / "queues.toml").read_text()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with the site facts that come with the launcher."""
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "queues.toml").write_text(OWN)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.delenv("QUEUES", raising=False)
    return tmp_path


def test_the_facts_that_come_with_the_launcher(checkout):
    assert set(tomllib.loads(OWN)) == set(environments.QUEUED)
    cpu, gpu = queues.site("qsub-cpu"), queues.site("qsub-gpu")
    assert cpu.engine is gpu.engine is queues.ENGINES["grid-engine"]
    assert (cpu.name, cpu.options, cpu.parallel_environment, cpu.slots) == (
        *("qsub-cpu", ["-q", "cpu.q"], "smp", 4),
    )
    assert cpu.resources == {"mem_free": "8G", "act_mem_free": "8G", "h_data": "20G"}
    assert (gpu.options, gpu.parallel_environment, gpu.slots) == (["-q", "gpu.q"], "", 1)
    assert gpu.resources["gpu"] == "1"
    assert (cpu.setup, cpu.python) == ([], [])
    slurm = queues.site("slurm-gpu")
    assert slurm.engine is queues.ENGINES["slurm"]
    assert (slurm.options, slurm.slots) == (["-p", "gpu"], 1)
    assert slurm.resources == {"gres": "gpu:1", "mem": "8G"}
    assert "HOME" in slurm.environment
    assert queues.site("slurm-cpu").slots == 4


def test_single_keys_are_replaced_here_or_where_a_variable_says(checkout, tmp_path, monkeypatch):
    here, there = checkout / "queues.local.toml", tmp_path / "ours.toml"
    here.write_text('[qsub-cpu]\noptions = ["-q", "all.q"]\n')
    there.write_text(
        '[qsub-gpu]\nsetup = ["module load cuda"]\npython = ["apptainer", "exec", "x.sif"]\n'
        'resources = { gpu = 2, mem_free = "64G" }\n'
    )
    assert queues.site("qsub-cpu").options == ["-q", "all.q"]
    assert queues.site("qsub-cpu").parallel_environment == "smp"
    monkeypatch.setenv("QUEUES", str(there))
    assert queues.site("qsub-cpu").options == ["-q", "cpu.q"]
    gpu = queues.site("qsub-gpu")
    assert gpu.setup == ["module load cuda"]
    assert gpu.python == ["apptainer", "exec", "x.sif"]
    assert gpu.resources == {"gpu": "2", "mem_free": "64G"}
    monkeypatch.setenv("QUEUES", "")
    assert queues.site("qsub-cpu").options == ["-q", "all.q"]


def test_a_file_that_cannot_be_read_is_named(checkout, monkeypatch):
    monkeypatch.setenv("QUEUES", str(checkout / "none.toml"))
    with pytest.raises(
        Refusal, match=r"^the site's file /.*none\.toml cannot be read \(No such .*\); correct"
    ):
        queues.site("qsub-cpu")
    monkeypatch.setenv("QUEUES", str(checkout))
    with pytest.raises(Refusal, match=r"is no regular file; name one"):
        queues.site("qsub-cpu")
    monkeypatch.delenv("QUEUES")
    local = checkout / "queues.local.toml"
    for content in (b"[qsub-cpu\n", b"\xff\xfe", b"a = 1\na = 2\n"):
        local.write_bytes(content)
        with pytest.raises(Refusal, match=r"queues\.local\.toml is not TOML \(.*\); correct it"):
            queues.site("qsub-cpu")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[qsub-cpuu]\n", r"has 'qsub-cpuu', which is no environment; there are qsub-cpu, .*-cpu"),
        ('options = ["-q"]\n', "has 'options', which is no environment; there are qsub-cpu"),
        ("qsub-cpu = 3\n", "has 'qsub-cpu', which is no environment"),
    ],
)
def test_a_table_for_nothing_is_refused(checkout, text, sentence):
    (checkout / "queues.local.toml").write_text(text)
    with pytest.raises(Refusal, match=rf"queues\.local\.toml {sentence}"):
        queues.site("slurm-gpu")


@pytest.mark.parametrize(
    ("fact", "sentence"),
    [
        ('option = ["-q"]', "'option' is no key; there are engine, options, slots, "),
        ('engine = "pbs"', "engine is 'pbs'; there are grid-engine, slurm"),
        ("engine = []", r"engine is \[\]; there are"),
        ('options = "-q all.q"', "options is '-q all.q'; it is a list of texts"),
        ("options = [3]", r"options is \[3\]; it is a list of texts"),
        ('setup = ["a\\nb"]', "setup has a word with a line break; one word, or one line, each"),
        ('python = ["a\\u0000"]', "python has a word with a line break"),
        ('environment = ["A=1"]', "environment has 'A=1'; it is a list of names of variables"),
        ('environment = ["A,B"]', "environment has 'A,B'"),
        ('environment = ["Ä"]', "environment has 'Ä'"),
        ('environment = ["1A"]', "environment has '1A'"),
        ('environment = [""]', "environment has ''"),
        ("resources = 3", "resources is 3; it is a table of names and values"),
        ('slots = "smp"', r"slots is 'smp'; it is such as \{ pe = \"smp\", count = 4 \}"),
        ("slots = { count = 0 }", "slots is .*; it is such as"),
        ("slots = { count = true }", "slots is .*; it is such as"),
        ('slots = { count = "4" }', "slots is .*; it is such as"),
        ("slots = { pe = 4 }", "slots is .*; it is such as"),
        ('slots = { pe = "smp", many = 4 }', "slots is .*; it is such as"),
        (
            'slots = { pe = "smp 4" }',
            "slots names the parallel .* 'smp 4'; a name has no blanks, nor a dash in front",
        ),
        ('slots = { pe = "-q" }', "slots names the parallel environment '-q'"),
        ("resources = { cpus = 0 }", "cpus is '0'; it is a whole number from 1"),
        ('resources = { cpus = "4G" }', "cpus is '4G'; it is a whole number from 1"),
    ],
)
def test_a_wrong_fact_is_refused_in_a_sentence(checkout, fact, sentence):
    (checkout / "queues.local.toml").write_text(f"[slurm-gpu]\n{fact}\n")
    start = r"\[slurm-gpu\] of .*queues\.local\.toml: "
    ending = r"\. Correct it there\.( Did you mean options\?)?$"
    with pytest.raises(Refusal, match=rf"^{start}{sentence}.*{ending}"):
        queues.site("slurm-gpu")
    assert queues.site("qsub-cpu")  # nobody else's table is in the way


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("mem", text) for text in ("8 G", "-8G", "8G,gpu=9", "8G\n", "$(id)", "`id`", "", "8;9")],
        *[("mem", value) for value in (-8, True, 1.5, ["8G"], {"a": 1})],
        *[(name, "8G") for name in ("-mem", "m em", "mem,x", "mem=x", "", "mém", "1mem")],
    ],
)
def test_no_resource_can_become_an_option(checkout, name, value):
    table = queues.tomllib.loads(OWN)["slurm-gpu"] | {"resources": {name: value}}
    with pytest.raises(Refusal, match="a text without blanks, commas and a dash in front"):
        queues._site("slurm-gpu", table, "a file")


def test_options_are_handed_over_unchanged(checkout):
    words = '["-l", "a b;$(id)", "--x=,", "é"]'
    (checkout / "queues.local.toml").write_text(f"[slurm-cpu]\noptions = {words}\n")
    assert queues.demand(queues.site("slurm-cpu"), {}).options == ["-l", "a b;$(id)", "--x=,", "é"]


# what a run asks


def site(engine="grid-engine", pe="smp", slots=4, **resources):
    facts = {
        "engine": engine,
        "slots": {"pe": pe, "count": slots},
        "resources": resources or {"mem_free": "8G", "h_data": "20G", "arch": "lx-amd64"},
    }
    return queues._site("here", facts, "a file")


def test_without_wishes_a_run_gets_what_the_site_gives():
    demand = queues.demand(site(), dict.fromkeys(("threads", "memory", "gpus", "hours")))
    assert (demand.slots, demand.parallel_environment, demand.seconds) == (4, "smp", 0)
    assert demand.resources == {"mem_free": "8G", "h_data": "20G", "arch": "lx-amd64"}
    assert queues.demand(site(), {"threads": 1, "gpus": 0}) == demand


def asked(place, **resources):
    return queues.demand(place, resources)


@pytest.mark.parametrize(
    ("threads", "memory", "expected"),
    [
        (1, "16G", {"mem_free": "4G", "h_data": "10G"}),  # four slots: 4 G each
        (8, "16G", {"mem_free": "2G", "h_data": "5G"}),
        (3, "10G", {"mem_free": "3414M", "h_data": "8534M"}),  # 3413.3 and 8533.3 M
        (2, "1M", {"mem_free": "1M", "h_data": "2M"}),  # 0.5 and 1.25 M
        (1, "4T", {"mem_free": "1024G", "h_data": "2560G"}),
        (1, "512K", {"mem_free": "1M", "h_data": "1M"}),
    ],
)
def test_grid_engine_counts_memory_for_each_slot(threads, memory, expected):
    demand = asked(site(), threads=threads, memory=memory)
    assert demand.resources == {**expected, "arch": "lx-amd64"}
    assert demand.slots == (threads if threads > 1 else 4)


def test_slurm_counts_memory_for_all_cores():
    place = site("slurm", "", 4, gres="gpu:1", mem="8G", cpus=2)  # whoever writes slots means them
    assert asked(place, memory="16G").resources == {"gres": "gpu:1", "mem": "16G"}
    assert asked(place, memory="16G").slots == 4
    demand = asked(place, threads=6, memory="1500M")
    assert (demand.slots, demand.resources["mem"]) == (6, "1500M")


@given(some.integers(1, 300), some.integers(1, 300))
def test_memory_is_asked_for_to_the_byte(wished, given_by_site):
    place = site(slots=1, a=f"{given_by_site}G", b=f"{2 * given_by_site}g")
    expected = {"a": f"{wished}G", "b": f"{2 * wished}G"}
    assert asked(place, memory=f"{wished}G").resources == expected


def test_memory_without_a_resource_for_it_is_refused():
    for value in ("lx-amd64", "0G", "1.5G"):
        with pytest.raises(Refusal, match=r"needs 16G of memory, and \[here\] has no resource .*;"):
            asked(site(arch=value), memory="16G")


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        (site(gpu=1), "gpu", "3"),
        (site(arch="0", **{"h_GPUs": 1}), "h_GPUs", "3"),
        (site("slurm", **{"mem-per-gpu": 9, "gpus-per-node": 1}), "gpus-per-node", "3"),
        (site("slurm", gres="gpu:1"), "gres", "gpu:3"),
        (site("slurm", gres="gpu:tesla_v100:2"), "gres", "gpu:tesla_v100:3"),
    ],
)
def test_gpus(place, key, value):
    demand = asked(place, gpus=3)
    assert demand.resources == {**place.resources, key: value}
    assert "3 GPUs, the queue's time limit; 2 together" in queues.summed(place, demand, 2, 0)
    assert queues.summed(place, demand, 2, 0).endswith("6 GPUs")


@pytest.mark.parametrize("place", [site(), site("slurm", gres="license:1"), site(gpu="x1")])
def test_gpus_where_there_are_none_are_refused(place):
    with pytest.raises(Refusal, match="a run needs 1 GPU, and here has none: choose the environm"):
        asked(place, gpus=1)
    with pytest.raises(Refusal, match="a run needs 2 GPUs, and"):
        asked(place, gpus=2)


def test_threads_need_a_parallel_environment_under_grid_engine():
    alone = site(pe="", slots=1)
    assert asked(alone, threads=1).slots == 1
    with pytest.raises(Refusal, match=r"needs 2 threads, and \[here\] names no parallel env"):
        asked(alone, threads=2)
    with pytest.raises(Refusal, match="needs 4 threads"):
        asked(site(pe=""))
    assert asked(site("slurm", ""), threads=2).slots == 2


@pytest.mark.parametrize(
    ("hours", "seconds"), [(1, 3600), (1.1, 3960), (0.5, 1800), (8.3, 29880), (1e-6, 1), (None, 0)]
)
def test_hours_are_seconds(hours, seconds):
    assert asked(site(), hours=hours).seconds == seconds


def test_memory_in_bytes():
    sizes = ["1K", "1m", "3G", "2T"]
    assert [queues.in_bytes(text) for text in sizes] == [1024, 1024**2, 3 * 1024**3, 2 * 1024**4]
    for text in ("16", "G", "0G", "-1G", "1.5G", "16GB", " 1G", ""):
        with pytest.raises(ValueError, match="such as 16G"):
            queues.in_bytes(text)


@pytest.mark.parametrize(
    ("place", "wishes", "runs", "at_once", "sentence"),
    [
        (
            site(),
            {"memory": "16G", "hours": 1.5},
            1000,
            0,
            "each run gets 4 slots, 16G of memory (4G per slot), 1.5 h at most; 1000 together: "
            "4000 slots, 16000G of memory",
        ),
        (
            site(),
            {},
            1000,
            10,
            "each run gets 4 slots, 32G of memory (8G per slot), the queue's time limit; 10 at a "
            "time: 40 slots, 320G of memory",
        ),
        (
            site(slots=1, pe="", gpu=1, mem_free="1500M"),
            {},
            3,
            5,
            "each run gets 1 slot, 1500M of memory, 1 GPU, the queue's time limit; 3 together: 3 "
            "slots, 4500M of memory, 3 GPUs",
        ),
        (
            site("slurm", gres="gpu:a100:2", mem="8G", cpus=4),
            {},
            3,
            2,
            "each run gets 4 slots, 8G of memory, 2 GPUs, the queue's time limit; 2 at a time: 8 "
            "slots, 16G of memory, 4 GPUs",
        ),
        (
            site("slurm", slots=1, arch="x"),
            {"hours": 48},
            1,
            1,
            "the run gets 1 slot, 48 h at most",
        ),
    ],
)
def test_what_all_runs_get_together(place, wishes, runs, at_once, sentence):
    assert queues.summed(place, asked(place, **wishes), runs, at_once) == sentence
