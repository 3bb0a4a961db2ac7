"""Calls on a page of any kind, when it is a large one: found by its 2M or 1G entry, counted in pages of 4 KiB."""

import pytest

from harness.memory.layout import PAMT_TYPE
from kernels.epoch import epoch_word
from kernels.locks import EXCLUSIVE
from kernels.ops import Op
from kernels.words import HP, PT_EPT, PT_NDA, PT_REG, PT_RSVD, STATE, TD_TEARDOWN, status, status_name

from tests.accesses import recorded
from tests.by_release import DIFFER
from tests.stage import Stage

LARGE = {"2m": 1, "1g": 2}
RELEASES = [release for release in DIFFER if release != "report-2024"]
sizes = pytest.mark.parametrize("size", LARGE)
releases = pytest.mark.parametrize("release", RELEASES)


def torn_down(release, size, page_type=PT_REG):
    stage = Stage(release=release)
    stage.set_lifecycle(TD_TEARDOWN)
    stage.set_type("data", 0, page_type, size)
    stage.set_word("chldcnt", 1 << 30, width=64)
    return stage


@releases
@sizes
def test_a_large_page_that_is_reclaimed_is_counted_in_pages_of_4_kib(release, size):
    stage = torn_down(release, size)
    assert stage.actor("host0").call("tdh_phymem_page_reclaim", 0, "data") == 0
    assert stage.type_of("data", 0, size) == PT_NDA
    assert stage.word("chldcnt", width=64) == (1 << 30) - 512 ** LARGE[size]
    for each in ("4k", "2m", "1g"):
        assert stage.word(f"pamt_{each}.data") == 0          # nothing is left held


@releases
@sizes
def test_only_its_first_page_names_a_large_one(release, size):
    stage = torn_down(release, size)
    before = stage.snapshot()
    assert stage.actor("host0").call("tdh_phymem_page_reclaim", 5, "data") == status("TDX_OPERAND_INVALID", "RCX")
    assert stage.snapshot() == before


@releases
@sizes
def test_a_large_page_that_is_held_is_busy_and_a_host_asks_for_priority_on_it(release, size):
    stage = torn_down(release, size)
    stage.set_word(f"pamt_{size}.data", EXCLUSIVE)
    before = stage.type_of("data", 0, size), stage.word("chldcnt", width=64)
    assert stage.actor("host0").call("tdh_phymem_page_reclaim", 0, "data") == status("TDX_OPERAND_BUSY", "RCX")
    assert (stage.type_of("data", 0, size), stage.word("chldcnt", width=64)) == before
    assert stage.word(f"pamt_{size}.data") & 3 == EXCLUSIVE | 2           # (a lost try to share leaves its count)
    for each in ("2m", "1g"):
        if each != size:
            assert stage.word(f"pamt_{each}.data") == 0


@releases
@pytest.mark.parametrize("call", ["tdh_phymem_page_reclaim", "tdh_phymem_page_wbinvd"])
@sizes
def test_a_busy_tdr_or_a_page_in_use_leaves_a_large_page_as_it_is(release, size, call):
    stage = torn_down(release, size)
    if call == "tdh_phymem_page_reclaim":
        stage.set_word("pamt_4k.control", EXCLUSIVE)     # the TDR
        answer = status("TDX_OPERAND_BUSY", "TDR")
    else:
        answer = status("TDX_PAGE_METADATA_INCORRECT", "RCX")
    words = {each: stage.word(f"pamt_{each}.data") for each in ("4k", "2m", "1g")}
    assert status_name(stage.actor("host0").call(call, 0, "data")) == status_name(answer)
    assert stage.type_of("data", 0, size) == PT_REG and stage.word("chldcnt", width=64) == 1 << 30
    assert {each: stage.word(f"pamt_{each}.data") for each in words} == words


