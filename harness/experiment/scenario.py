"""Scenarios: small worlds with every interleaving explored, as TOML files.

    module = "1.5.05"                    # or a list: one scenario for each release; "all": of every one
    [start]
    pages = { 3 = "PENDING" }            # page number -> state of its entry; other entries are FREE
    [actors]
    vcpu0 = "tdg_mem_page_accept 3"      # a script: calls, one after the other
    host0 = ["tdh_mem_range_block 3 retry 2", "tdh_mem_track"]
    [[expect]]
    vcpu0 = "TDX_SUCCESS"
    "page 3" = "MAPPED+HP"
    grade = "acceptable"

An actor's script is a list of calls (`CALL [PAGE] [level N] [retry N | retry forever]`, retried on
BUSY), or KVM's own flow around a finite list of pages: `{ touch = [3, 3] }` for a vCPU with a guest that
touches page 3 twice, `{ remove = [3] }` for a host thread that removes it, `{ delete = [3] }` for one that deletes the memory slot
of that page, of two pages, and creates it again.  A vCPU that makes
`tdh_vp_enter` leaves again by `td_exit`, at the latest when its script is over.

Each way in which all scripts can end is an *outcome*: the answers of each actor and the final words.
[[expect]] grades outcomes as acceptable, interesting or forbidden; what it leaves out of an outcome may
be anything; an outcome that nothing grades is a failure, and so is a row that is never met (unless
it is forbidden, which is what it should be).  A row that says `breaks = "priority_kept"` (invariants of outcomes:
protocol/invariants.py) is of a known defect: such an outcome is interesting in the releases of the row's
`module`, which have to meet it, and forbidden in all others.

`[pairs] calls = [...]` stands for a scenario for each two of these calls and each start state in
which they can meet; there an outcome is acceptable if it could also come of the calls made one after
the other, where a call that was BUSY has done nothing, and all others have to be graded.
"""

import functools
import hashlib
from dataclasses import dataclass, field
from typing import Callable

import numpy as np

from harness.experiment.plan import Actor, start_registers
from harness.experiment.scenario_keys import File
from harness.memory.block import Memory
from harness.memory.placement import BY_USE
from harness.memory.layout import ENTRIES, PAMT_TYPE, TDVPS_STEPPING, Layout
from harness.protocol.assemble import Program
from harness.protocol.call import Options
from harness.protocol import releases
from harness.protocol.flows.flow import MMU_LARGE, MMU_PRESENT, Behaviour
from harness.protocol.dpamt import BY_NAME
from harness.protocol.flows.pamt import RANGES, USERS
from harness.protocol.flows.script import ABOUT_PAGES, ANSWER_BITS, LEAVE, Step, write_program
from harness.protocol.invariants import NAMES, OF_GUESTS, OF_OUTCOMES, OF_PAMT
from harness.protocol.liveness import live_registers
from harness.protocol.contexts import CONTROL, contexts
from harness.protocol.policies import Policy
from harness.protocol.seamcalls import TD_EXIT, by_name
from kernels import stepping
from kernels.contexts import OVER, Contexts
from kernels.ops import Register as R
from kernels.words import PT_EPT, PT_REG, STATE, spell_entry

INVARIANTS = tuple(dict.fromkeys(("no_bug", "no_halt", "deadlock", "livelock", "starvation", *NAMES,
                                  *(each.name for each in (*OF_GUESTS, *OF_PAMT)))))
OUTCOME_INVARIANTS = tuple(each.name for each in OF_OUTCOMES)
GRADES = ("acceptable", "interesting", "forbidden")
PAGES = 512                      # of the TD; scripts name pages below that
DELETE = "delete"
FLOW_KEYS = {"vcpu": ("touch",), "host": ("remove", DELETE, *USERS)}
SLOT_PAGES = 2                   # of a memory slot, where one is deleted
RETRIES_MAX = 100_000
NOT_MADE, HALT = "-", "HALT"     # in place of an answer: of a call that was not made; that shut the module down
TYPE = " type"                   # behind the name of a PAMT entry: its type, not its lock
PAIR_PAGE = 3                    # what pairs of calls are about


