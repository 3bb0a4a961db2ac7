"""What differs between releases of the TDX module, as rows.

A call in calls/ is written once; where releases differ it asks the row of the release it is
written for.  `python -m harness seamcalls --diff 1.5.16 1.5.20` prints what that changes.

A row stands for all releases that behave the same in everything modelled here (`also`).  1.5.01 to 1.5.25 were
read as source (from 1.5.13 on in a public copy, murrowow/tdx-concurrency; much of 1.5.13 and 1.5.16 in a second one,
niooss-ledger/tdx-module, commits 57adbf11 and a3e3963d), 1.5.28, 1.5.34 and the 2.0 line
in the files that are stored of intel/tdx-module, commit by commit.  A field in `derived` was not read in that
release: it follows from an equal text, from its callers or from the other line; it is marked where it is printed.
`report-2024` is the table of the lock report taken literally, so that what the source says otherwise shows as a
difference.

To add a release: a row here; the tests run every table over all rows.

A release of one's own needs no row: a config or scenario may say `[module] base = "1.5.34"` and then any field of a
row (`epf_threshold = 12`).  It is called what it is, "1.5.34+epf_threshold=12", and goes by that name everywhere.
"""

import functools
import re
from typing import NamedTuple, Sequence

from harness.errors import meant
from kernels.words import EPF_LIST_SIZE, EPF_THRESHOLD, RWX, XU

SHARED, EXCLUSIVE = "shared", "exclusive"

# How the new word of an entry is written, and whether another actor's change of TDHP is lost by that.
STORE = "store"                          # one plain store: a TDHP that came since is lost
SWAP_STORE = "swap, store"               # compare-and-swap that keeps TDHP, and the plain store as well
SWAP = "swap"                            # compare-and-swap that keeps TDHP
CHECKED_SWAP = "checked swap"            # the same; it halts if more than TDHP has changed since the load

# In which order a guest tries a lock and looks for host priority.
SET_LOOK, LOOK_SET = "set, look", "look, set"            # of an entry
ADD_LOOK, LOOK_ADD = "add, look", "look, add"            # of a sharex_hp lock, shared

# What a long call looks for on its way, and then gives up.
NOTHING, INTERRUPT, PRIORITY = "nothing", "interrupt", "interrupt or priority"

# From where TDG.MEM.PAGE.ACCEPT knows whether the entry is a leaf.
WALK, ENTRY = "walk", "entry"

# The first lock that is dropped.
TDR, PAGE = "TDR", "page"

CHOICES = {
    "enter_tdvpr": (SHARED, EXCLUSIVE), "tree": ("sharex", "hp"), "filter_tree": (SHARED, EXCLUSIVE),
    "entry_write": (STORE, SWAP_STORE, SWAP, CHECKED_SWAP), "guest_entry": (SET_LOOK, LOOK_SET),
    "guest_shared": (ADD_LOOK, LOOK_ADD), "accept_leaf": (WALK, ENTRY), "promote_tree": (SHARED, EXCLUSIVE),
    "promote_gives_way": (NOTHING, INTERRUPT, PRIORITY), "demote_gives_way": (NOTHING, INTERRUPT, PRIORITY),
    "list_gives_way": (NOTHING, INTERRUPT, PRIORITY),
    "unblock_operand": ("RCX", "SEPT_TREE"), "init_apicid_tdr": (SHARED, EXCLUSIVE), "add_cx_drops_first": (TDR, PAGE),
    "rd_wr_drops_first": (TDR, "entry"),
}


