"""What a site's file may not say, and what it says in place of the packaged one."""

import pytest

from utils import engines, paths, queues
from utils.command_lines import Refusal


@pytest.fixture
def local(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.delenv("QUEUES", raising=False)
    return tmp_path / "queues.local.toml"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ("qsub-cpu", ["-N", "mine"]),
        ("qsub-cpu", ["-q", "cpu.q", "-sync", "y"]),
        ("qsub-cpu", ["-V"]),
        ("slurm-cpu", ["-Jmine"]),
        ("slurm-cpu", ["--job-name=mine"]),
        ("slurm-cpu", ["--wait"]),
    ],
)
def test_words_that_the_launcher_says_itself_are_refused(local, environment, words):
    local.write_text(f"[{environment}]\noptions = {words}\n")
    with pytest.raises(Refusal, match="is what the launcher itself says"):
        queues.site(environment)


def test_other_words_are_taken_as_they_are(local):
    words = ["-p", "cpu", "-A", "lab", "--constraint=avx2", "--qos=long"]
    local.write_text(f"[slurm-cpu]\noptions = {words}\n")
    assert queues.site("slurm-cpu").options == words


@pytest.mark.parametrize("name", ["ALL", "NONE", "NIL"])
def test_words_for_all_variables_are_no_names(local, name):
    local.write_text(f'[slurm-cpu]\nenvironment = ["PATH", "{name}"]\n')
    with pytest.raises(Refusal, match="list of names of variables"):
        queues.site("slurm-cpu")


def test_slots_of_a_site_stand_above_the_packaged_cores(local):
    assert queues.site("slurm-cpu").slots == 4
    local.write_text("[slurm-cpu]\nslots = { count = 7 }\n")
    assert queues.site("slurm-cpu").slots == 7


def test_a_link_to_nowhere_is_no_file_that_is_missing_on_purpose(local):
    local.symlink_to("nowhere.toml")
    with pytest.raises(Refusal, match="cannot be read"):
        queues.site("qsub-cpu")


def test_a_file_nested_too_deep_is_refused_in_a_sentence(local):
    local.write_text("[qsub-cpu]\noptions = " + "[" * 5000 + "]" * 5000)
    with pytest.raises(Refusal, match="is not TOML"):
        queues.site("qsub-cpu")


def test_the_users_variables_do_not_change_what_commands_print(monkeypatch):
    monkeypatch.setenv("SQUEUE_PARTITION", "gpu")
    monkeypatch.setenv("SBATCH_WAIT", "1")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    names = {line.partition("=")[0] for line in engines.ask(["env"]).splitlines()}
    assert "SLURM_CONF" in names
    assert not {"SQUEUE_PARTITION", "SBATCH_WAIT"} & names
