"""Every way out of every call: each lock that is taken by another, each check that fails, at the very moment.

What is wrong is made wrong just before the access that would find it, so that each part of a line of orders.py
fails by itself.  What the call then does is the line up to there and the way out that the line says.
"""

import pytest

from harness.memory.layout import PAMT_BEPOCH, PAMT_BYTES, PAMT_TYPE
from kernels.epoch import epoch_word
from kernels.words import (
    HKID_ASSIGNED, HKID_FLUSHED, HP, NO_LP, PS, PT_NDA, PT_REG, PT_RSVD, STATE, TDCS_PAGES, TDCS_PAGES_MAX, TDEL, TDVPS_PAGES,
    TDVPS_PAGES_MAX, state_of,
)
from tests.accesses import Halted
from tests.by_release import by_release
from tests.protocol.alone import Try
from tests.protocol.order_lines import EX, LOOK, LOSES, OVER_PRIORITY, TAKE
from tests.protocol.test_orders import IDS, LINES, line_of

every_line = pytest.mark.parametrize("release, order, level", by_release(LINES, IDS))

FIRST_AND_LAST = (0, 300, 511)   # of 512 alike


def accesses_before(line, part) -> int:
    return sum(len(each.accesses) for each in line.parts[:line.parts.index(part)])


def chosen(line, kind) -> list:
    """The parts of a line of a kind; of 512 alike three."""
    found = []
    for part in line.parts:
        number = part.accesses[0][1].partition("[")[2].removesuffix("]")
        if part.kind == kind and (not number or int(number) in FIRST_AND_LAST):
            found.append(part)
    return found


def check(release, order, level, line, part, change, expected, answer=None) -> None:
    """Make the call with `change(tried)` just before a part; its accesses, and its answer if one is given."""
    tried = Try(release, order.call, level)
    found, answered = tried.run({accesses_before(line, part): lambda: change(tried)})
    difference = tried.differences(expected, found)
    assert not difference, f"{part.token}, {part.accesses[0]}: {difference}"
    if answer is not None:
        assert answered == answer, f"{part.token}, {part.accesses[0]}"


# --- locks ---

def taken(tried, lock) -> None:
    """Another actor takes a lock: exclusively, or where it is to be promoted as another reader."""
    word = tried.get(lock.word)
    tried.set(lock.word, word | TDEL if lock.kind in ("entry", "guest") else word + 4 if lock.kind == "promoted" else 1)


def takable(release, order, level, line) -> list:
    """The parts that take a lock, of words that this call holds not yet: two pages may lie in one 2 MiB."""
    tried, found = Try(release, order.call, level), []
    for part in chosen(line, TAKE):
        held = {tried.place(lock.word) for lock in line.held_before(part)}
        if part.lock.kind == "promoted" or part.lock.kind != "count" and tried.place(part.lock.word) not in held:
            found.append(part)
    return found


@every_line
def test_a_call_that_cannot_have_a_lock_gives_back_what_it_has(release, order, level):
    line = line_of(release, order, level)
    for part in takable(release, order, level, line):
        check(release, order, level, line, part, lambda tried: taken(tried, part.lock), line.failure(part))


@every_line
def test_a_call_takes_a_lock_over_a_hosts_priority_and_clears_it(release, order, level):
    """Nobody holds it, but a host that lost it has asked for priority: one access more."""
    line = line_of(release, order, level)
    for part in takable(release, order, level, line):
        kind = part.lock.kind, part.lock.mode
        if kind not in OVER_PRIORITY:
            continue
        over = [(verb, part.lock.word, None) for verb in OVER_PRIORITY[kind]]
        before = accesses_before(line, part)
        success = line.success()
        check(release, order, level, line, part, lambda tried: tried.set(part.lock.word, tried.get(part.lock.word) | HP),
              success[:before] + over + success[before + 1:])
        if part.lock.mode == EX:
            # Another host is faster between the two tries: BUSY, and no priority is asked for.
            tried = Try(release, order.call, level)
            found, _ = tried.run({before: lambda: tried.set(part.lock.word, tried.get(part.lock.word) | HP),
                                  before + 1: lambda: taken(tried, part.lock)})
            failure = line.failure(part)
            lost = [(verb, part.lock.word, None) for verb in LOSES[kind]]
            assert failure[before:before + 2] == lost
            difference = tried.differences(failure[:before] + over + failure[before + 2:], found)
            assert not difference, f"{part.token}, {part.lock.word}: {difference}"


