import os
import sys
import time

import pytest

from utils import detaching


def wait_for(path):
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    return path.read_text()


def test_work_goes_on_in_a_session_of_its_own(tmp_path):
    def work(tell):
        print("begun", flush=True)
        print("and wrong", file=sys.stderr, flush=True)
        os.write(1, b"raw\n")
        tell()
        wait_for(tmp_path / "go")
        (tmp_path / "end.part").write_text(f"{os.getsid(0)} {os.getpid()} {os.read(0, 1)!r}")
        os.replace(tmp_path / "end.part", tmp_path / "end")
        return 3

    pid = detaching.detach(work, tmp_path / "log")
    assert pid != os.getpid()
    (tmp_path / "go").touch()
    assert wait_for(tmp_path / "end") == f"{pid} {pid} b''"
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 3
    assert (tmp_path / "log").read_text() == "begun\nand wrong\nraw\n"


@pytest.mark.parametrize("how", ["refuses", "raises", "is killed"])
def test_work_that_never_gets_under_way_is_told_with_its_reason(tmp_path, how):
    def work(_):
        os.write(2, b"there is no disk\n" if how == "refuses" else b"")
        if how == "raises":
            raise OSError("there is no disk")
        if how == "is killed":
            os.kill(os.getpid(), 9)
        return 2

    with pytest.raises(detaching.NotStarted) as problem:
        detaching.detach(work, tmp_path / "log")
    said = str(problem.value)
    assert ("no word" if how == "is killed" else "there is no disk") in said
    assert str(tmp_path / "log") in said
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_log_that_cannot_be_made_is_told_at_once(tmp_path):
    with pytest.raises(FileNotFoundError):
        detaching.detach(lambda tell: 0, tmp_path / "no" / "log")
    (tmp_path / "log").touch()
    with pytest.raises(FileExistsError):
        detaching.detach(lambda tell: 0, tmp_path / "log")
