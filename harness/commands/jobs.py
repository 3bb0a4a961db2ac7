"""`--jobs N`: tasks of virtual time in processes of their own, their results in the order of the tasks.

A task is a function of a module and its arguments, so that a fresh process can repeat it.  Requests to stop are the
parent's: it keeps what has ended and ends the processes; they do not outlive it.

`--resume`: a result of the same resolved config by the same source is not computed again.  Its `key` stands in a file
beside it.
"""

import concurrent.futures
import ctypes
import hashlib
import json
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path

from harness import stops
from harness.errors import ResultError, UsageError
from harness.experiment.config import Config
from harness.files import read_text
from harness.host import fingerprint
from harness.results import store
from harness.results.schema import Result

KEY_FILE = "key"                 # in the folder of a result
LOOK_S = 0.1                     # how often the parent looks whether it is to stop
PR_SET_PDEATHSIG = 1             # prctl(2)


def add_jobs(parser) -> None:
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at once, in virtual time (default: 1)")


def check(jobs: int, configs: list[Config]) -> None:
    """Raises UsageError."""
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: must be at least 1")
    real = next((config for config in configs if config.engine != "simulate"), None)
    if jobs > 1 and real:
        raise UsageError(f"--jobs {jobs}: {real.name} has engine = {real.engine!r}; its runs would disturb each other:"
                         " must be 'simulate'")


def key(config: Config, source: str) -> str:
    """Of a task: it is another one where the config or the source is another; also where a file that it names is."""
    named = [config.machine.costs, *(words.removeprefix("histogram ") for words in config.machine.distribution.values())]
    files = {name: hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in named if name and Path(name).is_file()}
    return hashlib.sha256(json.dumps([config.resolved(), files, source], sort_keys=True).encode()).hexdigest()


def source() -> str:
    """What the program is: a hash over its files, and Numba's version."""
    return fingerprint.versions().partition("source ")[2]


def there(out: Path) -> dict[str, Result]:
    """{key: result} of what is whole in a folder."""
    found = {}
    for path in sorted(out.glob(f"*/{KEY_FILE}")):
        try:
            found[read_text(path, ResultError)] = store.read(path.parent)
        except ResultError:
            continue                     # computed anew
    return found


def _begin() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def results(jobs: int, function: Callable, tasks: list[tuple]) -> Iterator[tuple[int, object]]:
    """(place of a task, what the function makes of it), in their order; of a request to stop on those that have ended."""
    with stops.noted():
        pool, waiting = _started(jobs, function, tasks)
        try:
            for place, future in enumerate(waiting):
                while not future.done() and not stops.asked():
                    concurrent.futures.wait([future], LOOK_S)
                if future.done():
                    yield place, future.result()
        finally:
            _end(pool)


def _started(jobs: int, function: Callable, tasks: list[tuple]):
    """The pool and its futures.

    Processes begin with requests to stop blocked, so that one to the group cannot reach them while they load; Python's
    resource tracker too, which would not live through HUP and QUIT, and then complain.  It is started first, as
    Python lets INT and TERM through again behind it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stops.SIGNALS)
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, stops.SIGNALS)
        pool = concurrent.futures.ProcessPoolExecutor(min(jobs, len(tasks)), multiprocessing.get_context("spawn"), _begin)
        return pool, [pool.submit(function, *task) for task in tasks]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(pool: concurrent.futures.ProcessPoolExecutor) -> None:
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    if stops.asked():
        for process in processes:
            process.kill()
    for process in processes:
        process.join()
