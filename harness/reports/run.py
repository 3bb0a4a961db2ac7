"""One run as a person reads it: calls, operands, causes, latencies, and every other number of its result.

Every table says which engine, module release and seed made it, and every number its unit.
"""

import json
from typing import NamedTuple

from tabulate import tabulate

from harness.experiment.assumed import VALIDATED_PROCESSORS
from harness.protocol.guest_policies import STATUS
from harness.protocol.seamcall_abi import FAULTS
from harness.reports.numbers import shown
from harness.reports.text import count, csv_of, formatted, laid_out, microseconds, number, percent, share_of, width, wrap
from harness.results.metrics import BY_KEY, none_of
from harness.results.schema import Call, Result, Summary, net_of_preempted

PERCENTILES = {"p50": "p50", "p90": "p90", "p99": "p99", "p99_9": "p99.9", "p99_99": "p99.99", "max": "max"}
PERCENTILE = "p99.9: 999 in a thousand took no longer; -: too few samples to say"
LATENCY_NOTES = {
    "closed": "an operation with all its attempts, in a closed loop: an actor asks for the next"
              " when this one is done, so what a stall keeps from being asked for is not in it",
    "open": "an operation with all its attempts; what a stall delays shows in the table since intended",
}
# What the columns of each table mean, by its first header; docs/reading_a_run.md says more.
LEGENDS = {
    "call": "tries: attempts, also those that try again; BUSY %: of the tries; net %: without lock holders that the operating system"
            " had preempted; other: answers that are neither success nor BUSY; retry p50, p99, max: further tries of an operation",
    "BUSY by operand": "the operand that a BUSY status names; -: none",
    "BUSY by cause": "who held the lock, looked up behind the call: holder runs: in its call; is gone already: had let go by then;"
                     " has won it again: the same as at the last try, in another call; refused for host priority: free, but a host had asked"
                     " first; holder preempted: the operating system's doing",
    "latency, us": f"latency: of {{loop}}; {PERCENTILE}",
    "since intended, us": f"from when it was meant to begin; offered, served: arrivals, and how many were begun; {PERCENTILE}",
    "other answers": "each status that is neither success nor BUSY",
}
FACTS = "what each number means: docs/reading_a_run.md, docs/columns.md"


def run_report(result: Result, style: str = "table") -> str:
    """Everything about one run."""
    if style == "json":
        return json.dumps(result.document(), indent=1)
    if style == "csv":
        return csv_of(call_rows(result))
    tables = [f"{formatted(rows, style)}\n{legend(rows, result.loop)}\n" for rows in
              (call_rows(result), operand_rows(result), cause_rows(result), latency_rows(result),
               arrival_rows(result), other_rows(result)) if rows]
    facts = fact_table(fact_rows(result), style)
    parts = [title(result), *verdict_lines(result), *assumption_lines(result), condition_line(result), "", *tables, facts, wrap(FACTS), "",
             *fault_lines(result), *bug_lines(result), *death_lines(result), *hang_lines(result), wrap(naive_line(result)),
             invariant_line(result)]
    return "\n".join(parts)


def legend(rows: list[dict], loop: str) -> str:
    """What the headers of a table mean."""
    return wrap(LEGENDS[next(iter(rows[0]))].format(loop=LATENCY_NOTES[loop]))


# --- what made it ----------------------------------------------------------------------------

def title(result: Result) -> str:
    workers = result.workers
    made_by = (f"engine {result.engine}, module {result.module}, seed {result.seed}, primitive"
               f" {result.primitive}; {count(workers.vcpus, 'vCPU')} + {count(workers.hosts, 'host')}"
               f" on {count(len(workers.processors), 'processor')}; {result.measured_s:.4g} s")
    return f"{result.name}: policy {result.policy}\n{wrap(made_by)}"


def verdict_lines(result: Result) -> list[str]:
    verdict = result.verdict
    return [wrap(f"{verdict.status}: {reason}") for reason in verdict.reasons] or [verdict.status]


