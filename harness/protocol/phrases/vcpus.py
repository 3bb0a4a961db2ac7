"""Phrases about vCPUs: TDH.VP.ENTER and the TD exit, association with a processor, creation."""

from typing import ClassVar

from harness.memory.layout import TDVPS_EPOCH, TDVPS_LP, TDVPS_STATE, TDVPS_STEPPING, TDVPS_TDCX, TDVPS_TLB, TLB_ENTRIES
from harness.protocol.assemble import Held
from harness.protocol.call import SHARED, Call
from harness.protocol.locate import locate_entries, write_walk
from harness.protocol.phrases.locking import Drop, EpochLock, at_least
from harness.protocol.phrases.phrase import Phrase
from harness.protocol.releases import DEFAULT, Release
from kernels import epoch, stepping
from kernels.ops import Op, Register as R
from kernels.words import (
    ACCEPTABLE, EXIT_REASON_EPT_VIOLATION, NO_LP, RWX, TDVPS_PAGES, TDVPS_PAGES_MAX, VCPU_ACTIVE, VCPU_READY, VCPU_UNINITIALIZED,
    states, status,
)

REFCOUNT = Held("TD_EPOCH count", SHARED, "count", R.REFCOUNT)


class Associate(Phrase):
    """The vCPU must be complete and READY, and belong to this processor or to none.  helpers.c:960-1036"""

    def emit(self, call: Call):
        new, done = (call.fresh(part) for part in ("new", "associated"))
        other = call.fresh("other")
        VcpuComplete().emit(call)
        VcpuIs(VCPU_READY).emit(call)
        call.row(Op.LET, register=R.OLD, value=NO_LP)
        call.row(Op.SWAP, base=R.TDVPS, offset=TDVPS_LP, width=32, register=R.OLD, source=R.ME,
                 next=new, otherwise=other, text="assoc_lpid")
        with call.listing.aside(new):
            call.row(Op.ADD, base=R.TD, offset=call.td("num_assoc_vcpus"), value=1, next=done,
                     text="num_assoc_vcpus")
        call.listing.label(other)
        call.row(Op.TEST, register=R.OLD, source=R.ME, mask=-1, text="this processor",
                 otherwise=call.fail("TDX_VCPU_ASSOCIATED"))
        call.listing.label(done)


class CountIn(Phrase):
    """Count this vCPU at the current epoch; if that is another one than last time, flush.

    A newly associated vCPU has nothing to flush; flushing it all the same changes nothing here.
    helpers.c:2504-2546
    """

    operand: ClassVar[str] = "TD_EPOCH"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return EpochLock(SHARED).locks()

    def emit(self, call: Call):
        same = call.fresh("same")
        EpochLock(SHARED).emit(call)
        call.row(Op.LOAD, base=R.TD, offset=call.td("epoch"), register=R.EPOCH_WORD,
                 text="td_epoch and counts")
        call.row(Op.INDEX, register=R.VCPU_EPOCH, source=R.EPOCH_WORD, width=epoch.EPOCH_SHIFT,
                 mask=-1, match=1)
        call.row(Op.INDEX, register=R.REFCOUNT, base=R.TD, offset=call.td("epoch"), source=R.VCPU_EPOCH,
                 mask=1, match=epoch.REFCOUNT_BYTES, width=0, text="count of that parity")
        call.row(Op.ADD, base=R.REFCOUNT, width=16, value=1, text="count of running vCPUs")
        call.listing.hold(REFCOUNT)
        Drop("TD_EPOCH").emit(call)
        flush = call.fresh("flush")
        call.row(Op.LOAD, base=R.TDVPS, offset=TDVPS_EPOCH, register=R.OLD, text="vcpu_epoch")
        call.row(Op.TEST, register=R.OLD, source=R.VCPU_EPOCH, mask=-1, next=same, otherwise=flush)
        with call.listing.aside(flush):
            call.row(Op.TLB_FORGET, base=R.TDVPS, offset=TDVPS_TLB, value=TLB_ENTRIES, text="INVEPT")
            call.row(Op.STORE, base=R.TDVPS, offset=TDVPS_EPOCH, source=R.VCPU_EPOCH, next=same,
                     text="vcpu_epoch")
        call.listing.label(same)


