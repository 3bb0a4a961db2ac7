"""Compiled code is used if it is whole and this user's own; nothing else is, and nothing else is deleted."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kernels import cache

ROOT = Path(__file__).parents[2]
NAME = "0123456789ab"
# A small entry with a cache of its own: what it answers, and whether it came from the cache.
CODE = """
import numba
from tests.kernels.small_entry import twice
import sys
print(twice(21), sum(twice.stats.cache_hits.values()), numba.config.CACHE_DIR)
"""


def start(home: Path) -> tuple[str, str, str, str]:
    """(answer, hits, folder, stderr) of a process with its cache under `home`."""
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"} | {"XDG_CACHE_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (*done.stdout.split(), done.stderr)


@pytest.fixture
def lines(monkeypatch) -> list[str]:
    """What is said of the cache."""
    lines = []
    monkeypatch.setattr(cache.LOG, "warning", lambda line, *words: lines.append(line % words))
    return lines


def files(folder, ending: str) -> list[Path]:
    return sorted(Path(folder).rglob(f"*.{ending}"))


@pytest.mark.parametrize("content, mode, reason", [
    (b"short", 0o600, "damaged"), (b"", 0o600, "damaged"), (bytes(40), 0o600, "damaged"),
    (hashlib.sha256(b"whole").digest() + b"whole", 0o666, "can be written by others"),
])
def test_a_file_that_is_not_as_it_was_written_is_said_and_not_read(tmp_path, monkeypatch, lines, content, mode, reason):
    monkeypatch.setattr(cache, "said", set())
    path = tmp_path / "x.nbi"
    path.write_bytes(content)
    path.chmod(mode)
    assert cache.SealedFile(str(tmp_path), "x", 0)._read(str(path)) is None
    assert lines == [f"compiled code: {path}: {reason}; not used, compiled anew (said once for all such files)"]
    (tmp_path / "y.nbi").write_bytes(content)
    (tmp_path / "y.nbi").chmod(mode)
    assert cache.SealedFile(str(tmp_path), "y", 0)._read(str(tmp_path / "y.nbi")) is None and len(lines) == 1


@pytest.mark.slow
def test_a_damaged_cache_is_said_not_used_and_made_anew(tmp_path):
    answer, hits, folder, said = start(tmp_path)
    assert (answer, hits, said) == ("42", "0", "")
    assert start(tmp_path)[:2] == ("42", "1")
    for ending, damage in (("nbi", lambda raw: raw[:20]), ("nbi", lambda raw: b""), ("nbc", lambda raw: raw[:-1] + b"x")):
        [path] = files(folder, ending)
        path.write_bytes(damage(path.read_bytes()))
        answer, hits, _, said = start(tmp_path)
        assert (answer, hits) == ("42", "0") and f"{path}: damaged; not used, compiled anew (" in said and said.count("\n") == 1
        assert start(tmp_path)[1::2] == ("1", "")
    [path] = files(folder, "nbc")
    path.chmod(0o666)
    answer, hits, _, said = start(tmp_path)
    assert (answer, hits) == ("42", "0") and f"{path}: can be written by others; not used" in said
    path.unlink()
    os.mkfifo(path, 0o600)
    assert "is no file; not used" in start(tmp_path)[3]


@pytest.mark.slow
def test_a_cache_that_others_can_write_is_closed_and_made_anew(tmp_path):
    folder = Path(start(tmp_path)[2])
    for opened in (folder, folder.parent):
        opened.chmod(0o777)
        answer, hits, _, said = start(tmp_path)
        assert (answer, hits) == ("42", "0") and said.count("\n") == 1
        assert f"{opened}: can be written by others; what is in it is not used, and is made anew" in said
        assert not opened.stat().st_mode & 0o022 and start(tmp_path)[1::2] == ("1", "")


@pytest.mark.slow
def test_a_folder_in_which_nothing_can_be_kept_is_said_and_no_other_is_taken_for_it(tmp_path):
    """(A file stands in its place: no right to write keeps root from writing.)"""
    [path] = files(start(tmp_path)[2], "nbi")
    shutil.rmtree(path.parent)
    path.parent.write_text("mine")
    answer, hits, _, said = start(tmp_path)
    assert (answer, hits) == ("42", "0") and f"{path.parent}: File exists; compiled for this run only" in said and said.count("\n") == 1
    assert path.parent.read_text() == "mine" and not files(Path(__file__).parent, "nb[ic]")


def test_where_no_cache_can_be_a_temporary_one_goes_with_the_process(tmp_path):
    (tmp_path / "tdx-sept-harness").write_text("a file")
    answer, hits, folder, said = start(tmp_path)
    assert (answer, hits) == ("42", "0") and not Path(folder).exists()
    assert f"{tmp_path}/tdx-sept-harness: File exists; not used, compiled for this run only\n" in said and said.count("\n") == 1
    assert (tmp_path / "tdx-sept-harness").read_text() == "a file"


def test_a_cache_of_another_user_is_not_used(tmp_path, monkeypatch, lines):
    (tmp_path / "tdx-sept-harness").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "said", set())
    monkeypatch.setattr(cache.os, "geteuid", lambda: os.getuid() + 1)
    folder = Path(cache.choose(NAME))
    assert lines == [f"compiled code: {tmp_path}/tdx-sept-harness: belongs to another user; not used, compiled for this run only"]
    assert not any((tmp_path / "tdx-sept-harness").iterdir()) and tmp_path not in folder.parents
    path = files_of_another(tmp_path)
    assert cache.SealedFile(str(tmp_path), "x", 0)._read(str(path)) is None and "belongs to another user; not used" in lines[-1]
    folder.rmdir()


def files_of_another(folder: Path) -> Path:
    """A file that would be believed if it were this user's own."""
    path = folder / "x.nbi"
    path.write_bytes(hashlib.sha256(b"x").digest() + b"x")
    path.chmod(0o600)
    return path


