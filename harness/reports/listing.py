"""The micro-ops of a call, printed so that they can be laid beside the module's C file."""

import json

from tabulate import tabulate

from harness.errors import UsageError, meant
from harness.memory.layout import Layout
from harness.protocol import seamcalls
from harness.protocol.assemble import Listing
from harness.protocol.call import Options
from harness.protocol.sources import in_release
from harness.reports.module import lock_text
from harness.reports.named import find_release
from harness.reports.text import spare, width, wrap
from kernels.ops import OP_TABLE

OF_WIDTH, LEGEND_WIDTH = 38, 72          # longer texts go on in the next line, but no word is broken


def explanation(name: str, module: str = "1.5.05", level: int | None = None, style: str = "table") -> str:
    """The micro-ops of a call, in the order in which they are written.  Raises UsageError.

    level   of the SEPT entry that the call is about; default: the lowest at which it can be made
    style   `table` or `json`
    """
    release = find_release(module, "--module")
    calls = seamcalls.by_name(release)
    known = [*calls, seamcalls.TD_EXIT]
    given, name = name, name.lower().replace(".", "_")           # TDH.MEM.PAGE.AUG is one of the names, too
    if name not in known:
        raise UsageError(f"explain {given}: no such call; {meant(name, known)}known: {', '.join(known)}")
    listing = Listing()
    options = Options(Layout(vcpus=1, actors=1, pages=512, record_words=0), owners=False, release=release)
    row = calls["tdh_vp_enter" if name == seamcalls.TD_EXIT else name]
    level = row.levels[0] if level is None else level
    if level not in row.levels:
        raise UsageError(f"explain {name} --level {level}: must be one of {', '.join(map(str, row.levels))}")
    if name == seamcalls.TD_EXIT:
        seamcalls.write_exit(listing, options)
        head = "TD exit, the other half of tdh_vp_enter"
    else:
        seamcalls.write_call(listing, row, options, level)
        head = f"{'SEAMCALL' if row.side == 'host' else 'TDCALL'} leaf {row.leaf}"
        head += f", on an entry at level {level}" if row.leveled else ""
    source = in_release(row.source, release, row.name)
    program = listing.program()
    rows = []
    for number, (written, linked) in enumerate(zip(program.listing, program.rows)):
        if not number:
            continue                     # row 0 is HALT, of every program
        goes = [f"{word} {linked[field]}" for word, field, given in (
            ("next", "next", written.next), ("otherwise", "otherwise", written.otherwise),
            ("priority", "priority", written.priority)) if given]
        rows.append((number, written.op.name.lower(), written.text, ", ".join(goes)))
    held = [lock_text(lock) for lock in seamcalls.held_by(row, level, release)]
    if style == "json":
        heads = ("row", "micro_op", "of", "goes_to")
        return json.dumps({"call": name, "about": head, "module": release.name, "source": source, "locks": held,
                           "rows": [dict(zip(heads, each)) for each in rows]}, indent=1)
    used = sorted({written.op for written in program.listing[1:]})
    legend = [(op.name.lower(), OP_TABLE[op].text) for op in used]
    return "\n".join([
        f"{name}: {head}, module {module}", wrap(f"source: {source}"),
        wrap("locks: " + ", ".join(held)), "",
        tabulate(rows, headers=("row", "micro-op", "of", "goes to"), tablefmt="simple",
                 maxcolwidths=[None, None, *_widths(rows)], break_long_words=False), "",
        tabulate(legend, tablefmt="plain", maxcolwidths=[None, LEGEND_WIDTH + spare()], break_long_words=False)])


def _widths(rows: list[tuple]) -> tuple[int, int]:
    """Of the last two columns: the longest word, or OF_WIDTH; and what is left of a line."""
    text = max([OF_WIDTH, *(len(word) for row in rows for word in row[2].split())])
    first = sum(max(len(str(cell)) for cell in column) for column in ([row[0] for row in rows] + ["row"],
                                                                      [row[1] for row in rows] + ["micro-op"]))
    return text, width() - 3 * 2 - first - text
