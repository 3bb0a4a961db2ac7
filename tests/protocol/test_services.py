"""Service TDs and measurements, the module's own life, memory of devices: sequences and statuses."""

import pytest

from harness.memory.layout import (
    BOUND, MMIOMT_MAPPED, NOT_BOUND, PRE_BOUND, SYS_CONFIG_DONE, SYS_INIT_DONE, SYS_READY, SYS_SHUTDOWN, TDMR_PENDING,
)
from harness.protocol.phrases.locking import INTERRUPT
from harness.protocol.releases import ADD_LOOK, LOOK_ADD, RELEASES
from kernels.ops import Op
from kernels.words import EXIT_REASON_EPT_VIOLATION, EXIT_REASON_EXTERNAL_INTERRUPT, HP, STATE, status, status_name
from tests.protocol.test_seamcalls import locks_of
from tests.ready import PAGE, ready
from tests.stage import Stage

pytestmark = pytest.mark.usefixtures("both_primitives")
NAMES = [release.name for release in RELEASES if not release.report_only]
ADDS = [release.name for release in RELEASES if release.guest_shared == ADD_LOOK and not release.report_only]
LOOKS = [release.name for release in RELEASES if release.guest_shared == LOOK_ADD]
CONNECT = [release.name for release in RELEASES if release.connect]
RTMR_BUSY = status("TDX_OPERAND_BUSY", "RTMR")


def start(call: str, release="1.5.05") -> tuple[Stage, object, object]:
    stage = Stage(release=release, owners=True)
    ready(stage, call, 0)
    return stage, stage.actor("vcpu0"), stage.actor("host0")


# --- run-time measurement registers ---

@pytest.mark.parametrize("release", LOOKS)
def test_n6_a_guests_reader_that_has_looked_overtakes_a_host(release):
    stage, extending, host = start("tdh_servtd_bind", release)
    reporting = stage.actor("vcpu1")
    extending.begin("tdg_mr_rtmr_extend").through(Op.HP_TAKE_EXCLUSIVE)
    assert stage.word("rtmr_lock") == 1
    reporting.begin("tdg_mr_report").before(Op.ADD)      # it has seen no host priority
    assert host.call("tdh_servtd_bind") == RTMR_BUSY and stage.word("rtmr_lock") == 7
    assert extending.finish() == 0 and stage.word("rtmr_lock") == HP
    reporting.step()
    assert stage.word("rtmr_lock") == 4 | HP             # in, over the host's head
    assert host.call("tdh_servtd_bind") == 0 and stage.word("rtmr_lock") == 4
    assert reporting.finish() == 0 and locks_of(stage) == {}


@pytest.mark.parametrize("release", ADDS)
def test_s8_a_reader_that_takes_back_what_an_exclusive_holder_has_wiped_out_halts_the_module(release):
    stage, extending, host = start("tdh_servtd_bind", release)
    reporting = stage.actor("vcpu1")
    extending.begin("tdg_mr_rtmr_extend").through(Op.HP_TAKE_EXCLUSIVE)
    assert host.call("tdh_servtd_bind") == RTMR_BUSY
    reporting.begin("tdg_mr_report").through(Op.ADD)
    assert extending.finish() == 0
    assert reporting.finish() == RTMR_BUSY
    assert stage.word("rtmr_lock") == 0xFFFE
    host.begin("tdh_servtd_bind")
    with pytest.raises(AssertionError):
        host.finish()


@pytest.mark.parametrize("release", LOOKS)
def test_n5_and_n7_a_reader_that_looks_first_leaves_no_trace_that_outlives_the_holder(release):
    stage, extending, host = start("tdh_servtd_bind", release)
    reporting = stage.actor("vcpu1")
    extending.begin("tdg_mr_rtmr_extend").through(Op.HP_TAKE_EXCLUSIVE)
    assert reporting.call("tdg_mr_report") == RTMR_BUSY and stage.word("rtmr_lock") == 5
    assert host.call("tdh_servtd_bind") == RTMR_BUSY and stage.word("rtmr_lock") == 0xB
    assert reporting.call("tdg_mr_report") == RTMR_BUSY and stage.word("rtmr_lock") == 0xB
    assert extending.finish() == 0 and stage.word("rtmr_lock") == HP
    assert host.call("tdh_servtd_bind") == 0 and locks_of(stage) == {}