class EntryFilter(Phrase):
    """The zero-step mitigation at entry, up to the moment of entry.  td_exit_stepping.c:316-360

    With nothing listed: op_state is released and the vCPU becomes ACTIVE.  Otherwise the SEPT tree
    is taken first (exclusively; from 1.5.20 shared, as a lock with host priority); if a listed GPA
    would fault again the call ends with an EPT-violation exit for that GPA (PAGE); if none would, the
    tree is held until just before the vCPU becomes ACTIVE.  From 1.5.20 a page that is PENDING does
    not refuse entry while the TD has pending #VE enabled: the guest gets a #VE for it.
    (td_exit_stepping.c:162-169 in 1.5.24)
    Abstracted away: the #VE notification that a TD can ask for, L2.
    """

    operand: ClassVar[str] = "SEPT_TREE"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held("SEPT_TREE", release.filter_tree, release.tree, R.TD, "secure_ept_lock"),)

    def emit(self, call: Call):
        listing = call.listing
        suspect, again, fine, faults, enter = (
            call.fresh(part) for part in ("suspect", "listed", "fine", "faults", "active"))
        call.row(Op.STEPPING_ENTER, base=R.TDVPS, offset=TDVPS_STEPPING, otherwise=suspect,
                 text="GPAs listed?")
        with listing.aside(suspect):
            call.take(self.locks(release=call.release)[0], status("TDX_OPERAND_BUSY", self.operand))
            listing.count("zero_step.entries_with_lock")
            call.row(Op.LET, register=R.INDEX)
            listing.label(again)
            call.row(Op.STEPPING_LISTED, base=R.TDVPS, offset=TDVPS_STEPPING, register=R.PAGE,
                     otherwise=fine, text="next listed GPA")
            self._accessible(call, faults)
            call.row(Op.LET, register=R.INDEX, source=R.INDEX, value=1, next=again)
            with listing.aside(faults):
                Drop("SEPT_TREE").emit(call)
                listing.count("zero_step.synthetic_exits")
                listing.answer(EXIT_REASON_EPT_VIOLATION, next=call.unwinding())
            listing.label(fine)
            self._leave(call)
            Drop("SEPT_TREE").emit(call)
            listing.jump(enter)
        self._leave(call)
        listing.label(enter)
        call.row(Op.STORE, base=R.TDVPS, offset=TDVPS_STATE, width=8, value=VCPU_ACTIVE,
                 text="vCPU state: ACTIVE")

    @staticmethod
    def _accessible(call: Call, faults: str):
        """To `faults` if the processor's own walk for PAGE would end in an EPT violation."""
        walked = call.fresh("walked")
        locate_entries(call.listing, call.options.layout)
        call.row(Op.LET, register=R.LEVEL)
        write_walk(call.listing, stopped=walked)
        # Stopped above the bottom is at a large page, which may be accessible, or at nothing.
        call.listing.label(walked)
        denied, accessible = call.fresh("denied"), call.fresh("accessible")
        call.row(Op.TEST, register=R.COPY, mask=RWX, match=RWX, otherwise=denied, next=accessible,
                 text="accessible")
        with call.listing.aside(denied):
            if call.release.filter_pending or not call.options.pending_ve:
                call.row(Op.LET, next=faults)
            else:
                call.row(Op.STATE, register=R.STATE, source=R.COPY)
                call.row(Op.IN, source=R.STATE, mask=states(*ACCEPTABLE), next=accessible, otherwise=faults,
                         text="any PENDING: #VE")
        call.listing.label(accessible)

    @staticmethod
    def _leave(call: Call):
        Drop("OP_STATE").emit(call)
        call.work("td_entry_ns")


class Exit(Phrase):
    """TD exit: READY, uncounted, TDR and TDVPR dropped.  td_exit.c:457-535"""

    def emit(self, call: Call):
        call.row(Op.STORE, base=R.TDVPS, offset=TDVPS_STATE, width=8, value=VCPU_READY,
                 text="vCPU state: READY")
        call.work("td_exit_ns")
        for resource in ("TD_EPOCH count", "TDR", "TDVPR", "TDVPR.2M", "TDVPR.1G"):
            Drop(resource).emit(call)


