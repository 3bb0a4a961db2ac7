"""Costs that nobody has published or measured: what the value leans on, and how far it may be from the truth.

`MACHINE` has every price of [machine]; its values are the defaults of harness/experiment/config.py.  `COSTS` has ranges
for those [costs_ns] about which something is known; others go from half to twice what a config says.

The ranges are our judgement, nobody has measured or published them; what they name as published (646 ns of a TDCALL, 2 us of
PAMT.REMOVE, 3.85 us of an exit, the shutdowns) has its source in published.py.
"""

from typing import NamedTuple

from harness.errors import UsageError, meant
from harness.files import read_toml


VALIDATED_PROCESSORS = 2         # up to which `doctor --validate` has held virtual time beside real processes


class Assumed(NamedTuple):
    """What a value leans on; the least and the most that it may be, in ns, and what those lean on."""

    leans_on: str
    least: float | None = None           # None: it is not varied
    most: float | None = None
    range_leans_on: str = ""


# No cycle count of a SEAMCALL, of an interrupt in a TD or of cache traffic under the TDX module has been published.
MACHINE = {
    "local_ns": Assumed("a few instructions on registers at 3 GHz", 0.1, 0.6, "one to several micro-ops in a ns, at 2 to 4 GHz"),
    "load_ns": Assumed("a load that hits the first-level cache, partly hidden", 0.2, 1.5, "hidden, to a first-level cache's latency"),
    "store_ns": Assumed("a store that hits the first-level cache, partly hidden", 0.2, 1.5, "as of a load"),
    "locked_ns": Assumed("18 to 20 cycles of a locked instruction on x86 at 3 GHz", 4, 10, "the same at 2 to 4 GHz"),
    "mark_ns": Assumed("hardware does no bookkeeping for us"),
    "transfer_ns": Assumed("a cache-to-cache transfer within a socket of a server", 30, 120, "neighbours, to corners of a large mesh"),
    "transfer_far_ns": Assumed("a cache-to-cache transfer between two sockets", 100, 480,
                               "two sockets, to what a published shutdown of 64 vCPUs would need"),
    "page_zero_ns": Assumed("4 KiB at 10 bytes a nanosecond", 200, 1_900,
                            "20 bytes a ns, to what Linux' own clear takes, as derived from published shutdowns"),
    "ipi_ns": Assumed("an interrupt sent to another processor, and the exit it forces", 500, 4_000,
                      "a posted interrupt, to one that waits for its turn"),
    "ipi_handled_ns": Assumed("KVM's empty handler for a request", 200, 2_000, "a handler alone, to a whole exit of a plain VM"),
    "switch_ns": Assumed("a switch to another thread", 800, 5_000, "with warm caches, and with cold ones"),
    "time_slice_ns": Assumed("Linux' base slice for a few runnable threads", 700_000, 4_000_000, "the base slice of one processor to that of many"),
    "patience_ns": Assumed("20 looks with a PAUSE after each", 100, 2_000, "a PAUSE of 5 ns, to the 140 cycles that Intel gives"),
    "spend_ns": Assumed("hardware has no loop that waits for a clock"),
    "noticed_ns": Assumed("a processor that spins looks every few ns"),
    "exit_in_turn_ns": Assumed("exits do not hinder each other", 0, 360, "not at all, to half of 180 us divided by 248 vCPUs that exit at "
                               "once, as published"),
    "pace_ns": Assumed("a processor goes its pace always"),
    "stall_every_ns": Assumed("nothing interrupts a processor but kicks"),
    "stall_ns": Assumed("nothing interrupts a processor but kicks"),
}
SPREAD = ("transfer", "stall", "pace")   # what of the machine itself may have a distribution; a pace has no unit, 1 is the median
EXIT = Assumed("", 600, 1_000, "half of an exit to KVM and back of 3.85 us, less two transitions and KVM's part")
COSTS = {
    "seamcall": Assumed("", 700, 1_500, "above a TDCALL's 646 ns, below PAMT.REMOVE's 2 us on average"),
    "td_entry": EXIT, "td_exit": EXIT,
}


# Of a costs file with free_misfit_share = 1: other work left too few calls (harness/commands/free_calls.py).
NOT_FITTED = "not fitted to calls that run freely (calibrate again on a quiet machine): rows cost as in loops, a line a whole hand-over"


class CostsFile(NamedTuple):
    """What a costs file says: values by key of [machine], where they were measured, the costs that have a histogram."""

    values: dict[str, float]
    where: str
    histograms: tuple[str, ...]


def read_costs(path: str) -> CostsFile:
    """Raises UsageError."""
    table = read_toml(path, f"machine.costs = {path!r}")
    values, where, histograms = table.get("machine", {}), table.get("measured_on", path), table.get("histograms", {})
    notes = table.get("notes", {})
    for key, value, kind in (("machine", values, dict), ("measured_on", where, str), ("histograms", histograms, dict), ("notes", notes, dict)):
        if not isinstance(value, kind):
            raise UsageError(f"{path}: {key} = {value!r:.60}: must be {'a table' if kind is dict else 'text'}")
    for part, keys, known in (("machine", values, tuple(MACHINE)), ("histograms", histograms, SPREAD)):
        for key in keys:
            if key not in known:
                raise UsageError(f"{path}: {part}.{key}: unknown key; {meant(key, known)}known: {', '.join(known)}")
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e9:
            raise UsageError(f"{path}: machine.{key} = {value!r}: must be a number of nanoseconds, 0 to 1e9")
    where += f"; {NOT_FITTED}" if notes.get("free_misfit_share") == 1 else ""
    return CostsFile({key: float(value) for key, value in values.items()}, where, tuple(histograms))
