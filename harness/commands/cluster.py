"""`--cluster ADDRESS`: the tasks of jobs.py on the workers of a dask.distributed scheduler (the extra `cluster`).

A worker (`worker.py`) is at one task at a time, and a task is this program started as a process of its own.  Which task
goes to which worker is decided here (Dispatch), so that the task that a worker died of is known: it is given to
another worker, and is given up where that one dies too.

A scheduler and its workers do what they are sent.  So they listen on loopback, unless there is TLS with certificates
of one's own (`--tls`), or `--insecure` says that the network is trusted.
"""

import contextlib
import inspect
import ipaddress
import itertools
import os
import pickle
import queue
import socket
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from harness import stops
from harness.commands import task as tasks_
from harness.commands.progress import Sign
from harness.errors import UsageError, program
from harness.host import extras
from harness.reports.text import count

PORT = 8786
DEFAULT = f"tcp://127.0.0.1:{PORT}"
FILES = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}   # in the folder of --tls
MACHINE, CORE = "machine", "core"
AT_ONCE = 2                      # tasks that a worker has: one at work, one behind it
DEATHS_MOST = 2                  # of workers, until the task that they had is given up
CONNECT_S = 10
LOOK_S = 0.1                     # how often requests to stop are looked for
WORKERS_S = 0.5                  # ... and which workers there are
FETCH_S = 30                     # until a result that has been announced has come
PATIENCE_S = 60                  # without a worker, until what is left is given up


class Address(NamedTuple):
    """Of a scheduler, and the folder of the certificates, if any."""

    url: str
    tls: Path | None = None

    def security(self):
        """For distributed; None without TLS."""
        from distributed.security import Security
        if self.tls is None:
            return None
        ca, cert, key = (str(self.tls / name) for name in FILES.values())
        roles = ("client", "worker", "scheduler")
        return Security(require_encryption=True, tls_ca_file=ca, **{f"tls_{role}_cert": cert for role in roles},
                        **{f"tls_{role}_key": key for role in roles})


class Named(NamedTuple):
    """What the name of a worker says of it."""

    kind: str                    # MACHINE or CORE
    host: str
    process: int
    source: str

    def __str__(self) -> str:
        return " ".join((self.kind, self.host, str(self.process), self.source))

    @staticmethod
    def read(name: str) -> "Named | None":
        """None of a worker that is none of this program's."""
        kind, host, process, source = [*str(name).split(" ", 3), *[""] * 4][:4]
        return Named(kind, host, int(process), source) if kind in (MACHINE, CORE) and process.isdigit() else None

    @staticmethod
    def mine(kind: str, source: str) -> "Named":
        return Named(kind, socket.gethostname(), os.getpid(), source)


# --- options -----------------------------------------------------------------------------------

def add_security(parser) -> None:
    parser.add_argument("--tls", metavar="DIR", help=f"of --cluster: {', '.join(FILES.values())}, of both sides")
    parser.add_argument("--insecure", action="store_true", help="of --cluster: other hosts without TLS, in a network that is trusted")


def address(url: str | None, tls: str | None, insecure: bool, option: str = "--cluster ") -> Address | None:
    """None where no cluster is asked for.  Raises UsageError for one that would be open to others, or cannot be."""
    if url is None:
        if tls or insecure:
            raise UsageError(f"{'--tls' if tls else '--insecure'}: only together with --cluster")
        return None
    scheme, _, rest = url.rpartition("://")
    scheme = scheme or ("tls" if tls else "tcp")
    host, _, port = rest.rpartition(":")
    if not host or not port.isdigit() or scheme not in ("tcp", "tls"):
        raise UsageError(f"{option}{url}: must be tcp://HOST:PORT or tls://HOST:PORT, such as {DEFAULT}")
    if (scheme == "tls") != bool(tls):
        raise UsageError(f"{option}{url}: " + ("tls:// is with --tls DIR" if scheme == "tls" else "with --tls it must be tls://"))
    if tls and (missing := [name for name in FILES.values() if not (Path(tls) / name).is_file()]):
        raise UsageError(f"--tls {tls}: has no {missing[0]}; must be a folder with {', '.join(FILES.values())}")
    if not tls and not insecure and not loopback(host):
        raise UsageError(f"{option}{url}: whoever reaches it can run anything there; must be with --tls DIR, or --insecure"
                         " in a network that is trusted")
    return Address(f"{scheme}://{host}:{port}", Path(tls) if tls else None)


