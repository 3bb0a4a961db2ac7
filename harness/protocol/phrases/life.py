"""Phrases of a TD's life: its HKID and keys, its TDCX pages, built, finalized, torn down.

    TDH.MNG.CREATE       the HKID is the TD's                       HKID_ASSIGNED
    TDH.MNG.KEY.CONFIG   a key on each package                      KEYS_CONFIGURED
    TDH.MNG.VPFLUSHDONE  no vCPU is associated any more             BLOCKED
    TDH.PHYMEM.CACHE.WB  caches are written back, on each package
    TDH.MNG.KEY.FREEID   the HKID is free                           TEARDOWN

Abstracted away: measurement, the parameters of TDH.MNG.INIT, contents of control pages.
"""


from harness.memory.layout import (
    KOT_PACKAGES, KOT_STATE, LINE, NOTED, PAMT_TYPE, TDR_FATAL, TDR_LIFECYCLE, TDR_TDCX, TO_WRITE_BACK, WBT_POINT,
)
from harness.memory.block import all_packages
from harness.protocol.call import Call
from harness.protocol.faults import draw_random
from harness.protocol.phrases.locking import INTERRUPT, NAMED, OpState, at_least
from harness.protocol.phrases.pages import PageBecomes, each
from harness.protocol.phrases.phrase import Phrase
from kernels import epoch
from kernels.ops import Op, Register as R
from kernels.words import (
    HKID_FLUSHED, OP_STATE_UNINITIALIZED, PT_NDA, PT_RSVD, PT_TDR, STATE, TD_TEARDOWN,
    TDCS_PAGES, TDCS_PAGES_MAX,
)


class NotFatal(Phrase):
    def emit(self, call: Call):
        call.row(Op.LOAD, base=R.TD, offset=call.td("tdr_state") + TDR_FATAL, width=8, mask=-1,
                 otherwise=call.fail("TDX_TD_FATAL"), text="TDR.fatal")


class Lifecycle(Phrase):
    """TDR.lifecycle_state must be one of `allowed`."""

    allowed: tuple[int, ...]
    wrong: str = "TDX_LIFECYCLE_STATE_INCORRECT"

    def emit(self, call: Call):
        call.row(Op.LOAD_IN, base=R.TD, offset=call.td("tdr_state") + TDR_LIFECYCLE, width=8, register=R.OLD,
                 mask=sum(1 << state for state in self.allowed), otherwise=call.fail(self.wrong),
                 text="lifecycle_state allowed")


class LifecycleBecomes(Phrase):
    state: int

    def emit(self, call: Call):
        call.row(Op.STORE, base=R.TD, offset=call.td("tdr_state") + TDR_LIFECYCLE, width=8, value=self.state,
                 text="lifecycle_state")


class NewTdr(Phrase):
    """A page becomes a TDR: nothing counted, nothing configured."""

    def emit(self, call: Call):
        for word in ("tdr_state", "keys", "chldcnt", "num_vcpus", "num_assoc_vcpus", "op_state"):
            call.row(Op.STORE, base=R.TD, offset=call.td(word), text=word)


class DrawRandom(Phrase):
    """A random number is drawn; without entropy the call ends with `failure`.

    last_page   only with the last TDCX page that must be there
    Entropy never runs out by itself here: it takes a config that injects it (faults.no_entropy_share).
    """

    failure: str = "TDX_RND_NO_ENTROPY"
    last_page: bool = False

    def emit(self, call: Call):
        if not call.options.faults.no_entropy_share:
            return
        drawn = call.fresh("drawn")
        if self.last_page:
            call.row(Op.LOAD, base=R.TD, offset=call.td("tdr_state") + TDR_TDCX, width=8, mask=-1,
                     match=TDCS_PAGES - 1, otherwise=drawn, text="num_tdcx")
        draw_random(call, self.failure, drawn)


class HkidIs(Phrase):
    """The HKID's state in the Key Ownership Table must be one."""

    state: int
    wrong: str

    def emit(self, call: Call):
        call.row(Op.LOAD, base=R.KOT_ENTRY, offset=KOT_STATE, width=8, mask=-1, match=self.state,
                 otherwise=call.fail(self.wrong), text="state of the HKID")


class HkidBecomes(Phrase):
    """The HKID's state; FLUSHED also marks every package's caches as to be written back."""

    state: int

    def emit(self, call: Call):
        packages = all_packages(call.options.layout.packages) if self.state == HKID_FLUSHED else 0
        call.row(Op.STORE, base=R.KOT_ENTRY, value=self.state | packages << 8 * KOT_PACKAGES,
                 text="state of the HKID")


class WrittenBack(Phrase):
    """Every package must have written its caches back since the HKID was flushed."""

    def emit(self, call: Call):
        call.row(Op.LOAD, base=R.KOT_ENTRY, mask=~0xFF, otherwise=call.fail("TDX_WBCACHE_NOT_COMPLETE"),
                 text="packages to write back")


