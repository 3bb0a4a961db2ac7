"""Physical memory: TDH.PHYMEM.*."""

from harness.protocol.calls.row import Seamcall
from harness.protocol.phrases.life import BeginWriteBack, Lifecycle, Reclaimable, ResumeWriteBack, WriteCachesBack
from harness.protocol.phrases.locking import Explicit, Implicit, Kot, Leaf, WriteBack
from harness.protocol.phrases.pages import Children, PageBecomes, PageType, TypeIs
from harness.protocol.phrases.pairs import Enabled, GivePair, TakePair
from harness.protocol.releases import EXCLUSIVE, SHARED, Release
from kernels.ops import Register as R
from kernels.words import PT_NDA, PT_PAMT, TD_TEARDOWN


def rows(release: Release) -> tuple[Seamcall, ...]:
    return (
        Seamcall(
            "tdh_phymem_page_reclaim", 28, "host", (
                Leaf("PAGE", EXCLUSIVE, "RCX", (
                    Reclaimable(),
                    Implicit("TDR", SHARED, "TDR"),
                    Lifecycle((TD_TEARDOWN,)),
                    Children(-1, own_size=True),
                    PageBecomes(PT_NDA, own_size=True),
                )),
            ),
            source="tdh_phymem_page_reclaim.c 1.5.01 c3700; 1.5.20 c3600; 1.5.24:87-153; 1.5.28 c3500; 2.0.08 c1800-10300",
        ),
        *(
            Seamcall(
                name, 40, "host", (
                    WriteBack(),
                    Kot(SHARED),
                    session,
                    WriteCachesBack(begins),
                ),
                source=f"tdh_phymem_cache_wb.c, RCX = {int(not begins)}; 1.5.24:117-168; 2.0.08 c2900-8300",
            )
            for name, session, begins in (
                ("tdh_phymem_cache_wb", BeginWriteBack(), True),
                ("tdh_phymem_cache_wb_resume", ResumeWriteBack(), False),
            )
        ),
        Seamcall(
            "tdh_phymem_page_wbinvd", 41, "host", (
                Leaf("PAGE", SHARED, "RCX", (
                    TypeIs(PT_NDA),
                )),
            ),
            source="tdh_phymem_page_wbinvd.c 2.0.08 c2600",
        ),
        Seamcall(
            "tdh_phymem_page_rdmd", 24, "host", (
                Leaf("PAGE", SHARED, "RCX", (
                    PageType(),
                )),
            ),
            source="tdh_phymem_page_rdmd.c:46-110; 1.5.20 c3400; 2.0.08 c3700; 2.0.12 c2500",
        ),
        *(_dynamic_pamt() if release.dynamic_pamt else ()),
    )


def _dynamic_pamt() -> tuple[Seamcall, ...]:
    """2 MiB of physical memory get the pages for the PAMT entries of their 4 KiB pages, or lose them."""
    return (
        Seamcall(
            "tdh_phymem_pamt_add", 58, "host", (
                Enabled(),
                Explicit("PAGE", EXCLUSIVE, "RCX", PT_NDA, own_size=True, wrong="TDX_HPA_RANGE_NOT_FREE"),
                GivePair(("RDX", "R8"), PT_NDA, 0, own=True, node=R.TARGET_2M, first=R.TARGET_4K),
            ),
            source="tdh_phymem_pamt_add.c 1.5.20 c4100; 2.0.08 c1500; 2.0.12 c4200; walk: src/common/memory_handlers/pamt_manager.c 1.5.24:378-440; 2.0.08 c15000",
            levels=(1,),
        ),
        Seamcall(
            "tdh_phymem_pamt_remove", 59, "host", (
                Enabled(),
                Explicit("PAGE", EXCLUSIVE, "RCX", PT_PAMT, own_size=True, wrong="TDX_NO_PAMT_PAGE_PAIR"),
                TakePair(),
            ),
            source="tdh_phymem_pamt_remove.c 1.5.24:119; 2.0.08 c1500; 2.0.12 c2600; walk: src/common/memory_handlers/pamt_manager.c 2.0.08 c15000",
            levels=(1,),
        ),
    )
