"""The invariants of harness/protocol/invariants.py looked up: in a run's counters, answers and memory.

None stands for "not checked": a run that lost a worker is not quiet, and the ones that need a shadow
owner are not counted where `checks.exclusive_ownership` is off.
"""

import numpy as np

from harness.engines import frames
from harness.protocol import releases
from harness.memory.layout import HOST, LINE, PAGE, PAMT_LOCK, PAMT_TYPE
from harness.memory.block import Memory
from harness.experiment.plan import Plan
from harness.protocol.counters import COUNTERS, REBUILT_OVER_PRIORITY, declared, violation
from harness.protocol.flows.flow import FROZEN_SPTE, IN_GUEST, MMU_PRESENT
from harness.protocol.invariants import NAMES, OF_PAMT, OWNERS, RUNNING
from kernels import epoch, guest
from kernels.ops import LEVELS, OP_TABLE, Fact
from kernels.record import CAUSES
from kernels.words import HP, HPA_MASK, PT_PAMT, STATE, STATE_MASK, TDEL, TDHP, signed, spell_entry


# What TRACK may not answer, and what may not kill a VM (I5, I8): once it is dead, more follows from that.
OLD_EPOCH = {"tdh_mem_track": ("TDX_PREVIOUS_TLB_EPOCH_BUSY",)}
NOT_TRACKED = {
    "tdh_mem_page_remove": ("TDX_GPA_RANGE_NOT_BLOCKED", "TDX_TLB_TRACKING_NOT_DONE"),
    "tdh_mem_page_demote": ("TDX_GPA_RANGE_NOT_BLOCKED", "TDX_TLB_TRACKING_NOT_DONE"),
}
MAPPED_TWICE = {
    "tdh_mem_page_aug": ("TDX_EPT_ENTRY_STATE_INCORRECT", "TDX_PAGE_METADATA_INCORRECT"),
    "tdh_mem_page_add": ("TDX_EPT_ENTRY_STATE_INCORRECT", "TDX_PAGE_METADATA_INCORRECT"),
}
NO_PAIR = {call: ("TDX_MISSING_PAMT_PAGE_PAIR",) for call in ("tdh_mem_page_aug", "tdh_mem_page_add", "tdh_mem_sept_add")}
KVM_LOCKS = ("mmu_lock", "mmu_owner", "wait_for_sept_zap", "seamcall_lock", "vm_state_lock", "slots_lock",
             "invalidate")


def check(plan: Plan, memory: Memory, records: list[np.ndarray], quiet: bool) -> dict[str, int | None]:
    """Violations of each invariant, by name.

    records   int64, whole records of all actors
    quiet     whether all actors have ended by themselves
    """
    found: dict[str, int | None] = dict.fromkeys(NAMES)
    found |= {name: counted(plan, records, violation(name)) for name in RUNNING}
    if plan.config.td.dpamt:
        found |= of_pamt(plan, records)
    if not plan.config.checks.exclusive_ownership:
        found |= dict.fromkeys(OWNERS)
    found["removal_tracked"] = (answered(plan, records, "answered", OLD_EPOCH)
                                + answered(plan, records, "bugs", NOT_TRACKED))
    found["single_mapping"] = answered(plan, records, "bugs", MAPPED_TWICE)
    found["no_sleep_under_lock"] = sleeps_under_lock(plan)
    if not quiet:
        return found
    found["conservation"] = conservation(plan, records)
    found["quiet_locks"] = locks_held(plan, memory)
    found["quiet_counts"] = counts_left(plan, memory)
    found["quiet_frames"] = frames.misplaced(memory, entries=True)
    tds = range(plan.layout.tds)
    found["quiet_tree"] = sum(orphaned_entries(memory, td) for td in tds)
    found["single_mapping"] += sum(pages_mapped_twice(memory, td) for td in tds)
    alive = [td for td in tds if memory.word(plan.layout.at("vm_dead", td=td)) == 0]
    if alive:
        found["quiet_mirror"] = sum(mirror_differs(memory, td) for td in alive)
    found["page_signature"] += foreign_contents(plan, memory)
    return found


def of_pamt(plan: Plan, records) -> dict[str, int]:
    """Violations of what a design of Dynamic PAMT must keep, as far as the run's program can see them."""
    names = [each.name for each in OF_PAMT if each.found == "running" and violation(each.name) in plan.program.counters]
    return {name: counted(plan, records, violation(name)) for name in names} | {
        "pamt_present": answered(plan, records, "bugs", NO_PAIR)}


def counted(plan: Plan, records, counter: str) -> int:
    """A counter summed over actors and both halves; 0 if the program does not count it."""
    if declared(COUNTERS, counter, "counter") not in plan.program.counters:
        return 0
    at = plan.tables.counters + plan.program.counters.index(counter)
    return int(sum(record[at] + record[plan.tables.half + at] for record in records))


