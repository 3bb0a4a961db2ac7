"""Tables that a person reads: one run, and the layout of all tables.  Nothing here is wider than 100 columns.

Every table says which engine, module release and seed made it, and every number its unit.  Layout of
tables is tabulate's; this file decides what stands in them.
"""

import csv
import io
import json

import tabulate as tabulate_module
from tabulate import tabulate

from harness.results.counted import fault_lines, naive_line
from harness.protocol.policies import POLICIES
from harness.protocol.policy import SITES, SWITCHES

# Columns as narrow as their contents, so that tables fit; leading blanks mean something.
tabulate_module.MIN_PADDING = 0
tabulate_module.PRESERVE_WHITESPACE = True

WIDTH = 100


# --- one number ------------------------------------------------------------------------------

def number(value) -> str:
    """A count or a rate in at most six characters; `-` for nothing."""
    if value is None:
        return "-"
    if abs(value) >= 1_000_000:
        return f"{value / 1e6:.3g}M" if abs(value) < 1e9 else f"{value / 1e9:.3g}G"
    if isinstance(value, int) or value == int(value):
        return str(int(value))
    if abs(value) < 0.01:
        return "<.01"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def percent(share) -> str:
    """A share of one in percent, in at most five characters."""
    if share is None:
        return "-"
    if 0 < share < 1e-4:
        return "<.01"
    return f"{100 * share:.3g}" if share >= 0.001 else f"{100 * share:.2g}"


def share_of(part: int | None, whole: int | None) -> str:
    """`part` of `whole` in percent; none of n is at most 3/n (rule of three, 95 %), shown as `<` that."""
    if not whole or part is None:
        return "-"
    if part:
        return percent(part / whole)
    return f"<{300 / whole:.2g}" if whole > 3 else "<100"


def microseconds(nanoseconds) -> str:
    return "-" if nanoseconds is None else number(nanoseconds / 1000)


# --- one run ---------------------------------------------------------------------------------

def title(result: dict) -> str:
    workers = result["workers"]
    made_by = (f"engine {result['engine']}, module {result['module']}, seed {result['seed']}, primitive"
               f" {result['primitive']}; {count(workers['vcpus'], 'vCPU')} + {count(workers['hosts'], 'host')}"
               f" on {count(len(workers['processors']), 'processor')}; {result['measured_s']:.4g} s")
    return f"{result['name']}: policy {result['policy']}\n{wrap(made_by)}"


def count(number_of: int, noun: str) -> str:
    """A number of things: `1 vCPU`, `2 vCPUs`."""
    return f"{number_of} {noun}{'s' * (number_of != 1)}"


def verdict_lines(result: dict) -> list[str]:
    verdict = result["verdict"]
    return [wrap(f"{verdict['status']}: {reason}") for reason in verdict["reasons"]] or [verdict["status"]]


def assumption_lines(result: dict) -> list[str]:
    """What a simulated result rests on; nothing for one that was measured."""
    numbers = result.get("simulation", {}).get("assumptions", [])
    assumed = [item for item in numbers if "assumption" in item["provenance"] or item["provenance"] == "this config"]
    measured = [item for item in numbers if item not in assumed]
    def listed(items):
        return ", ".join(f"{item['key'].removeprefix('machine.')} {item['value']:g}"
                         if isinstance(item["value"], int | float) else f"{item['key']} {item['value']}"
                         for item in items)

    lines = [wrap(f"assumptions (ns): {listed(assumed)}")] if assumed else []
    return lines + ([wrap(f"{measured[0]['provenance']} (ns): {listed(measured)}")] if measured else [])


def wrap(text: str, width: int = WIDTH) -> str:
    """Break a line at spaces; the rest is indented."""
    lines, line = [], ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = "   "
        line = f"{line} {word}" if line else word
    return "\n".join([*lines, line])


def call_rows(result: dict) -> list[dict]:
    """One row per call that was made."""
    rows = []
    for name, call in result["seamcalls"].items():
        if not call["attempts"]:
            continue
        retries = call["retries"]
        rows.append({
            "call": name, "tries": number(call["attempts"]), "BUSY": number(call["busy"]),
            "BUSY\n%": share_of(call["busy"], call["attempts"]),
            "net\n%": net_share(call["busy"], call["attempts"], call["busy_by_cause"]),
            "other": number(call["other"]),
            "retry\np50": number(retries["p50"]), "retry\np99": number(retries["p99"]),
            "retry\nmax": number(retries["max"]),
        })
    return rows


