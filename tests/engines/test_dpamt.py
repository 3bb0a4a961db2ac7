"""Designs of the kernel's Dynamic PAMT: which hold, found by search; the C litmus tests say the same."""

import re

import pytest

from harness.engines.explore import search
from harness.engines.replay.steps import execute
from harness.engines.simulate import simulation
from harness.errors import UsageError
from harness.experiment import config_file
from harness.experiment.plan import make_plan
from harness.experiment.scenario import _program
from harness.experiment.scenario_file import load, parse
from harness.experiment.schedule import Schedule
from harness.memory.layout import ENTRIES, KICK_PAIRS, MMU_NONPRESENT, PAMT_TYPE
from harness.protocol.dpamt import BY_NAME, DESIGNS, TOPPED_UP_TO
from harness.protocol.flows import pamt
from harness.reports.run import fact_rows
from harness.results import document
from kernels.ops import Op
from kernels.words import PT_PAMT
from tests.command_line import inside
from tests.engines.test_simulate import ROOT
from tests.scene import Scene

FILES = ("pamt_one_range", "pamt_again", "pamt_cached", "pamt_crossed", "pamt_demote", "pamt_teardown")
# By C litmus test: the design that it is of, and the invariant that its condition violates.
LITMUS = {"pamt-merged": ("dpamt_merged", "pamt_present"), "pamt-v4": ("dpamt_v4", "pamt_present"),
          "pamt-v6-fast": ("dpamt_fast_v6", "pamt_present"), "pamt-per-2m": ("dpamt_per_2m", "deadlock"),
          "pamt-demote-tries": ("dpamt_demote_tries", "pamt_get")}
found_in = {}


def found(file: str, design: str):
    if (file, design) not in found_in:
        [scenario] = load(ROOT / f"configs/explore/{file}.toml", dpamt=design)
        found_in[file, design] = search.run(scenario)
    return found_in[file, design]


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.name)
def test_a_design_breaks_what_its_row_says_and_nothing_else(design):
    results = [found(file, design.name) for file in FILES]
    assert all(each.complete for each in results)
    assert {name for each in results for name in each.violations} == set(design.breaks)


@pytest.mark.parametrize("litmus", LITMUS)
def test_the_c_litmus_tests_say_the_same(litmus):
    text = (ROOT / f"configs/litmus/kvm/{litmus}.litmus").read_text()
    design, invariant = LITMUS[litmus]
    wrong = any(invariant in found(file, design).violations for file in FILES)
    result = re.search(r"Result: (\w+)", text)[1]
    assert wrong == (result == "Sometimes" or f"must_violate = {{{invariant}}}" in text)
    assert wrong == bool(BY_NAME[design].breaks)


def test_what_was_reviewed_for_months_fails_by_two_puts_and_a_get():
    """Two puts find zero; the second PAMT.REMOVE fails and restores the count of a range that has no pair any more."""
    result = found("pamt_one_range", "dpamt_v4")
    accesses, _ = execute(Schedule(result.scenario, result.violations["pamt_present"], "pamt_present", {}))
    answers = [(access.actor, access.text, access.status) for access in accesses if access.status]
    calls = [(call, status.partition("|")[0]) for _, call, status in answers]
    removes = [status for call, status in calls if call == "tdh_phymem_pamt_remove"]
    assert len(removes) == 2 and removes[0].endswith("SUCCESS") and removes[1].endswith("NO_PAMT_PAGE_PAIR")
    assert calls[-1][0] == "page_into_use" and calls[-1][1].endswith("MISSING_PAMT_PAGE_PAIR")
    assert len({actor for actor, *_ in answers}) == 3


@pytest.mark.parametrize("design", [name if name in ("dpamt_per_2m", "dpamt_pool") else pytest.param(name, marks=pytest.mark.slow)
                                    for name in BY_NAME])
def test_pairs_in_each_others_range_deadlock_only_where_each_range_has_a_lock_and_no_pool(design):
    assert ("deadlock" in found("pamt_crossed", design).violations) == (design == "dpamt_per_2m")
    assert "deadlock" not in found("pamt_one_range", design).violations


def test_policies_compares_designs_where_files_have_one():
    run = inside("explore", "--policies", str(ROOT / "configs/explore/pamt_crossed.toml"), "--require", "no_deadlock")
    lines = {line.split()[0]: line.split()[1:] for line in run.stdout.splitlines() if line.startswith("dpamt_")}
    assert run.returncode == 1 and list(lines) == [design.name for design in DESIGNS]
    assert lines["dpamt_per_2m"][0].isdecimal() and lines["dpamt_pool"][0] == lines["dpamt_merged"][0] == "holds"
    for design in DESIGNS:
        assert design.source and design.meaning


