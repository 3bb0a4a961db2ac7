"""What each guest does with each answer of ACCEPT, as its row says; a guest that ends itself is counted once."""

import pytest

from harness.errors import UsageError
from harness.experiment.config_file import Given, check
from harness.memory.layout import ENTRIES
from harness.protocol.flows.flow import DEAD
from harness.protocol.flows.guest import PAGES_PER_GIB
from harness.protocol.guest_policies import BY_NAME, GUESTS, KINDS, SITES, STATUS
from harness.protocol.policies import POLICIES
from kernels.words import STATE
from tests.scene import Scene

PAGE = 3
MODULE = "1.5.05"                # in which a page that migration has removed answers TDX_PAGE_SIZE_MISMATCH


def asks(guest, kind: str, page: int = PAGE, **workload) -> Scene:
    """A vCPU about to ACCEPT a page that will answer so."""
    scene = Scene("kick_on_busy", page=page, accept_first=1.0, module=MODULE, guest=guest, workload=workload)
    scene.until("vcpu0", label="guest.accept").until("vcpu0", counter="installs").until("vcpu0", label="guest.accept_4k")
    if kind == "busy":
        scene.hold_entry()
    else:
        state = {"mismatch": "REMOVED", "accepted": "MAPPED"}[kind]
        hpa = scene.layout.hpa("data", page) if kind == "accepted" else 0
        scene.memory.set_word(scene.layout.at("sept.0", page), STATE[state].word(hpa))
    return scene


@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: guest.name)
@pytest.mark.parametrize("kind", KINDS)
def test_a_guest_does_at_4_kib_what_its_row_says(guest, kind):
    scene = asks(guest.name, kind)
    responses = getattr(guest, f"{kind}_4k")
    tries = 1 + sum(each.attempts for each in responses if each.attempts > 0)
    before = scene.attempts["tdg_mem_page_accept"]
    last = responses[-1].name
    if last == "retry":                  # for ever: until the entry is free
        for _ in range(20):
            scene.until("vcpu0", label="guest.accept_4k")
        scene.hold_entry(False)
        scene.until("vcpu0", counter="touches")
        assert scene.counters["accepts"] == 1
        return
    scene.until("vcpu0", **{"panic": {"label": "vcpu.dead"}, "skip": {"label": "guest.note"}, "lost": {"counter": "accepts_lost"},
                            "fail": {"label": "guest.next"}}[last])
    assert scene.attempts["tdg_mem_page_accept"] - before == tries
    deaths = {name: scene.counters.get(f"guest_deaths.{name}", 0) for name in KINDS}
    assert deaths == {name: int(last == "panic" and name == kind) for name in KINDS}
    assert scene.word("vm_dead") == (DEAD if last == "panic" else 0)
    assert scene.counters.get("accepts_given_up", 0) == (last == "fail")


@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: guest.name)
def test_2_mib_are_tried_where_they_begin_and_the_guest_steps_down(guest):
    for page, tries in ((0, 1), (PAGE, 0)):
        scene = Scene("kick_on_busy", page=page, accept_first=1.0, guest=guest.name, workload={"accept_2m": True})
        scene.until("vcpu0", counter="touches")
        known = guest.largest != "4k"
        assert scene.answered.get(("tdg_mem_page_accept", "TDX_PAGE_SIZE_MISMATCH|level 1"), 0) == tries * known
        assert scene.entry(page) == "MAPPED" and scene.counters["accepts"] == 1


@pytest.mark.parametrize("guest, memory_mib, page, tries", [
    ("linux_boot", 1026, 0, 1), ("linux_boot", 1026, PAGES_PER_GIB, 0),       # the second GiB is not whole
    ("linux_boot", 1026, ENTRIES, 0), ("linux_boot", 1022, 0, 0), ("linux_convert", 1024, 0, 1), ("edk2", 1024, 0, 0),
])
def test_linux_tries_1_gib_where_a_whole_one_begins_is_refused_and_steps_down_to_2_mib_and_4_kib(guest, memory_mib, page, tries):
    scene = Scene("kick_on_busy", page=page, accept_first=1.0, guest=guest, workload={"accept_2m": True}, td={"memory_mib": memory_mib})
    scene.until("vcpu0", label="guest.accept").until("vcpu0", label="guest.accept_2m")
    assert scene.counters.get("accepts_of_1g", 0) == tries and scene.attempts["tdg_mem_page_accept"] == 0
    scene.until("vcpu0", counter="touches")
    assert scene.answered["tdg_mem_page_accept", "TDX_PAGE_SIZE_MISMATCH|level 1"] == scene.counters["accepts"] == 1
    assert scene.entry(page) == "MAPPED"


