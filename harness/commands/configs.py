"""The command `configs`: what is shipped, with the question that each answers; copied out on request."""

import re
from pathlib import Path

from harness.commands import arguments
from harness.errors import DONE, UsageError
from harness.experiment import shipped
from harness.files import reason, saved, write_file
from harness.reports.text import count, formatted, wrap

COMMENT = re.compile(r"^(?:# ?|\(\* ?|//+ ?)(.*)")


def add(parser) -> None:
    parser.add_argument("words", nargs="*", metavar="NAME", help="only those with this in their name, such as explore/")
    parser.add_argument("--copy", metavar="DIR", help="write them into this folder, which must not exist yet")
    arguments.add_format(parser)


def do(options) -> int:
    chosen = [path for path in shipped.all_files()
              if not options.words or any(word in shipped.name_of(path) for word in options.words)]
    if not chosen:
        raise UsageError(f"{options.words[0]}: no shipped file has this in its name; `configs` lists them")
    if options.copy:
        return copy(chosen, Path(options.copy))
    rows = [{"name": shipped.name_of(path), "question": question(path.read_text(encoding="utf-8"))} for path in chosen]
    print(formatted(rows, options.format, words=(0, 1)))
    if options.format == "table":
        print("\n" + wrap("`run NAME` or `explore NAME` takes each from wherever it lies; `configs --copy DIR` writes them out."))
    return DONE


def copy(chosen: list[Path], target: Path) -> int:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"--copy {target}: exists; must be a folder that is new or empty")
    try:
        for path in chosen:
            to = target / path.relative_to(shipped.folder())
            to.parent.mkdir(parents=True, exist_ok=True)
            write_file(path.read_text(encoding="utf-8"), to)
    except OSError as problem:
        raise UsageError(f"--copy {target}: {problem.filename or target}: {reason(problem)}") from None
    print(saved(target, f"{count(len(chosen), 'file')} in"))
    return DONE


def question(text: str) -> str:
    """The first sentence of a file's own comment."""
    lines = []
    for line in text.splitlines():
        found = COMMENT.match(line)
        if found and found[1].strip(" *)"):
            lines.append(found[1].strip(" *)"))
        elif lines:
            break
    return re.split(r"(?<=[.?!])\s", " ".join(lines), maxsplit=1)[0].rstrip(".:;")