def loopback(host: str) -> bool:
    host = host.strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_installed(asked: str = "--cluster") -> None:
    """Raises UsageError where the extra is not there."""
    try:
        import distributed  # noqa: F401
    except ModuleNotFoundError:
        raise extras.missing(asked, "cluster") from None


# --- who computes what -------------------------------------------------------------------------

class Dispatch:
    """To each worker a task, and one behind it while more wait than there are workers, so that it need not wait for the next.

    A worker has them in their order: the first is at work.  The one that a worker died of goes to another, until
    DEATHS_MOST have died of it; one behind it is as new.
    """

    def __init__(self, count: int, pinned: list[str] | None = None):
        self.pinned = pinned                             # by place, the only worker that may have it
        self.waiting = deque(range(count))
        self.running: dict[str, list[int]] = {}          # worker -> places of its tasks
        self.deaths: dict[int, list[str]] = {}           # place -> the workers that died of it

    @property
    def left(self) -> int:
        return len(self.waiting) + sum(map(len, self.running.values()))

    def give(self, workers: list[str]) -> list[tuple[str, int]]:
        """(worker, place of a task) of what is to begin."""
        begun = []
        for depth in range(AT_ONCE):
            for worker in workers:
                has = self.running.get(worker, ())
                if len(has) > depth or depth and (self.pinned or len(self.waiting) <= len(workers)):
                    continue
                place = next((place for place in self.waiting if self._may(worker, place, len(workers) == 1)), None)
                if place is not None:
                    self.waiting.remove(place)
                    self.running.setdefault(worker, []).append(place)
                    begun.append((worker, place))
        return begun

    def _may(self, worker: str, place: int, only: bool) -> bool:
        if self.pinned:
            return self.pinned[place] == worker
        return only or worker not in self.deaths.get(place, ())

    def came(self, worker: str, place: int) -> None:
        """A task that a worker had has ended."""
        left = [each for each in self.running.pop(worker) if each != place]
        if left:
            self.running[worker] = left

    def lost(self, worker: str) -> int:
        """A worker has died: the task that it was at; the others are new again."""
        first, *behind = self.running.pop(worker)
        self.running[worker] = [first]
        self.waiting.extendleft(reversed(behind))
        return first

    def died(self, worker: str, place: int) -> bool:
        """A task took its worker, or its own process, with it: whether it is given up."""
        self.came(worker, place)
        died = self.deaths.setdefault(place, [])
        died.append(worker)
        given_up = bool(self.pinned) or len(died) >= DEATHS_MOST
        if not given_up:
            self.waiting.append(place)                   # behind the others: what comes of them is safe then
        return given_up


def usable(found: dict[str, str], kind: str, source: str) -> tuple[list[str], dict[str, str]]:
    """(addresses of the workers of a kind, {address: why it is refused}) of {address: name}; of a host one that measures."""
    good, refused, hosts = [], {}, set()
    for where, name in sorted(found.items()):
        worker = Named.read(name)
        if worker is None:
            refused[where] = "is none of this program's workers (`worker`)"
        elif worker.kind != kind:
            continue
        elif worker.source != source:
            refused[where] = f"{worker.host} has source {worker.source}, this is {source}"
        elif kind == MACHINE and worker.host in hosts:
            refused[where] = f"another worker measures on {worker.host} already"
        else:
            good.append(where)
            hosts.add(worker.host)
    return good, refused


def beside_ms(spans: dict[str, list[tasks_.Answer]]) -> list[float]:
    """By task but the first of each worker: what a worker's time between two tasks' work was, in milliseconds."""
    return [1e3 * (later.ended - earlier.ended - later.work_s)
            for answers in spans.values() for earlier, later in zip(answers, answers[1:])]