@dataclass(frozen=True)
class Script:
    """What one actor does: calls, or KVM's flow over some pages."""

    actor: Actor
    steps: tuple[Step, ...] = ()
    flow: tuple[int, ...] | None = None
    uses: str = ""               # a key of flows/pamt.py, USERS: of those pages their pairs only
    deletes: bool = False        # the memory slots of those pages

    @property
    def label(self) -> str:
        if self.flow is not None:
            return USERS[self.uses] if self.uses else self.actor.kind
        return "script: " + ", ".join(map(str, self.steps))


@dataclass(frozen=True)
class Grade:
    """A row of [[expect]]: what an outcome has to be like (nothing: anything), and its grade."""

    actors: dict[str, tuple[str, ...]]
    words: dict[str, str]
    grade: str
    note: str = ""
    must: bool = True            # has to be met, unless forbidden
    anyone: str = ""             # an answer that some call gave
    breaks: str = ""             # an invariant of outcomes


@dataclass(frozen=True)
class Scenario:
    """One small world."""

    name: str
    module: str
    policy: Policy
    primitive: str
    scripts: tuple[Script, ...]
    file: File = field(repr=False)
    pages: tuple[tuple[int, int, str], ...] = ()     # (page, level, state, with +EL and +HP) at the start
    children: tuple[tuple[int, int, str], ...] = ()  # the same of the 512 entries below an entry
    grades: tuple[Grade, ...] = ()
    serial: bool = False         # outcomes of calls made one after the other are acceptable
    vcpus: int = 1
    hosts: int = 1
    table: dict = field(default_factory=dict, repr=False)    # what the file said

    may_never_end = False        # whether it is a finding, not a mistake, that no schedule lets all end

    @property
    def held_locks(self) -> dict[int, tuple[int, dict]]:
        """By process: the register that counts which locks of its own it holds, and where: (lock, mode) -> (lowest bit, mask)."""
        return {}

    @property
    def at_once(self) -> frozenset[int]:
        """Rows that pass the store buffer by (protocol/store_buffers.py)."""
        return frozenset()

    def locks_held(self, memory: Memory) -> int:
        """Locks of its own, besides the module's and KVM's, that are not free."""
        return 0

    @property
    def config(self) -> "Scenario":
        """What engines/checks.py asks of a plan's config is the release."""
        return self

    @property
    def must_violate(self) -> list[str]:
        """Invariants that this scenario has to break."""
        return of_release(self.file.must_violate, self.module)

    @property
    def may_violate(self) -> list[str]:
        """Invariants that it may break; those that it has to among them."""
        return of_release(self.file.may_violate, self.module) + self.must_violate

    @property
    def tso(self) -> bool:
        """Whether actors have store buffers."""
        return self.file.memory_model == "tso"

    @property
    def uses_flows(self) -> bool:
        return any(script.flow is not None and not script.uses for script in self.scripts)

    @property
    def slot_pages(self) -> int:
        """Pages of a memory slot, if one is deleted; 0: none is."""
        return SLOT_PAGES if any(script.deletes for script in self.scripts) else 0

    @property
    def uses_pairs(self) -> bool:
        return any(script.uses for script in self.scripts)

    @property
    def counts_pairs(self) -> bool:
        """Whether the kernel counts the pages of each range for its pair."""
        return bool(self.file.dpamt) and BY_NAME[self.file.dpamt].counts

    @property
    def whole_from(self) -> int | None:
        """With a placement: from which page on a guest's 2 MiB are 2 MiB of the host; None: all pages lie by themselves, as nothing is large."""
        if any(script.uses == "split" for script in self.scripts) or self.uses_pairs and self.file.large_pages:
            return ENTRIES               # pages of other TDs lie by themselves
        large = self.file.large_pages or any(level and STATE[state.partition("+")[0]].leaf for _, level, state in self.pages)
        return 0 if large or any(step.large for script in self.scripts for step in script.steps) else None

    @functools.cached_property
    def layout(self) -> Layout:
        return layout_of(self.vcpus, self.hosts, self.file.dynamic_pamt, self.uses_flows and self.file.guest.one_at_a_time,
                         bool(self.file.dpamt), inhibits=self.uses_flows and self.file.large_pages, placement=self.file.placement,
                         whole_from=self.whole_from, slot_pages=self.slot_pages)

    @functools.cached_property
    def program(self) -> Program:
        scripts = self.scripts
        if self.file.pairs:              # one program for all pairs
            scripts += tuple(pair_script(call, "host", 0, self.file.pairs.level, self.module)
                             for call in pair_calls(self.file, self.module))
        labels = tuple(sorted({script.label: script.steps for script in scripts
                               if script.flow is None}.items()))
        busted = frozenset(self.file.busted)
        if busted & {"no_track", "no_kick"}:
            busted |= {"tracking_check"}             # the module itself would refuse otherwise
        return _program(self.vcpus, self.hosts, self.module, self.primitive, self.file.exclusive_ownership,
                        self.file.pending_ve, self.file.dynamic_pamt, busted,
                        self.policy if self.uses_flows else None, self.file.accept_first, labels, self.behaviour_of_guest(),
                        BY_NAME[self.file.dpamt] if self.file.dpamt else None, self.file.crossed,
                        tuple(sorted({script.uses for script in self.scripts if script.uses})), self.tso and self.uses_flows,
                        self.file.placement, self.whole_from)

    def behaviour_of_guest(self) -> Behaviour:
        if self.uses_flows:
            slots = {"removal": "memslot_delete", "slot_pages": self.slot_pages} if self.slot_pages else {}
            return Behaviour(guest=self.file.guest, accept_2m=bool(self.file.accept_2m), large_pages=self.file.large_pages,
                             accept_parts=0.5 if self.file.accept_2m == "either" else 0.0,
                             design=BY_NAME[self.file.dpamt] if self.file.dpamt else None, pamt_cache=self.file.pamt_cache, pamt_queue=False, **slots)
        return Behaviour(pamt_cache=self.file.pamt_cache)

    def behaviour(self) -> str:
        """What a search depends on, as a digest: where it is equal for two releases of a file, they come to the same."""
        memory = Memory(self.layout)
        registers = self.start(memory)
        model = f" {self.file.memory_model} {self.file.seamcall_drains}" * self.tso
        digest = hashlib.sha256(f"{self.name} {_digest(self.program)}{model}".encode())
        for part in (memory.block[:self.layout.at("image")], *registers):
            digest.update(part)
        return digest.hexdigest()

    @functools.cached_property
    def live(self) -> np.ndarray:
        return _live(self.program)

    def contexts(self, registers: list[np.ndarray]) -> Contexts | None:
        """Where its actors can stand, that begin with these registers; None where that is not to be looked for."""
        entries = {(int(each[R.PC]), tuple(0 if register == OVER else int(each[register]) for register in CONTROL)) for each in registers}
        found = contexts(self.program, frozenset(entries), self.program.labels.get(LEAVE, 0), self.live.tobytes())
        own = self.layout.by_name["tdvps"]
        shown = any(own.offset <= offset < own.end for _, offset in self.watched())
        return found._replace(exits=np.full(len(found.exits), -1)) if shown else found

    def watched(self) -> list[tuple[str, int]]:
        """(name, offset) of the words of an outcome: the entries that scripts are about, and `watch`."""
        entries = {(step.page >> 9 * step.level << 9 * step.level, step.level)
                   for script in self.scripts for step in script.steps if about_entry(step.call)}
        entries |= {(page, 0) for script in self.scripts if not script.uses for page in script.flow or ()}
        if self.serial:                  # also of the scenarios with fewer calls that it is compared with
            entries |= {(page >> 9 * level << 9 * level, level) for page, level, _ in self.pages}
        words = [(entry_name(page, level), self.layout.at(f"sept.{level}", page >> 9 * level))
                 for page, level in sorted(entries)]
        return words + [(name, word_offset(self.layout, name)) for name in self.file.watch]

    def outcome(self, word_at: Callable[[int], int], register_at: Callable[[int, int], int]) -> tuple[str, ...]:
        """What the words of an outcome are, spelled.

        word_at(offset) is a 64-bit word of memory, register_at(actor, register) one of an actor's registers, both unsigned.
        """
        return tuple(self.spell(name, word_at(offset)) for name, offset in self.watched())

    def spell(self, name: str, word: int) -> str:
        """A word of an outcome, as [[expect]] writes it."""
        if name.endswith(TYPE):
            return f"{word & 0xFF:#x}"
        if not name.startswith("page "):
            return f"{word & 0xFFFF:#x}" if "lock" in name or "pamt" in name else f"{word:#x}"
        return spell_entry(word)

    def start(self, memory: Memory) -> list[np.ndarray]:
        """Write the start into memory; the registers of the actors that have a script."""
        self.write_start(memory)
        actors = []
        for script in self.scripts:
            registers = start_registers(self.layout, script.actor)
            registers[R.PC] = self.program.labels[script.label]
            actors.append(registers)
        return actors

    def write_start(self, memory: Memory) -> None:
        """Pages, lists and words as the file says they are at the start."""
        layout = self.layout
        if layout.dynamic_pamt and not layout.frames:
            memory.take_pairs()          # until it is known what is in use
        for page, level, state in self.pages:
            _set_page(memory, page, level, state, self.file.start.tables, releases.find(self.module).access)
        for page, level, state in self.children:
            first = page >> 9 * level << 9 * level
            for part in range(first, first + (1 << 9 * level), 1 << 9 * (level - 1)):
                _set_page(memory, part, level - 1, state, False, releases.find(self.module).access)
        if layout.dynamic_pamt and layout.frames:
            memory.count_host(pairs=self.file.start.pairs and not self.file.dpamt)
        elif layout.dynamic_pamt:
            memory.give_pairs(data=self.file.start.pairs and not self.file.dpamt)
        for page in [page for script in self.scripts if script.uses == "split" for page in script.flow]:
            memory.set_word(layout.pamt("2m", "data", page) + PAMT_TYPE, PT_REG, 8)
        for name, pages in self.file.start.listed.items():
            place = layout.at("tdvps", int(name.removeprefix("vcpu"))) + TDVPS_STEPPING
            memory.set_word(place + stepping.EPF_LENGTH, len(pages), 8)
            memory.set_word(place + stepping.EPF_COUNT, 6, 8)
            for index, page in enumerate(pages):
                memory.set_word(place + stepping.EPF_LIST + 8 * index, page)
        for name, value in self.file.start.words.items():
            memory.set_word(word_offset(layout, name), value, 64 if value >> 16 else 16)


