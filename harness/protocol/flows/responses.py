"""A site's responses to BUSY as micro-ops, written where a call has failed.

    is the status what this site takes for BUSY?   no: the last resort
    first response ... second response ...         as the policy's row lists them
    the last resort                                KVM_BUG_ON, or what the site says instead
"""

from dataclasses import dataclass, field
from typing import Callable

from harness.protocol.policy import FOREVER, Response
from harness.protocol.flows import seam
from harness.protocol.flows.flow import Flow
from kernels.ops import Op, Register as R
from kernels.words import OPERAND_BUSY, STATUS_CLASS, status

TREE_BUSY = status("TDX_OPERAND_BUSY", "SEPT_TREE")


def _nothing() -> None:
    pass


@dataclass
class Responses:
    """What a site has to say to its policy's responses.

    site           of harness.policy; `frozen` has no status to look at
    again          label that makes the call again
    done           label behind the call, for `ignore`
    respond        rows of the responses that end elsewhere, and of `kick`
    undo           rows before those that end elsewhere
    before_retry   rows before a retry
    last           what is done when nothing helped, or when the failure is not BUSY
    unmatched      label to go to instead of `last` when the failure is not BUSY
    without        responses that cannot be had here: they hand on to the next
    call, behind   the call that is made, and the label it comes back to (for operands that are clobbered)
    tries          the register that counts attempts
    responses      those of a guest, for a status that is known already, in place of the host policy's
    """

    flow: Flow
    site: str
    again: str = ""
    done: str = ""
    respond: dict[str, Callable] = field(default_factory=dict)
    undo: Callable = _nothing
    before_retry: Callable = _nothing
    last: Response = Response("bug_vm")
    unmatched: str = ""
    without: tuple[str, ...] = ()
    call: str = ""
    behind: str = ""
    tries: R = R.TRIES
    responses: tuple[Response, ...] | None = None

    def write(self) -> None:
        if self.responses is not None:
            if not any(self._respond(response) for response in self.responses):
                self._finish(self.last)
            return
        ladder, flow = self.flow.policy.ladder(self.site), self.flow
        error = self.unmatched or flow.fresh(f"{self.site}.error")
        if self.site != "frozen":
            self._match(ladder.on, error)
        for response in ladder.responses:
            if response.name not in self.without and self._respond(response):
                break
        else:
            if self.unmatched or self.site == "frozen":
                self._finish(self.last)
            else:
                flow.goto(error)
        if self.site != "frozen" and not self.unmatched:
            flow.label(error)
            self._finish(self.last)

    def _match(self, on: str, error: str) -> None:
        """To `error` unless the status is what this site takes for BUSY."""
        test = {"op": Op.TEST, "register": R.STATUS}
        if on == "bitmask":
            hit = self.flow.fresh(f"{self.site}.hit")
            self.flow.row(mask=OPERAND_BUSY, match=0, next=error, otherwise=hit,
                          text="status & TDX_OPERAND_BUSY", **test)
            self.flow.label(hit)
            fine, other = self.flow.fresh(f"{self.site}.busy"), self.flow.fresh(f"{self.site}.not_busy")
            self.flow.row(mask=STATUS_CLASS, match=OPERAND_BUSY, next=fine, otherwise=other,
                          text="TDX_OPERAND_BUSY", **test)
            with self.flow.aside(other):
                self.flow.count("other_errors_taken_for_busy", next=fine)
            self.flow.label(fine)
        elif on == "tree":
            self.flow.row(mask=-1, match=TREE_BUSY, otherwise=error,
                          text="TDX_OPERAND_BUSY|SEPT_TREE", **test)
        else:
            self.flow.row(mask=STATUS_CLASS, match=OPERAND_BUSY, otherwise=error, text="TDX_OPERAND_BUSY", **test)

    def _respond(self, response: Response) -> bool:
        """Write one response; returns whether nothing can come behind it."""
        if response.name == "retry":
            self._retry(response)
            return response.attempts == FOREVER
        if response.name == "kick" and self.site != "zero_step":
            self.respond["kick"]()
            return False
        if response.name == "ignore":
            self.flow.goto(self.done)
        else:
            self._finish(response)
        return True

    def _retry(self, response: Response) -> None:
        """Back to the call, until `attempts` retries have failed (see Flow.first_try)."""
        flow, limited = self.flow, response.attempts != FOREVER
        exhausted, more = flow.fresh(f"{self.site}.exhausted"), flow.fresh(f"{self.site}.more")
        if limited:
            flow.row(Op.TEST, register=self.tries, mask=-1, match=response.doubling_to or response.attempts,
                     next=exhausted, otherwise=more, text="retries so far")
            flow.label(more)
            if response.doubling_to:
                self._double(response)
            flow.row(Op.LET, register=self.tries, source=self.tries, value=1)
        self.before_retry()
        if response.pause_ns:
            flow.listing.spend(f"{response.pause_ns} ns")
        # (`retry forever` is the caller's loop, which passes fresh operands.)
        if flow.policy.clobber and self.call and limited:
            seam.clobbered_attempt(flow, self.call, self.behind)
        else:
            flow.goto(self.again)
        if limited:
            flow.label(exhausted)

    def _double(self, response: Response) -> None:
        """The VM's limit is `attempts` + the word retry_limit; who reaches it doubles it."""
        flow = self.flow
        reached, below = flow.fresh(f"{self.site}.limit"), flow.fresh(f"{self.site}.below")
        flow.row(Op.LOAD, register=R.OLD, **flow.at("retry_limit"))
        flow.row(Op.TEST, register=self.tries, source=R.OLD, mask=-1, match=response.attempts, next=reached,
                 otherwise=below, text="the VM's limit")
        with flow.aside(reached):
            flow.row(Op.INDEX, register=R.NEW, source=R.OLD, offset=response.attempts, width=0, mask=-1, match=2)
            flow.row(Op.SWAP, register=R.OLD, source=R.NEW, **flow.at("retry_limit", otherwise=below))
            flow.count("retry_limit_doubled", next=below)
        flow.label(below)

    def _finish(self, response: Response) -> None:
        held = self.flow.listing.held
        self.undo()
        self.respond[response.name]()
        self.flow.listing.held = held