@pytest.mark.parametrize("design, broken", [("dpamt_merged", set()), ("dpamt_v4", {"no_bug", "pamt_counted", "pamt_put"})])
def test_a_range_that_comes_back_ends_a_vm_where_two_puts_find_zero(design, broken):
    """KVM's own flow is the third: its get finds a count of 1 without a pair."""
    result = found("range_comes_back", design)
    assert result.complete and set(result.violations) == broken
    if broken:
        accesses, _ = execute(Schedule(result.scenario, result.violations["no_bug"], "no_bug", {}))
        last = [(access.text, access.status) for access in accesses if access.status][-1]
        assert last[0] == "tdh_mem_page_aug" and last[1].startswith("TDX_MISSING_PAMT_PAGE_PAIR")


@pytest.mark.parametrize("table, sentence", [
    ({"dpamt": "dpamt_merge", "actors": {"host0": {"use": [3]}}}, "did you mean dpamt_merged?"),
    ({"actors": {"host0": {"use": [3]}}}, "must be given where an actor is"),
    ({"dpamt": "dpamt_v4", "actors": {"host0": "tdh_mem_track"}}, "must be given where an actor is"),
    ({"dpamt": "dpamt_v4", "actors": {"host0": {"use": [3]}, "host1": "tdh_mem_track"}}, "beside nobody else but KVM's flows"),
    ({"dpamt": "dpamt_v4", "actors": {"host0": {"use": [1024]}}}, "below 1024"),
    ({"dpamt": "dpamt_v4", "module": "1.5.05", "actors": {"host0": {"use": [3]}}}, "1.5.05 has no Dynamic PAMT"),
])
def test_a_mistake_about_a_design_is_one_line(table, sentence):
    with pytest.raises(UsageError) as error:
        parse({"module": "1.5.24"} | table, "t")
    assert sentence in str(error.value) and "\n" not in str(error.value)


# --- in virtual time ---------------------------------------------------------------------------

def storm(design: str, tds: int, *sets: str):
    given = config_file.read(ROOT / "configs/scale/dpamt.toml", [f"td.dpamt={design}", f"td.count={tds}", "duration_s=0.001", *sets])
    given.table.pop("sweep")
    return document.from_measured(simulation.run(make_plan(config_file.check(given))))


def test_every_page_gets_and_puts_and_the_fast_path_takes_the_lock_for_the_first_and_the_last_only():
    results = {design: storm(design, 4) for design in ("dpamt_merged", "dpamt_fast_v6", "dpamt_pool")}
    for result in results.values():
        spans, adds = result.spans_ns.model_dump(), result.seamcalls["tdh_phymem_pamt_add"].success
        assert not result.bugs and not any(result.invariants.values()) and adds >= 4 * 4     # every 2 MiB once
        assert result.counters["removals"] > 20 and spans["pamt_put"]["count"] == result.counters["removals"]
        assert 0 <= spans["pamt_get"]["count"] - result.counters["installs"] <= 16           # one of each vCPU under way
    waits = {design: result.spans_ns.model_dump()["pamt_wait"]["count"] for design, result in results.items()}
    assert waits["dpamt_merged"] > 50 * waits["dpamt_fast_v6"] > 0


def test_under_one_lock_sixteen_tds_install_far_fewer_pages_than_with_a_fast_path():
    merged, fast, pool = (storm(design, 16).counters["installs"] for design in ("dpamt_merged", "dpamt_fast_v6", "dpamt_pool"))
    assert merged < 0.75 * fast < pool


@pytest.mark.parametrize("keys, sentence", [
    ({"dpamt": "dpamt_v6"}, "no such design; did you mean dpamt_v4? known: dpamt_merged"), ({"dpamt": "dpamt_v4", "dynamic_pamt": False}, "needs td.dynamic_pamt"),
])
def test_a_config_must_have_what_a_design_needs(keys, sentence):
    table = {"name": "c", "policy": "kick_on_busy", "module": "1.5.24", "td": {"dynamic_pamt": True} | keys}
    with pytest.raises(UsageError, match="^c.toml: td.dpamt = ") as error:
        config_file.check(config_file.Given(table, "c.toml"))
    assert sentence in str(error.value)


