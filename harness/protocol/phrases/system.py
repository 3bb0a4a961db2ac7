"""Phrases of the module's own life: initialized, configured, keyed, shut down, updated.

    SYS_INIT_PENDING   TDH.SYS.INIT         SYS_INIT_DONE     TDH.SYS.LP.INIT on each processor
                       TDH.SYS.CONFIG       SYS_CONFIG_DONE   TDH.SYS.KEY.CONFIG on each package
    SYS_READY          TDH.SYS.TDMR.INIT    TDH.SYS.SHUTDOWN  SYS_SHUTDOWN

Every SEAMCALL marks its processor as busy and looks at this state as it enters the module; a processor in a guest
is busy until the TD exit.  SHUTDOWN counts them.  Abstracted away unless `Options.inside`: with it each call has
four accesses more, which decide nothing unless another call shuts the module down.
"""

from typing import ClassVar

from harness.memory.layout import LINE, SYS_READY, SYS_SHUTDOWN, TDMR_PENDING
from harness.protocol.assemble import Held
from harness.protocol.call import EXCLUSIVE, Call
from harness.protocol.phrases.pages import each
from harness.protocol.phrases.phrase import Phrase
from harness.protocol.releases import DEFAULT, Release
from kernels.ops import Op, Register as R
from kernels.words import status


class Global(Phrase):
    """The module's global lock.  A lost try is TDX_SYS_BUSY, which names no operand."""

    mode: str

    operand: ClassVar[str] = "none (TDX_SYS_BUSY)"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held("GLOBAL", self.mode, "sharex", R.ZERO, "global_lock"),)

    def emit(self, call: Call):
        call.take(self.locks()[0], call.fail("TDX_SYS_BUSY"))


class SysState(Phrase):
    """How far the module must be."""

    state: int
    wrong: str

    def emit(self, call: Call):
        call.row(Op.LOAD, base=R.ZERO, offset=call.options.layout.at("sys_state"), mask=-1, match=self.state,
                 otherwise=call.fail(self.wrong), text="sys_state")


class SysStateBecomes(Phrase):
    state: int

    def emit(self, call: Call):
        call.work(call.name + "_ns")
        call.row(Op.STORE, base=R.ZERO, offset=call.options.layout.at("sys_state"), value=self.state, text="sys_state")


def _busy(call: Call, value: int, text: str) -> None:
    call.row(Op.INDEX, register=R.CURSOR, offset=call.options.layout.at("lp_busy") - LINE, source=R.ME, mask=-1, match=LINE,
             text="this processor")
    call.row(Op.STORE, base=R.CURSOR, value=value, text=text)


def leave(call: Call) -> None:
    """The processor is out of the module."""
    _busy(call, 0, "outside the module")


def enter(call: Call) -> None:
    """The processor is inside; a module that is shut down, or about to be, refuses (tdx_vmm_dispatcher.c 1.5.25:77, :757)."""
    call.leaves = leave
    _busy(call, 1, "inside the module")
    other = call.fresh("not_shut_down")
    call.row(Op.LOAD, base=R.ZERO, offset=call.options.layout.at("sys_state"), mask=-1, match=SYS_SHUTDOWN, otherwise=other,
             text="shut down?")
    call.listing.jump(call.fail("TDX_SYS_SHUTDOWN"))
    call.listing.label(other)


class NobodyElseInside(Phrase):
    """Behind the state's store: another processor in the module takes SHUTDOWN back (tdh_sys_shutdown.c 1.5.25:51-139)."""

    def emit(self, call: Call):
        if not call.options.inside:
            return
        layout, region = call.options.layout, call.options.layout.by_name["lp_busy"]
        undo, busy = call.fresh("takes_back"), call.fail("TDX_SYS_BUSY")
        with call.listing.aside(undo):
            call.row(Op.STORE, base=R.ZERO, offset=layout.at("sys_state"), value=SYS_READY, text="sys_state")
            call.listing.jump(busy)
        _busy(call, 0, "not counting itself")
        call.row(Op.LET, register=R.OLD, value=region.offset)
        each(call, R.OLD, LINE, lambda: call.row(Op.LOAD, base=R.CURSOR, mask=-1, otherwise=undo, text="nobody inside"),
             count=region.count)


class ProcessorPending(Phrase):
    """This logical processor has not been initialized; leaves where that is noted in R.CURSOR."""

    def emit(self, call: Call):
        call.row(Op.INDEX, register=R.CURSOR, offset=call.options.layout.at("lp_pending") - LINE, source=R.ME, mask=-1,
                 match=LINE, text="this processor")
        call.row(Op.LOAD, base=R.CURSOR, mask=-1, match=1, otherwise=call.fail("TDX_SYS_LP_INIT_DONE"),
                 text="not initialized yet")


class InitProcessor(Phrase):
    """Behind ProcessorPending: now it has."""

    def emit(self, call: Call):
        call.row(Op.STORE, base=R.CURSOR, text="initialized")


class ProcessorsReady(Phrase):
    wrong: str

    def emit(self, call: Call):
        region = call.options.layout.by_name["lp_pending"]
        wrong = call.fail(self.wrong)
        call.row(Op.LET, register=R.OLD, value=region.offset)
        each(call, R.OLD, LINE, lambda: call.row(Op.LOAD, base=R.CURSOR, mask=-1, otherwise=wrong,
                                                 text="a processor: initialized"), count=region.count)


class KeyPackage(Phrase):
    """This package has the module's key, once; with the last one the module is ready.  PCONFIG runs under GLOBAL."""

    ready: int

    def emit(self, call: Call):
        layout, missing = call.options.layout, call.fresh("missing")
        call.row(Op.INDEX, register=R.CURSOR, offset=layout.at("package_pending"), source=R.PACKAGE, mask=-1, match=LINE,
                 text="this package")
        call.row(Op.LOAD, base=R.CURSOR, mask=-1, match=1, otherwise=call.fail("TDX_KEY_CONFIGURED"),
                 text="no key yet")
        call.row(Op.STORE, base=R.CURSOR, text="key configured")
        for package in range(layout.packages):
            call.row(Op.LOAD, base=R.ZERO, offset=layout.at("package_pending", package), mask=-1, otherwise=missing,
                     text=f"package {package} has its key")
        SysStateBecomes(self.ready).emit(call)
        call.listing.label(missing)


class Tdmr(Phrase):
    """A TDMR's own lock: the calls about one exclude each other, those about two do not (the model has one)."""

    operand: ClassVar[str] = "RCX"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held("TDMR", EXCLUSIVE, "mutex", R.ZERO, "tdmr"),)

    def emit(self, call: Call):
        call.take(self.locks()[0], status("TDX_OPERAND_BUSY", self.operand))


class InitTdmr(Phrase):
    """The next part of the TDMR's PAMT.  Abstracted away: parts; one call does all."""

    def emit(self, call: Call):
        place = call.options.layout.at("tdmr") + TDMR_PENDING
        call.row(Op.LOAD, base=R.ZERO, offset=place, width=8, mask=-1, match=1,
                 otherwise=call.fail("TDX_TDMR_ALREADY_INITIALIZED"), text="not initialized yet")
        call.work(call.name + "_ns")
        call.row(Op.STORE, base=R.ZERO, offset=place, width=8, text="initialized")