@pytest.mark.parametrize("call, times_out", [("tdg_mr_rtmr_extend", True), ("tdg_mr_report", True),
                                             ("tdg_mr_key_get", False)])
def test_a_guest_that_is_refused_for_host_priority_for_too_long_leaves(call, times_out):
    """But for KEY.GET, which tells a plain BUSY whatever it was."""
    stage, vcpu, _ = start(call, "1.5.34")
    stage.set_word("rtmr_lock", HP)
    stage.overdue = 1
    assert vcpu.call(call) == RTMR_BUSY                  # the first refusal starts the clock
    assert vcpu.call(call) == (status("TDX_HOST_PRIORITY_BUSY_TIMEOUT") if times_out else RTMR_BUSY)
    assert stage.word("rtmr_lock") == HP


def test_a_report_is_made_again_after_an_interrupt():
    stage, vcpu, _ = start("tdg_mr_report")
    stage.set_word("kick", INTERRUPT, width=64)
    assert vcpu.call("tdg_mr_report") == EXIT_REASON_EXTERNAL_INTERRUPT and locks_of(stage) == {}


# --- service TDs ---

@pytest.mark.parametrize("release", NAMES)
def test_n24_host_priority_on_the_targets_op_state_ends_a_service_tds_call_as_a_td_exit(release):
    stage, vcpu, _ = start("tdg_servtd_rd", release)
    stage.set_word("op_state_lock", HP)                  # a host has failed, and not come back
    assert vcpu.call("tdg_servtd_rd") == status("TDX_CROSS_TD_TRAP")
    assert stage.word("op_state_lock") == HP
    stage.set_word("op_state_lock", 1)
    assert vcpu.call("tdg_servtd_rd") == status("TDX_OPERAND_BUSY", "OP_STATE")
    assert stage.word("op_state_lock") == 5
    stage.set_word("op_state_lock", 0)
    stage.set_word("pamt_4k.control", HP)                # of the TDR the guest gets both, up to 1.5.13 its TD exits
    exits = release in ("1.5.01", "1.5.05", "1.5.13")
    assert vcpu.call("tdg_servtd_rd") == (status("TDX_CROSS_TD_TRAP") if exits else status("TDX_OPERAND_BUSY", "TDR"))
    assert stage.word("pamt_4k.control") == HP
    stage.set_word("pamt_4k.control", 1)
    assert vcpu.call("tdg_servtd_rd") == status("TDX_OPERAND_BUSY", "TDR")
    stage.set_word("servtd_bindings_lock", HP)
    stage.set_word("pamt_4k.control", 0)
    assert vcpu.call("tdg_servtd_rd") == status("TDX_OPERAND_BUSY", "SERVTD_BINDINGS")
    stage.set_word("servtd_bindings_lock", 0)
    assert vcpu.call("tdg_servtd_rd") == 0 and locks_of(stage) == {}


def test_what_is_wrong_with_the_target_is_the_hosts_affair():
    for word, value in (("servtd_binding", PRE_BOUND), ("tdr_state", 0), ("pamt_4k.control", 0)):
        stage, vcpu, _ = start("tdg_servtd_wr")
        stage.set_word(word, value, width=64)
        assert vcpu.call("tdg_servtd_wr") == status("TDX_CROSS_TD_TRAP"), word
        assert locks_of(stage) == {}
    stage, vcpu, _ = start("tdg_servtd_wr")
    stage.set_word("op_state", 4, width=64)              # paused: it may be read, and not written
    assert vcpu.call("tdg_servtd_wr") == status("TDX_CROSS_TD_TRAP") and vcpu.call("tdg_servtd_rd") == 0