def net_share(busy: int, attempts: int, causes: dict | None) -> str:
    """BUSY without that of holders which the operating system had put aside (results._causes)."""
    if causes is None:
        return "-"
    return share_of(busy - causes["preempted"], attempts - causes["preempted"])


def cause_rows(result: dict) -> list[dict]:
    """Whose fault each BUSY was, by call; nothing if nobody looked."""
    return [{
        "BUSY, whose fault": name, "BUSY": number(call["busy"]), "holder\nruns": number(causes["running"]),
        "is gone\nalready": number(causes["gone"]), "has won\nit again": number(causes["recaptured"]),
        "refused for\nhost priority": number(causes["host_priority"]),
        "holder\npreempted": number(causes["preempted"]),
    } for name, call in result["seamcalls"].items() if call["busy"] and (causes := call["busy_by_cause"])]


PERCENTILES = {"p50": "p50", "p90": "p90", "p99": "p99", "p99_9": "p99.9", "p99_99": "p99.99", "max": "max"}


def latency_rows(result: dict) -> list[dict]:
    """How long an operation took, with all its attempts: one row per call."""
    return [{"latency, us": name, **percentile_columns(call["latency_ns"])}
            for name, call in result["seamcalls"].items() if call["latency_ns"]["count"]]


def percentile_columns(summary: dict) -> dict:
    return {"samples": number(summary["count"]),
            **{heading: microseconds(summary[key]) for key, heading in PERCENTILES.items()}}


def arrival_rows(result: dict) -> list[dict]:
    """An open loop: what arrived, and how long it took from when it was meant to begin."""
    return [{"since intended, us": what, "offered\nper s": number(stream.get("offered_per_s")),
             "served\nper s": number(stream.get("served_per_s")),
             **percentile_columns(stream["since_intended_ns"])}
            for what, stream in (result["arrivals"] or {}).items()]


LATENCY_NOTES = {
    "closed": "latency of an operation with all its attempts, in a closed loop: an actor asks for the next"
              " when this one is done, so what a stall keeps from being asked for is not in it",
    "open": "latency of an operation with all its attempts; what a stall delays shows in the table since"
            " intended",
}


def condition_line(result: dict) -> str:
    """How the workers were treated meanwhile."""
    conditions = result["conditions"]
    if conditions is None:
        return "conditions: not known"
    shares = {key: percent(conditions[f"{key}_share"])
              for key in ("full_concurrency", "steal", "other_load", "speed_drift")}
    return wrap(f"conditions: all workers ran {shares['full_concurrency']} % of the time or more,"
                f" {number(conditions['involuntary_switches_count'])} involuntary switches; steal"
                f" {shares['steal']} %, other load {shares['other_load']} %, frequency drift"
                f" {shares['speed_drift']} %")


def operand_rows(result: dict) -> list[dict]:
    """BUSY answers by call and operand."""
    operands = sorted({operand for call in result["seamcalls"].values() for operand in call["busy_by_operand"]})
    return [{"BUSY by operand": name, **{operand: number(call["busy_by_operand"].get(operand))
                                         for operand in operands}}
            for name, call in result["seamcalls"].items() if call["busy"]]


def other_rows(result: dict) -> list[dict]:
    return [{"other answers": name, "status": status, "count": number(count)}
            for name, call in result["seamcalls"].items()
            for status, count in call["other_by_status"].items()]


