"""What a config may say: the models below are the one statement of it, with units in the names of keys.

config_file.py reads configs from TOML files and says in one line what is wrong with one.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from harness.protocol import dpamt, guest_policies, policies, releases
from harness.protocol import policy as policy_words
from harness.memory.placement import BY_USE, PAGES_PER_MIB, PLACEMENTS
from harness.errors import meant

ENGINES = ("processes", "simulate")
PATTERNS = ("uniform", "hot", "zipf", "sequential")
SEAMCALL_FAULTS = ("none", "bios_off", "vmx_off", "not_loaded")
REMOVALS = ("punch_hole", "conversion", "memslot_delete", "split", "teardown", "build")
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"      # of a config, a scenario and a policy
BUSTED = ("entry_lock", "no_track", "no_kick", "tracking_check")


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Td(Table):
    """The TD."""

    vcpus: int = Field(4, ge=1, le=4096, description="vCPUs of a TD")
    memory_mib: int = Field(2, ge=2, le=1 << 20, multiple_of=2, description="memory of a TD in MiB, in whole 2 MiB")
    count: int = Field(1, ge=1, le=128, description="TDs at once; each has vCPUs and hosts of its own")
    hp_lock_timeout_ms: int = Field(1_000, ge=10, le=100_000,
                                    description="TDCS.hp_lock_timeout: for so long host priority refuses a TDCALL before the "
                                                "TD exits; not given: the module's own")
    pending_ve: bool = Field(True, description="a touch of a PENDING page is a #VE for the guest")
    dynamic_pamt: bool = Field(False, description="PAMT entries of 4 KiB pages lie in pages that the host gives (Dynamic PAMT)")
    dpamt: str = Field("", description="how KVM gets and puts PAMT page pairs, such as dpamt_merged; none: all 2 MiB keep theirs")
    pamt_cache: int = Field(0, ge=0, le=64, description="with dpamt: page pairs to which a vCPU's cache is topped up before each try "
                                                        "of a fault (KVM: 5); 0: no cache is modelled, there always is a pair")

    large_pages: bool = Field(False, description="KVM maps 2 MiB as one page where it may, and splits them where it must")

    @property
    def pages(self) -> int:
        """Guest pages of 4 KiB."""
        return self.memory_mib * PAGES_PER_MIB


class Workload(Table):
    """What vCPUs touch and what host threads remove."""

    pattern: Literal[*PATTERNS, "boot"] = Field("hot", description="which pages vCPUs touch; boot: each of the vCPUs that accept memory "
                                                                   "at boot the pieces that the guest gives it, the others none")
    pages: int | None = Field(None, ge=1, description="how many pages are in play; default: all")
    hot_pages: int = Field(16, ge=1, description="pattern hot: how many pages are hot")
    hot_share: float = Field(0.9, ge=0, le=1, description="pattern hot: share of touches that go there")
    zipf_exponent: float = Field(1.0, gt=0, le=10, description="pattern zipf: its exponent")
    accept_first: float = Field(0.75, ge=0, le=1,
                                description="share of first touches that ACCEPT before touching; the rest get a #VE")
    hosts: int = Field(1, ge=0, le=64, description="host threads that remove pages")
    removing_tds: int | None = Field(None, ge=0, le=128, description="only the host threads of the first so many TDs remove; default: "
                                                                     "of all")
    removals_per_s: float = Field(20_000, ge=0, le=1e9, description="removals of each host thread; 0: as fast as it can")
    remove_pattern: Literal["same", *PATTERNS] = Field("same",
                                                       description="which pages host threads remove; same: as vCPUs touch them")
    removal: Literal[REMOVALS] = Field("punch_hole", description="what host threads do")
    removal_pages: int = Field(1, ge=1, description="pages per removal, a power of two")
    may_sleep: bool = Field(True, description="whether a removal's caller may (an MMU notifier may not)")
    userspace_skips: int = Field(0, ge=0, le=1000, description="memory-fault exits until userspace converts a page")
    map_gpa_share: float = Field(0, ge=0, le=1, description="share of the guest's steps that convert, and back")
    map_gpa_pages: int = Field(512, ge=1, description="how many pages, a power of two")
    map_gpa_retries: int | None = Field(None, ge=0, description="how often the guest repeats MapGPA; default: for ever")
    migrate_share: float = Field(0, ge=0, le=1, description="share of entries with the vCPU on another processor")
    build_pages: int = Field(64, ge=1, description="pages of initial memory (\"build\")")
    string_pages: int = Field(1, ge=1, le=512, description="pages that one instruction touches, a power of two")
    spammers: int = Field(0, ge=0, description="vCPUs that only ACCEPT page 0, the last ones")
    accept_2m: bool = Field(False, description="guests that know 2 MiB try them at each first page of 2 MiB; with td.large_pages, the "
                                               "2 MiB around any page")
    accept_parts: float = Field(0, ge=0, le=1, description="with td.large_pages and accept_2m: share of ACCEPTs that are of 4 KiB all the "
                                                           "same")
    loop: Literal["closed", "open"] = Field("closed",
                                            description="closed: an actor asks for the next when the last is done; open: "
                                                        "touches and removals arrive at their rates")
    touches_per_s: float = Field(50_000, gt=0, le=1e9, description="by each vCPU, in an open loop")


class Costs(Table):
    """Time spent inside, in nanoseconds, beyond what the accesses themselves take.

    What a config says here is an assumption; published.py has what was published of it.
    """

    seamcall: int = Field(0, ge=0, le=10**9, description="getting into and out of the module")
    td_entry: int = Field(0, ge=0, le=10**9, description="of TDH.VP.ENTER, with the SEPT tree if suspected")
    td_exit: int = Field(0, ge=0, le=10**9, description="of a TD exit")
    kick: int = Field(0, ge=0, le=10**9, description="sending the interrupts of one broadcast")
    userspace_exit: int = Field(0, ge=0, le=10**9, description="an exit to userspace and back")
    guest_work: int = Field(0, ge=0, le=10**9, description="between touches")
    invalidate: int = Field(0, ge=0, le=10**9, description="after a removal, while faults on the page are stale")
    tdh_mem_sept_add: int = Field(0, ge=0, le=10**9, description="of that call, under its innermost locks")
    tdh_mem_page_aug: int = Field(0, ge=0, le=10**9, description="of that call, under its innermost locks")
    tdh_mem_range_block: int = Field(0, ge=0, le=10**9, description="of that call, under its innermost locks")
    tdh_mem_track: int = Field(0, ge=0, le=10**9, description="of that call, under its innermost locks")
    tdh_mem_page_remove: int = Field(0, ge=0, le=10**9, description="of that call, under its innermost locks")
    tdg_mem_page_accept: int = Field(0, ge=0, le=10**9, description="of that call, under its innermost locks")
    tdh_mng_key_config: int = Field(0, ge=0, le=10**9, description="of that call, under its innermost locks")
    tdh_phymem_cache_wb: int = Field(0, ge=0, le=10**9, description="of that call, under its innermost locks")
    tdh_phymem_pamt_add: int = Field(0, ge=0, le=10**9, description="of that call, under its innermost locks")
    tdh_phymem_pamt_remove: int = Field(0, ge=0, le=10**9, description="of that call, under its innermost locks")
    page_pair: int = Field(0, ge=0, le=10**9, description="allocating two pages for a vCPU's cache of PAMT page pairs (td.pamt_cache)")


class Machine(Table):
    """The machine of engine simulate; harness/engines/simulate/prices.py says where each default comes from.

    `placement` is of the host that is modelled, so of every engine.

    `costs` names a file that `python -m harness doctor --calibrate` wrote: its values stand in for the
    defaults here.  Or it is "published": the costs_ns that were published, where the config gives none.
    """

    costs: str = Field("",
                       description="a file that doctor --calibrate wrote, its values replace the defaults of these keys; or "
                                   "published: costs_ns that were published")
    placement: Literal[PLACEMENTS] = Field(BY_USE,
                                           description="where physical pages lie: by_use, no 2 MiB shared; packed, TD after TD; "
                                                       "random, scattered over the host's 2 MiB, which all share; with large pages 2 MiB of a guest "
                                                       "are 2 MiB of the host")
    processors: int = Field(0, ge=0, le=4160, description="0: one for each vCPU and host thread")
    sockets: int = Field(1, ge=1, le=64, description="sockets among which the processors are divided")
    preempt: Literal["outside", "anywhere", "yielding"] = Field("outside",
                                                                description="where a time slice may end: outside SEAMCALLs and "
                                                                            "locks, or anywhere; yielding: and whoever waits gives "
                                                                            "way, as this harness' processes do")
    time_slice_ns: float = Field(3_000_000, ge=100, le=1e9, description="a time slice, with fewer processors than threads")
    patience_ns: float = Field(400, ge=0, le=1e9, description="with preempt = yielding: how long who waits looks before it gives way")
    switch_ns: float = Field(1_500, ge=0, le=1e9, description="to another thread on the same processor")
    local_ns: float = Field(0.3, ge=0, le=1e6, description="a micro-op on registers")
    load_ns: float = Field(0.5, ge=0, le=1e6, description="of a word in this processor's cache")
    store_ns: float = Field(0.5, ge=0, le=1e6, description="the same of a store")
    locked_ns: float = Field(6, ge=0, le=1e6, description="a locked instruction on such a word")
    mark_ns: float = Field(0, ge=0, le=1e6, description="counting and time stamps of the harness itself")
    transfer_ns: float = Field(60, ge=0, le=1e6, description="a cache line from another processor of the same socket")
    transfer_far_ns: float = Field(140, ge=0, le=1e6, description="a cache line from a processor of another socket")
    page_zero_ns: float = Field(400, ge=0, le=1e9, description="zeroing 4 KiB")
    spend_ns: float = Field(0, ge=0, le=1e6, description="what spending a cost takes beyond that cost")
    noticed_ns: float = Field(0, ge=0, le=1e6, description="until a processor that waits sees that a word has changed, beyond the transfer")
    exit_in_turn_ns: float = Field(0, ge=0, le=1e6, description="of each TD exit and each TD entry: so long they go one after another, "
                                                                "whichever vCPU's")
    pace_ns: float = Field(2_000, ge=1, le=1e9, description="how long a processor keeps its pace (distribution.pace; always 1 without)")
    stall_every_ns: float = Field(0, ge=0, le=1e12, description="a processor stalls about so often, whatever it does; 0: never")
    stall_ns: float = Field(0, ge=0, le=1e9, description="how long a stall lasts")
    ipi_ns: float = Field(1_000, ge=0, le=1e9, description="from a kick to its delivery in the guest")
    ipi_handled_ns: float = Field(500, ge=0, le=1e9, description="until the guest has begun to leave")
    distribution: dict[str, str] = Field({},
                                         description="of a cost by name, or of transfer, stall or pace: exponential, or histogram FILE "
                                                     "(CSV: from_ns, to_ns, count; or COSTS.toml:NAME)")


class Checks(Table):
    """What a run checks of itself, and what is broken on purpose so that it must find something."""

    exclusive_ownership: bool = Field(True, description="a shadow owner for each lock word; a call then takes two thirds more")
    attribution: bool = Field(True,
                              description="look up at each BUSY who caused it (engine processes); costs nothing where there is "
                                          "none, and takes lines from the holder where there is: who tries again at once goes "
                                          "round half as fast")
    busted: tuple[Literal[BUSTED], ...] = Field((), description="what is broken on purpose, so that a check must find it")

    @field_validator("busted", mode="before")
    @classmethod
    def _tuple(cls, value):
        return tuple(value) if isinstance(value, list) else value


class Faults(Table):
    """What goes wrong below the module (harness/protocol/seamcall_abi.py)."""

    seamcall: Literal[SEAMCALL_FAULTS] = Field("none", description="why SEAMCALL does not reach the module")
    seamcall_share: float = Field(1.0, gt=0, le=1, description="of the SEAMCALLs")
    rebooting: bool = Field(False, description="kvm_rebooting: then it is no bug at entry")
    no_entropy_share: float = Field(0.0, ge=0, le=1, description="of the random draws in the module")
    machine_check_share: float = Field(0.0, ge=0, le=1, description="of the turns of a host thread")


class Bound(Table):
    """What a number of the result must be."""

    min: float | None = Field(None, description="at least")
    max: float | None = Field(None, description="at most")


class Config(Table):
    """A whole config."""

    name: Annotated[str, Field(pattern=NAME), Field(description="of the config; not given: the file's")]
    engine: Literal[ENGINES] = Field("processes", description="processes: real workers in real time; simulate: virtual time")
    module: str = Field("1.5.05",
                        description="a release of the TDX module, newest, or a table: base = \"1.5.34\" and the fields that "
                                    "differ")
    policy: Any = Field(
                        description="what KVM does where a call is BUSY: a name (policies), or a table: base = "
                                    "\"kick_on_busy\" and the sites and switches that differ")
    guest: Any = Field(guest_policies.DEFAULT, validate_default=True,
                       description="what the guest makes of ACCEPT's answers: a name (policies --guests), or a table of the "
                                   "sites that differ")
    seed: int = Field(1, ge=0, lt=1 << 63, description="of the actors' choices")
    duration_s: float = Field(5.0, ge=0, le=86_400, description="how long is measured")
    warmup_s: float = Field(0.5, ge=0, le=3_600, description="before that, not counted")
    repeats: int = Field(1, ge=1, le=10_000, description="how many runs, on as many seeds")
    until_seen_s: float = Field(0, ge=0, le=86_400,
                                description="run again, on other seeds, until what expect wants to see has occurred, for so "
                                            "long at most")
    primitive: Literal["cas", "bts"] = Field("cas",
                                             description="how an SEPT entry's lock bits are set: compare-and-swap, or the "
                                                         "locked bit instructions that the module uses")
    restart_on_bug: bool = Field(False, description="go on with a fresh TD after a KVM_BUG_ON or a hang")
    td: Td = Field(Td(), description="the TD")
    workload: Workload = Field(Workload(), description="what vCPUs touch and what host threads remove")
    costs_ns: Costs = Field(Costs(),
                            description="time spent inside calls and flows, in nanoseconds, beyond their accesses: "
                                        "assumptions, unless published")
    machine: Machine = Field(Machine(), description="the machine of engine simulate")
    checks: Checks = Field(Checks(), description="what a run checks of itself")
    faults: Faults = Field(Faults(), description="what goes wrong below the module")
    expect: dict[str, Bound] = Field({}, description="bounds on any number of result.json: a number, or a table with min and max")

    @field_validator("module", mode="before")
    @classmethod
    def _module(cls, value):
        return resolve_module(value)

    @field_validator("policy", mode="before")
    @classmethod
    def _policy(cls, value):
        return resolve_policy(value)

    @field_validator("guest", mode="before")
    @classmethod
    def _guest(cls, value):
        return resolve_guest(value)

    @field_validator("expect", mode="before")
    @classmethod
    def _expect(cls, value):
        if not isinstance(value, dict):
            return value
        return {key: {"min": bound, "max": bound} if isinstance(bound, int | float) else bound
                for key, bound in dotted(value, _holds_more)}

    @model_validator(mode="after")
    def _machine_checks_hit_hosts(self):
        if self.faults.machine_check_share and not self.workload.hosts:
            raise KeyProblem("faults.machine_check_share", self.faults.machine_check_share,
                             "machine checks hit host threads, and workload.hosts is 0; must be 0")
        return self

    @model_validator(mode="after")
    def _arrivals_have_a_rate(self):
        if self.workload.loop == "open" and self.workload.hosts and not self.workload.removals_per_s:
            raise KeyProblem("workload.removals_per_s", 0, "must be more than 0 where workload.loop = 'open':"
                             " removals arrive at that rate")
        return self

    @model_validator(mode="after")
    def _long_enough(self):
        least = {"simulate": 1e-5}.get(self.engine, 0.05)
        if self.duration_s < least:
            raise KeyProblem("duration_s", self.duration_s, f"must be at least {least:g} seconds"
                             f" (engine {self.engine})")
        return self

    @model_validator(mode="after")
    def _pages_fit(self):
        hot = ("hot_pages",) * (self.workload.pattern == "hot")
        for key in ("pages", *hot):
            value = getattr(self.workload, key)
            if value is not None and value > self.td.pages:
                raise KeyProblem(f"workload.{key}", value, f"must be at most {self.td.pages}, the pages of"
                                 f" td.memory_mib = {self.td.memory_mib}")
        for key in ("removal_pages", "map_gpa_pages", "string_pages"):
            value = getattr(self.workload, key)
            if value & value - 1 or value > self.td.pages:
                raise KeyProblem(f"workload.{key}", value, f"must be a power of two, at most {self.td.pages}, the"
                                 f" pages of td.memory_mib = {self.td.memory_mib}")
        return self

    @model_validator(mode="after")
    def _hosts_have_what_they_remove(self):
        hosts, removal = self.workload.hosts, self.workload.removal
        if removal == "split" and not (self.td.pages > 512 and hosts == 1):
            raise KeyProblem("workload.removal", "split", "needs td.memory_mib of at least 4, and workload.hosts = 1:"
                             " the first 2 MiB are touched, the others are large pages")
        if self.workload.removing_tds is not None and (self.restart_on_bug or removal in ("teardown", "split", "build")):
            raise KeyProblem("workload.removing_tds", self.workload.removing_tds, "needs restart_on_bug = false, and a"
                             " workload.removal other than teardown, split and build, which host threads of all TDs take part in")
        if removal == "build" and not hosts:
            raise KeyProblem("workload.hosts", hosts, "must be at least 1 to build a TD")
        if removal == "build" and self.workload.build_pages > self.td.pages:
            raise KeyProblem("workload.build_pages", self.workload.build_pages, f"must be at most {self.td.pages}, the"
                             f" pages of td.memory_mib = {self.td.memory_mib}")
        return self

    @model_validator(mode="after")
    def _the_module_has_it(self):
        if self.td.dynamic_pamt:
            check_dynamic_pamt("td.dynamic_pamt", self.module)
        if self.td.pamt_cache and not self.td.dpamt:
            raise KeyProblem("td.pamt_cache", self.td.pamt_cache, "needs td.dpamt: without it all 2 MiB keep their pairs")
        if self.td.dpamt:
            check_design("td.dpamt", self.td.dpamt)
            if not self.td.dynamic_pamt:
                raise KeyProblem("td.dpamt", self.td.dpamt, "needs td.dynamic_pamt")
        return self

    @model_validator(mode="after")
    def _large_pages_can_be_mapped(self):
        td, workload, policy = self.td, self.workload, self.policy
        if workload.accept_parts and not (td.large_pages and workload.accept_2m):
            raise KeyProblem("workload.accept_parts", workload.accept_parts, "needs td.large_pages and workload.accept_2m")
        wrong = td.large_pages and next((message for bad, message in (
            (workload.removal in ("split", "build"), f"a workload.removal other than {workload.removal}"),
            (self.machine.placement != BY_USE and td.memory_mib < 4, "td.memory_mib of at least 4 with a machine.placement: the first 2 MiB"
             " are of single pages"),
            (td.dynamic_pamt and not td.dpamt, "td.dpamt where td.dynamic_pamt is on: no large page has a pair"),
            (policy.zap_lock != "write" or not policy.freeze, "a policy with zap_lock = 'write' and freeze = true"),
        ) if bad), "")
        if wrong:
            raise KeyProblem("td.large_pages", True, f"needs {wrong}")
        return self

    @model_validator(mode="after")
    def _pages_can_be_placed(self):
        placement, pamt = self.machine.placement, self.td.dynamic_pamt
        if placement == BY_USE:
            return self
        if pamt and not (self.costs_ns.tdh_phymem_pamt_add and self.costs_ns.tdh_phymem_pamt_remove):
            raise KeyProblem("machine.placement", placement, "with td.dynamic_pamt needs costs_ns.tdh_phymem_pamt_add and _remove:"
                             " the calls are not modelled entry by entry")
        if pamt and not self.td.dpamt and self.workload.removal == "split":
            raise KeyProblem("machine.placement", placement, "with td.dynamic_pamt and workload.removal = 'split' needs td.dpamt: no"
                             " large page has a pair")
        if self.td.dpamt and dpamt.BY_NAME[self.td.dpamt].breaks == ("deadlock",):
            raise KeyProblem("td.dpamt", self.td.dpamt, "deadlocks with machine.placement other than by_use: see explore")
        return self

    @model_validator(mode="after")
    def _vcpus_are_enough(self):
        workload, vcpus = self.workload, self.td.vcpus
        if workload.spammers > vcpus:
            raise KeyProblem("workload.spammers", workload.spammers, f"must be at most {vcpus}, td.vcpus")
        if workload.string_pages > 1 and vcpus < 2:
            raise KeyProblem("workload.string_pages", workload.string_pages, "needs td.vcpus of at least 2:"
                             " every second vCPU accepts for the one before it")
        return self

    @property
    def hp_lock_timeout_ms(self) -> int:
        """How long a guest is refused for host priority before its TD exits."""
        given = "hp_lock_timeout_ms" in self.td.model_fields_set
        return self.td.hp_lock_timeout_ms if given else releases.find(self.module).hp_lock_timeout_ms

    def resolved(self) -> dict:
        """All keys with their values, as JSON can hold them; the policy by its words."""
        plain = self.model_dump(mode="json", exclude={"policy", "guest"})
        plain["guest"] = {"name": self.guest.name, "largest": self.guest.largest,
                          "one_at_a_time": self.guest.one_at_a_time,
                          **{name: getattr(self.guest, name) for name in guest_policies.NUMBERS},
                          **{site: self.guest.words(site) for site in guest_policies.SITES}}
        plain["td"]["hp_lock_timeout_ms"] = self.hp_lock_timeout_ms
        plain["policy"] = {
            "name": self.policy.name,
            **{site: str(self.policy.ladder(site)) for site in policy_words.SITES},
            **{name: list(value) if isinstance(value, tuple) else value
               for name, value in self.policy.switches().items()},
        }
        return plain


class KeyProblem(ValueError):
    """A problem with a key that pydantic did not find itself."""

    def __init__(self, key, value, message):
        super().__init__(message)
        self.key, self.value, self.message = key, value, message


def dotted(table: dict, inside=lambda value: isinstance(value, dict)):
    """(dotted key, value) of nested tables; `inside` is of the values that are tables to go into."""
    for key, value in table.items():
        if inside(value):
            yield from ((f"{key}.{inner}", leaf) for inner, leaf in dotted(value, inside))
        else:
            yield key, value


def _holds_more(value) -> bool:
    """Whether a value of [expect] is a table of numbers, and not one of `min` and `max`."""
    return isinstance(value, dict) and not set(value) <= {"min", "max"}


def resolve_module(value) -> str:
    """The name of a release from a config: a name, or a table that changes fields of a `base`."""
    if not isinstance(value, str | dict):
        raise KeyProblem("module", value, "must be the name of a release, or a table")
    try:
        return releases.spell(value) if isinstance(value, dict) else releases.find(value).name
    except releases.ReleaseError as problem:
        raise KeyProblem(f"module.{problem.key}" if problem.key else "module", problem.value, problem.message) from None


def check_dynamic_pamt(key: str, module: str) -> None:
    """A release must have Dynamic PAMT."""
    if not releases.find(module).dynamic_pamt:
        have = ", ".join(row.name for row in releases.RELEASES if row.dynamic_pamt)
        raise KeyProblem(key, True, f"{module} has no Dynamic PAMT; releases that have it: {have}")


def check_design(key: str, name: str) -> None:
    """A design of the kernel's Dynamic PAMT."""
    known = dpamt.BY_NAME
    if name not in known:
        raise KeyProblem(key, name, f"no such design; {meant(name, known)}known: {', '.join(known)}")


