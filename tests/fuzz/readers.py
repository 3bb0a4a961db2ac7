"""The readers of the harness, a valid document for each, and what it means that an input is well met.

A reader gets a file with damaged contents (or a damaged argument) and reads it in this process.  Well met is
what is read, and is shown without a control character; and what is refused with one UsageError: one printable
line of at most LENGTH characters that names the file.  Anything else is badly met: another exception, more than
LIMIT_S seconds of processor time (or WAIT_S in all), a line without the file.
"""

import contextlib
import copy
import functools
import io
import json
import signal
import tempfile
from pathlib import Path
from random import Random
from typing import Callable, NamedTuple

from harness.__main__ import main
from harness.commands import decode, sweep
from harness.engines.simulate import prices
from harness.experiment import assumed
from harness.errors import FORMATTING, LENGTH, UsageError
from harness.experiment import config_file, litmus, scenario_file
from harness.experiment.schedule import Schedule
from harness.reports.comparison import comparison_report, overview
from harness.reports.histograms import histograms_report
from harness.reports.litmus import condition
from harness.reports.named import find_release
from harness.reports.run import run_report
from harness.reports.traces import trace_report
from harness.results import history, store
from harness.results.comparison import make_table
from harness.traces import gathered, written
from tests.fuzz import damage
from tests.results.test_store import document

ROOT = Path(__file__).parents[2]
LIMIT_S, WAIT_S = 20, 300
CLOCKS = ((signal.ITIMER_PROF, signal.SIGPROF, LIMIT_S), (signal.ITIMER_REAL, signal.SIGALRM, WAIT_S))
CONFIG = {
    "name": "valid", "engine": "simulate", "module": {"base": "1.5.05", "access": 1}, "seed": 1, "duration_s": 0.1, "warmup_s": 0.1,
    "policy": {"base": "kick_on_busy", "name": "mine", "block": ["kick"]}, "td": {"vcpus": 2, "memory_mib": 2},
    "workload": {"pattern": "zipf", "zipf_exponent": 1.0, "hosts": 1, "removals_per_s": 100.0}, "costs_ns": {"seamcall": 100},
    "machine": {"processors": 2, "load_ns": 0.5, "distribution": {"seamcall": "exponential"}}, "checks": {"busted": ["no_kick"]},
    "faults": {"no_entropy_share": 0.5}, "expect": {"busy_per_attempt_percent": {"min": 0.0}, "removals_per_s": 3},
}
SCENARIO = {
    "module": ["1.5.05", "1.5.24"], "policy": "kick_on_busy", "must_violate": [], "watch": ["page 4", "sept_lock"],
    "start": {"pages": {"3": "FREE", "4": "MAPPED+EL"}, "words": {"sept.0 3": 5}, "listed": {"vcpu0": [1]}, "children": {"0 level 1": "FREE"}},
    "actors": {"vcpu0": ["tdg_mem_page_accept 3", "tdg_mem_page_accept 3"], "host0": "tdh_mem_page_aug 3"},
    "expect": [{"vcpu0": ["*", "TDX_OPERAND_BUSY_HOST_PRIORITY|RCX"], "page 3": "FREE+HP", "grade": "interesting", "note": "x"},
               {"host0": "TDX_SUCCESS", "grade": "acceptable"}],
}
PAIRS = {"module": "1.5.05", "pairs": {"calls": ["tdh_mem_page_aug", "tdh_mem_track"], "states": ["FREE", "MAPPED"], "level": 0},
         "expect": [{"grade": "acceptable"}]}
COSTS = {"measured_on": "here", "clock_ns": 20.5, "machine": {"load_ns": 1.5, "locked_ns": 6, "ipi_ns": 0.0}}
MODULE = {"module": {"base": "1.5.05", "access": 1}}
NIGHT = {"schema": history.SCHEMA, "series": {key: "x" for key in history.Key.model_fields}, "night": "2026-11-21T03:00:00Z",
         "commit": "4f0c1d2", "verdict": "VALID", "values": {"removals_per_s": [1.0, 2.5]}, "rerun": {},
         "alarms": [{"metric": "removals_per_s", "kind": "step", "since": "2026-11-21T03:00:00Z", "before": 1.0, "after": 2.0,
                     "first_bad": "a", "last_good": "b"}], "machine": {"processor": "x"}}
