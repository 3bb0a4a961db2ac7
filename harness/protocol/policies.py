"""What the host does when it meets TDX_OPERAND_BUSY: policies, as rows.

policy.py explains the words.  Every position that was taken on the list is here, what was merged, and
the mistakes that were posted or shipped; `breaks` names the invariants that a mistake breaks.

To add a policy: add a row.  It can then be named by any config, and the tests run it.
"""

from harness.protocol.policy import (
    Policy, ladder,
)

PATCH_09 = "[PATCH 09/21] KVM: TDX: Retry seamcall when TDX_OPERAND_BUSY with operand SEPT, Sep 2024"
LOCK_REPORT = "lock status report, Yan Zhao, 13 Sep 2024"
TDX_C = "arch/x86/kvm/vmx/tdx.c"

HANDLED = ladder("enter", "resume_guest")
AGAIN = ladder("enter", "retry forever")

RETRY16 = Policy(
    "retry16",
    "16 retries in the SEAMCALL wrapper, only when the SEPT tree is busy",
    f"{PATCH_09} (v10 to v19 alike); callers: Implement hooks to propagate changes of TDP MMU mirror page"
    " table, same series",
    install=ladder("install", "retry 16", "resume_guest", on="tree"),
    block=ladder("block", "retry 16", on="tree"),
    track=ladder("track", "retry forever"),
    remove=ladder("remove", "retry forever", on="tree"),
    enter=AGAIN,
    frozen=ladder("frozen", "resume_guest"),
)
KICK_ON_BUSY = Policy(
    "kick_on_busy",
    "on BUSY in a removal: kick all vCPUs, keep them out, make that call once more",
    f"lock status report, optimization of the Proposal; Linux 6.16 {TDX_C}"
    " (tdx_no_vcpus_enter_start), mmu: local retry of faults",
    install=ladder("install", "local_retry"),
    block=ladder("block", "kick"),
    track=ladder("track", "kick"),
    remove=ladder("remove", "kick"),
    enter=HANDLED,
    frozen=ladder("frozen", "local_retry"),
)

