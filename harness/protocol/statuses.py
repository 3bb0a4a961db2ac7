"""What a status means to who gets it: what has happened, what bits 31:0 say of it, whether to try again.

The names and values are kernels/statuses.py's; these are words behind them.  A status without a row here
is explained by its class alone: no use of it was found in the source read, or its name says all.

    MEANING     status -> what has happened
    AGAIN       status -> whether the same call can do better, and after what
    LOWS        what bits 31:0 say -> the fields they are made of
    OPERAND     operand id -> what it is

Sources: the places that return each status in 1.5.25, and where they differ in 1.5.28, 1.5.34, 2.0.08
and 2.0.18; Linux 6.16 for what the kernel sees (arch/x86/kvm/vmx/tdx.c).
"""

from typing import Callable, NamedTuple

from kernels import statuses as rows
from kernels.words import ENTRY_STATES, NAME_OF_STATUS, OPERANDS, TDX_ERROR, TDX_FATAL, TDX_NON_RECOVERABLE

CLASSES = {
    0x00: "how a call or a TD has ended", 0x01: "operands", 0x02: "busy", 0x03: "physical pages",
    0x04: "pages of a TD", 0x05: "the module and its initialization", 0x06: "the TD", 0x07: "the vCPU",
    0x08: "keys and caches", 0x09: "the platform: CPUID, MSRs, SMRRs", 0x0A: "TDMRs and PAMTs, at initialization",
    0x0B: "Secure EPT", 0x0C: "metadata fields", 0x0D: "service TDs", 0x0E: "migration", 0x0F: "TDX Connect",
    0x10: "measurement and reports", 0x11: "L2 VMs and the guest", 0xFF: "the kernel's own",
}

