"""What people have in their hands, read: numbers, names and log lines -> answers.

    0x8000020000000092   0X8000_0200_0000_0092ULL   8000020000000092   -9223369837831520110
    TDX_OPERAND_BUSY|SEPT_TREE   (TDX_OPERAND_BUSY | TDX_OPERAND_ID_SEPT)   tdx_operand_busy + 0x92
    EXIT_REASON_EPT_VIOLATION   EBUSY   -16   TDVMCALL_STATUS_RETRY
    SEAMCALL TDH_MEM_PAGE_AUG failed: 0x8000020000000001, rcx 0x0, rdx 0x0
    virt/tdx: SEAMCALL (0x0000000000000021) failed: 0xc000050000000000
    TDH_VP_RD[VMCS.0x1234] failed 0x8000070100000000
    TDX_OPERAND_BUSY (SEPT_TREE)   80000200:00000092   8000020000000092h   exit reason 48   ret = -5
    Device or resource busy   KVM_TDX_INIT_MEM_REGION failed: Input/output error

A number of 16 digits is hexadecimal, always: a status has 19 or 20 digits in decimal, and 8000020000000092
has no letter to go by.  A small negative number is an errno.

Sources of the kernel's forms: arch/x86/kvm/vmx/tdx.c (pr_tdx_error of 6.16, TDX_BUG_ON of 6.19,
tdh_vp_rd_failed, tdx_handle_exit), arch/x86/virt/vmx/tdx/tdx.c (seamcall_err, seamcall_err_ret),
arch/x86/kvm/vmx/tdx_errno.h (TDX_OPERAND_ID_*), arch/x86/include/asm/shared/tdx.h (TDVMCALL_STATUS_*).
"""

import difflib
import errno
import os
import re
from typing import NamedTuple

from harness.errors import UsageError, nearest
from harness.protocol.leaves import GUEST, HOST, VARIABLES, Leaf, by_name, by_number, names
from harness.protocol.seamcall_abi import EXIT_REASONS, without_hint
from harness.protocol.statuses import OP_STATES, VCPU_STATES
from kernels.statuses import UNINITIALIZED
from kernels.words import (
    NAME_OF_STATUS, OPERAND_ID, OPERANDS, SOFTWARE_ERRORS, STATUS_CLASS, STATUSES, TDX_FATAL, known_class, unsigned,
)

ERRNOS = {name: number for number, name in errno.errorcode.items()} | {"EOPNOTSUPP": errno.EOPNOTSUPP}
# What perror and QEMU print of an errno, in small letters.
ERRNO_TEXTS = {os.strerror(number).lower(): number for number in errno.errorcode}
REASONS = {f"EXIT_REASON_{name}": reason for reason, name in EXIT_REASONS.items()}
# R10 of TDG.VP.VMCALL: what the host answers a guest, which is no answer of the module.
HYPERCALL = {
    "TDVMCALL_STATUS_RETRY": 0x1, "TDVMCALL_STATUS_INVALID_OPERAND": 0x8000_0000_0000_0000,
    "TDVMCALL_STATUS_GPA_INUSE": 0x8000_0000_0000_0001, "TDVMCALL_STATUS_ALIGN_ERROR": 0x8000_0000_0000_0002,
    "TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED": 0x8000_0000_0000_0003,
}
KNOWN = {**STATUSES, **SOFTWARE_ERRORS, **REASONS, **HYPERCALL, "UNINITIALIZE_ERROR": UNINITIALIZED}
OPERAND_NAMES = {**OPERANDS, "SEPT": OPERANDS["SEPT_TREE"]}         # the kernel's TDX_OPERAND_ID_SEPT
STATES = {name: number for number, name in (*VCPU_STATES.items(), *enumerate(OP_STATES))}
# Words that a report puts before what is in the low half.
LABELS = r"(?:level|exit[\s_]+reason|op_state|vcpu\s+state|msr|cpuid\s+leaf|operand(?:[\s_]+id)?|vmcs\s+field)[\s:=]+"
LAST_ERRNO = 4095                # MAX_ERRNO
LONGEST = 72                     # of a text that is shown or looked up