class Release(NamedTuple):
    """A release; each field is read by the call or the phrase that it is about.

    also                 other releases that this row stands for
    derived              fields that were not read in this release's source
    enter_tdvpr          mode in which TDH.VP.ENTER holds the TDVPR
    tree                 kind of lock of the SEPT tree: "sharex", or "hp" (sharex_hp, host side only)
    filter_tree          mode in which the entry filter of TDH.VP.ENTER takes the tree
    filter_pending       whether a listed page that is PENDING refuses entry also while pending #VE is enabled
    epf_threshold        EPT violations at one RIP before GPAs are listed
    epf_list             GPAs that a vCPU's list has room for, at the most
    hp_lock_timeout_ms   how long a guest is refused for host priority before its TD exits, unless the TD says otherwise
    entry_write          how the new word of an SEPT entry is written: STORE, SWAP_STORE, SWAP, CHECKED_SWAP
    access               the access bits of an entry that maps something
    guest_entry          how a guest takes an entry: SET_LOOK, LOOK_SET
    guest_shared         how a guest takes a sharex_hp lock shared: ADD_LOOK, LOOK_ADD
    accept_leaf          from where TDG.MEM.PAGE.ACCEPT knows "is a leaf": WALK, ENTRY
    attr_wr_writes       whether TDG.MEM.PAGE.ATTR.WR writes the entry
    promote_tree         mode in which TDH.MEM.PAGE.PROMOTE takes the tree
    promote_children     whether it locks the 512 entries of the page that it merges
    promote_masks        whether it compares them without TDHP, A and D
    promote_gives_way    what makes it give up: NOTHING, INTERRUPT, PRIORITY (on the tree: TDX_INTERRUPTED_BUSY)
    demote_gives_way     the same of TDH.MEM.PAGE.DEMOTE
    list_gives_way       the same of calls about lists of pages (EXPORT.*, IMPORT.*), between two entries
    list_count_in_rax    whether such a call answers how many entries were wrong in RAX (later in R8)
    cancel_counts        whether a page that TDH.IMPORT.MEM takes back (CANCEL) is no longer counted, if there is no list to note it in
    servtd_tdr_exits     whether a service TD exits that is refused its target's TDR for host priority, as it does for its op_state
    removed_children     whether TDH.MEM.SEPT.REMOVE counts REMOVED entries as free
    unblock_operand      operand of TDH.MEM.RANGE.UNBLOCK's TDX_TLB_TRACKING_NOT_DONE
    init_apicid_tdr      mode in which TDH.VP.INIT version 1 (with an x2APIC id) takes the TDR
    add_cx_drops_first   which lock TDH.MNG.ADDCX drops first: TDR, PAGE
    rd_wr_drops_first    which lock TDH.MEM.RD and .WR drop first: TDR, "entry"
    vcpu_state_status    whether TDX_VCPU_STATE_INCORRECT carries the state
    op_state_status      whether TDX_OP_STATE_INCORRECT carries the op_state
    op_states            how many op_states there are
    lp_init_draws        whether TDH.SYS.LP.INIT draws a random number
    mr_key_get           whether there is TDG.MR.KEY.GET
    counters             whether pages and blocked pages of a TD are counted (mem_count, blocked_count, ...)
    dynamic_pamt         whether there is Dynamic PAMT
    connect              whether it is of the 2.0 line, with TDX Connect
    pamt_parents         whether pages named by address hold the PAMT 1G and 2M entries above them
    key_table            whether TDH.MNG.KEY.CONFIG contends for the hardware's key table
    report_only          whether only the calls of the lock report exist
    """

    name: str
    source: str
    also: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    enter_tdvpr: str = SHARED
    tree: str = "sharex"
    filter_tree: str = EXCLUSIVE
    filter_pending: bool = True
    epf_threshold: int = EPF_THRESHOLD
    epf_list: int = EPF_LIST_SIZE
    hp_lock_timeout_ms: int = 1000
    entry_write: str = STORE
    access: int = RWX
    guest_entry: str = SET_LOOK
    guest_shared: str = ADD_LOOK
    accept_leaf: str = WALK
    attr_wr_writes: bool = False
    promote_tree: str = SHARED
    promote_children: bool = True
    promote_masks: bool = False
    promote_gives_way: str = INTERRUPT
    demote_gives_way: str = INTERRUPT
    list_gives_way: str = INTERRUPT
    list_count_in_rax: bool = True
    cancel_counts: bool = False
    servtd_tdr_exits: bool = True
    removed_children: bool = False
    unblock_operand: str = "RCX"
    init_apicid_tdr: str = EXCLUSIVE
    add_cx_drops_first: str = TDR
    rd_wr_drops_first: str = TDR
    vcpu_state_status: bool = False
    op_state_status: bool = False
    op_states: int = 11
    lp_init_draws: bool = True
    mr_key_get: bool = False
    counters: bool = False
    dynamic_pamt: bool = False
    connect: bool = False
    pamt_parents: bool = True
    key_table: bool = True
    report_only: bool = False


_COPY = "one public copy (murrowow/tdx-concurrency)"
_STORED = "stored files of intel/tdx-module, commit {}"

_01 = Release("1.5.01", "intel/tdx-module, tag TDX_1.5.01", unblock_operand="SEPT_TREE", init_apicid_tdr=SHARED)
_05 = Release("1.5.05", "intel/tdx-module, branch tdx_1.5, release 1.5.05", also=("1.5.06", "1.5.08", "1.5.09"),
              derived=("servtd_tdr_exits",))
_13 = _05._replace(
    name="1.5.13", source=f"release 1.5.13, {_COPY}", also=(), derived=(), access=RWX | XU, add_cx_drops_first=PAGE,
    rd_wr_drops_first="entry")
_16 = _13._replace(name="1.5.16", source=f"release 1.5.16, {_COPY}", vcpu_state_status=True,
                   lp_init_draws=False, servtd_tdr_exits=False)
