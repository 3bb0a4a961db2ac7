"""Lock words: one operation of one lock on a word, alone, in both primitives: result, word after, whether it halts.

The operations are those of tdx_locks.h, the guest's as of the releases up to 1.5.25.
"""

from collections.abc import Iterator

from kernels import locks
from tests.conformance.reading import Compared, Line, Vectors, number

PRIMITIVES = ("cas", "bts")


def difference(line: Line, primitive: str) -> str:
    """How a line differs from the primitive: nothing if it does not."""
    operation, word = line["operation"], number(line, "word", line["word"])
    if operation not in locks.OPERATIONS:
        raise line.refuse("operation", operation, f"must be one of {', '.join(locks.OPERATIONS)}")
    try:
        [result], [after], [halts] = locks.apply(operation, [word], primitive)
    except ValueError as problem:
        raise line.refuse("word", line["word"], str(problem)) from None
    here = {"result": str(result), "word_after": f"{int(after):#x}", "halts": f"{int(halts)}"}
    there = {"result": line["result"], "word_after": f"{number(line, 'word_after', line['word_after']):#x}",
             "halts": line["halts"]}
    return "; ".join(f"{name} {was}, here {here[name]}" for name, was in there.items() if was != here[name])


def compare(vectors: Vectors) -> Iterator[Compared]:
    """Each line, in both primitives."""
    for line in vectors.lines:
        found = {primitive: what for primitive in PRIMITIVES if (what := difference(line, primitive))}
        yield Compared(line["operation"], f"{line.place}: " + "; ".join(
            f"{primitive}: {what}" for primitive, what in found.items()) if found else "")
