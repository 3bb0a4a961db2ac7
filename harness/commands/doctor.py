"""The command `doctor`: what this machine is like before anything is measured on it, and what to do about it.

The same things that results/trust.py looks for in a result.  `examine` finds the facts, which takes about
a second and runs nothing but the negative control; `rows` says what they mean, from values alone.  What
micro-ops cost here is calibrate.py's, whether virtual time agrees with real time validate.py's.
"""

import json
import os
import sys
import time
import tomllib
from pathlib import Path
from typing import NamedTuple

from harness import stops
from harness.commands import arguments, calibrate, running, validate
from harness.commands.progress import Progress
from harness.errors import DONE, UsageError
from harness.files import reason
from harness.experiment.assumed import NOT_FITTED, read_costs
from harness.experiment.config import Config
from harness.host import clocks, procfs
from harness.reports.doctor import doctor_report
from harness.reports.validation import validation_report
from harness.results import trust
from harness.traces.written import read_real

LOOK_S = 1.0
CONTROL_TRIES = 5                # the race needs two workers to meet; mostly one try is enough


def add(parser) -> None:
    arguments.add_format(parser)
    parser.add_argument("--calibrate", metavar="FILE", help="measure what micro-ops cost, for a config's machine.costs")
    parser.add_argument("--against", metavar="REAL.json", help="with --validate: numbers of a real host beside them"
                        " (import-trace writes them)")
    parser.add_argument("--workers", choices=tuple(map(str, validate.WORKERS)), default="2", help="with --validate: so many, which share two"
                        " processors; in virtual time as with machine.processors = 2 (default: 2)")
    parser.add_argument("--validate", nargs="*", metavar="CONFIG", help="run configs in real and in virtual time, side"
                        " by side (default: the five policies of configs/)")


def do(options) -> int:
    if options.against and options.validate is None:
        raise UsageError("doctor: --against goes with --validate")
    real = read_real(options.against) if options.against else None
    if options.calibrate is None and options.validate is None:
        print(doctor_report(rows(examine()), options.format))
    if options.calibrate is not None:
        text = write_costs(options.calibrate)
        print(json.dumps(tomllib.loads(text), indent=1) + "\n" if options.format == "json" else text, end="")
        if NOT_FITTED in read_costs(options.calibrate).where:
            print(f"doctor: {options.calibrate}: {NOT_FITTED}", file=sys.stderr)
    if options.validate is not None:
        with stops.noted():              # what was compared until a stop is printed
            with Progress("validate", 0, 1) as progress:
                compared = validate.run(options.validate or validate.shipped(), lambda share: progress(share, {}),
                                        int(options.workers))
            if compared:
                print(validation_report(compared, real, options.format))
            if stops.asked():
                print(f"doctor: stopped; {len({row.case for row in compared})} workloads were compared as a whole", file=sys.stderr)
    return DONE


def write_costs(path: str) -> str:
    """Measure, and write the costs file; returns its text.  Raises UsageError."""
    arguments.check_file("--calibrate", Path(path))
    try:
        return calibrate.run(path)
    except OSError as problem:
        raise UsageError(f"--calibrate {path}: cannot be written: {reason(problem)}") from None


class Facts(NamedTuple):
    """What was found; None is unknown."""

    processors: list[int]
    siblings: list[list[int]]
    quota: procfs.Quota | None
    throttled_count: int | None
    steal_share: float | None
    load_share: float | None     # of the processors, by others
    clock_source: str | None
    clock_invariant: bool | None
    clock_offset_ns: float | None
    clock_reading_ns: float
    governors: set[str] | None
    speed_drift_share: float
    scheduler_statistics: bool
    control_caught: bool | None  # None: not tried


class Row(NamedTuple):
    """One line of the table; `advice` is empty where there is nothing to do."""

    check: str
    finding: str
    advice: str


def examine(control: bool = True) -> Facts:
    """Look at this machine for about LOOK_S; with `control`, break a lock and see it caught."""
    processors = sorted(os.sched_getaffinity(0))
    calibration = clocks.calibrate()
    start = procfs.take(time.perf_counter(), {"me": procfs.worker(os.getpid())})
    time.sleep(LOOK_S)
    end = procfs.take(time.perf_counter(), {"me": procfs.worker(os.getpid())})
    clock = clocks.compared(calibration, processors)
    shared_s = (end.at_s - start.at_s) * len(processors)

    def share(what):
        if not all(number in start.processors for number in processors):
            return None
        return sum(getattr(end.processors[number], what) - getattr(start.processors[number], what)
                   for number in processors) / shared_s

    return Facts(
        processors, procfs.siblings(processors), end.quota,
        end.quota and start.quota and end.quota.throttled_count - start.quota.throttled_count,
        share("steal_s"), share("busy_s"), clock.source, clock.invariant, clock.offset_ns,
        calibration.reading_ticks / calibration.ticks_per_ns, procfs.governors(processors),
        clock.speed_drift, end.workers["me"] is not None, negative_control() if control else None)


