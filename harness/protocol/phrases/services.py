"""Phrases of service TDs and of measurements: bindings, RTMRs, a service TD's access to its target.

Two TDs are concerned.  The target is the TD of the block; of its service TD the model has what these calls
touch: the PAMT entries of its TDR (`service`), its op_state, and its RTMR lock, which is the same word as the
TD's own: a vCPU that makes TDG.SERVTD.RD, TDG.MR.RTMR.EXTEND or TDG.MR.REPORT stands for one of the service TD.
Abstracted away: that a call of another TD's vCPU needs none of the target's; hashes, UUIDs, attributes, slots
(there is one, and they fit); contents of RTMRs and reports.
"""

from typing import ClassVar

from harness.memory.layout import BOUND, NOT_BOUND, PAMT_TYPE, PRE_BOUND, TDR_READY
from harness.protocol.assemble import Held
from harness.protocol.call import SHARED, Call
from harness.protocol.phrases.locking import INTERRUPT, Drop, Explicit, OpState
from harness.protocol.phrases.phrase import Phrase
from harness.protocol.releases import DEFAULT, Release
from kernels.answers import AnswerKind
from kernels.ops import Op, Register as R
from kernels.words import EXIT_REASON_EXTERNAL_INTERRUPT, OP_STATE_INITIALIZED, OP_STATE_UNINITIALIZED, PT_TDR, status


class Rtmr(Phrase):
    """The lock of the run-time measurement registers, held while they are written, copied or hashed."""

    mode: str
    plain: bool = False          # a guest that is refused for host priority gets BUSY, and no timer runs

    operand: ClassVar[str] = "RTMR"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held("RTMR", self.mode, "hp", R.TD, "rtmr_lock"),)

    def emit(self, call: Call):
        busy = status("TDX_OPERAND_BUSY", self.operand)
        refused = call.fresh("refused") if self.plain else ""
        if refused:
            with call.listing.aside(refused):
                call.listing.answer(busy, AnswerKind.BUSY, next=call.unwinding())
        call.take(self.locks()[0], busy, refused=refused)


class Hashed(Phrase):
    """A hash under the lock, which is given back at once; with `keeps` at the end of the call."""

    keeps: bool = False

    def emit(self, call: Call):
        call.work(call.name + "_ns")
        if not self.keeps:
            Drop("RTMR").emit(call)


class ReportInterruptible(Phrase):
    """A pending interrupt sends the guest out; it makes the call again.  (Only while the hash is not cached.)"""

    def emit(self, call: Call):
        stop = call.fresh("interrupted")
        with call.listing.aside(stop):
            call.listing.answer(EXIT_REASON_EXTERNAL_INTERRUPT, next=call.unwinding())
        call.row(Op.LOAD, base=R.KICK, mask=INTERRUPT, otherwise=stop, text="interrupt pending?")


class Bindings(Phrase):
    """The lock of the target's table of service TDs."""

    mode: str

    operand: ClassVar[str] = "SERVTD_BINDINGS"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held("SERVTD_BINDINGS", self.mode, "hp", R.TD, "servtd_bindings_lock"),)

    def emit(self, call: Call):
        call.take(self.locks()[0], status("TDX_OPERAND_BUSY", self.operand))


class ServiceTdr(Phrase):
    """The service TD's TDR, named by the caller: its PAMT entry and those above it, shared."""

    operand: str = "RDX"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return tuple(Held(f"SERVICE_TDR{size}", SHARED, "hp", R.TD, f"pamt_{region}.service")
                     for size, region in ((".1G", "1g"), (".2M", "2m"), ("", "4k")))

    def emit(self, call: Call):
        for lock in self.locks():
            call.take(lock, status("TDX_OPERAND_BUSY", self.operand))
        call.row(Op.LOAD, base=R.TD, offset=call.td("pamt_4k.service") + PAMT_TYPE, width=8, mask=-1, match=PT_TDR,
                 otherwise=call.fail("TDX_PAGE_METADATA_INCORRECT", self.operand), text="type of the service TD's TDR")


