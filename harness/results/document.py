"""A Result from what an engine hands over: the records of all actors added up, rates made of counts.

Numbers carry their unit in the key; rates are defined beside where they are made.
"""

import time

import numpy as np

from harness.host import fingerprint
from harness.protocol.counters import COUNTERS, HOST_PRIORITY, REFUSED_FOR_PRIORITY, SPANS, declared, died_of
from harness.protocol.guest_policies import KINDS
from harness.protocol.invariants import NAMES
from harness.results import counted, trust
from harness.results.histogram import from_record, summary, to_stored
from harness.results.measured import Measured
from harness.results.schema import (
    HANGS_LOGGED, Bug, Busy, Call, Causes, Hang, Hangs, Histograms, Kicks, Net, Pairs, Priority, Result, Spans, Stream,
    Throughput, Timer, Verdict, Workers, ZeroStep, net_of_preempted,
)
from kernels.answers import AnswerKind
from kernels.blame import CAUSE_NAMES
from kernels.record import CAUSES, HISTOGRAM, MAX, SUM

SHORTEST_S = 1e-6                # of a measurement that was stopped as it began: counts are divided by it


class Sums:
    """The records of all actors added up, by name."""

    def __init__(self, measured: Measured):
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

    def by_cause(self, call: int) -> Causes | None:
        """BUSY answers of a call by cause; None where causes were not looked for."""
        if not self.attributed:
            return None
        start = self.tables.causes + call * CAUSES
        return Causes(**dict(zip(CAUSE_NAMES, map(int, self.half[start:start + CAUSES]))))

    def histogram(self, table: str, index: int) -> np.ndarray:
        start = getattr(self.tables, table) + index * HISTOGRAM
        return self.half[start:start + HISTOGRAM]

    def span(self, name: str) -> np.ndarray:
        if declared(SPANS, name, "span") not in self.program.spans:
            return np.zeros(HISTOGRAM, np.int64)
        return self.histogram("spans", self.program.spans.index(name))


def from_measured(measured: Measured) -> Result:
    """The result of a run, by whatever engine."""
    plan, config, sums = measured.plan, measured.plan.config, Sums(measured)
    program, seconds, ticks_per_ns = plan.program, measured.measured_s, measured.ticks_per_ns
    calls = {name: _call(sums, index, ticks_per_ns) for index, name in enumerate(program.calls)}
    result = Result(
        name=config.name, engine=config.engine, module=config.module, policy=config.policy.name,
        seed=config.seed, primitive=config.primitive, loop=config.workload.loop,
        verdict=Verdict(status=trust.VALID, reasons=[]),
        started_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(measured.started_at)),
        measured_s=max(SHORTEST_S, round(seconds, 6)), interrupted=measured.interrupted,
        workers=Workers(count=len(plan.actors), vcpus=config.td.vcpus * config.td.count,
                        hosts=config.workload.hosts * config.td.count, processors=measured.processors),
        conditions=measured.conditions, records=measured.records,
        busy=_busy(sums, calls, ticks_per_ns), seamcalls=calls, zero_step=_zero_step(sums, calls),
        kicks=_kicks(sums, seconds * config.td.vcpus * config.td.count, ticks_per_ns),
        pamt_pairs=_pamt_pairs(sums, config, seconds * len(plan.actors), ticks_per_ns),
        naive_decoding=counted.naive_decoding(counted.entered(program, sums.by_answer("answered"))),
        faults=counted.injected(config, program, sums.by_answer("answered"),
                                sums.counter),
        bugs=_bugs(sums),
        bug_log=[Bug(at_s=round(at, 6), actor=actor, cause=_cause(program, call, answer))
                 for at, actor, call, answer in measured.bugs],
        guest=config.guest.name,
        guest_deaths={kind: died for kind in KINDS if (died := sums.counter(died_of(kind)))},
        hangs=_hangs(measured), invariants=measured.invariants,
        throughput=Throughput(**{f"{name}_per_s": round(sums.counter(name) / seconds, 1) for name in (
            "touches", "private_faults", "installs", "accepts", "removals")}),
        spans_ns=Spans(**{name: summary(sums.span(name), ticks_per_ns)
                          for name in dict.fromkeys(("touch_stalled", "fault", "removal", *program.spans))}),
        arrivals=_arrivals(sums, config, seconds, ticks_per_ns),
        counters={name: sums.counter(name) for name in program.counters},
        host_priority=Priority(**measured.host_priority,
                               guest_refused_ns=summary(sums.span(REFUSED_FOR_PRIORITY), ticks_per_ns)),
        lost_swaps=measured.lost_swaps,
        histograms=_histograms(sums, ticks_per_ns),
        clock=Timer(ticks_per_ns=round(ticks_per_ns, 6),
                    reading_costs_ns=round(measured.clock_ticks / ticks_per_ns, 1)),
        **measured.extra,
        config=config.resolved(),
        machine={**fingerprint.fingerprint(), "conditions": fingerprint.conditions()},
    )
    result.verdict = trust.verdict(result, measured.problems, measured.halt)
    return result


