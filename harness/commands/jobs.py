"""`--jobs N`, `--cluster`, `--resume` and `--list` of sweep, explore, and run in virtual time: one code for all three.

A task is a function of a module and its arguments, so that a fresh process, here or on another host, can repeat it.
Whoever asks for results writes each when it comes.  Requests to stop are the parent's: it keeps what has ended and ends
the processes; they do not outlive it.

`--resume`: a result of the same resolved config by the same source is not computed again.  Its `key` stands in a file
beside it.
"""

import concurrent.futures
import ctypes
import hashlib
import itertools
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, NamedTuple

from harness import stops
from harness.commands import arguments
from harness.commands.progress import Sign
from harness.commands.session import source_of
from harness.errors import ResultError, UsageError
from harness.experiment.config import Config
from harness.files import read_text
from harness.host import fingerprint
from harness.reports.text import count, table_of
from harness.results import store
from harness.results.schema import Result

KEY_FILE = "key"                 # in the folder of a result
LOOK_S = 0.1                     # how often the parent looks whether it is to stop
END_S = 5                        # until the thread of a pool that is ended has ended
PR_SET_PDEATHSIG = 1             # prctl(2)


class Where(NamedTuple):
    """In how many processes of this machine tasks are computed, or on which cluster."""

    jobs: int = 1
    cluster: Any = None          # a cluster.Address
    machine: bool = False        # of a cluster: its workers that measure, in place of those that compute

    @property
    def here(self) -> bool:
        """In this process, one after the other."""
        return self.jobs == 1 and self.cluster is None


class Failure(NamedTuple):
    """In place of the result of a task that was given up."""

    why: str


KILLED = Failure("given up: its process was killed, the second time alone; is memory short?")


class Part(NamedTuple):
    """What a task that is not over has come to so far, a piece of it; `again`: it begins anew, elsewhere, and so do its pieces."""

    value: Any = None
    again: bool = False


# --- options -----------------------------------------------------------------------------------

def add_jobs(parser, resume: str, list_: str, at_once: str = "processes at once, in virtual time") -> None:
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help=f"{at_once} (default: 1)")
    parser.add_argument("--resume", action="store_true", help=resume)
    parser.add_argument("--list", action="store_true", help=f"list the {list_} and whether --out has them; run nothing")
    add_cluster(parser)


def add_cluster(parser) -> None:
    from harness.commands import cluster
    parser.add_argument("--cluster", nargs="?", const=cluster.DEFAULT, metavar="ADDRESS",
                        help=f"compute on the workers of this scheduler (`worker`; default: {cluster.DEFAULT})")
    cluster.add_security(parser)


def where(options_jobs: int, address) -> Where:
    """Raises UsageError."""
    arguments.check_range("--jobs", options_jobs, 1, 4096)
    if options_jobs > 1 and address:
        raise UsageError(f"--jobs {options_jobs}: not together with --cluster, which has its own workers")
    return Where(options_jobs, address)


def check(place: Where, configs: Iterable[Config]) -> None:
    """Raises UsageError for runs in real time."""
    real = next((config for config in configs if config.engine != "simulate"), None)
    if real and not place.here:
        option = f"--jobs {place.jobs}" if place.jobs > 1 else "--cluster"
        raise UsageError(f"{option}: {real.name} has engine = {real.engine!r}; its runs would disturb each other:"
                         " must be 'simulate'")


def listing(rows: list[dict], there: list[bool], style: str) -> str:
    """`--list`: a line a task."""
    return table_of([{**{name: str(value) for name, value in row.items()}, "there": "yes" if each else "no"}
                     for row, each in zip(rows, there)], style)


# --- what is there -----------------------------------------------------------------------------

def digest(*parts) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def key(config: Config, source: str) -> str:
    """Of a task: it is another one where the config or the source is another; also where a file that it names is."""
    named = [config.machine.costs, *(words.removeprefix("histogram ") for words in config.machine.distribution.values())]
    files = {name: hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in named if name and Path(name).is_file()}
    return digest(config.resolved(), files, source)


def source() -> str:
    """What the program is: a hash over its files, and Numba's version."""
    return source_of(fingerprint.versions())


def there(out: Path) -> dict[str, Result]:
    """{key: result} of what is whole in a folder."""
    found = {}
    for path in sorted(out.glob(f"*/{KEY_FILE}")):
        try:
            found[read_text(path, ResultError)] = store.read(path.parent)
        except ResultError:
            continue                     # computed anew
    return found