FOLLOWS = ("tdh_phymem_page_reclaim", "tdh_phymem_page_wbinvd", "tdh_phymem_page_rdmd")      # the page may be a large one


@every_line
def test_a_call_on_a_page_of_a_large_one_ends_at_that_ones_entry(release, order, level):
    """Had in the mode that the page is wanted in, at once, over a host's priority or not at all; then its type is wrong."""
    line = line_of(release, order, level)
    if order.call.partition(",")[0] in FOLLOWS:
        return
    for part in line.parts:
        word = part.accesses[0][1].removesuffix(".type")
        if part.kind != LOOK or not part.token.startswith("F.") or word == part.first:
            continue
        if "@" in part.token and line.level and word.endswith(".2M"):
            continue                                     # that is the page itself
        upto, lock, ways = line.ends_at_large_page(part)
        page, at, wrong = Try(release, order.call, level), len(upto), f"TDX_PAGE_METADATA_INCORRECT|{operand(order.call, word)}"
        if [held for held in line.held_before(part) if held.word != word and page.place(held.word) == page.place(word)]:
            continue                                     # another page of this call has it too
        changes = {
            "had": {},
            "over priority": {at: lambda tried: tried.set(word, tried.get(word) | HP)},
            "busy": {at: lambda tried: taken(tried, lock)},
            "busy over priority": {at: lambda tried: tried.set(word, tried.get(word) | HP), at + 1: lambda tried: taken(tried, lock)},
        }
        kinds = [("had", 1 << bit) for bit in range(8)] if level in (0, "data") and release == "1.5.34" else []
        for way, kind in [*((way, PT_REG) for way in ways), *kinds]:
            tried, accesses = Try(release, order.call, level), ways[way]
            found, answer = tried.run({at - 1: lambda: tried.set(f"{word}.type", kind)}
                                      | {when: lambda change=change: change(tried) for when, change in changes[way].items()})
            difference = tried.differences(upto + accesses, found)
            assert not difference, f"{part.token}, {word}, {way}: {difference}"
            assert answer == (wrong if "busy" not in way else wrong.replace("PAGE_METADATA_INCORRECT", "OPERAND_BUSY")), way


# --- checks ---

OTHER_PROCESSORS = (2, 3, 77, 1 + (1 << 31), NO_LP)      # this one is 1
HALTS = "halts"                  # not an answer: the module shuts itself down
# Operands of the pages that a call names; calls on an SEPT entry name the TDR in RDX and a page in R8.
OPERANDS = {"tdh_mng_add_cx": {"TDR": "RDX", "PAGE": "RCX"}, "tdh_mr_extend": {"TDR": "RDX"},
            "tdh_vp_create": {"TDR": "RDX", "TDVPR": "RCX"}, "tdh_vp_addcx": {"TDVPR": "RDX", "PAGE": "RCX"},
            "tdh_phymem_page_wbinvd": {"PAGE": "RCX"}, "tdh_phymem_page_reclaim": {"PAGE": "RCX"},
            "tdh_mem_track": {"TDR": "RCX"}}
# A lifecycle state that is not allowed, and the answer.
LIFECYCLES = {
    "tdh_mng_add_cx": (0, "TDX_TD_KEYS_NOT_CONFIGURED"), "tdh_mng_key_config": (1, "TDX_LIFECYCLE_STATE_INCORRECT"),
    "tdh_mng_vpflushdone": (2, "TDX_LIFECYCLE_STATE_INCORRECT"), "tdh_mng_key_freeid": (1, "TDX_LIFECYCLE_STATE_INCORRECT"),
    "tdh_vp_flush": (0, "TDX_TD_KEYS_NOT_CONFIGURED"), "tdh_phymem_page_reclaim": (2, "TDX_LIFECYCLE_STATE_INCORRECT")}


