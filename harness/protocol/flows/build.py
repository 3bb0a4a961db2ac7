"""Building a TD while its vCPUs are created, and taking it apart again.

The first host thread creates the TD and gives it a key and TDCX pages (KVM_TDX_INIT_VM).  Then each vCPU's
thread creates its vCPU (KVM_TDX_INIT_VCPU), while the first host thread adds and measures the initial
memory (KVM_TDX_INIT_MEM_REGION) and, once all vCPUs are there, finalizes the TD.  Nothing but KVM's own locks keeps these apart, and TDH.MEM.PAGE.ADD,
TDH.MR.EXTEND, TDH.MR.FINALIZE and (since 1.5.05) TDH.VP.INIT take the TDR exclusively, which all the
others take shared: that is where Linux 6.16 could be made to bug a VM, and what 6.19's "big hammer"
(switch vm_state_guard) and mmu_lock around TDH.VP.INIT (switch vp_init_lock) are for.

    host.create    MNG.CREATE, KEY.CONFIG, ADDCX for each page, INIT
    vcpu.create    TDH.VP.CREATE, ADDCX for each page, INIT; then wait until the TD is finalized
    host.build     SEPT.ADD, PAGE.ADD and 16 x MR.EXTEND for each page; MR.FINALIZE
    host.destroy   VPFLUSHDONE, CACHE.WB, KEY.FREEID, and RECLAIM of every page the TD had

KVM makes the calls that take the Key Ownership Table under one mutex for all VMs (switch tdx_lock).
Without it TDs that are created and destroyed at once make each other BUSY on the KOT.  The key table of
a package has no such mutex around KEY.CONFIG.

What fails while a TD is destroyed is leaked by KVM, and counted here (destroy_failures).

Source: Linux 6.16 and 6.19 arch/x86/kvm/vmx/tdx.c (tdx_td_vcpu_init, tdx_gmem_post_populate,
tdx_vm_state_guard, tdx_mmu_release_hkid).
"""

from contextlib import contextmanager

from harness.memory.layout import MMU_NONPRESENT
from harness.protocol.locate import index, locate, locate_page
from harness.protocol.flows import fault, seam
from harness.protocol.flows.flow import FROZEN_SPTE, MMU_PRESENT, SIGN, Flow
from harness.protocol.flows.responses import Responses
from kernels.ops import Op, Register as R
from kernels.words import HKID_FREE, TDCS_PAGES, TDVPS_PAGES, signed, status

CHUNKS = 16                      # MR.EXTEND measures 256 bytes
RESUMES_MAX = 10_000             # of CACHE.WB: TDX_SEAMCALL_RETRIES


def _guarded(flow: Flow, on: bool) -> None:
    """tdx_vm_state_guard: kvm->lock and every vCPU's mutex, here one lock."""
    if flow.policy.vm_state_guard:
        (flow.spin_lock if on else flow.spin_unlock)("vm_state_lock")


def _call(flow: Flow, site: str, name: str, failed_to: str, undo=lambda: None, retry_at: str = "") -> None:
    """One call of a site; a failure that nothing helped against is a KVM_BUG_ON, then on to `failed_to`."""
    again, failed = flow.fresh(f"{failed_to}.again"), flow.fresh(f"{failed_to}.failed")
    flow.first_try(site)
    flow.label(again)
    flow.call(name, behind=flow.fresh(f"{failed_to}.answered"))
    flow.succeeded(otherwise=failed)
    with flow.aside(failed):
        Responses(flow, site, again=again, undo=undo, respond={
            "exit_userspace": lambda: flow.exit_userspace(retry_at),
            "bug_vm": lambda: flow.bug(failed_to),
        }).write()


def _control_page(flow: Flow, group: str, number: int, failed_to: str, undo=lambda: None, source: R = R.ZERO) -> None:
    """A control page: TARGET's registers, and with Dynamic PAMT its range's pair (tdx_alloc_control_page)."""
    pairs = seam.page_pairs(flow, data=False)
    if pairs or group == "tdcx":
        locate_page(flow.listing, flow.layout, group, number, source=source)
    if pairs:
        _get(flow, pairs, failed_to, undo)


def _get(flow: Flow, pairs, failed_to: str, undo=lambda: None, cached: bool = False) -> None:
    failed = flow.fresh("host.no_pair")
    pairs.get(failed=failed, cached=cached)
    with flow.aside(failed):                     # -EIO: userspace ends the VM
        held = flow.listing.held
        undo()
        flow.kill(failed_to)
        flow.listing.held = held


