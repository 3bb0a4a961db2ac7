"""One answer of a SEAMCALL or a TDCALL, taken apart: what it is, who gives it, what KVM does with it.

`facts` puts everything into one document, as `decode --format json` prints it; explained.py puts that in
words.  Which call gives an answer and who may hold a lock is read off the rows of a release
(harness/protocol/answers.py); all else is tables.
"""

import os
import re

from harness.protocol import answers
from harness.protocol.leaves import GUEST, Leaf, by_name
from harness.protocol.releases import DEFAULT, READ, Release
from harness.protocol.errnos import GUEST_SITES, SITES, errno_name, errno_of, known_at
from harness.protocol.seamcall_abi import (
    BASIC, FIELDS, KVM_STATUSES, NO_REASON, decode_naive, decode_upstream, is_software_error, reason_name, status_class,
    without_hint,
)
from harness.protocol.spelling import HYPERCALL, Asked, shown
from harness.protocol.statuses import CLASSES, LOWS, MEANING, OPERAND, SPEAKS_SINCE, again
from harness.reports.registers import register_rows
from kernels import statuses as rows
from kernels.words import (
    LOW_HALF, NAME_OF_OPERAND, NAME_OF_SOFTWARE_ERROR, NAME_OF_STATUS, OPERAND_ID, STATUSES, TDX_ERROR, known_class,
    status_name,
)

ENTER = "TDH.VP.ENTER"
HANDLERS = {"nmi": "handled as an NMI or exception", "external_interrupt": "handled as an interrupt",
            "tdcall": "handled as a TDCALL", "other": "not handled as an NMI, interrupt or TDCALL"}
INTERNAL = ("TDX_OPERAND_BUSY_HOST_PRIORITY",)       # no call answers it, but for SEEN_ALL_THE_SAME
# tdg_servtd_rd_wr.c 1.5.25:131-142, 1.5.13 c4900; async_tdexit_cross_td: td_exit.c of 1.5.34, character 18200.
SEEN_ALL_THE_SAME = ("No SEAMCALL answers it, as no host is refused for host priority.  One way leads out: a service TD that was"
                     " refused the op_state of its target (up to 1.5.13 also its TDR).  Then it is in RDX of that service TD's exit"
                     " (TDX_CROSS_TD_TRAP), and in RAX of its TDG.SERVTD.RD or .WR once it is entered again.")
HINTED = ("Bit 60 is set besides: the host's hint to the guest, given as the TD was entered again after an exit that"
          " ended this TDCALL (TDX_HOST_PRIORITY_BUSY_TIMEOUT, TDX_CROSS_TD_TRAP).  Only a guest finds it, in RAX.")
SOFTWARE = {
    "TDX_SEAMCALL_UD": "SEAMCALL raised #UD: the processor is not in VMX operation",
    "TDX_SEAMCALL_GP": "SEAMCALL raised #GP: the BIOS did not enable TDX",
    "TDX_SEAMCALL_VMFAILINVALID": "SEAMCALL failed: no module is loaded, or it has been shut down",
}
OTHER_SOFTWARE = "SEAMCALL did not reach the module, for no reason that Linux 6.16 knows"