def operand(call: str, page: str) -> str:
    page = page.partition(".")[0]
    if call in OPERANDS:
        return OPERANDS[call][page]
    return {"TDR": "RDX", "PAGE": "R8", "TARGET": "R8"}[page] if call.startswith("tdh_mem") else "RCX"


def wrong(tried: Try, line, part) -> list:
    """(word, value, answer): how what a part looks at can be wrong, and how the call ends then.

    value   or a function of the value that it has by then
    """
    call, word, token = tried.call, part.accesses[0][1], part.token
    name = word.partition("[")[0]
    if name == "PART.type":
        return [(word, PT_NDA, HALTS) if call == "tdh_mem_page_promote" else (word, PT_REG, "TDX_PAGE_METADATA_INCORRECT|R8")]
    if name == "LARGE.type":
        return [(word, PT_REG if call == "tdh_mem_page_promote" else PT_NDA, HALTS)]
    if name.endswith(".1G.type") or name.endswith(".2M.type") and token.startswith("F.") and not ("@" in token and line.level):
        return []                                        # it says at which size the page is held, and the walk ends there
    if name.endswith(".type"):
        if call == "tdh_phymem_page_rdmd":
            return []
        if token.startswith(("I.", "?MAPPED")):
            return [(word, PT_NDA, HALTS)]
        answer = f"TDX_PAGE_METADATA_INCORRECT|{operand(call, word)}"
        if call.startswith("tdh_phymem_page_reclaim"):
            return [(word, value, answer) for value in (PT_NDA, PT_RSVD)]
        return [(word, lambda now, bit=bit: now ^ 1 << bit, answer) for bit in range(8)]
    if name.startswith("SEPT") and name[4:].isdecimal():
        return [] if call == "tdg_mem_page_attr_rd" else [(word, STATE["FREE"].word(), walk_fails(call))]
    if name == "ENTRY":
        return wrong_entry(tried, line, part)
    if name == "CHILD":
        if part.column:                                  # copied as it is
            return []
        locked = TDEL if "CHILD/EX" in token else 0
        if call == "tdh_mem_sept_remove":
            return [(word, STATE["PENDING"].word(), "TDX_EPT_PAGE_NOT_FREE|RCX")]
        return [(word, STATE["FREE"].word() | locked, "TDX_EPT_INVALID_PROMOTE_CONDITIONS|RCX")]
    if name == "epoch" and part.accesses[0][0] == "cas":
        asks = "SEPT_TREE" if (call, line.release) == ("tdh_mem_range_unblock", "1.5.01") else "RCX"
        return [(word, epoch_word(tried.get("MAPPED.bepoch")), f"TDX_TLB_TRACKING_NOT_DONE|{asks}"),
                (word, epoch_word(tried.get("MAPPED.bepoch") + 1, 1, 1), f"TDX_TLB_TRACKING_NOT_DONE|{asks}")]
    if name == "epoch":
        return [(word, epoch_word(5, even=1), "TDX_PREVIOUS_TLB_EPOCH_BUSY")] if call == "tdh_mem_track" else []
    if name == "kot":
        return [] if call.startswith("tdh_phymem_cache_wb") else {"tdh_mng_create": [(word, value, "TDX_HKID_NOT_FREE") for value in (HKID_ASSIGNED, HKID_FLUSHED, 0x80)],
                "tdh_mng_key_freeid": [(word, lambda now: now | 1 << 8, "TDX_WBCACHE_NOT_COMPLETE")]}[call]
    if name == "lifecycle":
        value, answer = LIFECYCLES[call]
        return [(word, value, answer)]
    if name == "tdcx":
        if call == "tdh_vp_addcx":
            return [(word, TDVPS_PAGES_MAX - 1, "TDX_TDCX_NUM_INCORRECT")]
        return [(word, pages, "TDX_TDCX_NUM_INCORRECT") for pages in range(TDVPS_PAGES - 1)]
    if name == "KICK":
        return [(word, 1, "TDX_INTERRUPTED_RESTARTABLE")] if token == "GIVEWAY" else []
    return {
        "tdr_state": [("fatal", 1, "TDX_TD_FATAL"), ("fatal", 0x80, "TDX_TD_FATAL"),
                      ("lifecycle", 0, "TDX_TD_KEYS_NOT_CONFIGURED"), ("lifecycle", 3, "TDX_TD_KEYS_NOT_CONFIGURED"),
                      ("lifecycle", 0x81, "TDX_TD_KEYS_NOT_CONFIGURED"),
                      *(("num_tdcx", count, "TDX_TDCS_NOT_ALLOCATED") for count in range(TDCS_PAGES))],
        "op_state": [(word, 8 if call == "tdh_mng_init" else 0, "TDX_OP_STATE_INCORRECT")],      # POST_IMPORT, UNINITIALIZED
        "SEPT_TREE": [(word, lambda now: now | HP, "TDX_INTERRUPTED_BUSY")],
        "fatal": [(word, value, "TDX_TD_FATAL") for value in (1, 0x80)],
        # Looked at twice: whether there is room, and behind the page's lock whether it is the last one.
        "num_tdcx": [(word, TDCS_PAGES_MAX, "TDX_TDCX_NUM_INCORRECT")] if line.parts[line.parts.index(part) + 1].token != "tdr_state+TDCX" else [],
        "assoc": [(word, value, "TDX_FLUSHVP_NOT_DONE") for value in (1, 1 << 15)], "num_vcpus": [(word, 0, "TDX_NO_VCPUS")],
        "vcpu_state": [(word, lambda now, bit=bit: now ^ 1 << bit, "TDX_VCPU_STATE_INCORRECT") for bit in range(8)],
        "lp": [(word, value, "TDX_VCPU_NOT_ASSOCIATED") for value in OTHER_PROCESSORS],
        "chldcnt": [(word, value, "TDX_TD_ASSOCIATED_PAGES_EXIST") for value in (1, 1 << 40)],
    }.get(name, [])


