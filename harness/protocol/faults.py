"""What a config can have go wrong below the module, as micro-ops.  With nothing injected: no rows.

    refuse           before a call: SEAMCALL does not reach the module
    draw_random      inside a call, where the module draws a random number: there is no entropy
    call_with_entropy_retries   KVM's side of that: sc_retry around the call

Which faults there are, what the kernel answers for each and why, is seamcall_abi.py; the machine check
that probes a page is a flow (flows/machine_check.py).
"""

from harness.protocol.assemble import Listing
from harness.protocol.seamcall_abi import ENTROPY_ATTEMPTS
from kernels.ops import Op, Register as R
from kernels.words import status


def happens(listing: Listing, choice: str, share: float, otherwise: str) -> None:
    """Rows that run on with probability `share`, else to `otherwise`; none where it always happens.

    Changes R.OLD.
    """
    if share < 1:
        listing.choose(R.OLD, choice)
        listing.row(Op.TEST, register=R.OLD, mask=-1, match=1, otherwise=otherwise, text=choice)


def refuse(call) -> None:
    """At the start of a SEAMCALL: with the configured share it ends here with a software error.

    tdxcall.S: a trap at the SEAMCALL instruction is fixed up, CF means VMfailInvalid; the module has
    seen nothing and nothing is locked.
    """
    faults = call.options.faults
    if not faults.status:
        return
    reached, refused = (call.listing.fresh(f"{call.name}.{part}") for part in ("reached", "refused"))
    happens(call.listing, "seamcall_fault", faults.seamcall_share, otherwise=reached)
    call.row(Op.LET, next=call.fail(faults.status), text=faults.seamcall)
    call.listing.label(reached)


def draw_random(call, failure: str, drawn: str) -> None:
    """In a call, where the module draws a random number: with the configured share that fails.

    drawn   a label that is defined here
    """
    happens(call.listing, "no_entropy", call.options.faults.no_entropy_share, otherwise=drawn)
    call.row(Op.LET, next=call.fail(failure), text="no entropy")
    call.listing.label(drawn)


def call_with_entropy_retries(listing: Listing, name: str, entry: str, behind: str) -> None:
    """sc_retry: call again while the answer is exactly TDX_RND_NO_ENTROPY, ENTROPY_ATTEMPTS times at most.

    Written out attempt by attempt, so that it takes no register.  `entry` is the call's label; comes back
    at `behind`, the label of the next row.
    """
    for attempt in range(ENTROPY_ATTEMPTS):
        answered, again = (listing.fresh(f"{behind}.{part}") for part in ("answer", "again"))
        last = attempt == ENTROPY_ATTEMPTS - 1
        listing.row(Op.CALL, next=entry, otherwise=behind if last else answered, text=name)
        if not last:
            listing.label(answered)
            listing.row(Op.TEST, register=R.STATUS, mask=-1, match=status("TDX_RND_NO_ENTROPY"), next=again,
                        otherwise=behind, text="TDX_RND_NO_ENTROPY")
            listing.label(again)
    listing.label(behind)
