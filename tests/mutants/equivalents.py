"""Mutants that change nothing that can be seen: a pattern of their names, and why."""

import re

EQUIVALENT = (
    (r"rows .* (tdh_mem_rd|tdh_mem_wr|tdh_mr_extend): .* allowed = \+", "the walk has refused a page that cannot be read"),
    (r"rows .* (tdh_mem_rd|tdh_mem_wr|tdh_mem_range_unblock): .* blocked = ", "no state that is refused here is a blocked one"),
    (r"rows .* tdh_mem_page_add: .* Count\(mem_count, 1\): before = \+FREE", "only a FREE entry gets there"),
    (r"rows .* Count\(blocked, .* before = \+", "the call does not get there with an entry in that state"),
    (r"rows .* (tdh_mem_sept_remove|tdh_mem_page_promote): .* PageBecomes\(0.* page = (TARGET|PAGE)",
     "the registers of both name the page that is given back"),
    (r"rows .* (tdh_mem_sept_remove|tdh_mem_page_demote|tdh_mem_page_promote|tdh_mem_page_remove): .* Tracked\(RCX, True\): idle = True",
     "no state before it needs no tracking"),
    (r"rows .* tdh_mem_range_unblock: .* Tracked\(RCX, False\): (idle|not_blocked) = True", "only a blocked entry gets there"),
    (r"rows .* (tdh_mem_sept_remove|tdh_mem_page_promote): .* Entry\(\) behind OwnPage",
     "the PAMT entry of an SEPT page is found by the GPA that it is for, whatever the entry says"),
    (r"rows .* (tdh_mem_page_remove|tdh_mem_page_demote|tdh_mem_page_relocate): .* Count\(blocked, .* before = -NL_BLOCKED",
     "only leaves get there"),
    (r"rows .* (tdh_mem_sept_remove|tdh_mem_page_promote): .* Count\(blocked, .* before = -(PEND_)?BLOCKED",
     "only page tables get there"),
    (r"rows .* tdh_mem_sept_rd: .* blocked = ", "no state is refused"),
    (r"rows .* tdg_mem_page_attr_wr: .* allowed = \+(REMOVED|NL_MAPPED|NL_BLOCKED)", "the walk has ended before such an entry"),
    (r"rows .* (tdh_mem_sept_add|tdh_mem_page_aug|tdh_mem_page_demote): .* hpa = moved", "the registers of both hold the address of the page that is added"),
)


