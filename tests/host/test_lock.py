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
    for nonsense in ("", "[]", "{", '{"process": "x"}', "\x00" * 10):
        with lock.only_one("me"):
            path.write_text(nonsense)
            with pytest.raises(UsageError, match="a process that left no name"):
                with lock.only_one("you"):
                    pass
    monkeypatch.setenv(lock.VARIABLE, str(tmp_path))
    with pytest.raises(UsageError, match="cannot be opened"):
        with lock.only_one("me"):
            pass
