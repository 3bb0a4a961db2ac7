"""Published timings of real TDX hosts as rows, and `machine.costs = "published"`, which puts those with a key into a config.

    key      of [costs_ns], or of [machine] (ON_MACHINE); "" where a number is a whole to check against, not the cost of one thing
    ns       what is put there; None without a key
    number   as it was published
    timed    what was timed, exactly
    machine  on what
    source   who, when, where
    how      from the number to `ns`, if they differ

Nobody has published times of TDH.MEM.PAGE.AUG, .SEPT.ADD, .RANGE.BLOCK, .TRACK, .PAGE.REMOVE or TDH.VP.ENTER alone, of TDG.MEM.PAGE.ACCEPT
alone, how long an entry's lock is held, or how often a host meets BUSY.
"""

from typing import NamedTuple

from harness.experiment.config import Config, Machine

NAME = "published"
UNSAID = "not said"
CVM = "TUM-DSE/CVM_eval, benchmarks/vmexit/README.md (2024, commit 5bc6ab0a)"
CVM_MACHINE = "Dell R760, 5th generation Xeon, 2.7 GHz, Linux 6.8-rc with TDX patches"
YAN = "Yan Zhao, linux-coco, 9 Feb 2026 (aYmoIaFwgR6+hnGp@yzhao56-desk.sh.intel.com)"
ADRIAN = "Adrian Hunter, KVM_TDX_TERMINATE_VM, 2025"
DSTACK = "Dstack-TEE/dstack, docs/tdx-guest-scaling.md and pull request 1220 (2026)"
DSTACK_MACHINE = "Granite Rapids, host kernel 7.0"
LKVS = "intel/lkvs, BM/tdx-guest/tdx_mem_test.sh (commit 1076624b): expected values"


class Row(NamedTuple):
    key: str
    ns: int | None
    number: str
    timed: str
    machine: str
    source: str
    how: str = ""


ROWS = (
    Row("tdg_mem_page_accept", 650, "646 ns (1,744 cycles)", "CPUID leaf 0 or 2 in a TD: into the module and back, no host", CVM_MACHINE, CVM,
        "the transition only: zeroing is machine.page_zero_ns"),
    Row("", None, "3.85 us (10,400 cycles)", "CPUID leaf 1 in a TD: #VE, TDG.VP.VEINFO.GET, TDG.VP.VMCALL, KVM, TD entry", CVM_MACHINE, CVM),
    Row("td_exit", 800, "3.85 us (10,400 cycles)", "the same", CVM_MACHINE, CVM, "less two transitions of 0.65 and 1 us of KVM, halved"),
    Row("td_entry", 800, "3.85 us (10,400 cycles)", "the same", CVM_MACHINE, CVM, "less two transitions of 0.65 and 1 us of KVM, halved"),
    Row("seamcall", 1_000, "1 us at least", "TDH.PHYMEM.PAMT.REMOVE, its shortest, by a timer of whole us", UNSAID, YAN,
        "a bound from above: the call's own work is in it"),
    Row("tdh_phymem_pamt_add", 3_000, "4 us average, 2 to 18", "TDH.PHYMEM.PAMT.ADD, by the kernel's timer", UNSAID, YAN, "less seamcall"),
    Row("tdh_phymem_pamt_remove", 1_000, "2 us average, 1 to 11", "TDH.PHYMEM.PAMT.REMOVE, by the kernel's timer", UNSAID, YAN,
        "less seamcall"),
    Row("tdh_mem_page_remove", 4_800, "24, 134, 467 s for 18, 107, 400 GB", "shutdown of a TD that was torn down first: reclaim, write-back, clear",
        UNSAID, ADRIAN, "5.1, 4.8, 4.5 us for each 4 KiB page (GB as GiB); two SEAMCALLs are in it"),
    Row("", None, "72, 517, 5539 s for 18, 107, 400 GB", "shutdown without it, at 4, 32, 64 vCPUs: block, track, kick, remove, write-back, clear",
        UNSAID, ADRIAN),
    Row("", None, "8 us; 153 us with 247 idle vCPUs that tick", "one fault and accept of 4 KiB: exit, AUG, entry, ACCEPT", DSTACK_MACHINE, DSTACK),
    Row("exit_in_turn_ns", 360, "160 to 200 us", "an exit to the host and back while 248 vCPUs exit at once (halt-poll windows said to be 20 times that)",
        DSTACK_MACHINE, DSTACK, "180 us divided by 248 vCPUs, half for the exit and half for the entry; 8 to 10 us with 32 would be 140"),
    Row("", None, "24 s for 8 GiB, 398 s for 96 GiB", "1 vCPU until nothing is unaccepted, use of the pages included", UNSAID, LKVS),
    Row("", None, "6 s for 16 GiB, 33 s for 96 GiB", "32 vCPUs and 32 workers, the same", UNSAID, LKVS),
)
ON_MACHINE = {row.key: row for row in ROWS if row.key in Machine.model_fields}
BY_KEY = {row.key: row for row in ROWS if row.key and row.key not in ON_MACHINE}


def applied(config: Config) -> Config:
    """The config with what was published for those costs_ns, and keys of [machine], that it does not give, if it asks for that."""
    if config.machine.costs != NAME:
        return config
    fresh = {key: row.ns for key, row in BY_KEY.items() if key not in config.costs_ns.model_fields_set}
    machine = {key: row.ns for key, row in ON_MACHINE.items() if key not in config.machine.model_fields_set}
    return config.model_copy(update={part: getattr(config, part).model_copy(update=keys)
                                     for part, keys in (("costs_ns", fresh), ("machine", machine)) if keys})


def provenance(config: Config, key: str) -> str:
    """Where a value of costs_ns, or of [machine], comes from."""
    row = BY_KEY.get(key) or ON_MACHINE.get(key)
    if row and config.machine.costs == NAME and getattr(config.machine if key in ON_MACHINE else config.costs_ns, key) == row.ns:
        return f"published: {row.number}, {row.timed}; {row.source}" + (f" ({row.how})" if row.how else "")
    return "this config, an assumption"


def table() -> str:
    """The rows as Markdown, for docs/real_hosts.md."""
    lines = ["| number | what was timed | machine | source | key |", "|---|---|---|---|---|"]
    lines += [f"| {row.number} | {row.timed} | {row.machine} | {row.source} | "
              + (f"`{row.key} = {row.ns}`" + (f": {row.how}" if row.how else "") if row.key else "") + " |" for row in ROWS]
    return "\n".join(lines)
