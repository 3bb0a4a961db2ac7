"""What the rows leave out on purpose, as far as it shows in these files: each with its reason.

A difference that one of these covers is counted, and named, but is none.  Each takes (line, words that differ by
name -> (theirs, here)) of a single call and says whether it covers that.

What the rows leave out and no file shows is not here: docs/limits.md has it (L2 VMs, non-blocking export, and lists of
TDH.IMPORT.MEM that bring some pages and take back others: tdh_import_mem and tdh_import_mem_cancel do one each).
"""

from typing import Callable, NamedTuple

from kernels.words import STATE, status
from tests.conformance.reading import Line, fields

# The builds that the files come from have 1.5.05's table of op_states up to 1.5.20, and 1.5.25's from then on.
OP_STATES = {"1.5.01": 11, "1.5.05": 11, "1.5.06": 11, "1.5.08": 11, "1.5.09": 11, "1.5.13": 11, "1.5.16": 11,
             "1.5.20": 11}
OP_STATES_LATER = 12
NOT_RECORDED = {"keys"}          # our words that no file has a name for
# What differs, of a call that dynamic_pamt.py does not make as the line has it.
OPERAND, TURNED_OFF = "operand", "dynamic_pamt"


# As calls.py spells what a difference is between.
SAME, FREE, NOT_IN_TEARDOWN = "as before", f"{STATE['FREE'].word():#x}", f"{status('TDX_LIFECYCLE_STATE_INCORRECT'):#x}"


class Abstraction(NamedTuple):
    name: str
    reason: str
    covers: Callable[[str, Line, dict], bool]


def _unsaid(words: dict, but: str = "") -> bool:
    """Whether the file says of none of the words, but one, that the call changed it."""
    return all(theirs == SAME for name, (theirs, _) in words.items() if name != but)


def _beyond(release: str, line: Line, words: dict) -> bool:
    op_state = int(fields(line, "before").get("op_state", "0"), 0)
    return op_state >= OP_STATES.get(release, OP_STATES_LATER)


def _unlinked(release: str, line: Line, words: dict) -> bool:
    if set(words) not in ({"children"}, {"entry0"}):
        return False
    [(_, here)] = words.values()
    promoted = line["call"] == "tdh_mem_page_promote" and line["status"] == "0x0"
    given_up = line["call"] == "tdh_mem_page_demote" and (line["status"], line["end"]) != ("0x0", "return")
    return promoted and here == FREE or given_up and here == SAME


def _operand(release: str, line: Line, words: dict) -> bool:
    return set(words) == {OPERAND}


def _turned_off(release: str, line: Line, words: dict) -> bool:
    return set(words) == {TURNED_OFF}


def _foreign_tdr(release: str, line: Line, words: dict) -> bool:
    """The module finds zeroes, and so answers one thing and changes nothing."""
    return (line["call"] == "tdh_phymem_page_reclaim" and fields(line, "before").get("data.4k.type") == "0x4"
            and line["status"] == NOT_IN_TEARDOWN and _unsaid(words, but="status"))


def _hkid(release: str, line: Line, words: dict) -> bool:
    return line["call"] == "tdh_mng_vpflushdone" and set(words) <= {"kot_state", "wb"} and _unsaid(words)


def _not_recorded(release: str, line: Line, words: dict) -> bool:
    return set(words) <= NOT_RECORDED


ABSTRACTIONS = (
    Abstraction("no such op_state", "the module reads past the end of a row of its table of op_states; no TD has one"
                " of these (1.5.34's START_EXPORT is beyond the table that the files were made with)", _beyond),
    Abstraction("an SEPT page that is in no tree", "the entries of a page that PROMOTE has taken out, or that a DEMOTE"
                " that gave up has not put in, are read by nobody: SEPT.ADD fills a page in the module, here it finds"
                " it FREE", _unlinked),
    Abstraction("a TDR of no TD", "a page of type TDR is the TD's own here, and its fields are"
                " looked at; in the files it is a page of zeroes", _foreign_tdr),
    Abstraction("the HKID's entry", "VPFLUSHDONE changes the HKID's entry in the key ownership table; the files do"
                " not say so (tdh_mng_vpflushdone.c does)", _hkid),
    Abstraction("what an address is like", "a caller's pages and ranges are chosen from those that are there: the rows"
                " begin behind the checks of alignment, HKID bits and TDMRs", _operand),
    Abstraction("Dynamic PAMT turned off", "a module that is not configured for Dynamic PAMT has no TD that was built"
                " with it", _turned_off),
    Abstraction("words without a name", "the files do not say which packages have the TD's key", _not_recorded),
)


def covering(release: str, line: Line, words: dict) -> str:
    """The name of the abstraction that covers a difference; nothing if none does."""
    return next((each.name for each in ABSTRACTIONS if each.covers(release, line, words)), "")
