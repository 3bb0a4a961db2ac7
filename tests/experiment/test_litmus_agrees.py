"""A question as C and the same as a TOML scenario come to the same: what breaks in one breaks in the other."""

import pytest

from harness.engines.explore import search
from harness.experiment import litmus, scenario_file
from harness.experiment.litmus_names import StatusClass
from harness.results.litmus import judge
from kernels import states
from kernels.ops import Op
from kernels.words import EXIT_REASON_EPT_VIOLATION, STATUSES, signed, status_name
from tests.bench.exploring import both_forms
from tests.command_line import ROOT
from tests.protocol.test_policies import faulting

LITMUS, EXPLORE = ROOT / "configs/litmus/kvm", ROOT / "configs/explore"


def c(name: str):
    test = litmus.load(LITMUS / f"{name}.litmus")
    found = search.run(test)
    assert found.complete
    return judge(test, found.endings), found.violations


def toml(name: str, module: str, **given):
    [scenario] = scenario_file.load(EXPLORE / f"{name}.toml", [module], **given)
    found = search.run(scenario)
    assert found.complete
    return found


@pytest.mark.parametrize("name, scenario, module, invariant", [
    ("mirror-race", "unfrozen_mirror", "1.5.05", "seamcall_covered"),
    ("mirror-frozen", "mirror_race", "1.5.05", "seamcall_covered"),
    pytest.param("sept-zap-kick", "fault_zap", "1.5.05", "barred_retry", marks=pytest.mark.slow),
])
def test_what_the_scenario_breaks_the_condition_shows(name, scenario, module, invariant):
    verdict, _ = c(name)
    assert (verdict.hits > 0) == (invariant in toml(scenario, module).violations)


@pytest.mark.parametrize("name, busted", [("track-requests", []), ("track-no-requests", ["no_kick"])])
def test_a_second_track_finds_a_vcpu_of_the_previous_epoch_only_where_nobody_is_kicked(name, busted):
    """KVM's own flow that removes two pages, and the C; what TRACK answers."""
    [scenario] = scenario_file.parse({
        "module": "1.5.05", "busted": busted, "start": {"pages": {"3": "MAPPED", "4": "MAPPED"}},
        "actors": {"vcpu0": {"touch": [3]}, "host0": {"remove": [3, 4]}}}, "t")
    answered = {answer for call, answer in search.run(scenario).answered if call == "tdh_mem_track"}
    assert (c(name)[0].hits > 0) == ("TDX_PREVIOUS_TLB_EPOCH_BUSY" in answered) == bool(busted)


MISSING = StatusClass(signed(STATUSES["TDX_MISSING_PAMT_PAGE_PAIR"]))


def broken_in_c(name: str) -> set[str]:
    """What a design breaks, by the invariants of scenarios: a page without a pair, a get and a put that fail, a split that is BUSY."""
    verdict, violations = c(name)
    shown = {(local.partition(":")[2], int(value)) for state in verdict.states for local, value in state.values.items()}
    found = {"pamt_put"} if "warn_on" in violations or ("failed", 1) in shown else set()
    found |= {"pamt_present"} if any(local == "err" and MISSING == value for local, value in shown) else set()
    found |= {"pamt_get"} if {("err", 1), ("get", -5)} & shown else set()
    found |= {"pamt_busy"} if ("bug", 1) in shown else set()
    return found | set(violations) & {"no_halt", "starvation", "deadlock"}


SLOW_DESIGN = pytest.mark.slow   # three users: a second or two each


@pytest.mark.parametrize("name, scenario, design", [
    *[pytest.param(f"pamt-{name}", "pamt_one_range", f"dpamt_{design}", marks=SLOW_DESIGN) for name, design in (
        ("v1", "v1"), ("v3", "v3"), ("v4", "v4"), ("v6-fast", "fast_v6"), ("merged", "merged"), ("hints", "hints"), ("no-lock", "no_lock"),
        ("irqsave", "irqsave"), ("pool", "pool"))],
    pytest.param("pamt-pool", "pamt_crossed", "dpamt_pool", marks=SLOW_DESIGN), ("pamt-per-2m", "pamt_crossed", "dpamt_per_2m"),
    pytest.param("pamt-demote-bare", "pamt_demote", "dpamt_demote_bare", marks=SLOW_DESIGN), ("pamt-demote-tries", "pamt_demote", "dpamt_demote_tries")])
def test_each_design_of_dynamic_pamt_breaks_the_same_in_both(name, scenario, design):
    """pamt_priority and pamt_counted are of scenarios only: words that C has no name for."""
    assert broken_in_c(name) == set(toml(scenario, "1.5.24", dpamt=design).violations) - {"pamt_priority", "pamt_counted"}


CLOBBERED = (LITMUS / "retry-clobbered.litmus").read_text()


