"""In which order each call of the module accesses shared memory: a line a call, taken from the module's source.

Written from the source and not from the rows of harness/protocol/calls/, which test_orders.py lays beside it.

    X.TDR/SH     a page named by address: its PAMT entries of 1G and 2M shared, the one of 4K in the mode, its
                 type is read.  A step that fails gives back what the page has got so far, before anything else
    X.PAGE@/EX   the same for a page of the call's own size: the entry of a large one is promoted
    F.PAGE/EX    the same of a page that may be of any size: the types of 2M and 1G are looked at on the way
    I.TDR/SH     a page that the module finds itself: its type is read, then its own PAMT entry is taken
    OPS/SH       fatal, keys and TDCX pages (one read here); op_state lock (OPS/-: none); op_state
    TREE/SH      SEPT tree lock, then the walk down to the entry (WALK: the walk alone)
    ENT          SEPT entry lock, host's side (ENT/guest), then the entry is read again
    EPOCH KOT    the locks of the epoch and of the Key Ownership Table
    KET WBT      the package's key table and its mutex of cache write-backs
    TRACKED      bepoch, then td_epoch and its counts in one read
    ?word        read and checked
    mem blocked  the TD's counters of pages and of blocked pages, in the releases that have them
    word=value   written; word+n, word-n added to; ENTRY=STATE as the release writes entries (ENTRY:=STATE plainly)
                 with +EL the entry stays locked, without it that write is the release
    -TDR         given back, a page's entries from 4K to 1G
    512x(...)    so often, with the next entry each time

    TDR TDVPR    the TD's and the vCPU's pages          MAPPED   the page that the entry maps, of its own size
    PAGE TARGET  pages that the caller names            LARGE    a large page as such
    CHILD PART   the entry's, the page's 512 parts      size     pages of 4 KiB in a page of the call's level

When a call fails, what is held is given back in the order of the line's end, unless `fails` has another.
Files are those of src/vmm_dispatcher/api_calls; `since` and `until` are releases, with their fellows (AS).
"""

from typing import NamedTuple

# Releases that are, in these orders, like one of the 1.5 line.
AS = {"report-2024": "1.5.05", "2.0.02": "1.5.16", "2.0.04": "1.5.16", "2.0.08": "1.5.16", "2.0.12": "1.5.20",
      "2.0.14": "1.5.24", "2.0.16": "1.5.28", "2.0.18": "1.5.34"}
LINE = ("1.5.01", "1.5.05", "1.5.06", "1.5.08", "1.5.09", "1.5.13", "1.5.16", "1.5.20", "1.5.24", "1.5.25", "1.5.28",
        "1.5.34")


class Traits(NamedTuple):
    """What is the same for all calls of a release.

    tree        kind of the SEPT tree's lock: "sharex" or "hp"
    filter      mode in which TDH.VP.ENTER's filter takes it
    promote     mode in which PROMOTE takes it; up to 1.5.16 it locks the 512 entries instead
    writes      how the new word of an entry is written
    guest       a guest's two accesses to take an entry
    gives_way   what long calls look at before they commit: an interrupt, the tree's host priority
    counters    whether the TD's pages, and those of them that are blocked, are counted
    """

    tree: str
    filter: str
    promote: str
    writes: tuple[str, ...]
    guest: tuple[str, ...]
    gives_way: tuple[str, ...]
    counters: bool = False


# Source: tdx_locks.h, td_exit_stepping.c, tdh_mem_page_promote.c, sept_manager.c of each release.
OLD = Traits("sharex", "EX", "SH", ("store",), ("bts EL", "load"), ("KICK",))
TREE_HP = OLD._replace(tree="hp", filter="SH", promote="EX", gives_way=("KICK", "SEPT_TREE"))
TRAITS = {
    **dict.fromkeys(LINE[:7], OLD),
    "1.5.20": TREE_HP._replace(writes=("cas", "store")),
    "1.5.24": TREE_HP._replace(writes=("cas",)),
    "1.5.25": TREE_HP._replace(writes=("cas",)),
    "1.5.28": TREE_HP._replace(writes=("cas",), gives_way=("KICK",)),
    "1.5.34": TREE_HP._replace(writes=("cas",), gives_way=("KICK",), guest=("load", "bts EL"), counters=True),
}


