"""What a guest does with its memory: TDG.MEM.PAGE.*."""

from harness.protocol.calls.row import LEAF_LEVELS, Seamcall
from harness.protocol.phrases.guests import Accept, ReadAttributes, WriteAttributes
from harness.protocol.releases import Release
from kernels.words import GUEST_ACCESSIBLE


def rows(release: Release) -> tuple[Seamcall, ...]:
    return (
        Seamcall(
            "tdg_mem_page_accept", 6, "guest", (
                Accept(),
            ),
            source="src/td_dispatcher/vm_exits/tdg_mem_page_accept.c:49-326; 1.5.06 c2600; 1.5.28 c1400; 2.0.08 c6000; 2.0.12 c6000; 2.0.18 c1400;"
                   " 1.5.34 = 2.0.18",
            levels=LEAF_LEVELS,
        ),
        Seamcall(
            "tdg_mem_page_attr_rd", 23, "guest", (
                ReadAttributes((*GUEST_ACCESSIBLE, "PENDING", "PEND_BLOCKEDW", "PEND_EXP_BLOCKEDW", "PEND_EXP_DIRTY",
                                "PEND_EXP_DIRTY_BLOCKEDW")),
            ),
            source="src/td_dispatcher/vm_exits/tdg_mem_page_attr_rd.c:75-79; 1.5.20 c2800; 2.0.08 c2900",
        ),
        Seamcall(
            "tdg_mem_page_attr_wr", 24, "guest", (
                WriteAttributes(("MAPPED", "EXP_DIRTY", "PENDING", "PEND_EXP_DIRTY")),
            ),
            source="src/td_dispatcher/vm_exits/tdg_mem_page_attr_wr.c; 1.5.05:273-277; 1.5.20 c10400; 1.5.24:367; 1.5.28 c5000;"
                   " 1.5.34 c1400; 2.0.08 c9000; 2.0.12 c12000; 2.0.18 c9800",
            levels=LEAF_LEVELS,
        ),
    )
