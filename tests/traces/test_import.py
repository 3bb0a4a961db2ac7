"""Traces of each format, whole and damaged, become a config that runs and numbers that are those of the trace."""

import json
import tracemalloc

import pytest

from harness.commands import validate
from harness.engines.simulate import prices
from harness.experiment import config_file
from harness.protocol.policies import POLICIES
from harness.reports.validation import make_row
from harness.results import store
from harness.results.metrics import BY_KEY
from harness.traces import gathered, kernel_text, written
from kernels.words import status
from tests.command_line import ROOT, command

BUSY = status("TDX_OPERAND_BUSY", "TD_EPOCH")
HEADS = {
    "ftrace": "qemu-system-x86-{tid} [002] .....  {at}: {event}: {text}",
    "ftrace, task unknown": "           <...>-{tid} [226] ...1. {at}: {event}: {text}",
    "ftrace with tgid": " CPU 0/KVM-{tid}    ( 8390) [001] d..1. {at}: {event}: {text}",
    "trace-cmd": " CPU 0/KVM-{tid}  [002] {at}: {event}:     {text}",
    "perf script": "CPU 0/KVM  {tid} [002] {at}:    kvm:{event}: {text}",
    "perf script, pid and tid": "CPU 0/KVM  8390/{tid}  [002] {at}:     kvm:{event}: {text}",
}
DAMAGED = ["qemu-1 [002] ..... 1.000001: kvm_page_fault: vcpu 0 rip 0x0 addr", "qemu-1 [0", "\x00\xff\x1b[31m", "{\"type\": \"hist\", \"da",
           "qemu-1 [002] .....  1.5: sched_switch: prev_comm=x",
           f"qemu-{'9' * 5_000} [002] .....  1.000001: kvm_entry: vcpu 0, rip 0x0"]


def line(head, at_us, tid, event, text):
    return HEADS[head].format(at=f"{at_us // 10**6}.{at_us % 10**6:06}", tid=tid, event=event, text=text)


def fault(head, at_us, vcpu, page):
    return line(head, at_us, 10 + vcpu, "kvm_page_fault", f"vcpu {vcpu} rip 0x0 address 0x{page << 12:016x} error_code 0x2")


def trace(head):
    """1 s: 4 vCPUs, 1000 faults of which 9 in 10 on 2 pages, 100 removals of 2 pages; 50 TRACKs of 7 us, 5 of them BUSY."""
    lines = []
    for number in range(1000):
        page = number % 2 if number % 10 else 2 + number // 10 % 18
        lines.append((number * 1000, fault(head, number * 1000, number % 4, page)))
    lines.append((999_000, fault(head, 1_000_000, 0, 1)))
    for number in range(100):
        for half in (0, 1):
            at = 5 + number * 10_000 + half * 20
            lines.append((at, line(head, at, 99, "kvm_tdp_mmu_spte_changed",
                                   f"as id 0 gfn {16 + half:x} level 1 old_spte 2c583e907 new_spte 0")))
    for number in range(50):
        at = 100 + number * 2000
        lines.append((at, line(head, at, 99, "tdh_mem_track", "(tdh_mem_track+0x0/0x90)")))
        lines.append((at + 7, line(head, at + 7, 99, "r_track",
                                   f"(tdx_track+0x30/0x80 <- tdh_mem_track) ret=0x{BUSY if number < 5 else 0:x}")))
    return [text for _, text in sorted(lines)]


