"""What a scenario file may contain: its keys, their defaults, and what is checked of each by itself."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from harness.experiment.config import BUSTED, KeyProblem, Table, resolve_guest, resolve_module, resolve_policy
from harness.memory.placement import BY_USE, PLACEMENTS
from harness.protocol import releases
from harness.protocol.guest_policies import DEFAULT as DEFAULT_GUEST
from harness.protocol.policies import Policy

NO_BARRIER = "no_entry_barrier"  # broken on purpose, with store buffers: KVM enters without its barrier
ALL = "all"                      # releases: every one that was read and has the calls
NAME = re.compile(r"[A-Za-z0-9_(][A-Za-z0-9_.,:+/()|* -]{0,199}")      # of a file, or of two calls and a state


class Start(Table):
    """How memory is at the start, besides a finalized TD."""

    pages: dict[str, str] = Field({}, description="\"PAGE\" or \"PAGE level N\" -> STATE, with +EL and +HP as wanted")
    children: dict[str, str] = Field({}, description="\"PAGE level N\" -> state of the 512 entries below")
    tables: bool = Field(True, description="SEPT pages above the pages are there; with large_pages only above those of start.pages")
    pairs: bool = Field(True, description="with Dynamic PAMT: the 2 MiB of data have a pair of PAMT pages; with a placement, those that "
                                          "have no page in use")
    listed: dict[str, list[int]] = Field({}, description="vCPU -> pages in its zero-step list")
    words: dict[str, int] = Field({}, description="\"NAME\" or \"NAME INDEX\" -> value")


class Pairs(Table):
    """A scenario for each two of these calls, and each of these start states."""

    calls: list[str] = Field(description="each two of these calls")
    states: list[str] = Field(description="from each of these states of the entry")
    level: int = Field(0, ge=0, le=2, description="of the entry")


class File(Table):
    """A scenario file."""

    name: str = Field("", description="of the scenario; not given: the file's")
    module: list[str] = Field(["1.5.05"], description="releases to search: one, a list, all, or a table of your own")
    policy: Any = Field("kick_on_busy", validate_default=True, description="of KVM's flows: as in a config")
    retries_most: int = Field(0, ge=0, le=1 << 20, description="a policy's limit of retries that is more counts as this; 0: each is as it is")
    guest: Any = Field(DEFAULT_GUEST, validate_default=True, description="of KVM's flows: as in a config")
    large_pages: bool = Field(False, description="KVM's flows map 2 MiB as one page where they may, and split them where they must")
    accept_2m: Literal[True, False, "either"] = Field(False,
                                                      description="guests that know 2 MiB try them at each first page of 2 MiB; with "
                                                                  "large_pages, the 2 MiB around any page; either: both sizes are tried")
    primitive: Literal["cas", "bts"] = Field("cas", description="as in a config")
    accept_first: Literal[True, False, "either"] = Field(True,
                                                         description="whether a guest ACCEPTs before its first touch; either: "
                                                                     "both are tried")
    pending_ve: bool = Field(True, description="a touch of a PENDING page is a #VE for the guest")
    dpamt: str = Field("", description="how the kernel gets and puts page pairs (use = [PAGE], and KVM's flows); implies dynamic_pamt")
    pamt_cache: int = Field(0, ge=0, le=8, description="with dpamt: page pairs to which each user's or vCPU's cache is topped up before a fault (KVM: "
                                                       "5); 0: there always is a pair")
    crossed: bool = Field(False, description="the pair of each 2 MiB lies in the other 2 MiB; with split, that of those 2 MiB only")
    dynamic_pamt: bool = Field(False, description="PAMT entries of 4 KiB pages in pages that the host gives")
    placement: Literal[PLACEMENTS] = Field(BY_USE, description="where physical pages lie, as machine.placement; not by_use: uses share 2 MiB "
                                                               "and 1 GiB, named pamt_2m.host and pamt_1g.host; with large pages 2 MiB of the TD are 2 MiB of the host")
    timeouts: bool = Field(False, description="the guest's time for host priority may run out")
    exclusive_ownership: bool = Field(True, description="check that no lock has two exclusive holders")
    busted: list[Literal[(*BUSTED, NO_BARRIER)]] = Field([], description="what is broken on purpose")
    memory_model: Literal["sc", "tso"] = Field("sc", description="sequentially consistent, or x86-TSO with store buffers")
    seamcall_drains: bool = Field(True, description="with tso: a SEAMCALL or TDCALL and its return drain the store buffer")
    must_violate: list[str] | dict[str, list[str]] = Field([], description="invariants that it has to break (by release)")
    may_violate: list[str] | dict[str, list[str]] = Field([], description="invariants that are known not to hold everywhere")
    watch: list[str] = Field([], description="further words of an outcome: \"NAME\", \"NAME INDEX\", \"page N\"")
    start: Start = Field(Start(), description="how memory is at the start")
    actors: dict[str, Any] = Field({},
                                   description="vcpu0, vcpu1, host0 ...: a script of calls, or { touch = [pages] }, { remove = "
                                               "[pages] }, { delete = [pages] } (their memory slots), { use = [pages] }, { control = [pages] }, { split = [pages] }")
    pairs: Pairs | None = Field(None, description="a scenario for each two of these calls in place of actors")
    expect: list[dict[str, Any]] = Field([], description="rows that grade outcomes: answers by actor, words, and grade or breaks")

    @field_validator("name")
    @classmethod
    def _name(cls, value):
        if value and not NAME.fullmatch(value):
            raise KeyProblem("name", value, "must be letters, digits, blanks and _.,:+/()|*-, at most 200")
        return value

    @field_validator("module", mode="before")
    @classmethod
    def _releases(cls, value):
        if value == ALL:
            return [name for name, release in releases.BY_NAME.items() if not release.report_only]
        return [resolve_module(each) for each in (value if isinstance(value, list) else [value])]

    @field_validator("must_violate", "may_violate", mode="before")
    @classmethod
    def _invariants(cls, value, info):
        lists = [value, *value.values()][1:] if isinstance(value, dict) else [value]
        if not all(isinstance(each, list) and all(isinstance(name, str) for name in each) for each in lists):
            raise KeyProblem(info.field_name, value, "must be a list of invariants, or a table of them by release")
        return value

    @field_validator("guest", mode="before")
    @classmethod
    def _guest(cls, value):
        return resolve_guest(value)

    @field_validator("policy", mode="before")
    @classmethod
    def _policy(cls, value):
        return value if isinstance(value, Policy) else resolve_policy(value)