MEANING = {
    # 0x00
    "TDX_SUCCESS": "The call has gone through",
    "TDX_NON_RECOVERABLE_VCPU": "The TD has exited and this vCPU cannot be entered any more",
    "TDX_NON_RECOVERABLE_TD": "The TD has exited and none of its vCPUs can be entered any more",
    "TDX_INTERRUPTED_RESUMABLE": "An interrupt was pending: the call stopped in between and keeps what it has done",
    "TDX_INTERRUPTED_RESTARTABLE": "An interrupt was pending: the call stopped and nothing has changed",
    "TDX_NON_RECOVERABLE_TD_NON_ACCESSIBLE": "The TD's memory cannot be trusted any more (a machine check, or state"
                                             " that could not be restored); the TD is lost",
    "TDX_INVALID_RESUMPTION": "The call was to resume something that is not interrupted, or another thing",
    "TDX_NON_RECOVERABLE_TD_WRONG_APIC_MODE": "The processor's APIC was not in x2APIC mode where the TD must be"
                                              " protected from single-stepping; the TD is lost",
    "TDX_CROSS_TD_FAULT": "A service TD's call failed on its target TD, before its instruction pointer moved on",
    "TDX_CROSS_TD_TRAP": "A service TD's call failed on its target TD, after its instruction pointer moved on",
    "TDX_NON_RECOVERABLE_TD_CORRUPTED_MD": "The TD's control structures are damaged; the TD is lost",
    "TDX_INTERRUPTED_LIST_FULL": "The list that the call fills is full",
    # 0x01
    "TDX_OPERAND_INVALID": "An operand is not as the call wants it: reserved bits, alignment, range or version",
    "TDX_OPERAND_ADDR_RANGE_ERROR": "A physical address is covered by no TDMR",
    "TDX_EVENT_FILTER_INVALID": "An entry of the TD's list of allowed performance events is not valid",
    "TDX_EVENT_FILTER_ORDER_INVALID": "The TD's list of allowed performance events is not in order",
    # 0x02
    "TDX_OPERAND_BUSY": "A lock that the call needs was held; no lock of the module waits, so it was one try",
    "TDX_PREVIOUS_TLB_EPOCH_BUSY": "A vCPU that entered before the last TDH.MEM.TRACK is still inside the TD",
    "TDX_SYS_BUSY": "The module's global lock was held, or another processor is inside the module",
    "TDX_RND_NO_ENTROPY": "The processor's random number generator had nothing to give",
    "TDX_OPERAND_BUSY_HOST_PRIORITY": "A host asked for the lock first, so the guest was refused; its TDCALL ends"
                                      " with TDX_OPERAND_BUSY and the same operand",
    "TDX_HOST_PRIORITY_BUSY_TIMEOUT": "The guest's TDCALLs were refused for host priority longer than the TD's"
                                      " hp_lock_timeout (1 s unless set): the TD exits to tell the host",
    "TDX_INTERRUPTED_BUSY": "The call gave way to a host that wants the SEPT tree exclusively",
    # 0x03
    "TDX_PAGE_METADATA_INCORRECT": "The page is not of the type, size or owner that the call needs",
    "TDX_PAGE_NOT_FREE": "A page that is to hold PAMT entries is in use",
    "TDX_HPA_RANGE_NOT_FREE": "The 2 MiB already have a pair of PAMT pages, or are a 2 MiB page",
    "TDX_NO_PAMT_PAGE_PAIR": "The 2 MiB have no pair of PAMT pages",
    "TDX_PAMT_PAGE_NOT_EMPTY": "A page of the 2 MiB is still in use",
    "TDX_INTERRUPTED_PAMT": "A new page lies in 2 MiB without a pair of PAMT pages: the import stopped there",
    "TDX_MISSING_PAMT_PAGE_PAIR": "The page lies in 2 MiB without a pair of PAMT pages (Dynamic PAMT)",
    # 0x04, 0x05
    "TDX_TD_ASSOCIATED_PAGES_EXIST": "The TD still has pages beside its root page",
    "TDX_SYS_INIT_NOT_PENDING": "The module has been initialized (TDH.SYS.INIT) already",
    "TDX_SYS_LP_INIT_NOT_DONE": "TDH.SYS.LP.INIT was not made on this processor",
    "TDX_SYS_LP_INIT_DONE": "TDH.SYS.LP.INIT was made on this processor already",
    "TDX_SYS_NOT_READY": "The module's initialization is not complete",
    "TDX_SYS_SHUTDOWN": "The module is being shut down, or has been",
    "TDX_SYS_KEY_CONFIG_NOT_PENDING": "The module is not where TDH.SYS.KEY.CONFIG belongs",
    "TDX_SYS_STATE_INCORRECT": "The module is in another stage of its initialization",
    "TDX_SYS_INVALID_HANDOFF": "What the previous module handed over cannot be used",
    "TDX_SYS_INCOMPATIBLE_SIGSTRUCT": "The module's signature structure does not fit the one before",
    "TDX_SYS_LP_INIT_NOT_PENDING": "The module is not where TDH.SYS.LP.INIT belongs",
    "TDX_SYS_CONFIG_NOT_PENDING": "The module is not where TDH.SYS.CONFIG belongs",
    "TDX_INCOMPATIBLE_SEAM_CAPABILITIES": "The processor lacks a SEAM capability that the module needs",
    "TDX_UPDATE_COMPATIBILITY_SENSITIVE": "An update of the module would break what is in progress",
    # 0x06
    "TDX_TD_FATAL": "The TD is lost: a call on it failed beyond repair before",
    "TDX_TD_NON_DEBUG": "The call is for debug TDs only",
    "TDX_TDCS_NOT_ALLOCATED": "The TD has not got its control pages (TDH.MNG.ADDCX) yet",
    "TDX_LIFECYCLE_STATE_INCORRECT": "The TD's life cycle (keys, HKID) is not where the call belongs",
    "TDX_OP_STATE_INCORRECT": "The TD is in a state (building, running, migrating ...) in which the call is not allowed",
    "TDX_NO_VCPUS": "The TD has no vCPU that is initialized",
    "TDX_DEBUG_MEM_NOT_WRITABLE": "The memory of a debug TD that can be migrated may not be written",
    "TDX_TDCX_NUM_INCORRECT": "The number of control pages is not right: some are missing, or there are enough",
    "TDX_X2APIC_ID_NOT_UNIQUE": "Another vCPU of the TD has this x2APIC id",
    "TDX_INCOMPATIBLE_MRTD_CONTEXT": "The measurement was begun by a module that this one cannot go on from",
    # 0x07
    "TDX_VCPU_STATE_INCORRECT": "The vCPU is in a state in which the call is not allowed",
    "TDX_VCPU_ASSOCIATED": "The vCPU is associated with another processor",
    "TDX_VCPU_NOT_ASSOCIATED": "The vCPU is not associated with this processor",
    "TDX_NO_VALID_VE_INFO": "There is no information about a #VE to read",
    "TDX_MAX_VCPUS_EXCEEDED": "The TD has as many vCPUs as it may have",
    "TDX_TSC_ROLLBACK": "The processor's TSC is behind the vCPU's last exit",
    "TDX_TD_VMCS_FIELD_NOT_INITIALIZED": "A VMCS field that the host must write first has not been written",
    # 0x08
    "TDX_KEY_GENERATION_FAILED": "The memory controller had no entropy for a key",
    "TDX_TD_KEYS_NOT_CONFIGURED": "The TD's key is not configured, or not any more",
    "TDX_KEY_CONFIGURED": "The key is configured on this package already",
    "TDX_WBCACHE_NOT_COMPLETE": "The caches have not been written back on every package",
    "TDX_HKID_NOT_FREE": "The HKID is in use",
    "TDX_NO_HKID_READY_TO_WBCACHE": "No HKID waits for the caches of this package to be written back",
    "TDX_WBCACHE_RESUME_ERROR": "There is no write-back that could be resumed here",
    "TDX_FLUSHVP_NOT_DONE": "A vCPU of the TD is still associated with a processor",
    "TDX_NUM_ACTIVATED_HKIDS_NOT_SUPPORTED": "The BIOS has activated more HKIDs than the module can handle",
    # 0x09
    "TDX_INCORRECT_CPUID_VALUE": "A CPUID value is not what the module needs",
    "TDX_LIMIT_CPUID_MAXVAL_SET": "IA32_MISC_ENABLE limits CPUID leaves (boot NT4)",
    "TDX_INCONSISTENT_CPUID_FIELD": "A CPUID value differs from the first processor's",
    "TDX_CPUID_LEAF_1F_FORMAT_UNRECOGNIZED": "CPUID leaf 0x1F is not in the order that the module expects",
    "TDX_INVALID_WBINVD_SCOPE": "WBINVD reaches neither a core nor a package here",
    "TDX_INVALID_PKG_ID": "The package's number is larger than the module can handle",
    "TDX_CPUID_LEAF_NOT_SUPPORTED": "The processor has no such CPUID leaf",
    "TDX_SMRR_NOT_LOCKED": "The BIOS has not locked an SMRR",
    "TDX_INVALID_SMRR_CONFIGURATION": "An SMRR is not set up as the module needs it",
    "TDX_SMRR_OVERLAPS_CMR": "An SMRR overlaps memory that TDX may use",
    "TDX_SMRR_LOCK_NOT_SUPPORTED": "The processor's SMRRs cannot be locked",
    "TDX_SMRR_NOT_SUPPORTED": "The processor has no SMRRs",
    "TDX_INCONSISTENT_MSR": "An MSR differs from what it was when the module was initialized, or between processors",
    "TDX_INCORRECT_MSR_VALUE": "An MSR has a value that the module does not accept",
    # 0x0A
    "TDX_INVALID_TDMR": "A TDMR's base, size or reserved bits are not valid",
    "TDX_NON_ORDERED_TDMR": "The TDMRs are not in order, or overlap",
    "TDX_TDMR_OUTSIDE_CMRS": "A TDMR reaches outside the memory that TDX may use",
    "TDX_TDMR_ALREADY_INITIALIZED": "The TDMR is initialized already",
    "TDX_INVALID_PAMT": "A PAMT's base or size is not valid",
    "TDX_PAMT_OUTSIDE_CMRS": "A PAMT reaches outside the memory that TDX may use",
    "TDX_PAMT_OVERLAP": "A PAMT overlaps a TDMR or another PAMT",
    "TDX_INVALID_RESERVED_IN_TDMR": "A reserved area of a TDMR is not valid",
    "TDX_NON_ORDERED_RESERVED_IN_TDMR": "The reserved areas of a TDMR are not in order, or overlap",
    "TDX_CMR_LIST_INVALID": "The BIOS's list of memory that TDX may use is not valid",
    # 0x0B
    "TDX_EPT_WALK_FAILED": "The walk of the SEPT did not reach the level that was asked for",
    "TDX_EPT_ENTRY_NOT_PRESENT": "The SEPT entry does not map a page that can be used",
    "TDX_GPA_RANGE_NOT_BLOCKED": "The SEPT entry has not been blocked (TDH.MEM.RANGE.BLOCK)",
    "TDX_GPA_RANGE_ALREADY_BLOCKED": "The SEPT entry was blocked already; nothing has changed",
    "TDX_TLB_TRACKING_NOT_DONE": "The SEPT entry is blocked, but a vCPU that entered before may still have its translation",
    "TDX_EPT_INVALID_PROMOTE_CONDITIONS": "The 512 entries are not alike and in one piece, so they cannot be merged",
    "TDX_PAGE_ALREADY_ACCEPTED": "The page is accepted already",
    "TDX_PAGE_SIZE_MISMATCH": "The page is mapped in another size than the guest wants to accept",
    "TDX_EPT_ENTRY_STATE_INCORRECT": "The SEPT entry is in a state in which the call is not allowed",
    "TDX_EPT_PAGE_NOT_FREE": "The SEPT page still has an entry that is not FREE",
    "TDX_L2_SEPT_WALK_FAILED": "The walk of an L2 VM's SEPT did not reach the level that was asked for",
    "TDX_L2_SEPT_ENTRY_NOT_FREE": "An L2 VM's SEPT entry is in use",
    "TDX_PAGE_ATTR_INVALID": "The attributes for an L2 VM's page are not valid",
    "TDX_L2_SEPT_PAGE_NOT_PROVIDED": "An L2 VM needs a SEPT page and none was given",
    "TDX_BLOCKED_MEMORY_EXISTS": "Memory of the TD is still blocked",
    # 0x0C
    "TDX_METADATA_FIELD_ID_INCORRECT": "There is no metadata field of this id in this context",
    "TDX_METADATA_FIELD_NOT_WRITABLE": "The metadata field cannot be written, or not by this caller",
    "TDX_METADATA_FIELD_NOT_READABLE": "The metadata field cannot be read, or not by this caller",
    "TDX_METADATA_FIELD_VALUE_NOT_VALID": "The value is not valid for the metadata field",
    "TDX_METADATA_LIST_OVERFLOW": "The list of metadata fields is longer than its buffer",
    "TDX_INVALID_METADATA_LIST_HEADER": "The header of the list of metadata fields is not valid",
    "TDX_REQUIRED_METADATA_FIELD_MISSING": "A metadata field that is needed is not in the list",
    "TDX_METADATA_WR_MASK_NOT_VALID": "The write mask is not valid for the metadata field",
    "TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT": "The id was -1: the first field's id is returned",
    "TDX_METADATA_FIELD_SKIP": "The field is left out",
    "TDX_VIRTUAL_MSR_VALUE_NOT_VALID": "The value is not valid for a virtual MSR of the TD",
    "TDX_METADATA_FIELD_NOT_ALLOCATED": "The metadata field is not there in this TD",
    # 0x0D
    "TDX_SERVTD_ALREADY_BOUND_FOR_TYPE": "A service TD of this type is bound already",
    "TDX_SERVTD_TYPE_MISMATCH": "The service TD's type differs from the binding's",
    "TDX_SERVTD_ATTR_MISMATCH": "The service TD's attributes differ from the binding's",
    "TDX_SERVTD_INFO_HASH_MISMATCH": "The service TD's measurement differs from the binding's",
    "TDX_SERVTD_UUID_MISMATCH": "The service TD is another than the one that is bound",
    "TDX_SERVTD_NOT_BOUND": "No service TD is bound there",
    "TDX_SERVTD_BOUND": "A service TD is bound there already",
    "TDX_TARGET_UUID_MISMATCH": "The target TD is another than the caller means",
    "TDX_TARGET_UUID_UPDATED": "The target TD has been imported and has another id now",
    # 0x0E
    "TDX_INVALID_MBMD": "The migration bundle's metadata are not valid",
    "TDX_INCORRECT_MBMD_MAC": "The migration bundle's metadata are not authentic",
    "TDX_MIGRATION_STREAM_STATE_INCORRECT": "The migration stream is not initialized, or not where the call belongs",
    "TDX_MAX_MIGS_NUM_EXCEEDED": "The TD has as many migration streams as it may have",
    "TDX_EXPORTED_DIRTY_PAGES_REMAIN": "Pages were changed after they were exported",
    "TDX_MIGRATION_DECRYPTION_KEY_NOT_SET": "The key of the migration has not been written",
    "TDX_TD_NOT_MIGRATABLE": "The TD's attributes do not allow it to be migrated",
    "TDX_PREVIOUS_EXPORT_CLEANUP_INCOMPLETE": "Pages of an export that was given up have not been restored",
    "TDX_NUM_MIGS_HIGHER_THAN_CREATED": "More migration streams are wanted than the TD has",
    "TDX_IMPORT_MISMATCH": "What is imported does not fit what is there",
    "TDX_MIGRATION_EPOCH_OVERFLOW": "The migration has run through all its epochs",
    "TDX_MAX_EXPORTS_EXCEEDED": "The TD has been exported as often as it may be",
    "TDX_INVALID_PAGE_MAC": "A page that is imported is not authentic",
    "TDX_MIGRATED_IN_CURRENT_EPOCH": "The page was migrated in this epoch already",
    "TDX_DISALLOWED_IMPORT_OVER_REMOVED": "The page was removed in this epoch",
    "TDX_SOME_VCPUS_NOT_MIGRATED": "Not all vCPUs have been migrated",
    "TDX_ALL_VCPUS_IMPORTED": "All vCPUs have been imported already",
    "TDX_MIN_MIGS_NOT_CREATED": "The TD has too few migration streams",
    "TDX_VCPU_ALREADY_EXPORTED": "The vCPU has been exported already",
    "TDX_INVALID_MIGRATION_DECRYPTION_KEY": "The key of the migration is not valid",
    "TDX_UNEXPORTED_MEMORY_REMAINS": "Memory of the TD has not been exported",
    "TDX_BLOCKING_DISALLOWED": "Nothing may be blocked while the TD is paused for export",
    "TDX_MEM_SCAN_DCHECK_NOT_DONE": "The scan for changed pages is not complete",
    "TDX_INCOMPATIBLE_MBMD_MAC_CONTEXT": "The migration bundle was begun by a module that this one cannot go on from",
    "TDX_INCOMPATIBLE_EXPORT_MODE_TD_NON_ACCESSIBLE": "The TD was made without non-blocking export and may have been"
                                                      " exported with write-blocking; it is lost",
    # 0x0F: those seen in calls on the SEPT
    "TDX_IOMMU_IOTLB_TRACKING_NOT_DONE": "A device may still have the translation",
    "TDX_DEVIF_TDISP_INVALID_STATE": "The device interface is in a state in which the call is not allowed",
    "TDX_IDE_STREAM_BLOCKED": "The IDE stream is blocked",
    "TDX_MMIO_INVALID_PAGE_METADATA": "The MMIO page is not as the call needs it",
    "TDX_MMIO_ACCEPT_SIZE_MISMATCH": "The MMIO page is mapped in another size than the guest wants to accept",
    "TDX_MMIO_DEVIF_OWNER_MISMATCH": "The device interface belongs to another TD",
    "TDX_MMIO_INVALID_HPA_OFFSET": "The MMIO page is not at the offset that the guest expects",
    "TDX_IOMMU_MT_PAGE_IN_USE": "The IOMMU may still use the page",
    # 0x10, 0x11
    "TDX_INVALID_CPUSVN": "The report was made by a processor of another security version",
    "TDX_INVALID_REPORTMACSTRUCT": "The report is not authentic",
    "TDX_L2_EXIT_HOST_ROUTED_ASYNC": "An L2 VM has exited for the host",
    "TDX_L2_EXIT_HOST_ROUTED_TDVMCALL": "An L2 VM has called the host",
    "TDX_L2_EXIT_PENDING_INTERRUPT": "An L2 VM has exited for a pending interrupt",
    "TDX_L2_VM_ENTRY_FAILED": "An L2 VM could not be entered",
    "TDX_PENDING_INTERRUPT": "An interrupt is pending for the TD",
    "TDX_TD_EXIT_BEFORE_L2_ENTRY": "The TD has exited before the L2 VM was entered",
    "TDX_TD_EXIT_ON_L2_VM_EXIT": "The TD has exited on an exit of an L2 VM",
    "TDX_TD_EXIT_ON_L2_TO_L1": "The TD has exited on the way from an L2 VM to L1",
    "TDX_GLA_NOT_CANONICAL": "A guest linear address is not canonical",
}

