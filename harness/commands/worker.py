"""The command `worker`: this machine for the tasks of `--cluster`, or the scheduler that they go through.

    --scheduler    listens at ADDRESS, on loopback unless there is TLS; computes nothing
    --machine      one real measurement at a time; of a host there is one
    --cores N      N tasks of virtual time at once, each by a worker that is a process of its own
"""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile

from harness import stops
from harness.commands import arguments, cluster, jobs, task
from harness.errors import DONE, USAGE, UsageError

TRIES_S = 30                     # until a scheduler has answered


def add(parser) -> None:
    parser.add_argument("address", metavar="ADDRESS", nargs="?", default=cluster.DEFAULT,
                        help=f"of the scheduler (default: {cluster.DEFAULT})")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--scheduler", action="store_true", help="be the scheduler, at ADDRESS")
    what.add_argument("--machine", action="store_true", help="take real measurements, one at a time")
    what.add_argument("--cores", type=int, nargs="?", const=0, metavar="N", help="take N tasks of virtual time at once (default: a processor each)")
    cluster.add_security(parser)


def do(options) -> int:
    where = cluster.address(options.address, options.tls, options.insecure, "")
    cores = options.cores
    if cores is not None:
        cores = cores or len(os.sched_getaffinity(0))
        arguments.check_range("--cores", cores, 1, 4096)
    cluster.check_installed("worker")
    if cores and cores > 1:
        return several(where, cores, options.insecure)
    with tempfile.TemporaryDirectory(prefix="sept-worker-") as folder:
        return asyncio.run(serve(where, None if options.scheduler else cluster.MACHINE if options.machine else cluster.CORE, folder))


def several(where: cluster.Address, cores: int, insecure: bool) -> int:
    """A worker for each core; a request to stop is passed on."""
    words = [sys.executable, "-m", "harness", "worker", where.url, "--cores", "1", *(["--tls", str(where.tls)] if where.tls else []),
             *(["--insecure"] if insecure else [])]
    with stops.noted():                  # from the first on: none is left behind
        workers = [subprocess.Popen(words) for _ in range(cores)]
        while not stops.asked() and any(worker.poll() is None for worker in workers):
            with contextlib.suppress(subprocess.TimeoutExpired):
                next(worker for worker in workers if worker.poll() is None).wait(jobs.LOOK_S)
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()
    return DONE if any(worker.returncode == DONE for worker in workers) else USAGE


async def serve(where: cluster.Address, kind: str | None, folder: str) -> int:
    """Until a request to stop, or until the scheduler has gone.  Raises UsageError."""
    import dask
    from distributed import Scheduler, Worker
    logging.getLogger("distributed").setLevel(logging.ERROR)
    dask.config.set({"distributed.worker.memory.target": False, "distributed.worker.memory.spill": False,
                     "distributed.worker.memory.pause": False, "distributed.worker.memory.terminate": False})
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in stops.SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, stop.set)
    host, _, port = where.url.partition("://")[2].rpartition(":")
    if kind is None:
        made = Scheduler(host=host, port=int(port), protocol=where.url.partition("://")[0], security=where.security(), dashboard=False,
                         dashboard_address="127.0.0.1:0", allowed_failures=cluster.DEATHS_MOST)
    else:
        loopback = {"host": "127.0.0.1"} if cluster.loopback(host) else {}
        made = Worker(where.url, nthreads=1, name=str(cluster.Named.mine(kind, jobs.source())), security=where.security(),
                      local_directory=folder, memory_limit=0, death_timeout=TRIES_S, **loopback)
    try:
        async with made:
            print(f"{'scheduler' if kind is None else f'worker ({kind})'} at {made.address}, source {jobs.source()}", file=sys.stderr, flush=True)
            gone = asyncio.ensure_future(made.finished())
            await asyncio.wait([gone, asyncio.ensure_future(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
            for process in list(task.running):
                task.end(process)
    except (OSError, TimeoutError, ValueError, RuntimeError) as problem:
        said = str(problem).splitlines()[0] if str(problem) else "no answer"
        raise UsageError(f"{where.url}: {'cannot listen' if kind is None else 'no scheduler'}: {said}") from None
    return DONE