def test_a_fault_whose_aug_is_busy_puts_the_pair_and_the_bug_is_still_of_aug():
    scene = Scene("zero_tolerance", module="1.5.24", td={"dynamic_pamt": True, "dpamt": "dpamt_merged"})
    for _ in range(100_000):
        scene.step("vcpu0")
        if scene.attempts["tdh_phymem_pamt_add"]:
            break
    assert scene.word("dpamt_ref") == 0
    while not scene.word("dpamt_ref"):
        scene.step("vcpu0")
    scene.hold_tree()
    scene.until("vcpu0", op=Op.BUG)
    assert scene.word("dpamt_ref") == 0 and scene.attempts["tdh_phymem_pamt_remove"] == 1
    scene.step("vcpu0")
    assert scene.bugs == [("tdh_mem_page_aug", "TDX_OPERAND_BUSY|SEPT_TREE")] and scene.mirror() == MMU_NONPRESENT


# --- caches of page pairs ------------------------------------------------------------------------

def test_the_merged_form_takes_a_pair_for_every_page_and_the_fast_path_for_first_pages_only():
    """Two pages are allocated and freed for each page of 4 KiB that is installed: the pair is taken before the lock is asked for."""
    merged, fast = (storm(design, 2, f"td.pamt_cache={TOPPED_UP_TO}").counters for design in ("dpamt_merged", "dpamt_fast_v6"))
    assert merged["pamt_pairs_taken"] >= merged["installs"] > 500 and fast["installs"] > 500
    assert merged["pamt_pairs_unused"] > 0.9 * merged["pamt_pairs_taken"]
    assert fast["pamt_pairs_taken"] < 0.05 * fast["installs"]
    for counters in (merged, fast):                  # 8 vCPUs, each with at most a full cache
        assert 0 < counters["pamt_pairs_topped_up"] - counters["pamt_pairs_taken"] <= 8 * TOPPED_UP_TO


@pytest.mark.parametrize("cache, needs", [(2, "SEPT pages and the page itself"), (3, "")])
def test_a_cache_that_is_too_small_for_a_fault_ends_the_vm_and_the_run_says_so(cache, needs):
    """Packed, SEPT pages are got too: a first fault makes three gets.  -ENOMEM goes to userspace."""
    result = storm("dpamt_merged", 2, f"td.pamt_cache={cache}", "machine.placement=packed")
    assert (result.invariants["pamt_cached"] > 0) == bool(needs) and (result.counters["installs"] < 20) == bool(needs)


def test_a_search_sees_a_cache_that_is_not_topped_up(monkeypatch):
    [scenario] = load(ROOT / "configs/explore/pamt_cached.toml")
    assert "pamt_cached" in search.run(scenario).checked
    monkeypatch.setattr(pamt.Writer, "top_up", lambda writer: None)
    _program.cache_clear()
    try:
        [scenario] = load(ROOT / "configs/explore/pamt_cached.toml")
        assert "pamt_cached" in search.run(scenario).violations
    finally:
        _program.cache_clear()


@pytest.mark.parametrize("design, goes_on", [("dpamt_merged", False), ("dpamt_fast_v6", False), ("dpamt_v1", True)])
def test_what_a_get_does_that_finds_the_cache_empty(design, goes_on):
    """-ENOMEM; v1 and v2 (kvm_mmu_memory_cache_alloc) warn and take pages from the reserve."""
    scene = Scene("zero_tolerance", module="1.5.24", td={"dynamic_pamt": True, "dpamt": design, "pamt_cache": 2})
    word = scene.layout.at("kick") + KICK_PAIRS
    scene.until("vcpu0", op=Op.MMU_TAKE_SHARED)
    assert scene.memory.word(word) == 2
    scene.memory.set_word(word, 0, 64)
    for _ in range(10_000):
        if scene.word("dpamt_ref") or scene.word("vm_dead"):
            break
        scene.step("vcpu0")
    assert (scene.word("dpamt_ref") == 1) == goes_on and bool(scene.word("vm_dead")) != goes_on


def test_a_cache_needs_a_design():
    table = {"name": "c", "policy": "kick_on_busy", "module": "1.5.24", "td": {"dynamic_pamt": True, "pamt_cache": 5}}
    with pytest.raises(UsageError, match="^c.toml: td.pamt_cache = 5: needs td.dpamt"):
        config_file.check(config_file.Given(table, "c.toml"))
    with pytest.raises(UsageError, match="pamt_cache = 5: needs dpamt"):
        parse({"module": "1.5.24", "pamt_cache": 5, "actors": {"host0": {"remove": [3]}}}, "t")


# --- large pages ------------------------------------------------------------------------------

def split_scene(design: str, **td) -> Scene:
    return Scene("do_no_vcpus_619", module="1.5.24", td={"dynamic_pamt": True, "dpamt": design, "memory_mib": 4, **td},
                 workload={"removal": "split"}, restart_on_bug=True)