# Whether to make the same call again.
YES, NO, NEEDLESS = "yes", "no", "not needed"
AGAIN = {
    "TDX_INTERRUPTED_RESUMABLE": (YES, "at once, with the operands that it returned; it goes on where it stopped"),
    "TDX_INTERRUPTED_RESTARTABLE": (YES, "at once, from the start; under a storm of interrupts as often as it takes"),
    "TDX_INTERRUPTED_LIST_FULL": (YES, "with an empty list"),
    "TDX_OPERAND_BUSY": (YES, "once the holder has returned"),
    "TDX_PREVIOUS_TLB_EPOCH_BUSY": (YES, "once every vCPU that entered before the last TDH.MEM.TRACK has exited:"
                                         " kick them all"),
    "TDX_SYS_BUSY": (YES, "once the other processors have left the module"),
    "TDX_RND_NO_ENTROPY": (YES, "at once; the kernel's wrapper has made 10 attempts already"),
    "TDX_OPERAND_BUSY_HOST_PRIORITY": (YES, "once a host has got the lock"),
    "TDX_HOST_PRIORITY_BUSY_TIMEOUT": (YES, "enter again; it comes back until a host call takes the entry that"
                                            " has its priority bit set"),
    "TDX_INTERRUPTED_BUSY": (YES, "once the host that wants the tree exclusively has had it"),
    "TDX_HPA_RANGE_NOT_FREE": (NO, "if a pair is there, nothing is left to do"),
    "TDX_PAMT_PAGE_NOT_EMPTY": (NO, "not before the last page of the 2 MiB has been given back"),
    "TDX_INTERRUPTED_PAMT": (YES, "after TDH.PHYMEM.PAMT.ADD for that page; nothing is lost"),
    "TDX_MISSING_PAMT_PAGE_PAIR": (YES, "after TDH.PHYMEM.PAMT.ADD for the page's 2 MiB"),
    "TDX_TD_ASSOCIATED_PAGES_EXIST": (NO, "not before TDH.PHYMEM.PAGE.RECLAIM of all its other pages"),
    "TDX_UPDATE_COMPATIBILITY_SENSITIVE": (YES, "once the TDs are built and the migrations over"),
    "TDX_SYS_SHUTDOWN": (NO, "unless it was a shutdown that failed: the next call then works"),
    "TDX_TDCS_NOT_ALLOCATED": (NO, "not before TDH.MNG.ADDCX"),
    "TDX_NO_VCPUS": (NO, "not before TDH.VP.INIT of one"),
    "TDX_VCPU_ASSOCIATED": (YES, "after TDH.VP.FLUSH on the other processor"),
    "TDX_VCPU_NOT_ASSOCIATED": (YES, "on the processor that the vCPU is associated with; if on none, nothing is to flush"),
    "TDX_TSC_ROLLBACK": (NO, "not before the TSC has passed the vCPU's last exit"),
    "TDX_KEY_GENERATION_FAILED": (YES, "at once, a few times"),
    "TDX_TD_KEYS_NOT_CONFIGURED": (YES, "after TDH.MNG.KEY.CONFIG on every package; never again once the keys are freed"),
    "TDX_KEY_CONFIGURED": (NEEDLESS, "go on with the next package"),
    "TDX_WBCACHE_NOT_COMPLETE": (YES, "after TDH.PHYMEM.CACHE.WB on every package"),
    "TDX_HKID_NOT_FREE": (NO, "only with another HKID"),
    "TDX_NO_HKID_READY_TO_WBCACHE": (NEEDLESS, "another processor has done it, or nothing was to do"),
    "TDX_FLUSHVP_NOT_DONE": (YES, "after TDH.VP.FLUSH of every vCPU, each on its processor"),
    "TDX_EPT_WALK_FAILED": (NO, "not before the tables above are there (TDH.MEM.SEPT.ADD)"),
    "TDX_GPA_RANGE_NOT_BLOCKED": (NO, "not before TDH.MEM.RANGE.BLOCK, TDH.MEM.TRACK and an exit of every vCPU"),
    "TDX_GPA_RANGE_ALREADY_BLOCKED": (NEEDLESS, "go on with TDH.MEM.TRACK"),
    "TDX_TLB_TRACKING_NOT_DONE": (YES, "after TDH.MEM.TRACK and an exit of every vCPU that entered before it"),
    "TDX_PAGE_ALREADY_ACCEPTED": (NEEDLESS, "the page can be used"),
    "TDX_PAGE_SIZE_MISMATCH": (NO, "only with the other size; up to 1.5.25 a TDH.MEM.PAGE.AUG at the same moment can cause"
                                   " it for a size that is right: then once more"),
    "TDX_EPT_PAGE_NOT_FREE": (NO, "not before its 512 entries are FREE"),
    "TDX_BLOCKED_MEMORY_EXISTS": (YES, "once what is blocked has been removed or unblocked"),
    "TDX_UNEXPORTED_MEMORY_REMAINS": (YES, "once it has been exported"),
    "TDX_MEM_SCAN_DCHECK_NOT_DONE": (YES, "once the scan is complete"),
    "TDX_EXPORTED_DIRTY_PAGES_REMAIN": (NO, "not before they have been exported again"),
    "TDX_IOMMU_IOTLB_TRACKING_NOT_DONE": (YES, "after the IOMMU's invalidation"),
    "TDX_MMIO_ACCEPT_SIZE_MISMATCH": (NO, "only with the other size; a TDH.MMIO.MAP at the same moment can cause it for a"
                                          " size that is right: then once more"),
    "TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT": (NEEDLESS, "ask for that field"),
}