def answered(plan: Plan, records, table: str, answers: dict[str, tuple[str, ...]]) -> int:
    """How often calls gave one of the answers, by call and the answer's name without its operand.

    table   of the records: "answered", or "bugs" for those that led to a KVM_BUG_ON
    """
    program, tables, total = plan.program, plan.tables, 0
    for call, names in answers.items():
        if call not in program.calls:
            continue
        row = program.calls.index(call) * len(program.answers)
        for number, answer in enumerate(program.answers):
            if answer.status_name in names:
                at = getattr(tables, table) + row + number
                total += int(sum(record[at] + record[tables.half + at] for record in records))
    return total


def sleeps_under_lock(plan: Plan) -> int:
    """Rows of the program that sleep, yield or poll with mmu_lock held."""
    return sum(any(held.resource == "mmu_lock" for held in row.held)
               and Fact.SLEEPS in OP_TABLE[row.op].facts and row.width != 0
               for row in plan.program.listing)


def conservation(plan: Plan, records) -> int:
    """How many (actor, half, call) have attempts that were never answered, or the reverse.

    And, where each BUSY is looked into, how many have another number of causes than of BUSYs.
    """
    tables, calls, answers = plan.tables, len(plan.program.calls), len(plan.program.answers)
    busy = [number for number, answer in enumerate(plan.program.answers) if answer.busy]
    wrong = 0
    for record in records:
        for start in (0, tables.half):
            attempts = record[start + tables.attempts:][:calls]
            answered = record[start + tables.answered:][:calls * answers].reshape(calls, answers)
            wrong += int((attempts != answered.sum(axis=1)).sum())
            if plan.attributes():
                causes = record[start + tables.causes:][:calls * CAUSES].reshape(calls, CAUSES)
                wrong += int((answered[:, busy].sum(axis=1) != causes.sum(axis=1)).sum())
    return wrong