class Asked(NamedTuple):
    """One answer that is asked about.

    given       the text it was found in
    word        RAX, or None for an errno
    errno       a positive errno, or 0
    leaf        the call that gave it, if the text says so
    registers   other registers that the text gives, by name
    notes       how the text was read, where that could surprise
    """

    given: str
    word: int | None
    errno: int = 0
    leaf: Leaf | None = None
    registers: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()


def shown(text: str) -> str:
    """A text as it may be printed: control characters, and all that is not ASCII, as escapes; not too long."""
    text = text if len(text) <= LONGEST else text[:LONGEST] + "..."
    return text.encode("unicode_escape").decode("ascii").replace("\\\\", "\\")


def _nearest(word: str, known) -> str:
    return nearest(word.upper(), known) if len(word) <= LONGEST else ""


# --- one number ----------------------------------------------------------------------------------

_SEPARATORS = re.compile(r"(?<=[0-9a-fA-FxX])[_'`](?=[0-9a-fA-F])")
_SUFFIX = re.compile(r"(?i)(?<=[0-9a-f])(?:ull|llu|ul|lu|ll|[us]64|u|l)$")
_ASSEMBLER = re.compile(r"(?:(?:0[xX])?([0-9a-fA-F]{1,16})[hH]|[xX]([0-9a-fA-F]{16}))$")       # 92h; x8000020000000092
_PREFIXED = re.compile(r"[+-]?0[xX][0-9a-fA-F]+$")
_DECIMAL = re.compile(r"[+-]?[0-9]+$", re.ASCII)
_BARE = re.compile(r"[0-9a-fA-F]+$")


def number(text: str) -> tuple[int | None, int] | None:
    """(word, 0) or (None, errno) of a text that is a number and nothing else; None if it is none.

    Raises UsageError, without the text, for a number that cannot be an answer.
    """
    digits = _SUFFIX.sub("", _SEPARATORS.sub("", text))
    if assembler := _ASSEMBLER.match(digits):
        return int(assembler[1] or assembler[2], 16), 0
    if _PREFIXED.match(digits):
        return _signed(int(digits, 16) if len(digits) <= 40 else 1 << 64)
    if len(digits) == 16 and _BARE.match(digits):
        return int(digits, 16), 0
    if digits[:1] in "+-" and _BARE.match(digits[1:]) and len(digits) == 17:
        raise UsageError("16 digits are hexadecimal, which has no sign")
    if _DECIMAL.match(digits):
        return _signed(int(digits) if len(digits) <= 32 else 1 << 64)
    # A status without its leading zeros: b0700000001.
    if 9 <= len(digits) <= 15 and _BARE.match(digits):
        return int(digits, 16), 0
    return None


def _signed(value: int) -> tuple[int | None, int]:
    if -LAST_ERRNO <= value < 0:
        return None, -value
    if not -(1 << 63) <= value < 1 << 64:
        raise UsageError("must be at least -2**63 and less than 2**64")
    return unsigned(value), 0


# --- one name ------------------------------------------------------------------------------------

def _status_named(name: str) -> int | None:
    """The word of a status, an exit reason or a TDVMCALL's status, with or without its prefix."""
    for prefix in ("", "TDX_", "EXIT_REASON_", "TDVMCALL_STATUS_"):
        if prefix + name in KNOWN:
            return KNOWN[prefix + name]
    return None


