"""Pages of 2 MiB merged and split, and a page in another place: TDH.MEM.PAGE.PROMOTE, DEMOTE, RELOCATE."""

from harness.protocol.calls.op_states import CHANGES
from harness.protocol.calls.row import Seamcall, td_shared
from harness.protocol.phrases.large import Merge, Merged, Split, SplitPamt
from harness.protocol.phrases.locking import Entry, Explicit, GiveWay, Implicit, Tree
from harness.protocol.phrases.pages import LEAVES, Become, Children, Count, CountUsed, OwnPage, PageBecomes, Tracked
from harness.protocol.releases import EXCLUSIVE, SHARED, Release
from kernels.words import ANY_BLOCKED, PT_EPT, PT_NDA, PT_REG

RELOCATED = ((("MAPPED", "BLOCKED"), "MAPPED"), (("PENDING", "PEND_BLOCKED"), "PENDING"),
             *(((state,), state) for state in LEAVES
               if state not in ("MAPPED", "BLOCKED", "PENDING", "PEND_BLOCKED")))


def rows(release: Release) -> tuple[Seamcall, ...]:
    return (
        Seamcall(
            "tdh_mem_page_promote", 23, "host", (
                *td_shared("RDX", CHANGES),
                Tree(release.promote_tree),
                Entry(("NL_MAPPED", "NL_BLOCKED")),
                OwnPage(),
                Implicit("PAGE", EXCLUSIVE, "RCX"),
                Tracked(),
                Merge(),
                GiveWay(release.promote_gives_way),
                Merged(),
                Children(-1),
                PageBecomes(PT_NDA, page="found"),
                Count("blocked", -1, before=ANY_BLOCKED),
            ),
            source="tdh_mem_page_promote.c:55-103 and after; 1.5.13 c2000-18000; 1.5.16 c2000-18000; 1.5.20 c8000;"
                   " 1.5.24:50-83; 1.5.28 c7000; 1.5.34 c1400; 2.0.08 c1400;"
                   " 2.0.12 c1400; 2.0.14 c1400; 2.0.16 c7000; 2.0.18 c9000-25000",
            levels=(1,),
        ),
        Seamcall(
            "tdh_mem_page_demote", 15, "host", (
                *td_shared("RDX", CHANGES),
                Tree(SHARED),
                Entry(("MAPPED", "BLOCKED", "PENDING", "PEND_BLOCKED")),
                OwnPage(checked=True),
                Tracked(),
                Explicit("PAGE", EXCLUSIVE, "R8", PT_NDA),
                GiveWay(release.demote_gives_way),
                SplitPamt(),
                Split(),         # the module fills the page first, which no other call can see before the entry is written
                Become((((), "NL_MAPPED"),), hpa="new", releases=False),
                Count("blocked", -1, before=ANY_BLOCKED),
                PageBecomes(PT_EPT),
                Children(+1),
            ),
            source="tdh_mem_page_demote.c:405; 1.5.13 c9000; 1.5.16 c9000; 1.5.20 c17700; 1.5.24 c17700; 1.5.28 c13000;"
                   " 1.5.34 c1400; 2.0.08 c8000; 2.0.12 c17500;"
                   " 2.0.14 c17300; 2.0.16 c16500; 2.0.18 c19000",
            levels=(1,),
        ),
        Seamcall(
            "tdh_mem_page_relocate", 5, "host", (
                *td_shared("RDX", CHANGES),
                Tree(SHARED),
                Entry(LEAVES),
                OwnPage(),
                Implicit("PAGE", EXCLUSIVE, "RCX"),
                Tracked(idle=True),
                Explicit("TARGET", EXCLUSIVE, "R8", PT_NDA),
                PageBecomes(PT_NDA, page="found", counted=False),
                PageBecomes(PT_REG, clear_bepoch=True, page="TARGET"),
                Become(RELOCATED, hpa="moved", releases=False),
                CountUsed("found", -1),
                Count("blocked", -1, before=ANY_BLOCKED),
            ),
            source="tdh_mem_page_relocate.c:273-278; 1.5.13 c3500; 1.5.16 c5000; 1.5.20 c3700; 2.0.08 c6500; 2.0.12 c7000; 1.5.34 c3500; 2.0.18 c3500",
        ),
    )