def walk_fails(call: str) -> str:
    if call in ("tdh_vp_enter", "tdg_mem_page_accept", "tdg_mem_page_attr_wr"):
        return "EXIT_REASON_EPT_VIOLATION"
    return "TDX_EPT_ENTRY_NOT_PRESENT|RCX" if call in ("tdh_mr_extend", "tdh_mem_rd", "tdh_mem_wr") else "TDX_EPT_WALK_FAILED|RCX"


def wrong_entry(tried: Try, line, part) -> list:
    """An entry in a state in which the call is not allowed."""
    call, word, token = tried.call, "ENTRY", part.token
    if call == "tdh_mem_sept_rd":
        return []
    if token == "TREE/FILTER":
        return [(word, STATE["BLOCKED"].word(), "EXIT_REASON_EPT_VIOLATION")]
    if not token.startswith(("ENT", "?")):
        return []                                        # the walk's own look at it decides nothing
    if part.column:                                      # looked at once more, before it is written
        return [(word, lambda now: now | TDEL, HALTS)]
    state = "MAPPED" if call in ("tdh_mem_sept_add", "tdh_mem_page_aug", "tdh_mem_page_add") else "FREE"
    locked = TDEL if token.startswith("ENT") else 0
    answer = "EXIT_REASON_EPT_VIOLATION" if call.startswith("tdg") else "TDX_EPT_ENTRY_STATE_INCORRECT|RCX"
    return [(word, STATE[state].word() | locked, answer)]