@functools.cache
def calls_of(module: str) -> dict:
    """The calls of a release, by name."""
    return by_name(releases.find(module))


def about_entry(call: str) -> bool:
    return "_mem_" in call and call not in ABOUT_PAGES and call != "tdh_mem_track"


def kind_of(row) -> str:
    """Who makes a call: a vCPU (or the thread that runs it), or any host thread."""
    return "vcpu" if row.side == "guest" or row.name.startswith("tdh_vp_") else "host"


def pair_calls(file: File, module: str) -> list[str]:
    return [call for call in file.pairs.calls if call in calls_of(module)]


def pair_script(call: str, kind: str, index: int, level: int, module: str) -> Script:
    """The script of one call in a scenario of two; actors are vcpu0, vcpu1, host0, host1."""
    steps = (Step(call, PAIR_PAGE, level if level in calls_of(module)[call].levels else 0),)
    steps += (Step(TD_EXIT),) if call == "tdh_vp_enter" else ()
    return Script(Actor(index if kind == "vcpu" else 2 + index, f"{kind}{index}", kind, index), steps)


def of_release(given, module: str) -> list[str]:
    if not isinstance(given, dict):
        return given
    return [name for key, names in given.items() if module in releases.between(key) for name in names]


def answers_of(scenario: Scenario, place: int, outcomes: int) -> tuple[str, ...]:
    """What the calls of a script have answered, from its register OUTCOMES; "-" where none was made."""
    calls = sum(step.call != TD_EXIT for step in scenario.scripts[place].steps)
    numbers = [outcomes >> ANSWER_BITS * (calls - 1 - call) & (1 << ANSWER_BITS) - 1 for call in range(calls)]
    begun = next((place for place, number in enumerate(numbers) if number), 0)        # those not made come last
    numbers = numbers[begun:] + numbers[:begun]
    return tuple(scenario.program.answers[number - 1].name if number else NOT_MADE for number in numbers)


