"""The language of policies: sites, responses and switches, and how they are read from words.

A policy says, for each place where a call can come back BUSY (a *site*), which responses are tried,
in order.  A response that cannot help hands on to the next; behind the last one stands what KVM does
with an error that it cannot handle: KVM_BUG_ON, which kills the VM (at `enter`: an exit to userspace;
at `frozen`: resume_guest).  What a guest does with its own calls is guest_policies.py's.

    site       the calls made there                                      held by the host
    install    tdh_mem_sept_add, tdh_mem_page_aug                        mmu_lock read, mirror frozen
    block      tdh_mem_range_block                                       mmu_lock write
    track      tdh_mem_track                                             mmu_lock write
    remove     tdh_mem_page_remove, tdh_mem_page_demote                  mmu_lock write
    enter      tdh_vp_enter                                              nothing
    zero_step  tdh_vp_enter found the SEPT tree BUSY, which only an      nothing
               armed vCPU asks for; a policy that does not name this
               site answers as at `enter`
    build      tdh_mem_page_add, tdh_mr_finalize                         see flows/build.py
    create     tdh_vp_create, _addcx, _init; tdh_mr_extend               see flows/build.py
    frozen     no call: a fault found a mirror entry that another has    mmu_lock read
               frozen, a page that is being invalidated, or an invalid
               memslot

    response                 what it does
    retry N                  make the same call again at once, up to N times; `retry forever`; at
                             `frozen`: look at the mirror entry again
    retry N pause NS         the same, NS nanoseconds apart
    retry N doubling MAX     the same, but a limit that is reached is doubled for the whole VM, up to MAX
    resume_guest             roll back and enter the guest, which faults again (at `enter`: go
                             round KVM's outer loop)
    local_retry              roll back and handle the fault again without entering the guest, until a
                             stop condition (switch stop_on), the end of the VM or of the run
    kick                     bar entry, kick all vCPUs and wait, make the call once more, lift the bar
                             (at `zero_step`: kick all vCPUs and wait, then go round the outer loop)
    drop_lock_and_yield      drop mmu_lock, let others run, go on (at `install`: roll back first, start
                             over); handed on where the removal's caller may not sleep
    drain_mmu_lock           take and drop mmu_lock for write, so that all who hold it have gone
    exit_userspace           roll back and return to userspace, which enters the guest again
    ignore                   go on as if the call had succeeded
    bug_vm                   KVM_BUG_ON

`on` says which statuses a site takes for BUSY at all: "any" operand (the status class is compared),
"tree" (equal to TDX_OPERAND_BUSY|SEPT_TREE), or "bitmask" (any status that shares a bit with
TDX_OPERAND_BUSY: a mistake that was posted).  What it does not take for BUSY is an error.

Whatever is not a response to BUSY is a switch; SWITCHES below lists them.
"""

from typing import Any, NamedTuple

from harness.errors import meant

SITES = ("install", "block", "track", "remove", "enter", "zero_step", "build", "create", "frozen")
MATCHES = ("any", "tree", "bitmask")
FOREVER = -1

# Which responses make sense where.
ALLOWED = {
    "install": ("retry", "resume_guest", "local_retry", "drop_lock_and_yield", "exit_userspace", "bug_vm"),
    "block": ("retry", "kick", "drop_lock_and_yield", "ignore", "bug_vm"),
    "track": ("retry", "kick", "drop_lock_and_yield", "ignore", "bug_vm"),
    "remove": ("retry", "kick", "drop_lock_and_yield", "ignore", "bug_vm"),
    "enter": ("retry", "resume_guest", "drain_mmu_lock", "exit_userspace", "bug_vm"),
    "zero_step": ("retry", "resume_guest", "kick", "drain_mmu_lock", "exit_userspace", "bug_vm"),
    "build": ("retry", "exit_userspace", "bug_vm"),
    "create": ("retry", "bug_vm"),
    "frozen": ("retry", "resume_guest", "local_retry"),
}
assert tuple(ALLOWED) == SITES
RETRY_FORMS = "write 'retry N', 'retry forever', 'retry N pause NS' or 'retry N doubling MAX'"


class Switch(NamedTuple):
    """Something about a policy that is not a response to BUSY.

    allowed   the words it may be; (False, True) for yes or no; a number's (least, most); or, where
              `several`, the words that a list of it may hold
    """

    name: str
    default: Any
    allowed: tuple
    meaning: str
    several: bool = False

    def read(self, given):
        """A value from a config; raises PolicyError."""
        if self.several:
            if not isinstance(given, list | tuple):
                raise PolicyError(self.name, f"must be a list of {', '.join(self.allowed)}")
            for word in given:
                self._one_of(word)
            return tuple(given)
        if isinstance(self.default, bool):
            if not isinstance(given, bool):
                raise PolicyError(self.name, "must be true or false")
        elif isinstance(self.default, int):
            least, most = self.allowed
            if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
                raise PolicyError(self.name, f"must be a whole number from {least} to {most}")
        else:
            self._one_of(given)
        return given

    def _one_of(self, word):
        if word not in self.allowed:
            raise PolicyError(self.name, f"{meant(word, self.allowed)}must be one of {', '.join(self.allowed)}")


