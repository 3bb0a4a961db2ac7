"""Results: what a run measured, as one JSON document of one shape for all engines.

An engine hands over `Measured`; `from_measured` makes the document of it, files.py keeps it, judge.py
says what to think of it, report.py prints it.  Numbers carry their unit in the key; rates are
defined beside where they are made.
"""

import math
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from harness.results import counted, histogram
from harness.host import fingerprint
from harness.results.store import SCHEMA
from harness.results.trust import SHARES, samples_needed, verdict
from harness.protocol.counters import COUNTERS, HOST_PRIORITY, REFUSED_FOR_PRIORITY, SPANS, declared
from harness.protocol.invariants import NAMES
from harness.protocol.seamcalls import BY_NAME
from kernels.answers import AnswerKind
from kernels.blame import CAUSE_NAMES
from kernels.record import BUCKETS, CAUSES, HISTOGRAM, MAX, SUM, quantile


# --- what an engine hands over ----------------------------------------------------------------

@dataclass
class Measured:
    """What a run left behind: the records of its actors, and how it went.

    halves          int64, the half of each actor's record that counts
    ticks_per_ns    of the clock that spans are measured with
    clock_ticks     what one reading of it costs
    invariants      violations by name; None: not checked
    host_priority   what became of host-priority bits (counters.HOST_PRIORITY)
    bugs            the first KVM_BUG_ONs: (seconds since the measurement began, actor, call, answer)
    conditions      what else the machine did meanwhile (conditions.py); None where that does not matter
    records         how each worker's record was found (seal.py)
    hangs           times at which no vCPU had made progress for long, and the TD was given up
    problems        why the run should not be believed
    halt            how the module shut itself down, if it did; the run ended there
    extra           what only this engine has to say, by key of the result
    """

    plan: Any
    halves: list[np.ndarray]
    measured_s: float
    ticks_per_ns: float
    invariants: dict[str, int | None]
    clock_ticks: int = 0
    processors: list[int] = field(default_factory=list)
    started_at: float = 0.0
    host_priority: dict[str, int] = field(default_factory=dict)
    lost_swaps: int = 0
    bugs: list[tuple[float, str, int, int]] = field(default_factory=list)
    hangs: list["Hang"] = field(default_factory=list)
    interrupted: bool = False
    conditions: dict | None = None
    records: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    halt: str = ""
    extra: dict = field(default_factory=dict)


class Hang(NamedTuple):
    """When a TD was found hanging (seconds since the measurement began), and what each vCPU was told last.

    waiting   who waited for what, if it was a deadlock
    """

    at_s: float
    vcpus: tuple[str, ...]
    waiting: tuple[str, ...] = ()


# --- building --------------------------------------------------------------------------------

class Sums:
    """The records of all actors added up, by name."""

    def __init__(self, measured):
        self.plan = measured.plan
        self.tables, program = measured.plan.tables, measured.plan.program
        self.program = program
        self.attributed = measured.plan.attributes()
        self.half = np.sum(measured.halves, axis=0)
        greatest = np.max(measured.halves, axis=0)
        for start, count in ((self.tables.retries, len(program.calls)),
                             (self.tables.latency, len(program.calls)),
                             (self.tables.spans, len(program.spans))):
            at = start + MAX + HISTOGRAM * np.arange(count)
            self.half[at] = greatest[at]

    def counter(self, name: str) -> int:
        """A counter; 0 if this program does not have it.  Raises LookupError for one that no program has."""
        if declared(COUNTERS, name, "counter") not in self.program.counters:
            return 0
        return int(self.half[self.tables.counters + self.program.counters.index(name)])

    def by_call(self, table: str) -> np.ndarray:
        start = getattr(self.tables, table)
        return self.half[start:start + len(self.program.calls)]

    def by_answer(self, table: str) -> np.ndarray:
        """int64 (calls, answers)"""
        calls, counted = len(self.program.calls), len(self.program.answers)
        start = getattr(self.tables, table)
        return self.half[start:start + calls * counted].reshape(calls, counted)

    def by_cause(self, call: int) -> dict[str, int] | None:
        """BUSY answers of a call by whose fault they were; None if nobody looked."""
        if not self.attributed:
            return None
        start = self.tables.causes + call * CAUSES
        return dict(zip(CAUSE_NAMES, map(int, self.half[start:start + CAUSES])))

    def histogram(self, table: str, index: int) -> np.ndarray:
        start = getattr(self.tables, table) + index * HISTOGRAM
        return self.half[start:start + HISTOGRAM]

    def span(self, name: str) -> np.ndarray:
        if declared(SPANS, name, "span") not in self.program.spans:
            return np.zeros(HISTOGRAM, np.int64)
        return self.histogram("spans", self.program.spans.index(name))