# --- a vCPU ---

def create_vcpu(flow: Flow) -> None:
    flow.row(Op.WAIT_IS, **flow.at("created", mask=-1, match=1))
    # A VM that is dead by now is noticed once it is built, so that each vCPU is counted just once.
    flow.row(Op.POLL)
    flow.row(Op.TEST, register=R.STOPPING, mask=-1, otherwise="vcpu.stop", text="go on?")
    flow.label("vcpu.create")
    _guarded(flow, True)

    def undo():
        _guarded(flow, False)

    _control_page(flow, "control", 0, "vcpu.created", undo, source=R.ROLE)
    _call(flow, "create", "tdh_vp_create", "vcpu.created", undo)
    pages = TDVPS_PAGES - 1
    flow.row(Op.INDEX, register=R.PAGE, offset=-pages, source=R.ROLE, mask=-1, match=pages, width=0,
             text="pages of the vCPUs before")
    for page in range(pages):
        _control_page(flow, "tdcx", TDCS_PAGES + page, "vcpu.created", undo, source=R.PAGE)
        _call(flow, "create", "tdh_vp_addcx", "vcpu.created", undo)
    name = "tdh_vp_init_apicid" if "tdh_vp_init_apicid" in flow.rows else "tdh_vp_init"
    if flow.policy.vp_init_lock == "write":
        def undo_both():
            flow.drop_mmu_lock()
            undo()

        with flow.mmu_lock("exclusive"):
            _call(flow, "create", name, "vcpu.created", undo_both)
    else:
        _call(flow, "create", name, "vcpu.created", undo)
    _guarded(flow, False)
    flow.count("vcpus_created")
    flow.label("vcpu.created")
    flow.row(Op.ADD, value=1, **flow.at("vcpus_created"))
    flow.row(Op.WAIT_IS, **flow.at("built", mask=-1, match=1))


def flush_vcpu(flow: Flow) -> None:
    """The vCPU leaves its processor; KVM does this by an interrupt to that processor."""
    flow.call("tdh_vp_flush", behind=flow.fresh("vcpu.flushed"))


# --- the VM ---

def write(flow: Flow) -> None:
    """From the label "host" on to the finalized TD."""
    flow.poll("host")
    if flow.hosts > 1:
        flow.row(Op.TEST, register=R.ROLE, mask=-1, match=flow.layout.vcpus + 1, next="host.build",
                 otherwise="host.await", text="the first host")
        with flow.aside("host.await"):
            flow.row(Op.WAIT_IS, **flow.at("built", mask=-1, match=1, next="host.next"))
    flow.label("host.build")
    flow.begin("build")
    _create(flow)
    flow.row(Op.LET, register=R.PAGE)
    flow.label("host.build_region")
    _guarded(flow, True)
    flow.label("host.build_page")
    _add_page(flow)
    _measure(flow)
    more, added = flow.fresh("host.more_pages"), flow.fresh("host.added")
    flow.row(Op.LET, register=R.PAGE, source=R.PAGE, value=1)
    flow.row(Op.TEST, register=R.PAGE, mask=-1, match=flow.behaviour.build_pages, next=added, otherwise=more,
             text="all pages")
    with flow.aside(more):
        flow.goto("host.build_page")
    flow.label(added)
    _guarded(flow, False)
    _finalize(flow)
    flow.goto("host.next")


def _create(flow: Flow) -> None:
    """KVM_TDX_INIT_VM.  A TD that cannot be created is a VM that is dead."""
    flow.label("host.create")
    _control_page(flow, "control", 0, "host.build_failed")
    with _tdx_lock(flow):
        _call(flow, "create", "tdh_mng_create", "host.build_failed", lambda: _unlock_tdx(flow))
    _call(flow, "create", "tdh_mng_key_config", "host.build_failed")
    for page in range(TDCS_PAGES):
        _control_page(flow, "tdcx", page, "host.build_failed")
        _call(flow, "create", "tdh_mng_add_cx", "host.build_failed")
    _call(flow, "create", "tdh_mng_init", "host.build_failed")
    flow.row(Op.STORE, value=1, **flow.at("created"))