def _call(sums: Sums, index: int, ticks_per_ns: float) -> Call:
    answered = sums.by_answer("answered")[index]
    busy, other = {}, {}
    for answer, count in zip(sums.program.answers, map(int, answered)):
        if not count or answer.kind == AnswerKind.SUCCESS:
            continue
        if answer.busy:
            busy[answer.refusal] = count
        else:
            other[answer.name] = count
    return Call(
        attempts=int(sums.by_call("attempts")[index]), success=int(answered[0]),
        busy=sum(busy.values()), busy_by_operand=busy, busy_by_cause=sums.by_cause(index),
        other=sum(other.values()), other_by_status=other,
        operations=int(sums.by_call("operations")[index]), contended=int(sums.by_call("contended")[index]),
        retries=summary(sums.histogram("retries", index)),
        latency_ns=summary(sums.histogram("latency", index), ticks_per_ns),
    )


def _ratio(part, whole) -> float | None:
    return part / whole if whole else None


def _busy(sums: Sums, calls: dict[str, Call], ticks_per_ns: float) -> Busy:
    """Rates of BUSY over all SEAMCALLs (a guest's TDCALLs are the guest's own affair).

    per_attempt         BUSY answers / attempts
    per_operation       operations with at least one BUSY / operations
    per_time            BUSY answers / seconds that operations spent between their first BUSY and their end
    net.per_attempt     BUSY of holders that were not preempted / attempts without those that met a
                        preempted holder: on a real host that hold would have been over, so the first
                        of them would have gone through and the others would not have been made
    net.per_operation   operations that met at least one such BUSY / operations
    late_holds          preempted holds that refused an attempt, each counted once by the call that it refused
    Null where the denominator is zero, or causes were not looked for.
    """
    host = {name: call for name, call in calls.items() if not name.startswith("tdg_")}
    numbers = [sums.program.calls.index(name) for name in host]
    answers, attempts, operations, contended = (
        sum(getattr(call, key) for call in host.values()) for key in ("busy", "attempts", "operations", "contended"))
    waited_s = sum(int(sums.by_call("waited")[number]) for number in numbers) / ticks_per_ns / 1e9
    by_cause, net, late_holds = None, Net(per_attempt=None, per_operation=None), None
    if sums.attributed:
        by_cause = Causes(**{cause: sum(getattr(call.busy_by_cause, cause) for call in host.values())
                             for cause in CAUSE_NAMES})
        contended_net = int(sum(sums.by_call("contended_net")[number] for number in numbers))
        net = Net(per_attempt=_ratio(net_of_preempted(by_cause.total(), by_cause), net_of_preempted(attempts, by_cause)),
                  per_operation=_ratio(contended_net, operations))
        late_holds = int(sum(sums.by_call("late_holds")[number] for number in numbers))
    return Busy(
        per_attempt=_ratio(answers, attempts), per_operation=_ratio(contended, operations),
        per_time=_ratio(answers, waited_s), retries_max=max(call.retries.max or 0 for call in host.values()),
        answers=answers, attempts=attempts, operations=operations, waited_s=round(waited_s, 6),
        by_cause=by_cause, net=net, late_holds=late_holds)


