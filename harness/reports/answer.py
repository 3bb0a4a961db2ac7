"""One answer of a SEAMCALL, taken apart for a person: fields, name, errno, and both decodings."""

from tabulate import tabulate

from harness.errors import UsageError, nearest
from harness.protocol.seamcall_abi import (
    BASIC, EXIT_REASONS, FIELDS, KVM_STATUSES, NO_REASON, SITES, decode_naive, decode_upstream, errno_name,
    errno_of, reason_name, status_class,
)
from kernels.words import OPERANDS, SOFTWARE_ERRORS, STATUSES, status, status_name

REASONS = {f"EXIT_REASON_{name}": reason for reason, name in EXIT_REASONS.items()}
HANDLERS = {"nmi": "handled as an NMI or exception", "external_interrupt": "handled as an interrupt",
            "tdcall": "handled as a TDCALL", "other": "not handled as an NMI, interrupt or TDCALL"}


def parse(text: str) -> int:
    """An answer from a number (any of Python's spellings) or a name with an operand.

    `0x8000020000000092`, `0x8000_0200_0000_0092`, `TDX_OPERAND_BUSY|SEPT_TREE`, `TDX_PAGE_SIZE_MISMATCH|1`.
    Raises UsageError.
    """
    if text[:1].isdigit() or text.startswith(("+", "-")):
        try:
            word = int(text, 0)
        except ValueError:
            raise UsageError(f"decode {text}: not a number; must be like 0x8000020000000092") from None
        if not 0 <= word < 1 << 64:
            raise UsageError(f"decode {text}: must be at least 0 and less than 2**64")
        return word
    if text in REASONS:
        return REASONS[text]
    name, bar, operand = text.partition("|")
    known = [*STATUSES, *SOFTWARE_ERRORS, *REASONS]
    if name not in known:
        raise UsageError(f"decode {text}: neither a number, a status nor an exit reason"
                         f"{nearest(name, known)}")
    if not bar:
        return status(name)
    if name in SOFTWARE_ERRORS:
        raise UsageError(f"decode {text}: {name} takes no operand")
    if operand in OPERANDS:
        return status(name, operand)
    try:
        low = int(operand.removeprefix("level ").removeprefix("exit reason "), 0)
    except ValueError:
        low = -1
    if not 0 <= low < 1 << 32:
        raise UsageError(f"decode {text}: {operand!r} is no operand; must be one of {', '.join(OPERANDS)},"
                         f" or a number of 32 bits{nearest(operand, OPERANDS)}")
    return status(name, low)


def explanation(text: str) -> str:
    """Everything about one answer, at most 100 columns wide.  Raises UsageError."""
    word = parse(text)
    return "\n".join([f"{word:#018x}  {_name(word)}", "", _fields(word), "", _errnos(word), "",
                      *_decodings(word)])


def _name(word: int) -> str:
    kvms = [name for name, value in KVM_STATUSES.items() if value == status_class(word)]
    if kvms:
        return f"{kvms[0]} to KVM (to the module {STATUSES[kvms[0]]:#x})"
    if 0 < word < 1 << 32:
        return f"TDX_SUCCESS, exit reason {word & BASIC} {reason_name(word & BASIC)}"
    return status_name(word)


def _fields(word: int) -> str:
    rows = []
    for field in FIELDS:
        value = field.of(word)
        text = _details(word) if field.name == "details_l2" else field.text if value else ""
        bits = str(field.high) if field.high == field.low else f"{field.high}:{field.low}"
        rows.append((field.name.rstrip("_"), bits, f"{value:#x}" if field.high > field.low else value, text))
    return tabulate(rows, headers=("field", "bits", "value", "says"), tablefmt="simple",
                    disable_numparse=True, colalign=("left", "right", "right", "left"))


def _details(word: int) -> str:
    """What bits 31:0 say: an operand, a level, or an exit reason."""
    if word in SOFTWARE_ERRORS.values():
        return "trap number, or VMfailInvalid"
    detail = _name(word).partition("|")[2]
    if decode_upstream(word).reason != NO_REASON and word:
        return f"exit reason {reason_name(word & BASIC)}"
    return detail if " " in detail else f"operand {detail}" if detail else ""


def _errnos(word: int) -> str:
    rows = []
    for name, site in SITES.items():
        value = errno_of(word, name)
        bug = value and site.bugs and value not in {-known.errno for known in site.errnos}
        rows.append((site.text, errno_name(value) + (" and KVM_BUG_ON" if bug else ""), site.source))
    return tabulate(rows, headers=("errno, where", "is", "by"), tablefmt="simple", disable_numparse=True)


def _decodings(word: int) -> list[str]:
    upstream, naive = decode_upstream(word), decode_naive(word)
    reason = "none (-1)" if upstream.reason == NO_REASON else \
        f"{upstream.reason:#x} {reason_name(upstream.reason & BASIC)}"
    lines = ["as the answer of TDH.VP.ENTER, Linux 6.16"]
    for rule, outcome in zip(upstream.rules, (f"exit reason {reason}", upstream.fastpath, upstream.outcome)):
        lines += [f"  {rule.source}: {rule.condition}", f"    -> {outcome}"]
    if upstream.looks_nmi:
        lines.insert(3, "    -> the NMI handler looks at R9 too, as the reason is EXCEPTION_NMI")
    verdict = "spurious: no VM exit took place" if naive.spurious else \
        "the same as upstream" if naive.reason == upstream.reason else \
        "upstream sees no exit reason here" if upstream.reason == NO_REASON else "bits 31:16 are lost"
    return [*lines, "", "naive, bits 15:0 alone", f"  {naive.reason}: {reason_name(naive.reason)}",
            f"    -> {HANDLERS[naive.handler]}; {verdict}"]