def test_an_ap_of_old_tdvf_halts_for_good_when_2_mib_are_busy_and_the_others_go_on():
    scene = Scene("kick_on_busy", page=0, accept_first=1.0, guest="tdvf_old_ap", workload={"accept_2m": True})
    scene.until("vcpu0", label="guest.accept").until("vcpu0", counter="installs").until("vcpu0", label="guest.accept_2m")
    scene.hold_entry(level=1)
    scene.until("vcpu0", label="guest.halted")
    scene.hold_entry(False, level=1)
    for _ in range(500):
        scene.step("vcpu0")
    assert scene.counters["vcpus_halted"] == 1 and scene.counters.get("accepts", 0) == 0 and scene.entry(0) == "PENDING"
    scene.until("vcpu1", counter="touches")


def test_at_boot_the_vcpus_that_accept_no_memory_wait_inside_and_take_kicks():
    scene = Scene("kick_on_busy", page=PAGE, accept_first=1.0, guest="svsm", workload={"pattern": "boot"})
    scene.until("vcpu1", label="guest.halted").until("vcpu0", counter="touches")
    for _ in range(500):
        scene.step("vcpu1")
    assert scene.counters["touches"] == 1
    scene.until("host0", counter="kick_broadcasts")
    for _ in range(500):
        scene.step("host0")
        scene.step("vcpu1")
    assert scene.counters["kicks_taken"] >= 1
    scene.until("vcpu1", label="guest.halted")


def test_two_vcpus_that_die_at_once_are_one_dead_guest_and_the_next_td_begins_afresh():
    scene = Scene("kick_on_busy", page=PAGE, accept_first=1.0, guest={"base": "linux_boot", "one_at_a_time": False},
                  restart_on_bug=True)
    for vcpu in ("vcpu0", "vcpu1"):
        scene.until(vcpu, label="guest.accept_4k")
    scene.until("vcpu0", counter="installs")
    scene.hold_entry()
    for vcpu in ("vcpu0", "vcpu1"):
        scene.until(vcpu, label="guest.dies.busy")
    for vcpu in ("vcpu0", "vcpu1"):
        scene.until(vcpu, label="vcpu.dead")
    assert scene.counters["guest_deaths.busy"] == 1 and scene.word("vm_dead") == DEAD


def test_a_guest_that_accepts_one_at_a_time_waits_for_the_other_and_does_not_accept_again():
    scene = Scene("kick_on_busy", page=PAGE, accept_first=1.0, guest="linux_boot")
    scene.until("vcpu0", label="guest.accept_4k").until("vcpu1", label="guest.accept")
    for _ in range(200):
        scene.step("vcpu1")
    assert scene.attempts["tdg_mem_page_accept"] == 0                # the other one has begun, and this one waits
    scene.until("vcpu0", counter="touches").until("vcpu1", counter="touches")
    assert scene.counters["accepts"] == 1 and scene.entry() == "MAPPED"
    assert scene.answered["tdg_mem_page_accept", "TDX_SUCCESS"] == 1


def test_every_row_has_a_source_and_names_what_can_end_it():
    assert all(guest.source and guest.meaning for guest in GUESTS)
    assert BY_NAME["svsm"].deaths() == BY_NAME["edk2"].deaths() == BY_NAME["linux_convert"].deaths() == ()
    assert BY_NAME["linux_boot"].deaths() == KINDS and set(STATUS) == set(KINDS)
    assert GUESTS[0].name == "svsm"


@pytest.mark.parametrize("share", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_any_guest_runs_under_any_policy(share):
    for policy in POLICIES[::share]:
        for guest in ("linux_boot", "td_shim"):
            scene = Scene(policy.name, page=0, accept_first=1.0, guest=guest, workload={"accept_2m": True})
            scene.until("vcpu0", counter="touches")
            for _ in range(2_500):
                scene.step("host0")
                scene.step("vcpu0")
            assert scene.counters["touches"] > 1 and bool(scene.counters["removals"]) == (policy.name != "no_post_kick")


@pytest.mark.parametrize("guest, sentence", [
    ("linux_bot", "not a guest; did you mean linux_boot? known: svsm"), (5, "must be the name of a guest, or a table"),
    ({"busy_4k": ["kick"]}, "guest.busy_4k = ['kick']: 'kick' is no response; allowed: retry, touch, fail, lost, halt, panic"),
    ({"busy_4k": ["down"]}, "'down' is not possible here"), ({"busy_4k": "panic"}, "must be a list of responses"),
    ({"busy_4k": ["retry 2 doubling 8"]}, "'doubling' is of a host's policy"),
    ({"one_at_a_time": 1}, "must be true or false"), ({"acceptors": -2}, "must be a whole number from -1 to 4096"),
    ({"piece_mib": True}, "must be a whole number from 0 to 2048"), ({"busy": []}, f"unknown key; did you mean busy_4k? known: name, base, meaning, {SITES[0]}"),
    ({"base": "linux_boot", "name": "a b"}, "guest.name = 'a b'"),
])
def test_a_mistake_about_a_guest_is_one_line_with_its_key(guest, sentence):
    with pytest.raises(UsageError, match="^c.toml: guest") as error:
        check(Given({"name": "c", "policy": "kick_on_busy", "guest": guest}, "c.toml"))
    assert sentence in str(error.value)
