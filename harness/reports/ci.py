"""What other tools read of a night: JUnit XML, KTAP, a GitHub step summary, github-action-benchmark JSON.

Pure functions from cases to text, and one that writes them all.  Names and sentences come from configs
and results, so each format escapes them in its own way.
"""

import json
import os
import re
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import DONE, FAILED, NOT_SEEN, UNTRUSTWORTHY, escaped
from harness.files import write_file
from harness.reports.numbers import events_text, over_runs
from harness.results import inference
from harness.results.metrics import COMPARED, FATAL, LESS, MORE, Metric, chosen, events, values
from harness.results.schema import Result

PASS, FAIL, ERROR = "PASS", "FAIL", "ERROR"
CODES = {PASS: DONE, FAIL: FAILED, ERROR: UNTRUSTWORTHY}
SHOWN = chosen("busy_per_attempt_percent", "removals_per_s")      # in a line

# Unit of a metric from the end of its key, as github-action-benchmark shows it.
UNITS = {"percent": "%", "us": "us", "per_s": "1/s", "faults": "per million faults", "removal": "per removal",
         "max": ""}


@dataclass
class Case:
    """One judged thing: a series, or a canary.

    lines      what failed (or, of a canary, what was seen); notes: what is good to know
    results    those that its numbers are of; none of a canary
    unseen     nothing else is wrong but that what was to occur did not, or not often enough (of FAIL)
    """

    name: str
    status: str
    lines: list[str]
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    engine: str = ""
    module: str = ""
    results: list[Result] = field(default_factory=list)
    unseen: bool = False

    def code(self) -> int:
        """The exit code that it deserves."""
        return NOT_SEEN if self.unseen else CODES[self.status]

    def line(self) -> str:
        shown = ", ".join(metric.said(over_runs(metric, self.results)) for metric in SHOWN if values(metric, self.results))
        return f"{self.status:5} {self.name}: {'; '.join(filter(None, [*self.said(), shown, *self.notes]))}"

    def plain(self) -> dict:
        """For programs."""
        return {"name": self.name, "status": self.status, "engine": self.engine, "module": self.module, "measured_s": self.seconds,
                "failures": self.lines, "notes": self.notes}

    def said(self) -> list[str]:
        """What failed, and what is fatal and has happened."""
        return [*self.lines, *(f"{metric.title} {events_text(found)}" for metric in FATAL
                               if (found := events(metric, self.results)).total)]


def _printable(text: str) -> str:
    """Without characters that XML 1.0 cannot hold, and on one line."""
    return re.sub(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", escaped(text))


def junit(cases: list[Case], began: str) -> str:
    """As Jenkins, GitLab and others read it: one testcase per case."""
    suite = xml.Element("testsuite", name="nightly", timestamp=began.removesuffix("Z"), tests=str(len(cases)),
                        failures=str(sum(case.status == FAIL for case in cases)),
                        errors=str(sum(case.status == ERROR for case in cases)), skipped="0",
                        time=f"{sum(case.seconds for case in cases):.3f}")
    for case in cases:
        element = xml.SubElement(suite, "testcase", name=_printable(case.name), time=f"{case.seconds:.3f}",
                                 classname=_printable(f"{case.engine}.{case.module.replace('.', '_')}"))
        text = "\n".join(map(_printable, case.lines))
        if case.status != PASS:
            kind = "failure" if case.status == FAIL else "error"
            message = _printable(case.lines[0]) if case.lines else kind
            xml.SubElement(element, kind, message=message).text = text
        xml.SubElement(element, "system-out").text = _printable(case.line())
    root = xml.Element("testsuites")
    root.append(suite)
    xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n"


def ktap(cases: list[Case]) -> str:
    """Kernel TAP, version 1 (Documentation/dev-tools/ktap.rst): diagnostics stand before their result."""
    lines = ["KTAP version 1", f"1..{len(cases)}"]
    for index, case in enumerate(cases, 1):
        lines += [f"# {_printable(text)}" for text in [*case.said(), *case.notes]]
        name = _printable(case.name).replace("#", "_")
        directive = " # ERROR " + _printable(" ".join(case.lines[:1])) if case.status == ERROR else ""
        lines.append(f"{'ok' if case.status == PASS else 'not ok'} {index} {name}{directive}")
    return "\n".join(lines) + "\n"


def _markdown(text: str) -> str:
    text = _printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#@])", r"\\\1", text)


def step_summary(cases: list[Case], title: str, summary: list[str]) -> str:
    """GitHub-flavoured Markdown: the summary first, then a row per case."""
    rows = ["| | series | BUSY per attempt, % | removals per s | what |", "|---|---|--:|--:|---|"]
    for case in cases:
        shown = [over_runs(metric, case.results) for metric in SHOWN]
        what = "; ".join([*case.said(), *case.notes])
        cells = (case.status, *map(_markdown, (case.name, *shown, what)))
        rows.append(f"| {' | '.join(cells)} |")
    head = [f"### {_markdown(title)}", "", *(f"* {_markdown(line)}" for line in summary), ""]
    return "\n".join([*head, *rows, ""])


def benchmark(cases: list[Case], better: str) -> str:
    """For github-action-benchmark, tool customSmallerIsBetter (LESS) or customBiggerIsBetter (MORE)."""
    return json.dumps([_benchmark_entry(case, metric) for case in cases for metric in COMPARED
                       if metric.better == better and values(metric, case.results)], indent=1) + "\n"


def _benchmark_entry(case: Case, metric: Metric) -> dict:
    """The median over blocks with its interval; of what is fatal the mean."""
    numbers = values(metric, case.results)
    middle, blocks = inference.interval(numbers), f"{len(numbers)} blocks, engine {case.engine}, module {case.module}"
    entry = {"name": f"{case.name}: {metric.name}", "value": middle.median,
             "unit": next((unit for end, unit in UNITS.items() if metric.key.endswith(end)), ""),
             "extra": f"median of {blocks}"}
    if metric.events:
        return entry | {"value": sum(numbers) / len(numbers),
                        "extra": f"mean of {blocks}: {events_text(events(metric, case.results))}"}
    return entry if middle.low is None else entry | {"range": f"{middle.low:.6g} .. {middle.high:.6g}"}


def write_all(out: Path, cases: list[Case], title: str, summary: list[str], began: str) -> list[Path]:
    """Write every format into `out`, and the step summary where GitHub wants it.  Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    text = step_summary(cases, title, summary)
    documents = {"junit.xml": junit(cases, began), "nightly.ktap": ktap(cases), "summary.md": text,
                 "benchmark-smaller.json": benchmark(cases, LESS),
                 "benchmark-bigger.json": benchmark(cases, MORE)}
    written = [write_file(document, out / name) for name, document in documents.items()]
    if target := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(target, "a", encoding="utf-8") as file:
            file.write(text)
    return written