def facts(asked: Asked, release: Release | None = None, lines: int = 1) -> dict:
    """Everything about one answer.

    release   of the rows that are looked at; by default the first that has the status, DEFAULT if it can be
    lines     in how many places it was found
    """
    if asked.word is None:
        return _errno_facts(asked, lines)
    word, hinted = without_hint(asked.word)
    upper, fatal = known_class(word)
    row = _row(upper, release)
    kind = _kind(word, row, fatal)
    givers = answers.givers(word) if kind == "status" else []
    givers = [giver for giver in givers if not hinted or giver.leaf.side == GUEST]
    asked_release, release = release, release or _release_of(row, givers)
    locks = answers.holders(word, release, asked.leaf) if kind == "status" else []
    calls = [asked.leaf] if asked.leaf else [by_name(ENTER)] if kind == "exit" else \
        list(dict.fromkeys(giver.leaf for giver in givers))
    sides = {leaf.side for leaf in calls}
    helps, after = again(word, row.name if row else None)
    entered = not hinted and kind not in ("hypercall", "mark", "internal") and (not calls or any(leaf.name == ENTER for leaf in calls))
    return {
        "given": shown(asked.given), "lines": lines, "word": f"{asked.word:#018x}", "kind": kind,
        "name": _name(word, kind, row) + "|HINT" * hinted,
        "says": [*_says(word, kind, row, fatal), *[HINTED] * hinted], "notes": _notes(asked, row, sides),
        "call": _call(asked.leaf), "module": release.name,
        "low": _low(word, kind, row, release) if kind in ("status", "internal", "exit") else None,
        "releases": _releases(row, asked_release) if row and kind in ("status", "internal", "exit") else None,
        "again": {"helps": helps, "after": _after(after, locks)} if kind in ("status", "internal") else None,
        "registers": register_rows(asked.registers, asked.leaf, word),
        "given_by": [{"call": giver.name, "leaf": giver.leaf.number, "instruction": giver.leaf.instruction,
                      "releases": list(giver.releases)} for giver in givers],
        "operands": answers.operands(word, asked.leaf) if kind == "status" and not word & OPERAND_ID else [],
        "locks": [lock._asdict() for lock in locks],
        "kvm": _sites(word, calls, kind) if kind not in ("success", "hypercall", "mark", "internal") else [],
        "guest": _guest_sites([leaf for leaf in calls if leaf.side == GUEST]) if kind == "status" else [],
        "fields": {field.name.rstrip("_"): field.of(asked.word) for field in FIELDS},
        "entry": _decoded(word) if entered else None,
    }


def _row(upper: int, release: Release | None) -> rows.Status | None:
    """The row of a status in a release; where its name has changed the newest, unless the release is older."""
    found = [row for row in rows.STATUS_ROWS if row.word == upper]
    fitting = [row for row in found if release and rows.has(release.name, row)]
    return (fitting or found or [None])[-1]


def _kind(word: int, row: rows.Status | None, fatal: bool) -> str:
    """success, status, internal (a status that no call answers), exit (of a TD), software error,
    hypercall (R10 of a TDG.VP.VMCALL), mark, or unknown.
    """
    if word == rows.UNINITIALIZED:
        return "mark"
    if word == 0:
        return "success"
    if fatal and not word & TDX_ERROR:
        return "unknown"
    if word in HYPERCALL.values() and word >> 63:
        return "hypercall"
    if word in NAME_OF_SOFTWARE_ERROR or is_software_error(word) and row is None:
        return "software error"
    if (row and row.name == "TDX_SUCCESS" or status_class(word) in KVM_STATUSES.values()):
        return "exit"
    return "internal" if row and row.name in INTERNAL else "status" if row else "unknown"


def _release_of(row: rows.Status | None, givers: list[answers.Giver]) -> Release:
    """DEFAULT, or the first release in READ that has a status, and in which a row gives the answer if one does."""
    giving = {name for giver in givers for name in giver.releases}
    fitting = [release for release in (DEFAULT, *READ) if row is None or rows.has(release.name, row)]
    return next((release for release in fitting if not giving or release.name in giving), (*fitting, DEFAULT)[0])


def _name(word: int, kind: str, row: rows.Status | None) -> str:
    kvms = [name for name, value in KVM_STATUSES.items() if value == status_class(word)]
    if kvms:
        return f"{kvms[0]} to KVM (to the module {STATUSES[kvms[0]]:#x})"
    if kind == "exit":
        return f"TDX_SUCCESS, exit reason {word & BASIC} {reason_name(word & BASIC)}"
    if kind == "hypercall":
        return next(name for name, value in HYPERCALL.items() if value == word)
    if kind == "unknown" and known_class(word)[0] not in NAME_OF_STATUS:
        return "not a status of any release"
    if kind == "mark":
        return "UNINITIALIZE_ERROR"
    newest = NAME_OF_STATUS.get(row.word, "") if row else ""
    return status_name(word).replace(newest, row.name if row else "", 1) if newest else status_name(word)


def _says(word: int, kind: str, row: rows.Status | None, fatal: bool) -> list[str]:
    """What has happened, in sentences."""
    if kind == "success":
        return ["The call has gone through."]
    if kind == "mark":
        return ["What the module's return value starts with; no call ever returns it."]
    if kind == "hypercall":
        return ["What a host returns to a guest in R10 of TDG.VP.VMCALL; not an answer of the module."]
    if kind == "software error":
        text = SOFTWARE.get(NAME_OF_SOFTWARE_ERROR.get(word), OTHER_SOFTWARE)
        return [f"{text}.  The kernel's own status; the module never uses class 0xff."]
    if kind == "exit":
        return ["The TD has exited, as TDH.VP.ENTER says when the guest has run.",
                *["Bit 31 is set: the VM entry failed."] * (word >> 31 & 1)]
    if kind == "unknown":
        return _unknown(word)
    number = row.word >> 40 & 0xFF
    text = MEANING.get(row.name) or f"Of class {number:#04x}, {CLASSES[number]}; its name says what is known of it"
    lost = "Bit 61 is set besides: the import has failed for good, and the TD can only be torn down."
    return [f"{text}.", *[lost] * fatal]