@pytest.mark.parametrize("policy, change", [("retry16_clobber", ()), ("retry16", ("*rcx = err & 0xffffffff;", ";"))])
def test_a_retry_is_refused_for_its_operand_only_where_the_failed_try_has_overwritten_it(policy, change):
    """A fault's AUG meets a BLOCK of another page, which holds the tree: with its operands kept the retry gets through."""
    block = "err = tdh_mem_range_block(td, 0x4000, 0);"
    text = CLOBBERED.replace("page 3 = FREE;", "page 3 = FREE;\n\tpage 4 = MAPPED;").replace("\terr = tdh_mem_page_aug(td, 0x3000, 0, page);\n}\n\nexists", f"\t{block}\n}}\n\nexists")
    assert block in text and (not change or change[0] in text)
    test = litmus.parse(text.replace(*change) if change else text, "t")
    refused = judge(test, search.run(test).endings).hits > 0
    [scenario] = scenario_file.parse({"module": "1.5.05", "policy": policy, "start": {"pages": {"3": "FREE", "4": "MAPPED"}},
                                      "actors": {"vcpu0": {"touch": [3]}, "host0": "tdh_mem_range_block 4"}}, "t")
    assert refused == ("no_bug" in search.run(scenario).violations) == (policy == "retry16_clobber")


@pytest.mark.parametrize("policy", ["kick_on_busy", "retry16", "zero_tolerance"])
def test_a_guest_that_repeats_its_accept_beside_a_zap_kills_the_vm_under_the_same_policies(policy):
    text = (LITMUS / "accept-retry-beside-zap.litmus").read_text()
    found = search.run(litmus.parse(text.replace("policy = kick_on_busy;", f"policy = {policy};"), "t"))
    assert found.complete and ("no_bug" in found.violations) == ("no_bug" in toml("fault_zap_pending", "1.5.05", policy=policy).violations)


@pytest.mark.slow
def test_the_draft_beside_a_fault_does_what_the_scenario_does():
    verdict, violations = c("draft-track-beside-fault")
    [scenario] = scenario_file.parse({"module": "1.5.24", "policy": "kick_vcpus", "start": {"pages": {"3": "FREE"}},
                                      "actors": {"vcpu0": {"touch": [3]}, "host0": "tdh_mem_track"}}, "t")
    found = search.run(scenario)
    assert not violations and not found.violations
    assert {state.values["sept[3]"] for state in verdict.states} == {ending.words[0] for ending in found.endings} == {"MAPPED"}


@pytest.mark.parametrize("policy, looks_again", [("kick_on_busy", False), ("kick_on_busy_618", True)])
def test_a_local_retry_beside_a_memslots_deletion_ends_where_the_policys_flow_does(policy, looks_again):
    """Linux 6.16's flow waits for itself; where the slot is looked up again (2bc2694fe20b) neither that nor the C does."""
    text = (LITMUS / "memslot-local-retry.litmus").read_text()
    if looks_again:
        text = text.replace("cond_resched();", "if (!READ_ONCE(*valid)) break;").replace("must_violate = {livelock};", "")
    scene = faulting(policy, workload={"removal": "memslot_delete"})
    scene.until("vcpu0", label="fault.again").until("host0", op=Op.WAIT_NOT)
    assert scene.blocked("host0")                # synchronize_srcu
    for _ in range(3):
        scene.until("vcpu0", label="vcpu.run" if looks_again else "fault.retry")
    assert scene.blocked("host0") == (not looks_again) == ("livelock" in search.run(litmus.parse(text, "t")).violations)


def test_the_calls_answer_what_they_answer_in_the_scenario():
    """ACCEPT against BLOCK: the same statuses (which do not say that a host came first) and the same entry."""
    text = ("C t\n{ module = 1.5.05; page 3 = PENDING; }\nP0() { u64 a = tdg_mem_page_accept(0x3000, 0); }\n"
            "P1() { u64 b = tdh_mem_range_block(td, 0x3000, 0); }\nlocations [0:a; 1:b; sept[3]]\nforall (true)\n")
    test = litmus.parse(text, "t")
    found, scenario = search.run(test), toml("accept_block", "1.5.05")
    names = {0: "TDX_SUCCESS", EXIT_REASON_EPT_VIOLATION: "EXIT_REASON_EPT_VIOLATION"}
    ours = {(*(names.get(int(each)) or status_name(int(each)) for each in answers), entry)
            for *answers, entry in (ending.words for ending in found.endings)}
    theirs = {(ending.answers[0][0].replace("_HOST_PRIORITY", ""), ending.answers[1][0], ending.words[0]) for ending in scenario.endings}
    assert ours == theirs


@pytest.mark.parametrize("name", ["ACCEPT twice and 2 x AUG that retries", "the mirror race: 2 faults"])
def test_a_state_of_c_costs_no_more_moves_than_one_of_the_scenario(name):
    """What a state costs is the moves that have to be made for it: locals are registers, and no words of memory."""
    counts = []
    for each in both_forms(name):
        found = search.Search(each, symmetry=False)
        found.scout()
        found.search()
        counts.append([int(found.counts[number]) for number in (states.N_STATES, states.N_MOVES, states.N_MEMORIES)])
    assert all(ours <= theirs for ours, theirs in zip(*counts))
