"""Every call of the module by its number: what a log's leaf means, and what a call returns in registers.

calls/ has the calls that are modelled, as rows; here is the number and the name of each, modelled
or not.  A call is found by any of its spellings: `TDH.MEM.PAGE.AUG`, `TDH_MEM_PAGE_AUG`,
`tdh_mem_page_aug`, or the leaf that the kernel prints (leaf in bits 15:0, version in 23:16).  Nothing here
needs the rows, so a log can be read without them.

Sources: include/tdx_api_defs.h of 2.0.18 (both lists of leaves, and the layouts of leaf, page_info and
exit qualification); the calls' own files for what they write to registers.
"""

import re
from typing import NamedTuple

HOST, GUEST = "host", "guest"
INSTRUCTION = {HOST: "SEAMCALL", GUEST: "TDCALL"}

HOST_LEAVES = {
    0: "TDH.VP.ENTER", 1: "TDH.MNG.ADDCX", 2: "TDH.MEM.PAGE.ADD", 3: "TDH.MEM.SEPT.ADD", 4: "TDH.VP.ADDCX",
    5: "TDH.MEM.PAGE.RELOCATE", 6: "TDH.MEM.PAGE.AUG", 7: "TDH.MEM.RANGE.BLOCK", 8: "TDH.MNG.KEY.CONFIG",
    9: "TDH.MNG.CREATE", 10: "TDH.VP.CREATE", 11: "TDH.MNG.RD", 12: "TDH.MEM.RD", 13: "TDH.MNG.WR",
    14: "TDH.MEM.WR", 15: "TDH.MEM.PAGE.DEMOTE", 16: "TDH.MR.EXTEND", 17: "TDH.MR.FINALIZE",
    18: "TDH.VP.FLUSH", 19: "TDH.MNG.VPFLUSHDONE", 20: "TDH.MNG.KEY.FREEID", 21: "TDH.MNG.INIT",
    22: "TDH.VP.INIT", 23: "TDH.MEM.PAGE.PROMOTE", 24: "TDH.PHYMEM.PAGE.RDMD", 25: "TDH.MEM.SEPT.RD",
    26: "TDH.VP.RD", 27: "TDH.MNG.KEY.RECLAIMID", 28: "TDH.PHYMEM.PAGE.RECLAIM", 29: "TDH.MEM.PAGE.REMOVE",
    30: "TDH.MEM.SEPT.REMOVE", 31: "TDH.SYS.KEY.CONFIG", 32: "TDH.SYS.INFO", 33: "TDH.SYS.INIT",
    34: "TDH.SYS.RD", 35: "TDH.SYS.LP.INIT", 36: "TDH.SYS.TDMR.INIT", 37: "TDH.SYS.RDALL",
    38: "TDH.MEM.TRACK", 39: "TDH.MEM.RANGE.UNBLOCK", 40: "TDH.PHYMEM.CACHE.WB", 41: "TDH.PHYMEM.PAGE.WBINVD",
    42: "TDH.MEM.SEPT.WR", 43: "TDH.VP.WR", 44: "TDH.SYS.LP.SHUTDOWN", 45: "TDH.SYS.CONFIG",
    48: "TDH.SERVTD.BIND", 49: "TDH.SERVTD.PREBIND", 52: "TDH.SYS.SHUTDOWN", 53: "TDH.SYS.UPDATE",
    58: "TDH.PHYMEM.PAMT.ADD", 59: "TDH.PHYMEM.PAMT.REMOVE",
    64: "TDH.EXPORT.ABORT", 65: "TDH.EXPORT.BLOCKW", 66: "TDH.EXPORT.RESTORE", 68: "TDH.EXPORT.MEM",
    70: "TDH.EXPORT.PAUSE", 71: "TDH.EXPORT.TRACK", 72: "TDH.EXPORT.STATE.IMMUTABLE", 73: "TDH.EXPORT.STATE.TD",
    74: "TDH.EXPORT.STATE.VP", 75: "TDH.EXPORT.UNBLOCKW", 80: "TDH.IMPORT.ABORT", 81: "TDH.IMPORT.END",
    82: "TDH.IMPORT.COMMIT", 83: "TDH.IMPORT.MEM", 84: "TDH.IMPORT.TRACK", 85: "TDH.IMPORT.STATE.IMMUTABLE",
    86: "TDH.IMPORT.STATE.TD", 87: "TDH.IMPORT.STATE.VP", 92: "TDH.MEM.SCAN.RANGE", 93: "TDH.MEM.SCAN.COMP",
    94: "TDH.MEM.SCAN.CONFIG", 95: "TDH.MEM.SCAN.RESET", 96: "TDH.MIG.STREAM.CREATE", 97: "TDH.SERVTD.REBIND",
    128: "TDH.IOMMU.SETREG", 129: "TDH.IOMMU.GETREG", 130: "TDH.SPDM.CREATE", 131: "TDH.SPDM.DELETE",
    132: "TDH.IDE.STREAM.CREATE", 133: "TDH.IDE.STREAM.BLOCK", 134: "TDH.IDE.STREAM.DELETE",
    135: "TDH.IDE.STREAM.IDEKMREQ", 136: "TDH.IDE.STREAM.IDEKMRSP", 137: "TDH.DEVIF.CREATE",
    138: "TDH.DEVIF.REMOVE", 139: "TDH.DEVIF.REQUEST", 140: "TDH.DEVIF.RESPONSE", 150: "TDH.DMAR.ADD",
    151: "TDH.DMAR.BLOCK", 152: "TDH.DMAR.READ", 153: "TDH.DMAR.REMOVE", 154: "TDH.MMIO.MT.ADD",
    155: "TDH.MMIO.MT.SET", 156: "TDH.MMIO.MT.RD", 157: "TDH.MMIO.MT.REMOVE", 158: "TDH.MMIO.MAP",
    159: "TDH.MMIO.BLOCK", 160: "TDH.MMIO.UNMAP", 161: "TDH.IQ.INV.REQUEST", 162: "TDH.IQ.INV.PROCESS",
    163: "TDH.MEM.SHARED.SEPT.WR", 164: "TDH.DEVIF.MT.ADD", 165: "TDH.DEVIF.MT.REMOVE", 166: "TDH.DEVIF.MT.RD",
}
GUEST_LEAVES = {
    0: "TDG.VP.VMCALL", 1: "TDG.VP.INFO", 2: "TDG.MR.RTMR.EXTEND", 3: "TDG.VP.VEINFO.GET", 4: "TDG.MR.REPORT",
    5: "TDG.VP.CPUIDVE.SET", 6: "TDG.MEM.PAGE.ACCEPT", 7: "TDG.VM.RD", 8: "TDG.VM.WR", 9: "TDG.VP.RD",
    10: "TDG.VP.WR", 11: "TDG.SYS.RD", 12: "TDG.SYS.RDALL", 18: "TDG.SERVTD.RD", 20: "TDG.SERVTD.WR",
    22: "TDG.MR.VERIFYREPORT", 23: "TDG.MEM.PAGE.ATTR.RD", 24: "TDG.MEM.PAGE.ATTR.WR", 25: "TDG.VP.ENTER",
    26: "TDG.VP.INVEPT", 27: "TDG.VP.INVVPID", 29: "TDG.MR.KEY.GET", 33: "TDG.SERVTD.REBIND.APPROVE",
    64: "TDG.SPDM.TPA.SET", 65: "TDG.SPDM.TPA.GET", 66: "TDG.DEVIF.VALIDATE", 67: "TDG.DEVIF.RD",
    68: "TDG.DEVIF.REQUEST", 69: "TDG.DEVIF.RESPONSE", 70: "TDG.DMAR.ACCEPT", 71: "TDG.TDI.MMIO.ACCEPT",
    72: "TDG.IQ.INV.REQUEST",
}
LEAVES = {HOST: HOST_LEAVES, GUEST: GUEST_LEAVES}
# Names of rows that stand for two leaves, or for one version of a leaf, and the leaf that they have.
ROW_NAMES = {"tdh_mng_rdwr": 11, "tdh_mem_rd_wr": 12, "tdh_vp_rd_wr": 26, "tdh_vp_init_apicid": 22,
             "tdh_phymem_cache_wb_resume": 40, "tdh_import_mem_cancel": 83}
