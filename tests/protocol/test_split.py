"""Splits of large pages: under mmu_lock write, and the rejected design under mmu_lock read, which rolls back with UNBLOCK."""

import pytest

from harness.engines.simulate import simulation
from harness.experiment import config_file
from harness.experiment.plan import make_plan
from harness.memory.layout import MMU_NONPRESENT
from harness.protocol.flows.flow import MMU_LARGE, MMU_PRESENT
from harness.results import document
from tests.engines.test_simulate import ROOT
from tests.scene import Scene

UNDER_READ = {"base": "do_no_vcpus_619", "split_lock": "read"}
LARGE = 512


def scene() -> Scene:
    return Scene(UNDER_READ, page=LARGE, td={"memory_mib": 4}, workload={"removal": "split"}, restart_on_bug=True)


def at_first(made: Scene, call: str) -> Scene:
    while not made.attempts[call]:
        made.step("host0")
    return made


def test_under_read_a_demote_that_is_busy_is_rolled_back_by_unblock():
    made = at_first(scene(), "tdh_mem_page_demote")
    made.hold_entry(level=1)
    at_first(made, "tdh_mem_range_unblock")
    made.hold_entry(held=False, level=1)
    made.until("host0", counter="splits_rolled_back").until("host0", label="host.next")
    mirror = made.memory.word(made.layout.at("mirror.1", 1))
    assert mirror & (MMU_PRESENT | MMU_LARGE) == MMU_PRESENT | MMU_LARGE != MMU_NONPRESENT
    assert not made.bugs and not made.word("mmu_lock") and made.answered["tdh_mem_range_unblock", "TDX_SUCCESS"] == 1
    made.until("host0", counter="splits")            # and the next try succeeds


def test_an_unblock_that_is_busy_too_leaves_the_page_blocked_and_bugs_the_vm():
    made = at_first(scene(), "tdh_mem_page_demote")
    made.hold_entry(level=1)
    made.until("host0", label="split.finish")
    assert [call for call, _ in made.bugs] == ["tdh_mem_range_unblock"]
    assert made.answered["tdh_mem_page_demote", "TDX_OPERAND_BUSY|RCX"] == made.answered["tdh_mem_range_unblock", "TDX_OPERAND_BUSY|RCX"] == 1


@pytest.mark.parametrize("lock, starves", [("write", False), ("read", True)])
def test_a_guest_that_accepts_the_page_without_end_starves_a_split_under_read_and_none_under_write(lock, starves):
    given = config_file.read(ROOT / "configs/huge_page_split.toml", [
        "engine=simulate", "warmup_s=0", "duration_s=0.003", "restart_on_bug=true", "workload.removals_per_s=20000"])
    given.table["policy"] = UNDER_READ | {"split_lock": lock}
    given.table.pop("expect")
    result = document.from_measured(simulation.run(make_plan(config_file.check(given))))
    splits, given_up = result.counters["splits"], result.counters.get("splits_rolled_back", 0)
    assert (splits <= 1 and given_up > 30) if starves else (splits > 30 and given_up == 0)
    assert not any(result.invariants.values())