@releases
@pytest.mark.parametrize("call", ["tdh_phymem_page_wbinvd", "tdh_phymem_page_rdmd"])
@sizes
def test_a_page_of_whatever_type_is_looked_at_by_the_entry_of_its_own_size(release, size, call):
    """No 2 MiB or 1 GiB entry but one that says that nothing is there lets the walk go on below it."""
    for kind in (1, 2, 3, 4, 8, 16, 32, 64, 128):
        stage = torn_down(release, size, kind)
        answer = stage.actor("host0").call(call, 0, "data")
        free = "TDX_PAGE_METADATA_INCORRECT|RCX" if call == "tdh_phymem_page_wbinvd" else "TDX_SUCCESS"
        assert status_name(answer) == free, kind
        below = ("1g", "2m", "4k")[("1g", "2m").index(size) + 1:]
        for each in below:                               # another actor has it: the call does not see it
            stage.set_word(f"pamt_{each}.data", EXCLUSIVE)
        assert status_name(stage.actor("host0").call(call, 0, "data")) == free, kind
        stage.set_word(f"pamt_{size}.data", EXCLUSIVE)
        assert status_name(stage.actor("host0").call(call, 0, "data")) == "TDX_OPERAND_BUSY|RCX", kind


@releases
@sizes
def test_the_type_that_rdmd_answers_is_that_of_the_large_page(release, size):
    stage = torn_down(release, size)
    host = stage.actor("host0").begin("tdh_phymem_page_rdmd", 0, "data")
    loads = [access.offset for access in recorded(host) if access.verb == "load"]
    assert loads[-1] == stage.layout.at(f"pamt_{size}.data") + PAMT_TYPE
    assert loads.count(loads[-1]) == 2 and host.status == 0          # it is looked for, and then read


@releases
@sizes
def test_a_large_page_that_nothing_owns_is_written_back(release, size):
    """Its entry is reserved for nobody; the answer of the call before it is not left."""
    stage = torn_down(release, size, PT_NDA)
    stage.set_word("pamt_4k.data", EXCLUSIVE)
    assert status_name(stage.actor("host0").call("tdh_phymem_page_wbinvd", 0, "data")) == "TDX_OPERAND_BUSY|RCX"


@releases
@sizes
def test_a_large_page_of_a_type_that_is_not_reclaimed_says_so(release, size):
    stage = torn_down(release, size, PT_RSVD)
    assert status_name(stage.actor("host0").call("tdh_phymem_page_reclaim", 0, "data")) == "TDX_PAGE_METADATA_INCORRECT|RCX"
    for each in ("4k", "2m", "1g"):
        assert stage.word(f"pamt_{each}.data") == 0


@releases
@sizes
def test_a_large_page_is_taken_over_a_hosts_priority_or_lost_to_another_host(release, size):
    """The second try for a word that only a host's priority is left in; it clears the priority, or is BUSY."""
    word = f"pamt_{size}.data"
    for other in (False, True):
        stage = torn_down(release, size)
        host = stage.actor("host0").begin("tdh_phymem_page_reclaim", 0, "data").before(Op.HP_PROMOTE)
        stage.set_word(word, stage.word(word) | HP)
        host.step()
        assert host.row.op == Op.HP_PROMOTE_OVER_PRIORITY
        if other:
            stage.set_word(word, stage.word(word) + 4)               # another reader has come
        answer = status_name(host.finish())
        assert answer == ("TDX_OPERAND_BUSY|RCX" if other else "TDX_SUCCESS")
        assert stage.word(word) == (4 | HP if other else 0)


@releases
@sizes
def test_a_reader_who_has_come_meanwhile_keeps_a_large_page_and_a_host_asks_for_priority_on_it(release, size):
    word = f"pamt_{size}.data"
    stage = torn_down(release, size)
    host = stage.actor("host0").begin("tdh_phymem_page_reclaim", 0, "data").before(Op.HP_PROMOTE)
    stage.set_word(word, stage.word(word) + 4)
    assert status_name(host.finish()) == "TDX_OPERAND_BUSY|RCX"
    assert stage.word(word) == 4 | HP and stage.type_of("data", 0, size) == PT_REG


@releases
@sizes
def test_a_large_page_is_reclaimed_from_a_td_that_is_torn_down_only(release, size):
    for lifecycle in range(3):
        stage = torn_down(release, size)
        stage.set_lifecycle(lifecycle)
        before = stage.snapshot()
        assert status_name(stage.actor("host0").call("tdh_phymem_page_reclaim", 0, "data")) == "TDX_LIFECYCLE_STATE_INCORRECT"
        assert stage.snapshot() == before                # nothing is left held


