"""A stage for tests: a TD in memory, and actors that are moved one micro-op at a time.

    stage = Stage()
    a, b = stage.actor("host0"), stage.actor("host1")
    a.begin("tdh_mem_page_aug", page=3)
    a.through(Op.ENTRY_TAKE)             # up to and including its attempt to set TDEL
    assert b.call("tdh_mem_page_aug", page=3) == status("TDX_OPERAND_BUSY", "RCX")
    assert stage.entry(3) == ...         # the word, bit for bit
"""

import functools
import mmap

import numpy as np

from harness.experiment.config import Config
from harness.memory.layout import GROUPS, PAGE, PAMT_TYPE, TDR_LIFECYCLE, TDR_TDCX, Layout
from harness.memory.block import Memory, address_of
from harness.experiment.plan import make_actors, start_registers
from harness.protocol.assemble import Listing
from harness.protocol.call import Options
from harness.protocol.locate import locate, locate_page, locate_pair
from harness.protocol.seamcall_abi import Faults
from harness.protocol.seamcalls import by_name, entry_label, write_calls
from harness.protocol.releases import BY_NAME as RELEASES
from kernels.machine import CONTINUE, NO_OP, step_once, steps
from kernels.ops import Op, Register as R
from kernels.words import PT_EPT, PT_REG, STATE, TDCS_PAGES, unsigned, status_name

LEFT_OVER = -0x2152_4111         # in Register.STATUS where a call has not answered
STEPS_MAX = 20_000               # more steps than that is a program that does not end


def config(policy="kick_on_busy", **keys) -> Config:
    """A config for tests; nested tables as dicts."""
    return Config.model_validate({"name": "test", "policy": policy, **keys})


@functools.cache
def stopping_at(*ops: Op) -> np.ndarray:
    """`stops` of Player.run: these ops, and those that a player sees to."""
    stops = NO_OP.copy()
    stops[[*ops, Op.CALL_BEGIN, Op.OVERDUE, Op.COUNT]] = True
    return stops


class Player:
    """One actor on a stage."""

    def __init__(self, stage: "Stage", number: int, registers: np.ndarray):
        self.stage, self.number, self.registers = stage, number, registers

    @property
    def row(self):
        """The row it is about to execute."""
        return self.stage.program.listing[self.registers[R.PC]]

    @property
    def status(self) -> int:
        return unsigned(self.registers[R.STATUS])

    def begin(self, call: str, page: int = 0, level: int | str = 0) -> "Player":
        """Get ready to make a call about a page; nothing of the call is executed yet.

        level   of the SEPT entry; or the group of pages in which `page` is counted (ABOUT_PAGES)
        """
        self.registers[R.PAGE] = self.registers[R.GUEST_PAGE] = page
        self.registers[R.CONTENT] = self.stage.layout.at("content", page)
        self.registers[R.STATUS], self.registers[R.ANSWER] = LEFT_OVER, 0
        self.registers[R.PC] = self.stage.program.labels[f"stage.{call}.{level}"]
        self.through(Op.CALL_BEGIN)
        return self

    def step(self) -> int:
        """Execute one micro-op; driver rows are passed over.  Returns the signal."""
        row = self.row
        signal = step_once(self.stage.program.rows, self.registers, self.stage.memory.base)
        if signal == Op.CALL_BEGIN:
            self.registers[R.CALL] = row.value
        elif signal == Op.OVERDUE:
            self.registers[row.register] = self.stage.overdue
        elif signal == Op.COUNT:
            name = self.stage.program.counters[row.value]
            self.stage.counters[name] = self.stage.counters.get(name, 0) + 1
        return signal

    def run(self, stops: np.ndarray) -> None:
        """Execute one row, and those behind it up to one that `step` sees to, or with an op of `stops` (bool, by op)."""
        self.step()
        if not stops[self.row.op]:
            steps(self.stage.program.rows, self.registers, self.stage.memory.base, STEPS_MAX, stops)

    def through(self, op: Op, times: int = 1) -> "Player":
        """Execute up to and including the next row with this op."""
        stops = stopping_at(op)
        for _ in range(STEPS_MAX):
            times -= self.row.op == op
            if not times:
                self.step()
                return self
            self.run(stops)
        raise AssertionError(f"no {op.name} within {STEPS_MAX} steps")

    def before(self, op: Op) -> "Player":
        """Execute up to the next row with this op, and stop there."""
        stops = stopping_at(op)
        for _ in range(STEPS_MAX):
            if self.row.op == op:
                return self
            self.run(stops)
        raise AssertionError(f"no {op.name} within {STEPS_MAX} steps")

    def finish(self) -> int:
        """Execute to the end of the call; returns its status."""
        self.through(Op.CALL_END)
        assert self.registers[R.PC], "the module has halted"
        return self.status

    def call(self, call: str, page: int = 0, level: int | str = 0) -> int:
        """Make a whole call; returns its status."""
        return self.begin(call, page, level).finish()

    def leave_guest(self) -> None:
        """Make the TD exit that belongs to a tdh_vp_enter that succeeded."""
        self.registers[R.PC] = self.stage.program.labels["stage.td_exit"]
        self.through(Op.STOP)

    def __repr__(self):
        return f"actor {self.number} at {self.row.op.name} {self.row.text}, {status_name(self.status)}"