_20 = _16._replace(
    name="1.5.20", source=f"release 1.5.20, {_COPY}", op_state_status=True, tree="hp", filter_tree=SHARED,
    filter_pending=False, entry_write=SWAP_STORE, attr_wr_writes=True, promote_tree=EXCLUSIVE, promote_children=False,
    promote_masks=True, promote_gives_way=PRIORITY, demote_gives_way=PRIORITY, list_gives_way=PRIORITY,
    dynamic_pamt=True, derived=("servtd_tdr_exits",))
_24 = _20._replace(
    name="1.5.24", source=f"release 1.5.24, {_COPY}", also=("1.5.25",), derived=(), entry_write=SWAP, op_states=12)
_28 = _24._replace(
    name="1.5.28", source=_STORED.format("30d22188"), also=(), entry_write=CHECKED_SWAP, guest_shared=LOOK_ADD,
    accept_leaf=ENTRY, promote_gives_way=INTERRUPT, demote_gives_way=NOTHING, cancel_counts=True, removed_children=True,
    derived=("filter_pending", "init_apicid_tdr", "unblock_operand", "list_gives_way",
             "list_count_in_rax", "lp_init_draws", "servtd_tdr_exits"))
_34 = _28._replace(
    name="1.5.34", source=_STORED.format("9fd3c8b1"), guest_entry=LOOK_SET, op_states=13,
    counters=True, mr_key_get=True, list_count_in_rax=False,
    derived=("filter_pending", "init_apicid_tdr", "servtd_tdr_exits"))
# The 2.0 line: each is the counterpart of a release of the 1.5 line.
_2_08 = _16._replace(
    name="2.0.08", source=_STORED.format("1666adc4"), dynamic_pamt=True, connect=True,
    derived=("op_state_status",))
_2_12 = _20._replace(
    name="2.0.12", source=_STORED.format("a56a9173"), connect=True,
    derived=("init_apicid_tdr", "lp_init_draws", "servtd_tdr_exits"))
_2_14 = _24._replace(
    name="2.0.14", source=_STORED.format("db57c638"), also=(), connect=True,
    derived=("init_apicid_tdr", "attr_wr_writes", "list_gives_way", "filter_pending", "guest_entry",
             "guest_shared", "accept_leaf", "cancel_counts", "lp_init_draws", "servtd_tdr_exits"))
_2_16 = _28._replace(
    name="2.0.16", source=_STORED.format("6e66b9d2"), connect=True,
    derived=(*(name for name in _28.derived if name not in ("init_apicid_tdr", "servtd_tdr_exits")), "accept_leaf"))
_2_18 = _34._replace(
    name="2.0.18", source=_STORED.format("e69a4391"), connect=True,
    derived=("filter_pending", "init_apicid_tdr"))
_REPORT = Release(
    "report-2024", "lock status report, Yan Zhao, 13 Sep 2024, its table taken literally",
    enter_tdvpr=EXCLUSIVE, pamt_parents=False, key_table=False, report_only=True)

RELEASES = (_01, _05, _13, _16, _20, _24, _28, _34, _2_08, _2_12, _2_14, _2_16, _2_18, _REPORT)


def _named(release: Release) -> dict[str, Release]:
    """A row under its own name and those of the releases that behave the same."""
    return {name: release._replace(name=name) for name in (release.name, *release.also)}


BY_NAME = {name: named for release in RELEASES for name, named in _named(release).items()}
NAMES = tuple(BY_NAME)
READ = tuple(release for release in RELEASES if not release.report_only)       # as source, not from a report
DEFAULT = BY_NAME["1.5.05"]
NEWEST = "newest"                # of the 1.5 line, which has no TDX Connect
_NEWEST_OF_1_5 = "1.5.34"


# --- by name, and changed ---------------------------------------------------------------------

class ReleaseError(ValueError):
    """A release that does not exist, or a field that cannot be so: key ("" or the field), value, what is allowed."""

    def __init__(self, key: str, value, message: str):
        super().__init__(message)
        self.key, self.value, self.message = key, value, message


@functools.cache
def meanings() -> dict[str, str]:
    """What each field is, as the docstring of Release says; the names of its values are left out."""
    found = re.findall(r"^    (\w+) {2,}(.+)$", Release.__doc__, re.MULTILINE)
    return {name: re.sub(r": [A-Z_]+(, [A-Z_]+)*$", "", text) for name, text in found}


FIELDS = tuple(name for name in Release._fields if name not in ("name", "source", "also", "derived", "report_only"))
NUMBERS = {"epf_threshold": (1, 255), "epf_list": (1, EPF_LIST_SIZE), "hp_lock_timeout_ms": (10, 100_000),
           "op_states": (11, 13)}
ACCESSES = (RWX, RWX | XU)


