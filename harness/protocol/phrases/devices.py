"""Phrases of memory of devices in the SEPT (TDX Connect, the 2.0 line): mapped, accepted, blocked, unmapped.

All of these calls write the entry by a plain store, in every release: a TDHP that has come since is lost.
Abstracted away: a TD has one page of one device, assigned to it already and unlocked; IOTLB tracking; streams.  How the
module's tables of devices (MMIOMT, DEVIFCS, IOMMU) are locked was not read: one try each, exclusively, is derived.
"""

from typing import ClassVar

from harness.memory.layout import MMIOMT_MAPPED, PAMT_BEPOCH
from harness.protocol.assemble import Held
from harness.protocol.call import EXCLUSIVE, Call
from harness.protocol.locate import write_walk
from harness.protocol.phrases.guests import stopped_above, violation
from harness.protocol.phrases.locking import Entry
from harness.protocol.phrases.pages import write_entry
from harness.protocol.phrases.phrase import Phrase
from harness.protocol.releases import DEFAULT, STORE, Release
from kernels import epoch
from kernels.ops import Op, Register as R
from kernels.words import GUEST_ACCESSIBLE, HPA_MASK, PS, STATE, TDHP, states, status


class DeviceTable(Phrase):
    """An entry of one of the module's tables of devices: MMIOMT, DEVIFCS, IOMMU."""

    table: str
    operand: str

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return (Held(self.table, EXCLUSIVE, "mutex", R.TD, self.table.lower()),)

    def emit(self, call: Call):
        call.take(self.locks()[0], status("TDX_OPERAND_BUSY", self.operand))


class NotMapped(Phrase):
    def emit(self, call: Call):
        call.row(Op.LOAD, base=R.TD, offset=call.td("mmiomt") + MMIOMT_MAPPED, width=8, mask=-1, text="not mapped yet",
                 otherwise=call.fail("TDX_MMIO_INVALID_PAGE_METADATA", "RCX"))


class Mapped(Phrase):
    """Whether the device's page is mapped."""

    value: int

    def emit(self, call: Call):
        call.row(Op.STORE, base=R.TD, offset=call.td("mmiomt") + MMIOMT_MAPPED, width=8, value=self.value,
                 text="mapped")


class DeviceEntry(Phrase):
    """The entry's new word; `releases`: without TDEL, so that the write is the release."""

    state: str
    releases: bool
    hpa: str = "copy"            # or "new", "none"

    def emit(self, call: Call):
        call.work(call.name + "_ns")
        word = STATE[self.state].word(lock=not self.releases, access=call.release.access)
        if self.hpa == "copy":
            call.row(Op.MERGE, register=R.NEW, source=R.COPY, mask=HPA_MASK | TDHP, value=word, text=f"as {self.state}")
            write_entry(call, self.releases, text=f"entry as {self.state}", how=STORE)
        else:
            write_entry(call, self.releases, R.HPA if self.hpa == "new" else R.ZERO, word, f"entry as {self.state}", STORE)


class DevicePage(Phrase):
    """PAMT = the device's page, for Tracked: its bepoch lies where a PAMT entry has it."""

    def emit(self, call: Call):
        call.row(Op.LET, register=R.PAMT, source=R.TD, value=call.td("mmiomt"), text="MMIOMT entry of the page")


class NoteDeviceBlocked(Phrase):
    """bepoch := td_epoch, after the entry is blocked."""

    def emit(self, call: Call):
        call.row(Op.LOAD, base=R.TD, offset=call.td("epoch") + epoch.EPOCH_BYTE, width=32, register=R.BEPOCH,
                 text="td_epoch")
        call.row(Op.STORE, base=R.TD, offset=call.td("mmiomt") + PAMT_BEPOCH, source=R.BEPOCH, text="bepoch")


class AcceptDevice(Phrase):
    """TDG.TDI.MMIO.ACCEPT: "is it a leaf" is kept from the walk without a lock, in every release.

    So a page that the host maps in between is refused as TDX_MMIO_ACCEPT_SIZE_MISMATCH, and a second call succeeds.
    tdg_mmio_accept.c 2.0.18 c1400
    """

    operand: ClassVar[str] = "RCX"

    def locks(self, level: int = 0, release: Release = DEFAULT):
        return Entry(()).locks()

    def emit(self, call: Call):
        stopped = call.fresh("stopped")
        write_walk(call.listing, stopped=stopped)
        with call.listing.aside(stopped):
            stopped_above(call)
        call.row(Op.LET, register=R.UNLOCKED, source=R.COPY)
        Entry(()).emit(call)
        refused, decide, leaf, accepted = violation(call), call.fresh("decide"), call.fresh("leaf"), call.fresh("accepted")
        no_leaf = call.fresh("no_leaf")
        call.row(Op.TEST, register=R.UNLOCKED, mask=PS, match=PS, next=leaf, otherwise=no_leaf, text="is a leaf")
        call.listing.label(no_leaf)
        call.row(Op.IN, source=R.STATE, mask=states("FREE"), next=decide, text="FREE",
                 otherwise=call.fail("TDX_MMIO_ACCEPT_SIZE_MISMATCH", call.level))
        call.listing.label(leaf)
        with call.listing.aside(accepted):
            call.row(Op.LET, next=call.fail("TDX_PAGE_ALREADY_ACCEPTED", call.level))
        call.row(Op.IN, source=R.STATE, mask=states(*GUEST_ACCESSIBLE), next=accepted, otherwise=decide, text="accepted")
        call.listing.label(decide)
        call.row(Op.IN, source=R.STATE, mask=states("MMIO_PENDING"), otherwise=refused, text="MMIO_PENDING")
        DeviceEntry("MMIO_MAPPED", releases=False).emit(call)
