"""What counts GPUs at a site, whatever it is called there."""

import pytest

from utils import queues
from utils.command_lines import Refusal

ASKED = {"threads": 1, "memory": None, "gpus": 3, "hours": None}


def site(environment, resources, monkeypatch, tmp_path):
    path = tmp_path / "site.toml"
    path.write_text(f"[{environment}]\nresources = {resources}\n")
    monkeypatch.setenv("QUEUES", str(path))
    return queues.site(environment)


@pytest.mark.parametrize(
    ("environment", "resources", "wanted"),
    [
        ("qsub-gpu", '{ gpu = 1, mem_free = "8G" }', {"gpu": "3", "mem_free": "8G"}),
        ("qsub-gpu", "{ ngpus = 1 }", {"ngpus": "3"}),
        ("slurm-gpu", '{ gres = "gpu:a100:1", mem = "8G" }', {"gres": "gpu:a100:3", "mem": "8G"}),
        (
            "slurm-gpu",
            "{ cpus-per-gpu = 2, gpus-per-node = 1 }",
            {"cpus-per-gpu": "2", "gpus-per-node": "3"},
        ),
    ],
)
def test_as_many_as_a_run_needs(environment, resources, wanted, monkeypatch, tmp_path):
    place = site(environment, resources, monkeypatch, tmp_path)
    asked = queues.demand(place, ASKED)
    assert asked.resources == wanted
    assert "2 at a time: 2 slots" in queues.summed(place, asked, 4, 2)
    assert "3 GPUs" in queues.summed(place, asked, 4, 2)
    assert "6 GPUs" in queues.summed(place, asked, 4, 2)


def test_a_site_without_a_word_for_them_is_refused(monkeypatch, tmp_path):
    place = site("slurm-gpu", '{ cpus-per-gpu = 2, mem-per-gpu = "8G" }', monkeypatch, tmp_path)
    with pytest.raises(Refusal, match="a run needs 3 GPUs, and slurm-gpu has none"):
        queues.demand(place, ASKED)
