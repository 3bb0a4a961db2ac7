"""Dead guests in what a run comes to, and in what a search finds."""

import re

import pytest

from harness.engines.explore import search
from harness.engines.simulate import simulation
from harness.experiment import config_file
from harness.experiment.plan import make_plan
from harness.experiment.scenario_file import load, parse
from harness.protocol.guest_policies import BY_NAME
from harness.reports.comparison import overview
from harness.reports.run import run_report
from harness.results import document, expectations, identity
from harness.results.metrics import BY_KEY
from harness.results.trust import VALID
from tests.engines.test_simulate import MEETING, ROOT
from tests.stage import config

DYING = {"engine": "simulate", "duration_s": 0.003, "warmup_s": 0.0, "restart_on_bug": True} | MEETING


def simulated(**keys):
    plan = make_plan(config(**DYING | keys))
    return plan, document.from_measured(simulation.run(plan))


def test_a_run_counts_dead_guests_by_what_killed_them_and_says_so():
    plan, result = simulated(guest="linux_boot")
    deaths = result.guest_deaths
    assert deaths.get("busy", 0) > 3 and result.guest == "linux_boot" and not result.bugs
    assert result.counters["rebuilds"] <= sum(deaths.values()) <= result.counters["rebuilds"] + 1
    assert expectations.lookup(result, "guest_deaths.total") == sum(deaths.values())
    assert expectations.lookup(result, "guest_deaths.busy") == deaths["busy"]
    assert expectations.lookup(result, "guest_deaths.accepted") == deaths.get("accepted", 0)
    assert BY_KEY["guest_deaths_per_s"].events(result) == sum(deaths.values())
    assert f"{deaths['busy']} x TDX_OPERAND_BUSY" in run_report(result)
    assert result.verdict.status != VALID and any("ended by their guests" in each for each in result.verdict.reasons)
    assert re.search(r"policy.*\bdead guests\b", overview([result]))


def test_a_guest_that_bears_every_answer_does_not_die():
    plan, result = simulated()
    assert result.guest == "svsm" and result.guest_deaths == {} and "dead guests: none" in run_report(result)
    assert result.seamcalls["tdg_mem_page_accept"].busy > 3
    assert identity.workload(result) != identity.workload(simulated(guest="edk2")[1])


def test_expect_can_bound_dead_guests():
    plan, result = simulated(guest="linux_boot", expect={"guest_deaths.total": 0, "guest_deaths.mismatch": {"max": 0}})
    expectations.check_expectations(plan, document.example(plan))
    assert [failure.what for failure in expectations.failures(result, plan.config.expect)
            if "total" in failure.what] == ["expected guest_deaths.total at least 0 and at most 0"]


def test_the_boot_storm_is_of_a_guest_that_dies_of_what_it_could_meet():
    boot = config_file.load(ROOT / "configs/boot_storm.toml")
    assert boot.guest.deaths() == ("busy", "mismatch", "accepted") and boot.module == "1.5.05"
    # Two vCPUs that accept the same page at once, as no guest does that keeps them apart: an ACCEPT meets an AUG.
    shared = {"pattern": "hot", "hosts": 0, "hot_pages": 8, "accept_first": 1.0}
    for alone, dies in ((False, True), (True, False)):
        _, result = simulated(guest={"base": "linux_boot", "one_at_a_time": alone}, td={"vcpus": 8}, workload=shared,
                              costs_ns={})
        assert bool(result.guest_deaths) == dies


TOUCH_AND_REMOVE = {"module": "1.5.05", "actors": {"vcpu0": {"touch": [3]}, "host0": {"remove": [3]}}}


@pytest.mark.parametrize("guest, deaths", [("linux_boot", {"guest_outlives_busy"}), ("svsm", set()), ("edk2", set()),
                                           ("openhcl", {"guest_outlives_busy"})])
def test_a_search_finds_what_a_guest_can_die_of(guest, deaths):
    [scenario] = parse(TOUCH_AND_REMOVE | {"guest": guest}, "t")
    found = search.run(scenario)
    assert found.complete and {name for name in found.violations if name.startswith("guest_")} == deaths
    assert set(BY_NAME[guest].deaths()) == {name.removeprefix("guest_outlives_") for name in search.checked(scenario)
                                            if name.startswith("guest_")}


def test_two_vcpus_that_are_not_kept_apart_die_of_a_size_that_is_right_up_to_1_5_25():
    for module, dies in (("1.5.05", True), ("1.5.34", False)):
        [scenario] = parse({"module": module, "guest": {"base": "linux_boot", "one_at_a_time": False},
                            "actors": {"vcpu0": {"touch": [3]}, "vcpu1": {"touch": [3]}}}, "t")
        found = search.run(scenario)
        assert found.complete and ("guest_outlives_mismatch" in found.violations) == dies


def test_a_scenario_may_have_to_show_that_a_guest_dies():
    [scenario] = load(ROOT / "configs/explore/guest_dies_of_busy.toml")
    assert scenario.must_violate == ["guest_outlives_busy"] and scenario.file.guest.name == "linux_boot"


@pytest.mark.slow
@pytest.mark.parametrize("name, policy, module, guest, dies", [
    ("accept_zap", "kick_on_busy", "1.5.34", "linux_2021", True), ("accept_zap", "kick_vcpus", "1.5.34", "linux_2021", False),
    ("accept_huge", "kick_on_busy", "1.5.24", "openhcl", True), ("accept_huge", "kick_on_busy", "1.5.24", "linux_boot", False),
])
def test_which_guest_dies_of_busy_while_the_host_takes_memory_back(name, policy, module, guest, dies):
    found = search.run(load(ROOT / f"configs/explore/guests/{name}.toml", [module], policy, guest=guest)[0])
    assert found.complete and set(found.violations) == ({"guest_outlives_busy"} if dies else set())


# Steps of the shortest way in which a guest dies of BUSY while its 2 MiB are split, in 1.5.24 and in 1.5.34: docs/guests.md.
DIES_OF_A_SPLIT = {"openhcl": (23, 24), "td_shim": (35, 40), "linux_boot": (), "edk2": ()}


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["kick_on_busy", "kick_vcpus", "do_no_vcpus_619"])
@pytest.mark.parametrize("guest, steps", DIES_OF_A_SPLIT.items())
def test_which_guests_die_while_their_2_mib_are_split(guest, steps, policy):
    ways = []
    for module in ("1.5.24", "1.5.34"):
        [scenario] = load(ROOT / "configs/explore/guests/accept_huge.toml", [module], policy, anywhere=True, guest=guest)
        found = search.run(scenario)
        assert found.complete, found.stopped
        ways += [len(way) for name, way in found.violations.items() if name == "guest_outlives_busy"]
        assert not {"guest_outlives_mismatch", "guest_outlives_accepted"} & found.violations.keys()
    assert ways == ([] if policy == "kick_vcpus" else list(steps))
