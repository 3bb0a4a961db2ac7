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

from harness.files import write_file
from harness.results.metrics import BY_KEY, LESS, MORE
from harness.reports.text import number

PASS, FAIL, ERROR = "PASS", "FAIL", "ERROR"

# Unit of a metric from the end of its key, as github-action-benchmark shows it.
UNITS = {"percent": "%", "us": "us", "per_s": "1/s", "faults": "per million faults", "removal": "per removal",
         "max": ""}


@dataclass
class Case:
    """One judged thing: a series, or a canary.

    lines      what failed (or, of a canary, what was seen); notes: what is good to know
    numbers    statistics.Interval by key of the metric
    """

    name: str
    status: str
    lines: list[str]
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    engine: str = ""
    module: str = ""
    numbers: dict = field(default_factory=dict)

    def line(self) -> str:
        shown = [BY_KEY[key].said(number(self.numbers[key].median))
                 for key in ("busy_per_attempt_percent", "removals_per_s") if key in self.numbers]
        text = "; ".join([*self.lines, ", ".join(shown), *self.notes]).strip("; ").replace("; ; ", "; ")
        return f"{self.status:5} {self.name}: {text}"


def _printable(text: str) -> str:
    """Without characters that XML 1.0 cannot hold, and on one line."""
    return re.sub(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", text)


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
        lines += [f"# {_printable(text)}" for text in [*case.lines, *case.notes]]
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
        shown = [number(case.numbers[key].median) if key in case.numbers else "-"
                 for key in ("busy_per_attempt_percent", "removals_per_s")]
        what = "; ".join([*case.lines, *case.notes])
        cells = (case.status, _markdown(case.name), *shown, _markdown(what))
        rows.append(f"| {' | '.join(cells)} |")
    head = [f"### {_markdown(title)}", "", *(f"* {_markdown(line)}" for line in summary), ""]
    return "\n".join([*head, *rows, ""])


def benchmark(cases: list[Case], better: str) -> str:
    """For github-action-benchmark, tool customSmallerIsBetter (LESS) or customBiggerIsBetter (MORE)."""
    entries = []
    for case in cases:
        for key, middle in case.numbers.items():
            if key not in BY_KEY or BY_KEY[key].better != better:
                continue
            entry = {"name": f"{case.name}: {BY_KEY[key].name}", "value": middle.median,
                     "unit": next((unit for end, unit in UNITS.items() if key.endswith(end)), ""),
                     "extra": f"median of {middle.count} blocks, engine {case.engine}, module {case.module}"}
            if middle.low is not None:
                entry["range"] = f"{middle.low:.6g} .. {middle.high:.6g}"
            entries.append(entry)
    return json.dumps(entries, indent=1) + "\n"


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