def test_a_slot_is_prebound_bound_and_bound_again():
    stage, _, host = start("tdh_servtd_prebind")
    assert host.call("tdh_servtd_prebind") == 0 and stage.word("servtd_binding", width=64) == PRE_BOUND
    stage.set_word("op_state", 2, width=64)
    assert host.call("tdh_servtd_bind") == 0 and stage.word("servtd_binding", width=64) == BOUND
    assert host.call("tdh_servtd_bind") == 0
    stage.set_word("op_state", 1, width=64)
    assert host.call("tdh_servtd_prebind") == status("TDX_SERVTD_BOUND")
    stage.set_word("servtd_binding", NOT_BOUND, width=64)
    stage.set_word("op_state", 2, width=64)              # a first binding only until the target is finalized
    assert host.call("tdh_servtd_bind") == status("TDX_OP_STATE_INCORRECT")
    stage.set_word("service_op_state", 1, width=64)
    assert host.call("tdh_servtd_bind") == status("TDX_OP_STATE_INCORRECT") and locks_of(stage) == {}


# --- the module itself ---

def test_the_module_is_initialized_step_by_step():
    stage, _, first = start("tdh_sys_init")
    second, third = stage.actor("host1"), stage.actor("host2")
    everybody = [stage.actor(name) for name in ("vcpu0", "vcpu1")] + [first, second, third]
    for number in range(len(everybody)):
        stage.set_word("lp_pending", 1, number, width=64)
    stage.set_word("package_pending", 1, width=64)
    assert first.call("tdh_sys_lp_init") == status("TDX_SYS_LP_INIT_NOT_PENDING")
    assert first.call("tdh_sys_init") == 0
    assert first.call("tdh_sys_init") == status("TDX_SYS_INIT_NOT_PENDING")
    for actor in everybody[:-1]:
        assert actor.call("tdh_sys_lp_init") == 0
    assert first.call("tdh_sys_lp_init") == status("TDX_SYS_LP_INIT_DONE")
    assert first.call("tdh_sys_config") == status("TDX_SYS_CONFIG_NOT_PENDING")
    assert first.call("tdh_sys_update") == status("TDX_SYS_STATE_INCORRECT")
    assert third.call("tdh_sys_lp_init") == 0
    assert first.call("tdh_sys_key_config") == status("TDX_SYS_KEY_CONFIG_NOT_PENDING")
    assert first.call("tdh_sys_config") == 0 and stage.word("sys_state", width=64) == SYS_CONFIG_DONE
    assert first.call("tdh_sys_shutdown") == status("TDX_SYS_NOT_READY")
    assert first.call("tdh_sys_key_config") == 0 and stage.word("sys_state", width=64) == SYS_READY
    stage.memory.set_word(stage.layout.at("tdmr") + TDMR_PENDING, 1, 8)
    assert first.call("tdh_sys_tdmr_init") == 0
    assert first.call("tdh_sys_tdmr_init") == status("TDX_TDMR_ALREADY_INITIALIZED")
    assert first.call("tdh_sys_shutdown") == 0 and stage.word("sys_state", width=64) == SYS_SHUTDOWN
    stage.set_word("sys_state", SYS_INIT_DONE, width=64)         # the module that is loaded then
    assert first.call("tdh_sys_update") == 0 and stage.word("sys_state", width=64) == SYS_READY
    assert locks_of(stage) == {}