@releases
@sizes
def test_a_tdr_is_busy_for_a_large_page_as_for_a_small_one(release, size):
    """Held exclusively: a host asks for priority; left with a host's priority only: that is cleared."""
    for word, answer, left in ((EXCLUSIVE, "TDX_OPERAND_BUSY|TDR", EXCLUSIVE | HP), (HP, "TDX_SUCCESS", 0)):
        stage = torn_down(release, size)
        stage.set_word("pamt_4k.control", word)
        before = stage.word("pamt_4k.control", 1)
        assert status_name(stage.actor("host0").call("tdh_phymem_page_reclaim", 0, "data")) == answer
        assert stage.word("pamt_4k.control") & 3 == left and stage.word("pamt_4k.control", 1) == before
        assert stage.word(f"pamt_{size}.data") == 0


@releases
@sizes
def test_an_exclusive_hold_of_a_large_page_that_has_gone_halts_the_module(release, size):
    stage = torn_down(release, size)
    stage.set_lifecycle(0)                               # so that what is held is given back
    host = stage.actor("host0").begin("tdh_phymem_page_reclaim", 0, "data").through(Op.HP_PROMOTE)
    stage.set_word(f"pamt_{size}.data", 0)
    host.before(Op.HALT)


def mapped_2m(release, number, state="MAPPED"):
    """A stage with a large page that is not the first, tracked."""
    stage = Stage(release=release)
    stage.map_page(512 * number, state, 1)
    stage.set_word("epoch", epoch_word(5), width=64)
    return stage


@releases
def test_the_second_large_page_is_split_into_its_own_parts(release):
    stage = mapped_2m(release, 1, "BLOCKED")
    assert stage.actor("host0").call("tdh_mem_page_demote", 512, 1) == 0
    assert [stage.type_of("data", number, "2m") for number in (0, 1)] == [PT_NDA, PT_NDA]
    assert [stage.type_of("data", part) for part in range(1024)] == [PT_NDA] * 512 + [PT_REG] * 512
    assert all(stage.entry(512 + part) == stage.as_state("MAPPED", 512 + part) for part in range(512))


def parts_of(release, number, hpa=lambda part: part):
    """A stage in which a large page can be made of 512 small ones."""
    stage = Stage(release=release)
    stage.build_tables(512 * number, 1)
    stage.set_entry(512 * number, "NL_BLOCKED", 1)
    stage.set_type("pt_pages", number, PT_EPT)
    for part in range(512):
        word = STATE["MAPPED"].word(stage.hpa(512 * number + hpa(part)), access=stage.release.access)
        stage.memory.set_word(stage.layout.at("sept.0", 512 * number + part), word)
        stage.set_type("data", 512 * number + hpa(part), PT_REG)
    stage.set_word("epoch", epoch_word(5), width=64)
    return stage


@releases
def test_the_second_large_page_is_made_of_its_own_parts(release):
    stage = parts_of(release, 1)
    assert stage.actor("host0").call("tdh_mem_page_promote", 512, 1) == 0
    assert [stage.type_of("data", number, "2m") for number in (0, 1)] == [PT_NDA, PT_REG]
    assert [stage.type_of("data", part) for part in range(1024)] == [PT_NDA] * 1024


@releases
def test_parts_that_follow_each_other_but_begin_nowhere_make_no_large_page(release):
    """The first must lie at a multiple of 2 MiB."""
    stage = parts_of(release, 0, hpa=lambda part: part + 1)
    before = stage.snapshot()
    assert not status_name(stage.actor("host0").call("tdh_mem_page_promote", 0, 1)).startswith(("TDX_SUCCESS", "TDX_OPERAND_BUSY"))
    assert stage.type_of("data", 0, "2m") == PT_NDA and stage.entry(0) == int.from_bytes(
        before[stage.layout.at("sept.0", 0) - stage.layout.td_start:][:8], "little")