def _low_half(text: str) -> int:
    """An operand by name or number, or any other low half as a report spells it.  Raises UsageError."""
    bare = re.sub(rf"(?i)^{LABELS}", "", text.strip(" ()"))
    name = bare.upper().removeprefix("TDX_").removeprefix("OPERAND_ID_")
    reason = REASONS.get("EXIT_REASON_" + name.removeprefix("EXIT_REASON_"))
    if reason is not None and name not in OPERAND_NAMES and name not in STATES:
        return reason
    if name in OPERAND_NAMES or name in STATES:
        return OPERAND_NAMES.get(name, STATES.get(name))
    try:
        value = int(_SUFFIX.sub("", bare) if bare[:2].lower() != "0x" else re.sub(r"(?i)[ul]+$", "", bare), 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 32 or not bare.isascii():
        raise UsageError(f"{shown(text.strip())!r} is no operand; must be a name such as RCX or SEPT_TREE, or a"
                         f" number of 32 bits{_nearest(name, OPERAND_NAMES)}")
    return value


def one(text: str) -> Asked | None:
    """A text that is one answer and nothing else; None if it is not.  Raises UsageError."""
    bare = _joined(_undressed(text))
    plain = number(bare)
    if plain:
        notes = ("read as hexadecimal: it has 16 digits",) if bare.isdecimal() and len(bare) == 16 else ()
        return Asked(text, *plain, notes=notes)
    name = bare.upper()
    if name.lstrip("-") in ERRNOS:
        return Asked(text, None, ERRNOS[name.lstrip("-")])
    if reason := re.fullmatch(r"(?i)exit[\s_]+reason[\s:=]+(\w+)", bare):
        return Asked(text, _low_half(reason[1]))
    if text_of := ERRNO_TEXTS.get(re.sub(r"\s+", " ", bare).lower()):
        return Asked(text, None, text_of)
    first, *rest = re.split(r"\|{1,2}|\+", bare)
    first, rest = first.strip(), [part.strip() for part in rest]
    plain = number(first) if rest else None
    word = plain[0] if plain else _status_named(re.sub(r"[\s-]+", "_", first.upper()))
    if word is None or plain and not rest:
        return None
    for part in rest:
        if first.upper() in SOFTWARE_ERRORS:
            raise UsageError(f"{first.upper()} takes no operand")
        if re.fullmatch(r"(?i)fatal|bit\s*61|bit(?:_ull)?\(61\)?|\(?1(?:ull?)?\s*<<\s*61\)?", part):
            word |= TDX_FATAL
        else:
            word |= _low_half(part)
    return Asked(text, word)


# A status and, not joined by |, what is in its low half: by name, or a number that is said to be it or is in brackets.
# A register's name with a value behind it is a register.
_STATUS = "|".join(sorted((name.removeprefix("TDX_") for name in STATUSES), key=len, reverse=True))
_LOOSE = re.compile(
    rf"(?<![A-Z0-9_])(?P<status>(?:TDX_)?(?:{_STATUS}))\b"
    r"(?:\s*(?P<mark>[,:(\[/&-]|\b(?:with|on|for)\b)\s*|\s+)(?:with\s+|on\s+)?"
    rf"(?P<low>(?P<label>{LABELS})?[\[(]?\s*(?:TDX_)?(?:OPERAND_ID_)?(?P<name>\w+))\b(?:\s*[\])])?"
    r"(?![\s:=,]*(?:0x[0-9a-f_]+|[0-9a-f]{16})\b)", re.IGNORECASE)


def _joined(text: str) -> str:
    """The text with | between a status and its operand, and with two or four parts of one number as one."""
    halves = re.fullmatch(r"(?i)(0x)?([0-9a-f]{8})[\s:]+(?:0x)?([0-9a-f]{8})", text)
    if halves and _is_answer(int(halves[2] + halves[3], 16)):
        return f"0x{halves[2]}{halves[3]}"
    if re.fullmatch(r"(?i)(?:[0-9a-f]{4}\s+){3}[0-9a-f]{4}", text) and _is_answer(int("".join(text.split()), 16)):
        return "0x" + "".join(text.split())

    def join(match) -> str:
        name = match["name"].upper()
        bracketed = match["mark"] in ("(", "[") and re.fullmatch(r"0X[0-9A-F]{1,8}", name)
        known = name in OPERAND_NAMES or match["label"] and re.fullmatch(r"0X[0-9A-F]{1,8}|[0-9]{1,4}", name) or bracketed
        return f"{match['status']}|{match['name']}" if known else match[0]
    return _LOOSE.sub(join, text) if len(text) <= 1000 else text


def _undressed(text: str) -> str:
    """Without blanks, brackets, quotes and punctuation around it."""
    return re.sub(r"^[^\w+-]+|[^\w|+]+$", "", text, flags=re.ASCII)


# --- a line --------------------------------------------------------------------------------------

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_HEX = r"(?:0[xX][0-9a-fA-F_]+|[0-9a-fA-F]{16})\b"
# A name, and behind it what KVM prints of a field and what was written to it.
_CALL = re.compile(r"(?<![A-Za-z0-9])(TD[HG][_.]?[A-Z][A-Z_.]*[A-Z])(?![A-Za-z0-9])(\[[^\]]*\](?:=[^ ]*)?)?",
                   re.IGNORECASE)
_LEAF = re.compile(rf"(?<![A-Za-z0-9])_*(SEAMCALL|TDCALL)(?:_saved)?(?:_ret)?\b\s*(?:leaf\s*)?[\[(#]?\s*(?:leaf\s*)?({_HEX}|\d{{1,3}}\b)\s*[\])]?",
                   re.IGNORECASE)
_LEAF_SAID = re.compile(rf"\bleaf[\s:=#]+({_HEX}|\d{{1,3}}\b)", re.IGNORECASE)
_ENTER = re.compile(r"\bvp_enter_ret\b")
_REGISTER = re.compile(rf"\b(r[abcd]x|r[sd]i|rbp|r0?[89]|r1[0-5]|entry|level_state)\b[\s:=,]*({_HEX})", re.IGNORECASE)
_AFTER = re.compile(r"\b(?:failed(?:\s+with)?|returned|returns|ret|err|error|status|rc|result|vp_enter_ret)\b[\s:=(]*"
                    r"([-+]?[0-9a-zA-Z_]+(?:\s*\|\s*[0-9A-Za-z_]+)*)", re.IGNORECASE)
_WORD = re.compile(r"[-+]?[0-9A-Za-z_]+(?:\s*[|]\s*[0-9A-Za-z_]+)*")


LOADER = "bit 63 of the leaf is set: a call of the P-SEAMLDR, which loads the module and has statuses of its own"


def line(text: str) -> list[Asked]:
    """The answers in a line of a log, with the call and the registers that it gives; none if there is none."""
    bare = _joined(_COLOUR.sub("", text))
    left = bare
    def take(pattern):
        nonlocal left
        found = list(pattern.finditer(left))
        for match in found:
            left = left[:match.start()] + " " * (match.end() - match.start()) + left[match.end():]
        return found
    leaf = next((known for match in _CALL.finditer(bare) if (known := by_name(match[1]))), None)
    take(_CALL)
    guest, notes = "TDCALL" in bare.upper(), tuple[str, ...]()
    numbers = [(match[1].upper() == "TDCALL", match[2]) for match in take(_LEAF)]
    if "SEAMCALL" in bare.upper() or guest:
        numbers += [(guest, match[1]) for match in take(_LEAF_SAID)]
    for of_guest, digits in numbers:
        value = int(digits, 10 if len(digits) <= 3 and digits.isdecimal() else 16)
        leaf = leaf or by_number(GUEST if of_guest else HOST, value)
        notes = (LOADER,) if value >> 63 and not of_guest else notes
    if leaf is None and _ENTER.search(bare):
        leaf = by_name("TDH.VP.ENTER")
    registers, rax = {}, []
    for match in take(_REGISTER):
        name = VARIABLES.get(match[1].lower(), match[1].upper().replace("R0", "R"))
        value = int(match[2].replace("_", ""), 16)
        if value < 1 << 64:
            if name == "RAX":
                rax.append(value)
            else:
                registers[name] = value
    words, errnos = dict.fromkeys(value for value in rax if leaf or _is_answer(value)), {}
    for match in _AFTER.finditer(left):
        asked = _try(match[1])
        if asked and asked.word is not None and (leaf or notes or _is_answer(asked.word)):
            words[asked.word] = None
        elif asked and asked.errno and leaf:
            errnos[asked.errno] = None
    plainly = set(rax)
    for match in _WORD.finditer(left):
        asked = _try(match[0])
        if asked and asked.word is not None and _is_answer(asked.word):
            words[asked.word] = None
            plainly |= {asked.word} if number(match[0]) else set()
    # `TDX_OPERAND_BUSY (0x8000020000000080)`: a name is no second answer beside a number that says more.
    words = {word: None for word in words if word in plainly or word & OPERAND_ID
             or not any(other & STATUS_CLASS == word for other in plainly)}
    values = tuple(registers.items())
    return [*(Asked(text, word, 0, leaf, values, notes) for word in words),
            *(Asked(text, None, number_of, leaf, values) for number_of in errnos if not words)]


def _try(text: str) -> Asked | None:
    try:
        return one(text)
    except UsageError:
        return None


def _is_answer(word: int) -> bool:
    """Whether a number in a log is an answer beyond doubt: its upper half is a status other than success."""
    upper, _ = known_class(without_hint(word)[0])
    return bool(upper) and (upper in NAME_OF_STATUS or upper == SOFTWARE_ERRORS["TDX_SEAMCALL_UD"] & STATUS_CLASS)


def registers_only(text: str) -> tuple[tuple[str, int], ...]:
    """The registers of a line that has nothing else, as seamcall_err_ret prints them behind its first line."""
    if line(text):
        return ()
    found = [(match[1].upper().replace("R0", "R"), int(match[2], 16)) for match in _REGISTER.finditer(text)]
    return tuple(found) if len(found) > 1 and all(value < 1 << 64 for _, value in found) else ()


# --- anything ------------------------------------------------------------------------------------

def read(text: str) -> list[Asked]:
    """The answers in a text: one, several with blanks or commas between, or a line of a log.

    Raises UsageError, one line, if there is none or one that cannot be read.
    """
    answers = found(text)
    if answers:
        return answers
    raise UsageError(f"decode {shown(text)}: {_why_not(text)}")


def found(text: str) -> list[Asked]:
    """The answers in a text as `read` finds them; none if there is none, without looking for what could be meant.

    Raises UsageError for one that cannot be read.
    """
    twice = re.fullmatch(rf"(?s)(.+?)\s*[(=\[]\s*({_HEX})\s*[)\]]?\s*", text)          # TDX_OPERAND_BUSY|RCX (0x...)
    if twice and all(both := [_try(twice[1]), _try(twice[2])]) and both[0].word == both[1].word:
        return both[:1]
    try:
        asked = one(text)
    except UsageError as mistake:
        raise UsageError(f"decode {shown(text)}: {mistake}") from None
    if asked:
        return [asked]
    parts = [part for part in re.split(r"[\s,;]+", text.strip()) if part]
    calls = [by_name(part) for part in parts]
    several = [_try(part) for part, call in zip(parts, calls) if not call]
    if several and all(several) and sum(map(bool, calls)) <= 1:
        return _once(each._replace(leaf=next(filter(None, calls), None)) for each in several)
    return [] if _misspelt(text) else _once(line(text) or _last_resort(text))


def _once(found) -> list[Asked]:
    """Without what is said twice: an answer by number and by name, an errno and its number in brackets."""
    found = list(found)
    errnos = {asked.errno for asked in found if asked.errno}
    kept = {(asked.word, asked.errno, asked.leaf): asked for asked in reversed(found) if asked.word not in errnos}
    return list(reversed(kept.values()))


_ERRNO = re.compile(r"(?:^|[\s=:(/])(-?E[A-Z0-9]{2,15}|-[0-9]{1,4})(?=$|[\s),.;:/])|\berrno[\s:=]+([0-9]{1,4})\b")
_REASON = re.compile(r"(?i)\bexit[\s_]+reason[\s:=]+(0x[0-9a-f]{1,8}|[0-9]{1,5})\b")
_UNKNOWN = re.compile(r"(?<![0-9A-Za-z_])(?:0[xX])?([4-9a-eA-E][0-9a-fA-F]{15})(?![0-9A-Za-z_])")


def _last_resort(text: str) -> list[Asked]:
    """What a line that was typed by hand says, where a log has too much like it: an errno; else an unknown status."""
    leaf = next((known for match in _CALL.finditer(text) if (known := by_name(match[1]))), None)
    said = ("-" + match[2] if match[2] else match[1] for match in _ERRNO.finditer(text))
    errnos = [asked for asked in map(_try, said) if asked and asked.errno > 1] or _errno_in_words(text)
    reasons = [Asked(text, _low_half(match[1])) for match in _REASON.finditer(text)]
    found = errnos or reasons or [Asked(text, int(match[1], 16)) for match in _UNKNOWN.finditer(text)]
    return [asked._replace(given=text, leaf=leaf) for asked in found]


def _errno_in_words(text: str) -> list[Asked]:
    """The errno that the end of a line says in words: `KVM_TDX_INIT_MEM_REGION failed: Input/output error`."""
    bare = _undressed(re.sub(r"\s+", " ", text)).lower()
    ends = [words for words in ERRNO_TEXTS if bare.endswith((" " + words, ":" + words))]
    return [Asked(text, None, ERRNO_TEXTS[max(ends, key=len)])] if ends else []


def _misspelt(text: str) -> str:
    """`; did you mean X?` of the first word that is nearly a status or a call, behind that word; or nothing."""
    for word in re.findall(r"\b(?:TDX|TDH|TDG)_[A-Za-z_]*[A-Za-z]", text[:1000], re.IGNORECASE):
        name = word.upper()
        if by_name(word) or _status_named(name) is not None or name.removeprefix("TDX_OPERAND_ID_") in OPERAND_NAMES:
            continue
        table = [*KNOWN] if name.startswith("TDX_") else [*names()]      # tdx_mem_page_aug is a function of KVM
        close = difflib.get_close_matches(name, table, 1, cutoff=0.85) if len(name) <= LONGEST else []
        if close:
            return f"{word} is neither a status nor a call; did you mean {close[0]}?"
    return ""


def _why_not(text: str) -> str:
    if wrong := _misspelt(text):
        return wrong
    if len([part for part in re.split(r"[\s,;]+", text) if part]) != 1:
        call = line(f"status 0x0; {text}")       # with a status, which call would it be?
        named = f"it names {call[0].leaf.name}, but " if call and call[0].leaf else ""
        return f"{named}no status in it; must be like 0x8000020000000092, TDX_OPERAND_BUSY|RCX, or a line of the kernel's log"
    bare = _undressed(text)
    operand = bare.upper().removeprefix("TDX_").removeprefix("OPERAND_ID_")
    if operand in OPERAND_NAMES:
        return f"an operand, not a status; write TDX_OPERAND_BUSY|{operand}"
    if by_name(bare):
        return f"a call, not a status; write both, as in '{by_name(bare).spelled} 0x8000020000000001'"
    if bare[:1].isdigit() or bare[:1] in ("+", "-"):
        return "not a number; must be like 0x8000020000000092"
    return f"neither a number, a status, an exit reason nor an errno{_nearest(bare, [*KNOWN, *ERRNOS])}"