def _zero_step(sums: Sums, calls: dict[str, Call]) -> ZeroStep:
    faults, armed = sums.counter("private_faults"), sums.counter("zero_step.armed")
    return ZeroStep(
        private_faults=faults, armed=armed,
        armed_per_million_faults=round(armed / faults * 1e6, 1) if faults else None,
        entries_with_lock=sums.counter("zero_step.entries_with_lock"),
        busy_entries=calls["tdh_vp_enter"].busy_by_operand.get("SEPT_TREE", 0),
        synthetic_exits=sums.counter("zero_step.synthetic_exits"))


def _kicks(sums: Sums, vcpu_s: float, ticks_per_ns: float) -> Kicks:
    lost = sums.span("guest_time_lost")
    return Kicks(
        broadcasts=sums.counter("kick_broadcasts"), vcpus_interrupted=sums.counter("kicks_sent"),
        entries_refused=sums.counter("entries_refused"),
        wait_ns=summary(sums.span("kick_wait"), ticks_per_ns),
        entry_barred_ns=summary(sums.span("entry_barred"), ticks_per_ns),
        guest_time_lost_ns=summary(lost, ticks_per_ns),
        guest_time_lost_share=round(int(lost[SUM]) / ticks_per_ns / 1e9 / vcpu_s, 6))


def _pamt_pairs(sums: Sums, config, actors_s: float, ticks_per_ns: float) -> Pairs | None:
    if not config.td.dpamt:
        return None
    return Pairs(wait_share=round(int(sums.span("pamt_wait")[SUM]) / ticks_per_ns / 1e9 / actors_s, 6))


def _cause(program, call: int, answer: int) -> str:
    return f"{program.calls[call]}: {program.answers[answer].name}"


def _bugs(sums: Sums) -> dict[str, int]:
    """KVM_BUG_ONs by cause, most first."""
    bugs = sums.by_answer("bugs")
    causes = {_cause(sums.program, int(call), int(answer)): int(bugs[call, answer])
              for call, answer in np.argwhere(bugs)}
    return dict(sorted(causes.items(), key=lambda item: -item[1]))


def _hangs(measured: Measured) -> Hangs:
    return Hangs(
        count=len(measured.hangs), deadlocks=sum(bool(hang.waiting) for hang in measured.hangs),
        log=[Hang(at_s=round(hang.at_s, 3), vcpus=list(hang.vcpus), waiting=list(hang.waiting))
             for hang in measured.hangs[:HANGS_LOGGED]])


def _arrivals(sums: Sums, config, seconds: float, ticks_per_ns: float) -> dict[str, Stream] | None:
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
        plural: Stream(offered_per_s=rate, served_per_s=round(sums.counter(f"{what}_arrivals") / seconds, 1),
                       since_intended_ns=summary(sums.span(f"{what}_since_intended"), ticks_per_ns))
        for what, plural, rate in offered}
    return streams | {"faults": Stream(since_intended_ns=summary(sums.span("fault_since_intended"), ticks_per_ns))}


def _histograms(sums: Sums, ticks_per_ns: float) -> Histograms:
    """Everything that was counted in histograms, for adding up results (histogram.py), but empty ones."""
    calls, spans = sums.program.calls, sums.program.spans
    kinds = {
        "latency_ns": {name: from_record(sums.histogram("latency", index), ticks_per_ns)
                       for index, name in enumerate(calls)},
        "retries": {name: from_record(sums.histogram("retries", index)) for index, name in enumerate(calls)},
        "span_ns": {name: from_record(sums.span(name), ticks_per_ns) for name in spans},
    }
    return Histograms(**{kind: {name: to_stored(each) for name, each in named.items() if each.counts}
                         for kind, named in kinds.items()})


def example(plan) -> Result:
    """The result of a run in which nothing happened: it has every key that a result of the plan has."""
    half = np.zeros(plan.tables.half, np.int64)
    nothing = dict.fromkeys(NAMES, 0)
    return from_measured(Measured(plan, [half], 1.0, 1.0, nothing, host_priority=dict.fromkeys(HOST_PRIORITY, 0)))