def assumption_lines(result: Result) -> list[str]:
    """What a simulated result rests on; nothing for one that was measured."""
    numbers = result.simulation.assumptions if result.simulation else []
    assumed = [item for item in numbers if "assumption" in item.provenance or item.provenance == "this config"]
    others: dict[str, list] = {}                          # by where they come from; published ones together, as each has a source of its own
    for item in numbers:
        if item not in assumed:
            published = item.provenance.startswith("published: ")
            others.setdefault("published, result.json names the source of each" if published else item.provenance, []).append(item)

    def listed(items):
        return ", ".join(f"{item.key.removeprefix('machine.')} {item.value:g}"
                         if isinstance(item.value, int | float) else f"{item.key} {item.value}"
                         for item in items)

    lines = [wrap(f"assumptions (ns): {listed(assumed)}")] if assumed else []
    if assumed and (threads := threads_of(result)) > VALIDATED_PROCESSORS:
        lines.append(wrap(f"{threads} threads: virtual time was held beside real processes on {VALIDATED_PROCESSORS} only; sweep CONFIG"
                          " --sensitivity says which assumption decides a number, and how far it goes"))
    return [*lines, *(wrap(f"{where} (ns): {listed(items)}") for where, items in others.items())]


def threads_of(result: Result) -> int:
    """vCPUs and host threads of all TDs."""
    config = result.config
    return config["td"]["count"] * (config["td"]["vcpus"] + config["workload"]["hosts"])


def condition_line(result: Result) -> str:
    """How the workers were treated meanwhile."""
    conditions = result.conditions
    if conditions is None:
        return "conditions: not known"
    return wrap(f"conditions: all workers ran {percent(conditions.full_concurrency_share)} % of the time or more,"
                f" {number(conditions.involuntary_switches_count)} involuntary switches; steal"
                f" {percent(conditions.steal_share)} %, other load {percent(conditions.other_load_share)} %,"
                f" frequency drift {percent(conditions.speed_drift_share)} %")


# --- a row per call --------------------------------------------------------------------------

def call_rows(result: Result) -> list[dict]:
    """One row per call that was made."""
    return [{
        "call": name, "tries": number(call.attempts), "BUSY": number(call.busy),
        "BUSY\n%": share_of(call.busy, call.attempts), "net\n%": net_share(call),
        "other": number(call.other),
        "retry\np50": number(call.retries.p50), "retry\np99": number(call.retries.p99),
        "retry\nmax": number(call.retries.max),
    } for name, call in result.seamcalls.items() if call.attempts]


def net_share(call: Call) -> str:
    """BUSY without that of holders which the operating system had preempted."""
    return share_of(net_of_preempted(call.busy, call.busy_by_cause), net_of_preempted(call.attempts, call.busy_by_cause))


def operand_rows(result: Result) -> list[dict]:
    """BUSY answers by call and operand."""
    operands = sorted({operand for call in result.seamcalls.values() for operand in call.busy_by_operand})
    return [{"BUSY by operand": name, **{operand: number(call.busy_by_operand.get(operand)) for operand in operands}}
            for name, call in result.seamcalls.items() if call.busy]


def cause_rows(result: Result) -> list[dict]:
    """BUSY answers by call and cause; nothing where causes were not looked for."""
    return [{
        "BUSY by cause": name, "BUSY": number(call.busy), "holder\nruns": number(causes.running),
        "is gone\nalready": number(causes.gone), "has won\nit again": number(causes.recaptured),
        "refused for\nhost priority": number(causes.host_priority),
        "holder\npreempted": number(causes.preempted),
    } for name, call in result.seamcalls.items() if call.busy and (causes := call.busy_by_cause)]


def latency_rows(result: Result) -> list[dict]:
    """How long an operation took, with all its attempts: one row per call."""
    return [{"latency, us": name, **percentile_columns(call.latency_ns)}
            for name, call in result.seamcalls.items() if call.latency_ns.count]