def again(word: int, name: str | None) -> tuple[str, str]:
    """Whether the same call can do better, and after what: by the status, or else by bits 63:61."""
    if word & TDX_FATAL and word & (TDX_ERROR | TDX_NON_RECOVERABLE):
        return NO, "what it was about is lost: bit 61"
    if name in AGAIN:
        return AGAIN[name]
    if word & TDX_NON_RECOVERABLE:
        return NO, "the same call answers the same until its operands, or what they name, are others: bit 62"
    if word & TDX_ERROR:
        return YES, "bit 62 is clear: the reason can go away by itself"
    return NEEDLESS, "no error: bit 63 is clear"


# --- bits 31:0 ---------------------------------------------------------------------------------

OP_STATES = ("UNINITIALIZED", "INITIALIZED", "RUNNABLE", "LIVE_EXPORT", "PAUSED_EXPORT", "POST_EXPORT", "MEMORY_IMPORT",
             "STATE_IMPORT", "POST_IMPORT", "LIVE_IMPORT", "FAILED_IMPORT", "START_IMPORT", "START_EXPORT")
VCPU_STATES = {0x0: "UNINITIALIZED", 0x2: "READY", 0x4: "ACTIVE", 0x8: "DISABLED", 0x10: "IMPORT"}       # tdx_tdvps.h
LEVELS = ("PT, 4 KiB", "PD, 2 MiB", "PDPT, 1 GiB", "PML4", "PML5")
PAGE_SIZES = ("4 KiB", "2 MiB", "1 GiB")
PAGE_TYPES = {0: "NDA (none)", 1: "RSVD", 3: "REG (data)", 4: "TDR", 5: "TDCX", 6: "TDVPR", 8: "EPT"}    # pamt_manager.h
PUBLIC_STATES = {state.public: state.name for state in ENTRY_STATES}
# The MSRs that the module looks at when it is initialized or a TD is entered (Intel SDM, volume 4).
MSRS = {
    0x3A: "IA32_FEATURE_CONTROL", 0x3B: "IA32_TSC_ADJUST", 0x48: "IA32_SPEC_CTRL", 0x49: "IA32_PRED_CMD",
    0x87: "IA32_MKTME_KEYID_PARTITIONING", 0x98: "IA32_WBINVDP", 0x99: "IA32_WBNOINVDP",
    0xBC: "IA32_MISC_PACKAGE_CTLS",
    0xBD: "IA32_XAPIC_DISABLE_STATUS", 0xCF: "IA32_CORE_CAPABILITIES", 0xFE: "IA32_MTRRCAP",
    0x10A: "IA32_ARCH_CAPABILITIES",
    0x122: "IA32_TSX_CTRL", 0x1A0: "IA32_MISC_ENABLE", 0x1D9: "IA32_DEBUGCTL", 0x1F2: "IA32_SMRR_PHYSBASE",
    0x1F3: "IA32_SMRR_PHYSMASK", 0x345: "IA32_PERF_CAPABILITIES", 0x480: "IA32_VMX_BASIC",
    0x481: "IA32_VMX_PINBASED_CTLS",
    0x482: "IA32_VMX_PROCBASED_CTLS", 0x483: "IA32_VMX_EXIT_CTLS", 0x484: "IA32_VMX_ENTRY_CTLS",
    0x485: "IA32_VMX_MISC",
    0x486: "IA32_VMX_CR0_FIXED0", 0x487: "IA32_VMX_CR0_FIXED1", 0x488: "IA32_VMX_CR4_FIXED0",
    0x489: "IA32_VMX_CR4_FIXED1",
    0x48B: "IA32_VMX_PROCBASED_CTLS2", 0x48C: "IA32_VMX_EPT_VPID_CAP", 0x48D: "IA32_VMX_TRUE_PINBASED_CTLS",
    0x48E: "IA32_VMX_TRUE_PROCBASED_CTLS", 0x48F: "IA32_VMX_TRUE_EXIT_CTLS", 0x490: "IA32_VMX_TRUE_ENTRY_CTLS",
    0x491: "IA32_VMX_VMFUNC", 0x492: "IA32_VMX_PROCBASED_CTLS3", 0x493: "IA32_VMX_EXIT_CTLS2",
    0x981: "IA32_TME_CAPABILITY",
    0x982: "IA32_TME_ACTIVATE", 0xDA0: "IA32_XSS", 0xC000_0080: "IA32_EFER", 0xC000_0081: "IA32_STAR",
    0xC000_0082: "IA32_LSTAR", 0xC000_0084: "IA32_FMASK",
}


