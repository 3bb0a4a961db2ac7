"""What is there several times: keys and caches of each package, TDCX pages of a TD and of a vCPU."""

import pytest

from harness.memory.layout import TDR_LIFECYCLE, TDVPS_TDCX
from harness.protocol.releases import BY_NAME
from harness.protocol.seamcalls import by_name
from kernels.ops import Register as R
from kernels.words import (
    HKID_FLUSHED, HKID_FREE, TD_HKID_ASSIGNED, TD_KEYS_CONFIGURED, TDCS_PAGES, TDCS_PAGES_MAX, TDVPS_PAGES, TDVPS_PAGES_MAX,
    status_name,
)
from tests.protocol.alone import Try
from tests.protocol.test_allowed import OP_STATES
from tests.protocol.test_seamcalls import locks_of
from tests.ready import levels, ready, vcpu_word
from tests.stage import Stage

# --- several packages ---

def test_every_package_configures_its_key_and_writes_its_caches_back():
    stage = Stage(packages=3)
    stage.set_lifecycle(TD_HKID_ASSIGNED)
    stage.set_word("keys", 0, width=64)
    hosts = [stage.actor(f"host{number}") for number in range(3)]         # vcpu0 and vcpu1 are on the first two
    assert [int(host.registers[R.PACKAGE]) for host in hosts] == [2, 0, 1]
    for number, host in enumerate(hosts):
        assert host.call("tdh_mng_key_config") == 0
        lifecycle = stage.word("tdr_state", width=64) >> 8 * TDR_LIFECYCLE & 0xFF
        assert lifecycle == (TD_KEYS_CONFIGURED if number == 2 else TD_HKID_ASSIGNED)
    assert stage.word("keys", width=64) == 0x01_0101
    assert hosts[0].call("tdh_mng_vpflushdone") == 0
    assert stage.word("kot", width=64) == HKID_FLUSHED | 0x01_0101_00
    for left, host in zip((0x00_0101_00, 0x00_0100_00, 0), hosts):
        assert status_name(hosts[0].call("tdh_mng_key_freeid")) == "TDX_WBCACHE_NOT_COMPLETE"
        assert host.call("tdh_phymem_cache_wb") == 0
        assert stage.word("kot", width=64) == HKID_FLUSHED | left
    assert hosts[0].call("tdh_mng_key_freeid") == 0
    assert stage.word("kot", width=64) == HKID_FREE


@pytest.mark.parametrize("release", ["1.5.05", "1.5.34"])
def test_a_write_back_that_is_interrupted_and_resumed_is_about_what_was_flushed_when_it_began(release):
    stage = Stage(release=release, packages=2)
    hosts = {int(host.registers[R.PACKAGE]): host for host in (stage.actor("host0"), stage.actor("host1"))}
    stage.set_word("kot", HKID_FLUSHED | 0x01_00_00, width=64)       # package 0 has written back already
    stage.set_word("host_interrupt", 1, 0, width=64)
    stage.set_word("host_interrupt", 1, 1, width=64)
    assert status_name(hosts[0].call("tdh_phymem_cache_wb")) == "TDX_INTERRUPTED_RESUMABLE"
    assert stage.word("kot", width=64) == HKID_FLUSHED | 0x01_00_00
    assert status_name(hosts[1].call("tdh_phymem_cache_wb")) == "TDX_INTERRUPTED_RESUMABLE"
    assert stage.word("kot", width=64) == HKID_FLUSHED | 0x02_00_00
    stage.set_word("kot", HKID_FLUSHED | 0x02_01_00, width=64)       # and is to do so again
    assert hosts[0].call("tdh_phymem_cache_wb_resume") == 0
    assert stage.word("kot", width=64) == HKID_FLUSHED | 0x02_01_00
    assert hosts[1].call("tdh_phymem_cache_wb_resume") == 0
    assert stage.word("kot", width=64) == HKID_FLUSHED | 0x01_00
    assert status_name(hosts[1].call("tdh_phymem_cache_wb_resume")) == "TDX_WBCACHE_RESUME_ERROR"