@every_line
def test_a_call_that_finds_something_wrong_says_so_and_gives_back_what_it_has(release, order, level):
    line = line_of(release, order, level)
    fresh = Try(release, order.call, level)
    for part in chosen(line, LOOK):
        for word, value, answer in wrong(fresh, line, part):
            if answer == HALTS:
                with pytest.raises(Halted) as halted:
                    check(release, order, level, line, part, lambda tried: spoil(tried, word, value), [])
                upto = accesses_before(line, part) + 1
                assert not Try(release, order.call, level).differences(line.success()[:upto], halted.value.args[0])
            else:
                check(release, order, level, line, part, lambda tried: spoil(tried, word, value),
                      line.failure(part), answer)


def spoil(tried, word, value) -> None:
    tried.set(word, value(tried.get(word)) if callable(value) else value)


NEEDS_TRACKING = ("tdh_mem_page_remove", "tdh_mem_sept_remove", "tdh_mem_page_promote", "tdh_mem_page_demote",
                  "tdh_mem_page_relocate")


@pytest.mark.parametrize("call", NEEDS_TRACKING)
def test_a_page_that_is_not_blocked_is_refused_before_its_epoch_is_looked_at(call):
    """Behind the page's lock, where there is one: that is looked at first."""
    for release, order, level in LINES:
        if order.call != call:
            continue
        line = line_of(release, order, level)
        entry = next(part for part in line.parts if part.token == "ENT" and part.kind == LOOK)
        tracked = next(part for part in line.parts if part.token == "TRACKED")
        tried = Try(release, order.call, level)
        table = "NL_" * (tried.get("ENTRY") & PS == 0)
        failure = line.failure(tracked)
        before = accesses_before(line, tracked)
        expected = failure[:before] + failure[before + 1:]
        check(release, order, level, line, entry,
              lambda tried: tried.set("ENTRY", tried.stage.as_state(f"{table}MAPPED", tried.page, level, lock=True)),
              expected, "TDX_GPA_RANGE_NOT_BLOCKED|RCX")


@pytest.mark.parametrize("call", ["tdh_vp_enter", "tdh_vp_rd_wr"])
def test_a_vcpu_of_another_processor_is_refused(call):
    for release, order, level in LINES:
        if order.call == call:
            line = line_of(release, order, level)
            part = next(part for part in line.parts if part.token == "lp<ME")
            for other in OTHER_PROCESSORS[:-1]:
                check(release, order, level, line, part, lambda tried: tried.set("lp", other), line.failure(part),
                      "TDX_VCPU_ASSOCIATED")


def test_the_epoch_counts_a_vcpu_under_the_epochs_own_parity():
    for epoch, word in ((6, epoch_word(6, even=1)), (7, epoch_word(7, odd=1))):
        tried = Try("1.5.05", "tdh_vp_enter", 0)
        tried.set("epoch", epoch_word(epoch))
        tried.run()
        assert tried.get("epoch") == word


def with_another_page(release, order, level) -> tuple[Try, int]:
    """A call on a page with a neighbour in the same state, and the entry as it would map that one."""
    tried = Try(release, order.call, level)
    entry = tried.get("ENTRY")
    state = state_of(entry)
    size = 12 + 9 * level if state.leaf else 12
    step = -PAMT_BYTES if entry >> size & 1 else PAMT_BYTES
    for field in (PAMT_TYPE, PAMT_BEPOCH):
        offset, width = tried.place("MAPPED.type" if field == PAMT_TYPE else "MAPPED.bepoch")
        tried.stage.memory.set_word(offset + step, tried.stage.memory.word(offset, width), width)
    return tried, entry ^ 1 << size


@every_line
def test_a_call_goes_by_the_entry_that_it_has_locked(release, order, level):
    """Another call gives the entry another page between the walk and the lock: the call is about that one."""
    line = line_of(release, order, level)
    for part in chosen(line, TAKE):
        if not part.token.startswith("ENT"):
            continue
        tried, other = with_another_page(release, order, level)
        if "FREE" in state_of(other).name:
            continue                                     # it maps none
        before = accesses_before(line, part)
        found, answer = tried.run({before: lambda: tried.set("ENTRY", other)})
        alike, other = with_another_page(release, order, level)
        alike.set("ENTRY", other)
        expected, wanted = alike.run()
        assert (found[before:], answer) == (expected[before:], wanted)