def fact_rows(result: dict) -> list[tuple[str, str, str, str]]:
    """Everything that is not about one call: two columns of (what, value)."""
    busy, zero, kicks, priority = (result[key] for key in ("busy", "zero_step", "kicks", "host_priority"))
    refused = priority["guest_refused_ns"]
    lost, throughput = kicks["guest_time_lost_ns"], result["throughput"]
    left = [
        ("BUSY per attempt, %", share_of(busy["answers"], busy["attempts"])),
        ("  net of preempted holders", net_share(busy["answers"], busy["attempts"], busy["by_cause"])),
        ("BUSY per operation, %", percent(busy["per_operation"])),
        ("  net of preempted holders", percent(busy["net"]["per_operation"])),
        ("BUSY per ms of waiting", number(busy["per_time"] and busy["per_time"] / 1000)),
        ("private faults", number(zero["private_faults"])),
        ("zero-step armed", number(zero["armed"])),
        ("  per million faults", number(zero["armed_per_million_faults"])),
        ("  entries with tree lock", number(zero["entries_with_lock"])),
        ("  entries refused, tree BUSY", number(zero["busy_entries"])),
        ("  synthetic EPT violations", number(zero["synthetic_exits"])),
        ("longest stall of a touch, ms", number((result["spans_ns"]["touch_stalled"]["max"] or 0) / 1e6)),
        ("host priority (TDHP) set", number(priority["set"])),
        ("  cleared by a host", number(priority["cleared"])),
        ("  lost in a store", number(priority["lost"])),
    ]
    right = [
        ("preempted holds that refused", number(busy["late_holds"])),
        ("most retries of an operation", number(busy["retries_max"])),
        ("touches per s", number(throughput["touches_per_s"])),
        ("installs per s", number(throughput["installs_per_s"])),
        ("removals per s", number(throughput["removals_per_s"])),
        ("removal us, p50 / p99", f"{microseconds(result['spans_ns']['removal']['p50'])} /"
                                  f" {microseconds(result['spans_ns']['removal']['p99'])}"),
        ("kick broadcasts", number(kicks["broadcasts"])),
        ("  vCPUs interrupted", number(kicks["vcpus_interrupted"])),
        ("  wait us, p50 / p99", f"{microseconds(kicks['wait_ns']['p50'])} /"
                                 f" {microseconds(kicks['wait_ns']['p99'])}"),
        ("  entries refused by the bar", number(kicks["entries_refused"])),
        ("guest time lost to kicks, %", percent(kicks["guest_time_lost_share"])),
        ("  per kick us, p50 / p99", f"{microseconds(lost['p50'])} / {microseconds(lost['p99'])}"),
        ("host priority orphaned", number(priority["orphaned"])),
        ("  guest refused us, p50 / max", f"{microseconds(refused['p50'])} / {microseconds(refused['max'])}"),
        ("  TD exits after hp_lock_timeout", number(priority["timeouts"])),
    ]
    return [(*one, *other) for one, other in zip(left, right)]


def bug_lines(result: dict) -> list[str]:
    if not result["bugs"]:
        return ["KVM_BUG_ON: none"]
    total = sum(result["bugs"].values())
    lines = [f"KVM_BUG_ON: {total}"]
    if result["bug_log"]:
        first = result["bug_log"][0]
        when = f"{abs(first['at_s']):.6f} s {'into the measurement' if first['at_s'] >= 0 else 'before it, in the warm-up,'}"
        lines[0] += f", the first {when} on {first['actor']}"
    return lines + [f"  {count} x {cause}" for cause, count in result["bugs"].items()]


def hang_lines(result: dict) -> list[str]:
    """When the TD hung, and what its vCPUs were told again and again."""
    log = result["hangs"]["log"]
    if not log:
        return ["hangs: none"]
    count, deadlocks = result["hangs"]["count"], result["hangs"]["deadlocks"]
    what = f"hangs (no vCPU completes a touch): {count}"
    if deadlocks:
        what = f"hangs: {count}, {deadlocks} of them deadlocks (an actor waits for ever)"
    first = next((hang for hang in log if hang["waiting"]), log[0])
    lines = [f"{what}, the first{' deadlock' if deadlocks else ''} {first['at_s']:g} s into the measurement:"]
    return lines + [wrap(f"  {line}") for line in first["waiting"] or first["vcpus"]]


def invariant_line(result: dict) -> str:
    violated = {name: count for name, count in result["invariants"].items() if count}
    unchecked = [name for name, count in result["invariants"].items() if count is None]
    text = ", ".join(f"{name} VIOLATED {count} times" for name, count in violated.items()) or \
        f"{len(result['invariants']) - len(unchecked)} hold"
    if unchecked:
        text += f"; not checked: {', '.join(unchecked)}"
    return wrap(f"invariants: {text}")