def percentile_columns(summary: Summary) -> dict:
    return {"samples": number(summary.count),
            **{heading: microseconds(getattr(summary, key)) for key, heading in PERCENTILES.items()}}


def arrival_rows(result: Result) -> list[dict]:
    """An open loop: what arrived, and how long it took from when it was meant to begin."""
    return [{"since intended, us": what, "offered\nper s": number(stream.offered_per_s),
             "served\nper s": number(stream.served_per_s), **percentile_columns(stream.since_intended_ns)}
            for what, stream in (result.arrivals or {}).items()]


def other_rows(result: Result) -> list[dict]:
    return [{"other answers": name, "status": status, "count": number(number_of)}
            for name, call in result.seamcalls.items() for status, number_of in call.other_by_status.items()]


# --- all other numbers -----------------------------------------------------------------------

class Fact(NamedTuple):
    """A line of two columns: one number, or two of one kind; its name where that of the table is too long here."""

    keys: tuple[str, ...]
    name: str = ""


LEFT = (
    Fact(("busy_per_attempt_percent",)),
    Fact(("busy_net_percent",), "  net of preempted holders"),
    Fact(("busy_per_operation_percent",)),
    Fact(("busy_net_per_operation_percent",), "  net of preempted holders"),
    Fact(("busy_per_waited_ms",)),
    Fact(("private_faults",)),
    Fact(("zero_step_armed",)),
    Fact(("armed_per_million_faults",), "  per million faults"),
    Fact(("entries_with_tree_lock",), "  entries with tree lock"),
    Fact(("entries_refused_tree",), "  entries refused, tree BUSY"),
    Fact(("synthetic_exits",), "  synthetic EPT violations"),
    Fact(("stall_max_ms",)),
    Fact(("priority_set",)),
    Fact(("priority_cleared",), "  cleared by a host"),
    Fact(("priority_lost",), "  lost in a store"),
)
RIGHT = (
    Fact(("late_holds",)),
    Fact(("retries_max",), "most retries of an operation"),
    Fact(("touches_per_s",)),
    Fact(("installs_per_s",)),
    Fact(("removals_per_s",)),
    Fact(("removal_p50_us", "removal_p99_us"), "removal us, p50 / p99"),
    Fact(("kick_broadcasts",)),
    Fact(("vcpus_interrupted",), "  vCPUs interrupted"),
    Fact(("kick_wait_p50_us", "kick_wait_p99_us"), "  wait us, p50 / p99"),
    Fact(("entries_barred",), "  entries refused by the bar"),
    Fact(("guest_time_lost_percent",)),
    Fact(("time_lost_p50_us", "time_lost_p99_us"), "  per kick us, p50 / p99"),
    Fact(("priority_orphaned",)),
    Fact(("guest_refused_p50_us", "guest_refused_max_us"), "  guest refused us, p50 / max"),
    Fact(("priority_timeouts",), "  TD exits after hp_lock_timeout"),
)
OF_PAIRS = (Fact(("pamt_wait_percent",)), Fact(("fault_p99_us",)))      # where page pairs are got and put (td.dpamt)


def fact_table(rows: list[tuple[str, str, str, str]], style: str) -> str:
    """Two columns of facts beside each other; below each other where the terminal is narrow."""
    align = ["left", "right"]
    if style == "github":
        return tabulate(rows, tablefmt="github", preserve_whitespace=True, disable_numparse=True, colalign=align * 2, headers=[""] * 4)
    beside = [max(len(row[column]) for row in rows) for column in range(4)]
    if sum(beside) + 6 > width():
        return laid_out(["", ""], [row[:2] for row in rows] + [row[2:] for row in rows], align, "plain")
    return laid_out([""] * 4, rows, align * 2, "plain")


def fact_rows(result: Result) -> list[tuple[str, str, str, str]]:
    """Everything that is not about one call: two columns of (what, value)."""
    pairs = [OF_PAIRS] if result.pamt_pairs else []
    return [(*_fact(one, result), *_fact(other, result)) for one, other in [*zip(LEFT, RIGHT, strict=True), *pairs]]


