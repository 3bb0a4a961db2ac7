"""The module's table as a person reads it: all calls of a release, what differs, who contends with whom."""

from typing import NamedTuple

from harness.errors import UsageError, meant, nearest
from harness.memory.layout import Layout
from harness.protocol import contention, shared_ranges
from harness.protocol.assemble import Listing
from harness.protocol.call import Options
from harness.protocol.dpamt import BY_NAME as DESIGNS
from harness.protocol.seamcalls import Seamcall, held_by, seamcalls, write_call
from harness.protocol.releases import FIELDS, RELEASES, Release
from harness.protocol.sources import alike, in_release, was_read, was_run
from harness.reports.named import find_release
from harness.reports.text import WIDTH, count, formatted, laid_out, width, wrap
from kernels.ops import OP_TABLE, Fact, Op, Register as R

INITIALS = {"shared": "SH", "exclusive": "EX"}


def head_of(release: Release) -> str:
    """A release in a few lines: where it was read, which others share its row, what was not read but derived."""
    lines = [wrap(f"module {release.name}: {release.source}")]
    if others := alike(release)[1:]:
        lines.append(wrap(f"    the same in all that is modelled: {', '.join(others)}"))
    if release.derived:
        lines.append(wrap(f"    not read in it, but derived: {', '.join(release.derived)}"))
    return "\n".join(lines)


def is_derived(row: Seamcall, release: Release) -> bool:
    """Whether a row is not known of a release itself: neither was it read there, nor its code run."""
    return not (release.report_only or was_read(row.source, release) or was_run(row.name, release))


def release_order(row, release: Release) -> list[str]:
    """The locks of a call in the order in which one that goes through gives them back."""
    taken = [lock.resource for lock in held_by(row, row.levels[0], release)]
    return [name for name in row.order if name in taken] if row.order else list(reversed(taken))


def find_resource(name: str) -> str:
    """A resource by its name here or in the lock report; raises UsageError."""
    known = contention.RESOURCES
    resource = contention.SYNONYMS.get(name.upper(), name.upper())
    if resource not in known:
        raise UsageError(f"--resource {name}: not a resource; {meant(name.upper(), known)}known: {', '.join(known)}")
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
                           "derived": is_derived(row, release),
                           "source": in_release(row.source, release, row.name)} for row in chosen], style)
    parts = [head_of(release), ""]
    for row in chosen:
        kind = "SEAMCALL" if row.side == "host" else "TDCALL"
        parts += [f"{row.name}  ({kind} leaf {row.leaf})",
                  wrap("    " + ", ".join(map(lock_text, held_by(row, row.levels[0], release)))),
                  wrap(f"    {in_release(row.source, release, row.name)}")]
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
    return head + "\n" + laid_out(["what", "was", "became", "calls"], rows)


DERIVED = " (derived)"


def _field(release: Release, name: str) -> str:
    """What a field of a release is, and whether that was read or derived."""
    value = getattr(release, name)
    text = f"{value:#x}" if name == "access" else str(value).lower() if isinstance(value, bool) else str(value)
    return text + DERIVED * (name in release.derived)


# --- who contends with whom ------------------------------------------------------------------

def contention_report(name: str, resource: str | None = None, under_kvm: bool = False, style: str = "table",
                      every_pair: bool = False) -> str:
    """The contention matrix of a release: per resource, or `every_pair` in a line.  Raises UsageError."""
    release = find_release(name, "--module")
    only = find_resource(resource) if resource else None
    found, apart = (contention.conflicts(release, only, under_kvm, apart=each) for each in (False, True))
    head = f"module {release.name}: {len(found)} ways in which two calls can make each other TDX_OPERAND_BUSY"
    head += ",\nafter what KVM 6.16's own locks exclude" if under_kvm else ""
    rows = seamcalls(release)
    if derived := [row.name for row in rows if is_derived(row, release)]:
        head += "\n" + wrap(f"{len(derived)} of its {len(rows)} calls are derived, neither read in {alike(release)[0]} itself nor run:"
                            " `seamcalls` says which")
    short = not (only or under_kvm)
    conclusions = [] if only or style != "table" else [_conclusion_lines(release), *_disagreement_lines(release)]
    return _conflict_report(found, apart, head, style, every_pair, short, conclusions)


def ranges_report(name: str, design: str, placement: str, style: str = "table", every_pair: bool = False) -> str:
    """What a design of Dynamic PAMT leaves of contention for ranges.  Raises UsageError."""
    release = find_release(name, "--module")
    if design not in DESIGNS:
        raise UsageError(f"--dpamt {design}: no such design; {meant(design, DESIGNS)}known: {', '.join(DESIGNS)}")
    if not release.dynamic_pamt:
        have = ", ".join(row.name for row in RELEASES if row.dynamic_pamt)
        raise UsageError(f"--module {name}: has no Dynamic PAMT; releases that have it: {have}")
    found = shared_ranges.conflicts(release, DESIGNS[design], placement)
    head = wrap(f"module {release.name}, {design}, pages {placement}: {len(found)} ways in which two calls can make each other"
                " TDX_OPERAND_BUSY on the PAMT 2M entry of a range, also of two TDs; on the PAMT 1G entry none")
    return _conflict_report(found, [], head, style, every_pair, short=False)


