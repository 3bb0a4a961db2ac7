"""Assertions in C, and what only prints: the kernel's functions as rows of one table.

WARN_ON_ONCE, WARN_ON and relatives answer whether it was so and go on; BUG_ON ends its process.  Each is an invariant.
BUILD_BUG_ON and static_assert are looked at when the file is read.
(include/asm-generic/bug.h, include/linux/build_bug.h, mmdebug.h, arch/x86/kvm/mmu/mmu_internal.h)
"""

from harness.protocol.litmus import types
from harness.protocol.litmus.body import Body, Value, spelled
from harness.protocol.litmus.expressions import branch, value
from harness.protocol.litmus.primitives import NOTHING, Primitive
from kernels.ops import Op

ARGUMENTS_MOST = 16              # of what prints


def _warn_on(body: Body, node, arguments) -> Value:
    kept = body.take(node)
    yes, no, done = body.fresh("warned"), body.fresh("fine"), body.fresh("done")
    branch(body, arguments[0], yes, no)
    body.label(yes)
    body.violation("warn_on")
    body.row(Op.LET, register=kept, value=1, next=done)
    body.label(no)
    body.row(Op.LET, register=kept)
    body.label(done)
    return Value(types.BOOL, kept)


def _bug_on(body: Body, node, arguments) -> Value:
    yes, no = body.fresh("bug"), body.fresh("fine")
    branch(body, arguments[0], yes, no)
    with body.listing.aside(yes):
        body.violation("bug_on")
        body.row(Op.STOP)
    body.label(no)
    return NOTHING


def known_beforehand(body: Body, node, claim, holds: bool) -> Value:
    """BUILD_BUG_ON (`holds`: False) and static_assert: what a compiler looks at.  Raises LitmusError where it fails, or where only a run tells."""
    found = value(body, claim).constant
    if found is None:
        raise body.error(node, f"`{spelled(claim)}` is not known before a run")
    if bool(found) != holds:
        raise body.error(node, f"`{spelled(claim)}` is {'false' if holds else 'true'}: the kernel would not be built")
    return NOTHING


def static_assert(body: Body, node) -> None:
    known_beforehand(body, node, node.cond, True)


def _build_bug_on(body: Body, node, arguments) -> Value:
    return known_beforehand(body, node, arguments[0], False)


def _printed(body: Body, node, arguments) -> Value:
    """pr_warn and relatives: what they print is not looked at."""
    return NOTHING


ASSERTIONS: dict[str, Primitive] = {
    **{name: Primitive(_warn_on) for name in ("WARN_ON_ONCE", "WARN_ON", "KVM_MMU_WARN_ON", "VM_WARN_ON_ONCE", "VM_WARN_ON")},
    **{name: Primitive(_warn_on, 1, ARGUMENTS_MOST) for name in ("WARN", "WARN_ONCE")},
    "BUG_ON": Primitive(_bug_on), "VM_BUG_ON": Primitive(_bug_on),
    "BUILD_BUG_ON": Primitive(_build_bug_on), "BUILD_BUG_ON_MSG": Primitive(_build_bug_on, 2),
    **{name: Primitive(_printed, 0, ARGUMENTS_MOST) for name in (
        "pr_err", "pr_warn", "pr_info", "pr_debug", "pr_err_ratelimited", "pr_warn_ratelimited", "pr_warn_once", "printk",
        "pr_tdx_error", "pr_tdx_error_1", "pr_tdx_error_2", "pr_tdx_error_3")},
}