def resolve_policy(value) -> policies.Policy:
    """A policy from a config: a name, or a table that changes sites of a `base`."""
    return _resolve("policy", value, policies.BY_NAME, "kick_on_busy", policy_words.change)


def resolve_guest(value) -> guest_policies.GuestPolicy:
    """The same of a guest."""
    if isinstance(value, guest_policies.GuestPolicy):
        return value
    return _resolve("guest", value, guest_policies.BY_NAME, guest_policies.DEFAULT, guest_policies.change)


def _resolve(key: str, value, known: dict, default: str, change):
    """A row by its name, or by a table that changes one (`base`)."""
    if isinstance(value, str):
        if value not in known:
            raise KeyProblem(key, value, f"not a {key}; {meant(value, known)}known: {', '.join(known)}")
        return known[value]
    if not isinstance(value, dict):
        raise KeyProblem(key, value, f"must be the name of a {key}, or a table")
    table = dict(value)
    base = _resolve(key, table.pop("base", default), known, default, change)
    name, meaning = table.pop("name", "custom"), table.pop("meaning", f"{base.name}, changed")
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise KeyProblem(f"{key}.name", name, "must be letters, digits, '_', '-' or '.', at most 64")
    if not isinstance(meaning, str):
        raise KeyProblem(f"{key}.meaning", meaning, "must be a string")
    named = base._replace(name=name, source="this config", meaning=meaning)
    if hasattr(named, "also"):
        named = named._replace(also="")
    try:
        return change(named, table)
    except policy_words.PolicyError as problem:
        given = value
        for part in problem.key.split("."):
            given = given.get(part) if isinstance(given, dict) else given
        raise KeyProblem(f"{key}.{problem.key}", given, problem.message) from None