@contextmanager
def _tdx_lock(flow: Flow):
    """tdx_lock, one mutex of the host's for all VMs."""
    if flow.policy.tdx_lock:
        flow.spin_lock("tdx_lock", base=R.ZERO)
    yield
    _unlock_tdx(flow)


def _unlock_tdx(flow: Flow) -> None:
    if flow.policy.tdx_lock:
        flow.spin_unlock("tdx_lock", base=R.ZERO)


def _add_page(flow: Flow) -> None:
    """The SEPT pages above PAGE as a fault would add them, then PAGE itself."""
    def again():
        _guarded(flow, False)

    index(flow.listing, R.CONTENT, flow.layout.at("content"), 0, flow.layout.content_bytes)
    flow.row(Op.STORE, base=R.CONTENT, text="page's contents")
    pairs = seam.page_pairs(flow)
    if pairs:
        pairs.top_up()
    with flow.mmu_lock("shared"):
        for level in (2, 1):
            fault.install(flow, level, out="host.build_page", retry="host.build_page")
        locate(flow.listing, flow.layout, 0, comes_back=True)
        index(flow.listing, R.MIRROR, flow.layout.at("mirror.0"), 0, 8, text="mirror entry")
        if pairs:
            _get(flow, pairs, "host.build_failed", flow.drop_mmu_lock, cached=True)
        if flow.policy.add_in_freeze:
            flow.row(Op.STORE, base=R.MIRROR, value=FROZEN_SPTE, text="mirror entry: freeze")
            seam.own_mirror(flow, taking=True)

            def undo():
                seam.put_after_failure(flow, pairs)
                seam.own_mirror(flow, taking=False)
                flow.row(Op.STORE, base=R.MIRROR, value=MMU_NONPRESENT, text="mirror entry: roll back")
                flow.drop_mmu_lock()
                again()

            _call(flow, "build", "tdh_mem_page_add", "host.build_failed", undo, retry_at="host.build_region")
            seam.own_mirror(flow, taking=False)
        flow.row(Op.STORE, base=R.MIRROR, source=R.HPA, value=MMU_PRESENT, text="mirror entry: publish")
    if not flow.policy.add_in_freeze:
        # Only pre-mapped so far (6.16 to 6.18); the page is added with mmu_lock dropped.
        def put_and_again():
            seam.put_after_failure(flow, pairs)
            again()

        _call(flow, "build", "tdh_mem_page_add", "host.build_failed", put_and_again, retry_at="host.build_region")


def _measure(flow: Flow) -> None:
    next_chunk, done = flow.fresh("host.chunk"), flow.fresh("host.measured")
    flow.row(Op.LET, register=R.COIN)
    flow.label(next_chunk)
    _call(flow, "create", "tdh_mr_extend", "host.build_failed", lambda: _guarded(flow, False))
    flow.row(Op.LET, register=R.COIN, source=R.COIN, value=1)
    flow.row(Op.TEST, register=R.COIN, mask=-1, match=CHUNKS, next=done, otherwise=next_chunk,
             text="whole page")
    flow.label(done)


def _finalize(flow: Flow) -> None:
    """Once all vCPUs are there; a run that is being stopped does not get so far."""
    flow.row(Op.LET, register=R.OLD, value=flow.layout.vcpus)
    flow.row(Op.WAIT_IS, source=R.OLD, **flow.at("vcpus_created", mask=SIGN, match=0))
    flow.row(Op.POLL)
    flow.row(Op.TEST, register=R.STOPPING, mask=-1, otherwise="host.build_failed", text="go on?")
    flow.row(Op.LOAD, **flow.at("vm_dead", mask=-1, match=0, otherwise="host.build_failed"))
    flow.label("host.finalize")
    _guarded(flow, True)
    _call(flow, "build", "tdh_mr_finalize", "host.build_failed", lambda: _guarded(flow, False),
          retry_at="host.finalize")
    _guarded(flow, False)
    flow.count("builds")
    flow.label("host.build_failed")
    flow.end("build")
    flow.row(Op.STORE, value=1, **flow.at("built"))


# --- its end ---