@functools.cache
def find(text: str) -> Release:
    """A release by its name, `newest`, or BASE+FIELD=VALUE+...  Raises ReleaseError."""
    base, *changes = text.split("+")
    base = _NEWEST_OF_1_5 if base == NEWEST else base
    if base not in BY_NAME:
        raise ReleaseError("", text, f"not a release; {suggestion(base)}known: {', '.join(NAMES)}, {NEWEST}")
    release = BY_NAME[base]
    for change in changes:
        key, _, value = change.partition("=")
        release = release._replace(**{_known(key, value): _value(key, value)})
    if PRIORITY in (release.promote_gives_way, release.demote_gives_way, release.list_gives_way) and release.tree != "hp":
        raise ReleaseError("tree", release.tree, "must be 'hp' where a long call gives way to priority on it")
    changed = [f"+{name}={_spelled(getattr(release, name))}" for name in FIELDS
               if getattr(release, name) != getattr(BY_NAME[base], name)]
    if not changed:
        return release
    return release._replace(name=base + "".join(changed), source=f"{release.source}; changed: "
                            + ", ".join(change[1:] for change in changed))


def between(text) -> tuple[str, ...]:
    """The releases that "A to B" says, both of one line, or the one that is named; what is no release as it stands."""
    first, _, last = str(text).partition(" to ")
    if not last or first not in BY_NAME or last not in BY_NAME or line(first) != line(last) or (
            numbers(first) > numbers(last)):
        return (text,)
    return tuple(name for name in NAMES if line(name) == line(first) and numbers(first) <= numbers(name) <= numbers(last))


def numbers(name: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"[0-9]{1,40}", name)))


def line(name: str) -> str:
    """The line that a release belongs to: 1.5, 2.0; of one of one's own, its base's."""
    return ".".join(name.split("+")[0].split(".")[:2])


LINES = tuple(dict.fromkeys(line(release.name) for release in READ))


def spans(names: Sequence[str], of: str) -> str:
    """Rows of a line, as `1.5.01 to 1.5.25`, with those that behave the same; nothing if it has none of them."""
    rows = [release for release in READ if line(release.name) == of]
    has = [release.name in names for release in rows]
    found, begun = [], None
    for release, here, after in zip(rows, has, [*has[1:], False]):
        begun = (begun or release) if here else None
        if here and not after:
            last = (release.name, *release.also)[-1]
            found.append(begun.name if last == begun.name else f"{begun.name} to {last}")
    return ", ".join(found)


def spell(table: dict) -> str:
    """The name of the release that a [module] table says.  Raises ReleaseError."""
    table = dict(table)
    base = table.pop("base", DEFAULT.name)
    if not isinstance(base, str):
        raise ReleaseError("base", base, "must be the name of a release")
    try:
        find(base)
    except ReleaseError as problem:
        raise ReleaseError("base", base, problem.message) from None
    for key, value in table.items():
        try:
            _value(_known(key, value), _spelled(value))
        except ReleaseError as problem:
            raise ReleaseError(key, value, problem.message) from None        # the value as it was given
    return find("".join([base, *(f"+{key}={_spelled(value)}" for key, value in table.items())])).name


def _known(key: str, value) -> str:
    if key not in FIELDS:
        raise ReleaseError(key, value, f"no field of a release; {meant(key, FIELDS)}known: {', '.join(FIELDS)}")
    return key


def _value(key: str, text: str):
    """A field's value from its spelling.  Raises ReleaseError."""
    kind = type(getattr(DEFAULT, key))
    if key in CHOICES:
        if text not in CHOICES[key]:
            raise ReleaseError(key, text, f"{meant(text, CHOICES[key])}must be {' or '.join(map(repr, CHOICES[key]))}")
        return text
    if kind is bool:
        if text not in ("true", "false"):
            raise ReleaseError(key, text, "must be true or false")
        return text == "true"
    number = int(text) if re.fullmatch(r"[0-9]{1,40}", text) else -1
    least, most = NUMBERS.get(key, (0, 0))
    if key == "access" and number not in ACCESSES or key != "access" and not least <= number <= most:
        allowed = " or ".join(map(str, ACCESSES)) if key == "access" else f"a number from {least} to {most}"
        raise ReleaseError(key, text, f"must be {allowed}")
    return number


def _spelled(value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def suggestion(text: str) -> str:
    """`did you mean X? `: the nearest release that is earlier in the same line, or the first that is known of it.

    Of a line that is not known: the newest release of the lines before it, if there is one.
    """
    wanted = numbers(text)
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)+", text.strip()):
        return meant(text, (*NAMES, NEWEST))
    released = [name for name in NAMES if re.fullmatch(r"[\d.]+", name)]
    known = [name for name in released if numbers(name)[:2] == wanted[:2]]
    if not known:
        before = [name for name in released if numbers(name) <= wanted]
        return f"did you mean {max(before, key=numbers)}? " if before else ""
    earlier = [name for name in known if numbers(name) <= wanted]
    return f"did you mean {max(earlier, key=numbers) if earlier else min(known, key=numbers)}? "
