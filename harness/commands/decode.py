"""`decode`: answers in whatever form people have them, from arguments or a log, taken apart one by one."""

import io
import json
import re
import sys
from typing import Iterable

from harness.commands import arguments
from harness.errors import DONE, UsageError
from harness.protocol import spelling
from harness.protocol.seamcall_abi import FIELDS
from harness.protocol.spelling import Asked, shown
from harness.reports import answer, explained, statuses
from harness.reports.named import find_release

INPUT_MOST = 16 << 20            # bytes of standard input: more than most kernels keep of their log
USAGE = "must be like 0x8000020000000092, TDX_OPERAND_BUSY|RCX, or a line of the kernel's log"
# A word that is one of several of a line.
OF_A_LINE = re.compile(r"\W*(?:SEAMCALL|TDCALL|failed)", re.IGNORECASE)
MISTAKEN = re.compile(r"did you mean|is no operand|takes no operand")
# No status has any of these bits: where a line of a log has several numbers, one that has is an address.
RESERVED = next(field for field in FIELDS if field.name == "reserved")
# A line of a log that begins so is meant to be an answer.
MEANT = re.compile(r"[\s(\"'`]*(?:TDX_|[-+]?0x)", re.IGNORECASE)


def add(parser) -> None:
    # The kernel writes -EBUSY, which is no option: argparse asks this which words with a dash are none.
    parser._negative_number_matcher = re.compile(r"-(?:\d|E[A-Z]+$)", re.IGNORECASE)
    parser.add_argument("status", nargs="*", metavar="STATUS",
                        help="a number, a name such as 'TDX_OPERAND_BUSY|SEPT_TREE', an errno, a line of the kernel's"
                             " log, or - for standard input (default)")
    parser.add_argument("--module", metavar="RELEASE", help="the release in which a lock is held (default: one that has the status)")
    parser.add_argument("--list", action="store_true", help="every status and operand id instead, with its releases")
    arguments.add_format(parser)


def do(options) -> int:
    """Print what was asked for.  Raises UsageError if there is nothing to decode, or something that is no answer."""
    release = _release(options.module)
    if options.list:
        if options.status:
            raise UsageError(f"decode --list {shown(' '.join(options.status))}: --list takes no answer")
        print(statuses.listed(release, options.format))
        return DONE
    documents = [answer.facts(asked, release, lines) for asked, lines in asked_for(options.status)]
    if options.format == "json":
        print(json.dumps(documents, indent=1))
    elif options.format == "table":
        print("\n\n".join(explained.explanation(each, whole=len(documents) == 1) for each in documents))
    else:
        print(explained.summary(documents, options.format))
    return DONE


def _release(name: str | None):
    return None if name is None else find_release(name, "--module")


def asked_for(texts: list[str]) -> list[tuple[Asked, int]]:
    """The answers of all arguments, or of standard input, each with the number of places where it was found."""
    if texts in ([], ["-"]):
        return counted(from_log(read_input(), "standard input"))
    if any("\n" in text for text in texts):
        return counted(from_log("\n".join(texts).splitlines(), "the text"))
    return counted(from_arguments(texts))


def from_arguments(texts: list[str]) -> list[Asked]:
    """Each argument by itself; together, if they are the words of one line that a shell has taken apart."""
    try:
        return [asked for text in texts for asked in spelling.read(text)]
    except UsageError:
        parted = any(word == "|" or spelling.by_name(word.strip("[]():,")) or OF_A_LINE.match(word) for word in texts)
        if len(texts) == 1 or not parted:
            raise
    return spelling.read(" ".join(texts))


def from_log(lines: Iterable[str], where: str) -> list[Asked]:
    """The answers in the lines of a log; lines without one are passed over.  Raises UsageError if none has one."""
    found: list[Asked] = []
    number = fresh = 0
    for number, line in enumerate(lines, 1):
        if found and fresh and (registers := spelling.registers_only(line)):
            found[-fresh:] = [asked._replace(registers=asked.registers + registers) for asked in found[-fresh:]]
            continue
        here = _in_line(line, f"{where}, line {number}")
        found += here
        fresh = len(here)
    if not found:
        raise UsageError(f"decode: no answer in the {number} lines of {where}; {USAGE}")
    return found


def _in_line(line: str, where: str) -> list[Asked]:
    """The answers in a line of a log: all of it if it is one word, or begins as an answer does."""
    alone = len(line.split()) == 1
    if MEANT.match(line):
        try:
            found = spelling.read(line)
        except UsageError as mistake:
            if not alone and not MISTAKEN.search(str(mistake)) and not line.lstrip("\t ([\"'`+-").startswith("0"):
                return []                # TDX_MODULE is loaded: a sentence that begins so
            raise UsageError(f"{where}: {mistake}") from None
        return [asked for asked in found if alone or asked.word is None or not RESERVED.of(asked.word)]
    if alone:
        try:
            return spelling.found(line)
        except UsageError:
            return []
    return spelling.line(line)


def read_input() -> list[str]:
    """Lines of standard input, whatever bytes they are.  Raises UsageError, before any is looked at, if it has no end."""
    if sys.stdin.isatty():
        print("decode: reading standard input; end it with Ctrl-D", file=sys.stderr)
    raw = sys.stdin.buffer.read(INPUT_MOST + 1)
    if len(raw) > INPUT_MOST:
        raise UsageError(f"standard input: is longer than {INPUT_MOST >> 20} MiB; must be at most that")
    return [line.decode("utf-8", "surrogateescape").rstrip("\r\n") for line in io.BytesIO(raw)]


def counted(found: list[Asked]) -> list[tuple[Asked, int]]:
    """Each answer of each call once, with how often it was found; registers are those of the first."""
    groups: dict[tuple, list[Asked]] = {}
    for asked in found:
        groups.setdefault((asked.word, asked.errno, asked.leaf), []).append(asked)
    return [(_first(group), len(group)) for group in groups.values()]


def _first(group: list[Asked]) -> Asked:
    notes = group[0].notes
    if len({asked.registers for asked in group}) > 1:
        notes = (*notes, "The registers are those of the first line.")
    return group[0]._replace(notes=notes)