def entry_name(page: int, level: int) -> str:
    return f"page {page}" + f" level {level}" * bool(level)


def word_offset(layout: Layout, name: str) -> int:
    """Where NAME, NAME INDEX, of a PAMT entry NAME INDEX type, or page N (level L) lies."""
    if name.startswith("page "):
        _, page, *level = name.split()
        level = int(level[1]) if level else 0
        return layout.at(f"sept.{level}", int(page) >> 9 * level)
    region, _, index = name.removesuffix(TYPE).partition(" ")
    return layout.at(region, int(index or 0)) + (PAMT_TYPE if name.endswith(TYPE) else 0)


def _set_page(memory: Memory, page: int, level: int, state: str, tables: bool, access: int) -> None:
    """An entry in a state, KVM's mirror entry to match, and the tables above."""
    layout = memory.layout

    def put(at_level, spelled):
        name, *bits = spelled.split("+")
        index, leaf = page >> 9 * at_level, STATE[name].leaf
        group = "data" if leaf else ("", "pt_pages", "pd_pages")[at_level]
        number = index << 9 * at_level if leaf else index
        used = name not in ("FREE", "REMOVED")
        hpa = layout.hpa(group, number) if used else 0
        memory.set_word(layout.at(f"sept.{at_level}", index),
                        STATE[name].word(hpa, lock="EL" in bits, priority="HP" in bits, access=access))
        if name in ("NL_MAPPED", "MAPPED", "PENDING"):
            large = MMU_LARGE if at_level and leaf else 0
            memory.set_word(layout.at(f"mirror.{at_level}", index), hpa | MMU_PRESENT | large)
        if used:
            size, place = (("4k", "2m", "1g")[at_level], number) if leaf else ("4k", index)
            page_type = PT_REG if leaf else PT_EPT
            memory.set_word(layout.pamt(size, group, place) + PAMT_TYPE, page_type, 8)

    if tables:
        for above in range(level + 1, 3):
            put(above, "NL_MAPPED")
    put(level, state)
    if state.partition("+")[0] == "MAPPED":
        first = page >> 9 * level << 9 * level
        memory.view("accepted")[first:first + (1 << 9 * level)] = 1


