"""What is known of an answer (answer.py), for a person: the answer first, in 80 columns."""

import textwrap

from tabulate import tabulate

from harness.protocol.leaves import GUEST, HOST, INSTRUCTION
from harness.protocol.releases import EXCLUSIVE, LINES, READ, SHARED, spans
from harness.protocol.seamcall_abi import FIELDS
from harness.protocol.statuses import CLASSES
from harness.reports.text import formatted

KVM = "KVM 6.16"                 # the release that SITES is of
NARROW = 80                      # columns in which everything fits
INITIALS = {EXCLUSIVE: "EX", SHARED: "SH"}
NOT_IN_ROWS = "a call that is modelled has its locks and states there, not the form of its operands"


def explanation(document: dict, whole: bool = True) -> str:
    """A document of `facts` for a person, at most NARROW columns wide.

    whole   with its bits, and how it is decoded at entry
    """
    if document["kind"] == "errno":
        return "\n".join(_errno_lines(document))
    lines = textwrap.wrap(f"{document['word']}  {document['name']}", NARROW, subsequent_indent=" " * 20)
    if document["call"]:
        lines.append("  from {call}, {instruction} leaf {leaf}".format(**document["call"]))
    lines += paragraphs(document["says"], "  ")
    if document["again"]:
        lines += _item("try again", f"{document['again']['helps']}: {document['again']['after']}")
    if document["low"] and document["low"]["says"]:
        lines += _item("bits 31:0", f"{document['low']['value']}, {document['low']['says']}")
    for row in document["registers"]:
        lines += _item(row["register"], f"{row['value']}: {row['says']}")
    if document["lines"] > 1:
        lines += _item("found", f"in {document['lines']} lines")
    if document["releases"]:
        lines += _item("releases", document["releases"])
    lines += _giver_lines(document)
    lines += _lock_lines(document)
    lines += _kvm_lines(document)
    lines += [line for note in document["notes"] for line in _item("note", note)]
    if whole:
        lines += ["", *_field_lines(document)]
        if document["entry"]:
            lines += ["", *_entry_lines(document["entry"])]
    return "\n".join(lines)


def _giver_lines(document: dict) -> list[str]:
    if document["kind"] != "status":
        return []
    call, givers = document["call"], document["given_by"]
    some = _item("operands", f"given with {', '.join(document['operands'])}; name one to know more") if document["operands"] else []
    if call:
        known = any((each["instruction"], each["leaf"]) == (call["instruction"], call["leaf"]) for each in givers)
        return some if known else _item("given by", f"no row of {call['call']}: {NOT_IN_ROWS}")
    if not givers:
        return _item("given by", f"no row: {NOT_IN_ROWS}")
    all_names = [release.name for release in READ]
    lines = some
    for kind in (INSTRUCTION[HOST], INSTRUCTION[GUEST]):
        calls = [each["call"] + ("" if each["releases"] in ([], all_names) else f" ({_spanned(each['releases'])})")
                 for each in givers if each["instruction"] == kind]
        lines += _item(f"{kind}s", ", ".join(calls)) if calls else []
    return lines


def _spanned(names: list[str]) -> str:
    """`1.5.05 to 1.5.34, 2.0.08 to 2.0.18`"""
    return ", ".join(filter(None, (spans(names, each) for each in LINES)))


def _lock_lines(document: dict) -> list[str]:
    """Who may hold what was lost; of locks that KVM's own locks keep free, in short."""
    lines, locks = [], document["locks"]
    for lock in locks:
        kvm = ", ".join(lock["under_kvm"])
        if not kvm:
            continue
        if document["call"]:
            may, kept = ("; ".join(f"{INITIALS[mode]} {_listed(names)}" for mode in (EXCLUSIVE, SHARED)
                                   if (names := [name for name in lock[mode] if (name in lock["under_kvm"]) == occurs]))
                         for occurs in (True, False))
            others = f"; KVM's own locks keep out {kept}" if kept else ""
            lines += _item(lock["resource"], f"may be held by {may}{others}")
        else:
            lines += _item(lock["resource"], f"KVM's own locks leave {kvm} to contend for it")
    free = [lock["resource"] for lock in locks if not lock["under_kvm"]]
    if free:
        lines += _item("kept apart", f"{', '.join(free)}: KVM's own locks keep apart all calls that could hold it")
    return [*lines, *_item("rows of", f"module {document['module']}")] if locks else lines


def _listed(names) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{len(names)} calls"