def _unknown(word: int) -> list[str]:
    which, number = word >> 32 & 0xFFFF, word >> 40 & 0xFF
    upper, fatal = known_class(word)
    if fatal:
        return [f"{NAME_OF_STATUS[upper]} with bit 61 besides, which no release answers: only an error can be fatal."]
    like = [row for row in rows.STATUS_ROWS if row.word >> 32 & 0xFFFF == which and which]
    if like:
        return [f"Bits 47:32 are those of {like[-1].name}, which is {like[-1].word:#018x}: bits 63:48 differ."]
    subject = [f"Class {number:#04x} is {CLASSES[number]}."] if number in CLASSES else []
    return [f"No release up to {' and '.join(rows.LAST)} has it.", *subject]


def _notes(asked: Asked, row: rows.Status | None, sides: set[str]) -> list[str]:
    """What a person may have meant besides, and what else is to be known."""
    word, found = asked.word, list(asked.notes)
    if word >> 32 == 0 and (name := NAME_OF_STATUS.get(word << 32)) and word > BASIC:
        found.append(f"If it is only the upper half of an answer, as Linux prints it in a guest: {name}.")
    if re.fullmatch(r"[0-9]{8}", asked.given.strip()) and (name := NAME_OF_STATUS.get(int(asked.given, 16) << 32)):
        found.append(f"It was read as decimal; as hexadecimal, 0x{asked.given.strip()}, it is the upper half of {name}.")
    if asked.given.strip().isdecimal() and 0 < word < 4096 and (name := errno_name(-word)) != str(-word):
        found.append(f"If it is an errno: write -{word} or {name[1:]}.")
    if word == HYPERCALL["TDVMCALL_STATUS_RETRY"]:
        found.append("If it is R10 of TDG.VP.VMCALL: TDVMCALL_STATUS_RETRY.")
    if row and row.name in INTERNAL:
        found.append(SEEN_ALL_THE_SAME)
    if row and row.name == "TDX_OPERAND_BUSY" and GUEST in sides:
        found.append("A guest cannot tell an entry that is held from one that a host has priority for: it gets this"
                     " for both.")
    return found


def _call(leaf: Leaf | None) -> dict | None:
    return leaf and {"call": leaf.spelled, "instruction": leaf.instruction, "leaf": leaf.number}


def _low(word: int, kind: str, row: rows.Status | None, release: Release) -> dict:
    """Bits 31:0: what kind of thing they are, and what they say."""
    low, what = word & OPERAND_ID, LOW_HALF.get(row.word, rows.NOTHING) if row else rows.EXIT_REASON
    if what == rows.EXIT_REASON:
        text = f"VMX exit reason {low & BASIC}, {reason_name(low & BASIC)}" if word else ""
    elif what in (rows.NOTHING, rows.UNSEEN):
        text = "nothing is known to stand there" if low else ""
    elif what == rows.OPERAND:
        text = _operand(low, row)
    else:
        text = "; ".join(f"{part.says}: {part.spelled(part.of(low))}" for part in LOWS[what])
        since = SPEAKS_SINCE.get(what)
        if since and not low:
            text = f"0 in releases before {since}; from then on {text}"
    return {"value": f"{low:#x}", "kind": what, "says": text}


def _operand(low: int, row: rows.Status) -> str:
    name = NAME_OF_OPERAND.get(low)
    if not low:
        return "no operand, or RAX"
    if name is None:
        return f"operand {low:#x}, which no release has"
    known = next(each for each in rows.OPERAND_ROWS if each.id == low)
    since = operand_since(known)
    return f"operand {name}: {OPERAND[name]}" + (f" ({since})" if since else "")


def operand_since(row: rows.Operand) -> str:
    """`from 1.5.34 and 2.0.18`; nothing for an operand id of all releases."""
    return "" if row.since == rows.FIRST else "from " + " and ".join(name for name in row.since if name)