# --- programs --------------------------------------------------------------------------------

@functools.lru_cache(maxsize=64)
def layout_of(vcpus: int, hosts: int, dynamic_pamt: bool, accepting: bool = False, pairs: bool = False, ranges: int = 0,
              inhibits: bool = False, placement: str = BY_USE, whole_from: int | None = None, slot_pages: int = 0) -> Layout:
    """`ranges` of 512 pages; 0: as many as users of page pairs want, or one.  `slot_pages` 0: no memory slot is deleted.

    Kept, as many scenarios have the same."""
    return Layout(vcpus, vcpus + hosts, PAGES * (ranges or (RANGES if pairs else 1)), record_words=0, content_bytes=8,
                  dynamic_pamt=dynamic_pamt, accepting=accepting, counted_pairs=pairs, inhibits=inhibits, placement=placement,
                  whole_from=whole_from, slot_pages=slot_pages or PAGES)


@functools.lru_cache(maxsize=64)
def _program(vcpus, hosts, module, primitive, owners, pending_ve, dynamic_pamt, busted, policy, accept_first,
             scripts, behaviour, design, crossed, users, plain_mode, placement, whole_from) -> Program:
    """Kept, as many scenarios have the same."""
    layout = layout_of(vcpus, hosts, dynamic_pamt, policy is not None and behaviour.guest.one_at_a_time, design is not None,
                       inhibits=behaviour.large_pages, placement=placement, whole_from=whole_from,
                       slot_pages=behaviour.slot_pages if behaviour.removal == "memslot_delete" else 0)
    # The calls go by the count then, not entry by entry (phrases/pairs.py).
    costs = frozenset({"tdh_phymem_pamt_add_ns", "tdh_phymem_pamt_remove_ns"} if layout.frames and dynamic_pamt else ())
    options = Options(layout, primitive, owners, costs=costs, busted=busted, release=releases.find(module), attribution=False,
                      pending_ve=pending_ve, plain_mode=plain_mode,
                      inside=any(step.call == "tdh_sys_shutdown" for _, steps in scripts for step in steps))
    chance = {True: 1.0, False: 0.0, "either": 0.5}[accept_first]
    return write_program(options, policy, hosts, chance, scripts, behaviour, design, crossed, users)


@functools.lru_cache(maxsize=64)
def _digest(program: Program) -> str:
    """Of the rows and of all names that a search tells anything by."""
    names = repr((program.calls, [answer.name for answer in program.answers], program.counters))
    return hashlib.sha256(program.rows.tobytes() + names.encode()).hexdigest()


@functools.lru_cache(maxsize=64)
def _live(program: Program) -> np.ndarray:
    return live_registers(program, (program.labels[LEAVE],) if LEAVE in program.labels else ())
