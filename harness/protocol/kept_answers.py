"""answers.json: what `decode` needs of every row of every release, so that it need not load them.

    {"releases": [NAME, ...], "calls": {CALL: {"side", "leaf", "keeps", "in", "words", "uses", "uses_under_kvm"}}}

The fields are those of answers.Answering.  What a call answers and takes is written once for all releases: behind each
stands in which of "releases", as a number in hexadecimal, the first one its lowest bit.
"""

import itertools
import json
from pathlib import Path

from harness.files import write_file
from harness.memory.layout import Layout
from harness.protocol import contention
from harness.protocol.answers import KEPT, Answering
from harness.protocol.assemble import Listing
from harness.protocol.call import Options
from harness.protocol.releases import READ, Release
from harness.protocol.seamcall_abi import Faults
from harness.protocol.seamcalls import seamcalls, write_call


def read(release: Release) -> tuple[Answering, ...]:
    """What the rows of a release say: their answers are those that their micro-ops can end with.

    Without entropy too, while the module is shut down, and with Dynamic PAMT where there is one.
    """
    options = [
        Options(Layout(vcpus=1, actors=1, pages=512, record_words=0, dynamic_pamt=dynamic), owners=False, release=release,
                faults=Faults(no_entropy_share=0.5), inside=True)
        for dynamic in (False, True)[:1 + release.dynamic_pamt]]
    uses, under_kvm = contention.uses(release), contention.uses(release, under_kvm=True)
    found = []
    for row in seamcalls(release):
        words: set[int] = set()
        for each, level in itertools.product(options, row.levels):
            listing = Listing()
            write_call(listing, row, each, level)
            words.update(answer.status for answer in listing.answers)
        found.append(Answering(row.name, row.side, row.leaf, row.keeps, frozenset(words), uses[row.name],
                               under_kvm[row.name]))
    return tuple(found)


def text() -> str:
    """The whole file: a line for each call."""
    calls: dict[str, dict] = {}
    for number, release in enumerate(READ):
        for row in read(release):
            call = calls.setdefault(row.name, {"side": row.side, "leaf": row.leaf, "keeps": row.keeps, "in": 0,
                                               "words": {}, "uses": {}, "uses_under_kvm": {}})
            call["in"] |= 1 << number
            for what, texts in (("words", [f"{word:#x}" for word in sorted(row.words)]),
                                ("uses", map(" ".join, row.uses)), ("uses_under_kvm", map(" ".join, row.uses_under_kvm))):
                for each in texts:
                    call[what][each] = call[what].get(each, 0) | 1 << number
    lines = [f"{json.dumps(name)}: {json.dumps(_in_hex(call))}" for name, call in calls.items()]
    return (f'{{"releases": {json.dumps([release.name for release in READ])},\n"calls": {{\n'
            + ",\n".join(lines) + "\n}}\n")


def _in_hex(call: dict) -> dict:
    """A call with the releases of each thing in hexadecimal."""
    return {key: {each: f"{there:x}" for each, there in value.items()} if isinstance(value, dict) else
            f"{value:x}" if key == "in" else value for key, value in call.items()}


def write(path: Path = KEPT) -> None:
    write_file(text(), path)