def name_in(table) -> Callable[[int], str]:
    """Spells a number by a table of names."""
    known = dict(enumerate(table)) if isinstance(table, tuple) else table
    return lambda value: f"{value} {known[value]}" if value in known else f"{value}, which has no name"


def _hexadecimal(value: int) -> str:
    return f"{value:#x}"


def _msr(value: int) -> str:
    return f"{value:#x} {MSRS.get(value, '')}".rstrip()


class Part(NamedTuple):
    """Some bits of bits 31:0: what they say, and how it is spelled."""

    says: str
    high: int = 31
    low: int = 0
    spelled: Callable[[int], str] = str

    def of(self, word: int) -> int:
        return word >> self.low & (1 << self.high - self.low + 1) - 1


_TDMR = Part("TDMR index", 7, 0)
LOWS = {
    rows.LEVEL: (Part("level of the SEPT", spelled=name_in(LEVELS)),),
    rows.OP_STATE: (Part("op_state of the TD", spelled=name_in(OP_STATES)),),
    rows.VCPU_STATE: (Part("state of the vCPU", spelled=name_in(VCPU_STATES)),),
    rows.MSR: (Part("MSR", spelled=_msr),),
    rows.CPUID_LEAF: (Part("CPUID leaf", spelled=_hexadecimal),),
    rows.VMCS_FIELD: (Part("encoding of a VMCS field", spelled=_hexadecimal),),
    rows.VM_LEVEL: (Part("VM", 31, 16), Part("level of its SEPT", 15, 0, name_in(LEVELS))),
    rows.INDEX: (Part("index in the list"),),
    rows.LIST_INDEX: (Part("index in the list of GPAs"),),
    rows.METADATA_LIST: (Part("of a list if 0xffff", 31, 16, _hexadecimal), Part("index in the list", 15, 0)),
    rows.METADATA_FIELD: (Part("code of the metadata field", spelled=_hexadecimal),),
    rows.PAIR_PAGE: (Part("page of the pair"),),
    rows.APIC_ID: (Part("x2APIC id"),),
    rows.PACKAGE: (Part("number of the package"),),
    rows.HKIDS: (Part("how many HKIDs the module can handle"),),
    rows.SLOT: (Part("slot of the binding"),),
    rows.SMRR: (Part("SMRR index"),),
    rows.SMRR_CMR: (Part("SMRR index", 7, 0), Part("CMR index", 15, 8)),
    rows.TDMR: (_TDMR,),
    rows.TDMR_SIZE: (_TDMR, Part("of the PAMT of pages of", 15, 8, name_in(PAGE_SIZES))),
    rows.TDMR_OVERLAP: (_TDMR, Part("of the PAMT of pages of", 15, 8, name_in(PAGE_SIZES)), Part("other TDMR", 23, 16)),
    rows.TDMR_AREA: (_TDMR, Part("reserved area", 15, 8)),
    rows.SENSITIVE: (Part("how many", 31, 16), Part("of what", 15, 0, name_in(("TDs being built", "interrupted migrations")))),
}
# Kinds of bits 31:0 that are 0 in releases before these.
SPEAKS_SINCE = {rows.OP_STATE: "1.5.20", rows.VCPU_STATE: "1.5.16"}

