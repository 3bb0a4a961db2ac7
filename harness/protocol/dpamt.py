"""The kernel's side of Dynamic PAMT: how get and put of a 2 MiB range's page pair were designed, as rows.

Before a 4 KiB page is given to the module its range needs a pair of pages for PAMT entries (TDH.PHYMEM.PAMT.ADD), which
the kernel takes back with the last page (TDH.PHYMEM.PAMT.REMOVE).  Ranges are the host's, pages in one belong to several
TDs, so no lock of a VM keeps two gets, or a get and a put, apart.  A row says what does:

    lock       "global": one pamt_lock; "range": one of each range, and read locks of the ranges in which the pair's pages
               lie; "none"
    counts     whether the kernel counts the pages of a range itself; otherwise it adds always, and removes when the module
               hints that the last page has gone
    fast_get   a count above zero goes up without the lock
    put        "locked": down under the lock; "dec": down without it, and what is then zero is looked at again under it;
               "dec_unless_one": down without it but for the last, which falls under it (atomic_dec_and_lock)
    found      a range that has its pair already, in a get: "ok", "one" (the count becomes 1), "inc", "error"
    failed     PAMT.REMOVE that fails, in a put: "nothing", "inc", "one" (the count becomes 1), "keep" (it stays)
    retries    BUSY is tried again at once, for ever; otherwise it is an error
    own_pool   the pair's pages never lie in a range that has pages of TDs
    empty      a get in a fault that finds its vCPU's cache of page pairs empty: "error": -ENOMEM, the fault fails; "atomic": a
               warning, and pages from the reserve
    demote     DEMOTE, which is given a pair: "locked": as PAMT.ADD; "bare": without the lock, BUSY is a KVM_BUG_ON;
               "tries": without it, and once more under it if BUSY

flows/pamt.py writes them; `explore --policies configs/explore/pamt_*.toml` says which hold.  To add a design: add a row.
"""

from typing import NamedTuple

MAIL = "Dynamic PAMT series, "

# Pairs to which a vCPU's cache is topped up before each try of a fault: PT64_ROOT_MAX_LEVEL, one for each SEPT page and one for
# the page, as the root needs none.  RFC, May 2025; [PATCHv2 08/12], 9 Jun 2025; v4 12/16, 21 Nov 2025; v6 09/11, 25 May 2026.
TOPPED_UP_TO = 5


class Design(NamedTuple):
    """A row; see above.  `breaks`: the invariants that some configs/explore/pamt_*.toml sees broken."""

    name: str
    meaning: str
    source: str
    lock: str = "global"
    counts: bool = True
    fast_get: bool = False
    put: str = "locked"
    found: str = "error"
    failed: str = "keep"
    retries: bool = False
    own_pool: bool = False
    empty: str = "error"
    demote: str = "locked"
    breaks: tuple[str, ...] = ()


DESIGNS = (
    Design("dpamt_merged", "all of get and put under one lock", "tip x86/tdx, 4 Sep 2026 (v6, patch 05): tdx_pamt_get, tdx_pamt_put"),
    Design("dpamt_fast_v6", "counts above one change without the lock; the first and the last under it",
           MAIL + "v6, patch 06 (Optimize tdx_pamt_get/put), 2026: reviewed, not merged",
           fast_get=True, put="dec_unless_one", failed="one"),
    Design("dpamt_irqsave", "as dpamt_fast_v6, interrupts off under the lock: the same steps, as no interrupt is modelled here",
           "Sean Christopherson, 6 Feb 2026: raw_spinlock_irqsave", fast_get=True, put="dec_unless_one", failed="one"),
    Design("dpamt_demote_bare", "as dpamt_merged; DEMOTE of a split does not take the lock",
           "huge pages, RFC v5, Jan 2026; Yan Zhao, Re: [RFC PATCH v5 30/45], 11 Jun 2026: ADD and DEMOTE meet across TDs", demote="bare",
           breaks=("pamt_get", "pamt_put", "pamt_busy", "pamt_priority")),
    Design("dpamt_demote_tries", "as dpamt_merged; DEMOTE without the lock first, under it if that is BUSY",
           "an optimisation left for later in the answers to Yan Zhao, 11 Jun 2026", demote="tries",
           breaks=("pamt_get", "pamt_put", "pamt_priority")),
    Design("dpamt_v4", "the count falls to zero without the lock; a range that has its pair counts as 1",
           MAIL + "v4, Nov 2025, and RFC v5, Jan 2026; the same steps in v2, PATCHv2 04/12, 9 Jun 2025", fast_get=True, put="dec", found="one", failed="inc",
           breaks=("pamt_present", "pamt_put", "pamt_priority", "pamt_counted")),
    Design("dpamt_v3", "the same, but the count of a range that has its pair goes up by one", MAIL + "v3, Sep 2025",
           fast_get=True, put="dec", found="inc", failed="inc", breaks=("pamt_present", "pamt_put", "pamt_priority", "pamt_counted")),
    Design("dpamt_v1", "the same as v4, and a PAMT.REMOVE that fails is printed only",
           MAIL + "v1 (RFC), May 2025; Chao Gao, May 2025: should the count be restored?",
           fast_get=True, put="dec", found="one", failed="nothing", empty="atomic", breaks=("pamt_put",)),
    Design("dpamt_hints", "no count: add always, remove on the module's hint that the last page has gone",
           MAIL + "first attempt; Rick Edgecombe, v3 cover letter, Sep 2025: why it cannot work",
           lock="none", counts=False, found="ok", failed="nothing", retries=True, demote="bare",
           breaks=("no_halt", "starvation", "pamt_present", "pamt_put", "pamt_busy", "pamt_priority")),
    Design("dpamt_per_2m", "a lock for each range; PAMT.ADD also reads the ranges in which its pair lies",
           "Rick Edgecombe, 28 Sep 2025; Yan Zhao, the same day: two ranges wait for each other", lock="range",
           breaks=("deadlock",)),
    Design("dpamt_pool", "a lock for each range, and pairs from a pool; no page of a TD lies in its ranges",
           "Yan Zhao and Kiryl Shutsemau, Sep 2025", lock="range", own_pool=True),
    Design("dpamt_no_lock", "a count and no lock: BUSY is tried again, a pair that is there already is fine",
           "considered in the review of v3 to v6; Dave Hansen: the only other option is to spin", lock="none", fast_get=True,
           put="dec", found="inc", failed="nothing", retries=True, demote="bare",
           breaks=("no_halt", "starvation", "pamt_present", "pamt_put", "pamt_busy", "pamt_priority")),
)
BY_NAME = {design.name: design for design in DESIGNS}
assert len(BY_NAME) == len(DESIGNS)
