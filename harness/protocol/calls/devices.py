"""Memory of devices (TDX Connect, the 2.0 line): TDH.MMIO.MAP, BLOCK and UNMAP, TDG.TDI.MMIO.ACCEPT.

Files of src/vmm_dispatcher/api_calls/tdxio; `2.0.18 cN` is a character of the file.
"""

from harness.protocol.calls.row import Seamcall, td_shared
from harness.protocol.phrases.devices import (
    AcceptDevice, DeviceEntry, DevicePage, DeviceTable, Mapped, NoteDeviceBlocked, NotMapped,
)
from harness.protocol.phrases.locking import Entry, Tree
from harness.protocol.phrases.pages import Tracked
from harness.protocol.releases import EXCLUSIVE, SHARED, Release
from kernels.words import OP_STATE_INITIALIZED, OP_STATE_RUNNABLE

ALLOWED = (OP_STATE_INITIALIZED, OP_STATE_RUNNABLE)      # op_state_lookup.c


def rows(release: Release) -> tuple[Seamcall, ...]:
    if not release.connect:
        return ()
    return (
        Seamcall(
            "tdh_mmio_map", 158, "host", (
                *td_shared("RDX", ALLOWED),
                Tree(SHARED),
                Entry(("FREE",)),
                DeviceTable("MMIOMT", "RCX"),
                NotMapped(),
                DeviceTable("DEVIFCS", "R8"),
                DeviceTable("IOMMU", "RCX"),
                Mapped(1),
                DeviceEntry("MMIO_PENDING", releases=True, hpa="new"),
            ),
            source="tdh_mmio_map.c 2.0.08 c1800-10900; 2.0.12 c2800; 2.0.18 c1400",
        ),
        Seamcall(
            "tdh_mmio_block", 159, "host", (
                *td_shared("RDX", ALLOWED),
                Tree(EXCLUSIVE),
                Entry(("MMIO_MAPPED", "MMIO_PENDING")),
                DeviceEntry("MMIO_BLOCKED", releases=False),
                NoteDeviceBlocked(),
            ),
            source="tdh_mmio_block.c 2.0.08 c2500-7200; 2.0.18 c3500",
        ),
        Seamcall(
            "tdh_mmio_unmap", 160, "host", (
                *td_shared("RDX", ALLOWED),
                Tree(SHARED),
                Entry(("MMIO_BLOCKED",)),
                DevicePage(),
                Tracked(not_blocked=False),
                DeviceTable("DEVIFCS", "RCX"),
                DeviceEntry("FREE", releases=True, hpa="none"),
                Mapped(0),
            ),
            source="tdh_mmio_unmap.c 2.0.08 c2500-10200; 2.0.12 c3000; 2.0.18 c3500",
        ),
        Seamcall(
            "tdg_tdi_mmio_accept", 71, "guest", (
                AcceptDevice(),
            ),
            source="src/td_dispatcher/vm_exits/tdxio/tdg_mmio_accept.c 2.0.08 c3200; 2.0.18 c1400",
        ),
    )
