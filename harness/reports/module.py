"""The module's table as a person reads it: all calls of a release, what differs, who contends with whom."""

from tabulate import tabulate

from harness.errors import UsageError, nearest
from harness.files import read_toml
from harness.memory.layout import Layout
from harness.protocol import contention, releases
from harness.protocol.assemble import Listing
from harness.protocol.call import Options
from harness.protocol.seamcalls import held_by, seamcalls, write_call
from harness.protocol.releases import FIELDS, Release
from harness.protocol.sources import alike, in_release
from harness.reports.text import count, formatted, wrap
from kernels.ops import OP_TABLE, Fact, Op, Register as R

INITIALS = {"shared": "SH", "exclusive": "EX"}


def find_release(name: str, option: str) -> Release:
    """A release by name, or the one that a config or scenario (FILE.toml) names; raises UsageError."""
    try:
        return releases.find(_named_in(name, option) if name.endswith(".toml") else name)
    except releases.ReleaseError as problem:
        key = f"module.{problem.key} = {problem.value!r}: " if problem.key else ""
        raise UsageError(f"{option} {name}: {key}{problem.message}") from None


def _named_in(path: str, option: str) -> str:
    """The release of a file: a name, a table, or a list with one of them."""
    given = read_toml(path).get("module")
    if given is None:
        raise UsageError(f"{option} {path}: names no module; must have module = \"RELEASE\" or a table [module]")
    if isinstance(given, list) and len(given) == 1:
        [given] = given
    if not isinstance(given, str | dict):
        raise UsageError(f"{option} {path}: module = {given!r}: must be one release, or a table")
    return releases.spell(given) if isinstance(given, dict) else given


def head_of(release: Release) -> str:
    """A release in a few lines: where it was read, which others share its row, what was not read but derived."""
    lines = [wrap(f"module {release.name}: {release.source}")]
    if others := alike(release)[1:]:
        lines.append(wrap(f"    the same in all that is modelled: {', '.join(others)}"))
    if release.derived:
        lines.append(wrap(f"    not read in it, but derived: {', '.join(release.derived)}"))
    return "\n".join(lines)


def release_order(row, release: Release) -> list[str]:
    """The locks of a call in the order in which one that goes through gives them back."""
    taken = [lock.resource for lock in held_by(row, row.levels[0], release)]
    return [name for name in row.order if name in taken] if row.order else list(reversed(taken))


def find_resource(name: str) -> str:
    """A resource by its name here or in the lock report; raises UsageError."""
    known = contention.RESOURCES
    resource = contention.SYNONYMS.get(name.upper(), name.upper())
    if resource not in known:
        raise UsageError(f"--resource {name}: not a resource; known: {', '.join(known)}{nearest(name.upper(), known)}")
    return resource


# --- all calls -------------------------------------------------------------------------------

def lock_text(lock) -> str:
    return f"{lock.resource} {INITIALS[lock.mode]}"


def seamcall_report(name: str, style: str = "table", calls: list[str] = ()) -> str:
    """Calls of a release (none named: all): locks in the order of acquisition, source.  Raises UsageError."""
    release = find_release(name, "--module")
    rows = {row.name: row for row in seamcalls(release)}
    for call in calls:
        if call not in rows:
            raise UsageError(f"{call}: no such call in module {release.name}{nearest(call, rows)}; `seamcalls` lists all")
    chosen = [rows[call] for call in calls] or list(rows.values())
    if style != "table":
        return formatted([{"call": row.name, "leaf": row.leaf, "side": row.side,
                           "locks": "; ".join(map(lock_text, held_by(row, row.levels[0], release))),
                           "source": in_release(row.source, release)} for row in chosen], style)
    parts = [head_of(release), ""]
    for row in chosen:
        kind = "SEAMCALL" if row.side == "host" else "TDCALL"
        parts += [f"{row.name}  ({kind} leaf {row.leaf})",
                  wrap("    " + ", ".join(map(lock_text, held_by(row, row.levels[0], release)))),
                  wrap(f"    {in_release(row.source, release)}")]
    return "\n".join([*parts, "", "SH shared, EX exclusive; .2M, .1G: PAMT entries above a page.",
                      "`explain NAME` prints every step of a call."])


# --- what differs ----------------------------------------------------------------------------

def aspects(release: Release) -> dict[str, dict[str, str]]:
    """What each call of a release does, in words that can be compared: from its rows and its micro-ops."""
    layout = Layout(vcpus=1, actors=2, pages=512, record_words=0)
    options = Options(layout, owners=False, release=release)
    found = {}
    for row in seamcalls(release):
        listing = Listing()
        write_call(listing, row, options, row.levels[0])
        listing.row(Op.STOP)
        written = listing.program().listing[1:]
        locks = held_by(row, row.levels[0], release)
        about = {f"lock {lock.resource}": f"{lock.mode} ({lock.discipline})" for lock in locks}
        about["locks given back"] = ", ".join(release_order(row, release))
        about["entry written by"] = ", ".join(dict.fromkeys(
            OP_TABLE[each.op].replaces for each in written if each.base == R.ENTRY and OP_TABLE[each.op].replaces))
        for each in written:
            if each.op == Op.ANSWER:
                about[f"can answer {each.text}"] = "yes"
            elif Fact.CHECKS in OP_TABLE[each.op].facts and each.text:
                about[f"checks {each.text}"] = "yes"
        found[row.name] = {key: value for key, value in about.items() if value}
    return found


