"""What Linux says about the machine and about our workers: readers, and nothing else.

Each `parse_...` takes the text of one file and returns values; `take` reads the files.  What to think
of the values is results/trust.py's business, so a test can feed it any text.  A file that is not there gives
None, which means "unknown", never "fine".
"""

import os
from pathlib import Path
from typing import NamedTuple

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PROC, SYS, CGROUP = Path("/proc"), Path("/sys"), Path("/sys/fs/cgroup")


def text_of(path: Path) -> str | None:
    """A file's text; None if it is not there or closed to us."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None


# --- processors ------------------------------------------------------------------------------

class Processor(NamedTuple):
    """Seconds since boot, from a line of /proc/stat."""

    busy_s: float                # all that was not idle: ours, others', interrupts
    steal_s: float               # wanted by us, given to another guest by the hypervisor


def parse_stat(text: str) -> dict[int, Processor]:
    """Every processor's times from /proc/stat (proc_stat(5))."""
    found = {}
    for line in text.splitlines():
        name, *fields = line.split()
        if not name.startswith("cpu") or name == "cpu":
            continue
        user, nice, system, _idle, _iowait, interrupts, soft, steal = (int(field) for field in fields[:8])
        found[int(name[3:])] = Processor(
            (user + nice + system + interrupts + soft) / TICKS_PER_S, steal / TICKS_PER_S)
    return found


# --- control groups --------------------------------------------------------------------------

class Quota(NamedTuple):
    """How much processor time this control group may have, and how often it ran out."""

    processors: float | None     # None: no limit
    throttled_count: int
    throttled_s: float


def parse_quota_v2(maximum: str, statistics: str) -> Quota:
    """From cpu.max ("max 100000") and cpu.stat (Documentation/admin-guide/cgroup-v2.rst)."""
    limit, period = maximum.split()[:2]
    counted = _pairs(statistics)
    return Quota(None if limit == "max" else int(limit) / int(period),
                 counted.get("nr_throttled", 0), counted.get("throttled_usec", 0) / 1e6)


def parse_quota_v1(quota: str, period: str, statistics: str) -> Quota:
    """From cpu.cfs_quota_us (-1: none), cpu.cfs_period_us and cpu.stat (scheduler/sched-bwc.rst)."""
    counted = _pairs(statistics)
    return Quota(int(quota) / int(period) if int(quota) > 0 else None,
                 counted.get("nr_throttled", 0), counted.get("throttled_time", 0) / 1e9)


def _pairs(text: str) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in text.splitlines() if line)}


def parse_cgroups(text: str) -> dict[str, str]:
    """Controller -> path, from /proc/self/cgroup; the v2 group under ""."""
    paths = {}
    for line in text.splitlines():
        _number, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller.removeprefix("name=")] = path
    return paths


def quota(root: Path = CGROUP, membership: str | None = None) -> Quota | None:
    """The tightest limit on this process's way to the root; None if no group says anything."""
    paths = parse_cgroups(membership if membership is not None else text_of(PROC / "self/cgroup") or "")
    found = [parse_quota_v2(*texts) for texts in _texts(root, paths.get("", "/"), ("cpu.max", "cpu.stat"))]
    for mount in ("cpu", "cpu,cpuacct"):
        files = ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.stat")
        found += [parse_quota_v1(*texts) for texts in _texts(root / mount, paths.get("cpu", "/"), files)]
    limited = [each for each in found if each.processors is not None]
    return min(limited) if limited else found[0] if found else None


def _texts(root: Path, path: str, names) -> list[list[str]]:
    """The texts of these files in a group and in each one above it, where all of them are."""
    group, found = root / path.lstrip("/"), []
    while True:
        texts = [text_of(group / name) for name in names]
        if None not in texts:
            found.append(texts)
        if group in (root, group.parent):
            return found
        group = group.parent


# --- workers ---------------------------------------------------------------------------------

STOPPED = ("T", "t")             # states of a process


