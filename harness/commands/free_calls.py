"""What calls take while a vCPU and a host thread run freely, each on its own processor: what rows cost there, and a line.

Turns that are repeated (sequences.py) are not calls as they come.  A processor has learned the branches of a turn that it
has often executed, and rows of it cost less than in a run in which choices fall differently each time.  And it reaches
for the lines of several rows at once, so that a line costs less than its way takes (calibrate.handovers_ns).

And a page that is zeroed among other work is not at hand in the nearest cache, as it is in a loop that zeroes nothing else.

So a workload is run by real processes, and three times in virtual time: with the prices of sequences.py and lines that cost
nothing, with lines that cost TRIED_NS, and with pages that cost TRIED_NS more.  The medians of the calls then say how many times
as dear rows are, and what a line and a page cost.  `doctor --validate` compares other policies, pages and rates than these.
"""

from dataclasses import dataclass
from typing import Mapping

import numpy as np

from harness.engines.processes import coordinator
from harness.engines.simulate import simulation
from harness.experiment.config import Config
from harness.experiment.plan import Plan, make_plan
from harness.results.measured import Measured

WORKLOAD = {
    "name": "calibrate", "policy": "kick_on_busy_618", "module": "1.5.24", "td": {"vcpus": 1, "memory_mib": 2},
    "duration_s": 0.05, "warmup_s": 0.01, "checks": {"exclusive_ownership": False, "attribution": False},
    "workload": {"hosts": 1, "pattern": "uniform", "pages": 6, "accept_first": 0.8, "removals_per_s": 300_000.0}}
LOG_ROOM = 10_000                # calls and spans of an actor that are looked at
LEAST_CALLS = 100                # of which there must be so many, of a call that counts
LEAST_KINDS = 4                  # calls that count; three prices are fitted to them
TRIED_NS = 20.0                  # more than nothing, and little beside a call


@dataclass(frozen=True)
class Found:
    """rows_share    how many times as dear rows are
    transfer_ns   of a line
    page_ns       of a page that is zeroed, beyond what it takes alone
    misfit_share  how far that is off a call, the median
    """

    rows_share: float
    transfer_ns: float
    page_ns: float
    misfit_share: float


def measure(values: Mapping[str, float]) -> Found:
    """values: ns by key of [machine], prices of rows among them, and a hand-over's time as noticed_ns.

    Where other work left too few calls, or a stop did, nothing of them is known: then rows and pages cost what they did, and a line
    costs a hand-over.
    """
    real, here = medians(coordinator.run(_plan(engine="processes"))), {**values, "transfer_ns": 0.0}
    bare, lines, pages = (medians(simulation.run(_plan(engine="simulate", machine=machine))) for machine in (
        here, here | {"transfer_ns": TRIED_NS}, here | {"page_zero_ns": here["page_zero_ns"] + TRIED_NS}))
    calls = [call for call in real if all(call in each for each in (bare, lines, pages))]
    if len(calls) < LEAST_KINDS:
        return Found(1.0, values["noticed_ns"], 0.0, 1.0)
    took, at_least, moved, zeroed = (np.array([each[call] for call in calls]) for each in (real, bare, lines, pages))
    return fit(took, at_least, np.maximum(0, moved - at_least) / TRIED_NS, np.round(np.maximum(0, zeroed - at_least) / TRIED_NS))


def fit(took: np.ndarray, bare: np.ndarray, moved: np.ndarray, zeroed: np.ndarray) -> Found:
    """The least squares of what share * bare + transfer * moved + page * zeroed is off `took`, relatively; none is less than 0.

    Of calls: what they took, what their rows cost, how many lines they wait for, how many pages they zero.
    """
    table = np.stack([bare, moved, zeroed], axis=1) / took[:, None]
    prices, kept = np.zeros(3), np.arange(3)
    while True:
        prices[kept] = np.linalg.lstsq(table[:, kept], np.ones(len(took)), rcond=None)[0]
        if (prices >= 0).all():
            break
        kept, prices = kept[prices[kept] > 0], np.zeros(3)
    share, transfer, page = map(float, prices)
    return Found(share, transfer, page, float(np.median(abs(table @ prices - 1))))


def medians(measured: Measured) -> dict[str, float]:
    """ns of each call that has often succeeded."""
    program, found = measured.plan.program, {}
    succeeded = [number for number, answer in enumerate(program.answers) if answer.name == "TDX_SUCCESS"]
    log = np.concatenate(list(measured.logs.values()))
    log = log[np.isin(log[:, 3], succeeded)]
    for number, call in enumerate(program.calls):
        took = log[log[:, 2] == number, 1] - log[log[:, 2] == number, 0]
        if len(took) >= LEAST_CALLS:
            found[call] = float(np.median(took)) / measured.ticks_per_ns
    return found


def _plan(**keys) -> Plan:
    return make_plan(Config.model_validate({**WORKLOAD, **keys}), LOG_ROOM)