def difference_report(a: str, b: str, style: str = "table") -> str:
    """What changed between two releases, as a table.  Raises UsageError."""
    one, other = find_release(a, "--diff"), find_release(b, "--diff")
    before, after = aspects(one), aspects(other)
    changes: dict[tuple, list[str]] = {}
    for name in FIELDS:
        was, became = (_field(release, name) for release in (one, other))
        if was.removesuffix(DERIVED) != became.removesuffix(DERIVED):
            changes[f"field {name}", was, became] = ["(the release)"]
    for call in dict.fromkeys([*before, *after]):
        if call not in before or call not in after:
            changes.setdefault(("the call", "yes" if call in before else "-", "yes" if call in after else "-"),
                               []).append(call)
            continue
        for aspect in dict.fromkeys([*before[call], *after[call]]):
            was, became = before[call].get(aspect, "-"), after[call].get(aspect, "-")
            if was != became:
                changes.setdefault((aspect, was, became), []).append(call)
    if style != "table":
        return formatted([{"call": call, "what": what, a: was, b: became}
                          for (what, was, became), calls in changes.items() for call in calls], style)
    rows = [(what, was, became, "\n".join(calls)) for (what, was, became), calls in changes.items()]
    head = f"{head_of(one)}\n{head_of(other)}\n"
    if not rows:
        return head + "no row differs"
    return head + "\n" + tabulate(rows, headers=("what", "was", "became", "calls"), tablefmt="simple",
                                  maxcolwidths=[26, 21, 21, 26])


DERIVED = " (derived)"


def _field(release: Release, name: str) -> str:
    """What a field of a release is, and whether that was read or derived."""
    value = getattr(release, name)
    text = f"{value:#x}" if name == "access" else str(value).lower() if isinstance(value, bool) else str(value)
    return text + DERIVED * (name in release.derived)


# --- who contends with whom ------------------------------------------------------------------

def contention_report(name: str, resource: str | None = None, under_kvm: bool = False, style: str = "table") -> str:
    """The contention matrix of a release.  Raises UsageError."""
    release = find_release(name, "--module")
    only = find_resource(resource) if resource else None
    found = contention.conflicts(release, only, under_kvm)
    if style == "json":
        return formatted([{"a": each.a, "b": each.b, "resource": each.resource, "a_mode": each.a_mode,
                           "b_mode": each.b_mode} for each in found], style)
    rows = [{"a": each.a, "b": each.b, "resource": each.resource, "a mode": each.a_mode, "b mode": each.b_mode,
             "a BUSY on": each.a_operand, "b BUSY on": each.b_operand} for each in found]
    if style != "table":
        return formatted(rows, style)
    head = f"module {release.name}: {len(found)} ways in which two calls can make each other TDX_OPERAND_BUSY"
    head += ",\nafter what KVM 6.16's own locks exclude" if under_kvm else ""
    body = formatted([row | {"a mode": INITIALS[row["a mode"]], "b mode": INITIALS[row["b mode"]]} for row in rows],
                     style) if only or under_kvm else _by_resource(release)
    conclusions = [] if only else [_conclusion_lines(release), *_disagreement_lines(release)]
    return "\n\n".join([head, body, *conclusions])


def _by_resource(release: Release) -> str:
    """The whole matrix in short: per resource, who takes it how, and what a lost try says."""
    parts = []
    for resource in contention.RESOURCES:
        users: dict[str, list[str]] = {"exclusive": [], "shared": []}
        for call, uses in contention.uses(release).items():
            for use in uses:
                if use.resource == resource:
                    users[use.mode].append(f"{call}|{use.operand}")
        if users["exclusive"]:
            found = contention.pairs(contention.conflicts(release, resource), resource)
            parts += [f"{resource}, {count(len(found), 'pair')}",
                      wrap("exclusive: " + ", ".join(users["exclusive"])),
                      wrap("shared: " + (", ".join(users["shared"]) or "no call"))]
    return "\n".join([*parts, wrap("Each exclusive user contends with every other; behind the bar stands the operand"
                                   " of its BUSY. --resource NAME lists pairs.")])


def _conclusion_lines(release: Release) -> str:
    lines = ["The lock report's conclusions for a running TD under KVM, as the rows have them:"]
    for each in contention.conclusions(release):
        pairs = ", ".join(f"{a} / {b}" for a, b in each.pairs)
        lines.append(wrap(f"({each.number}) {each.resource}: {each.text} - {'as found' if each.holds else 'NOT as found'}"
                          + (f": {pairs}" if pairs else "")))
    return "\n".join(lines)


def _disagreement_lines(release: Release) -> list[str]:
    found = contention.disagreements(release)
    if not found:
        return []
    lines = ["Where the source says otherwise than the report's table:"]
    for each in found:
        what = "in the report only" if each.in_report else "in the source only"
        shown = ", ".join(f"{a} / {b}" for a, b in each.pairs[:4]) + (", ..." if len(each.pairs) > 4 else "")
        lines.append(wrap(f"{each.resource}, {count(len(each.pairs), 'pair')} {what}: {each.reason} ({shown})"))
    return ["\n".join(lines)]