class Worker(NamedTuple):
    """Of one process since it began."""

    ran_s: float                 # on a processor
    waited_s: float              # ready to run, but kept off it
    involuntary_switches: int
    stopped: bool = False        # by a signal or a debugger (state T or t)


def parse_worker(schedstat: str, status: str) -> Worker:
    """From /proc/PID/schedstat (ns run, ns waited, slices) and /proc/PID/status."""
    ran, waited, _slices = (int(field) for field in schedstat.split())
    [switches] = [int(line.split()[1]) for line in status.splitlines()
                  if line.startswith("nonvoluntary_ctxt_switches:")]
    stopped = any(line.split()[1] in STOPPED for line in status.splitlines() if line.startswith("State:"))
    return Worker(ran / 1e9, waited / 1e9, switches, stopped)


def worker(pid: int) -> Worker | None:
    """None if it is gone, or the kernel keeps no such statistics."""
    schedstat, status = text_of(PROC / str(pid) / "schedstat"), text_of(PROC / str(pid) / "status")
    return parse_worker(schedstat, status) if schedstat and status else None


def parse_state(stat: str) -> str:
    """One letter, from /proc/PID/stat: R runs or is ready to, S sleeps, T is stopped, Z has ended (proc_pid_stat(5))."""
    return stat.rpartition(")")[2].split()[0]        # the name before it may hold anything


def state(pid: int) -> str | None:
    """None if the process is gone."""
    stat = text_of(PROC / str(pid) / "stat")
    return parse_state(stat) if stat else None


def parse_turns(schedstat: str) -> tuple[float, int]:
    """Seconds on a processor, and how often it was put on one, from /proc/PID/schedstat."""
    ran, _waited, turns = (int(field) for field in schedstat.split())
    return ran / 1e9, turns


def turns(pid: int) -> tuple[float, int] | None:
    """None if the process is gone, or the kernel keeps no such statistics."""
    schedstat = text_of(PROC / str(pid) / "schedstat")
    return parse_turns(schedstat) if schedstat else None


# --- clock and frequency ---------------------------------------------------------------------

def parse_clock_flags(cpuinfo: str) -> bool | None:
    """Whether /proc/cpuinfo promises a time-stamp counter that neither stops nor changes its pace."""
    lines = [line for line in cpuinfo.splitlines() if line.startswith("flags")]
    if not lines:
        return None
    return all({"constant_tsc", "nonstop_tsc"} <= set(line.split()) for line in lines)


def clock_is_invariant() -> bool | None:
    return parse_clock_flags(text_of(PROC / "cpuinfo") or "")


def clock_source() -> str | None:
    """What the kernel itself keeps time with."""
    text = text_of(SYS / "devices/system/clocksource/clocksource0/current_clocksource")
    return text.strip() if text else None


def governors(processors) -> set[str] | None:
    """How the frequency of these processors is governed; None where the kernel does not govern it."""
    texts = [text_of(SYS / f"devices/system/cpu/cpu{number}/cpufreq/scaling_governor")
             for number in processors]
    return {text.strip() for text in texts if text} or None


def parse_processor_list(text: str) -> list[int]:
    """`0-2,8` -> [0, 1, 2, 8]"""
    found = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def siblings(processors) -> list[list[int]]:
    """Groups of these processors that are threads of one core (two or more)."""
    groups = set()
    for number in processors:
        text = text_of(SYS / f"devices/system/cpu/cpu{number}/topology/thread_siblings_list")
        if text:
            groups.add(tuple(other for other in parse_processor_list(text) if other in processors))
    return sorted(list(group) for group in groups if len(group) > 1)


# --- one moment ------------------------------------------------------------------------------

class Moment(NamedTuple):
    """Everything that is read at the start and at the end of a measurement."""

    at_s: float                  # time.perf_counter()
    processors: dict[int, Processor]
    quota: Quota | None
    workers: dict[str, Worker | None]


def take(now_s: float, workers: dict[str, Worker | None]) -> Moment:
    """Read the machine's part of it now."""
    return Moment(now_s, parse_stat(text_of(PROC / "stat") or ""), quota(), workers)