def summary(histogram: np.ndarray, unit: float = 1) -> dict:
    """Count, quantiles and greatest value of a histogram, in multiples of `unit` ticks.

    A quantile beyond which less than one sample is expected is null: it would be the greatest value
    under another name.
    """
    def scaled(value):
        return None if math.isnan(value) else round(value / unit, 1) if unit != 1 else int(value)

    count = int(histogram[:BUCKETS].sum())
    values = {name: scaled(quantile(histogram, share)) if count >= samples_needed(name) else None
              for name, share in SHARES.items()}
    return {"count": count, **values, "max": scaled(float(histogram[MAX])) if count else None}


def from_measured(measured) -> dict:
    """The result of a run, of any engine."""
    plan, config, sums = measured.plan, measured.plan.config, Sums(measured)
    program, seconds = plan.program, measured.measured_s
    calls = {name: _call(sums, index, measured.ticks_per_ns) for index, name in enumerate(program.calls)}
    faults, armed = sums.counter("private_faults"), sums.counter("zero_step.armed")
    lost = sums.span("guest_time_lost")
    vcpu_s = seconds * config.td.vcpus * config.td.count
    result = {
        "schema": SCHEMA,
        "name": config.name, "engine": config.engine, "module": config.module,
        "policy": config.policy.name, "seed": config.seed, "primitive": config.primitive,
        "loop": config.workload.loop,
        "verdict": None,
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(measured.started_at)),
        "measured_s": round(seconds, 6), "interrupted": measured.interrupted,
        "workers": {"count": len(plan.actors), "vcpus": config.td.vcpus * config.td.count,
                    "hosts": config.workload.hosts * config.td.count,
                    "processors": measured.processors},
        "conditions": measured.conditions, "records": measured.records,
        "busy": _rates(sums, calls, measured.ticks_per_ns),
        "seamcalls": calls,
        "zero_step": {
            "private_faults": faults, "armed": armed,
            "armed_per_million_faults": round(armed / faults * 1e6, 1) if faults else None,
            "entries_with_lock": sums.counter("zero_step.entries_with_lock"),
            "busy_entries": calls["tdh_vp_enter"]["busy_by_operand"].get("SEPT_TREE", 0),
            "synthetic_exits": sums.counter("zero_step.synthetic_exits"),
        },
        "kicks": {
            "broadcasts": sums.counter("kick_broadcasts"),
            "vcpus_interrupted": sums.counter("kicks_sent"),
            "entries_refused": sums.counter("entries_refused"),
            "wait_ns": summary(sums.span("kick_wait"), measured.ticks_per_ns),
            "entry_barred_ns": summary(sums.span("entry_barred"), measured.ticks_per_ns),
            "guest_time_lost_ns": summary(lost, measured.ticks_per_ns),
            "guest_time_lost_share": round(int(lost[SUM]) / measured.ticks_per_ns / 1e9 / vcpu_s, 6),
        },
        "naive_decoding": counted.naive_decoding(counted.entered(program, sums.by_answer("answered"))),
        "faults": counted.injected(config, program, sums.by_answer("answered"),
                                   sums.counter),
        "bugs": _bugs(sums),
        "bug_log": [{"at_s": round(at, 6), "actor": actor, "cause": _cause(program, call, answer)}
                    for at, actor, call, answer in measured.bugs],
        "hangs": {"count": len(measured.hangs), "deadlocks": sum(bool(hang.waiting) for hang in measured.hangs),
                  "log": [{"at_s": round(hang.at_s, 3), "vcpus": hang.vcpus, "waiting": hang.waiting}
                          for hang in measured.hangs[:16]]},
        "invariants": measured.invariants,
        "throughput": {f"{name}_per_s": round(sums.counter(name) / seconds, 1)
                       for name in ("touches", "private_faults", "installs", "accepts", "removals")},
        "spans_ns": {name: summary(sums.span(name), measured.ticks_per_ns)
                     for name in dict.fromkeys(("touch_stalled", "fault", "removal", *program.spans))},
        "arrivals": _arrivals(sums, config, seconds, measured.ticks_per_ns),
        "counters": {name: sums.counter(name) for name in program.counters},
        "host_priority": {**measured.host_priority,
                          "guest_refused_ns": summary(sums.span(REFUSED_FOR_PRIORITY), measured.ticks_per_ns)},
        "lost_swaps": measured.lost_swaps,
        "histograms": _histograms(sums, measured.ticks_per_ns),
        "clock": {"ticks_per_ns": round(measured.ticks_per_ns, 6),
                  "reading_costs_ns": round(measured.clock_ticks / measured.ticks_per_ns, 1)},
        **measured.extra,
        "config": config.resolved(),
        "machine": {**fingerprint.fingerprint(), "conditions": fingerprint.conditions()},
    }
    result["verdict"] = verdict(result, measured.problems, measured.halt)
    return result