def releases_of(row: rows.Status) -> str:
    """`1.5.01 to 1.5.34, 2.0.08 to 2.0.18`"""
    return ", ".join(since if since == until else f"{since} to {until}"
                     for since, until in zip(row.since, row.until) if since)


def _releases(row: rows.Status, release: Release | None) -> str:
    """The releases that have a status, with what that means for the one that was asked about, and its other names."""
    missing = release and not rows.has(release.name, row)
    others = [f"as {other.name} {releases_of(other)}" for other in rows.STATUS_ROWS if other.word == row.word and other != row]
    return "; ".join([f"not {release.name}: {releases_of(row)}" if missing else releases_of(row), *others])


def _after(after: str, locks: list) -> str:
    locks = [lock for lock in locks if not lock.resource.startswith("PAMT")] or locks
    if locks and all(lock.in_guest and (not lock.under_kvm or "tdh_vp_enter" in lock.under_kvm) for lock in locks):
        return f"{after}; a vCPU that runs holds it until its TD exits: kick it"
    return after


def _sites(word: int, calls: list[Leaf], kind: str) -> list[dict]:
    """What becomes of an answer at each place of KVM and the kernel that may get it.

    Of an answer that no call is known to give, at the places that know it.
    """
    spelled = {leaf.name.replace(".", "_") for leaf in calls}
    found = []
    for name, site in SITES.items():
        value, known = errno_of(word, name), known_at(word, name)
        if calls and not spelled & set(site.calls) or not calls and not known:
            continue
        here = [call for call in site.calls if call in spelled] or site.calls
        found.append({
            "calls": [call.lower() for call in here], "at": site.text,
            "errno": errno_name(value) if site.returns else None, "bug": site.bugs and known is None,
            "also": known.then if known else site.then,
            "first": site.first if status_class(word) == STATUSES["TDX_OPERAND_BUSY"] else "", "source": site.source})
    return found


def _guest_sites(calls) -> list[dict]:
    """What Linux as a guest does, for the TDCALLs that it makes."""
    known = [(leaf, GUEST_SITES.get(leaf.name.replace(".", "_"))) for leaf in calls]
    return [{"call": leaf.spelled, "does": site[0], "source": site[1]} for leaf, site in known if site]


def _decoded(word: int) -> dict:
    """As the answer of TDH.VP.ENTER: what upstream makes of it, and what bits 15:0 alone would have."""
    upstream, naive = decode_upstream(word), decode_naive(word)
    none = upstream.reason == NO_REASON
    return {
        "reason": None if none else upstream.reason,
        "reason_name": None if none else reason_name(upstream.reason & BASIC),
        "outcome": upstream.outcome, "looks_nmi": upstream.looks_nmi,
        "rules": [{"source": rule.source, "condition": rule.condition, "outcome": outcome} for rule, outcome in zip(
            upstream.rules, ("none (-1)" if none else f"{upstream.reason:#x} {reason_name(upstream.reason & BASIC)}",
                             upstream.fastpath, upstream.outcome))],
        "naive": {"reason": naive.reason, "reason_name": reason_name(naive.reason), "does": HANDLERS[naive.handler],
                  "verdict": "spurious: no VM exit took place" if naive.spurious else
                             "the same as upstream" if naive.reason == upstream.reason else
                             "upstream sees no exit reason here" if none else "bits 31:16 are lost"},
    }


def _errno_facts(asked: Asked, lines: int) -> dict:
    """An errno: which answers end as that, at which place."""
    value = -asked.errno
    found = []
    for name, site in SITES.items():
        if not site.returns or asked.leaf and asked.leaf.name.replace(".", "_") not in site.calls:
            continue
        here = [known.status + " with any operand" * known.any_operand for known in site.errnos
                if known.errno == asked.errno]
        if value == errno_of(STATUSES["TDX_TD_FATAL"], name):                # which no site knows
            known = ", ".join(each.status for each in site.errnos)
            here.append("every error" + (f" but {known}" if known else ""))
        if here:
            found.append({"calls": [call.lower() for call in site.calls], "at": site.text, "answers": here,
                          "source": site.source})
    says = "The kernel returns it for these answers:" if found else "No answer of the module ends as that."
    return {"given": shown(asked.given), "lines": lines, "errno": errno_name(value), "number": value,
            "text": os.strerror(asked.errno), "kind": "errno",
            "says": [says], "notes": [], "call": _call(asked.leaf), "from": found}