@pytest.mark.parametrize("head", HEADS)
def test_text_of_each_tool_gives_the_same_numbers(tmp_path, capsys, head):
    path = tmp_path / "host.txt"
    path.write_text("\n".join(["# tracer: nop", "", *trace(head), *DAMAGED]) + "\n", errors="surrogateescape")
    code, out, err = command(capsys, "import-trace", path, "--out", tmp_path / "out")
    assert (code, err) == (0, "") and f"{len(DAMAGED)} not known" in out and "sched_switch" in out and "\x1b" not in out
    real = json.loads((tmp_path / "out/real.json").read_text())
    assert (real["vcpus"], real["faults"], real["pages"], real["unknown"]) == (4, 1001, 20, len(DAMAGED))
    assert real["removal_pages"] == {"2": 100}
    assert real["calls"]["tdh_mem_track"]["answers"] == {"TDX_SUCCESS": 45, "TDX_OPERAND_BUSY|TD_EPOCH": 5}
    assert real["numbers"]["busy_percent.tdh_mem_track"] == 10
    assert 6_000 <= real["calls"]["tdh_mem_track"]["p50_ns"] <= 8_000
    config = config_file.load(tmp_path / "out/host.toml")
    assert config.td.vcpus == 4 and config.workload.loop == "open" and config.workload.removal_pages == 2
    assert config.workload.touches_per_s == pytest.approx(250, rel=0.01)
    assert config.workload.removals_per_s == pytest.approx(100, rel=0.01)
    assert config.workload.pattern == "hot" and config.workload.hot_pages == 2
    assert config.costs_ns.tdh_mem_track == pytest.approx(7_000, rel=0.15)
    assert prices.read_histogram(config.machine.distribution["tdh_mem_track"].removeprefix("histogram "))
    assert prices.read_histogram(config.machine.distribution["removal_interval"].removeprefix("histogram "))


def test_what_is_imported_runs(tmp_path, capsys):
    path = tmp_path / "host.txt"
    path.write_text("\n".join(trace("ftrace")))
    assert command(capsys, "import-trace", path, "--out", tmp_path / "out")[0] == 0
    code, out, err = command(capsys, "run", tmp_path / "out/host.toml", "--set", "duration_s=0.02", "--set", "warmup_s=0",
                             "--out", tmp_path / "results")
    assert code == 0, err


def test_json_of_bpftrace(tmp_path):
    path = tmp_path / "trace.json"
    path.write_text("\n".join(json.dumps(each) for each in (
        {"type": "attached_probes", "data": {"probes": 13}},
        {"type": "hist", "data": {"@ns": {"tdh_mem_page_aug": [{"min": 512, "max": 1023, "count": 1}]}}},
        {"type": "hist", "data": {"@ns": {"tdh_mem_page_aug": [{"min": 1024, "max": 2047, "count": 40}]}}},      # printed again
        {"type": "hist", "data": {"@usecs_tdh_mem_track": [{"max": -1, "count": 0}, {"min": 2, "max": 3, "count": 9}, {"min": 4, "count": 1}]}},
        {"type": "map", "data": {"@status": {"tdh_mem_page_aug,0": 30, f"tdh_mem_page_aug,{BUSY - (1 << 64)}": 10, "tdh_mem_track": 3}}},
        {"type": "map", "data": {"@vcpu_faults": {"0": 20, "1": 20}}},
        {"type": "map", "data": {"@page_faults": {"7": 30, "8": 10, str(1 << 35 | 7): 99}}},
        {"type": "map", "data": {"@removed": {"1": 8, "2": 1}}}, {"type": "map", "data": {"@seconds": 4}},
        {"type": "hist", "data": {"@other": [{"min": 1, "max": 1, "count": 1}]}}, {"type": "hist", "data": 7},
        {"type": "printf", "data": fault("ftrace", 5, 2, 9) + "\n"})))
    found = gathered.gather(path)
    real = written.real(found, "trace.json")
    assert found.unknown == 3 and real["seconds"] == 4 and real["vcpus"] == 3
    assert real["faults_of_shared_pages"] == 99 and real["pages"] == 3 and real["numbers"]["removals_per_s"] == 9 / 4
    assert real["numbers"]["busy_percent.tdh_mem_page_aug"] == 25
    assert real["calls"]["tdh_mem_page_aug"]["timed"] == 40 and 1024 <= real["calls"]["tdh_mem_page_aug"]["p50_ns"] <= 2047
    assert real["calls"]["tdh_mem_track"]["timed"] == 10 and 2000 <= real["calls"]["tdh_mem_track"]["p50_ns"] <= 3999


