"""What runs ask of a real engine, and what they find on the node."""

from pathlib import Path

from cluster_toys import (
    CPU,
    GPU,
    engine_logs,
    put_toys,
    sent,
    submissions,
    told,
    wait_for,
    wait_for_starts,
)
from real_engines import GridEngine

from utils.environments import THREADS

SITE = """
[{environment}]
setup = ["export SITE_WORD='two words; `id`'", "false", "echo 'said by the setup'"]
python = ["/usr/bin/env", "STARTED_BY=site", {python!r}]
environment = ["PATH", "PYTHONPATH", "SENT_ALONG", "NOT_SET"]
resources = {resources}
"""
RESOURCES = {
    "qsub-gpu": '{ gpu = 1, mem_free = "1G", h_data = "20G" }',
    "slurm-gpu": '{ gres = "gpu:1", mem = "500M", cpus = 1 }',
}


def queue_of(engine, job, task):
    """Name of the queue or partition in which a task of an array is at work."""
    if isinstance(engine, GridEngine):
        rows = map(str.split, engine.call("qstat", "-u", "*", "-s", "r").stdout.splitlines())
        (found,) = [row[7] for row in rows if row[:1] == [job] and row[-1] == str(task)]
        return found.partition("@")[0]
    return engine.call("squeue", "-h", "-j", f"{job}_{task}", "-o", "%P").stdout.strip()


def test_runs_with_gpus_at_a_site_with_a_file_of_its_own(engine, ordinary_checkout):
    put_toys(ordinary_checkout, 'product("toys", "toy", number=range(2), wait=[True])')
    environment = GPU[engine.name]
    site = ordinary_checkout.root.parent / "the site's.toml"
    site.write_text(
        SITE.format(
            environment=environment,
            python=ordinary_checkout.interpreter,
            resources=RESOURCES[environment],
        )
    )
    ordinary_checkout.give_to_user()
    ordinary_checkout.environment |= {
        "QUEUES": str(site),
        "SENT_ALONG": "a, b",
        "LEFT_BEHIND": "secret",
    }
    (job,) = sent(ordinary_checkout.run(environment))
    wait_for_starts(ordinary_checkout, [0, 1])
    tasks = [engine.first_task, engine.first_task + 1]
    assert [queue_of(engine, job, task).removesuffix(".q") for task in tasks] == ["gpu", "gpu"]
    (ordinary_checkout.root / "go").touch()
    wait_for(ordinary_checkout, {0: "done", 1: "done"})
    found = [told(ordinary_checkout, run)["variables"] for run in range(2)]
    for variables in found:
        assert variables["SITE_WORD"] == "two words; `id`"
        assert variables["STARTED_BY"] == "site"
        assert variables["SENT_ALONG"] == "a, b"
        assert not {"LEFT_BEHIND", "NOT_SET", "QUEUES"} & set(variables)
        assert {variables[name] for name in THREADS} == {"1"}
    # Slurm numbers the GPUs that are devices, which a container may have no right to make
    if engine.name == "Slurm" and Path("/var/lib/slurm/gpu/nvidia0").is_char_device():
        assert sorted(one["CUDA_VISIBLE_DEVICES"] for one in found) == ["0", "1"]
    assert engine_logs(ordinary_checkout) == "said by the setup\n" * 2


def test_threads_of_a_run_are_the_slots_that_it_got(engine, own_checkout):
    put_toys(own_checkout, 'product("toys", "toy", number=[0])', ", threads=3, memory='900M'")
    (job,) = sent(own_checkout.run(CPU[engine.name]))
    wait_for(own_checkout, {0: "done"})
    variables = told(own_checkout, 0)["variables"]
    assert {variables[name] for name in THREADS} == {"3"}
    granted = {"Grid Engine": "NSLOTS", "Slurm": "SLURM_CPUS_PER_TASK"}[engine.name]
    assert variables[granted] == "3"
    assert variables["BENCH_QUEUE_JOB"] == job, "a single run is no array"


WORDS = {
    "Grid Engine": ("cannot run in queue", "mem_free"),
    "Slurm": ("Requested node configuration is not available", "Memory"),
}


def test_what_can_never_be_is_said_before_anything_is_sent(engine, own_checkout):
    put_toys(own_checkout, 'product("toys", "toy", number=range(3))', ", memory='2G'")
    possible = own_checkout.run(CPU[engine.name], "--check")
    assert possible.returncode == 0, possible.stdout + possible.stderr
    assert f"{engine.name} can start these" in possible.stdout
    assert "2G of memory" in possible.stdout
    put_toys(own_checkout, 'product("toys", "toy", number=range(3))', ", memory='900G'")
    impossible = own_checkout.run(CPU[engine.name], "--check")
    assert impossible.returncode == 1
    assert f"{engine.name} could not start these: " in impossible.stdout
    assert any(words in impossible.stdout for words in WORDS[engine.name]), impossible.stdout
    if engine.name == "Slurm":  # Grid Engine's word is not the last one
        refused = own_checkout.run(CPU[engine.name])
        assert refused.returncode == 2
        assert "Slurm would never start these runs, nothing was sent" in refused.stderr
    put_toys(own_checkout, 'product("toys", "toy", number=range(3))', ", gpus=1")
    for options in ([], ["--check"], ["--dry-run"]):
        without = own_checkout.run(CPU[engine.name], *options)
        assert without.returncode == 2
        assert f"a run needs 1 GPU, and {CPU[engine.name]} has none" in without.stderr
    other = own_checkout.run(GPU[engine.name], "--check")
    assert other.returncode == 0, other.stdout + other.stderr
    assert "1 GPU" in other.stdout
    assert not submissions(own_checkout), "nothing was written down"
    assert not engine.jobs(own_checkout.root)