HISTOGRAM = b"from_ns,to_ns,count\n0,100,5\n100,1e3,20\n1000,2000.5,1\n"
LINES = [b"TDX_OPERAND_BUSY|RCX", b"0x8000020000000092", b"-EBUSY", b"kvm: SEAMCALL (0x0000000000000006) failed: 0x8000020000000092",
         b"kvm: RCX 0x0000000000000000 RDX 0x1 R08 0x2"]
ARGUMENTS = (
    ["run", "{f}", "--repeats", "2", "--budget", "10m", "--format", "csv"], ["explore", "{f}", "--policy", "kick_vcpus", "--show", "1"],
    ["replay", "{f}"], ["compare", "{f}", "--baseline", "kick_vcpus"], ["sweep", "{f}", "--policies", "kick_vcpus"],
    ["report", "{f}", "--out", "{f}/x.html"], ["histograms", "{f}", "--hdr", "{f}/x"], ["nightly", "{f}", "--budget", "1h", "--history", "{f}"],
    ["seamcalls", "--module", "{f}"], ["contention", "--module", "{f}", "--resource", "TDR"], ["explain", "tdh_mem_track", "--module", "{f}"],
    ["decode", "0x8000020000000092", "--module", "1.5.05", "--format", "json"], ["decode", "TDX_OPERAND_BUSY|RCX"], ["policies", "--format", "x"],
    ["configs", "explore/", "--copy", "{f}"], ["import-trace", "{f}", "--out", "{f}", "--policy", "retry16"], ["schema", "config"],
    ["explore", "{f}", "--html", "{f}", "--trace", "{f}", "--as-test", "{f}"], ["replay", "{f}", "--html", "{f}"],
    ["sweep", "{f}", "--picture", "{f}.svg", "--jobs", "2"], ["doctor", "--validate", "{f}", "--against", "{f}"],
    ["run", "{f}.litmus", "--runs", "1M", "--memory-model", "tso"], ["policies", "retry16"], ["configs", "explore/"],
)


class Reader(NamedTuple):
    """One reader: `read` gets a path or an argument, and returns what it shows; `make` makes its input from a Random."""

    read: Callable
    make: Callable[[Random], bytes | str | list]
    ending: str = ""             # of a file; "" where there is none
    names_file: bool = True


def _toml(*valid: dict):
    values = damage.VALUES + damage.TOML_ONLY

    def make(random: Random) -> bytes:
        table = random.choice(valid)
        if random.random() < 0.2:
            return damage.damaged(damage.as_toml(table).encode(), random)
        return damage.as_toml(damage.changed(table, random, values)).encode("utf-8", "surrogatepass")
    return make


def _json(*valid: Callable[[], dict]):
    values = damage.VALUES + damage.JSON_ONLY

    def make(random: Random) -> bytes:
        given = random.choice(valid)()
        if random.random() < 0.2:
            return damage.damaged(json.dumps(given).encode(), random)
        return damage.as_json(damage.changed(given, random, values)).encode("utf-8", "surrogatepass")
    return make


@functools.cache
def _litmus_texts() -> list[bytes]:
    return [path.read_bytes() for path in sorted(ROOT.glob("configs/litmus/*/*.litmus"))]


@functools.cache
def schedules() -> list[dict]:
    [test] = [text for text in _litmus_texts() if text.startswith(b"C SB\n")] or _litmus_texts()[:1]
    common = {"schema": "tdx-sept-harness/schedule/1", "reason": "x", "final": {"sept.0 3": "0x5"}}
    return [{**common, "name": "orphan", "module": "1.5.05", "policy": "kick_on_busy", "scenario": SCENARIO, "turns": [[0, 3, 0], [1, 2, -0]]},
            {**common, "name": "SB", "module": "1.5.05", "policy": "kick_on_busy", "scenario": {"litmus": test.decode()},
             "turns": [[0, 1, 0]]}]


def _history(random: Random) -> bytes:
    bad = _json(lambda: NIGHT)(random).replace(b"\n", b" ")
    return b"\n".join([json.dumps(NIGHT).encode(), bad, json.dumps(NIGHT).encode(), b""])


