"""A result that is damaged inside is refused by its key, and what cannot be true is damaged."""

import copy
import functools
import json

import pytest

from harness.__main__ import main
from harness.errors import ResultError
from harness.reports import page
from harness.reports.comparison import comparison_report
from harness.reports.histograms import histograms_report
from harness.results import schema, store
from harness.results.comparison import make_table
from harness.results.metrics import METRICS
from harness.results.schema import CALL_RULES, RULES, contradictions
from tests.made import made, meet_busy, of, stored

CALLS = ("tdh_vp_enter", "tdh_mem_track", "tdg_mem_page_accept")
READERS = (["compare"], ["report", "--out", "{out}"], ["histograms"])


@functools.cache
def busy_document() -> dict:
    """What a result's file says, of a few calls that met BUSY, kicks and removals."""
    result = made()
    for name in list(result.seamcalls):
        if name not in CALLS:
            del result.seamcalls[name]
    meet_busy(result, "tdh_mem_track", attempts=1000, busy=40)
    meet_busy(result, "tdh_vp_enter", attempts=500, busy=0)
    result.counters = {"removals": 90, "touches": 4000}
    result.zero_step.private_faults, result.zero_step.armed, result.zero_step.armed_per_million_faults = 1000, 2, 2000.0
    result.spans_ns.removal, result.histograms.span_ns["removal"] = of(90, 50), stored(90, 50)
    result.kicks.guest_time_lost_ns = result.spans_ns.guest_time_lost = of(9, 60)
    result.histograms.span_ns["guest_time_lost"] = stored(9, 60)
    result.bugs = {"tdh_mem_track: TDX_OPERAND_BUSY|TD_EPOCH": 2}
    result.invariants["mirror_race"] = 1
    return json.loads(json.dumps(result.document()))


def document() -> dict:
    return copy.deepcopy(busy_document())


def refused(damaged: dict) -> str:
    """What is said of a damaged document; "" if it is taken for a result."""
    try:
        schema.check(damaged, "result.json")
        return ""
    except ResultError as problem:
        return str(problem)


def test_the_document_that_is_damaged_below_is_whole(tmp_path):
    assert not refused(document())
    path = store.write_file(json.dumps(document()), tmp_path / "result.json")
    assert store.read(path).document() == document() and json.dumps(store.read(path).document()) == json.dumps(document())


@pytest.mark.parametrize("command", READERS, ids=lambda command: command[0])
@pytest.mark.parametrize("damage, says", [
    (lambda r: r["busy"].pop("net"), "busy.net: field required"),
    (lambda r: r["busy"]["net"].pop("per_attempt"), "busy.net.per_attempt: field required"),
    (lambda r: r["busy"].update(per_attempt="many"), "busy.per_attempt = 'many': must be a number"),
    (lambda r: r["busy"].update(per_attempt=float("nan")), "busy.per_attempt = nan: must be a finite number"),
    (lambda r: r["busy"].update(per_attempt=1.5), "busy.per_attempt = 1.5: must be at most 1"),
    (lambda r: r["seamcalls"]["tdh_vp_enter"].update(attempts=-5), "seamcalls.tdh_vp_enter.attempts = -5: must be at least 0"),
    (lambda r: r["seamcalls"]["tdh_vp_enter"].update(attempts=True), "seamcalls.tdh_vp_enter.attempts = True: must be a count"),
    (lambda r: r["seamcalls"]["tdh_vp_enter"].pop("latency_ns"), "seamcalls.tdh_vp_enter.latency_ns: field required"),
    (lambda r: r["seamcalls"]["tdh_mem_track"].update(busy=2000), "seamcalls.tdh_mem_track.busy = 2000: must be at most attempts"),
    (lambda r: r["counters"].pop("removals"), "counters = {'touches': 4000}: must have removals"),
    (lambda r: r["histograms"]["retries"]["tdh_mem_track"].update(buckets="1-2"),
     "histograms.retries.tdh_mem_track.buckets = '1-2': must be bucket:count"),
    (lambda r: r.pop("histograms"), "histograms: field required"),
    (lambda r: r.update(started_at="2026-99-01T00:00:00Z"), "started_at = '2026-99-01T00:00:00Z': must be a time"),
    (lambda r: r.update(measured_s=0), "measured_s = 0: must be above 0"),
    (lambda r: r.update(measured_s=10 ** 400), "measured_s = 1000"),
    (lambda r: r.update(verdict="VALID"), "verdict = 'VALID'"),
    (lambda r: r["verdict"].update(status="FINE"), "verdict.status = 'FINE': must be VALID, DEGRADED or UNTRUSTWORTHY"),
    (lambda r: r.update(block={"session": 5}), "block.session"),
    (lambda r: r.update(schema="tdx-sept-harness/result/99"), "schema = 'tdx-sept-harness/result/99'"),
])
def test_a_damaged_result_is_refused_by_every_command_with_file_and_key(tmp_path, capsys, command, damage, says):
    damaged = document()
    damage(damaged)
    path = store.write_file(json.dumps(damaged), tmp_path / "result.json")
    assert main([*(word.format(out=tmp_path / "page.html") for word in command), str(path)]) == 2
    printed = capsys.readouterr()
    assert says in printed.err and str(path) in printed.err and printed.err.count("\n") == 1 and not printed.out
    assert not (tmp_path / "page.html").exists()