def test_processors_are_initialized_at_the_same_time_and_packages_exclude_each_other():
    stage, _, first = start("tdh_sys_lp_init")
    second = stage.actor("host1")
    first.begin("tdh_sys_lp_init").through(Op.SHAREX_TAKE_SHARED)
    assert second.call("tdh_sys_lp_init") == 0 and first.finish() == 0
    ready(stage, "tdh_sys_key_config", 0)
    first.begin("tdh_sys_key_config").through(Op.SHAREX_TAKE_EXCLUSIVE)
    assert second.call("tdh_sys_key_config") == status("TDX_SYS_BUSY")
    assert second.call("tdh_sys_lp_init") == status("TDX_SYS_BUSY") and stage.word("global_lock") == 3
    assert first.finish() == 0 and stage.word("global_lock") == 0        # what has failed is wiped out


def test_a_key_is_made_once_on_a_package():
    stage, _, first = start("tdh_sys_key_config")
    stage.set_word("package_pending", 0, width=64)
    assert first.call("tdh_sys_key_config") == status("TDX_KEY_CONFIGURED")


# --- memory of devices ---

@pytest.mark.parametrize("release", CONNECT)
def test_a_page_of_a_device_is_mapped_accepted_blocked_and_unmapped(release):
    stage, vcpu, host = start("tdh_mmio_map", release)
    mapped = stage.layout.at("mmiomt") + MMIOMT_MAPPED
    assert host.call("tdh_mmio_map", PAGE) == 0
    assert stage.entry(PAGE) == stage.as_state("MMIO_PENDING", PAGE) and stage.memory.word(mapped, 8) == 1
    assert host.call("tdh_mmio_map", PAGE + 1) == status("TDX_MMIO_INVALID_PAGE_METADATA", "RCX")
    assert vcpu.call("tdg_tdi_mmio_accept", PAGE) == 0 and stage.entry(PAGE) == stage.as_state("MMIO_MAPPED", PAGE)
    assert vcpu.call("tdg_tdi_mmio_accept", PAGE) == EXIT_REASON_EPT_VIOLATION
    assert host.call("tdh_mmio_block", PAGE) == 0 and stage.entry(PAGE) == stage.as_state("MMIO_BLOCKED", PAGE)
    assert host.call("tdh_mmio_unmap", PAGE) == status("TDX_TLB_TRACKING_NOT_DONE", "RCX")
    assert host.call("tdh_mem_track") == 0 and host.call("tdh_mmio_unmap", PAGE) == 0
    assert stage.entry(PAGE) == STATE["FREE"].word() and stage.memory.word(mapped, 8) == 0
    assert host.call("tdh_mem_sept_rd", PAGE) == 0 and locks_of(stage) == {}


@pytest.mark.parametrize("release", CONNECT)
def test_n14_accept_of_a_device_keeps_what_it_saw_on_its_walk(release):
    """The race that ACCEPT of memory has lost with 1.5.28 lives on here."""
    stage, vcpu, host = start("tdh_mmio_map", release)
    vcpu.begin("tdg_tdi_mmio_accept", PAGE).before(Op.ENTRY_TAKE)
    assert host.call("tdh_mmio_map", PAGE) == 0
    assert vcpu.finish() == status("TDX_MMIO_ACCEPT_SIZE_MISMATCH", 0)
    assert stage.entry(PAGE) == stage.as_state("MMIO_PENDING", PAGE)
    assert vcpu.call("tdg_tdi_mmio_accept", PAGE) == 0


@pytest.mark.parametrize("release", CONNECT)
def test_n15_mapping_a_device_loses_host_priority(release):
    stage, vcpu, host = start("tdh_mmio_map", release)
    host.begin("tdh_mmio_map", PAGE).through(Op.ENTRY_CLEAR_PRIORITY)
    assert stage.actor("host1").call("tdh_mem_sept_rd", PAGE) == status("TDX_OPERAND_BUSY", "RCX")
    assert stage.entry(PAGE) == STATE["FREE"].word(lock=True, priority=True)
    assert host.finish() == 0 and stage.entry(PAGE) == stage.as_state("MMIO_PENDING", PAGE)
    assert status_name(vcpu.call("tdg_tdi_mmio_accept", PAGE)) == "TDX_SUCCESS"