def _kvm_lines(document: dict) -> list[str]:
    """What becomes of it: of a call that is known in full, else outcome by outcome."""
    lines = []
    outcomes: dict[str, list[str]] = {}
    for site in document["kvm"]:
        first = f"{site['first']}; then " if site["first"] else ""
        outcome = " and ".join(filter(None, [site["errno"], "KVM_BUG_ON" * site["bug"]])) or site["also"] or "0"
        outcome = first + outcome
        if document["call"]:
            also = f"; {site['also']}" if site["also"] not in ("", outcome) else ""
            lines += _item(KVM, f"{site['at']}: {outcome}{also} [{site['source']}]")
        else:
            outcomes.setdefault(outcome, []).extend(site["calls"])
    for outcome, calls in outcomes.items():
        lines += _item(KVM, f"{outcome}: {', '.join(calls)}")
    if document["kind"] in ("software error", "unknown") and not document["call"] or \
            document["kind"] == "status" and not document["call"] and not document["given_by"]:
        lines += _item(KVM, f"-EIO {'elsewhere' if lines else 'everywhere'}, with KVM_BUG_ON where no failure is"
                              " expected; name the call to know which")
    elif document["kind"] == "status" and not (lines or document["guest"] or document["entry"]):
        lines += _item(KVM, "Linux 6.16 does not make " + ("it" if document["call"] else "these calls"))
    for site in document["guest"]:
        behind = f" [{site['source']}]" if document["call"] else f": {site['call']}"
        lines += _item("Linux guest", site["does"] + behind)
    if document["entry"]:
        lines += _item(KVM, f"{document['entry']['outcome']}" + ("" if document["call"] else ": tdh_vp_enter"))
    return lines


def _field_lines(document: dict) -> list[str]:
    """The answer's bits as a table."""
    low = document["low"]["says"] if document["low"] else ""
    table = []
    for field in FIELDS:
        name, wide = field.name.rstrip("_"), field.high > field.low
        value = document["fields"][name]
        says = {"details_l2": low.split(": ")[0], "class": CLASSES.get(value, "no class of the module")}
        table.append((name, f"{field.high}:{field.low}" if wide else field.high, f"{value:#x}" if wide else value,
                      says.get(name, field.text if value else "")))
    return tabulate(table, headers=("field", "bits", "value", "says"), tablefmt="simple", disable_numparse=True,
                    colalign=("left", "right", "right", "left"), maxcolwidths=[None, None, None, 34]).splitlines()


def _entry_lines(entry: dict) -> list[str]:
    lines = ["as the answer of TDH.VP.ENTER, Linux 6.16"]
    for number, rule in enumerate(entry["rules"]):
        what = "exit reason " if number == 0 else ""
        lines += [f"  {rule['source']}: {rule['condition']}", f"    -> {what}{rule['outcome']}"]
    if entry["looks_nmi"]:
        lines.insert(3, "    -> the NMI handler looks at R9 too, as the reason is EXCEPTION_NMI")
    naive = entry["naive"]
    return [*lines, "", "naive, bits 15:0 alone", f"  {naive['reason']}: {naive['reason_name']}",
            *paragraphs([f"-> {naive['does']}; {naive['verdict']}"], "    ")]


def summary(documents: list[dict], style: str) -> str:
    """A row for each answer."""
    return formatted([{
        "answer": each.get("word", each.get("errno")), "name": each.get("name", each.get("text")),
        "call": each["call"]["call"] if each["call"] else "", "lines": each["lines"],
        "try again": each["again"]["helps"] if each.get("again") else ""} for each in documents], style)


def _errno_lines(document: dict) -> list[str]:
    lines = [f"{document['errno']} ({document['number']})  {document['text']}", *paragraphs(document["says"], "  ")]
    for place in document["from"]:
        calls, ends = ", ".join(place["calls"]), "; ".join(place["answers"])
        lines += _item(KVM, f"{place['at']} ({calls}): {ends} [{place['source']}]")
    return lines


def _item(label: str, text: str) -> list[str]:
    """A labelled paragraph."""
    return textwrap.wrap(text, NARROW, initial_indent=f"  {label:<12}", subsequent_indent=" " * 14,
                         break_long_words=True, break_on_hyphens=False) or [f"  {label}"]


def paragraphs(texts: list[str], indent: str) -> list[str]:
    """Texts one after the other, indented."""
    return [line for text in texts for line in textwrap.wrap(
        text, NARROW, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)]