@pytest.mark.parametrize("release", ["1.5.05", "1.5.34"])
def test_a_key_that_is_flushed_while_a_package_writes_back_is_still_to_be_written_back(release):
    stage = Stage(release=release)
    stage.set_word("kot", HKID_FLUSHED | 0x01_00, width=64)
    host = stage.actor("host0").begin("tdh_phymem_cache_wb")
    while host.row.text != "interrupt pending?":
        host.step()
    assert stage.word("kot", width=64) == HKID_FLUSHED | 0x02_00
    stage.set_word("kot", HKID_FLUSHED | 0x01_00, width=64)
    assert host.finish() == 0 and stage.word("kot", width=64) == HKID_FLUSHED | 0x01_00


# --- a key on each package ---

@pytest.mark.parametrize("release", ["1.5.05", "1.5.34"])
def test_each_package_gets_the_key_once_and_the_last_one_configures_the_td(release):
    """Each host works for the package of its processor; which comes first does not matter."""
    for first, second in ((0, 1), (1, 0)):
        stage = Stage(release=release, packages=2)
        ready(stage, "tdh_mng_key_config", 0)
        stage.set_word("keys", 0, width=64)
        hosts = [stage.actor("host0"), stage.actor("host1")]
        assert {int(host.registers[R.PACKAGE]) for host in hosts} == {0, 1}
        hosts.sort(key=lambda host: int(host.registers[R.PACKAGE]))
        assert status_name(hosts[first].call("tdh_mng_key_config")) == "TDX_SUCCESS"
        assert stage.word("keys", width=64) == 1 << 8 * first
        assert stage.word("tdr_state", width=64) >> 8 * TDR_LIFECYCLE & 0xFF == TD_HKID_ASSIGNED
        assert status_name(hosts[first].call("tdh_mng_key_config")) == "TDX_KEY_CONFIGURED"
        assert status_name(hosts[second].call("tdh_mng_key_config")) == "TDX_SUCCESS"
        assert stage.word("keys", width=64) == 1 | 1 << 8
        assert stage.word("tdr_state", width=64) >> 8 * TDR_LIFECYCLE & 0xFF == TD_KEYS_CONFIGURED
        assert locks_of(stage) == {}


# --- counts of TDCX pages ---

def test_a_vcpu_takes_tdcx_pages_until_it_has_all():
    for tdcx in range(TDVPS_PAGES_MAX):
        stage = Stage()
        page = ready(stage, "tdh_vp_addcx", "tdcx")
        vcpu_word(stage, TDVPS_TDCX, tdcx, 8)
        answer = status_name(stage.actor("vcpu0").call("tdh_vp_addcx", page, "tdcx"))
        assert answer == ("TDX_TDCX_NUM_INCORRECT" if tdcx == TDVPS_PAGES_MAX - 1 else "TDX_SUCCESS")
        assert stage.memory.word(stage.layout.at("tdvps") + TDVPS_TDCX, 8) == min(tdcx + 1, TDVPS_PAGES_MAX - 1)


# --- TDCX pages ---

@pytest.mark.parametrize("release", ["1.5.05", "1.5.34"])
@pytest.mark.parametrize("call", OP_STATES)
def test_a_td_may_have_more_tdcx_pages_than_it_needs(release, call):
    for count in range(TDCS_PAGES + 1, TDCS_PAGES_MAX + 1):
        tried = Try(release, call, levels(by_name(BY_NAME[release])[call])[0])
        tried.set("num_tdcx", count)
        assert tried.run()[1] == "TDX_SUCCESS", count


@pytest.mark.parametrize("release", ["1.5.05", "1.5.34"])
def test_a_vcpu_of_any_number_of_tdcx_pages_can_be_flushed(release):
    """VP.FLUSH asks for as many as ENTER does, and refuses no more than those."""
    for count in range(TDVPS_PAGES_MAX):
        tried = Try(release, "tdh_vp_flush", 0)
        tried.set("tdcx", count)
        enough = TDVPS_PAGES - 1 <= count
        assert (tried.run()[1] == "TDX_SUCCESS") == enough, count


# --- vCPUs ---

def test_one_vcpu_is_enough_to_finalize_a_td():
    for vcpus in (1, 2, 3):
        stage = Stage()
        ready(stage, "tdh_mr_finalize", 0)
        stage.set_word("num_vcpus", vcpus, width=64)
        assert stage.actor("host0").call("tdh_mr_finalize") == 0