POLICIES = (
    Policy(
        "spinlock_vm",
        "a spinlock of the VM around each SEPT SEAMCALL; what is BUSY all the same is a bug",
        "KVM TDX before v10 (kvm_tdx->seamcall_lock); Sean Christopherson, Re: [PATCH v11 018/113] KVM:"
        " TDX: create/destroy VM structure, 19 Jan 2023: the mirror is written outside the lock",
        install=ladder("install"),
        block=ladder("block"),
        track=ladder("track"),
        remove=ladder("remove"),
        enter=AGAIN,
            frozen=ladder("frozen", "resume_guest"),
        seamcall_lock=True,
        freeze=False,
        breaks=("seamcall_covered",),
    ),
    RETRY16,
    RETRY16._replace(
        name="retry16_clobber",
        meaning="retry16, but each retry passes the outputs of the failed try as operands",
        source=f"{PATCH_09}, as posted: the argument block is saved and copied back inside the loop",
        remove=ladder("remove", "retry 16", "retry forever", on="tree"),
        clobber=True,
    ),
    Policy(
        "zero_tolerance",
        "any BUSY is a kernel bug; a vCPU that cannot enter goes to userspace",
        "Sean Christopherson, Re: [PATCH 09/21] KVM: TDX: Retry seamcall when TDX_OPERAND_BUSY with"
        " operand SEPT, 9 Sep 2024",
        install=ladder("install"),
        block=ladder("block"),
        track=ladder("track"),
        remove=ladder("remove"),
        enter=ladder("enter", "exit_userspace"),
            frozen=ladder("frozen", "local_retry"),
    ),
    KICK_ON_BUSY._replace(
        name="zero_step_exit",
        meaning="kick_on_busy, but a vCPU goes to userspace when its entry finds the SEPT tree busy",
        source="Sean Christopherson, Re: [PATCH 09/21] KVM: TDX: Retry seamcall when TDX_OPERAND_BUSY with"
        " operand SEPT, 9 Sep 2024: if the single-step protection kicks in, KVM exits to userspace",
        zero_step=ladder("zero_step", "exit_userspace"),
    ),
    Policy(
        "adaptive_1024",
        "spinlock of the VM and a loop; a limit of 16 that is reached is doubled, 1024 is a bug",
        f"Paolo Bonzini, Re: {PATCH_09}, 10 Sep 2024 (archive key 21054790219)",
        install=ladder("install", "retry 16 doubling 1024"),
        block=ladder("block", "retry 16 doubling 1024"),
        track=ladder("track", "retry 16 doubling 1024"),
        remove=ladder("remove", "retry 16 doubling 1024"),
        enter=HANDLED,
        zero_step=ladder("zero_step", "drain_mmu_lock"),
            frozen=ladder("frozen", "resume_guest"),
        seamcall_lock=True,
    ),
    Policy(
        "resume_guest",
        "return -EAGAIN from an install and let the guest fault again; no retry in the wrapper",
        f"{LOCK_REPORT}, Proposal (install); Kai Huang, Sep 2024, on PATCH"
        " 09/21: the callers already cope (removal, entry)",
        install=ladder("install", "resume_guest"),
        block=ladder("block"),
        track=ladder("track", "retry forever"),
        remove=ladder("remove", "retry forever"),
        enter=AGAIN,
            frozen=ladder("frozen", "resume_guest"),
    ),
    Policy(
        "resume_then_kick",
        "installs resume the guest, removals kick and retry once; if zero-step fires, kick all",
        f"Sean Christopherson, Re: {PATCH_09}, 9 Sep 2024 (archive key 20741417958)",
        install=ladder("install", "resume_guest"),
        block=ladder("block", "kick"),
        track=ladder("track", "kick"),
        remove=ladder("remove", "kick"),
        enter=HANDLED,
        zero_step=ladder("zero_step", "kick"),
            frozen=ladder("frozen", "resume_guest"),
    ),
    KICK_ON_BUSY._replace(
        name="frozen_local",
        meaning="a fault is retried in the host only where a mirror entry is frozen, not where a call was BUSY",
        source="Sean Christopherson, reply to the lock status report, Sep 2024 (archive key 20656363782)",
        install=ladder("install", "resume_guest"),
    ),
    KICK_ON_BUSY._replace(
        name="mmu_local2",
        meaning="two retries per level inside the fault, under mmu_lock; then the guest faults again",
        source="Sean Christopherson, Oct 2024, draft in the thread of the lock status report (archive key"
        " 20485949944)",
        install=ladder("install", "retry 2", "resume_guest"),
        frozen=ladder("frozen", "retry 2", "resume_guest"),
    ),
    KICK_ON_BUSY._replace(
        name="yield_on_busy",
        meaning="release mmu_lock and yield where the path may sleep, spin 16 times where it may not",
        source="Kai Huang, Re: [PATCH v11 018/113] KVM: TDX: create/destroy VM structure, 19 Jan 2023",
        install=ladder("install", "drop_lock_and_yield"),
        block=ladder("block", "drop_lock_and_yield", "retry 16"),
        track=ladder("track", "drop_lock_and_yield", "retry 16"),
        remove=ladder("remove", "drop_lock_and_yield", "retry 16"),
    ),
    Policy(
        "kick_vcpus",
        "kick all vCPUs before BLOCK and keep them out until REMOVE is done",
        f"{LOCK_REPORT}, Proposal",
        install=ladder("install", "resume_guest"),
        block=ladder("block"),
        track=ladder("track"),
        remove=ladder("remove"),
        enter=HANDLED,
            frozen=ladder("frozen", "resume_guest"),
        bar="removal",
        kick_after_track=False,      # no vCPU is in the guest, none can enter
        also="kick_first",
    ),
    KICK_ON_BUSY,
    KICK_ON_BUSY._replace(
        name="kick_on_busy_618",
        meaning="kick_on_busy, but the local retry ends when the memslot is being deleted",
        source="Linux 6.18: KVM: TDX: Do not retry locally when the retry is caused by invalid memslot"
        " (commit 2bc2694fe20b)",
        stop_on=("event", "invalid_slot"),
    ),
    KICK_ON_BUSY._replace(
        name="do_no_vcpus_619",
        meaning="kick_on_busy_618, and all of the VM's locks around building it",
        source=f"Linux 6.19 {TDX_C} (tdh_do_no_vcpus): populate fixes and TDX cleanups, v4, 30 Oct 2025;"
        " Take MMU lock around tdh_vp_init(), 27 Oct 2025",
        stop_on=("event", "invalid_slot"),
        add_in_freeze=True,
        vm_state_guard=True,
        vp_init_lock="write",
    ),
    KICK_ON_BUSY._replace(
        name="busy_bitmask_bug",
        meaning="kick_on_busy, but any status that shares a bit with TDX_OPERAND_BUSY is taken for BUSY",
        source="SEPT SEAMCALL retry proposal, RFC 21 Nov 2024 and v1 13 Jan 2025; found by Binbin Wu (archive"
        " key 10751390048)",
        block=ladder("block", "kick", on="bitmask"),
        track=ladder("track", "kick", on="bitmask"),
        remove=ladder("remove", "kick", on="bitmask"),
    ),
    KICK_ON_BUSY._replace(
        name="ignore_eagain",
        meaning="kick_on_busy, but BUSY from BLOCK is ignored and the removal goes on",
        source="Ubuntu 24.04 kernel, reported as canonical/tdx issues 100 and 213, 2024",
        block=ladder("block", "ignore"),
        breaks=("removal_tracked",),
    ),
    KICK_ON_BUSY._replace(
        name="reenter_irqoff",
        meaning="kick_on_busy, but a refused entry is tried again at once with interrupts off",
        source="what tdx_vcpu_run must not do (Linux 6.16, comment at EXIT_FASTPATH_EXIT_HANDLED); review"
        " of wait_for_sept_zap, Dec 2024 (archive keys 9981893599, 10167688835)",
        enter=AGAIN,
        interrupts_at_reentry="off",
        breaks=("no_deadlock",),
    ),
    KICK_ON_BUSY._replace(
        name="no_post_kick",
        meaning="kick_on_busy without the kick after TRACK",
        source=f"negative control: what the comment at the kick in tdx_track (Linux 6.16 {TDX_C}) warns of",
        kick_after_track=False,
        breaks=("removal_tracked",),
    ),
    RETRY16._replace(
        name="inject47",
        meaning="retry16, and every 47th call is answered BUSY on the SEPT tree without being made",
        source="CONFIG_KVM_TDX_OPERAND_BUSY_INJECTION of Intel's development tree (archive key 30257798142)",
        inject_every=47,
    ),
)
BY_NAME = {name: policy for policy in POLICIES for name in (policy.name, policy.also) if name}
assert len(BY_NAME) == len(POLICIES) + sum(bool(policy.also) for policy in POLICIES)