def _arrivals(sums: Sums, config, seconds: float, ticks_per_ns: float) -> dict | None:
    """An open loop: how many touches and removals were meant to begin, and how long each took from there on.

    offered_per_s        the rate that the config asks for, all actors together
    served_per_s         how many were begun; less than offered: the actors cannot keep up
    since_intended_ns    from the intended start to the end (a removal of a page that is not there has
                         no end; `faults` are the touches that faulted)
    """
    if config.workload.loop == "closed":
        return None
    workload = config.workload
    offered = (("touch", "touches", workload.touches_per_s * config.td.vcpus * config.td.count),
               ("removal", "removals", workload.removals_per_s * workload.hosts * config.td.count))
    streams = {
        plural: {"offered_per_s": rate, "served_per_s": round(sums.counter(f"{what}_arrivals") / seconds, 1),
                     "since_intended_ns": summary(sums.span(f"{what}_since_intended"), ticks_per_ns)}
        for what, plural, rate in offered}
    streams["faults"] = {"since_intended_ns": summary(sums.span("fault_since_intended"), ticks_per_ns)}
    return streams


def _histograms(sums: Sums, ticks_per_ns: float) -> dict:
    """Everything that was counted in histograms, for adding up results (histogram.py), but empty ones."""
    calls, spans = sums.program.calls, sums.program.spans
    kinds = {
        "latency_ns": {name: histogram.from_record(sums.histogram("latency", index), ticks_per_ns)
                       for index, name in enumerate(calls)},
        "retries": {name: histogram.from_record(sums.histogram("retries", index))
                    for index, name in enumerate(calls)},
        "span_ns": {name: histogram.from_record(sums.span(name), ticks_per_ns) for name in spans},
    }
    return {kind: {name: histogram.to_json(each) for name, each in named.items() if each.counts}
            for kind, named in kinds.items()}