# --- results -----------------------------------------------------------------------------------

def results(place: Where, function: Callable, tasks: list[tuple], here: Callable | None = None,
            names: list[str] | None = None) -> Iterator[tuple[int, Any]]:
    """(place of a task, what the function makes of it or Failure) as they end; of a request to stop on those that have ended.

    On a cluster a function may be a generator: then each thing that it yields is a Part when it comes, and the end a list of all.

    here    computes the task of a place in this process, with its progress, if that is where
    names   of the tasks, for what is said of them
    """
    if place.here:
        for number, task in enumerate(tasks):
            with stops.noted():
                yield number, here(number) if here else function(*task)
                if stops.asked():
                    return
    elif tasks and place.cluster:
        from harness.commands import cluster
        yield from cluster.results(place.cluster, place.machine, function, tasks, names)
    elif tasks:
        yield from _in_processes(place.jobs, function, tasks)


def in_order(found: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """The same in the order of the tasks; at the end also those behind one that is missing."""
    waiting, following = {}, 0
    for number, each in found:
        waiting[number] = each
        while following in waiting:
            yield following, waiting.pop(following)
            following += 1
    yield from sorted(waiting.items())


def _in_processes(jobs: int, function: Callable, tasks: list[tuple]) -> Iterator[tuple[int, Any]]:
    """Where a process is killed, as where memory is short, what may have been at work is computed again, one after the
    other; what is killed then, too, is given up."""
    left, alone = dict(enumerate(tasks)), False
    with stops.noted(), Sign().about(count(len(tasks), "task")) as sign:
        def look() -> bool:
            sign.of_tasks(len(tasks) - len(left), len(tasks))
            return stops.asked()
        while left and not stops.asked():
            some = dict(itertools.islice(left.items(), jobs if alone else None))
            for number, found in _of_pool(1 if alone else jobs, function, some, look):
                del left[number]
                yield number, found
            killed = [number for number in some if number in left]
            if killed and alone and not stops.asked():
                del left[killed[0]]
                yield killed[0], KILLED
            if killed and not alone and not stops.asked():
                print("a process of --jobs was killed (is memory short?); what was at work is computed again, one after the other", file=sys.stderr)
            alone = bool(killed)


def _of_pool(jobs: int, function: Callable, tasks: dict[int, tuple], look: Callable[[], bool]) -> Iterator[tuple[int, Any]]:
    """(number, result) of tasks, begun in their order, until all have ended, one of the processes is killed, or look() says so."""
    pool, futures = _started(jobs, function, list(tasks.values()))
    left = dict(zip(futures, tasks))
    try:
        while left:
            done, _ = concurrent.futures.wait(left, LOOK_S, concurrent.futures.FIRST_COMPLETED)
            for future in sorted(done, key=left.get):
                if isinstance(future.exception(), BrokenProcessPool):
                    return
                yield left.pop(future), future.result()
            if look():
                return
    finally:
        _end(pool, at_once=bool(left))


def _begin() -> None:
    """In a new process: it ends with its parent, also with one that was killed while it was loading."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent and os.getppid() != parent.pid:
        os._exit(1)


def _started(jobs: int, function: Callable, tasks: list[tuple]):
    """The pool and its futures.

    Processes begin with requests to stop blocked, so that one to the group cannot reach them while they load; Python's
    resource tracker too, which would not live through HUP and QUIT, and then complain.  It is started first, as
    Python lets INT and TERM through again behind it.  (A thread that blocks nothing may take one meanwhile; it is
    noted, as the caller's block has it, and a process that has begun is ended with the pool.)
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stops.SIGNALS)
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, stops.SIGNALS)
        pool = concurrent.futures.ProcessPoolExecutor(min(jobs, len(tasks)), multiprocessing.get_context("spawn"), _begin)
        return pool, [pool.submit(function, *task) for task in tasks]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(pool: concurrent.futures.ProcessPoolExecutor, at_once: bool) -> None:
    """
    at_once   whatever its processes compute: they hear no request to stop, nor TERM, by which Python ends those of a broken pool
    """
    processes = list((pool._processes or {}).values())
    manager: Any = pool._executor_manager_thread         # a thread; typeshed has another type
    pool.shutdown(wait=False, cancel_futures=True)
    if at_once:
        for process in processes:
            process.kill()
    for process in processes:
        process.join()
    if manager:                                          # closes a pipe that Python writes to at exit
        manager.join(END_S)