def negative_control() -> bool:
    """Whether an entry lock that is broken on purpose is noticed."""
    broken = Config.model_validate({
        "name": "negative-control", "policy": "kick_on_busy", "duration_s": 0.3, "warmup_s": 0.0,
        "restart_on_bug": True, "checks": {"busted": ["entry_lock"]}, "td": {"vcpus": 1},
        "workload": {"removals_per_s": 0.0, "accept_first": 1.0, "pages": 1, "hot_pages": 1}})
    for _ in range(CONTROL_TRIES):
        result = running.measure(running.prepare(broken))
        if result.invariants["exclusive_ownership"] or result.invariants["no_halt"]:
            return True
    return False


# --- what it means ---------------------------------------------------------------------------

def rows(facts: Facts) -> list[Row]:
    """A row for each check."""
    return [check(facts) for check in CHECKS]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _processors(facts):
    count = len(facts.processors)
    return Row("processors", f"{count} allowed: {_ranges(facts.processors)}",
               "one worker runs at a time, so nothing contends: use another machine" if count == 1 else
               f"keep td.vcpus + workload.hosts at {count} or less; more workers make a run DEGRADED")


def _siblings(facts):
    if not facts.siblings:
        return Row("threads of one core", "none share a core, or the machine does not say", "")
    shown = ", ".join("+".join(map(str, group)) for group in facts.siblings)
    chosen = ",".join(str(number) for number in facts.processors
                      if not any(number in group[1:] for group in facts.siblings))
    return Row("threads of one core", f"share a core: {shown}",
               f"run under `taskset -c {chosen}`, or compare only with runs placed the same way")


def _quota(facts):
    quota = facts.quota
    if quota is None:
        return Row("CPU quota", "unknown: no control group says anything", "")
    limited = quota.processors is not None and quota.processors < len(facts.processors)
    advice = "raise cpu.max of this control group" if limited else ""
    if limited and quota.processors >= 1:
        advice += f", or use at most {int(quota.processors)} workers"
    finding = "none" if quota.processors is None else f"{quota.processors:g} processors"
    if facts.throttled_count:
        finding += f"; ran out {facts.throttled_count} times in {LOOK_S:g} s"
    return Row("CPU quota", finding, advice)


def _steal(facts):
    if facts.steal_share is None:
        return Row("steal time", "unknown: /proc/stat does not list these processors", "")
    return Row("steal time", f"{_percent(facts.steal_share)} of {LOOK_S:g} s",
               "other guests take these processors: have the virtual machine pinned to processors of its own"
               if facts.steal_share > trust.STEAL_SHARE else "")


def _load(facts):
    if facts.load_share is None:
        return Row("other load", "unknown: /proc/stat does not list these processors", "")
    return Row("other load", f"{_percent(facts.load_share)} of {LOOK_S:g} s",
               "end what else runs here, or keep it off by a cpuset, isolcpus= or systemd's AllowedCPUs"
               if facts.load_share > trust.OTHER_SHARE else "")


def _clock(facts):
    promise = {True: "invariant", False: "not invariant", None: "nothing promised"}[facts.clock_invariant]
    return Row("clock", f"{promise}; kernel keeps time by {facts.clock_source or 'unknown'};"
                        f" a reading costs {facts.clock_reading_ns:.1f} ns",
               "times may be wrong: have the hypervisor pass constant_tsc and nonstop_tsc on"
               if facts.clock_invariant is False else "")


def _synchronous(facts):
    if facts.clock_offset_ns is None:
        return Row("clocks agree", "unknown: the processors were too busy to compare them",
                   "try again when idle")
    apart = f"at least {facts.clock_offset_ns:.0f} ns apart"
    return Row("clocks agree", apart if facts.clock_offset_ns >= 1 else "no difference to be seen",
               "what a BUSY was due to cannot be found out across these processors: look for"
               " `Marking TSC unstable` in dmesg"
               if facts.clock_offset_ns > trust.CLOCK_OFFSET_NS else "")


def _frequency(facts):
    governed = ", ".join(sorted(facts.governors)) if facts.governors else "not governed here"
    changed = abs(facts.speed_drift_share) > trust.SPEED_DRIFT_SHARE
    changed_percent = round(100 * facts.speed_drift_share, 1) + 0.0      # no minus before zero
    advice = ""
    if facts.governors and facts.governors != {"performance"}:
        advice = "`cpupower frequency-set -g performance`, and turn boost off for comparisons"
    elif changed:
        advice = "wait until the machine is cool and idle; turn boost off"
    return Row("frequency", f"{governed}; the same work took {changed_percent:+.1f} % after"
                            f" {LOOK_S:g} s", advice)


def _statistics(facts):
    return Row("scheduler statistics", "kept" if facts.scheduler_statistics else "not kept",
               "" if facts.scheduler_statistics else
               "without /proc/PID/schedstat it is not known whether all workers ran: CONFIG_SCHED_INFO")


def _control(facts):
    if facts.control_caught is None:
        return Row("negative control", "not tried", "")
    return Row("negative control", "an entry lock broken on purpose was caught" if facts.control_caught else
               f"an entry lock broken on purpose was not caught in {CONTROL_TRIES} runs",
               "" if facts.control_caught else
               "on this machine no two workers meet: what it does not find here may still be there")


CHECKS = (_processors, _siblings, _quota, _steal, _load, _clock, _synchronous, _frequency, _statistics,
          _control)


def _ranges(numbers: list[int]) -> str:
    """[0, 1, 2, 8] -> `0-2,8`"""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)
