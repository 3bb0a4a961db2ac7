"""What a guest does with the answer of TDG.MEM.PAGE.ACCEPT: policies of guests, as rows.

A guest accepts a page in the largest size that fits.  Apart from success and a TD exit, three kinds of answer
can come, and for each kind and size a row lists what is done, in order; a retry that is used up hands on to the
next, and behind the last one stands `fail`.

    busy_2m, busy_4k          TDX_OPERAND_BUSY: another call holds the entry, or host priority is set on it
    mismatch_2m, mismatch_4k  TDX_PAGE_SIZE_MISMATCH: the entry is of another size than was asked for (up to
                              1.5.25 also a page of the right size that races with its own AUG)
    accepted_2m, accepted_4k  TDX_PAGE_ALREADY_ACCEPTED

    retry     the same call again (`retry N`, `retry forever`, `retry N pause NS`)
    down      the next smaller size
    skip      go on as if the page had just been accepted
    touch     touch the page and see
    fail      an error to the guest's own caller, which leaves the page alone
    lost      the error is dropped: the page stays pending, and the guest takes it for accepted
    halt      the vCPU stops for good; the others go on, and the page stays pending
    panic     the guest ends itself: its TD is dead

Of one range of memory, at boot or at a conversion, pieces go round the vCPUs that accept; nobody accepts a piece of
another (`acceptors`, `piece_mib`; workload.pattern = "boot").

2 MiB are tried where workload.accept_2m says so (of a scenario: accept_2m), at each first page of 2 MiB, by guests that
do so at all (`largest`).  A guest that begins with 1 GiB (Linux) tries it at the first page of each whole GiB.  The module
refuses that before it takes a lock (TDX_OPERAND_INVALID: ACCEPT knows levels 0 and 1 only), so all that it costs is a TDCALL,
and the guest steps down to 2 MiB (`accepts_of_1g`).

Not modelled: what a #VE handler does (whether a touch may come before the ACCEPT is workload.accept_first); TDG.MEM.PAGE.RELEASE; TDG.MEM.PAGE.ATTR.WR behind
each ACCEPT (OpenHCL, td-shim); MapGPA's limit, which is workload.map_gpa_retries; that Linux hands pieces out as its
page allocator asks for them, not round and round; that edk2 leaves what is behind 4 GiB to the OS.

To add a guest: add a row.  It can then be named by any config, and the tests run it.
"""

from typing import NamedTuple

from harness.errors import meant
from harness.memory.placement import PAGES_PER_MIB
from harness.protocol.policy import PolicyError, Response, parse_response

KINDS = ("busy", "mismatch", "accepted")
STATUS = dict(zip(KINDS, ("TDX_OPERAND_BUSY", "TDX_PAGE_SIZE_MISMATCH", "TDX_PAGE_ALREADY_ACCEPTED")))
SIZES = ("4k", "2m")             # by level
SITES = tuple(f"{kind}_{size}" for kind in KINDS for size in reversed(SIZES))
LAST = Response("fail")
LARGEST_PIECE_MIB = 2048         # OpenHCL's parts of memory, which are contiguous, are no larger: underhill_mem init.rs

_ANY = ("touch", "fail", "lost", "halt", "panic")
ALLOWED = {
    "busy_2m": ("retry", "down", *_ANY), "busy_4k": ("retry", *_ANY),
    "mismatch_2m": ("retry", "down", *_ANY), "mismatch_4k": ("retry", *_ANY),
    "accepted_2m": ("skip", "down", *_ANY), "accepted_4k": ("skip", *_ANY),
}
assert tuple(ALLOWED) == SITES


class Number(NamedTuple):
    """What a number of a row may be, and what it says."""

    least: int
    most: int
    meaning: str


# Of who accepts memory at boot.
NUMBERS = {
    "acceptors": Number(-1, 4096, "how many vCPUs accept memory at boot, at most; 0: all, -1: all but one"),
    "piece_mib": Number(0, LARGEST_PIECE_MIB, "MiB that one of them takes at a time; 0: its whole share, at most "
                                              f"{LARGEST_PIECE_MIB}"),
}