# Calls that name a page of any kind; `level` is then the group of pages (harness.memory.GROUPS).
ABOUT_PAGES = ("tdh_mng_add_cx", "tdh_vp_addcx", "tdh_mig_stream_create", "tdh_phymem_page_reclaim", "tdh_phymem_page_wbinvd",
               "tdh_phymem_page_rdmd")
LEAF_CALLS = ("tdh_mem_page_aug", "tdh_mem_page_add", "tdg_mem_page_accept", "tdh_phymem_pamt_add",
              "tdh_phymem_pamt_remove")          # about a data page at any level


# For tests/mutants: the calls that a program has (none: all), and what is changed in its listing before it is linked.
ONLY: tuple[str, ...] = ()
EDIT = None
PRIMITIVE = "cas"                                # of a stage that is made with none; the fixture both_primitives tries each


@functools.cache
def stage_program(layout_key, packages, primitive, owners, busted, release, faults, dynamic_pamt, inside, tds=1,
                  pending_ve=True):
    """A program with every call as a script at each of its levels: "stage.CALL.LEVEL"."""
    layout = Layout(*layout_key, record_words=0, packages=packages, dynamic_pamt=dynamic_pamt, tds=tds)
    options = Options(layout, primitive, owners, busted=frozenset(busted), release=RELEASES[release], pending_ve=pending_ve,
                      faults=faults, inside=inside)
    listing = Listing()
    rows = [row for row in by_name(options.release).values() if not ONLY or row.name in ONLY]
    write_calls(listing, options, [(row.name, level) for row in rows for level in row.levels])
    if EDIT:
        EDIT(listing, release)
    for row in rows:
        for level in GROUPS if row.name in ABOUT_PAGES else row.levels:
            script = listing.label(f"stage.{row.name}.{level}")
            if row.name in ABOUT_PAGES:
                locate_page(listing, layout, level, source=R.PAGE)
            else:
                locate(listing, layout, level, leaf=True if row.name in LEAF_CALLS else None)
            if row.name == "tdh_mem_page_relocate":
                locate_page(listing, layout, "data", layout.pages)       # to the first spare page
            if dynamic_pamt:
                locate_pair(listing, layout)
            listing.row(Op.CALL, next=entry_label(row, 0 if row.name in ABOUT_PAGES else level),
                        otherwise=f"{script}.end")
            listing.label(f"{script}.end")
            listing.row(Op.STOP)
    listing.label("stage.td_exit")
    listing.row(Op.CALL, next="td_exit", otherwise="stage.td_exit.end")
    listing.label("stage.td_exit.end")
    listing.row(Op.STOP)
    return layout, listing.program()


@functools.cache
def _formatted(layout: Layout) -> list[tuple[int, np.ndarray]]:
    """The pages of memory as it begins that are not zero, each with its offset."""
    block = np.frombuffer(bytes(Memory(layout).block), np.uint8)
    pages = (block[start:start + PAGE] for start in range(0, layout.size, PAGE))
    return [(number * PAGE, page) for number, page in enumerate(pages) if page.any()]


class FreshMemory(Memory):
    """Memory as it begins, copied from the first of its layout."""

    def __init__(self, layout: Layout):
        self.layout, self.block = layout, mmap.mmap(-1, layout.size)
        self.base, self._bytes = address_of(self.block), np.frombuffer(self.block, np.uint8)
        for start, page in _formatted(layout):
            self._bytes[start:start + len(page)] = page


