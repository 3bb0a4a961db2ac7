"""One measurement at a time: the lock goes with its holder, and says who that is."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.host import lock

ROOT = Path(__file__).parent.parent.parent


def test_the_lock_goes_with_its_holder_however_that_ends():
    code = "import time; from harness.host.lock import only_one\nwith only_one('x'): print('held', flush=True); time.sleep(3600)"
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"process {holder.pid}"):
            with lock.only_one("me"):
                pass
    finally:
        holder.kill()
        holder.wait()
    with lock.only_one("me"):
        pass


def test_a_lock_file_with_nonsense_in_it_still_locks(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    monkeypatch.setenv(lock.VARIABLE, str(path))
    for nonsense in ("", "[]", "{", '{"process": "x"}', "\x00" * 10, "[" * 4_000, '{"process": ' + "9" * 4_000 + "}"):
        with lock.only_one("me"):
            path.write_text(nonsense)
            with pytest.raises(UsageError, match="a process that left no name"):
                with lock.only_one("you"):
                    pass
        path.write_text("")
    monkeypatch.setenv(lock.VARIABLE, str(tmp_path))
    with pytest.raises(UsageError, match="cannot be opened"):
        with lock.only_one("me"):
            pass


def test_a_file_that_is_no_lock_file_is_left_as_it_is(tmp_path, monkeypatch):
    """A lock is signed, and so would be written over whatever the variable names."""
    path, other = tmp_path / "thesis.tex", tmp_path / "other"
    path.write_text("mine")
    (tmp_path / "linked").symlink_to(path)
    other.touch()
    (tmp_path / "hard").hardlink_to(other)
    for name, says in (("thesis.tex", "is not a lock file of this program"), ("linked", "Too many levels of symbolic links"),
                       ("hard", "is not a lock file of this program")):
        monkeypatch.setenv(lock.VARIABLE, str(tmp_path / name))
        with pytest.raises(UsageError, match=f"^{tmp_path / name}: .*{says}"):
            with lock.only_one("me"):
                pass
    assert path.read_text() == "mine" and other.read_text() == ""