@pytest.mark.parametrize("damaged", [
    {"type": "hist", "data": {"@ns": {"tdh_mem_track": [{"min": 1e999, "max": 1e999, "count": 1}]}}},
    {"type": "map", "data": {"@removed": {"1": 1e999}}}, {"type": "map", "data": {"@page_faults": {"7": 0, "x": 1}}},
    "qemu-1 [002] .....  1.000001: r: (a+0x1/0x2 <- tdh_mem_track) ret=0999"])
def test_numbers_that_cannot_be_do_not_end_an_import(tmp_path, damaged):
    path = tmp_path / "trace.json"
    lines = [damaged if isinstance(damaged, str) else json.dumps(damaged), json.dumps({"type": "map", "data": {"@vcpu_faults": {"0": 2}}}),
             json.dumps({"type": "map", "data": {"@seconds": 1}})]
    path.write_text("\n".join(lines))
    written.write(gathered.gather(path), "trace", tmp_path / "out", "kick_on_busy")
    assert config_file.load(tmp_path / "out/trace.toml").workload.touches_per_s == 2


def test_a_return_without_its_call_is_not_timed():
    found = gathered.Gathered()
    found.line(line("ftrace", 5, 1, "r", "(a+0x1/0x2 <- tdh_mem_track) ret=0x0"))
    found.line(line("ftrace", 6, 1, "p", "(tdh_mem_page_aug+0x0/0x2)"))
    found.line(line("ftrace", 9, 1, "r", "(a+0x1/0x2 <- tdh_mem_track) ret=0x0"))
    assert not found.times and found.answers["tdh_mem_track"].total() == 2


def test_a_name_that_perf_probe_gives_to_a_return():
    found = kernel_text.read("CPU 0/KVM 12 [002] 1.000005: probe:tdh_mem_page_aug__return: (ffffffff8 <- ffffffff9) arg1=0x0")
    assert (found.kind, found.values) == ("answer", {"call": "tdh_mem_page_aug", "status": 0})


@pytest.mark.slow
def test_memory_does_not_grow_with_the_trace():
    def peak(events):
        found = gathered.Gathered()
        tracemalloc.start()
        for number in range(events):
            found.line(fault("ftrace", number, number % 100_000, number * 7))        # each on a page, of a vCPU, of its own
            found.line(f"nonsense {number}")
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(found.pages) <= gathered.PAGES_MOST and len(found.examples) == gathered.EXAMPLES
        assert found.unknown == events and found.not_kept == max(0, events - gathered.VCPUS_MOST)
        return top
    assert peak(20_000) < 1.2 * peak(10_000)


def test_frequent_pages_survive_any_number_of_rare_ones(monkeypatch):
    monkeypatch.setattr(gathered, "PAGES_MOST", 50)
    found = gathered.Gathered()
    for number in range(5_000):
        found.page(1, 1)
        found.page(1000 + number, 1)
    assert found.pages[1] >= 5_000 - found.page_error and found.page_error <= 10_000 / 50


@pytest.mark.parametrize("text, arguments, says", [
    ("nothing\n", [], "no event is known among its 1 lines, such as 'nothing'; must be"),
    ('{"type": "hist", "data": {"@usecs": [{"min": 0, "max": 0, "count": 5}]}}\n', [], """such as '{"type": "hist", "data": {"@usecs": """),
    ("", [], "0 lines"),
    (None, [], "no such file"), ("x", ["--policy", "none"], "no such policy")])
def test_a_mistake_is_one_line(tmp_path, capsys, text, arguments, says):
    path = tmp_path / "trace.txt"
    if text is not None:
        path.write_text(text)
    code, out, err = command(capsys, "import-trace", path, "--out", tmp_path / "out", *arguments)
    assert (code, out) == (2, "") and says in err and err.count("\n") == 1