NO_YES = (False, True)
SWITCHES = (
    Switch("bar", "call", ("call", "removal"),
           "a kick in a removal bars entry for one call, or kick and bar from before BLOCK to after REMOVE"),
    Switch("kick_after_track", True, NO_YES,
           "kick all vCPUs after each TRACK, so that no vCPU runs at the previous epoch"),
    Switch("freeze", True, NO_YES, "freeze the mirror entry before the SEAMCALL, publish it after"),
    Switch("stale_old", False, NO_YES,
           "a freeze that failed does not refresh the expected value, so that a retry compares with a stale one"),
    Switch("zap_lock", "write", ("write", "read"), "how removals hold mmu_lock"),
    Switch("split_lock", "write", ("write", "read"),
           "how splits of large pages hold mmu_lock; with read a call that is BUSY is rolled back by UNBLOCK, which must succeed"),
    Switch("accept_mismatch", "split", ("split", "ignore"),
           "what KVM does about an ACCEPT of 4 KiB in what it maps as 2 MiB: split it, or nothing, so that it comes again"),
    Switch("split_before_removal", True, NO_YES,
           "split 2 MiB before a part of them is removed; otherwise BLOCK of the part fails"),
    Switch("demote_again", "interrupts_on", ("interrupts_on", "interrupts_off"),
           "how a DEMOTE that an interrupt has ended is made again: once the interrupt was taken, or at once"),
    Switch("seamcall_lock", False, NO_YES, "a spinlock of the VM around each of the host's SEPT SEAMCALLs"),
    Switch("interrupts_at_reentry", "on", ("on", "off"),
           "whether a kick gets through between two tries of tdh_vp_enter, or between two looks at the bar"),
    Switch("stop_on", ("event",), ("event", "invalid_slot"), several=True,
           meaning="what ends a local retry, beside a signal and the end of the VM"),
    Switch("add_in_freeze", False, NO_YES,
           "TDH.MEM.PAGE.ADD while the mirror entry is frozen, under mmu_lock read, not after it is published"),
    Switch("vm_state_guard", False, NO_YES, "all locks of the VM around building it and creating its vCPUs"),
    Switch("vp_init_lock", "none", ("none", "write"), "how TDH.VP.INIT holds mmu_lock"),
    Switch("tdx_lock", True, NO_YES,
           "one mutex of the host around the calls that take the Key Ownership Table, for all VMs"),
    Switch("clobber", False, NO_YES, "a retry passes the outputs of the failed try as operands"),
    Switch("inject_every", 0, (0, 1 << 20),
           "every so many calls of the host are answered BUSY without being made"),
)
SWITCH = {switch.name: switch for switch in SWITCHES}


class PolicyError(ValueError):
    """A policy that cannot be: the key, and the sentence that says why."""

    def __init__(self, key: str, message: str):
        super().__init__(message)
        self.key, self.message = key, message


class Response(NamedTuple):
    """One response; the numbers belong to retry (attempts FOREVER: no limit; doubling_to 0: not doubled)."""

    name: str
    attempts: int = 0
    pause_ns: int = 0
    doubling_to: int = 0

    def __str__(self) -> str:
        if self.name != "retry":
            return self.name
        extra = f" pause {self.pause_ns}" if self.pause_ns else ""
        extra += f" doubling {self.doubling_to}" if self.doubling_to else ""
        return f"retry {'forever' if self.attempts == FOREVER else self.attempts}{extra}"


class Ladder(NamedTuple):
    """The responses of a site, and what it takes for BUSY."""

    responses: tuple[Response, ...]
    on: str = "any"

    def __str__(self) -> str:
        text = ", ".join(map(str, self.responses)) or "nothing"
        return text if self.on == "any" else f"{text} (on {self.on})"