class VcpuComplete(Phrase):
    """The vCPU has its TDCX pages; this is looked at before its state.  helpers.c, map_tdvps"""

    def emit(self, call: Call):
        call.row(Op.LOAD_IN, base=R.TDVPS, offset=TDVPS_TDCX, width=8, mask=at_least(TDVPS_PAGES - 1),
                 otherwise=call.fail("TDX_TDCX_NUM_INCORRECT"), text="TDCX pages")


class VcpuIs(Phrase):
    """The vCPU must be in a state."""

    state: int

    def emit(self, call: Call):
        carries = R.OLD if call.release.vcpu_state_status else None
        call.row(Op.LOAD, base=R.TDVPS, offset=TDVPS_STATE, width=8, register=R.OLD, mask=-1, match=self.state,
                 otherwise=call.fail("TDX_VCPU_STATE_INCORRECT", carries=carries), text="vCPU state")


class NewVcpu(Phrase):
    """A TDVPR page becomes a vCPU without TDCX pages, on no processor, suspected of nothing."""

    def emit(self, call: Call):
        for offset, width, value, text in (
                (TDVPS_STATE, 8, VCPU_UNINITIALIZED, "vCPU state: UNINITIALIZED"),
                (TDVPS_TDCX, 8, 0, "TDCX pages"),
                (TDVPS_LP, 32, NO_LP, "assoc_lpid"),
                (TDVPS_EPOCH, 64, 0, "vcpu_epoch"),
                (TDVPS_STEPPING + stepping.EPF_COUNT, 8, 0, "possibly_epf_stepping"),
                (TDVPS_STEPPING + stepping.EPF_LENGTH, 8, 0, "last_epf_gpa_list_idx")):
            call.row(Op.STORE, base=R.TDVPS, offset=offset, width=width, value=value, text=text)


class MoreVcpuPages(Phrase):
    """The vCPU must not have all TDCX pages yet that any vCPU can have."""

    def emit(self, call: Call):
        call.row(Op.LOAD_IN, base=R.TDVPS, offset=TDVPS_TDCX, width=8,
                 mask=~at_least(TDVPS_PAGES_MAX - 1), otherwise=call.fail("TDX_TDCX_NUM_INCORRECT"), text="TDCX pages")


class NewVcpuPage(Phrase):
    """One more TDCX page of the vCPU."""

    def emit(self, call: Call):
        call.row(Op.ADD, base=R.TDVPS, offset=TDVPS_TDCX, width=8, value=1, text="TDCX pages")


class InitVcpu(Phrase):
    """The vCPU is complete: READY, counted, and associated with the processor that makes the call."""

    def emit(self, call: Call):
        call.row(Op.ADD, base=R.TD, offset=call.td("num_vcpus"), value=1, text="num_vcpus")
        call.row(Op.STORE, base=R.TDVPS, offset=TDVPS_STATE, width=8, value=VCPU_READY, text="vCPU state: READY")
        call.row(Op.STORE, base=R.TDVPS, offset=TDVPS_LP, width=32, source=R.ME, text="assoc_lpid")
        call.row(Op.ADD, base=R.TD, offset=call.td("num_assoc_vcpus"), value=1, text="num_assoc_vcpus")


class Dissociate(Phrase):
    """The vCPU leaves this processor, which forgets its translations.  tdh_vp_flush.c:124-151"""

    def emit(self, call: Call):
        call.row(Op.LOAD, base=R.TDVPS, offset=TDVPS_LP, width=32, register=R.OLD, text="assoc_lpid")
        call.row(Op.TEST, register=R.OLD, source=R.ME, mask=-1, text="this processor",
                 otherwise=call.fail("TDX_VCPU_NOT_ASSOCIATED"))
        call.row(Op.TLB_FORGET, base=R.TDVPS, offset=TDVPS_TLB, value=TLB_ENTRIES, text="INVEPT")
        call.row(Op.STORE, base=R.TDVPS, offset=TDVPS_LP, width=32, value=NO_LP, text="assoc_lpid")
        call.row(Op.ADD, base=R.TD, offset=call.td("num_assoc_vcpus"), value=-1, text="num_assoc_vcpus")