def version(root: Path, name: str, days: float) -> Path:
    """A folder of compiled code that was last used so long ago."""
    (root / name / "kernels_x").mkdir(parents=True)
    (root / name / cache.MARK).touch()
    (root / name / "kernels_x/run-1.py311.nbi").touch()
    os.utime(root / name, (time.time() - days * 86_400,) * 2)
    return root / name


def test_old_code_is_deleted_but_not_while_in_use_nor_what_was_not_made_here(tmp_path):
    kept = [version(tmp_path, f"{number:012x}", 2 + number) for number in range(cache.CACHED_VERSIONS - 1)]
    old, used, mixed = (version(tmp_path, name, 30) for name in ("a" * 12, "b" * 12, "c" * 12))
    recent = version(tmp_path, "d" * 12, 0.5)
    (mixed / "notes.txt").write_text("mine")
    (mixed / "empty").mkdir()
    os.utime(mixed, (0, 0))
    (tmp_path / ("e" * 12)).mkdir()                      # a user's empty folder
    (tmp_path / "photos").mkdir()
    elsewhere = version(tmp_path / "elsewhere", "f" * 12, 30)
    (tmp_path / ("f" * 12)).symlink_to(elsewhere)
    handle = cache._use(used)
    os.utime(used, (0, 0))
    try:
        cache.forget_old(tmp_path, NAME)
    finally:
        os.close(handle)
    assert not old.exists()
    assert all(files(folder, "nbi") for folder in (*kept[:-1], used, recent, elsewhere))
    assert (mixed / "notes.txt").read_text() == "mine" and (mixed / "empty").is_dir() and not files(mixed, "nbi")
    assert (tmp_path / ("e" * 12)).is_dir() and (tmp_path / "photos").is_dir() and (tmp_path / ("f" * 12)).is_symlink()


def test_what_cannot_be_kept_is_said_with_the_real_reason(tmp_path, monkeypatch, lines):
    def full(*_):
        raise OSError(28, "No space left on device", str(tmp_path / "x.nbc"))
    monkeypatch.setattr(cache.SealedFile, "_write", full)
    monkeypatch.setattr(cache, "said", set())
    from tests.kernels.small_entry import thrice
    assert thrice(2) == 6
    assert lines == [f"compiled code: {tmp_path}/x.nbc: No space left on device; compiled for this run only (said once for all such files)"]


@pytest.mark.slow
def test_of_processes_that_begin_at_once_one_compiles_and_the_others_wait_for_it(tmp_path):
    code = CODE.replace("from tests", "print(input(), flush=True)\nfrom tests")
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"} | {"XDG_CACHE_HOME": str(tmp_path)}
    started = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    for each in started:
        each.stdin.write("go\n")
        each.stdin.flush()
    said = [each.communicate()[0].split() for each in started]
    assert sorted(words[1:3] for words in said) == [["42", "0"], ["42", "1"]]
