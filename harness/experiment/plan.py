"""A plan: everything about a run that is decided before it starts, the same for every engine.

    config -> policy, layout of memory, program, actors, choices

Two plans made from the same config are the same, bit for bit.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import psutil

from harness.protocol import releases
from harness.experiment import published
from harness.experiment.choices import Choices, make_choices, page_before, working_pages
from harness.experiment.config import Config
from harness.errors import UsageError
from harness.memory.layout import LINE, PAGE, TD_HPA_STEP, Layout
from harness.protocol.dpamt import BY_NAME as DESIGNS
from harness.protocol.policy import Policy
from harness.protocol.assemble import Program
from harness.protocol.flows import write_program
from harness.protocol.flows.flow import Behaviour
from harness.protocol.flows.guests import FIRST_LARGE
from harness.protocol.call import Options
from harness.protocol.seamcall_abi import Faults
from harness.protocol.seamcalls import draws_random
from kernels import record
from kernels.ops import REGISTERS, Register as R
from kernels.words import signed


class Actor(NamedTuple):
    """One actor: vcpu0, vcpu1 ..., host0 ...; numbered in that order."""

    number: int
    name: str
    kind: str                    # "vcpu" or "host": also the label where it begins
    index: int                   # among its kind
    td: int = 0                  # its TD


@dataclass(frozen=True)
class Plan:
    config: Config
    policy: Policy
    program: Program
    layout: Layout
    actors: tuple[Actor, ...]
    choices: Choices
    tables: record.Tables

    def costs_ns(self) -> list[int]:
        """Nanoseconds of each cost that the program names, in its order."""
        configured = configured_costs(self.config)
        return [configured.get(name) or int(name.removesuffix(" ns")) for name in self.program.costs]

    def attributes(self) -> bool:
        """Whether each BUSY is looked into (kernels/blame.py)."""
        return attributes(self.config)

    def start(self, actor: Actor) -> np.ndarray:
        """An actor's registers before its first step."""
        registers = start_registers(self.layout, actor)
        removing = self.config.workload.removing_tds
        idle = actor.kind == "host" and removing is not None and actor.td >= removing
        registers[R.PC] = self.program.labels["host.stop" if idle else actor.kind]
        registers[R.GUEST_PAGE] = registers[R.PAGE] = page_before(self.config, actor.kind, actor.index)
        return registers

    def processor_of(self, actor: Actor, processors: int) -> int:
        """Which of so many processors the actor is pinned to, in turn.

        Where the turns of several TDs would put the same actor of each onto the same processor, they are shifted: or all
        host threads would share one, and would meet only when one is preempted.
        """
        each = len(self.actors) // self.config.td.count
        alike = processors // math.gcd(each, processors)         # so many TDs later the turns begin at the same processor
        return (actor.number + actor.td // alike) % processors

    def random_key(self, actor: Actor) -> int:
        """The key of an actor's random stream, a signed 64-bit integer."""
        return self.random_stream(actor.name)

    def random_stream(self, name: str) -> int:
        """The key of a random stream of this plan, a signed 64-bit integer."""
        text = f"{self.config.seed} {name}".encode()
        return signed(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))


def make_actors(vcpus: int, hosts: int, tds: int = 1) -> tuple[Actor, ...]:
    """The vCPUs and then the host threads of each TD in turn; with several TDs a name begins with its TD's."""
    kinds = [("vcpu", index) for index in range(vcpus)] + [("host", index) for index in range(hosts)]
    return tuple(Actor(td * len(kinds) + place, f"{kind}{index}" if tds == 1 else f"td{td}.{kind}{index}",
                       kind, index, td)
                 for td in range(tds) for place, (kind, index) in enumerate(kinds))


def start_registers(layout: Layout, actor: Actor) -> np.ndarray:
    """The registers that say who an actor is, int64 (REGISTERS,); PC is left to the caller."""
    registers = np.zeros(REGISTERS, np.int64)
    td, package = actor.td, actor.number % layout.packages
    registers[R.ME] = actor.number + 1
    registers[R.ROLE] = 1 + actor.index + (layout.vcpus if actor.kind == "host" else 0)
    registers[R.TD], registers[R.TD_HPA] = td * layout.td_stride, td * TD_HPA_STEP
    registers[R.KOT_ENTRY] = layout.at("kot", td)
    registers[R.PACKAGE] = package
    registers[R.KET], registers[R.WBT] = layout.at("ket", package), layout.at("wbt", package)
    for size, tdr, tdvpr in (("4k", R.TDR_4K, R.TDVPR_4K), ("2m", R.TDR_2M, R.TDVPR_2M), ("1g", R.TDR_1G, R.TDVPR_1G)):
        registers[tdr] = layout.pamt(size, "control", 0, td)
        if actor.kind == "vcpu":
            registers[tdvpr] = layout.pamt(size, "control", 1 + actor.index, td)
    if actor.kind == "vcpu":
        registers[R.TDVPS] = layout.at("tdvps", actor.index, td)
        registers[R.KICK] = layout.at("kick", actor.index, td)
    else:
        registers[R.KICK] = layout.at("host_interrupt", actor.index, td)
    return registers