# --- every key ---

def leaves(value, path=()):
    """(path, value) of everything in a document that is no table."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    else:
        yield path, value


def tables(value, path=()):
    """The paths of all tables in a document but itself."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, dict):
                yield (*path, key)
                yield from tables(inner, (*path, key))


def changed(path, change) -> dict:
    """The document, with `change` made to the table that holds the last key of a path."""
    damaged = document()
    change(functools.reduce(lambda table, key: table[key], path[:-1], damaged), path[-1])
    return damaged


def put(value):
    return lambda table, key: table.update({key: value})


def read_by_all(damaged: dict) -> None:
    """What the commands do with a result that was not refused."""
    result, other = schema.check(damaged, "result.json"), schema.check(document(), "other.json")
    for results in ([result], [result, other]):
        table = make_table(results, across=("engine", "module", "primitive", "workload", "machine"))
        for style in ("table", "github", "csv", "json"):
            comparison_report(table, style)
        page.verdict_rows(table), page.difference_sections(table), page.machine_rows(table)
    histograms_report([result])
    for metric in METRICS:
        metric.get(result)


OF_THE_SHAPE = [path for path, _ in leaves(busy_document()) if path[0] not in ("config", "machine")]
OPEN = {"bugs", "invariants", "counters", "records", "entries"}        # tables of any names


@pytest.mark.parametrize("change", [lambda table, key: table.pop(key), put("x"), put(None), put(-1), put(float("inf")),
                                    put(1e300), put([]), put({}), put(0.5)],
                         ids=["gone", "a word", "null", "negative", "infinite", "huge", "a list", "a table", "a half"])
def test_whatever_one_value_is_the_result_is_refused_with_its_key_or_can_be_read(change):
    """A value that is changed for another of its kind may pass; nothing that passes may break a reader."""
    passed = 0
    for path in [*OF_THE_SHAPE, *tables(busy_document())]:
        damaged = changed(path, change)
        if said := refused(damaged):
            assert said.startswith("result.json: ") and "\n" not in said
            assert path[0] in said or path[0] in ("bugs", "seamcalls", "verdict", "schema"), (path, said)
        else:
            passed += 1
            read_by_all(damaged)
    assert passed < len(OF_THE_SHAPE) / 2


def test_a_key_that_is_gone_is_always_refused_but_of_tables_of_any_names():
    for path in OF_THE_SHAPE:
        damaged = changed(path, lambda table, key: table.pop(key))
        if path[0] not in OPEN and path != ("schema",) and path[:1] != ("block",):
            assert refused(damaged), path


# --- counts that do not add up ---