# --- dask's side -------------------------------------------------------------------------------

def remote(work: bytes) -> tasks_.Answer:
    """What a worker does with a task."""
    from distributed import get_worker
    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        known = worker.state.tasks.get(key)
        return known is not None and known.state == "executing"
    return tasks_.compute(work, wanted, lambda content: worker.log_event(key, content))


@contextlib.contextmanager
def connected(where: Address):
    """A client.  Raises UsageError where there is no scheduler."""
    check_installed()
    import logging

    from distributed import Client
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(where.url, security=where.security(), timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as problem:
        said = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise UsageError(f"--cluster {where.url}: no scheduler answers: {said}; start one by"
                         f" `{program()} worker {where.url} --scheduler`") from None
    try:
        yield client
    finally:
        client.close(timeout=2)


class Cluster:
    """The workers of a scheduler, as a Dispatch wants them."""

    def __init__(self, client, kind: str, source: str, in_parts: bool = False):
        """in_parts: what comes of a task before its end is listened for too (an event by the name of its future)."""
        self.client, self.kind, self.source, self.in_parts = client, kind, source, in_parts
        self.arrived: queue.SimpleQueue = queue.SimpleQueue()
        self.workers: list[str] = []
        self.refused: dict[str, str] = {}
        self.looked = -WORKERS_S
        self.serial = 0
        self.futures: dict[tuple[str, int], Any] = {}    # (worker, place of a task) -> its future

    def look(self) -> list[str]:
        """The workers that there are now; those that are refused are said once.  Raises UsageError without a scheduler."""
        if time.monotonic() - self.looked >= WORKERS_S:
            if self.client.status != "running":
                raise UsageError("the scheduler is gone")
            found = {where: worker["name"] for where, worker in self.client.scheduler_info(n_workers=-1)["workers"].items()}
            self.workers, refused = usable(found, self.kind, self.source)
            for where in refused.keys() - self.refused.keys():
                print(f"worker {where} is refused: {refused[where]}", file=sys.stderr)
            self.refused, self.looked = refused, time.monotonic()
        return self.workers

    def begin(self, worker: str, place: int, work: bytes) -> None:
        self.serial += 1
        key = f"sept-{os.getpid()}-{id(self)}-{self.serial}"
        if self.in_parts:
            self.client.subscribe_topic(key, lambda event: self.arrived.put((worker, place, event[1])))
        future = self.client.submit(remote, work, workers=[worker], allow_other_workers=False, pure=False, retries=0, key=key)
        self.futures[worker, place] = future
        future.add_done_callback(lambda done: self.arrived.put((worker, place, done)))

    def next(self) -> tuple[str, int, Any] | None:
        """(worker, place, future) of a task that has ended, or with the bytes of a part of one, if there is one by now."""
        with contextlib.suppress(queue.Empty):
            worker, place, future = self.arrived.get(timeout=LOOK_S)
            if isinstance(future, bytes) and (worker, place) in self.futures:
                return worker, place, future
            if self.futures.get((worker, place)) is future:      # not one that was given up
                del self.futures[worker, place]
                return worker, place, future
        return None

    def answer(self, future) -> tasks_.Answer | None:
        """None if it was lost with its worker."""
        try:
            return future.result(timeout=FETCH_S)
        except Exception:                # whatever dask makes of a worker that is lost; a task's own exceptions are in its answer
            return None
        finally:
            future.release()

    def forget(self, worker: str) -> None:
        """Cancel what a worker has."""
        self.client.cancel([self.futures.pop(each) for each in list(self.futures) if each[0] == worker], force=True)


def results(where: Address, machine: bool, function: Callable, tasks: list[tuple], names: list[str] | None) -> Iterator[tuple[int, Any]]:
    """As jobs.results."""
    from harness.commands import jobs
    with connected(where) as client, stops.noted():
        cluster = Cluster(client, MACHINE if machine else CORE, jobs.source(), inspect.isgeneratorfunction(function))
        works = [tasks_.packed(function, task, cluster.source) for task in tasks]
        yield from _results(cluster, works, names or [f"task {number + 1}" for number in range(len(tasks))])


def fleet(where: Address, function: Callable, task: tuple) -> Iterator[tuple[str, Any]]:
    """(host, what the function makes of a task there or Failure), of every host that measures.  Raises UsageError without one."""
    from harness.commands import jobs
    with connected(where) as client, stops.noted():
        cluster = Cluster(client, MACHINE, jobs.source())
        workers = list(cluster.look())
        if not workers:
            raise UsageError(f"--cluster {where.url}: no worker measures there; start one by `{program()} worker"
                             f" {where.url} --machine`")
        names = {address: Named.read(worker["name"]) for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()}
        hosts = [names[worker].host for worker in workers]
        for place, each in _results(cluster, [tasks_.packed(function, task, cluster.source)] * len(workers), hosts, workers):
            yield hosts[place], each


def _results(cluster: Cluster, works: list[bytes], names: list[str], pinned: list[str] | None = None) -> Iterator[tuple[int, Any]]:
    from harness.commands.jobs import Failure, Part
    dispatch, spans, seen = Dispatch(len(works), pinned), {}, time.monotonic()
    try:
        with Sign().about(count(len(works), "task")) as sign:
            while dispatch.left and not stops.asked():
                workers = cluster.look()
                seen = time.monotonic() if workers else seen
                if time.monotonic() - seen > PATIENCE_S:
                    raise UsageError(f"no worker for {PATIENCE_S} s")
                for worker in [worker for worker in dispatch.running if worker not in workers]:
                    cluster.forget(worker)
                    yield from _died(dispatch, worker, dispatch.lost(worker), "its worker died", names, cluster.in_parts)
                _give(cluster, dispatch, workers, works)
                sign.of_tasks(len(works) - dispatch.left, len(works), f" done, {count(len(workers), 'worker')}")
                if not (ended := cluster.next()):
                    continue
                worker, place, future = ended
                if isinstance(future, bytes):
                    yield place, Part(pickle.loads(future))
                    continue
                if answer := cluster.answer(future):
                    spans.setdefault(worker, []).append(answer)
                if answer is None or answer.kind == tasks_.KILLED:
                    how = f"killed by {answer.content}" if answer else "its worker died"
                    yield from _died(dispatch, worker, place, how, names, cluster.in_parts)
                    continue
                dispatch.came(worker, place)
                _give(cluster, dispatch, workers, works)         # before what has come is looked at
                yield place, (pickle.loads(answer.content) if answer.kind == tasks_.VALUE
                              else Failure(f"{answer.content} (on {worker})"))
    except UsageError as problem:
        for place in [*itertools.chain(*dispatch.running.values()), *dispatch.waiting]:
            yield place, Failure(f"given up: {problem}")
    finally:
        for worker in list(dispatch.running):
            with contextlib.suppress(Exception):         # no scheduler is left that could know
                cluster.forget(worker)
    if beside := beside_ms(spans):
        print(f"cluster: {count(len(works), 'task')} on {count(len(spans), 'worker')}; beside their work {statistics.median(beside):.1f} ms a task"
              f" (median; most {max(beside):.1f} ms)", file=sys.stderr)


def _give(cluster: Cluster, dispatch: Dispatch, workers: list[str], works: list[bytes]) -> None:
    for worker, place in dispatch.give(workers):
        cluster.begin(worker, place, works[place])


def _died(dispatch: Dispatch, worker: str, place: int, how: str, names: list[str], in_parts: bool) -> Iterator[tuple[int, Any]]:
    from harness.commands.jobs import Failure, Part
    if dispatch.died(worker, place):
        died = dispatch.deaths[place]
        yield place, Failure(f"given up: {how}" + ", the second time" * (len(died) > 1)
                             + f" (on {', '.join(died)})")
    else:
        print(f"{names[place]}: {how} ({worker}); it is run again elsewhere", file=sys.stderr)
        if in_parts:
            yield place, Part(again=True)
