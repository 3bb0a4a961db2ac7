"""Lines of ftrace, trace-cmd and perf script: they differ in what stands before the event's name.

    qemu-8397  [002] .....  1404.389384: kvm_entry: vcpu 0         ftrace
    qemu-8397  [002]  1404.389384: kvm_entry:  vcpu 0              trace-cmd report
    qemu  8397 [002]  1404.389384:   kvm:kvm_entry: vcpu 0         perf script (perf's `8397/8401` is pid/tid)
"""

import re

from harness.traces.events import Event, event

LINE = re.compile(r"\s*.{1,64}?[-\s](\d+)(?:/(\d+))?\s+(?:\(\s*[-\d]+\)\s+)?\[\d+\]\s+(?:\S{3,8}\s+)?(\d+)\.(\d{3,9}):\s+"
                  r"(?:\d+\s+)?([\w:.]+):\s*(.*)")
ENDLESS = re.compile(r"\d{21}")                   # no number of 64 bits has so many digits
# What these tools write about themselves.
SAID = re.compile(r"\s*(#|$|cpus=\d+|version = |CPU \d+ is empty|CPU:\d+ \[(?:LOST|MISSED))")


def read(line: str) -> Event | None:
    """None for a line that is no event of ours."""
    found = LINE.match(line)
    if not found or ENDLESS.search(line):
        return None
    pid, tid, seconds, fraction, name, text = found.groups()
    return event(int(seconds) * 10**9 + int(fraction.ljust(9, "0")), int(tid or pid), name, text)