def destroy(flow: Flow) -> None:
    """Nobody else is at work, no page is mapped, all vCPUs are flushed."""
    flow.label("host.destroy")
    flow.begin("destroy")
    with _tdx_lock(flow):
        leaky(flow, "tdh_mng_vpflushdone")
        _write_caches_back(flow)
        leaky(flow, "tdh_mng_key_freeid")
    layout = flow.layout
    for level, group in ((1, "pt_pages"), (2, "pd_pages")):
        _reclaim_each(flow, group, 0, layout.by_name[f"pamt_4k.{group}"].count, mirror=f"mirror.{level}")
    _reclaim_each(flow, "control", 1, layout.vcpus)
    _reclaim_each(flow, "tdcx", 0, TDCS_PAGES + layout.vcpus * (TDVPS_PAGES - 1))
    _reclaim_each(flow, "control", 0, 1)
    flow.end("destroy")
    flow.count("destroyed")


def begin_again(flow: Flow) -> None:
    """KVM's words for the TD that comes next.  Where the HKID was leaked, it takes another one."""
    for name in ("created", "built", "vcpus_created"):
        flow.row(Op.STORE, **flow.at(name))
    flow.row(Op.STORE, base=R.KOT_ENTRY, value=HKID_FREE, text="state of the HKID")


def _write_caches_back(flow: Flow) -> None:
    """Resumed each time an interrupt has ended it, RESUMES_MAX times; where nothing is flushed others have done it.

    smp_func_do_phymem_cache_wb, tdx_mmu_release_hkid
    """
    test, again, other, ended, failed, done = (
        flow.fresh(f"host.write_back_{part}") for part in ("test", "again", "other", "ended", "failed", "done"))
    flow.row(Op.LET, register=R.TRIES)
    flow.call("tdh_phymem_cache_wb", behind=test)
    flow.row(Op.TEST, register=R.STATUS, mask=-1, match=signed(status("TDX_INTERRUPTED_RESUMABLE")), next=again,
             otherwise=other, text="TDX_INTERRUPTED_RESUMABLE")
    with flow.aside(again):
        flow.row(Op.LET, register=R.TRIES, source=R.TRIES, value=1)
        resume = flow.fresh("host.write_back_resume")
        flow.row(Op.TEST, register=R.TRIES, mask=-1, match=RESUMES_MAX, next=failed, otherwise=resume, text="too often?")
        flow.label(resume)
        flow.call("tdh_phymem_cache_wb_resume", behind=flow.fresh("host.resumed"))
        flow.goto(test)
    with flow.aside(failed):
        flow.count("destroy_failures", next=done)
    flow.label(other)
    flow.row(Op.TEST, register=R.STATUS, mask=-1, match=status("TDX_NO_HKID_READY_TO_WBCACHE"), next=done,
             otherwise=ended, text="TDX_NO_HKID_READY_TO_WBCACHE")
    flow.label(ended)
    flow.succeeded(otherwise=failed)
    flow.label(done)


def leaky(flow: Flow, name: str, then=lambda: None) -> None:
    """A call, and what follows it if it succeeds."""
    failed, done = flow.fresh("host.leaks"), flow.fresh("host.destroyed")
    flow.call(name, behind=flow.fresh("host.destroying"))
    flow.succeeded(otherwise=failed)
    with flow.aside(failed):
        flow.count("destroy_failures", next=done)
    then()
    flow.label(done)


def _reclaim_each(flow: Flow, group: str, first: int, count: int, mirror: str = "") -> None:
    """TDH.PHYMEM.PAGE.RECLAIM of pages of a group; of SEPT pages only those that the mirror knows."""
    again, done, next_page = (flow.fresh(f"host.reclaim_{part}") for part in ("page", "done", "next"))
    flow.row(Op.LET, register=R.COIN, value=first)
    flow.label(again)
    if mirror:
        index(flow.listing, R.MIRROR, flow.layout.at(mirror), 0, 8, source=R.COIN, text="mirror entry")
        flow.row(Op.LOAD, base=R.MIRROR, mask=MMU_PRESENT, match=MMU_PRESENT, otherwise=next_page,
                 text="mirror entry")
    locate_page(flow.listing, flow.layout, group, source=R.COIN)
    pairs = seam.page_pairs(flow, data=False)
    leaky(flow, "tdh_phymem_page_reclaim", then=pairs.put if pairs else lambda: None)
    flow.label(next_page)
    flow.row(Op.LET, register=R.COIN, source=R.COIN, value=1)
    flow.row(Op.TEST, register=R.COIN, mask=-1, match=first + count, next=done, otherwise=again,
             text="all pages")
    flow.label(done)