def run_report(result: dict, style: str = "table") -> str:
    """Everything about one run."""
    if style == "json":
        return json.dumps(result, indent=1)
    if style == "csv":
        return _csv(call_rows(result))
    tables = [formatted(rows, style) for rows in
              (call_rows(result), operand_rows(result), cause_rows(result), latency_rows(result),
               arrival_rows(result), other_rows(result)) if rows]
    facts = tabulate(fact_rows(result), tablefmt="github" if style == "github" else "plain",
                     disable_numparse=True, colalign=("left", "right", "left", "right"),
                     headers=("", "", "", "") if style == "github" else ())
    parts = [title(result), *verdict_lines(result), *assumption_lines(result), condition_line(result), "",
             *(f"{table}\n" for table in tables), wrap(LATENCY_NOTES[result["loop"]]), "", facts, "",
             *fault_lines(result), *bug_lines(result), *hang_lines(result), wrap(naive_line(result)),
             invariant_line(result)]
    return "\n".join(parts)


# --- policies ---------------------------------------------------------------------------------

def policy_report() -> str:
    """Every policy: a table of what each means; then what it answers where, and where it comes from."""
    summary = [(policy.name, wrap(policy.meaning, WIDTH - 20).replace("\n   ", "\n")) for policy in POLICIES]
    parts = [tabulate(summary, headers=("policy", "on TDX_OPERAND_BUSY"), tablefmt="simple"), ""]
    for policy in POLICIES:
        rows = [(site, str(policy.ladder(site))) for site in SITES
                if site != "zero_step" or policy.zero_step]
        rows += [(switch.name, _words(value)) for switch in SWITCHES
                 if (value := getattr(policy, switch.name)) != switch.default]
        if policy.also:
            rows.append(("also named", policy.also))
        if policy.breaks:
            rows.append(("may break", ", ".join(policy.breaks)))
        parts += [wrap(f"{policy.name}: {policy.meaning}"), tabulate(rows, tablefmt="plain"),
                  wrap(f"source: {policy.source}"), ""]
    switches = [(switch.name, _words(switch.default), wrap(switch.meaning, WIDTH - 34).replace("\n   ", "\n"))
                for switch in SWITCHES]
    parts.append(tabulate(switches, headers=("switch", "default", "meaning"), tablefmt="simple",
                          disable_numparse=True))
    return "\n".join(parts)


def _words(value) -> str:
    """A switch's value as a config writes it."""
    if isinstance(value, tuple):
        return ", ".join(value) or "nothing"
    return str(value).lower() if isinstance(value, bool) else str(value)


# --- the machine ------------------------------------------------------------------------------

def doctor_report(rows, style: str = "table") -> str:
    """What was found of each check, and what to do about it.

    rows   of doctor.rows
    """
    named = [{"check": row.check, "finding": row.finding, "what to do": row.advice or "nothing"}
             for row in rows]
    if style == "json":
        return json.dumps(named, indent=1)
    if style == "csv":
        return _csv(named)
    if style == "github":
        return tabulate(named, headers="keys", tablefmt="github", disable_numparse=True)
    return tabulate(named, headers="keys", tablefmt="simple", disable_numparse=True,
                    maxcolwidths=[20, 33, 43])


# --- layout ----------------------------------------------------------------------------------

def table_of(rows: list[dict], style: str) -> str:
    """Rows as `formatted` prints them, with headings of one line where they are keys."""
    if style == "json":
        rows = [{one_line(heading): value for heading, value in row.items()} for row in rows]
    return formatted(rows, style)


def formatted(rows: list[dict], style: str) -> str:
    """Rows as a table, or in another format (`github`, `csv`, `json`); or "none"."""
    if style == "json":
        return json.dumps(rows, indent=1)
    if style == "csv":
        return _csv(rows)
    if not rows:
        return "none"
    if style == "github":
        rows = [{one_line(heading): value for heading, value in row.items()} for row in rows]
    align = ["left"] + ["right"] * (len(rows[0]) - 1)
    return tabulate(rows, headers="keys", tablefmt="github" if style == "github" else "simple",
                    disable_numparse=True, colalign=align)


def one_line(heading: str) -> str:
    """A heading without its line breaks; `at-` and `tempts` become one word again."""
    return " ".join(heading.replace("-\n", "").split())


def _csv(rows: list[dict]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, [one_line(heading) for heading in rows[0]])
        writer.writeheader()
        writer.writerows({one_line(heading): value for heading, value in row.items()} for row in rows)
    return text.getvalue().rstrip("\n")
