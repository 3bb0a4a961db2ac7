"""The module's calls under the names, with the arguments and by the macro of the kernel."""

import pytest

from harness.engines.explore import search
from harness.errors import UsageError
from harness.experiment import litmus
from harness.experiment.scenario import calls_of
from harness.protocol.litmus import tdx
from harness.results.litmus import judge


def test_of(text: str, init: str = "module = 1.5.24;"):
    return litmus.parse(f"C t\n{{ {init} }}\n{text}\n", "t")


test_of.__test__ = False         # no test of its own


def entry_after(call: str, entry: str, init: str) -> set[str]:
    test = test_of(f"P0() {{ u64 err = {call}; }}\nlocations [{entry}]\nforall (true)", init)
    return {ending.words[0] for ending in search.run(test).endings}


@pytest.mark.parametrize("level, blocked", [("0", True), ("TDX_PS_4K", True), ("PG_LEVEL_4K", True), ("pg_level_to_tdx_sept_level(PG_LEVEL_4K)", True),
                                            ("TDX_PS_2M", False), ("PG_LEVEL_2M", False), ("1", False)])
def test_a_level_of_the_kernels_is_told_from_one_of_the_modules(level, blocked):
    """PG_LEVEL_4K is 1, which is the module's 2 MiB: as an argument it says which of the two it is."""
    assert entry_after(f"tdh_mem_range_block(td, 0x3000, {level}, NULL, NULL)", "sept[3]", "module = 1.5.24; page 3 = MAPPED;") == {
        "BLOCKED" if blocked else "MAPPED"}


def test_a_level_keeps_its_kind_through_a_helper_and_a_local():
    text = ("static u64 block(gpa_t gpa, enum pg_level level) { return tdh_mem_range_block(td, gpa, level, NULL, NULL); }\n"
            "P0() { enum pg_level level = PG_LEVEL_4K; u64 err = block(0x3000, level); }\nlocations [sept[3]]\nforall (true)")
    assert {ending.words[0] for ending in search.run(test_of(text, "module = 1.5.24; page 3 = MAPPED;")).endings} == {"BLOCKED"}


def calls(text: str, init: str = "module = 1.5.24;") -> set[str]:
    return set(test_of(text, init).program.calls)


@pytest.mark.parametrize("called, row", [
    ("tdh_mng_addcx(td, 3)", "tdh_mng_add_cx"), ("tdh_mng_rd(td, field, &data)", "tdh_mng_rdwr"), ("tdh_vp_rd(vp, field, &data)", "tdh_vp_rd_wr"),
    ("tdh_vp_wr(vp, field, data, mask)", "tdh_vp_rd_wr"), ("tdh_phymem_page_wbinvd_hkid(hkid, 3)", "tdh_phymem_page_wbinvd"),
    ("tdh_vp_init(vp, 0)", "tdh_vp_init"), ("tdh_vp_init(vp, 0, 1)", "tdh_vp_init_apicid"),
    ("tdh_do_no_vcpus(tdh_mem_track, kvm, td)", "tdh_mem_track")])
def test_a_wrapper_of_the_kernels_makes_its_call(called, row):
    assert calls(f"P0() {{ u64 err = {called}; }}\nforall (true)") == {row}


def arguments(name: str, row) -> str:
    """As the kernel's wrapper has them."""
    if name in tdx.ABOUT_PAGES:
        return "3, pt" if name in tdx.PAGE_FIRST else "td, 3"
    if not tdx.about_entry(name):
        return "td"
    return ("0x0, " if name.startswith("tdg_") else "td, 0x0, ") + str(row.levels[0])


@pytest.mark.slow
@pytest.mark.parametrize("module", ["1.5.05", "2.0.18"])
def test_every_call_of_the_table_is_a_function(module):
    made = {name: arguments(name, row) for name, row in calls_of(module).items()}
    text = "".join(f" err = {name}({given});" for name, given in made.items())
    assert set(test_of(f"P0() {{ u64 err, pt;{text} }}\nforall (true)", f"module = {module};").program.calls) == set(made)
    assert len(made) >= 70


def reclaimed(page: int, typed: int) -> set[tuple[str, ...]]:
    """What TDH.PHYMEM.PAGE.RECLAIM of a page answers, if another one, or this, has a type."""
    text = f"P0() {{ u64 pt, owner, size, err = tdh_phymem_page_reclaim({page}, &pt, &owner, &size); }}\nlocations [0:err]\nforall (true)"
    return {ending.words for ending in search.run(test_of(text, f'module = 1.5.24; word "pamt_4k.data {typed} type" = 3;')).endings}


def test_a_page_is_reclaimed_by_its_own_number():
    """The page is the first argument of tdh_phymem_page_reclaim; where its type goes is the second."""
    assert reclaimed(3, typed=3) == reclaimed(4, typed=4) != reclaimed(3, typed=4) == reclaimed(4, typed=3)


MISTAKES = {
    "tdh_phymem_page_reclaim(&page, 0)": "`page` is not declared", "tdh_phymem_page_reclaim(0x3000)": "3:42: 0x3000: must be the number of a page",
    "tdh_mng_addcx(td)": "`td` is not declared", "tdh_do_no_vcpus(tdh_mem_trak, kvm, td)": "takes one of the module's calls first; did you mean tdh_mem_track?",
    "tdh_do_no_vcpus(tdh_mem_range_block, kvm, td)": "takes the address of a guest page", "tdh_mem_page_aug(td, 0x3000, PG_LEVEL_1G)": "level 2: tdh_mem_page_aug takes 0, 1",
}


@pytest.mark.parametrize("call", MISTAKES)
def test_what_a_call_cannot_be_given_has_its_place(call):
    with pytest.raises(UsageError) as mistake:
        assert test_of(f"P0() {{ u64 err = {call}; }}\nforall (true)").program
    assert str(mistake.value).startswith("t:3:") and MISTAKES[call] in str(mistake.value), mistake.value


NO_VCPUS = """P0(rwlock_t *mmu_lock)
{
\tu64 err;

\tguard(write_lock)(mmu_lock);
\terr = tdh_do_no_vcpus(tdh_mem_range_block, kvm, &kvm_tdx->td, 0x3000, PG_LEVEL_4K, &entry, &level_state);
}
P1(int *wait_for_sept_zap)
{
\tu64 got;

\tif (!enter_guest_mode())
\t\treturn;
\tif (!READ_ONCE(*wait_for_sept_zap) && !tdh_vp_enter(vp)) {
\t\tgot = tdg_mem_page_accept(0x3000, 0);
\t\ttd_exit();
\t}
\tleave_guest_mode();
}
exists (0:err=TDX_OPERAND_BUSY)"""


def searched(text: str) -> tuple[int, set[str]]:
    test = test_of(text, "module = 1.5.05; page 3 = PENDING; rwlock_t mmu_lock; int wait_for_sept_zap;")
    found = search.run(test)
    return judge(test, found.endings).hits, set(found.violations)


def test_the_macro_tries_again_with_nobody_in_the_guest():
    assert searched(NO_VCPUS) == (0, set())
    once = NO_VCPUS.replace("tdh_do_no_vcpus(tdh_mem_range_block, kvm, &kvm_tdx->td,", "tdh_mem_range_block(&kvm_tdx->td,")
    assert searched(once)[0] > 0


def test_the_macro_wants_mmu_lock_for_write():
    assert searched(NO_VCPUS.replace("write_lock", "read_lock"))[1] == {"lockdep"}