OPERAND = {
    "RAX": "RAX (leaf and version); or nothing in particular",
    **{register: f"what the caller put in {register}" for register in (
        "RCX", "RDX", "RBX", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15")},
    "RCX": "what the caller put in RCX; of calls on the SEPT also the entry that it names, and the page that it maps",
    "ATTRIBUTES": "ATTRIBUTES of TD_PARAMS", "XFAM": "XFAM of TD_PARAMS",
    "EXEC_CONTROLS": "CONFIG_FLAGS of TD_PARAMS",
    "EPTP_CONTROLS": "EPTP_CONTROLS of TD_PARAMS", "MAX_VCPUS": "MAX_VCPUS of TD_PARAMS",
    "CPUID_CONFIG": "CPUID_CONFIG of TD_PARAMS; RCX has the leaf and the subleaf",
    "TSC_FREQUENCY": "TSC_FREQUENCY of TD_PARAMS",
    "NUM_L2_VMS": "NUM_L2_VMS of TD_PARAMS",
    "IA32_ARCH_CAPABILITIES_CONFIG": "IA32_ARCH_CAPABILITIES_CONFIG of TD_PARAMS",
    "PAGE": "a page", "TDMR_INFO_PA": "the address of a TDMR_INFO", "GPA_LIST_ENTRY": "an entry of the list of GPAs",
    "MIG_BUFF_LIST_ENTRY": "an entry of the list of migration buffers",
    "NEW_PAGE_LIST_ENTRY": "an entry of the list of new pages, and the page that it names",
    "KEYNAME": "the name of a key",
    "MEM_SCAN_CONTEXT": "a context of the memory scan", "GPA_RANGE_LIST_ENTRY": "an entry of the list of GPA ranges",
    "GPA_LIST_INFO_ENTRY": "an entry of the list of lists", "KEYSIZE_BITMAP": "the bitmap of key sizes",
    "TDR": "the TD's root page: its PAMT entry", "TDCX": "a control page of the TD",
    "TDVPR": "the vCPU's root page: its PAMT entry",
    "REG_PAGE": "a data page", "TDCS": "the TD's control structure", "TDVPS": "the vCPU's control structure",
    "SEPT_TREE": "the lock of the TD's whole Secure EPT", "SEPT_ENTRY": "an entry of the Secure EPT",
    "RTMR": "the lock of the TD's run-time measurements", "TD_EPOCH": "the lock of the TD's TLB epoch",
    "L2_VAPIC_GPA": "the GPA of an L2 VM's virtual APIC page", "MIGSC": "a migration stream",
    "OP_STATE": "the lock of the TD's op_state (TDCS in the lock report)", "MIG": "the lock of the TD's migration",
    "SERVTD_BINDINGS": "the lock of the TD's service TD bindings", "PASID_TRK": "the tracking of a PASID",
    "METADATA_FIELD": "a metadata field", "NUM_VCPUS": "the number of vCPUs",
    "CPUID_FIXED0_BITMAP": "a bitmap of CPUID bits",
    "SYS": "the module as a whole", "TDMR": "a TDMR", "KOT": "the Key Ownership Table, one for the machine",
    "KET": "the key table of the package's memory controller", "WBCACHE": "the package's write-back of caches",
    "MEM_SCAN_STATE": "the state of the memory scan", "PASIDMT": "the PASID metadata table",
    "MMIOMT": "the MMIO metadata table",
    "SPDMMT": "the SPDM metadata table", "DMAR": "a DMA remapping structure",
}

assert MEANING.keys() <= set(NAME_OF_STATUS.values()) and AGAIN.keys() <= set(NAME_OF_STATUS.values())
assert OPERAND.keys() == OPERANDS.keys()
assert LOWS.keys() == {row.low for row in rows.STATUS_ROWS} - {rows.NOTHING, rows.UNSEEN, rows.OPERAND, rows.EXIT_REASON}