def _call(sums: Sums, index: int, ticks_per_ns: float) -> dict:
    answered = sums.by_answer("answered")[index]
    busy, other = {}, {}
    for answer, count in zip(sums.program.answers, map(int, answered)):
        if not count or answer.kind == AnswerKind.SUCCESS:
            continue
        if answer.busy:
            busy[answer.refusal] = count
        else:
            other[answer.name] = count
    return {
        "attempts": int(sums.by_call("attempts")[index]), "success": int(answered[0]),
        "busy": sum(busy.values()), "busy_by_operand": busy, "busy_by_cause": sums.by_cause(index),
        "other": sum(other.values()), "other_by_status": other,
        "operations": int(sums.by_call("operations")[index]),
        "contended": int(sums.by_call("contended")[index]),
        "retries": summary(sums.histogram("retries", index)),
        "latency_ns": summary(sums.histogram("latency", index), ticks_per_ns),
    }


def _rates(sums: Sums, calls: dict, ticks_per_ns: float) -> dict:
    """Three rates of BUSY, over all SEAMCALLs (a guest's TDCALLs are the guest's own affair).

    per_attempt     BUSY answers / attempts
    per_operation   operations that met BUSY at least once / operations
    per_time        BUSY answers / seconds that operations spent between their first BUSY and their end
    Null where the denominator is zero.
    """
    def share(part, whole):
        return part / whole if whole else None

    host = [name for name in calls if BY_NAME[name].side == "host"]
    attempts, busy = (sum(calls[name][key] for name in host) for key in ("attempts", "busy"))
    operations = sum(calls[name]["operations"] for name in host)
    waited = sums.by_call("waited")
    waited_s = sum(int(waited[sums.program.calls.index(name)]) for name in host) / ticks_per_ns / 1e9
    return {
        "per_attempt": share(busy, attempts),
        "per_operation": share(sum(calls[name]["contended"] for name in host), operations),
        "per_time": share(busy, waited_s),
        "retries_max": max(calls[name]["retries"]["max"] or 0 for name in host),
        "answers": busy, "attempts": attempts, "operations": operations, "waited_s": round(waited_s, 6),
        **_causes(sums, calls, host),
    }


def _causes(sums: Sums, calls: dict, host: list[str]) -> dict:
    """BUSY of these calls by cause, and what is left without the scheduler's (kernels/blame.py).

    net.per_attempt     BUSY of holders that were not preempted / attempts without those that met a
                        preempted holder: on a real host that hold would have been over, so the first
                        of them would have gone through and the others would not have been made
    net.per_operation   operations that met at least one such BUSY / operations
    late_holds          preempted holds that refused somebody, each counted once by whom it refused
    """
    if not sums.attributed:
        return {"by_cause": None, "net": {"per_attempt": None, "per_operation": None}, "late_holds": None}
    numbers = [sums.program.calls.index(name) for name in host]
    by_cause = {cause: sum(calls[name]["busy_by_cause"][cause] for name in host) for cause in CAUSE_NAMES}
    preempted, busy = by_cause["preempted"], sum(by_cause.values())
    attempts = sum(calls[name]["attempts"] for name in host) - preempted
    operations = sum(calls[name]["operations"] for name in host)
    contended = int(sum(sums.by_call("contended_net")[number] for number in numbers))
    return {
        "by_cause": by_cause,
        "net": {"per_attempt": (busy - preempted) / attempts if attempts else None,
                "per_operation": contended / operations if operations else None},
        "late_holds": int(sum(sums.by_call("late_holds")[number] for number in numbers)),
    }


def _cause(program, call: int, answer: int) -> str:
    return f"{program.calls[call]}: {program.answers[answer].name}"


def _bugs(sums: Sums) -> dict:
    """KVM_BUG_ONs by cause, most first."""
    bugs = sums.by_answer("bugs")
    causes = {_cause(sums.program, int(call), int(answer)): int(bugs[call, answer])
              for call, answer in np.argwhere(bugs)}
    return dict(sorted(causes.items(), key=lambda item: -item[1]))


def example(plan) -> dict:
    """The result of a run in which nothing happened: it has every key that a result of the plan has."""
    half = np.zeros(plan.tables.half, np.int64)
    nothing = dict.fromkeys(NAMES, 0)
    return from_measured(Measured(plan, [half], 1.0, 1.0, nothing, host_priority=dict.fromkeys(HOST_PRIORITY, 0)))
