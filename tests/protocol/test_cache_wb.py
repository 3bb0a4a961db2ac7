"""TDH.PHYMEM.CACHE.WB: it writes back the keys that were flushed, and goes on behind an interrupt."""

import itertools

import pytest

from harness.memory.layout import KOT_PACKAGES
from kernels.words import HKID_ASSIGNED, HKID_FLUSHED, HKID_FREE, status_name
from tests.protocol.test_seamcalls import locks_of
from tests.stage import Stage


def flushed(stage, package_byte=1) -> None:
    stage.set_word("kot", HKID_FLUSHED | package_byte << 8 * KOT_PACKAGES, width=64)


def left_to_write_back(stage) -> int:
    return stage.memory.word(stage.layout.at("kot") + KOT_PACKAGES, 8)


@pytest.mark.parametrize("state", [HKID_FREE, HKID_ASSIGNED])
def test_with_nothing_flushed_there_are_no_caches_to_write_back(state):
    stage = Stage()
    stage.set_word("kot", state, width=64)
    assert status_name(stage.actor("host0").call("tdh_phymem_cache_wb")) == "TDX_NO_HKID_READY_TO_WBCACHE"
    assert locks_of(stage) == {}


def test_an_interrupt_ends_a_write_back_with_both_locks_dropped_and_it_is_resumed():
    stage = Stage()
    flushed(stage)
    host = stage.actor("host0")
    stage.set_word("host_interrupt", 1, width=64)
    assert status_name(host.call("tdh_phymem_cache_wb")) == "TDX_INTERRUPTED_RESUMABLE"
    assert locks_of(stage) == {} and left_to_write_back(stage)
    stage.set_word("host_interrupt", 0, width=64)
    assert status_name(host.call("tdh_phymem_cache_wb_resume")) == "TDX_SUCCESS"
    assert not left_to_write_back(stage)
    assert status_name(host.call("tdh_phymem_cache_wb_resume")) == "TDX_WBCACHE_RESUME_ERROR"


TO_DO, DONE_HERE, RUNNING = HKID_FLUSHED | 1 << 8 * KOT_PACKAGES, HKID_FLUSHED, HKID_ASSIGNED


def test_the_keys_that_were_flushed_are_written_back_and_no_others():
    """KOT entries of three TDs: each of which this package has still to write back; at once, and after an interrupt."""
    stage = Stage(tds=3)
    host, places = stage.actor("host0"), [stage.layout.at("kot", number) for number in range(3)]
    for keys in itertools.product((TO_DO, DONE_HERE, RUNNING), repeat=3):
        any_flushed = {TO_DO, DONE_HERE} & set(keys)        # by whichever package: this one may have written back
        for interrupted in (False, True):
            for place, key in zip(places, keys):
                stage.memory.set_word(place, key)
            stage.set_word("host_interrupt", int(interrupted), width=64)
            ends = "TDX_INTERRUPTED_RESUMABLE" if interrupted else "TDX_SUCCESS"
            assert status_name(host.call("tdh_phymem_cache_wb")) == (ends if any_flushed else "TDX_NO_HKID_READY_TO_WBCACHE")
            ends = "TDX_SUCCESS" if interrupted and any_flushed else "TDX_WBCACHE_RESUME_ERROR"
            assert status_name(host.call("tdh_phymem_cache_wb_resume")) == ends
            assert [stage.memory.word(place) for place in places] == [DONE_HERE if key == TO_DO else key for key in keys]


def test_what_was_flushed_after_a_write_back_began_is_not_written_back_by_it():
    stage = Stage()
    flushed(stage)
    host = stage.actor("host0")
    stage.set_word("host_interrupt", 1, width=64)
    host.call("tdh_phymem_cache_wb")
    flushed(stage)                                       # anew: by a VPFLUSHDONE in between
    assert status_name(host.call("tdh_phymem_cache_wb_resume")) == "TDX_SUCCESS"
    assert left_to_write_back(stage)
    stage.set_word("host_interrupt", 0, width=64)
    assert status_name(host.call("tdh_phymem_cache_wb")) == "TDX_SUCCESS"
    assert not left_to_write_back(stage)


def test_a_new_write_back_forgets_the_one_that_was_interrupted():
    stage = Stage()
    flushed(stage)
    host = stage.actor("host0")
    stage.set_word("host_interrupt", 1, width=64)
    host.call("tdh_phymem_cache_wb")
    stage.set_word("host_interrupt", 0, width=64)
    assert status_name(host.call("tdh_phymem_cache_wb")) == "TDX_SUCCESS"
    assert status_name(host.call("tdh_phymem_cache_wb_resume")) == "TDX_WBCACHE_RESUME_ERROR"
