"""Surroundings in which the program cannot work, or in which Python works otherwise: one line, or as usual."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.host import surroundings

ROOT = Path(__file__).parent.parent.parent
EXPLORE = ("explore", "configs/explore/accept_block.toml")
MIB = 1 << 20


def harness(*arguments, python=(), environment=None, before=None) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *python, "-m", "harness", *arguments], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | (environment or {}), preexec_fn=before)


@pytest.mark.slow
def test_without_compiled_code_one_line_says_so():
    ended = harness(*EXPLORE, environment={"NUMBA_DISABLE_JIT": "1"})
    assert (ended.returncode, ended.stderr) == (2, "NUMBA_DISABLE_JIT=1: this program runs compiled code only; unset it\n")
    assert harness("policies", environment={"NUMBA_DISABLE_JIT": "1"}).returncode == 0


def test_too_small_an_address_space_is_one_line():
    ended = harness(*EXPLORE, before=lambda: resource.setrlimit(resource.RLIMIT_AS, (200 * MIB, 200 * MIB)))
    assert ended.returncode == 2
    assert ended.stderr == ("address space is limited to 200 MiB (ulimit -v), which does not hold Numba and this command;"
                            " allow 1024 MiB, and give a search a smaller --memory-mib, such as 64\n")


def test_tables_that_the_address_space_or_the_machine_does_not_hold_are_one_line(monkeypatch):
    """A search of which the program fits: mmap says so by an OSError, and no limit need be below what Numba wants."""
    problem = OSError(errno.ENOMEM, "Cannot allocate memory")
    assert surroundings.missing(problem).startswith("out of memory: ")
    monkeypatch.setattr(surroundings, "_address_space_mib", lambda: 4096)
    assert surroundings.missing(problem).startswith("address space is limited to 4096 MiB") and "; allow more, and" in surroundings.missing(problem)
    assert surroundings.missing(OSError(errno.EIO, "x")) is None


@pytest.mark.parametrize("mib", [100, 140])
def test_an_address_space_in_which_openblas_would_end_the_process_is_one_line(mib):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (mib * MIB, mib * MIB))
    ended = harness(*EXPLORE, before=limit)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1) and ended.stderr.startswith(f"address space is limited to {mib} MiB")


@pytest.mark.slow
def test_a_limit_on_open_files_and_no_folder_for_temporary_files_are_one_line(tmp_path):
    for few in (7, 16):
        ended = harness("run", "configs/kick_vcpus.toml", "--set", "duration_s=0.1", "--set", "warmup_s=0", "--out", str(tmp_path),
                        before=lambda few=few: resource.setrlimit(resource.RLIMIT_NOFILE, (few, few)))
        assert (ended.returncode, ended.stderr) == (2, f"{surroundings.TOO_MANY[errno.EMFILE]}\n") \
            or ended.returncode == 3 and "cannot start 5 workers: Too many open files" in ended.stderr
    assert surroundings.missing(BlockingIOError(errno.EAGAIN, "x")).startswith("no more processes can be started (ulimit -u")
    nowhere = FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")
    assert surroundings.missing(nowhere) == "no folder for temporary files can be written; TMPDIR names one"


def test_a_cache_folder_that_is_no_full_path_is_not_taken(tmp_path):
    ended = subprocess.run([sys.executable, "-c", "from kernels import cache; print(cache.choose('0' * 12))"], cwd=tmp_path,
                           capture_output=True, text=True,
                           env=os.environ | {"XDG_CACHE_HOME": "relative", "HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)})
    assert ended.stdout == f"{tmp_path}/home/.cache/tdx-sept-harness/{'0' * 12}\n" and not (tmp_path / "relative").exists()


@pytest.mark.slow
def test_no_work_stands_in_an_assert_and_no_output_needs_a_locale():
    usual = harness(*EXPLORE)
    other = harness(*EXPLORE, python=("-OO",), environment={"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0"})
    assert (usual.returncode, other.returncode) == (0, 0)
    assert [line for line in other.stdout.splitlines() if " s" not in line] == \
        [line for line in usual.stdout.splitlines() if " s" not in line]


@pytest.mark.slow
def test_on_one_processor_a_run_and_a_search_come_to_their_end(tmp_path):
    one = {min(os.sched_getaffinity(0))}
    ended = harness("run", "configs/kick_vcpus.toml", "--set", "duration_s=0.1", "--set", "warmup_s=0", "--out", str(tmp_path),
                    before=lambda: os.sched_setaffinity(0, one))
    assert ended.returncode in (0, 3) and "BUSY" in ended.stdout, ended.stderr
    assert harness(*EXPLORE, before=lambda: os.sched_setaffinity(0, one)).returncode == 0


def test_a_folder_that_was_removed_before_the_start_is_one_line(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    ended = subprocess.run([sys.executable, "-m", "harness", "run", "kick_vcpus"], cwd=gone, capture_output=True, text=True,
                           env=os.environ | {"PYTHONPATH": str(ROOT)}, preexec_fn=gone.rmdir)
    assert (ended.returncode, ended.stderr) == (2, "the folder that this was started in has been removed; start in another\n")


def test_a_machine_without_proc_is_told_from_a_fault(monkeypatch):
    problem = FileNotFoundError(2, "No such file or directory", "/proc/meminfo")
    assert surroundings.missing(problem) is None
    monkeypatch.setattr(surroundings.Path, "exists", lambda self: False)
    assert surroundings.missing(problem) == "/proc is not mounted, which /proc/meminfo needs"
    assert surroundings.missing(ValueError("x")) is None


def test_jobs_without_shared_memory_are_one_line(monkeypatch, tmp_path, capsys):
    """The semaphores of multiprocessing cannot be made, as in a container with /dev/shm read-only, or full."""
    def refused(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    monkeypatch.setattr("concurrent.futures.ProcessPoolExecutor", refused)
    command = ("explore", "configs/explore/accept_block.toml", "--jobs", "2", "--out", str(tmp_path))
    assert main(list(command)) == 70                                         # it is there: another fault
    Path(capsys.readouterr().err.split()[-1]).unlink()
    monkeypatch.setattr(surroundings, "SHARED", str(tmp_path / "shm"))
    assert main(list(command)) == 2
    assert capsys.readouterr().err == f"{tmp_path}/shm cannot be written, which --jobs needs: No such file or directory\n"