def _set(random: Random) -> str:
    keys = [*config_file.known_keys(()), "td.vcpus", "workload.hot_share", "policy.block", "module.access", "expect.x", "a.b.c", ".", "a..b",
            "a." * 1_500 + "b",
            "machine.costs", "machine.distribution.seamcall", *damage.NAMES]
    value = random.choice(damage.VALUES + damage.TOML_ONLY)
    text = value if isinstance(value, str) and random.random() < 0.7 else damage.inline(value)
    return f"{random.choice(keys)}{random.choice(('=', '=', '=', '', ' = '))}{text}"


def _arguments(random: Random) -> list[str]:
    words = list(random.choice(ARGUMENTS))
    for _ in range(random.choice((1, 1, 2))):
        at = random.randrange(len(words))
        if words[at] == "{f}" or at == 0 and random.random() < 0.8:
            continue
        value = random.choice([str(value) for value in damage.VALUES if isinstance(value, str | int) and value != "" and value != 10 ** 400]
                              + ["\udcff", "-1", "1e400", "nan", "--" + damage.CONTROL, "--no-such"])
        words[at:at + random.choice((0, 1))] = [value]
    return words


def _log(random: Random) -> bytes:
    lines = random.choices(LINES, k=random.randint(1, 4))
    return damage.damaged(b"\n".join(lines), random)


def _read_history(path: str) -> list[str]:
    nights, problems = history.read(Path(path))
    if len(nights) < 2:
        raise AssertionError(f"one damaged line costs {2 - len(nights)} good ones: {problems}"[:300])
    for problem in problems:
        if not well_said(problem):
            raise AssertionError(f"a line that is skipped is not said well: {problem[:200]!r}")
    return problems


def _read_result(path: str) -> list[str]:
    result = store.read(path)
    shown = [run_report(result, style) for style in ("table", "csv", "github")] + [overview([result])]
    with contextlib.suppress(UsageError):
        shown += [histograms_report([result]), comparison_report(make_table([result]))]
    return shown


def _read_config(path: str) -> list[str]:
    config = config_file.load(path)
    json.dumps(config.resolved())
    prices.resolve(config)
    return []


def _read_set(override: str) -> list[str]:
    config = config_file.check(config_file.read(ROOT / "configs/kick_vcpus.toml", [override]))
    json.dumps(config.resolved())
    prices.resolve(config)
    return []


def _read_arguments(words: list[str]) -> list[str]:
    """A command line with missing files: nothing is run."""
    with tempfile.TemporaryDirectory() as folder:
        given = [word.replace("{f}", f"{folder}/none/f") for word in words]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(given)
            except SystemExit as end:
                code = end.code
    if code == 2:
        raise UsageError(err.getvalue().removesuffix("\n"))
    if code != 0:
        raise AssertionError(f"exit code {code}")
    return [out.getvalue(), err.getvalue()]


def _read_log(raw: bytes) -> list[str]:
    lines = [line.decode("utf-8", "surrogateescape").rstrip("\r\n") for line in io.BytesIO(raw)]
    documents = [decode.answer.facts(asked, None, count) for asked, count in decode.counted(decode.from_log(lines, "standard input"))]
    return [decode.explained.summary(documents, style) for style in ("csv", "github")] + [
        decode.explained.explanation(each, whole=True) for each in documents]


TRACE = [b"CPU 0/KVM-11 [002] .....  1.000001: kvm_page_fault: vcpu 0 rip 0x0 address 0x0000000000003000 error_code 0x2",
         b"CPU 1/KVM-12 [003] .....  1.000004: kvm_exit: vcpu 1 reason EPT_VIOLATION rip 0x0 info1 0x0",
         b"           <...>-13 [226] ...1. 1.000007: kvm_entry: vcpu 1, rip 0x0",
         b'{"type": "hist", "data": {"@us": [{"min": 1, "max": 1, "count": 3}, {"min": 2, "max": 3, "count": 9}]}}',
         b'{"type": "map", "data": {"@faults": 12}}']
NUMBERS = {"kind": written.KIND, "numbers": {"removals_per_s": 1.5, "removal_p50_us": 3}}


def _trace(random: Random) -> bytes:
    lines = random.choices(TRACE, k=random.randint(1, 8))
    return damage.damaged(b"\n".join(lines), random)


def _read_trace(path: str) -> list[str]:
    """As far as a command goes: gathered, written and shown."""
    found = gathered.gather(path)
    with tempfile.TemporaryDirectory() as folder:
        paths = written.write(found, path, Path(folder) / "x", "kick_on_busy")
        shown = trace_report(found, written.real(found, path), paths)
        config_file.load(next(each for each in paths if each.suffix == ".toml"))
    return [shown.replace(folder, "")]


