"""What a call leaves in RCX, RDX ..., in words: the SEPT entry and its state, an exit's details, a page's owner.

Sources: sept_manager.c:522-559 and sept_manager.h:634-646 of 1.5.01 (what of an entry is returned),
tdg_mem_page_accept's exit and vmcs_defs.h:410-419 (extended exit qualification), tdx_api_defs.h.
"""

from harness.protocol import leaves
from harness.protocol.seamcall_abi import BASIC
from harness.protocol.statuses import LEVELS, PAGE_SIZES, PAGE_TYPES, PUBLIC_STATES, name_in
from kernels.words import HPA_MASK, NAME_OF_STATUS, PS, STATUS_CLASS, SVE, status_name

EPT_VIOLATION = 48
EXTENDED = {0: "none", 1: "an ACCEPT", 2: "GPA details", 3: "an MSR that could not be loaded at entry",
            4: "XSTATE that could not be loaded at entry", 5: "an ATTR.WR", 6: "a page that is PENDING"}
ACCESS = ((0, "read"), (1, "write"), (2, "fetch"))


def _bits(value: int, low: int, width: int) -> int:
    return value >> low & (1 << width) - 1


def _access(value: int, low: int = 0) -> str:
    return ", ".join(name for bit, name in ACCESS if value >> low + bit & 1) or "none"


def sept_entry(value: int) -> str:
    """RCX: an SEPT entry without what is the module's own (its lock, host priority, most of its state)."""
    if value == 0:
        return "a table without access, or nothing about an entry"
    if value & ~SVE == 0:
        return "a FREE entry"
    access = "".join(letter if value >> bit & 1 else "-" for bit, letter in ((0, "R"), (1, "W"), (2, "X")))
    if not value & (PS | HPA_MASK):
        return f"a table, access {access}"
    kind = "a page" if value & PS else "a table"
    return f"{kind}, access {access}, at physical address {value & HPA_MASK:#x}"


def level_state(value: int) -> str:
    """RDX: level in 2:0, state in 15:8, VM in 17:16."""
    level, state, vm = _bits(value, 0, 3), _bits(value, 8, 8), _bits(value, 16, 2)
    text = f"level {name_in(LEVELS)(level)}; state {PUBLIC_STATES.get(state, f'{state}, which has no name')}"
    return text + (f"; of VM {vm}" if vm else "")


def qualification(value: int, reason: int) -> str:
    if reason != EPT_VIOLATION:
        return "exit qualification"
    return f"wanted: {_access(value)}; the entry allows: {_access(value, 3)}; VM {_bits(value, 32, 2)}"


def extended(value: int, reason: int) -> str:
    kind = _bits(value, 0, 4)
    text = f"type {kind}: {EXTENDED.get(kind, 'which has no name')}"
    if kind != 1 or reason != EPT_VIOLATION:
        return text
    info = value >> 32
    state = _bits(info, 6, 8)
    return (f"{text} of level {_bits(info, 0, 3)}, the walk ended at level {_bits(info, 3, 3)} on"
            f" {PUBLIC_STATES.get(state, state)}, {'a page' if info >> 14 & 1 else 'no page'}")


def cpuid(value: int) -> str:
    leaf, subleaf = value & 0xFFFF_FFFF, value >> 32
    return f"CPUID leaf {leaf:#x}, " + ("no subleaf" if subleaf == 0xFFFF_FFFF else f"subleaf {subleaf:#x}")


PLAIN = {
    leaves.SEPT_ENTRY: sept_entry, leaves.LEVEL_STATE: level_state,
    leaves.PAGE_TYPE: lambda value: f"type of the page: {name_in(PAGE_TYPES)(value)}",
    leaves.PAGE_OWNER: lambda value: f"owner of the page: the TDR at physical address {value:#x}" if value else "no owner",
    leaves.PAGE_SIZE: lambda value: f"size of the page: {name_in(PAGE_SIZES)(value)}",
    leaves.BEPOCH: lambda value: "epoch in which the page was blocked",
    leaves.GPA: lambda value: f"guest physical address, page {value >> 12:#x}",
    leaves.INTERRUPTION: lambda value: "interruption information" if value >> 31 & 1 else "no interruption",
    leaves.CPUID: cpuid,
    leaves.FIELD_ID: lambda value: "id of the next metadata field" if value else "no further metadata field",
    leaves.FIELD: lambda value: "value of the metadata field",
    leaves.ADDRESS: lambda value: "a physical address",
    leaves.MEMORY: lambda value: "content of the memory",
    leaves.TARGET_STATUS: lambda value: f"what is wrong with the service TD's target: {status_name(value)}",
    leaves.TARGET_TDR: lambda value: f"the target's TDR, at physical address {value:#x}",
}
OF_AN_EXIT = {leaves.QUALIFICATION: qualification, leaves.EXTENDED: extended}


def register_rows(given, leaf: leaves.Leaf | None, word: int | None) -> list[dict]:
    """Each register that was given: its value, and what it means after this call.

    One that is 0 and means nothing is left out.
    """
    meaning = leaves.RETURNS.get(leaf.name, {}) if leaf else {}
    if leaf is None or leaf == leaves.by_name("TDH.VP.ENTER"):
        meaning = meaning | leaves.ALSO_RETURNS.get(NAME_OF_STATUS.get((word or 0) & STATUS_CLASS, ""), {})
    values = dict(given)
    nowhere = meaning.get("RDX") == leaves.LEVEL_STATE and values.get("RCX") == values.get("RDX") == 0
    rows = []
    for register, value in given:
        kind = meaning.get(register)
        if nowhere and register in ("RCX", "RDX"):
            says = "nothing: the call did not get as far as an SEPT entry"
        elif kind == leaves.SEPT_ENTRY and not value and values.get("RDX"):
            says = "a table without access"
        elif kind in OF_AN_EXIT:
            says = OF_AN_EXIT[kind](value, (word or 0) & BASIC)
        elif kind:
            says = PLAIN[kind](value)
        elif leaf and not value:
            continue
        else:
            says = f"{leaf.spelled} says nothing in it" if leaf else "name the call to know what it means"
        rows.append({"register": register, "value": f"{value:#x}", "says": says})
    return rows


assert PLAIN.keys() | OF_AN_EXIT.keys() == {
    kind for table in (leaves.RETURNS, leaves.ALSO_RETURNS) for kinds in table.values() for kind in kinds.values()}