def _fact(fact: Fact, result: Result) -> tuple[str, str]:
    metrics = [BY_KEY[key] for key in fact.keys]
    return (fact.name or metrics[0].name,
            " / ".join(shown(metric, metric.get(result), none_of(metric, [result])) for metric in metrics))


# --- lines -----------------------------------------------------------------------------------

def bug_lines(result: Result) -> list[str]:
    if not result.bugs:
        return ["KVM_BUG_ON: none"]
    lines = [f"KVM_BUG_ON: {sum(result.bugs.values())}"]
    if result.bug_log:
        first = result.bug_log[0]
        when = f"{abs(first.at_s):.6f} s {'into the measurement' if first.at_s >= 0 else 'before it, in the warm-up,'}"
        lines[0] += f", the first {when} on {first.actor}"
    return lines + [f"  {times} x {cause}" for cause, times in result.bugs.items()]


def death_lines(result: Result) -> list[str]:
    """Guests that have ended themselves, by what they could not bear."""
    kinds = ", ".join(f"{times} x {STATUS[kind]}" for kind, times in result.guest_deaths.items())
    guests = f"dead guests: {sum(result.guest_deaths.values())} of {result.guest}: {kinds}" if kinds else "dead guests: none"
    return [wrap(guests)]


def hang_lines(result: Result) -> list[str]:
    """When the TD hung, and the last answer of each of its vCPUs."""
    log = result.hangs.log
    if not log:
        return ["hangs: none"]
    hangs, deadlocks = result.hangs.count, result.hangs.deadlocks
    what = f"hangs (no vCPU completes a touch): {hangs}"
    if deadlocks:
        what = f"hangs: {hangs}, {deadlocks} of them deadlocks (an actor waits for ever)"
    first = next((hang for hang in log if hang.waiting), log[0])
    lines = [f"{what}, the first{' deadlock' if deadlocks else ''} {first.at_s:g} s into the measurement:"]
    return lines + [wrap(f"  {line}") for line in first.waiting or first.vcpus]


def invariant_line(result: Result) -> str:
    violated = {name: times for name, times in result.invariants.items() if times}
    unchecked = [name for name, times in result.invariants.items() if times is None]
    text = ", ".join(f"{name} VIOLATED {times} times" for name, times in violated.items()) or \
        f"{len(result.invariants) - len(unchecked)} hold"
    if unchecked:
        text += f"; not checked: {', '.join(unchecked)}"
    return wrap(f"invariants: {text}")


def naive_line(result: Result) -> str:
    naive = result.naive_decoding
    return (f"naive 16-bit decoding would have synthesized: NMI {naive.nmi}, interrupt {naive.external_interrupt},"
            f" TDCALL {naive.tdcall} (refused entries: {naive.without_exit})")


def fault_lines(result: Result) -> list[str]:
    """What was injected, what it would have done before any TD ran, and what it did here."""
    faults, lines = result.faults, []
    if faults.seamcall is not None:
        fault = FAULTS[faults.seamcall]
        lines += [
            f"SEAMCALLs refused: {faults.refused} ({fault.cause})",
            f"  each answers {faults.status_name}, {faults.status}",
            f"  at initialization: {faults.init_errno}, {fault.init}",
            f"  vCPUs out with KVM_EXIT_INTERNAL_ERROR: {faults.internal_errors}"
            + (", none of them a bug (kvm_rebooting)" if faults.rebooting else ""),
        ]
    if faults.no_entropy is not None:
        lines.append(f"calls without entropy: {faults.no_entropy} attempts")
    if faults.machine_checks is not None:
        checks = faults.machine_checks
        lines += [
            f"machine checks: {checks.count}; page private {checks.private}, not private"
            f" {checks.not_private}, and taken for not private because",
            f"  not in VMX operation (#UD) {checks.not_in_vmx_operation}, no module {checks.no_module},"
            f" PAMT entry BUSY {checks.busy}",
        ]
    return lines