STEPS = (
    (r"steps .* tdh_phymem_page_wbinvd: .* ANSWER TDX_SUCCESS: (left out|value)", "the type of a large page is looked at twice under its lock"),
    (r"steps .* tdg_mem_page_accept: .* TEST at level 2: (its test always passed|left out)", "a walk that is stopped above level 0 and not at 1 is at 2"),
    (r"steps .* LOAD fatal\? keys\? TDCX pages\?: its test never passed", "the three are then asked one by one, and it goes on at the same row"),
    (r"steps .* LOAD interrupt pending\?: mask with a higher bit", "the word of pending interrupts has one bit"),
    (r"steps .* tdh_mng_key_config: .* INDEX this package: left out", "the first such row, of NoKeyYet, has left the same address in CURSOR"),
    (r"steps .* tdh_mr_extend: (46 TEST at level 1|7 LET: behind|47 LET: left|10 WALK SEPT, level 0: value)",
     "the walk goes on at one row wherever it has ended, and the call does not say at which level"),
    (r"steps .* tdh_vp_enter: .* WALK SEPT, level [01]: value", "the filter looks at the entry at which its walk has ended, whatever the level"),
    (r"steps .* tdh_mr_extend: .* LOAD_IN op_state allowed: behind the next", "the next row sets a register of the actor's own"),
    (r"steps .* (tdh_mem_sept_remove|tdh_mem_page_promote|tdh_mem_page_demote).level1: .* WALK SEPT, level 2: value",
     "a call at level 1 goes on below from there whatever number the step has, and does not ask how far its walk has come"),
    (r"steps .* tdh_vp_enter: .* IN any PENDING: #VE: mask with bit (2|4|8) changed", "that state has every access: the row before has let it in"),
    (r"steps .* tdh_mem_page_promote.*: .* MERGE as the first entry: value = 0", "the first entry is read while it is locked"),
    (r"steps .* tdh_phymem_page_reclaim: .* TEST the first of it: mask with a higher bit", "the one page of 1 GiB of a stage begins lower"),
    (r"steps .* tdh_mng_add_cx: 14 LOAD_IN num_tdcx: mask with bit 9 changed", "with so many pages the call has been refused under the same lock"),
    (r"steps .* tdh_mr_extend: 13 IN MAPPED: mask with bit", "the row before has let in what can be read only: of it test_seamcalls has every state"),
    (r"steps .* tdh_mem_page_promote.level1: 133 IN MAPPED PENDING: mask with bit 2 changed", "an entry of 4 KiB maps no page table"),
    (r"steps .* tdg_mem_page_accept.* IN accepted: mask with bit 2 changed", "no walk is stopped by a page table that is mapped"),
    (r"steps 1.5.34 tdg_mem_page_accept.*: 7 IN FREE: mask with bit (5|11|12|13|15) changed", "a leaf in that state is answered the same way a little later"),
    (r"steps .* INDEX PAMT entry of its first part: behind the next", "the next row, with which a loop begins, adds 0 to it"),
    (r"steps .* TEST readable: behind the next", "the next row looks at the actor's own copy"),
    (r"steps .* IN TD may run: behind the next", "bepoch is read once more, and nothing is made of it"),
    (r"steps .* tdh_mem_page_(remove|demote).* IN leaf: its test always passed", "a page table has been refused when the entry was read"),
    (r"steps .* (tdh_mem_sept_remove|tdh_mem_page_promote).* (IN leaf: its test never passed|INDEX PAMT entry of the page: )",
     "a leaf has been refused when the entry was read"),
    (r"steps .* tdh_mem_sept_rd: .* (READ_ENTRY .*: its test always passed|ANSWER TDX_EPT_ENTRY_STATE_INCORRECT\|RCX: (left out|value))",
     "no state is refused"),
    (r"steps .* tdh_mem_page_demote.level1: 35 LET: (left out|another register)", "the row before has left the same address in CURSOR"),
    (r"steps .* tdh_mem_page_demote.*: .* LOAD_IN type of PAGE: must be in use: behind the next", "the next row looks at the actor's own op_state"),
    (r"steps .* INDEX PAMT entry of .*: mask with(out its highest| a higher) bit", "no memory of the model lies so high"),
    (r"steps .* INDEX to the new page: mask without its lowest bit", "the address of a page ends in zeros"),
    (r"steps .* tdh_phymem_cache_wb: \d+ LET: (source 0|value \+ 1)", "how many HKIDs are flushed is only asked to be none or some"),
    (r"steps .* STORE where to go on: value", "where to go on is only asked to be anywhere at all"),
    (r"steps .* tdg_mem_page_accept.*: 4 LET: (behind the next|value \+ 1)", "of the word as it was before the lock only one bit above is asked"),
    (r"steps .* tdg_mem_page_accept.level1: .* IN PENDING .*: behind the next", "the next row looks at the actor's own copy"),
    (r"steps .* tdh_mem_sept_remove.*: .* IN pending: its test never passed", "the same"),
    (r"steps .* tdg_mem_page_accept.*: .* ZERO_PAGE .*: behind the next", "the next row looks at the actor's own copy"),
    (r"steps .* tdg_mem_page_attr_rd: .* LET: behind the next", "the walk looks at no address of an entry but its own"),
    (r"steps .* tdg_mem_page_attr_rd: .* WALK SEPT, level 2: value", "whether the walk has ended at level 1 is all that is asked"),
    (r"steps .* tdg_mem_page_attr_wr.*: .* WALK SEPT, level [12]: value", "where the walk has ended is not asked"),
    (r"steps .* tdh_phymem_cache_wb.* LOAD .*: mask without its lowest bit", "what is noted of a package is 0, 1 or 2, and tested for 2"),
)
SOURCES = (
    (r"sources kernels/locks.py hp_take_shared(_guest)?: `>` in .*LOCK_WORD - HP_READER.* -> >=", "the one word between has the exclusive bit: it was BUSY"),
    (r"sources harness/results/inference.py blocks_for.enough: `>=`", "two numbers of this kind are never the same"),
    (r"sources harness/results/changes.py noise_floor: `values = np.asarray\(values, float\)` .* -> pass", "what is asked of the values takes a list, too"),
    (r"sources harness/results/histogram.py Histogram.quantile: `raise AssertionError", "the ranks end with the last bucket: nobody gets there"),
    (r"sources harness/results/inference.py blocks_for: `2` in `most \*= 2`", "a bound for the search only, that grows until it is one"),
    (r"sources kernels/rwlock.py : `2` in `TAKEN, QUEUED, NOT_YET = 0, 1, 2", "any number will do that neither of the others is"),
    (r"sources harness/results/inference.py p_value: `0` in .*default_rng\(0\)", "any seed will do that is always the same"),
    (r"sources kernels/stepping.py .*: `\+` in .*address \+ RIP_ON_ENTRY", "it is the first word: + 0"),
    (r"sources kernels/epoch.py is_tracked: `<` in .*epoch - 1` -> <=", "the epoch before has been answered already"),
)
EQUIVALENT += STEPS + SOURCES


def entry(name: str):
    """The first entry that a name matches, or None."""
    return next((each for each in EQUIVALENT if re.search(each[0], name)), None)


def reason(name: str) -> str:
    found = entry(name)
    return found[1] if found else ""
