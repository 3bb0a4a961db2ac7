"""What a person can mend, as one exception each, and the exit codes; only commands print and exit.

    UsageError        a mistake in the arguments or in a config           exit code 2
    ResultError       a result file that cannot be used                   exit code 2

Of many runs the gravest code is that of the command (`gravest`).  What comes from a file or an argument is
shown `escaped`: it cannot begin a line, move the cursor or turn the direction of the text.
"""

import difflib
import re
import sys
from pathlib import Path

import harness

DONE, FAILED, USAGE, UNTRUSTWORTHY, NOT_SEEN = range(5)
UNEXPECTED = 70
NOT_PRINTED = 74
INTERRUPTED = 130                # by Ctrl-C; other requests to stop: stops.exit_code
READER_GONE = 141
# docs/exit_codes.md is made from this.
MEANINGS = {
    DONE: "as expected",
    FAILED: "an invariant or an `[expect]` failed, an outcome is forbidden or impossible, a change was confirmed (`nightly`),"
            " a row breaks what `--require` names, a replay differs",
    USAGE: "a mistake in the arguments or a file: one line says where, what was given and what is allowed",
    UNTRUSTWORTHY: "the numbers cannot be believed (a result that says UNTRUSTWORTHY), a result could not be written,"
                   " a task was given up (`--cluster`), or what was asked is not known, as a search did not fit (of a part, as"
                   " `--random` asks for, that is no mistake)",
    NOT_SEEN: "nothing was violated, but what `[expect]` wants to see did not occur, or not often enough; the message says"
              " how much was tried",
    UNEXPECTED: "a fault of this program: one line, which names a file with the traceback",
    NOT_PRINTED: "nothing else is wrong, but standard output is closed or full",
    READER_GONE: "nothing else is wrong, but the reader of standard output has gone, as behind `| head`",
}
GRAVITY = (DONE, NOT_SEEN, FAILED, USAGE, UNTRUSTWORTHY, UNEXPECTED, INTERRUPTED)
LENGTH = 300                     # characters of the line of a mistake
WORD = 120                       # of a word, such as a path, in a line that would be longer
FORMATTING = "".join(map(chr, (0x61C, 0x200B, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF)))
# What moves the cursor, breaks a line, hides or turns text, or is half a character.
UNSAFE = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff{FORMATTING}]")


def program() -> str:
    """How this program was started, for a line that says what to type."""
    return harness.CONSOLE if Path(sys.argv[0]).name == harness.CONSOLE else "python -m harness"


def gravest(*codes: int) -> int:
    """Of several exit codes the one that a command ends with."""
    return max(codes, key=GRAVITY.index)


def escaped(text: str, keep: str = "") -> str:
    """A text with its control characters as Python writes them (`\\x1b`, `\\n`), but those to `keep`."""
    return UNSAFE.sub(lambda found: found[0] if found[0] in keep else repr(found[0])[1:-1], text)


def shortened(text: str, most: int) -> str:
    """A text without its middle where it is too long: what it begins and what it ends with is kept."""
    if len(text) <= most:
        return text
    end = most * 2 // 5
    return f"{text[:most - end - 5].rstrip()} ... {text[-end:].lstrip()}"


class UsageError(Exception):
    """One line of at most LENGTH characters: where, what was given, what is allowed."""

    def __str__(self) -> str:
        line = escaped(super().__str__())
        if len(line) > LENGTH:
            line = re.sub(rf"\S{{{WORD + 1},}}", lambda word: shortened(word[0], WORD).replace(" ... ", "..."), line)
        return shortened(line, LENGTH)


class ResultError(UsageError):
    """A result file that is missing, damaged, or not one of ours."""


def nearest(word, known) -> str:
    """`; did you mean X?`, or nothing when nothing is near."""
    close = difflib.get_close_matches(str(word)[:LENGTH], list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""


def meant(word, known) -> str:
    """The same before a list of all that is known: `did you mean X? `, or nothing."""
    return f"{nearest(word, known)[2:]} ".lstrip()
