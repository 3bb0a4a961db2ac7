"""A row of THE TABLE: what a call is, and what most rows begin with."""

from typing import NamedTuple

from harness.protocol.phrases.locking import Explicit, OpState
from harness.protocol.releases import EXCLUSIVE, SHARED
from kernels.ops import LEVELS
from kernels.words import PT_TDR

TDR_SIZES = ("TDR", "TDR.2M", "TDR.1G")
TDVPR_SIZES = ("TDVPR", "TDVPR.2M", "TDVPR.1G")
PAGE_SIZES = ("PAGE", "PAGE.2M", "PAGE.1G")
ANY_LEVEL = tuple(range(LEVELS))
LEAF_LEVELS = (0, 1)             # pages of 4 KiB and 2 MiB; KVM makes no larger ones
TABLE_LEVELS = (1, 2)            # entries that can map an SEPT page


class Seamcall(NamedTuple):
    """One call.

    name      as KVM spells it; the lock report's spelling where KVM has none
    leaf      its number
    side      "host" (SEAMCALL) or "guest" (TDCALL)
    phrases   what it does, in order
    source    where to read it in the module
    order     resources in release order, if that is not the reverse of acquisition
    keeps     whether it returns with locks held (TDH.VP.ENTER: until the TD exits)
    levels    SEPT levels at which it can be made; (0,) also for calls that are about no entry
    success   what it answers when it has gone through
    """

    name: str
    leaf: int
    side: str
    phrases: tuple
    source: str
    order: tuple[str, ...] = ()
    keeps: bool = False
    levels: tuple[int, ...] = (0,)
    success: int = 0

    @property
    def leveled(self) -> bool:
        """Whether its micro-ops differ by level."""
        return any(getattr(phrase, "leveled", getattr(phrase, "own_size", False)) for phrase in self.phrases)


def td_shared(operand: str, allowed: tuple[int, ...], op_state: str = SHARED) -> tuple:
    """The TDR that the caller names, shared; op_state in a mode, and allowed."""
    return Explicit("TDR", SHARED, operand, PT_TDR), OpState(op_state, allowed)


def td_exclusive(operand: str, allowed: tuple[int, ...]) -> tuple:
    """The TDR that the caller names, exclusively, and so op_state without its lock."""
    return Explicit("TDR", EXCLUSIVE, operand, PT_TDR), OpState(None, allowed)
