"""The files made of a trace: a config, a histogram for each call, and real.json, each number with its provenance."""

import csv
import io
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np

from harness.experiment import config_file
from harness.experiment.config import Costs
from harness.memory.placement import PAGES_PER_MIB
from harness.errors import ResultError, escaped
from harness.files import read_json, write_file
from harness.traces.gathered import Gathered, Times

KIND = "numbers of a real host"
HOT_SHARE = 0.9
BUSY = ("TDX_OPERAND_BUSY|", "TDX_OPERAND_BUSY_HOST_PRIORITY|")
NS_MOST = 10**9                  # of a histogram's bucket (engines/simulate/prices.py)


def write(gathered: Gathered, source: str, folder: Path, policy: str) -> list[Path]:
    """Raises OSError; UsageError where the config would not be valid."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", Path(source).stem).lstrip("_.-")[:64] or "trace"
    histograms = {call: times for call, times in sorted(gathered.times.items()) if times.count}
    if gathered.removal_gaps.count:
        histograms["removal_interval"] = gathered.removal_gaps
    if gathered.guest_times.count:
        histograms["in_guest"] = gathered.guest_times
    paths = [write_file(_histogram(times, source), folder / f"{call}.csv") for call, times in histograms.items()]
    text = _config(gathered, source, folder, policy, name, histograms)
    paths.append(write_file(text, folder / f"{name}.toml"))
    config_file.load(paths[-1])
    paths.append(write_file(json.dumps(real(gathered, source), indent=1) + "\n", folder / "real.json"))
    return paths


def _histogram(times: Times, source: str) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("from_ns", "to_ns", "count", "source"))
    rows.writerows((min(begin, NS_MOST), min(end, NS_MOST), count, f"trace {escaped(source)}") for (begin, end), count in sorted(times.buckets.items()))
    return text.getvalue()


# --- popularity of pages ---------------------------------------------------------------------

def popularity(pages: Counter[int]) -> dict:
    """The pattern of [workload] that is nearest to what was counted (least total variation distance)."""
    counts = np.sort(np.array(list(pages.values()), float))[::-1]
    shares, number = counts / counts.sum(), len(counts)
    ranks = np.arange(1, number + 1)
    hot = int(np.searchsorted(np.cumsum(shares), HOT_SHARE) + 1)
    # An exponent must be more than 0; a weighted line through log count over log rank.
    slope = np.polyfit(np.log(ranks), np.log(counts), 1, w=np.sqrt(counts))[0] if number > 2 else 0.0
    exponent = float(np.clip(round(-slope, 3), 0.001, 10))
    zipf = ranks ** -exponent
    found = [({"pattern": "uniform"}, np.full(number, 1 / number)), ({"pattern": "zipf", "zipf_exponent": exponent}, zipf / zipf.sum())]
    if hot < number:
        share = float(shares[:hot].sum())
        two = np.where(ranks <= hot, share / hot, (1 - share) / (number - hot))
        found.append(({"pattern": "hot", "hot_pages": hot, "hot_share": round(share, 4)}, two))
    apart = [(float(np.abs(shares - model).sum() / 2), keys) for keys, model in found]
    distance, keys = min(apart, key=lambda pair: pair[0])
    return keys | {"distance": round(distance, 4)}


# --- the config ------------------------------------------------------------------------------

def _config(gathered: Gathered, source: str, folder: Path, policy: str, name: str, histograms: dict[str, Times]) -> str:
    seconds, pages = gathered.seconds, max(1, len(gathered.pages))
    removals, faults = sum(gathered.removal_sizes.values()), sum(gathered.faults.values())
    lines = [f"# From {json.dumps(source)}: {gathered.lines} lines, {seconds:g} s (python -m harness import-trace).",
             'engine = "simulate"', f"policy = {json.dumps(policy)}", "", "[td]"]
    if gathered.vcpus:
        lines.append(f"vcpus = {len(gathered.vcpus)}                        # seen in faults, entries and exits")
    largest = _most_pages(gathered.removal_sizes)
    mib = max(2, -(-max(pages, largest) // PAGES_PER_MIB))
    lines += [f"memory_mib = {mib + mib % 2}                  # holds the {len(gathered.pages)} pages that faulted", "", "[workload]"]
    if gathered.pages:
        keys = popularity(gathered.pages)
        distance = keys.pop("distance")
        lines.append(f"pages = {pages}")
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        lines[-1] += f"   # {100 * distance:.3g} % of the faults lie elsewhere"
    if faults and seconds:
        rate = min(1e9, max(1e-6, faults / max(1, len(gathered.faults)) / seconds))
        lines += ['loop = "open"', f"touches_per_s = {rate:.6g}          # faults: a touch that does not fault is not in a trace"]
    if removals and seconds:
        lines += ["hosts = 1", f"removals_per_s = {min(1e9, removals / seconds):.6g}",
                  f"removal_pages = {largest}                # median removal, weighted by pages"]
    elif faults and seconds:
        lines.append("hosts = 0                        # no removal was seen")
    called = [call for call in histograms if call in Costs.model_fields]
    if called:
        lines += ["", "[costs_ns]                       # medians: the whole wrapper, with the probe; so seamcall and accesses are in it",
                  "seamcall = 0"]
        lines += [f"{call} = {min(NS_MOST, round(histograms[call].quantile(0.5)))}" for call in called]
    usable = called + ["removal_interval"] * ("removal_interval" in histograms and bool(removals and seconds))
    if usable:
        lines += ["", "[machine.distribution]"]
        lines += [f"{call} = {json.dumps(f'histogram {(folder / call).resolve()}.csv')}" for call in usable]
    return "\n".join(lines) + "\n"


def _most_pages(sizes: Counter[int]) -> int:
    """The size of removal that half of the removed pages are in, or in larger ones; 1 where there is none."""
    whole, seen = sum(size * times for size, times in sizes.items()), 0
    for size, times in sorted(sizes.items()):
        seen += size * times
        if 2 * seen >= whole:
            return min(size, 1 << 28)
    return 1


# --- real.json -------------------------------------------------------------------------------

def real(gathered: Gathered, source: str) -> dict:
    """What can be put beside results: numbers by the keys of results/metrics.py, and what they are made of."""
    calls, numbers, tries, busy = {}, {}, 0, 0
    for call in sorted({*gathered.answers, *gathered.times}):
        counts = gathered.answers.get(call, Counter())
        refused = {name: count for name, count in counts.items() if name.startswith(BUSY)}
        calls[call] = {"tries": counts.total(), "busy": sum(refused.values()), "answers": dict(counts.most_common())}
        if counts.total():
            numbers[f"busy_percent.{call}"] = 100 * sum(refused.values()) / counts.total()
            tries, busy = tries + counts.total(), busy + sum(refused.values())
        times = gathered.times.get(call)
        if times and times.count:
            calls[call] |= {"timed": times.count, **{f"p{share * 100:g}_ns": round(times.quantile(share)) for share in (0.5, 0.9, 0.99)}}
    if tries:
        numbers["busy_per_attempt_percent"] = 100 * busy / tries
    if gathered.seconds:
        if gathered.removal_sizes:
            numbers["removals_per_s"] = gathered.removal_sizes.total() / gathered.seconds
        installs = gathered.answers.get("tdh_mem_page_aug", {}).get("TDX_SUCCESS")
        if installs is not None:
            numbers["installs_per_s"] = installs / gathered.seconds
    return {
        "kind": KIND, "source": source, "seconds": gathered.seconds, "lines": gathered.lines, "used": gathered.used,
        "unknown": gathered.unknown, "vcpus": len(gathered.vcpus), "faults": gathered.faults.total(),
        "faults_of_shared_pages": gathered.shared, "pages": len(gathered.pages), "page_error": gathered.page_error,
        "popularity": popularity(gathered.pages) if gathered.pages else None,
        "removal_pages": {str(size): times for size, times in sorted(gathered.removal_sizes.items())},
        "calls": calls, "numbers": numbers}


def read_real(path: str | Path) -> dict[str, float]:
    """{key of a metric: number} of a real.json.  Raises ResultError."""
    found = read_json(path)
    numbers = found.get("numbers") if isinstance(found, dict) and found.get("kind") == KIND else None
    if not isinstance(numbers, dict):
        raise ResultError(f"{path}: not numbers of a real host; must be a real.json that import-trace wrote")
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ResultError(f"{path}: numbers.{key} = {value!r:.40}: must be a number of at least 0")
    return numbers