class Stage:
    """A finalized TD without memory, and a program with every call, at every level."""

    def __init__(self, vcpus=2, hosts=3, pages=1024, primitive=None, owners=False, busted=(), release="1.5.05", faults=Faults(),
                 dynamic_pamt=False, packages=1, inside=False, tds=1, pending_ve=True):
        self.layout, self.program = stage_program(
            (vcpus, tds * (vcpus + hosts), pages), packages, primitive or PRIMITIVE, owners, tuple(busted), release, faults,
            dynamic_pamt, inside, tds, pending_ve)
        self.release = RELEASES[release]
        self.memory = FreshMemory(self.layout)
        self.actors = {actor.name: actor for actor in make_actors(vcpus, hosts)}
        self.players: dict[str, Player] = {}
        self.overdue = 0                 # whether a refusal for host priority has lasted for hp_lock_timeout
        self.counters: dict[str, int] = {}

    def actor(self, name: str) -> Player:
        """An actor by name: vcpu0, vcpu1 ..., host0 ..."""
        if name not in self.players:
            actor = self.actors[name]
            self.players[name] = Player(self, actor.number, start_registers(self.layout, actor))
        return self.players[name]

    # --- words ---

    def entry(self, page: int, level: int = 0) -> int:
        """The SEPT entry that maps a page at a level."""
        return self.memory.word(self.layout.at(f"sept.{level}", page >> 9 * level))

    def hpa(self, page: int, level: int = 0, leaf: bool | None = None) -> int:
        """The physical address that the entry of a page maps: of a data page, or of an SEPT page."""
        if level == 0 or leaf:
            return self.layout.hpa("data", page >> 9 * level << 9 * level)
        return self.layout.hpa(("", "pt_pages", "pd_pages")[level], page >> 9 * level)

    def as_state(self, name: str, page: int, level: int = 0, lock=False, priority=False) -> int:
        """The word that the entry of a page should be."""
        hpa = 0 if name in ("FREE", "REMOVED") else self.hpa(page, level, STATE[name].leaf)
        return STATE[name].word(hpa, lock, priority, self.release.access)

    def set_entry(self, page: int, state: str, level: int = 0, lock=False, priority=False) -> None:
        self.memory.set_word(self.layout.at(f"sept.{level}", page >> 9 * level),
                             self.as_state(state, page, level, lock, priority))

    def build_tables(self, page: int = 0, level: int = 0) -> None:
        """SEPT pages above a page's entry at a level, as TDH.MEM.SEPT.ADD leaves them."""
        for above in range(2, level, -1):
            self.set_entry(page, "NL_MAPPED", above)
            group = ("", "pt_pages", "pd_pages")[above]
            self.set_type(group, page >> 9 * above, PT_EPT)

    def map_page(self, page: int, state: str = "MAPPED", level: int = 0) -> None:
        """A page in a leaf state, with its PAMT entry."""
        self.build_tables(page, level)
        self.set_entry(page, state, level)
        self.set_type("data", page >> 9 * level, PT_REG, ("4k", "2m", "1g")[level])

    def set_type(self, group: str, number: int, page_type: int, size: str = "4k") -> None:
        """The type of a page, in its PAMT entry."""
        self.memory.set_word(self.layout.at(f"pamt_{size}.{group}", number) + PAMT_TYPE, page_type, 8)

    def type_of(self, group: str, number: int, size: str = "4k") -> int:
        return self.memory.word(self.layout.at(f"pamt_{size}.{group}", number) + PAMT_TYPE, 8)

    def set_lifecycle(self, state: int, tdcx: int = TDCS_PAGES) -> None:
        """TDR.lifecycle_state and num_tdcx; not fatal."""
        self.set_word("tdr_state", state << 8 * TDR_LIFECYCLE | tdcx << 8 * TDR_TDCX, width=64)

    def word(self, name: str, index: int = 0, width: int = 16) -> int:
        return self.memory.word(self.layout.at(name, index), width)

    def set_word(self, name: str, value: int, index: int = 0, width: int = 16) -> None:
        self.memory.set_word(self.layout.at(name, index), value, width)

    def snapshot(self) -> bytes:
        """All of the TD's words."""
        return bytes(self.memory.block[self.layout.td_start:self.layout.td_end])


assert CONTINUE < 0
