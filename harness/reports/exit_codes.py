"""docs/exit_codes.md: every exit code and what it means, from errors.py and stops.py."""

from pathlib import Path

from harness.errors import DONE, GRAVITY, INTERRUPTED, MEANINGS, NOT_PRINTED, READER_GONE
from harness.files import write_file
from harness.reports.text import markdown
from harness.stops import SIGNALS

PAGE = Path("docs/exit_codes.md")


def page() -> str:
    stopped = {128 + number: f"stopped by {number.name.removeprefix('SIG')}{' (Ctrl-C)' * (128 + number == INTERRUPTED)};"
                             " what was measured is kept" for number in SIGNALS}
    order = " < ".join(str(code) for code in GRAVITY)
    return "\n".join([
        "# Exit codes", "", "Made by `make docs` from harness/errors.py and harness/stops.py.", "",
        *markdown(("code", "meaning"), [(str(code), text) for code, text in sorted((MEANINGS | stopped).items())]),
        f"Of several runs the gravest code is that of the command: {order}.", "",
        f"A job that is to stop at anything but success asks for {DONE}. One that may go on where an event was merely not seen"
        f" lets 4 pass; 3 says that the machine was not fit, so that the same may pass elsewhere; 70 is worth a report.", "",
        "What cannot be printed changes nothing of a measurement: it goes on, is saved, and commands that judge (`run`,"
        " `explore`, `replay`, `nightly`, `sweep`, `doctor`, `compare`) end with their own code. The others end with"
        f" {NOT_PRINTED} or {READER_GONE}.",
    ]) + "\n"


def write(root: Path = Path()) -> None:
    write_file(page(), root / PAGE)