class Order(NamedTuple):
    """A line: what is taken and checked, what is written, what is given back."""

    call: str
    take: str
    write: str
    release: str
    source: str
    since: str = LINE[0]
    until: str = LINE[-1]
    fails: str = ""


ENTRY_TD = "X.TDR/SH OPS/SH"     # how each call on an entry begins

ORDERS = (
    # --- a TD's life
    Order("tdh_mng_create", "F.TDR/EX KOT/EX ?kot",
          "tdr_state=0 keys=0 chldcnt=0 num_vcpus=0 assoc=0 op_state=0 kot=HKID_ASSIGNED lifecycle=TD_HKID_ASSIGNED"
          " TDR.type=PT_TDR", "-KOT -TDR", "tdh_mng_create.c:69-152"),
    Order("tdh_mng_add_cx", "X.TDR/EX ?fatal ?lifecycle ?num_tdcx F.PAGE/EX ?num_tdcx",
          "tdr_state+TDCX chldcnt+1 PAGE.type=PT_TDCX", "-TDR -PAGE", "tdh_mng_add_cx.c:197-206", until="1.5.09"),
    Order("tdh_mng_add_cx", "X.TDR/EX ?fatal ?lifecycle ?num_tdcx F.PAGE/EX ?num_tdcx",
          "tdr_state+TDCX chldcnt+1 PAGE.type=PT_TDCX", "-PAGE -TDR", "1.5.24 tdh_mng_add_cx.c:189-204",
          since="1.5.13"),
    Order("tdh_mng_key_config", "X.TDR/EX ?fatal ?lifecycle ?key KET -KET",
          "key=1 ?keys lifecycle=TD_KEYS_CONFIGURED", "-TDR",
          "tdh_mng_key_config.c:61-129; PCONFIG takes and drops the table itself: helpers.c:86-91"),
    Order("tdh_mng_init", "X.TDR/EX OPS/-", "epoch=FIRST 8x(ROOT=FREE) op_state=OP_STATE_INITIALIZED", "-TDR",
          "tdh_mng_init.c:597-604; the root is the model's, in the module ADDCX fills it"),
    Order("tdh_mng_rdwr", "X.TDR/SH OPS/SH", "", "-OPS -TDR", "tdh_mng_rd_wr.c:168-174"),
    Order("tdh_mr_extend", "X.TDR/EX OPS/- WALK", "", "-TDR", "tdh_mr_extend.c; 1.5.24:119-139"),
    Order("tdh_mr_finalize", "X.TDR/EX OPS/- ?num_vcpus", "op_state=OP_STATE_RUNNABLE", "-TDR", "tdh_mr_finalize.c"),
    Order("tdh_mng_vpflushdone", "X.TDR/EX KOT/EX ?lifecycle ?assoc", "kot=FLUSHED lifecycle=TD_BLOCKED", "-KOT -TDR",
          "tdh_mng_vpflushdone.c; the HKID's state and its packages are one word here"),
    Order("tdh_mng_key_freeid", "X.TDR/EX ?lifecycle KOT/EX ?kot", "kot=HKID_FREE lifecycle=TD_TEARDOWN", "-KOT -TDR",
          "tdh_mng_key_freeid.c"),

    # --- vCPUs
    Order("tdh_vp_create", "X.TDR/SH OPS/SH F.TDVPR/EX",
          "vcpu_state=VCPU_UNINITIALIZED tdcx=0 lp=NO_LP vcpu_epoch=0 epf_count=0 epf_length=0 chldcnt+1"
          " TDVPR.type=PT_TDVPR", "-TDVPR -OPS -TDR", "tdh_vp_create.c"),
    Order("tdh_vp_addcx", "X.TDVPR/EX I.TDR/SH OPS/SH ?vcpu_state ?tdcx F.PAGE/EX",
          "tdcx+1 chldcnt+1 PAGE.type=PT_TDCX", "-TDVPR -PAGE -OPS -TDR", "tdh_vp_addcx.c"),
    Order("tdh_vp_init", "X.TDVPR/EX I.TDR/SH OPS/SH ?tdcx ?vcpu_state",
          "num_vcpus+1 vcpu_state=VCPU_READY lp=ME assoc+1", "-OPS -TDR -TDVPR", "tdh_vp_init.c, version 0"),
    Order("tdh_vp_init_apicid", "X.TDVPR/EX I.TDR/SH OPS/SH ?tdcx ?vcpu_state",
          "num_vcpus+1 vcpu_state=VCPU_READY lp=ME assoc+1", "-OPS -TDR -TDVPR", "tdh_vp_init.c, version 1", until="1.5.01"),
    Order("tdh_vp_init_apicid", "X.TDVPR/EX I.TDR/EX OPS/SH ?tdcx ?vcpu_state",
          "num_vcpus+1 vcpu_state=VCPU_READY lp=ME assoc+1", "-OPS -TDR -TDVPR", "1.5.05 tdh_vp_init.c:143-149",
          since="1.5.05"),
    Order("tdh_vp_enter", "X.TDVPR/ENTER I.TDR/SH OPS/SH ?tdcx ?vcpu_state lp<ME assoc+1"
          " EPOCH/SH ?epoch count+1 -EPOCH ?vcpu_epoch filter", "-OPS vcpu_state=VCPU_ACTIVE", "",
          "src/td_transitions/tdh_vp_enter.c:602-891; epoch: helpers.c:2504-2546",
          fails="-TREE -count -OPS -TDR -TDVPR"),
    Order("tdh_vp_enter, epoch moved", "X.TDVPR/ENTER I.TDR/SH OPS/SH ?tdcx ?vcpu_state lp<ME"
          " EPOCH/SH ?epoch count+1 -EPOCH ?vcpu_epoch invept vcpu_epoch=EPOCH filter", "-OPS vcpu_state=VCPU_ACTIVE", "",
          "helpers.c:2504-2546", fails="-TREE -count -OPS -TDR -TDVPR"),
    Order("tdh_vp_enter, page listed", "X.TDVPR/ENTER I.TDR/SH OPS/SH ?tdcx ?vcpu_state lp<ME assoc+1"
          " EPOCH/SH ?epoch count+1 -EPOCH ?vcpu_epoch filter TREE/FILTER", "-OPS vcpu_state=VCPU_ACTIVE -TREE", "",
          "tdh_vp_enter.c:891-911; td_exit_stepping.c:316-360", until="1.5.01", fails="-TREE -count -OPS -TDR -TDVPR"),
    Order("tdh_vp_enter, page listed", "X.TDVPR/ENTER I.TDR/SH OPS/SH ?tdcx ?vcpu_state lp<ME assoc+1"
          " EPOCH/SH ?epoch count+1 -EPOCH ?vcpu_epoch filter TREE/FILTER", "-OPS -TREE vcpu_state=VCPU_ACTIVE", "",
          "1.5.05 tdh_vp_enter.c: ACTIVE just before the entry", since="1.5.05", fails="-TREE -count -OPS -TDR -TDVPR"),
    Order("tdh_vp_enter, page listed and gone", "X.TDVPR/ENTER I.TDR/SH OPS/SH ?tdcx ?vcpu_state lp<ME assoc+1"
          " EPOCH/SH ?epoch count+1 -EPOCH ?vcpu_epoch filter TREE/FILTER", "", "-TREE -count -OPS -TDR -TDVPR",
          "tdh_vp_enter.c:126-162, 776-788"),
    Order("td_exit", "", "vcpu_state=VCPU_READY", "-count -TDR -TDVPR", "src/td_transitions/td_exit.c:457-535"),
    Order("tdh_vp_flush", "X.TDVPR/EX I.TDR/SH ?lifecycle ?tdcx ?lp", "invept lp=NO_LP assoc-1", "-TDR -TDVPR",
          "tdh_vp_flush.c:124-151"),
    Order("tdh_vp_rd_wr", "X.TDVPR/SH I.TDR/SH OPS/SH ?tdcx ?vcpu_state lp<ME assoc+1", "", "-OPS -TDR -TDVPR",
          "tdh_vp_rd_wr.c"),

    Order("tdh_vp_rd_wr, associated", "X.TDVPR/SH I.TDR/SH OPS/SH ?tdcx ?vcpu_state lp<ME", "", "-OPS -TDR -TDVPR",
          "helpers.c:960-1036"),

    # --- memory
    Order("tdh_mem_sept_add", f"{ENTRY_TD} TREE/SH ENT F.PAGE/EX",
          "PAGE.type=PT_EPT PAGE.bepoch=0 chldcnt+1 ENTRY=NL_MAPPED+EL", "-ENT -PAGE -TREE -OPS -TDR",
          "1.5.05 tdh_mem_sept_add.c:51-56, :476-510; 1.5.28 c9700; 1.5.24 sept_manager.c c20200"),
    Order("tdh_mem_page_add", "X.TDR/EX OPS/- WALK ?ENTRY F.PAGE/EX",
          "mem+size ?ENTRY ENTRY:=MAPPED chldcnt+1 PAGE.type=PT_REG PAGE.bepoch=0", "-PAGE -TDR",
          "1.5.24 tdh_mem_page_add.c:145-198; sept_manager.c:449-456"),
    Order("tdh_mem_page_aug", f"{ENTRY_TD} TREE/SH ENT F.PAGE@/EX partsx(?PART.type)",
          "mem+size ENTRY=PENDING chldcnt+size PAGE@.type=PT_REG PAGE@.bepoch=0", "-PAGE@ -ENT -TREE -OPS -TDR",
          "tdh_mem_page_aug.c:66-215"),
    Order("tdh_mem_range_block", f"{ENTRY_TD} TREE/EX ENT",
          "blocked+size ?MAPPED.type ENTRY=BLOCKED|NL_BLOCKED+EL ?td_epoch MAPPED.bepoch=EPOCH", "-ENT -TREE -OPS -TDR",
          "tdh_mem_range_block.c:118-300"),
    Order("tdh_mem_range_unblock", f"{ENTRY_TD} TREE/EX ENT ?MAPPED.type TRACKED", "ENTRY=MAPPED|NL_MAPPED blocked-size",
          "-ENT -TREE -OPS -TDR", "tdh_mem_range_unblock.c:90-260"),
    Order("tdh_mem_track", "X.TDR/SH OPS/SH EPOCH/EX ?epoch", "td_epoch=NEXT", "-EPOCH -OPS -TDR",
          "tdh_mem_track.c:60-140"),
    Order("tdh_mem_page_remove", f"{ENTRY_TD} TREE/SH ENT I.MAPPED/EX TRACKED",
          "blocked-size mem-size ENTRY=FREE chldcnt-size MAPPED.type=PT_NDA", "-MAPPED -ENT -TREE -OPS -TDR", "tdh_mem_page_remove.c:66-265"),
    Order("tdh_mem_sept_remove", f"{ENTRY_TD} TREE/EX ENT I.MAPPED/EX TRACKED 512x(?CHILD)",
          "ENTRY=FREE chldcnt-1 MAPPED.type=PT_NDA blocked-size", "-ENT -MAPPED -TREE -OPS -TDR", "tdh_mem_sept_remove.c:66-330"),
    Order("tdh_mem_sept_rd", f"{ENTRY_TD} TREE/SH ENT", "", "-ENT -TREE -OPS -TDR", "tdh_mem_sept_rd.c"),
    *(Order(call, f"{ENTRY_TD} TREE/SH ENT", "", "-TDR -ENT -TREE -OPS", "tdh_mem_rd_wr.c:193-215", until="1.5.09")
      for call in ("tdh_mem_rd", "tdh_mem_wr")),
    *(Order(call, f"{ENTRY_TD} TREE/SH ENT", "", "-ENT -TREE -OPS -TDR", "1.5.24 tdh_mem_rd_wr.c:190-216", since="1.5.13")
      for call in ("tdh_mem_rd", "tdh_mem_wr")),

    # --- large pages
    Order("tdh_mem_page_promote", f"{ENTRY_TD} TREE/PROMOTE ENT I.MAPPED/EX TRACKED 512x(CHILD/EX,?CHILD) GIVEWAY I.LARGE/EX",
          "512x(?PART.type,PART.type=PT_NDA) LARGE.type=PT_REG -LARGE ?CHILD ENTRY=MAPPED+EL 512x(CHILD=FREE) chldcnt-1"
          " MAPPED.type=PT_NDA", "-LARGE -CHILD -MAPPED -ENT -TREE -OPS -TDR",
          "tdh_mem_page_promote.c:55-103 and after; the page that is given back is FREE in the model", until="1.5.16"),
    Order("tdh_mem_page_promote", f"{ENTRY_TD} TREE/PROMOTE ENT I.MAPPED/EX TRACKED 512x(?CHILD) GIVEWAY I.LARGE/EX",
          "512x(?PART.type,PART.type=PT_NDA) LARGE.type=PT_REG -LARGE ENTRY=MAPPED+EL 512x(CHILD=FREE) chldcnt-1 MAPPED.type=PT_NDA blocked-size",
          "-LARGE -MAPPED -ENT -TREE -OPS -TDR", "1.5.20 tdh_mem_page_promote.c", since="1.5.20"),
    Order("tdh_mem_page_demote", f"{ENTRY_TD} TREE/SH ENT ?MAPPED.type TRACKED F.PAGE/EX 512x(CHILD=MAPPED) GIVEWAY I.LARGE/EX",
          "512x(PART.type=PT_REG,PART.bepoch=0) LARGE.type=PT_NDA -LARGE ENTRY=NL_MAPPED+EL blocked-size PAGE.type=PT_EPT chldcnt+1",
          "-LARGE -PAGE -ENT -TREE -OPS -TDR", "tdh_mem_page_demote.c", until="1.5.25"),
    Order("tdh_mem_page_demote", f"{ENTRY_TD} TREE/SH ENT ?MAPPED.type TRACKED F.PAGE/EX 512x(CHILD=MAPPED) I.LARGE/EX",
          "512x(PART.type=PT_REG,PART.bepoch=0) LARGE.type=PT_NDA -LARGE ENTRY=NL_MAPPED+EL blocked-size PAGE.type=PT_EPT chldcnt+1",
          "-LARGE -PAGE -ENT -TREE -OPS -TDR", "1.5.28 tdh_mem_page_demote.c: without L2 VMs nothing is looked for",
          since="1.5.28"),
    Order("tdh_mem_page_relocate", f"{ENTRY_TD} TREE/SH ENT I.MAPPED/EX TRACKED F.TARGET/EX",
          "MAPPED.type=PT_NDA TARGET.type=PT_REG TARGET.bepoch=0 ENTRY=MOVED+EL blocked-size", "-TARGET -MAPPED -ENT -TREE -OPS -TDR",
          "tdh_mem_page_relocate.c:273-278"),

    # --- others
    Order("tdh_phymem_page_reclaim", "F.PAGE/EX I.TDR/SH ?lifecycle", "chldcnt-1 PAGE.type=PT_NDA", "-TDR -PAGE",
          "tdh_phymem_page_reclaim.c"),
    Order("tdh_phymem_page_reclaim, a TDR", "F.PAGE/EX ?lifecycle ?chldcnt", "PAGE.type=PT_NDA", "-PAGE",
          "tdh_phymem_page_reclaim.c"),
    Order("tdh_phymem_cache_wb", "WBT KOT/SH", "point=0 ?kot ?written_back written_back=2 ?KICK point=0 ?written_back written_back^0",
          "-KOT -WBT", "1.5.24 tdh_phymem_cache_wb.c:117-168; two halves, an interrupt is looked for between them"),
    Order("tdh_phymem_cache_wb_resume", "WBT KOT/SH ?point", "point=0 ?written_back written_back^0", "-KOT -WBT",
          "1.5.24 tdh_phymem_cache_wb.c:117-168, RCX = 1"),
    Order("tdh_phymem_page_wbinvd", "F.PAGE/SH", "", "-PAGE", "tdh_phymem_page_wbinvd.c"),
    Order("tdh_phymem_page_rdmd", "F.PAGE/SH", "", "-PAGE", "tdh_phymem_page_rdmd.c:46-110"),

    # --- the guest's own calls
    Order("tdg_mem_page_accept", "WALK ENT/guest", "chunksx(zero,?KICK) zero ENTRY=MAPPED+EL", "-ENT",
          "src/td_dispatcher/vm_exits/tdg_mem_page_accept.c:49-326"),
    Order("tdg_mem_page_attr_rd", "WALK ENT/guest", "", "-ENT", "tdg_mem_page_attr_rd.c:75-79"),
    Order("tdg_mem_page_attr_wr", "WALK ENT/guest", "", "-ENT", "tdg_mem_page_attr_wr.c", until="1.5.16"),
    Order("tdg_mem_page_attr_wr", "WALK ENT/guest", "ENTRY=MAPPED+EL", "-ENT", "1.5.24 tdg_mem_page_attr_wr.c:367",
          since="1.5.20"),
)


