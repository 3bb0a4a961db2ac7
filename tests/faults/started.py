"""A command that was started, in a process group, folders and with a measurement lock of its own; what can be done to it."""

import functools
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.faults.commands import ROOT, filled, has_workers
from tests.faults.loaded import Loaded
from tests.leash import as_on_a_terminal

WORKERS_LEAST = 3                # processes below a command; its clock forks one, a run at least so many
LIMIT_S = 300.0
SHARED = Path("/dev/shm")        # semaphores and shared memory that have a name


class Started:
    """
    folder   of its own
    given    what commands.prepare has made
    loaded   the process to fork it of; None to start Python
    """

    def __init__(self, command: tuple[str, ...], folder: Path, given: Path | None = None, own_cache: bool = False,
                 loaded: Loaded | None = None):
        self.out, self.temporary, self.cache = folder / "out", folder / "tmp", folder / "cache"
        self.temporary.mkdir()
        self.shared_before = shared()
        environment = {"TMPDIR": str(self.temporary), "TDX_HARNESS_LOCK": str(folder / "lock")}
        if own_cache:
            shutil.copytree(_compiled(), self.cache / "tdx-sept-harness", ignore_dangling_symlinks=True)
            (self.cache / "tdx-sept-harness").chmod(0o700)
            environment["XDG_CACHE_HOME"] = str(self.cache)
        words = filled(command, self.out, folder, given)
        self.process = loaded.begin(words, environment) if loaded else subprocess.Popen(
            [sys.executable, "-m", "harness", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, env=os.environ | environment, preexec_fn=functools.partial(as_on_a_terminal, os.getpid()))
        self.group = self.process.pid
        self.has_workers = has_workers(command)
        self.closed: set[str] = set()
        self.measuring = False           # whether workers were at work when it happened
        self.said = ""                   # on standard error, at the end

    def look(self) -> None:
        """What is going on just before something is done."""
        self.measuring = self.has_workers and self.process.poll() is None and len(self.workers()) >= WORKERS_LEAST

    def wait_for_workers(self) -> bool:
        """Until they are there: an instant within a measurement, however long a busy machine takes to come to it."""
        began = time.monotonic()
        while self.has_workers and self.process.poll() is None and time.monotonic() - began < LIMIT_S:
            if len(self.workers()) >= WORKERS_LEAST:
                return True
            time.sleep(0.01)
        return False

    def workers(self) -> list[psutil.Process]:
        try:
            return [each for each in psutil.Process(self.process.pid).children() if each.status() != psutil.STATUS_ZOMBIE]
        except psutil.NoSuchProcess:
            return []

    def send(self, number: int, group: bool = False) -> bool:
        """Whether it could still be sent."""
        if self.process.poll() is not None:
            return False
        try:
            (os.killpg if group else os.kill)(self.process.pid, number)
            return True
        except ProcessLookupError:
            return False

    def to_worker(self, source: random.Random, *acts) -> None:
        """Things that are done to one worker, one after the other."""
        workers = self.workers()
        if len(workers) < WORKERS_LEAST:
            return
        worker = source.choice(workers)
        for act in acts:
            try:
                act(worker)
            except psutil.NoSuchProcess:
                return

    def close(self, *streams: str) -> None:
        for name in streams:
            getattr(self.process, name).close()
            setattr(self.process, name, None)
            self.closed.add(name)

    def end(self) -> str | None:
        """What it has printed on what is open, once it has ended; None if it does not end."""
        try:
            printed, self.said = (text or "" for text in self.process.communicate(timeout=LIMIT_S))
            return printed + self.said
        except subprocess.TimeoutExpired:
            return None

    def members(self) -> list[psutil.Process]:
        """The living processes of its group."""
        found = []
        for process in psutil.process_iter(["pid", "status"]):
            try:
                if os.getpgid(process.info["pid"]) == self.group and process.info["status"] != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except ProcessLookupError:
                continue
        return found

    def left_over(self, grace_s: float) -> int:
        """How many live on, once children of a parent that has ended have had time to end."""
        began = time.monotonic()
        while (left := len(self.members())) and time.monotonic() - began < grace_s:
            time.sleep(0.05)
        return left

    def shared_left(self, grace_s: float) -> set[str]:
        """What is new in /dev/shm, once whoever cleans up had time to; of other programs' there is none but for a moment."""
        began = time.monotonic()
        while (left := shared() - self.shared_before) and (left := left - mapped()) and time.monotonic() - began < grace_s:
            time.sleep(0.05)
        return left

    def kill(self) -> None:
        for left in self.members():
            try:
                left.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()


def shared() -> set[str]:
    """The names of what this user has in /dev/shm."""
    found = set()
    for path in SHARED.glob("*"):
        try:
            found |= {path.name} if path.stat().st_uid == os.getuid() else set()
        except FileNotFoundError:
            continue
    return found


def mapped() -> set[str]:
    """Those of them that a process uses."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/maps"):
        try:
            found |= {line.rpartition(f"{SHARED}/")[2].split()[0] for line in path.read_text().splitlines() if f" {SHARED}/" in line}
        except OSError:
            continue
    return found


def _compiled() -> Path:
    """The folder of compiled code that a command would use."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tdx-sept-harness"
