"""docs/releases.md: the releases of the module, what changed in which, and which known defects each has."""

import functools
from pathlib import Path

from harness.experiment.scenario_file import declared
from harness.files import write_file
from harness.memory.layout import Layout
from harness.protocol.assemble import Listing
from harness.protocol.call import Options
from harness.protocol.releases import FIELDS, LINES, READ, Release, line, meanings, spans
from harness.protocol.seamcalls import seamcalls, write_call
from harness.results.matrix import named

PAGE = Path("docs/releases.md")
KNOWN = Path("configs/explore/known")
CALLS_SHOWN = 4                  # of those that a change is seen in


def page(root: Path = Path()) -> str:
    """The whole page."""
    changing = [name for name in FIELDS if len({getattr(release, name) for release in READ}) > 1]
    same = [name for name in FIELDS if name not in changing]
    return "\n".join([
        "# Releases of the TDX module", "",
        "Made by `make docs` from the rows of `harness/protocol/releases.py` and the scenarios of `configs/explore/known/`;"
        " the suite searches every interleaving of each of those in every release.  A * marks what was not read in"
        " that release's own source, but follows from an equal text, from callers or from the other line.", "",
        "Which module must I have?  Require what you need; exit code 1 says that some release does not keep it:", "",
        "<!-- sample: slow -->", "```", "python -m harness explore --modules configs/explore/known/*.toml --require priority_kept,right_size_accepted",
        "python -m harness explore --modules configs/explore/known/*.toml --require priority_kept --module 1.5.24 --format json",
        "python -m harness seamcalls --diff 1.5.24 1.5.34", "```", "",
        "## Known defects", "",
        *_table(("defect", "breaks", *(f"{each} line" for each in LINES), "scenario"), defects(root)), "",
        "`no_halt`, `no_livelock` and `quiet_locks` are asked of every scenario, the others of those above only;"
        " `harness/protocol/invariants.py` says what each means.", "",
        "## What changed", "",
        *_table(("field of `[module]`", "what it is", *(f"{each} line" for each in LINES), "seen in"),
                [change(name) for name in changing]), "",
        "The same in every release: " + ", ".join(f"`{name}` {_spelled(getattr(READ[0], name))} ({meanings()[name]})"
                                                  for name in same) + ".", "",
        "## Releases", "",
        *_table(("release", "behaves the same", "source", "not read there"), [
            (release.name, ", ".join(release.also) or "-", release.source,
             ", ".join(f"`{name}`" for name in release.derived) or "-") for release in READ]),
    ]).rstrip() + "\n"


def write(path: Path = PAGE) -> None:
    path.parent.mkdir(exist_ok=True)
    write_file(page(), path)


# --- known defects -----------------------------------------------------------------------------

def defects(root: Path) -> list[tuple[str, ...]]:
    """A row each: what it is, the invariants that it breaks, the releases of each line that have it, its scenario."""
    rows = []
    for path in sorted((root / KNOWN).glob("*.toml")):
        has = declared(path)
        [releases] = {tuple(modules) for modules in has.values()}
        rows.append((title(path), ", ".join(f"`{named(name)}`" for name in has),
                     *(_spans(releases, each) for each in LINES), f"`{path.name}`"))
    return rows


def title(path: Path) -> str:
    """The first sentence of a scenario's header."""
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ").removesuffix(".")


def _spans(names: tuple[str, ...], of: str) -> str:
    """Rows of a line in a cell of a table."""
    rows = [release.name for release in READ if line(release.name) == of]
    return "all" if set(rows) <= set(names) else spans(names, of) or "-"


# --- what changed ------------------------------------------------------------------------------

def change(name: str) -> tuple[str, ...]:
    """A field: what it is, its values by release in each line, and calls of which it changes the micro-ops."""
    return (f"`{name}`", meanings()[name], *(_values(name, each) for each in LINES), _seen_in(name))


def _values(name: str, of: str) -> str:
    """`first value`, and behind it each later one with the release that brought it."""
    parts, last = [], None
    for release in (release for release in READ if line(release.name) == of):
        value = getattr(release, name)
        if value != last or not parts:
            since = f"{release.name}{'*' * (name in release.derived)}: "
            parts.append(f"{since if parts or name in release.derived else ''}{_value(release, name)}")
        last = value
    return "; ".join(parts)


def _spelled(value) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _value(release: Release, name: str) -> str:
    return f"{release.access:#x}" if name == "access" else _spelled(getattr(release, name))


def _seen_in(name: str) -> str:
    """Calls of which a row differs with the field's first and last value, all else as in the newest release."""
    newest = [release for release in READ if line(release.name) == LINES[0]][-1]
    with_each = [written(newest._replace(**{name: value})) for value in dict.fromkeys(getattr(release, name) for release in READ)]
    calls = [call for call in with_each[0] if len({each.get(call) for each in with_each}) > 1]
    return ", ".join(f"`{call}`" for call in calls[:CALLS_SHOWN]) + (
        f" and {len(calls) - CALLS_SHOWN} more" if len(calls) > CALLS_SHOWN else "") or "-"


@functools.cache
def written(release: Release) -> dict[str, tuple]:
    """The micro-ops of each call of a release."""
    options = Options(Layout(vcpus=1, actors=2, pages=512, record_words=0), owners=False, release=release)
    found = {}
    for row in seamcalls(release):
        listing = Listing()
        write_call(listing, row, options, row.levels[0])
        listing.flush()
        found[row.name] = tuple((each.op, each.base, each.offset, each.width, each.register, each.source, each.value, each.mask,
                                 each.match, each.next, each.otherwise, each.priority) for each in listing.rows)
    return found


def _table(headers: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(each)} |" for each in (headers, ["---"] * len(headers), *cells)]