def _each_hkid(call: Call, write) -> None:
    """Rows of `write()` with CURSOR at this package's byte of each HKID's entry."""
    call.row(Op.LET, register=R.OLD, source=R.PACKAGE, value=call.options.layout.at("kot") + KOT_PACKAGES)
    each(call, R.OLD, LINE, write, count=call.options.layout.tds)


class BeginWriteBack(Phrase):
    """A session begins: it is about the HKIDs that are flushed now.  Without any there is nothing to be done."""

    def emit(self, call: Call):
        listing, some = call.listing, call.fresh("some")
        call.row(Op.STORE, base=R.WBT, offset=WBT_POINT, text="no session to resume")
        call.row(Op.LET, register=R.FIRST, text="HKIDs that are flushed")

        def note():
            behind = call.fresh("behind")
            call.row(Op.INDEX, register=R.OLD, base=R.CURSOR, source=R.PACKAGE, mask=-1, match=-1, offset=-KOT_PACKAGES,
                     text="the HKID's entry")
            call.row(Op.LOAD, base=R.OLD, offset=KOT_STATE, width=8, mask=-1, match=HKID_FLUSHED, otherwise=behind,
                     text="state of the HKID")
            call.row(Op.LET, register=R.FIRST, source=R.FIRST, value=1)
            call.row(Op.LOAD, base=R.CURSOR, width=8, mask=-1, match=TO_WRITE_BACK, otherwise=behind, text="this package")
            call.row(Op.STORE, base=R.CURSOR, width=8, value=NOTED, text="to be written back")
            listing.label(behind)

        _each_hkid(call, note)
        none = call.fresh("none")
        call.row(Op.TEST, register=R.FIRST, mask=-1, next=none, otherwise=some, text="none?")
        with listing.aside(none):
            call.row(Op.LET, next=call.fail("TDX_NO_HKID_READY_TO_WBCACHE"))
        listing.label(some)


class ResumeWriteBack(Phrase):
    """A session of this package must have been interrupted."""

    def emit(self, call: Call):
        some, none = call.fresh("some"), call.fresh("none")
        call.row(Op.LOAD, base=R.WBT, offset=WBT_POINT, mask=-1, next=none, otherwise=some, text="interrupted?")
        with call.listing.aside(none):
            call.row(Op.LET, next=call.fail("TDX_WBCACHE_RESUME_ERROR"))
        call.listing.label(some)


class WriteCachesBack(Phrase):
    """This package writes its caches back; then it has done so for the HKIDs that the session is about.

    begins   whether the session does: between the two sub-blocks that the model has, an interrupt ends the call,
             which is resumed with RCX = 1.  A resumed one is at its last sub-block.
    """

    begins: bool

    def emit(self, call: Call):
        call.work("tdh_phymem_cache_wb_ns")
        if self.begins:
            interrupted = call.fresh("interrupted")
            call.row(Op.LOAD, base=R.KICK, mask=INTERRUPT, otherwise=interrupted, text="interrupt pending?")
            with call.listing.aside(interrupted):
                call.row(Op.STORE, base=R.WBT, offset=WBT_POINT, value=1, text="where to go on")
                call.row(Op.LET, next=call.fail("TDX_INTERRUPTED_RESUMABLE"))
        call.row(Op.STORE, base=R.WBT, offset=WBT_POINT, text="no session to resume")

        def done():
            behind = call.fresh("behind")
            call.row(Op.LOAD, base=R.CURSOR, width=8, mask=-1, match=NOTED, otherwise=behind, text="of this session")
            call.row(Op.EXCHANGE, base=R.CURSOR, width=8, register=R.SINK, text="written back")
            call.listing.label(behind)

        _each_hkid(call, done)


class NoKeyYet(Phrase):
    """This package must not have the TD's key yet; the key table is not tried for that."""

    def emit(self, call: Call):
        call.row(Op.INDEX, register=R.CURSOR, base=R.TD, offset=call.td("keys"), source=R.PACKAGE, mask=-1, match=1,
                 text="this package")
        call.row(Op.LOAD, base=R.CURSOR, width=8, mask=-1, otherwise=call.fail("TDX_KEY_CONFIGURED"),
                 text="key configured?")


class KeyConfigured(Phrase):
    """This package has the TD's key; with the last one the TD's keys are configured."""

    state: int

    def emit(self, call: Call):
        missing = call.fresh("missing")
        call.row(Op.INDEX, register=R.CURSOR, base=R.TD, offset=call.td("keys"), source=R.PACKAGE, mask=-1, match=1,
                 text="this package")
        call.row(Op.STORE, base=R.CURSOR, width=8, value=1, text="key configured")
        call.row(Op.LOAD, base=R.TD, offset=call.td("keys"), mask=-1, otherwise=missing,
                 match=all_packages(call.options.layout.packages), text="on all packages")
        LifecycleBecomes(self.state).emit(call)
        call.listing.label(missing)