# The second leaf of such a row -> the first.
SHARED_ROWS = {13: 11, 14: 12, 43: 26}


class Leaf(NamedTuple):
    """A call: which instruction makes it, its number, its name as the module's documents spell it."""

    side: str
    number: int
    name: str

    @property
    def instruction(self) -> str:
        return INSTRUCTION[self.side]

    @property
    def spelled(self) -> str:
        """As the rows of this project and the kernel's functions spell it."""
        return self.name.lower().replace(".", "_")


def by_number(side: str, word: int) -> Leaf | None:
    """The call that RAX asks for: leaf in bits 15:0, version in 23:16."""
    name = LEAVES[side].get(word & 0xFFFF)
    return Leaf(side, word & 0xFFFF, name) if name and word >> 24 == 0 else None


def bare(name: str) -> str:
    """What all spellings of a call's name have in common."""
    return re.sub(r"[._]", "", name).upper().removesuffix("LEAF")


_BY_BARE_NAME = {
    **{bare(name): Leaf(HOST, number, HOST_LEAVES[number]) for name, number in ROW_NAMES.items()},
    **{bare(name): Leaf(side, number, name) for side, leaves in LEAVES.items() for number, name in leaves.items()},
}


def by_name(name: str) -> Leaf | None:
    """The call of a name, spelled as the documents, the kernel or this project spell it."""
    return _BY_BARE_NAME.get(bare(name))