# Calls without a line: of service TDs, of migration and of the module's own life.  What holds them is the results of
# the module's own code (tests/vectors/module) and tests/protocol/test_seamcalls.py.
NO_LINE = (
    "tdg_mr_", "tdg_servtd_", "tdg_tdi_", "tdh_servtd_", "tdh_export_", "tdh_import_", "tdh_mig_", "tdh_mmio_",
    "tdh_phymem_pamt_", "tdh_sys_")


class Difference(NamedTuple):
    """Where a row does not yet do what the module does.

    The test holds the row to the line with `module` replaced by `row`, and fails when the row is mended: then
    the difference is to be deleted here.
    """

    calls: tuple[str, ...]
    module: str
    row: str
    why: str
    since: str = LINE[0]
    until: str = LINE[-1]


def within(release: str, line) -> bool:
    """Whether a line (Order, Difference) is about a release."""
    return LINE.index(line.since) <= LINE.index(like(release)) <= LINE.index(line.until)


def like(release: str) -> str:
    """The release of the 1.5 line that a release is like."""
    return AS.get(release, release)


ZEROES = "tdr_state=0 keys=0 chldcnt=0 num_vcpus=0 assoc=0 op_state=0"
DIFFERENCES = (
    Difference(("tdh_vp_enter",), "vcpu_state=VCPU_ACTIVE -TREE", "-TREE vcpu_state=VCPU_ACTIVE",
               "ACTIVE after the tree is given back, as from 1.5.05 on", until="1.5.01"),
    Difference(("tdh_mem_page_demote",), " 512x(CHILD=MAPPED)", "", "the new SEPT page is filled ..."),
    Difference(("tdh_mem_page_demote",), "-LARGE ENTRY", "-LARGE 512x(CHILD=MAPPED) ENTRY", "... after the PAMT entries"),
)


def differences_of(call: str, release: str) -> list[Difference]:
    """What a row does otherwise than the module in a release."""
    return [each for each in DIFFERENCES if call.partition(",")[0] in each.calls and within(release, each)]