class Policy(NamedTuple):
    """A row; see the table above.

    zero_step   None: as `enter`
    also        another name that it goes by
    breaks      invariants (harness/protocol/invariants.py) that it is known to break, on some workload
    """

    name: str
    meaning: str
    source: str
    install: Ladder
    block: Ladder
    track: Ladder
    remove: Ladder
    enter: Ladder
    frozen: Ladder
    zero_step: Ladder | None = None
    build: Ladder = Ladder((Response("exit_userspace"),))
    create: Ladder = Ladder(())
    bar: str = SWITCH["bar"].default
    kick_after_track: bool = SWITCH["kick_after_track"].default
    freeze: bool = SWITCH["freeze"].default
    stale_old: bool = SWITCH["stale_old"].default
    zap_lock: str = SWITCH["zap_lock"].default
    split_lock: str = SWITCH["split_lock"].default
    accept_mismatch: str = SWITCH["accept_mismatch"].default
    split_before_removal: bool = SWITCH["split_before_removal"].default
    demote_again: str = SWITCH["demote_again"].default
    seamcall_lock: bool = SWITCH["seamcall_lock"].default
    interrupts_at_reentry: str = SWITCH["interrupts_at_reentry"].default
    stop_on: tuple[str, ...] = SWITCH["stop_on"].default
    add_in_freeze: bool = SWITCH["add_in_freeze"].default
    vm_state_guard: bool = SWITCH["vm_state_guard"].default
    tdx_lock: bool = SWITCH["tdx_lock"].default
    vp_init_lock: str = SWITCH["vp_init_lock"].default
    clobber: bool = SWITCH["clobber"].default
    inject_every: int = SWITCH["inject_every"].default
    also: str = ""
    breaks: tuple[str, ...] = ()

    def ladder(self, site: str) -> Ladder:
        return getattr(self, site) or self.enter

    def answers(self, site: str, response: str) -> bool:
        """Whether a response is among those of a site."""
        return any(each.name == response for each in self.ladder(site).responses)

    def switches(self) -> dict[str, Any]:
        return {switch.name: getattr(self, switch.name) for switch in SWITCHES}


assert {*SITES, *SWITCH} == set(Policy._fields) - {"name", "meaning", "source", "also", "breaks"}


def parse_response(site: str, text: str, allowed: dict[str, tuple[str, ...]] = ALLOWED) -> Response:
    """A response from its words; raises PolicyError.

    allowed   by site: KVM's, or a guest's
    """
    words = text.split() if isinstance(text, str) else []
    name = words[0] if words else ""
    if name not in allowed[site]:
        known = "is not possible here" if any(name in names for names in allowed.values()) else "is no response"
        raise PolicyError(site, f"{text!r} {known}; {meant(name, allowed[site])}allowed: {', '.join(allowed[site])}")
    if name != "retry":
        if len(words) > 1:
            raise PolicyError(site, f"{text!r}: {name} takes nothing behind it")
        return Response(name)
    attempts, *extra = [*words[1:], *[""] * (len(words) == 1)]
    number = extra[1] if len(extra) == 2 and extra[0] in ("pause", "doubling") else "" if extra else "0"
    if attempts != "forever" and not attempts.isdecimal() or not number.isdecimal():
        raise PolicyError(site, f"{text!r}: {RETRY_FORMS}")
    if not extra or extra[0] == "pause":
        return Response("retry", FOREVER if attempts == "forever" else int(attempts), pause_ns=int(number))
    if attempts == "forever" or not 0 < int(attempts) <= int(number):
        raise PolicyError(site, f"{text!r}: what is doubled must be a number, and MAX at least as much")
    return Response("retry", int(attempts), doubling_to=int(number))


def ladder(site: str, *responses: str, on: str = "any") -> Ladder:
    """A ladder from words; raises PolicyError."""
    if on not in MATCHES:
        raise PolicyError(f"{site}.on", f"{on!r}: {meant(on, MATCHES)}must be one of {', '.join(MATCHES)}")
    return Ladder(tuple(parse_response(site, text) for text in responses), on)


def at_most(policy: Policy, retries: int) -> Policy:
    """The same with no more than so many retries anywhere; it has another name if that is another policy."""
    def shorter(response: Response) -> Response:
        doubling = min(response.doubling_to, retries)
        return response._replace(attempts=min(response.attempts, retries), doubling_to=doubling if doubling > response.attempts else 0)

    less = {site: given._replace(responses=tuple(map(shorter, given.responses))) for site in SITES if (given := getattr(policy, site))}
    changed = policy._replace(**less)
    return policy if changed == policy else changed._replace(name=f"{policy.name}, at most {retries} retries")


def change(base: Policy, table: dict) -> Policy:
    """`base` with sites and switches changed, from the words of a config; raises PolicyError."""
    changes = {}
    for key, given in table.items():
        if key in SITES:
            changes[key] = _read_ladder(key, given)
        elif key in SWITCH:
            changes[key] = SWITCH[key].read(given)
        else:
            known = ("name", "base", "meaning", *SITES, *SWITCH)
            raise PolicyError(key, f"unknown key; {meant(key, known)}known: {', '.join(known)}")
    return base._replace(**changes)


def _read_ladder(site: str, given) -> Ladder:
    on, responses = "any", given
    if isinstance(given, dict):
        unknown = set(given) - {"on", "do"}
        if unknown:
            raise PolicyError(f"{site}.{min(unknown)}", "unknown key; known: on, do")
        on, responses = given.get("on", "any"), given.get("do", [])
    if not isinstance(responses, list):
        raise PolicyError(site, "must be a list of responses, or a table with `on` and `do`")
    return ladder(site, *responses, on=on)