class ServiceOpState(Phrase):
    """The service TD's op_state, shared, and allowed.  Abstracted away: that it is fatal or has no keys."""

    allowed: tuple[int, ...]

    operand: ClassVar[str] = "OP_STATE"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held("SERVICE_OP_STATE", SHARED, "hp", R.TD, "service_op_state_lock"),)

    def emit(self, call: Call):
        call.take(self.locks()[0], status("TDX_OPERAND_BUSY", self.operand))
        carries = R.OLD if call.release.op_state_status else None
        call.row(Op.LOAD_IN, base=R.TD, offset=call.td("service_op_state"), register=R.OLD,
                 mask=sum(1 << state for state in self.allowed), text="its op_state allowed",
                 otherwise=call.fail("TDX_OP_STATE_INCORRECT", carries=carries))


class Bind(Phrase):
    """The slot is bound; one that is not even prebound only until the target is finalized."""

    def emit(self, call: Call):
        empty, bind = call.fresh("empty"), call.fresh("bind")
        call.row(Op.LOAD, base=R.TD, offset=call.td("servtd_binding"), mask=-1, match=NOT_BOUND, next=empty,
                 otherwise=bind, text="not bound")
        call.listing.label(empty)
        call.row(Op.IN, source=R.OP_STATE, mask=1 << OP_STATE_UNINITIALIZED | 1 << OP_STATE_INITIALIZED,
                 otherwise=call.fail("TDX_OP_STATE_INCORRECT"), text="the target is not finalized")
        call.listing.label(bind)
        call.row(Op.STORE, base=R.TD, offset=call.td("servtd_binding"), value=BOUND, text="bound")


class Prebind(Phrase):
    def emit(self, call: Call):
        call.row(Op.LOAD_IN, base=R.TD, offset=call.td("servtd_binding"), mask=~(1 << BOUND), text="not bound yet",
                 otherwise=call.fail("TDX_SERVTD_BOUND"))
        call.row(Op.STORE, base=R.TD, offset=call.td("servtd_binding"), value=PRE_BOUND, text="prebound")


class Target(Phrase):
    """From inside a service TD: the target's TDR and op_state, shared, as a guest takes them.

    What is wrong with the target ends the service TD's call as a TD exit (TDX_CROSS_TD_TRAP).  So does a refusal
    for host priority by its op_state: the guest gets a plain BUSY only.  Of the TDR it gets both, from 1.5.16 on
    (Release.servtd_tdr_exits).
    tdg_servtd_rd_wr.c 1.5.25:93-290; 1.5.13 c4900; 1.5.16 c5000
    """

    allowed: tuple[int, ...]

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (*self._tdr().locks(level, release), *OpState(SHARED, ()).locks())

    operand: ClassVar[str] = "TDR"

    def operand_of(self, lock: Held) -> str:
        return "OP_STATE" if lock.resource == "OP_STATE" else self.operand

    @staticmethod
    def _tdr() -> Explicit:
        return Explicit("TDR", SHARED, "TDR", PT_TDR)

    def emit(self, call: Call):
        *tdr, op_state = self.locks(call.level, call.release)
        for lock in tdr:
            call.take(lock, status("TDX_OPERAND_BUSY", self.operand),
                      refused=trap(call) if call.release.servtd_tdr_exits else "")
        call.row(Op.LOAD, base=R.TDR_4K, offset=PAMT_TYPE, width=8, mask=-1, match=PT_TDR, otherwise=trap(call),
                 text="type of the target's TDR")
        call.row(Op.LOAD, base=R.TD, offset=call.td("tdr_state"), mask=-1, match=TDR_READY, otherwise=trap(call),
                 text="fatal? keys? TDCX pages?")
        call.take(op_state, status("TDX_OPERAND_BUSY", "OP_STATE"), refused=trap(call))
        call.row(Op.LOAD_IN, base=R.TD, offset=call.td("op_state"), mask=sum(1 << state for state in self.allowed),
                 otherwise=trap(call), text="op_state allowed")


class IsBound(Phrase):
    def emit(self, call: Call):
        call.row(Op.LOAD, base=R.TD, offset=call.td("servtd_binding"), mask=-1, match=BOUND, otherwise=trap(call),
                 text="bound")


def trap(call: Call) -> str:
    """The label of code that ends a service TD's call as a TD exit, because of its target."""
    label = call.fresh("trap")
    with call.listing.aside(label):
        call.listing.answer(status("TDX_CROSS_TD_TRAP"), next=call.unwinding(forgets=False))
    return label