TRACK = "seamcalls.tdh_mem_track."
# (the rule's key, what is changed); two where a rule has two sides.
CONTRADICTIONS = [
    (TRACK + "success", {TRACK + "success": 1001}), (TRACK + "busy", {TRACK + "busy": 1001}),
    (TRACK + "other", {TRACK + "other": 1001}),
    (TRACK + "attempts", {TRACK + "attempts": 999}), (TRACK + "attempts", {TRACK + "attempts": 1001}),
    (TRACK + "busy_by_operand", {TRACK + "busy_by_operand": {"TD_EPOCH": 39}}),
    (TRACK + "busy_by_cause", {TRACK + "busy_by_cause.running": 41}),
    (TRACK + "other_by_status", {TRACK + "other_by_status": {"TDX_OP_STATE_INCORRECT": 1}}),
    (TRACK + "contended", {TRACK + "contended": 961}), (TRACK + "retries.count", {TRACK + "retries.count": 959}),
    (TRACK + "latency_ns.count", {TRACK + "latency_ns.count": 961}),
    ("busy.answers", {"busy.answers": 41}), ("busy.attempts", {"busy.attempts": 1501}),
    ("busy.operations", {"busy.operations": 1461}),
    ("busy.per_attempt", {"busy.per_attempt": 0.5}), ("busy.per_attempt", {"busy.per_attempt": None}),
    ("busy.per_operation", {"busy.per_operation": 0.5}), ("busy.retries_max", {"busy.retries_max": 2}),
    ("busy.by_cause", {"busy.by_cause.running": 39}),
    ("busy.net.per_attempt", {"busy.net.per_attempt": 0.5}),
    ("busy.net.per_operation", {"busy.net.per_operation": 0.9}), ("busy.net.per_operation", {"busy.net.per_operation": None}),
    ("busy.late_holds", {"busy.late_holds": None}),
    ("zero_step.armed_per_million_faults", {"zero_step.armed": 3}),
    ("zero_step.armed_per_million_faults", {"zero_step.armed_per_million_faults": None}),
    ("kicks.guest_time_lost_share", {"kicks.guest_time_lost_share": 1.1}),
    (TRACK + "retries", {TRACK + "retries.p99": None}), (TRACK + "retries", {TRACK + "retries.p99": 0.5}),
    ("spans_ns.fault", {"spans_ns.fault.max": 3}), ("kicks.wait_ns", {"kicks.wait_ns.count": 3}),
    ("hangs.count", {"hangs.deadlocks": 1}), ("hangs.log", {"hangs.count": 1}),
    ("histograms.latency_ns", {"histograms.latency_ns.tdh_mem_track.buckets": "40:1"}),
    ("histograms.retries", {"histograms.retries.tdh_mem_track.buckets": "40:1"}),
    ("histograms.span_ns", {"histograms.span_ns.removal.buckets": "40:1"}),
    ("histograms.span_ns", {"spans_ns.fault.count": 7}),
]


def contradicting(changes: dict) -> dict:
    damaged = document()
    for key, value in changes.items():
        *parents, last = key.split(".")
        functools.reduce(lambda table, parent: table[parent], parents, damaged)[last] = value
    return damaged


@pytest.mark.parametrize("key, changes", CONTRADICTIONS, ids=lambda value: str(value).replace(TRACK, ""))
def test_counts_that_do_not_add_up_are_refused_with_the_key(key, changes):
    result = schema.Result.model_validate({name: value for name, value in contradicting(changes).items() if name != "schema"})
    assert key in [sentence.partition(":")[0].partition(" = ")[0] for sentence in contradictions(result)]
    assert "(damaged, or of another version)" in refused(contradicting(changes))


def test_every_rule_is_provoked():
    keys = {key for key, _ in CONTRADICTIONS}
    assert {TRACK + rule.key for rule in CALL_RULES} | {rule.key for rule in RULES} <= keys


def test_a_call_that_was_never_answered_is_no_contradiction_where_a_worker_was_lost():
    """conservation is then not checked; but more answers than attempts are one still."""
    lost = {"invariants.conservation": None, TRACK + "attempts": 1001, "busy.attempts": 1501, "busy.per_attempt": 40 / 1501}
    assert not refused(contradicting(lost))
    assert "success + busy + other" in refused(contradicting(lost | {"invariants.conservation": 0}))
    assert "success + busy + other" in refused(contradicting(lost | {TRACK + "attempts": 999}))


def test_a_result_that_says_itself_that_it_is_untrustworthy_can_be_read():
    damaged = contradicting({TRACK + "attempts": 999, "verdict.status": "UNTRUSTWORTHY"})
    assert not refused(damaged)
    read_by_all(damaged)


def test_what_was_measured_is_kept_whatever_it_is():
    """A run whose record somebody wrote into has a result; ranges are looked at when a file is read."""
    result = made()
    call = result.seamcalls["tdh_mem_track"].model_dump() | {"attempts": -5}
    assert schema.Call(**call).attempts == -5
    assert any("tdh_mem_track" in sentence for sentence in
               contradictions(result.model_copy(update={"seamcalls": {"tdh_mem_track": schema.Call(**call)}})))
