"""Every policy in one line, as the mails and the kernel have it: what is answered where, and which switches are not usual.

Written down once more, apart from the rows, so that a row cannot change by accident.  In the order of time:

    before v10      a spinlock around each SEPT SEAMCALL; only an entry was tried again
    v10 to v19      the wrapper repeats a call 16 times if the tree was busy, and only then; TRACK and REMOVE for ever
    Sep 2024        the positions of the thread on PATCH 09/21 and of the lock report
    Linux 6.16      removals kick and repeat once, faults are repeated in the kernel; 6.18, 6.19: its corrections
    mistakes        as posted or shipped, and negative controls
"""

import pytest

from harness.protocol.policies import POLICIES
from harness.protocol.policy import SITES, SWITCHES

EVERY_SITE = ("accept retry forever", "build exit_userspace", "create nothing")      # unless a line says otherwise
KICK = "install local_retry; block kick; track kick; remove kick; enter resume_guest; frozen local_retry"
RETRY16 = ("install retry 16, resume_guest (on tree); block retry 16 (on tree); track retry forever;"
           " remove retry forever (on tree); enter retry forever; frozen resume_guest")
LINES = {
    "spinlock_vm": "install nothing; block nothing; track nothing; remove nothing; enter retry forever;"
                   " frozen resume_guest; seamcall_lock; freeze no; breaks seamcall_covered",
    "retry16": RETRY16,
    "retry16_clobber": RETRY16.replace("remove retry forever", "remove retry 16, retry forever") + "; clobber",
    "zero_tolerance": "install nothing; block nothing; track nothing; remove nothing; enter exit_userspace;"
                      " frozen local_retry",
    "zero_step_exit": KICK + "; zero_step exit_userspace",
    "adaptive_1024": "install retry 16 doubling 1024; block retry 16 doubling 1024; track retry 16 doubling 1024;"
                     " remove retry 16 doubling 1024; enter resume_guest; zero_step drain_mmu_lock; frozen resume_guest;"
                     " seamcall_lock",
    "resume_guest": "install resume_guest; block nothing; track retry forever; remove retry forever;"
                    " enter retry forever; frozen resume_guest",
    "resume_then_kick": "install resume_guest; block kick; track kick; remove kick; enter resume_guest; zero_step kick;"
                        " frozen resume_guest",
    "frozen_local": KICK.replace("install local_retry", "install resume_guest"),
    "mmu_local2": KICK.replace("install local_retry", "install retry 2, resume_guest")
                      .replace("frozen local_retry", "frozen retry 2, resume_guest"),
    "yield_on_busy": "install drop_lock_and_yield; block drop_lock_and_yield, retry 16;"
                     " track drop_lock_and_yield, retry 16; remove drop_lock_and_yield, retry 16; enter resume_guest;"
                     " frozen local_retry",
    "kick_vcpus": "install resume_guest; block nothing; track nothing; remove nothing; enter resume_guest;"
                  " frozen resume_guest; bar removal; kick_after_track no; also kick_first",
    "kick_on_busy": KICK,
    "kick_on_busy_618": KICK + "; stop_on event invalid_slot",
    "do_no_vcpus_619": KICK + "; stop_on event invalid_slot; add_in_freeze; vm_state_guard; vp_init_lock write",
    "busy_bitmask_bug": KICK.replace("block kick; track kick; remove kick",
                                     "block kick (on bitmask); track kick (on bitmask); remove kick (on bitmask)"),
    "ignore_eagain": KICK.replace("block kick", "block ignore") + "; breaks removal_tracked",
    "reenter_irqoff": KICK.replace("enter resume_guest", "enter retry forever")
                      + "; interrupts_at_reentry off; breaks no_deadlock",
    "no_post_kick": KICK + "; kick_after_track no; breaks removal_tracked",
    "inject47": RETRY16 + "; inject_every 47",
}


def said(policy) -> set[str]:
    """What a row says that is not the same for all."""
    found = {f"{site} {getattr(policy, site)}" for site in SITES if getattr(policy, site) is not None}
    for switch in SWITCHES:
        value = getattr(policy, switch.name)
        if value != switch.default:
            words = " ".join(value) if isinstance(value, tuple) else {True: "", False: "no"}.get(value, value) \
                if isinstance(value, bool) else value
            found.add(f"{switch.name} {words}".strip())
    found |= {f"breaks {name}" for name in policy.breaks} | ({f"also {policy.also}"} if policy.also else set())
    return found - set(EVERY_SITE)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_a_policy_is_what_its_line_says(policy):
    assert said(policy) == set(LINES[policy.name].split("; "))


def test_every_line_is_a_policy():
    assert [policy.name for policy in POLICIES] == list(LINES)


def test_switches_are_by_default_what_merged_kernels_do_and_of_large_pages_what_the_newest_series_does():
    assert {switch.name: switch.default for switch in SWITCHES} == {
        "bar": "call", "kick_after_track": True, "freeze": True, "stale_old": False, "zap_lock": "write", "split_lock": "write",
        "accept_mismatch": "split", "split_before_removal": True, "demote_again": "interrupts_on",
        "seamcall_lock": False, "interrupts_at_reentry": "on", "stop_on": ("event",), "add_in_freeze": False,
        "vm_state_guard": False, "vp_init_lock": "none", "tdx_lock": True, "clobber": False, "inject_every": 0}