@pytest.mark.parametrize("design, locked", [("dpamt_merged", 1), ("dpamt_fast_v6", 1), ("dpamt_demote_bare", 0), ("dpamt_demote_tries", 0)])
def test_a_split_gives_demote_the_ranges_pair_with_or_without_the_lock_and_counts_its_parts(design, locked):
    scene = split_scene(design, pamt_cache=2)
    while not scene.attempts["tdh_mem_page_demote"]:
        scene.step("host0")
    assert scene.word("dpamt_next") == locked and scene.word("dpamt_ref", 1) == 0
    scene.until("host0", counter="splits")
    two_m = scene.layout.at("pamt_2m.data", 1)
    assert scene.word("dpamt_ref", 1) == ENTRIES and scene.memory.word(two_m + PAMT_TYPE, 8) == PT_PAMT
    assert scene.memory.word(scene.layout.at("host_interrupt") + KICK_PAIRS) == 1 and scene.counters["pamt_pairs_taken"] == 1


def test_a_split_that_tries_without_the_lock_takes_it_when_demote_is_busy():
    scene = split_scene("dpamt_demote_tries")
    while not scene.attempts["tdh_mem_page_demote"]:
        scene.step("host0")
    word = scene.layout.at("pamt_2m.pamt_pages")
    scene.memory.set_word(word, 1, 16)                   # another TD's PAMT.ADD
    while scene.attempts["tdh_mem_page_demote"] < 2:
        scene.step("host0")
    assert scene.word("dpamt_next") == 1 and any(answer.startswith("TDX_OPERAND_BUSY") for _, answer in scene.answered)
    scene.memory.set_word(word, scene.memory.word(word, 16) & ~1, 16)
    scene.until("host0", counter="splits")
    assert scene.word("dpamt_ref", 1) == ENTRIES


@pytest.mark.parametrize("design", [design.name for design in DESIGNS if design.counts])
def test_splits_run_in_virtual_time_with_every_design_that_counts(design):
    given = config_file.read(ROOT / "configs/huge_page_split.toml", [
        "engine=simulate", "warmup_s=0", "duration_s=0.002", "module=1.5.24", "td.dynamic_pamt=true", "workload.removals_per_s=20000",
        f"td.dpamt={design}", "td.pamt_cache=5"])
    result = document.from_measured(simulation.run(make_plan(config_file.check(given))))
    assert result.counters["splits"] == result.seamcalls["tdh_mem_page_demote"].success > 10
    assert not result.bugs and not any(result.invariants.values())


def test_the_share_of_time_spent_waiting_for_the_lock_is_a_number_of_the_result():
    merged, none = (storm(design, 4) for design in ("dpamt_merged", "dpamt_no_lock"))
    spans = merged.spans_ns.model_dump()["pamt_wait"]
    waited_ns = merged.pamt_pairs.wait_share * merged.measured_s * merged.workers.count * 1e9
    assert 0 < spans["count"] / 2 * spans["p50"] * 0.9 <= waited_ns <= spans["count"] * spans["max"]
    assert none.pamt_pairs.wait_share == 0
    rows = {what: value for left, one, right, other in fact_rows(merged) for what, value in ((left, one), (right, other))}
    assert float(rows["time waiting for pamt_lock, %"]) == pytest.approx(100 * merged.pamt_pairs.wait_share, rel=0.01)


# --- without a count --------------------------------------------------------------------------

def test_hints_run_in_virtual_time_each_get_adds_and_only_a_hint_removes():
    result = storm("dpamt_hints", 1, "workload.removal=punch_hole", "workload.removal_pages=1", "workload.removals_per_s=0",
                   "workload.pages=4", "workload.hosts=2")
    add, remove = (result.seamcalls[f"tdh_phymem_pamt_{name}"] for name in ("add", "remove"))
    assert result.counters["installs"] > 30 and add.success + add.other >= result.counters["installs"]
    assert add.other_by_status.keys() == {"TDX_HPA_RANGE_NOT_FREE|RCX"}
    assert 0 < remove.success < result.counters["removals"] and add.success - remove.success in (0, 1)


@pytest.mark.parametrize("more", [("machine.placement=packed",), ("machine.placement=random", "workload.removal=split", "td.memory_mib=8")])
def test_hints_run_on_placed_pages_and_with_splits_too(more):
    result = storm("dpamt_hints", 2, "workload.removal_pages=1", "workload.removals_per_s=20000", *more)
    add, remove = (result.seamcalls[f"tdh_phymem_pamt_{name}"] for name in ("add", "remove"))
    assert add.success > 5 and "TDX_HPA_RANGE_NOT_FREE|RCX" in add.other_by_status and not result.bugs and not result.invariants["quiet_frames"]
    assert remove.success > 5 or "workload.removal=split" not in more