def test_the_default_policy_is_known():
    assert "kick_on_busy" in {policy.name for policy in POLICIES}


def test_numbers_of_a_host_stand_beside_results(tmp_path, capsys, monkeypatch):
    path = tmp_path / "host.txt"
    path.write_text("\n".join(trace("trace-cmd")))
    assert command(capsys, "import-trace", path, "--out", tmp_path / "out")[0] == 0
    assert command(capsys, "run", ROOT / "configs/kick_on_busy.toml", "--set", "engine=simulate", "--set", "duration_s=0.005",
                   "--set", "warmup_s=0", "--out", tmp_path / "results")[0] == 0
    result = next((tmp_path / "results").glob("*/result.json"))
    code, out, err = command(capsys, "compare", result, "--real", tmp_path / "out/real.json")
    assert (code, err) == (0, "") and "real host" in out and "kick_on_busy, simulate" in out
    assert any("tdh_mem_track" in row and " 10 " in row for row in out.splitlines())
    saved = store.read(result)
    row = make_row("case", BY_KEY["removals_per_s"], [saved], [saved], 1.0)
    monkeypatch.setattr(validate, "run", lambda paths, progress, workers: [row])
    code, out, err = command(capsys, "doctor", "--validate", "--against", tmp_path / "out/real.json")
    assert (code, err) == (0, "") and "real host" in out and "100" in out
    for wrong, says in (({}, "must be a real.json"), ({"kind": written.KIND, "numbers": {"x": -1}}, "numbers.x = -1")):
        (tmp_path / "wrong.json").write_text(json.dumps(wrong))
        code, out, err = command(capsys, "compare", result, "--real", tmp_path / "wrong.json")
        assert code == 2 and says in err and err.count("\n") == 1
    code, out, err = command(capsys, "doctor", "--against", tmp_path / "out/real.json")
    assert code == 2 and "--validate" in err


def test_no_cell_of_a_histogram_begins_a_formula_or_a_line_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = "=cmd\n\x1b[31m.txt"
    (tmp_path / name).write_text("\n".join(trace("ftrace")))
    assert command(capsys, "import-trace", name, "--out", "out")[0] == 0
    lines = (tmp_path / "out/tdh_mem_track.csv").read_text().splitlines()
    assert len(lines) > 1 and all(line.endswith(r",trace =cmd\n\x1b[31m.txt") for line in lines[1:])


@pytest.mark.parametrize("damaged", [
    '{"type": "map", "data": {"@seconds": 1' + "0" * 400 + "}}", '{"type": "map", "data": {"@vcpu_faults": {"1": 1' + "0" * 400 + "}}}",
    '{"type": "hist", "data": {"@ns": {"tdh_mem_track": [{"min": 1, "max": 1e308, "count": 3}]}}}',
    '{"type": "hist", "data": {"@ns": {"tdh_mem_track": [{"min": 1e308, "max": 2, "count": 3}]}}}',
    '{"type": "hist", "data": {"@ns": {"tdh_mem_track": [{"min": Infinity, "count": 3}]}}}',
])
def test_a_number_that_bpftrace_cannot_have_costs_its_line(damaged, tmp_path, capsys):
    (tmp_path / "t.json").write_text('{"type": "map", "data": {"@page_faults": {"5": 2}}}\n' + damaged)
    code, out, err = command(capsys, "import-trace", tmp_path / "t.json", "--out", tmp_path / "out")
    assert (code, err) == (0, "") and "1 used, 1 not known" in out


@pytest.mark.parametrize("value_ns", [0, 1, 31, 33, 646, 4000, 10**7])
def test_a_median_of_times_is_within_a_32nd_of_them(value_ns):
    times = gathered.Times()
    for _ in range(100):
        times.add(value_ns)
    assert abs(times.quantile(0.5) - value_ns) <= value_ns / 32
