"""A result is read as it was written; one that is damaged inside is refused by its key, by every command."""

import copy
import functools
import json

import pytest

from harness.__main__ import main
from harness.errors import ResultError
from harness.reports import page
from harness.reports.comparison import comparison_report
from harness.reports.histograms import histograms_report
from harness.results import store
from harness.results.comparison import make_table
from harness.results.metrics import METRICS
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
        store.check(damaged, "result.json")
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
    (lambda r: r.update(interrupted="true"), "interrupted = 'true': input should be a valid boolean"),
    (lambda r: r.update(measured_s=0), "measured_s = 0: must be above 0"),
    (lambda r: r.update(measured_s=10 ** 400), "measured_s = 1000000"),
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
    result, other = store.check(damaged, "result.json"), store.check(document(), "other.json")
    for results in ([result], [result, other]):
        table = make_table(results, across=("engine", "module", "primitive", "workload", "machine"))
        for style in ("table", "github", "csv", "json"):
            comparison_report(table, style)
        page.verdict_rows(table), page.difference_sections(table), page.machine_rows(table)
    histograms_report([result])
    for metric in METRICS:
        metric.get(result)


OF_THE_SHAPE = [path for path, _ in leaves(busy_document()) if path[0] not in ("config", "machine")]
OPEN = {"bugs", "guest_deaths", "invariants", "counters", "records", "entries"}        # tables of any names
NEWER = {"guest", "pamt_pairs"}                # keys that a result of before does not have


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
        if path[0] not in OPEN | NEWER and path != ("schema",) and path[:1] != ("block",):
            assert refused(damaged), path


def test_a_folder_says_what_was_set_so_that_a_pattern_names_runs_that_can_be_compared(tmp_path):
    result = made()
    plain = store.write(result, tmp_path).parent.name
    settings = ["workload.loop=open", "td.vcpus=8", "seed=3", 'machine.costs="a b/c"']
    other = store.write(result, tmp_path, settings).parent.name
    assert other.startswith("kick_vcpus,loop=open,vcpus=8,costs=a_b_c-") and "seed" not in other
    assert [path.name for path in tmp_path.glob("kick_vcpus-*")] == [plain]
    long = store.stem_of("test", [f"workload.key{number}=1" for number in range(40)])
    assert len(long) <= store.STEM_MAX + 14 and long != store.stem_of("test", [f"workload.key{number}=1" for number in range(39)])
