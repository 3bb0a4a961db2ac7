"""A process that goes round for ever on its own: a mistake of the file, as no other process could ever end it."""

import re
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.protocol.litmus.text import LitmusError
from kernels.ops import OP_TABLE, Kind, Op

if TYPE_CHECKING:
    from harness.experiment.litmus import Test


def private_loop(test: "Test") -> str:
    """The first row, as `P0:3 while (r)`, of a loop that accesses no shared memory and may never end."""
    rows, safe = test.program.rows, set()
    for start in range(len(rows)):
        way, at = {}, start
        stack = [(start, iter(_private(rows, start)))]
        way[start] = True
        while stack:
            at, onwards = stack[-1]
            then = next(onwards, None)
            if then is None:
                safe.add(at)
                way.pop(at)
                stack.pop()
            elif then in way:
                loop = [row for row in list(way)[list(way).index(then):] if test.program.listing[row].text.startswith("P")]
                return test.program.listing[min(loop)].text if loop else ""
            elif then not in safe:
                way[then] = True
                stack.append((then, iter(_private(rows, then))))
    return ""


def _private(rows, number: int) -> list[int]:
    """Where a row that touches an actor's own registers only goes on."""
    row = rows[number]
    info = OP_TABLE[row["op"]]
    if info.kind in (Kind.SHARED, Kind.WAIT) or not info.outcomes or row["op"] in (Op.CALL, Op.GO):
        return []
    return [int(row["next"]), int(row["otherwise"])][:min(2, info.outcomes)]


def endless(test: "Test") -> UsageError:
    """What is to be said of a test with a process that goes round for ever on its own."""
    text = private_loop(test)
    found = re.match(r"P(\d+):\d+ (?:\w+: )?(.*)", text, re.DOTALL)
    if not found:
        return UsageError(f"{test.table['path']}: must access shared memory, or end")
    return LitmusError(test.table["path"], test.structs.places[text],
                       f"P{found[1]} goes round at `{found[2]:.80}` for ever without an access to shared memory")