def _pamt_words(plan: Plan, memory: Memory, td: int = 0) -> np.ndarray:
    names = [region.name for region in plan.layout.regions
             if region.name.startswith("pamt_") and not (td and region.name.endswith(f".{HOST}"))]
    return np.concatenate([memory.view(name, np.uint16, td)[:, PAMT_LOCK // 2] for name in names])


def locks_held(plan: Plan, memory: Memory) -> int:
    """Lock words that are not free."""
    layout = plan.layout
    held = sum(memory.word(layout.at(name), 16) != 0 for name in ("kot_lock", "global_lock"))
    held += sum(int((memory.view(name)[:, 0] & np.uint64(0xFF) != 0).sum()) for name in ("ket", "wbt"))
    for td in range(layout.tds):
        held += int(((_pamt_words(plan, memory, td) & ~np.uint16(HP)) != 0).sum())
        # A sharex_hp lock may keep host priority; a sharex lock has no such bit.
        for name, kept in (("op_state_lock", HP), ("epoch_lock", 0), ("mig_lock", 0), ("rtmr_lock", HP),
                           ("servtd_bindings_lock", HP),
                           ("secure_ept_lock", HP if releases.find(plan.config.module).tree == "hp" else 0)):
            held += memory.word(layout.at(name, td=td), 16) & ~kept != 0
        held += sum(memory.word(layout.at(name, td=td)) != 0 for name in KVM_LOCKS)
        for level in range(LEVELS):
            held += int(((memory.view(f"sept.{level}", td=td) & np.uint64(TDEL)) != 0).sum())
    return int(held)


def counts_left(plan: Plan, memory: Memory) -> int:
    """vCPUs that are still counted as running, or marked as in the guest."""
    left = 0
    for td in range(plan.layout.tds):
        word = memory.word(plan.layout.at("epoch", td=td))
        left += sum(word >> 16 * parity & epoch.REFCOUNT_MASK for parity in (0, 1))
        left += int(((memory.view("kick", td=td)[:, 0] & np.uint64(IN_GUEST)) != 0).sum())
    return left


def mirror_differs(memory: Memory, td: int = 0) -> int:
    """Entries of a TD where KVM's mirror and the SEPT say different things, or that are frozen (I1)."""
    wrong = 0
    for level in range(LEVELS):
        mirror, sept = memory.view(f"mirror.{level}", td=td), memory.view(f"sept.{level}", td=td)
        state = sept & np.uint64(STATE_MASK)
        names = ("NL_MAPPED", "MAPPED", "PENDING") if level else ("MAPPED", "PENDING")
        mapped = np.isin(state, [STATE[name].word() & STATE_MASK for name in names])
        present = (mirror & np.uint64(MMU_PRESENT)) != 0
        # An ACCEPT of 2 MiB that was interrupted keeps in the entry's lower bits how far it has got.
        bits = np.where(_is(state, "MAPPED", "PENDING"), np.uint64(HPA_MASK & -(PAGE << 9 * level)), np.uint64(HPA_MASK))
        same_page = mirror & bits == sept & bits
        wrong += int((mirror == np.uint64(FROZEN_SPTE)).sum())
        wrong += int(((mapped != present) | (mapped & ~same_page)).sum())
    return wrong


def _state(memory: Memory, level: int, td: int) -> np.ndarray:
    return memory.view(f"sept.{level}", td=td) & np.uint64(STATE_MASK)


def _is(state: np.ndarray, *names: str) -> np.ndarray:
    return np.isin(state, [STATE[name].word() & STATE_MASK for name in names])


def orphaned_entries(memory: Memory, td: int = 0) -> int:
    """SEPT entries in use that lie in no SEPT page that is in use (I4)."""
    wrong = 0
    for level in range(LEVELS - 1):
        used = np.flatnonzero(~_is(_state(memory, level, td), "FREE", "REMOVED"))
        if level == 0:
            used = memory.page_numbers(td)[used]     # of a large TD the view is of touched pages only
        parents = _state(memory, level + 1, td)[used >> 9]
        wrong += int((~_is(parents, "NL_MAPPED", "NL_BLOCKED")).sum())
    return wrong


def pages_mapped_twice(memory: Memory, td: int = 0) -> int:
    """SEPT entries in use for a page that another entry maps too (I8)."""
    pages = np.concatenate([
        memory.view(f"sept.{level}", td=td)[~_is(_state(memory, level, td), "FREE", "REMOVED")] & np.uint64(HPA_MASK)
        for level in range(LEVELS)])
    return len(pages) - len(np.unique(pages))


def _of_ranges(memory: Memory) -> str:
    """The PAMT entries of the 2 MiB that may have a pair: of data pages, or of the host."""
    return f"pamt_2m.{HOST if memory.layout.frames else 'data'}"


def pairs_miscounted(plan: Plan, memory: Memory) -> int:
    """2 MiB of data that have a pair but no page in use, or a page in use but no pair."""
    paired = memory.view(_of_ranges(memory), np.uint8)[:, PAMT_TYPE] == PT_PAMT
    counted = memory.view("dpamt_ref")[:, 0] != 0
    return int((paired[:len(counted)] != counted).sum())


def priority_on_ranges(memory: Memory) -> int:
    """2 MiB of data with host priority on the PAMT entry."""
    return int((memory.view(_of_ranges(memory), np.uint16)[:, PAMT_LOCK // 2] & np.uint16(HP) != 0).sum())


def foreign_contents(plan: Plan, memory: Memory) -> int:
    layout, foreign = plan.layout, 0
    for td in range(layout.tds):
        state = memory.view("sept.0", td=td) & np.uint64(STATE_MASK)
        mapped = state == np.uint64(STATE["MAPPED"].word() & STATE_MASK)
        foreign += guest.count_foreign_contents(
            memory.base + layout.at("content", td=td), layout.content_bytes,
            memory.base + layout.at("generation", td=td), LINE, mapped,
            memory.page_numbers(td), signed(plan.config.seed))
    return foreign


def entries(plan: Plan, memory: Memory) -> dict[str, int]:
    """SEPT entries of 4K pages by what they spell (words.spell_entry), of all TDs."""
    counts: dict[str, int] = {}
    for td in range(plan.layout.tds):
        bits = memory.view("sept.0", td=td) & np.uint64(STATE_MASK | TDEL | TDHP)
        words, each = np.unique(bits, return_counts=True)
        for word, count in zip(words, each):
            name = spell_entry(int(word))
            counts[name] = counts.get(name, 0) + int(count)
    return counts


def host_priority(plan: Plan, memory: Memory, records) -> dict[str, int]:
    """What became of TDHP, the host-priority bit of SEPT entries, over the whole run, as HOST_PRIORITY lists it."""
    counts = {name: counted(plan, records, f"host_priority.{name}")
              for name in ("set", "cleared", "timeouts", "locks_set", "locks_cleared")}
    left, orphaned, locks_left = 0, 0, 0
    for td in range(plan.layout.tds):
        for level in range(LEVELS):
            bits = memory.view(f"sept.{level}", td=td) & np.uint64(TDEL | TDHP)
            left += int(((bits & np.uint64(TDHP)) != 0).sum())
            orphaned += int((bits == np.uint64(TDHP)).sum())
        locks_left += int((_pamt_words(plan, memory, td) & HP != 0).sum())
    rebuilt = counted(plan, records, REBUILT_OVER_PRIORITY)
    lost = counts["set"] - counts["cleared"] - left - rebuilt
    return counts | {"orphaned": orphaned + rebuilt, "lost": lost, "locks_left": locks_left}