class GuestPolicy(NamedTuple):
    """A row; see above.

    one_at_a_time   no two vCPUs accept in the same 2 MiB at once, and a page that another has accepted meanwhile is not
                    accepted again: ranges are disjoint, or those in progress are on a list
    largest         the largest size that is tried: "4k", "2m" or "1g"
    acceptors, piece_mib   NUMBERS
    """

    name: str
    meaning: str
    source: str
    busy_2m: tuple[Response, ...]
    busy_4k: tuple[Response, ...]
    mismatch_2m: tuple[Response, ...]
    mismatch_4k: tuple[Response, ...]
    accepted_2m: tuple[Response, ...]
    accepted_4k: tuple[Response, ...]
    one_at_a_time: bool = True
    largest: str = "2m"
    acceptors: int = 1
    piece_mib: int = 0

    def words(self, site: str) -> str:
        return ", ".join(map(str, getattr(self, site))) or "-"

    def sizes(self) -> str:
        """The sizes that it tries, in words."""
        return ", ".join(("1 GiB", "2 MiB", "4 KiB")[("1g", "2m", "4k").index(self.largest):])

    def counts_tries(self) -> bool:
        return any(response.attempts > 0 for site in SITES for response in getattr(self, site))

    def acceptors_of(self, vcpus: int, pages: int) -> tuple[int, int]:
        """How many of a TD's vCPUs accept its pages, and how many pages a piece has."""
        most = self.acceptors if self.acceptors > 0 else max(1, vcpus + self.acceptors)
        most = min(most, vcpus)
        piece = self.piece_mib * PAGES_PER_MIB or min(LARGEST_PIECE_MIB * PAGES_PER_MIB, -(-pages // most))
        return min(most, -(-pages // piece)), piece

    def at_boot(self) -> str:
        """Who accepts memory at boot, in words."""
        who = {-1: "all vCPUs but one", 0: "all vCPUs", 1: "one vCPU"}.get(self.acceptors, f"{self.acceptors} vCPUs at most")
        piece = f"{self.piece_mib} MiB in turn" if self.piece_mib else f"a share each, at most {LARGEST_PIECE_MIB} MiB"
        return who if self.acceptors == 1 else f"{who}, {piece}"

    def halts(self) -> bool:
        """Whether an answer can make one of its vCPUs stop."""
        return any(each.name == "halt" for site in SITES for each in getattr(self, site))

    def deaths(self) -> tuple[str, ...]:
        """The kinds of answer that can end this guest."""
        return tuple(kind for kind in KINDS
                     if any(each.name == "panic" for size in SIZES for each in getattr(self, f"{kind}_{size}")))


assert set(SITES) <= set(GuestPolicy._fields)


def _guest(name: str, meaning: str, source: str, busy: tuple[str, str], mismatch: tuple[str, str],
           accepted: tuple[str, str], **switches) -> GuestPolicy:
    """A row from words: what is done at 2 MiB and at 4 KiB, for each kind of answer."""
    given = dict(zip(SITES, (*busy, *mismatch, *accepted)))
    return GuestPolicy(name, meaning, source, **switches, **{
        site: tuple(parse_response(site, text.strip(), ALLOWED) for text in words.split(",") if text.strip())
        for site, words in given.items()})


GUESTS = (
    _guest("svsm", "a recoverable status is tried again at once, for ever; other errors go to the caller",
           "COCONUT-SVSM kernel/src/tdx/tdcall.rs (tdg_mem_page_accept, td_accept_physical_memory), f4bc4bcd",
           busy=("retry forever", "retry forever"), mismatch=("down", "fail"), accepted=("skip", "skip"),
           one_at_a_time=False),
    _guest("linux_boot", "at boot and, lazily, when the page allocator asks: any status but success: the next smaller size; at 4 KiB a panic",
           "Linux arch/x86/coco/tdx/tdx-shared.c (tdx_accept_memory), drivers/firmware/efi/unaccepted_memory.c"
           " (accepting_list), 41c177cf",
           busy=("down", "panic"), mismatch=("down", "panic"), accepted=("down", "panic"), largest="1g", acceptors=0, piece_mib=4),
    _guest("linux_convert", "the same behind MapGPA; at 4 KiB -EIO to the caller of set_memory_encrypted",
           "Linux arch/x86/coco/tdx/tdx.c (tdx_enc_status_changed), 41c177cf",
           busy=("down", "fail"), mismatch=("down", "fail"), accepted=("down", "fail"), largest="1g"),
    _guest("linux_2021", "development trees of 2021: 4 KiB only, BUG_ON",
           "Linux guest development trees of 2021 (tdx_accept_page with BUG_ON)",
           busy=("", "panic"), mismatch=("", "panic"), accepted=("", "skip"), largest="4k"),
    _guest("edk2", "4 tries at once, then an error to the caller; what is accepted already is counted",
           "edk2 MdePkg/Library/TdxLib/AcceptPages.c, OvmfPkg/IntelTdx/TdxHelperLib/SecTdxHelper.c, c5aa7e7d",
           busy=("retry 3, fail", "retry 3, fail"), mismatch=("down", "fail"), accepted=("skip", "skip"),
           acceptors=0, piece_mib=32),
    _guest("edk2_release", "the same on an AP of a RELEASE build, where ASSERTs are empty: the error is dropped",
           "edk2 OvmfPkg/IntelTdx/TdxHelperLib/SecTdxHelper.c (accepting on APs), c5aa7e7d",
           busy=("retry 3, lost", "retry 3, lost"), mismatch=("down", "lost"), accepted=("skip", "skip"),
           acceptors=0, piece_mib=32),
    _guest("tdvf_old_ap", "assembler for APs in forks of old TDVF: the AP halts for good; at 4 KiB no status is looked at",
           "two forks of TDVF (AP loop of the reset vector; their repositories are not known)",
           busy=("halt", "lost"), mismatch=("down", "lost"), accepted=("skip", "lost"), acceptors=0),     # how memory is divided is not known
    _guest("td_shim", "5 tries at once, then a panic; 2 MiB that are accepted already are one, 4 KiB are not",
           "td-shim tdx-tdcall/src/tdx.rs, td-shim/src/bin/td-shim/td/tdx_mailbox.rs, 125eeab5",
           busy=("retry 4, panic", "retry 4, panic"), mismatch=("down", "panic"), accepted=("panic", "skip"),
           acceptors=16, piece_mib=32),
    _guest("td_payload", "td-shim's payload: 4 KiB only, a panic",
           "td-shim td-payload (shared.rs), 125eeab5",
           busy=("", "panic"), mismatch=("", "panic"), accepted=("", "skip"), largest="4k"),
    _guest("openhcl", "any error but a mismatch at 2 MiB is a panic, also what is accepted already (on purpose)",
           "OpenVMM vm/x86/tdcall/src/lib.rs, underhill_mem init.rs, 1488a37b; PR 967",
           busy=("panic", "panic"), mismatch=("down", "panic"), accepted=("panic", "panic"), acceptors=-1),
    _guest("mu_msvm", "the same: EFI_SECURITY_VIOLATION, which is not recovered from",
           "microsoft/mu_msvm (UEFI for Hyper-V)",
           busy=("panic", "panic"), mismatch=("down", "panic"), accepted=("panic", "panic")),
    _guest("oak", "a real BUSY is a status that it does not know: a panic",
           "project-oak/oak stage0_tdx, 578b9511",
           busy=("panic", "panic"), mismatch=("down", "panic"), accepted=("panic", "panic")),
    _guest("asterinas", "4 KiB only; any error is a panic in the boot stub",
           "Asterinas, crate tdx-guest, 60494858",
           busy=("", "panic"), mismatch=("", "panic"), accepted=("", "panic"), largest="4k"),
    _guest("patient", "what a guest could do: tries 5 us apart, and a size of 4 KiB is wrong only if it stays so",
           "no guest does this; for comparison",
           busy=("retry forever pause 5000", "retry forever pause 5000"),
           mismatch=("down", "retry 3 pause 5000, panic"),
           accepted=("skip", "skip"), acceptors=0, piece_mib=32),
)
BY_NAME = {guest.name: guest for guest in GUESTS}
DEFAULT = GUESTS[0].name
assert len(BY_NAME) == len(GUESTS)


def change(base: GuestPolicy, table: dict) -> GuestPolicy:
    """`base` with sites changed, from the words of a config; raises PolicyError."""
    changes = {}
    for key, given in table.items():
        if key in SITES:
            if not isinstance(given, list):
                raise PolicyError(key, "must be a list of responses")
            changes[key] = tuple(parse_response(key, text, ALLOWED) for text in given)
            if any(each.doubling_to for each in changes[key]):
                raise PolicyError(key, "'doubling' is of a host's policy; write 'retry N', 'retry forever' or 'retry N pause NS'")
        elif key == "one_at_a_time":
            if not isinstance(given, bool):
                raise PolicyError(key, "must be true or false")
            changes[key] = given
        elif key in NUMBERS:
            least, most = NUMBERS[key].least, NUMBERS[key].most
            if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
                raise PolicyError(key, f"must be a whole number from {least} to {most}")
            changes[key] = given
        else:
            known = ("name", "base", "meaning", *SITES, "one_at_a_time", *NUMBERS)
            raise PolicyError(key, f"unknown key; {meant(key, known)}known: {', '.join(known)}")
    return base._replace(**changes)