def names() -> tuple[str, ...]:
    """All calls, as the kernel spells them."""
    return tuple(name.replace(".", "_") for leaves in LEAVES.values() for name in leaves.values())


# --- what a call leaves in registers -----------------------------------------------------------

# Kinds of value; harness/reports/registers.py puts each in words.
SEPT_ENTRY, LEVEL_STATE = "SEPT entry", "level and state"
PAGE_TYPE, PAGE_OWNER, PAGE_SIZE, BEPOCH = "page type", "page owner", "page size", "BEPOCH"
QUALIFICATION, EXTENDED, GPA, INTERRUPTION = "exit qualification", "extended exit qualification", "GPA", "interruption"
CPUID, FIELD_ID, FIELD, ADDRESS, MEMORY = "CPUID leaf", "field id", "field value", "address", "memory"
TARGET_STATUS, TARGET_TDR = "target's status", "target's TDR"

_ENTRY = {"RCX": SEPT_ENTRY, "RDX": LEVEL_STATE}
_FIELD = {"RDX": FIELD_ID, "R8": FIELD}
RETURNS = {
    **dict.fromkeys((
        "TDH.MEM.SEPT.ADD", "TDH.MEM.SEPT.REMOVE", "TDH.MEM.SEPT.RD", "TDH.MEM.PAGE.ADD", "TDH.MEM.PAGE.AUG",
        "TDH.MEM.PAGE.REMOVE", "TDH.MEM.PAGE.PROMOTE", "TDH.MEM.PAGE.DEMOTE", "TDH.MEM.PAGE.RELOCATE",
        "TDH.MEM.RANGE.BLOCK", "TDH.MEM.RANGE.UNBLOCK", "TDH.MR.EXTEND", "TDH.EXPORT.UNBLOCKW",
    ), _ENTRY),
    **dict.fromkeys(("TDH.MEM.RD", "TDH.MEM.WR"), _ENTRY | {"R8": MEMORY}),
    **dict.fromkeys(("TDH.MNG.RD", "TDH.MNG.WR", "TDH.VP.RD", "TDH.VP.WR", "TDH.SYS.RD", "TDG.VM.RD", "TDG.VM.WR",
                     "TDG.VP.RD", "TDG.VP.WR", "TDG.SYS.RD"), _FIELD),
    **dict.fromkeys(("TDH.MNG.INIT", "TDH.SYS.INIT", "TDH.SYS.LP.INIT"), {"RCX": CPUID}),
    "TDH.VP.ENTER": {"RCX": QUALIFICATION, "RDX": EXTENDED, "R8": GPA, "R9": INTERRUPTION},
    "TDH.PHYMEM.PAGE.RECLAIM": {"RCX": PAGE_TYPE, "RDX": PAGE_OWNER, "R8": PAGE_SIZE},
    "TDH.PHYMEM.PAGE.RDMD": {"RCX": PAGE_TYPE, "RDX": PAGE_OWNER, "R8": PAGE_SIZE, "R9": BEPOCH},
    "TDH.PHYMEM.PAMT.REMOVE": {"RDX": ADDRESS, "R8": ADDRESS},
    "TDH.SYS.TDMR.INIT": {"RDX": ADDRESS},
}
# With which statuses TDH.VP.ENTER returns something else: a service TD's call failed on its target
# (async_tdexit_cross_td: td_exit.c of 1.5.34, character 18200).
ALSO_RETURNS = dict.fromkeys(("TDX_CROSS_TD_FAULT", "TDX_CROSS_TD_TRAP"), {"RDX": TARGET_STATUS, "R8": TARGET_TDR})
# KVM from 6.19 on prints the names of its variables in place of registers (TDX_BUG_ON_2).
VARIABLES = {"entry": "RCX", "level_state": "RDX"}

assert RETURNS.keys() <= {name for leaves in LEAVES.values() for name in leaves.values()}
