"""Short runs of real processes, made in the process of a test: as they come, until something is seen, prepared, watched."""

from harness.engines.processes import coordinator
from harness.experiment.plan import make_plan
from harness.memory.layout import TDVPS_STEPPING
from harness.protocol.flows.flow import MMU_PRESENT
from harness.results import document
from harness.results.schema import Result
from kernels import stepping
from kernels.words import STATE
from tests.stage import config
from tests.tries import until


BUSY_LOOP = {"duration_s": 0.1, "warmup_s": 0.03, "restart_on_bug": True,
             "workload": {"removals_per_s": 200_000.0, "accept_first": 0.5}, "costs_ns": {"invalidate": 2000}}


LONG_S = 3600.0                  # of a run that ends for another reason


def result_of(policy="kick_on_busy", **keys) -> Result:
    return document.from_measured(coordinator.run(make_plan(config(policy, **{**BUSY_LOOP, **keys}))))


def result_until(seen, policy="kick_on_busy", always=lambda result: None, longest_s=5.0, **keys) -> Result:
    return until(seen, lambda duration_s: result_of(policy, **{**keys, "duration_s": duration_s}), always,
                 longest_s=longest_s)


def nothing_violated(result) -> None:
    assert not any(result.invariants.values()), result.invariants


def attempts_of(result) -> int:
    return sum(call.attempts for call in result.seamcalls.values())


class Watched(coordinator.Coordinator):
    """A coordinator that tests can look at when its run is over."""

    last: "Watched"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        Watched.last = self

    def vm_is_dead(self) -> bool:
        return self.memory.word(self.plan.layout.at("vm_dead")) != 0

    def counted(self, name: str) -> tuple[int, int]:
        """A counter of all actors: in the warm-up, and measured."""
        tables, program = self.plan.tables, self.plan.program
        at = tables.counters + program.counters.index(name)
        records = [self.memory.record(actor.number) for actor in self.plan.actors]
        return tuple(int(sum(record[half + at] for record in records)) for half in (0, tables.half))


def prepare(monkeypatch, change) -> None:
    """Let every run begin with a TD that `change(memory)` has been at."""
    class Prepared(coordinator.Memory):
        def format_td(self):
            super().format_td()
            change(self)

    monkeypatch.setattr(coordinator, "Memory", Prepared)


def armed_for_a_pending_page(memory) -> None:
    """Page 0 is added but not accepted, and listed against both vCPUs."""
    layout = memory.layout
    for level in (2, 1):
        memory.view(f"sept.{level}")[0] = STATE["NL_MAPPED"].word(layout.hpa(("", "pt_pages", "pd_pages")[level]))
    memory.view("sept.0")[0] = STATE["PENDING"].word(layout.hpa("data"))
    for level, group in enumerate(("data", "pt_pages", "pd_pages")):
        memory.view(f"mirror.{level}")[0] = layout.hpa(group) | MMU_PRESENT
    for vcpu in range(layout.vcpus):
        stepping_words = layout.at("tdvps", vcpu) + TDVPS_STEPPING
        memory.set_word(stepping_words + stepping.EPF_LENGTH, 1, 8)