def attributes(config: Config) -> bool:
    """Only processes can be preempted inside a call."""
    return config.engine == "processes" and config.checks.attribution


def configured_costs(config: Config) -> dict[str, int]:
    """Nanoseconds by the names that flows use."""
    costs = {f"{name}_ns": value for name, value in config.costs_ns}
    costs["hp_lock_timeout_ns"] = config.hp_lock_timeout_ms * 1_000_000
    if config.workload.removals_per_s:
        costs["removal_interval_ns"] = round(1e9 / config.workload.removals_per_s)
    if config.workload.loop == "open":
        costs["touch_interval_ns"] = round(1e9 / config.workload.touches_per_s)
    return costs


def make_plan(config: Config, log_room: int = 0) -> Plan:
    """log_room: how many calls and spans of each actor are kept one by one, the first that are measured.

    Raises UsageError if the machine cannot hold it, or nothing in it can go wrong as the config says."""
    config = published.applied(config)
    actors = make_actors(config.td.vcpus, config.workload.hosts, config.td.count)
    program = _program(config, _layout(config, actors))
    tables = record.tables(len(program.calls), len(program.answers), len(program.counters), len(program.spans), log_room)
    # How long a record is depends on the program; no place that the program names depends on that.
    layout = _layout(config, actors, tables.words)
    _fits(config, layout)
    _faults_can_happen(config, program)
    return Plan(config, config.policy, program, layout, actors, make_choices(config, program.choices), tables)


def _layout(config: Config, actors, record_words: int = 0) -> Layout:
    # A simulated page is zeroed in virtual time only; its first line is all that is ever looked at.
    content_bytes = LINE if config.engine == "simulate" else PAGE
    return Layout(config.td.vcpus, len(actors), config.td.pages, record_words, content_bytes,
                  tds=config.td.count, created=config.workload.removal != "build",
                  dynamic_pamt=config.td.dynamic_pamt, accepting=config.guest.one_at_a_time, counted_pairs=bool(config.td.dpamt),
                  placement=config.machine.placement, passing=True, inhibits=config.td.large_pages,
                  whole_from=FIRST_LARGE if config.td.large_pages or config.workload.removal == "split" else None,
                  large_from=FIRST_LARGE if config.workload.removal == "split" else None)


def _faults_can_happen(config: Config, program: Program) -> None:
    if config.faults.no_entropy_share and not any(map(draws_random, program.calls)):
        raise UsageError(f"{config.name}: faults.no_entropy_share = {config.faults.no_entropy_share:g}: no call of"
                         " this run draws a random number; must be 0")


def _fits(config: Config, layout: Layout) -> None:
    if config.engine == "simulate":
        return                       # takes what is touched (sparse.py)
    machine = psutil.virtual_memory().total
    if layout.size > machine * 0.9:
        per_mib = layout.size / config.td.memory_mib
        most = int(machine * 0.9 / per_mib) // 2 * 2
        raise UsageError(f"td.memory_mib = {config.td.memory_mib}: needs {layout.size >> 20} MiB of shared"
                         f" memory, this machine has {machine >> 20}; must be at most {most}")


def _program(config: Config, layout: Layout) -> Program:
    costs = frozenset(name for name, value in configured_costs(config).items() if value)
    busted = frozenset(config.checks.busted)
    if busted & {"no_track", "no_kick"}:
        # The module itself would refuse to remove a page that is not tracked.
        busted |= {"tracking_check"}
    options = Options(layout, config.primitive, config.checks.exclusive_ownership, costs, busted,
                      releases.find(config.module), faults=Faults(**config.faults.model_dump()),
                      attribution=attributes(config), pending_ve=config.td.pending_ve)
    return write_program(options, config.policy, config.workload.hosts, signed(config.seed),
                         config.workload.accept_first, config.restart_on_bug, behaviour(config))


def behaviour(config: Config) -> Behaviour:
    """What flows have to know of a workload, and of the guest."""
    of_workload = [name for name in Behaviour._fields if name not in ("guest", "design", "acceptors", "pamt_cache", "pamt_queue", "large_pages", "slot_pages")]
    boots = config.workload.pattern == "boot"
    return Behaviour(**{name: getattr(config.workload, name) for name in of_workload}, guest=config.guest,
                     acceptors=config.guest.acceptors_of(config.td.vcpus, working_pages(config))[0] if boots else None,
                     design=DESIGNS.get(config.td.dpamt), pamt_cache=config.td.pamt_cache, large_pages=config.td.large_pages)
