"""Mutants of THE TABLE: every row with one thing changed, made from the rows themselves, so of future ones too.

    a phrase left out, two phrases that follow each other the other way round
    a lock's mode, its operand, its page; a state, an op_state, a page type more, less or another
    a call's release order with two resources the other way round, or none of its own
"""

from typing import Iterator, NamedTuple

from harness.protocol.phrases import life, locking, pages
from harness.protocol.releases import BY_NAME, EXCLUSIVE, SHARED
from harness.protocol.seamcalls import Seamcall, seamcalls
from kernels.words import ENTRY_STATES
from tests.protocol.orders import ORDERS

# The calls with an order line: of the others the module's own results say what they do (tests/conformance).
HELD = {order.call.partition(",")[0] for order in ORDERS}

NAMES_OF_STATES = tuple(state.name for state in ENTRY_STATES)
OP_STATES, LIFECYCLES, PAGE_TYPES = (0, 1, 2, 3, 9), (0, 1, 2, 3), (0, 3, 4, 5, 6, 8)
OTHER_OPERAND = {"RCX": "RDX", "RDX": "RCX", "R8": "RCX", "TDR": "RCX", "SEPT_TREE": "RCX"}


class RowMutant(NamedTuple):
    """One changed row of a release."""

    release: str
    call: str
    what: str
    row: Seamcall

    @property
    def name(self) -> str:
        return f"rows {self.release} {self.call}: {self.what}"


def mutants(releases: tuple[str, ...]) -> Iterator[RowMutant]:
    for release in releases:
        for row in seamcalls(BY_NAME[release]):
            if row.name not in HELD:
                continue
            seen = {row}
            for what, changed in _of_row(row):
                if changed not in seen:
                    seen.add(changed)
                    yield RowMutant(release, row.name, what, changed)


def _of_row(row: Seamcall):
    phrases = row.phrases
    for place, phrase in enumerate(phrases):
        said = f"{place} {_said(phrase)}"
        yield f"without {said}", row._replace(phrases=phrases[:place] + phrases[place + 1:])
        if place + 1 < len(phrases):
            swapped = (*phrases[:place], phrases[place + 1], phrase, *phrases[place + 2:])
            yield f"{said} behind {_said(phrases[place + 1])}", row._replace(phrases=swapped)
        for what, changed in _of_phrase(phrase):
            yield f"{said}: {what}", row._replace(phrases=(*phrases[:place], changed, *phrases[place + 1:]))
    for place in range(len(row.order) - 1):
        first, second = row.order[place:place + 2]
        order = (*row.order[:place], second, first, *row.order[place + 2:])
        yield f"{first} given back after {second}", row._replace(order=order)
    if row.order:
        yield "given back in the reverse order", row._replace(order=())
    elif len(phrases) > 1:
        resources = [lock.resource for phrase in phrases if hasattr(phrase, "locks")
                     for lock in phrase.locks(row.levels[0], BY_NAME["1.5.05"])]
        yield "given back in the order taken", row._replace(order=tuple(dict.fromkeys(resources)))
    if row.keeps:
        yield "keeps nothing", row._replace(keeps=False)


def _said(phrase) -> str:
    """A phrase in a few words."""
    parts = [str(value) for value in phrase.values()][:2]
    return f"{type(phrase).__name__}({', '.join(part for part in parts if len(part) < 20)})"


def _of_phrase(phrase):
    values = dict(zip(phrase.fields, phrase.values()))
    for name, value in values.items():
        for other in _others(phrase, name, value):
            yield f"{name} = {_short(other, value)}", type(phrase)(**(values | {name: other}))


def _short(other, value) -> str:
    if isinstance(value, tuple) and isinstance(other, tuple) and not any(isinstance(each, tuple) for each in value):
        more, less = set(other) - set(value), set(value) - set(other)
        return " ".join([f"+{each}" for each in sorted(more, key=str)] + [f"-{each}" for each in sorted(less, key=str)])
    return str(other)


def _others(phrase, name: str, value):
    """Other values that a field of a phrase could have."""
    if isinstance(value, bool):
        return [not value]
    if name == "mode":
        return [EXCLUSIVE if value == SHARED else SHARED] + [None] * (value is not None and type(phrase) is locking.OpState)
    if name in ("operand", "not_tracked"):
        return [OTHER_OPERAND.get(value, "RCX")]
    if name == "page":
        return [other for other in (*locking.NAMED, "found") if other != value and _can_be(phrase, other)]
    if name == "page_type":
        return [other for other in PAGE_TYPES if other != value] if value is not None else [0]
    if name == "hpa":
        return [other for other in ("new", "copy", "none", "moved") if other != value]
    if name == "transitions":
        return _transitions(value)
    if name in ("wrong", "failure", "status", "blocked"):
        return ["TDX_SYS_BUSY"] if value else ["TDX_GPA_RANGE_ALREADY_BLOCKED"]
    if name == "resource":
        return []
    if name == "change":
        return [-value, value + 1]
    if name == "state" and isinstance(value, str):
        return [other for other in NAMES_OF_STATES if other != value][:4]
    if name == "state":
        return [value + 1, 7]
    if isinstance(value, tuple) and (not value or isinstance(value[0], str)):
        return _more_and_less(value, NAMES_OF_STATES)
    if isinstance(value, tuple):
        return _more_and_less(value, LIFECYCLES if isinstance(phrase, life.Lifecycle) else OP_STATES)
    return []                                            # a field of which nothing else is known: the micro-ops' mutants have it


def _can_be(phrase, page: str) -> bool:
    return {locking.Explicit: page in locking.NAMED, locking.Implicit: page in locking.FOUND,
            pages.PageBecomes: True}.get(type(phrase), False)


def _more_and_less(value: tuple, domain: tuple) -> list:
    return [tuple(each for each in value if each != one) if one in value else (*value, one) for one in domain]


def _transitions(value: tuple) -> list:
    found = []
    for place, (before, after) in enumerate(value):
        def put(*pair):
            return (*value[:place], *([pair] if pair else []), *value[place + 1:])
        found += [put(tuple(each for each in before if each != one), after) for one in before]
        other = {"FREE": "REMOVED", "MAPPED": "PENDING", "PENDING": "MAPPED", "NL_MAPPED": "NL_BLOCKED"}
        found.append(put(before, other.get(after, "MAPPED")))
        if len(value) > 1:
            found.append(put())
    return found