class NobodyAssociated(Phrase):
    def emit(self, call: Call):
        call.row(Op.LOAD, base=R.TD, offset=call.td("num_assoc_vcpus"), mask=-1,
                 otherwise=call.fail("TDX_FLUSHVP_NOT_DONE"), text="num_assoc_vcpus")


class MoreTdcx(Phrase):
    """The TD must still have room for a TDCX page."""

    def emit(self, call: Call):
        call.row(Op.LOAD_IN, base=R.TD, offset=call.td("tdr_state") + TDR_TDCX, width=8,
                 mask=~at_least(TDCS_PAGES_MAX), otherwise=call.fail("TDX_TDCX_NUM_INCORRECT"), text="num_tdcx")


class TdcsStillNew(Phrase):
    """A TD that has all the TDCX pages it must have has an op_state by now: it must be a new one."""

    def emit(self, call: Call):
        new, there = call.fresh("new"), call.fresh("there")
        call.row(Op.LOAD_IN, base=R.TD, offset=call.td("tdr_state") + TDR_TDCX, width=8, mask=~at_least(TDCS_PAGES),
                 next=new, otherwise=there, text="num_tdcx")
        call.listing.label(there)
        OpState(None, (OP_STATE_UNINITIALIZED,)).check(call)
        call.listing.label(new)


class NewTdcx(Phrase):
    def emit(self, call: Call):
        call.row(Op.ADD, base=R.TD, offset=call.td("tdr_state"), value=1 << 8 * TDR_TDCX, text="num_tdcx")


class InitTd(Phrase):
    """The TDCS as TDH.MNG.INIT leaves it: epoch 1, an empty SEPT.  tdh_mng_init.c:597-599"""

    state: int

    def emit(self, call: Call):
        layout = call.options.layout
        call.row(Op.STORE, base=R.TD, offset=call.td("epoch"), value=epoch.epoch_word(epoch.FIRST_EPOCH),
                 text="td_epoch")
        call.row(Op.LET, register=R.OLD, source=R.TD, value=layout.at("sept.2"))
        each(call, R.OLD, 8, lambda: call.row(Op.STORE, base=R.CURSOR, value=STATE["FREE"].word(),
                                              text="an entry of the root"), count=layout.by_name["sept.2"].count)
        OpStateBecomes(self.state).emit(call)


class OpStateBecomes(Phrase):
    state: int

    def emit(self, call: Call):
        call.row(Op.STORE, base=R.TD, offset=call.td("op_state"), value=self.state, text="op_state")


class HasVcpus(Phrase):
    def emit(self, call: Call):
        none, some = call.fresh("none"), call.fresh("some")
        call.row(Op.LOAD, base=R.TD, offset=call.td("num_vcpus"), register=R.OLD, text="num_vcpus")
        call.row(Op.TEST, register=R.OLD, mask=-1, next=none, otherwise=some, text="none?")
        with call.listing.aside(none):
            call.row(Op.LET, next=call.fail("TDX_NO_VCPUS"))
        call.listing.label(some)


class Reclaimable(Phrase):
    """The page must be in use.  A TDR is reclaimed at once: it is the last of its TD's pages.

    tdh_phymem_page_reclaim.c
    """

    leveled = True

    def emit(self, call: Call):
        tdr, other, page = call.fresh("tdr"), call.fresh("other"), NAMED["PAGE"][call.level]
        call.row(Op.LOAD_IN, base=page, offset=PAMT_TYPE, width=8, register=R.OLD,
                 mask=~(1 << PT_NDA | 1 << PT_RSVD),
                 otherwise=call.fail("TDX_PAGE_METADATA_INCORRECT", "RCX"), text="type of PAGE: in use")
        if call.level:                   # a large page is no TDR
            call.row(Op.TEST, register=R.HPA, mask=(1 << 12 + 9 * call.level) - 1,
                     otherwise=call.fail("TDX_OPERAND_INVALID", "RCX"), text="the first of it")
            return
        call.row(Op.TEST, register=R.OLD, mask=-1, match=PT_TDR, next=tdr, otherwise=other, text="TDR?")
        with call.listing.aside(tdr):
            Lifecycle((TD_TEARDOWN,)).emit(call)
            call.row(Op.LOAD, base=R.TD, offset=call.td("chldcnt"), mask=-1,
                     otherwise=call.fail("TDX_TD_ASSOCIATED_PAGES_EXIST"), text="TDR.chldcnt")
            PageBecomes(PT_NDA).emit(call)
            call.succeed()
        call.listing.label(other)