def _conflict_report(found: list, apart: list, head: str, style: str, every_pair: bool, short: bool, conclusions=()) -> str:
    if style == "json":
        return formatted([{"a": each.a, "b": each.b, "resource": each.resource, "a_mode": each.a_mode,
                           "b_mode": each.b_mode} for each in found], style)
    table = style == "table"
    rows = [{"a": each.a, "b": each.b, "resource": each.resource, "a mode": INITIALS[each.a_mode] if table else each.a_mode,
             "b mode": INITIALS[each.b_mode] if table else each.b_mode, "a BUSY on": each.a_operand, "b BUSY on": each.b_operand}
            for each in found]
    if not table:
        return formatted(rows, style)
    if not found and (every_pair or not apart):
        return "\n\n".join([head, *conclusions])
    if every_pair:
        body = formatted(rows, style, words=tuple(range(7)))
    elif short:
        body = "\n".join([formatted(_counts(found, apart), style, words=(0, -1)), "", wrap(COUNTS_LEGEND)])
    else:
        body = "\n".join([*_by_resource(found), *_apart_lines(found, apart), "", wrap(LEGEND)])
    return "\n\n".join([head, body, *conclusions])


LEGEND = ("EX exclusive, SH shared; behind a bar: the operand that its BUSY names, where that differs from call to call."
          " --pairs lists every pair.")
COUNTS_LEGEND = ("pairs: of calls that can make each other BUSY; kept apart: pairs that take it too, but never meet there, as a"
                 " lock above it (TDR, OP_STATE, SEPT_TREE) excludes them; exclusive, shared: calls that take it so; BUSY on:"
                 " operands that a refused call names. --resource NAME names the calls, --pairs lists every pair.")


class _User(NamedTuple):
    """A call as it takes a resource."""

    call: str
    mode: str
    operand: str


def _sides(each) -> tuple[_User, _User]:
    return _User(each.a, each.a_mode, each.a_operand), _User(each.b, each.b_mode, each.b_operand)


def _counts(found: list, apart: list) -> list[dict]:
    """A row per resource."""
    rows = []
    for resource in dict.fromkeys(each.resource for each in (*found, *apart)):
        mine, never = ([each for each in some if each.resource == resource] for some in (found, apart))
        users = {user for each in mine + never for user in _sides(each)}
        rows.append({"resource": resource, "pairs": len(contention.pairs(mine, resource)),
                     "kept apart": len(contention.pairs(never, resource)),
                     **{mode: len({user.call for user in users if user.mode == mode}) for mode in ("exclusive", "shared")},
                     "BUSY on": ", ".join(sorted({user.operand for user in users}))})
    return rows


def _by_resource(found: list) -> list[str]:
    """The pairs in short: calls that have the same opponents stand together, and each pair once."""
    lines = []
    for resource in dict.fromkeys(each.resource for each in found):
        mine = [each for each in found if each.resource == resource]
        opponents: dict[_User, set[_User]] = {}
        for each in mine:
            one, other = _sides(each)
            opponents.setdefault(one, set()).add(other)
            opponents.setdefault(other, set()).add(one)
        operands = {user.operand for user in opponents}
        said = f", BUSY on {min(operands)}" if len(operands) == 1 else ""
        lines.append(f"{resource}, {count(len(contention.pairs(mine, resource)), 'pair')}{said}")
        while opponents:
            groups: dict[frozenset, list[_User]] = {}
            for user, others in opponents.items():
                groups.setdefault(frozenset(others), []).append(user)
            others, group = max(groups.items(), key=lambda item: (len(item[0]) * len(item[1]), item[1][0].mode == "exclusive", item[1]))
            against = _listed(others.difference(group), bool(said))
            among = ["itself" if len(group) == 1 else "themselves"] * others.issuperset(group)
            lines += [wrap(f"  {_listed(set(group), bool(said))}"),
                      wrap(f"    against {' and '.join([*among, *filter(None, [against])])}", min(WIDTH, width()) - 4).replace("\n    ", "\n        ")]
            for user in group:
                for other in opponents.pop(user):
                    opponents.get(other, set()).discard(user)
            opponents = {user: left for user, left in opponents.items() if left}
    return lines


def _apart_lines(found: list, apart: list) -> list[str]:
    """Of each resource, how many pairs take it and never meet there."""
    lines = []
    for resource in dict.fromkeys(each.resource for each in apart):
        never, any_other = contention.pairs(apart, resource), any(each.resource == resource for each in found)
        calls = sorted({call for pair in never for call in pair})
        pairs = count(len(never), "more pair") if any_other else f"{count(len(never), 'pair')} of {', '.join(calls)}"
        lines.append(wrap(f"{resource}: {pairs} never meet there: a lock above it"
                          f" ({', '.join(contention.ABOVE[resource])}) excludes them"))
    return lines


def _listed(users: set[_User], bare: bool) -> str:
    """`EX a, b; SH c`, or `EX a|RCX` where operands differ."""
    parts = []
    for mode, initials in sorted(INITIALS.items()):
        names = sorted(user.call if bare else f"{user.call}|{user.operand}" for user in users if user.mode == mode)
        parts += [f"{initials} {', '.join(names)}"] if names else []
    return "; ".join(parts)


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