READERS = {
    "trace": Reader(_read_trace, _trace, "txt"),
    "real numbers": Reader(lambda path: [str(written.read_real(path))], _json(lambda: NUMBERS), "json"),
    "config": Reader(_read_config, _toml(CONFIG), "toml"),
    "--set": Reader(_read_set, _set, names_file=False),
    "scenario": Reader(lambda path: [str(scenario_file.load(path))][:0], _toml(SCENARIO, SCENARIO, PAIRS), "toml"),
    "litmus": Reader(lambda path: [(test := litmus.load(path)).name, condition(test)],
                     lambda random: damage.damaged(random.choice(_litmus_texts()), random), "litmus"),
    "sweep": Reader(lambda path: [sweep.load(path)][:0],
                    _toml(CONFIG | {"sweep": {"policy": ["retry16", "kick_vcpus"], "td": {"vcpus": [2, 4]}}}), "toml"),
    "schedule": Reader(lambda path: [Schedule.read(path)][:0], _json(lambda: random_schedule(0), lambda: random_schedule(1)), "json"),
    "result": Reader(_read_result, _json(document), "json"),
    "history": Reader(_read_history, _history, "jsonl"),
    "calibration": Reader(lambda path: [assumed.read_costs(path).where], _toml(COSTS), "toml"),
    "histogram": Reader(lambda path: [str(prices.read_histogram(path))], lambda random: damage.damaged(HISTOGRAM, random), "csv"),
    "module": Reader(lambda path: [find_release(path, "--module").name], _toml(MODULE), "toml"),
    "command line": Reader(_read_arguments, _arguments, names_file=False),
    "standard input": Reader(_read_log, _log, names_file=False),
}


def random_schedule(number: int) -> dict:
    return copy.deepcopy(schedules()[number])


def well_said(text: str) -> bool:
    """One printable line that is not too long."""
    return 0 < len(text) <= LENGTH and not any(_unprintable(letter) for letter in text)


def _unprintable(letter: str) -> bool:
    code = ord(letter)
    return code < 32 or 127 <= code < 160 or 0xD800 <= code < 0xE000 or letter in FORMATTING


def badly_met(reader: Reader, given, path: Path | None) -> str:
    """What is wrong with how a reader meets an input; "" if nothing."""
    if path is not None and given is not None:
        path.write_bytes(given)
    before = [signal.signal(number, _too_long) for _, number, _ in CLOCKS]
    for clock, _, limit_s in CLOCKS:
        signal.setitimer(clock, limit_s)
    try:
        shown = reader.read(str(path) if path is not None else given)
        wrong = [letter for text in shown for letter in (text + "\n").replace("\r\n", "\n") if letter != "\n" and _unprintable(letter)]
        if any(line.startswith("forged: line") for text in shown for line in text.split("\n")):
            return "a line is forged"
        return f"shown with {wrong[0]!r}" if wrong else ""
    except UsageError as said:
        text = str(said)
        if not well_said(text):
            return f"said with {len(text)} characters: {text[:400]!r}"
        if reader.names_file and path is not None and path.name[-40:] not in text:
            return f"said without the file: {text!r}"
        return ""
    except (Exception, SystemExit) as problem:
        where = problem.__traceback__
        while where.tb_next:
            where = where.tb_next
        return f"{type(problem).__name__} in {where.tb_frame.f_code.co_filename.rpartition('/')[2]}:{where.tb_lineno}: {str(problem)[:150]}"
    finally:
        for (clock, number, _), handler in zip(CLOCKS, before):
            signal.setitimer(clock, 0)
            signal.signal(number, handler)


def _too_long(*_):
    raise TimeoutError(f"takes more than {LIMIT_S} s of processor time, or {WAIT_S} s")


def run(name: str, seeds, folder: Path) -> dict[int, str]:
    """What is badly met of an input for each seed."""
    reader = READERS[name]
    path = folder / f"input.{reader.ending}" if reader.ending else None
    found = ((seed, badly_met(reader, reader.make(Random(f"{name} {seed}")), path)) for seed in seeds)
    return {seed: wrong for seed, wrong in found if wrong}
