"""SEAMCALLs and TDCALLs in C: each call of the table as a function that answers its status.

    err = tdh_mem_page_aug(td, gpa, level, page, &err1, &err2);
    if (tdx_operand_busy(err)) ...

Arguments stand as in the kernel's wrappers (arch/x86/virt/vmx/tdx/tdx.c); which page and which level a call
is about is used, what else the kernel passes (the TD, the page, where RCX and RDX go) is not: there is one
TD, each guest page has its physical page, and only the status comes back.  `level` is the module's (0 4K,
1 2M, 2 1G), as in Linux 6.16 to 6.19, or an enum pg_level, as in later drafts ("enum pg_level level").
"""

import re
from typing import Callable

from pycparser import c_ast

from harness.memory.layout import ENTRIES, PAMT_BYTES
from harness.protocol.call import Options
from harness.protocol.locate import index, locate, locate_page, locate_pair
from harness.protocol.flows.flow import IN_GUEST, REQUEST, Flow
from harness.protocol.flows.pamt import GIVE_BACK, SPLIT, USE, locate_crossed_pair
from harness.protocol.flows.script import ABOUT_PAGES, LEAF_CALLS
from harness.errors import nearest
from harness.protocol.litmus import interrupts, locks, types
from harness.protocol.litmus.body import Body, Value, number, spelled
from harness.protocol.litmus.expressions import branch, decide, known, pointed, value, write
from harness.protocol.litmus.primitives import NOTHING, Primitive
from harness.protocol.litmus.source import place_of
from harness.protocol.seamcalls import TD_EXIT, by_name, entry_label
from kernels.arithmetic import Operator
from kernels.ops import Op, Register as R
from kernels.words import EXIT_REASONS, OPERANDS, STATUS_CLASS, STATUSES, signed

PAGE_SHIFT = 12
ARGUMENTS_MOST = 8
REQUEST_WAIT = 1 << 9           # KVM_REQUEST_WAIT (include/linux/kvm_host.h): with it in the number of a request the sender waits
FLOWS = {"fault": "vcpu", "zap": "host"}         # KVM's own flows as whole processes
NO_ENTRY = ("tdh_mem_track",)
# Wrappers of the kernel that are not called as the row is; arch/x86/include/asm/tdx.h.
WRAPPERS = {"tdh_mng_addcx": "tdh_mng_add_cx", "tdh_mng_rd": "tdh_mng_rdwr", "tdh_vp_rd": "tdh_vp_rd_wr", "tdh_vp_wr": "tdh_vp_rd_wr",
            "tdh_phymem_page_wbinvd_hkid": "tdh_phymem_page_wbinvd"}
PAGE_FIRST = ("tdh_phymem_page_reclaim", "tdh_phymem_page_rdmd")         # of ABOUT_PAGES; the others have the page behind the TD, vCPU or key
INIT, INIT_ARGUMENTS = "tdh_vp_init", 3          # with the x2APIC id it is version 1 (tdx.c: TDX_VERSION_SHIFT), else version 0
SEPT = {"SEPT": OPERANDS["SEPT_TREE"]}           # KVM's shorter name of it, arch/x86/kvm/vmx/tdx_errno.h
NO_VCPUS = "tdh_do_no_vcpus"
BAR = "wait_for_sept_zap"


def called(node) -> set[str]:
    """Names of the functions that a piece of C calls, also as tdh_do_no_vcpus(function, ...)."""
    found = called_here(node)
    for _, child in node.children():
        found |= called(child)
    return found


def called_here(node) -> set[str]:
    """The same of a node itself, without what is in it."""
    found = {node.name.name} if isinstance(node, c_ast.FuncCall) and isinstance(node.name, c_ast.ID) else set()
    if NO_VCPUS in found and node.args is not None and isinstance(node.args.exprs[0], c_ast.ID):
        found.add(node.args.exprs[0].name)
    return found


def about_entry(name: str) -> bool:
    return "_mem_" in name and name not in ABOUT_PAGES and name not in NO_ENTRY


def rows_of(called: str) -> tuple[str, ...]:
    """The rows of the table that a function of the kernel's may make."""
    return (INIT, f"{INIT}_apicid") if called == INIT else (WRAPPERS.get(called, called),)


# Of the calls that use a page of a range and give it back, the parts that are about the page; and DEMOTE's about a range (flows/pamt.py).
PARTS = {part.name: part for part in (USE, GIVE_BACK, SPLIT)}
PAMT_CALLS = ("tdh_phymem_pamt_add", "tdh_phymem_pamt_remove")


def _pamt(name: str) -> Callable:
    """PAMT.ADD and PAMT.REMOVE of a page's 2 MiB, a split of them, and the parts that use a page and give it back: (page's address,
    or its kvm_pfn_t or struct page *).

    page_out_of_use(page, &last): `last` becomes 1 if the module hints that it was the last page in use of its 2 MiB.
    The pair that is given lies in 2 MiB of its own, or (`crossed`) in the other range; beside a split that of the split only.
    """
    whole = name in PAMT_CALLS or name == SPLIT.name

    def written(body: Body, node, arguments) -> Value:
        calls, listing = body.world.calls, body.listing
        layout = calls.options.layout
        page = value(body, arguments[0])
        if page.type.name != "kvm_pfn_t" and page.type != types.pointer(types.PAGE):     # an address; those are a frame's number
            page = body.compute(Operator.SHR, page, number(PAGE_SHIFT), types.UNSIGNED_LONG, node)
        page = body.compute(Operator.AND, page, number(layout.pages - (ENTRIES if whole else 1)), types.UNSIGNED_LONG, node)
        for register in (R.PAGE, R.GUEST_PAGE):
            body.load_value(page, node, register)
        locate(listing, layout, 1 if whole else 0, leaf=True)
        if name == SPLIT.name:
            listing.row(Op.LET, register=R.COPY, source=R.HPA, text="the SEPT entry")
        else:
            index(listing, R.TARGET_4K, layout.at("pamt_4k.data"), 0, PAMT_BYTES, text="PAMT 4K entry of the page")
        if whole:
            crossed = calls.crossed and (name == SPLIT.name or SPLIT.name not in body.world.names_used)
            (locate_crossed_pair if crossed else locate_pair)(listing, layout)
        listing.row(Op.LET, register=R.PAMT, source=R.TARGET_4K)
        listing.row(Op.LET, register=R.NODE, source=R.TARGET_2M)
        behind, answer = body.fresh("answered"), body.take(node)

        def made() -> None:
            if name in PARTS:
                calls.parts.add(name)
                body.row(Op.CALL, next=entry_label(PARTS[name], PARTS[name].levels[-1]), otherwise=behind)
                body.label(behind)
            else:
                calls.flow.call(name, behind, 1, body.where)
        interrupts.gated(body, made)
        _note(body, node, name)
        body.row(Op.LET, register=answer, source=R.STATUS)
        if len(arguments) > 1 and not whole:
            write(body, pointed(body, value(body, arguments[1]), node), Value(types.LONG, R.HINT), node)
        return Value(types.UNSIGNED_LONG, answer)
    return written


def at(name: str, place) -> str:
    """The name under which what a call answers at one place of the file is noted, beside what it answers anywhere."""
    return f"{name}@{place.line}:{place.column}"


def _note(body: Body, node, name: str) -> None:
    """Behind a call: count its answer by where it is made, if that is not all there is of it.  No call begins there: rows without a text."""
    if name in body.world.noted:
        listing = body.listing
        listing.row(Op.CALL_BEGIN, value=listing.call_number(at(name, place_of(node))))
        listing.row(Op.CALL_END)


class Calls:
    """The functions that a test may call of one release, under one policy's flows; `crossed`: see _pamt."""

    def __init__(self, options: Options, flow: Flow, crossed: bool = False):
        self.options, self.flow, self.crossed, self.parts = options, flow, crossed, set()
        self.rows = by_name(options.release)
        self.primitives = {name: Primitive(_call(row), 0, ARGUMENTS_MOST)
                           for name, row in ({name: name for name in self.rows} | WRAPPERS).items() if row in self.rows}
        self.primitives[NO_VCPUS] = Primitive(self._no_vcpus, 3, ARGUMENTS_MOST + 2)
        self.primitives |= {
            TD_EXIT: Primitive(self._exit, 0), "kick": Primitive(self._kick, 0, 1),
            "kvm_make_all_cpus_request": Primitive(self._kick, 2), "kvm_make_request": Primitive(self._request, 2),
            "kvm_check_request": Primitive(self._check, 2), "kvm_test_request": Primitive(self._pending, 2),
            "vcpu_mode": Primitive(self._mode, 0, 1), "enter_guest_mode": Primitive(self._enter, 0, 1),
            "leave_guest_mode": Primitive(self._leave, 0, 1), "kvm_request_pending": Primitive(self._pending, 0, 1),
            "KVM_BUG_ON": Primitive(self._bug_on, 1, 2),
        }
        self.primitives |= {name: Primitive(self._bug_on, 3, 6) for name in ("TDX_BUG_ON", "TDX_BUG_ON_1", "TDX_BUG_ON_2", "TDX_BUG_ON_3")}
        if options.layout.dynamic_pamt:
            self.primitives |= {name: Primitive(_pamt(name), 1, 1 + (name in (GIVE_BACK.name, *PAMT_CALLS))) for name in (*PAMT_CALLS, *PARTS)}

    def _exit(self, body: Body, node, arguments) -> Value:
        behind = body.fresh("left")

        def leave() -> None:
            body.row(Op.CALL, next=TD_EXIT, otherwise=behind, text=TD_EXIT)
            body.label(behind)
        interrupts.gated(body, leave)
        return NOTHING

    def _kick(self, body: Body, node, arguments) -> Value:
        """With KVM_REQUEST_WAIT every vCPU that was in the guest has left when it answers; otherwise a request is there for each."""
        if body.interrupted:
            raise body.error(node, f"{node.name.name}: not in a process that is interrupted")
        waits = node.name.name == "kick" or known(body, arguments[1], "the request") & REQUEST_WAIT
        self.flow.kick_all() if waits else self.flow.tell_all()
        return NOTHING

    def _no_vcpus(self, body: Body, node, arguments) -> Value:
        """tdh_do_no_vcpus(func, kvm, args...) of Linux 6.19 (arch/x86/kvm/vmx/tdx.c): the call, and where it is BUSY once more with
        entry barred and every vCPU out.  The bar is the VM's word; a shared word of the file that is called so is that one."""
        function = getattr(arguments[0], "name", "")
        if function not in self.primitives or not set(rows_of(function)) & self.rows.keys():
            raise body.error(node, f"{NO_VCPUS} takes one of the module's calls first{nearest(function, self.rows)}")
        if body.interrupted:
            raise body.error(node, f"{NO_VCPUS}: not in a process that is interrupted")
        world, made = body.world, self.primitives[function].write
        lock = locks.mmu_lock(world)
        if lock:
            locks.assert_held(body, lock, node, locks.EXCLUSIVE)
        answer = body.take(node)
        busy, done = body.fresh("busy"), body.fresh("done")
        with body.temporaries():
            body.load_value(made(body, node, arguments[2:]), node, answer)
            decide(body, _of_class(body, Value(types.UNSIGNED_LONG, answer), "TDX_OPERAND_BUSY", node), busy, done)
        body.label(busy)
        body.row(Op.STORE, **self.flow.at(BAR, value=1))
        self.flow.kick_all()
        with body.temporaries():
            body.load_value(made(body, node, arguments[2:]), node, answer)
        body.row(Op.STORE, **self.flow.at(BAR))
        body.label(done)
        return Value(types.UNSIGNED_LONG, answer)

    def _enter(self, body: Body, node, arguments) -> Value:
        """vcpu->mode = IN_GUEST_MODE, unless a request is there: 1 if it is in the guest now."""
        old, answer = body.take(node), body.take(node)
        asked, done = body.fresh("asked"), body.fresh("done")
        body.row(Op.LET, register=old)
        body.row(Op.SWAP, base=R.KICK, register=old, value=IN_GUEST, otherwise=asked)
        body.row(Op.LET, register=answer, value=1, next=done)
        body.label(asked)
        body.row(Op.LET, register=answer)
        body.label(done)
        return Value(types.INT, answer)

    def _leave(self, body: Body, node, arguments) -> Value:
        interrupts.gated(body, self.flow.leave_guest_mode)
        return NOTHING

    def _pending(self, body: Body, node, arguments) -> Value:
        """Whether a request is there; of the process's own vCPU or the one that is named."""
        word = self._kick_word(body, node, arguments[-1:])
        return body.compute(Operator.AND, word, number(REQUEST), types.LONG, node)

    def _mode(self, body: Body, node, arguments) -> Value:
        """vcpu->mode: 1 IN_GUEST_MODE, 0 OUTSIDE_GUEST_MODE, 2 EXITING_GUEST_MODE (kicked, and still in the guest)."""
        word = self._kick_word(body, node, arguments)
        inside = body.compute(Operator.SHR, word, number(1), types.LONG, node)
        asked = body.compute(Operator.AND, word, inside, types.LONG, node)
        return body.compute(Operator.ADD, inside, asked, types.LONG, node)._replace(type=types.INT)

    def _request(self, body: Body, node, arguments) -> Value:
        """kvm_make_request(req, vcpu): seen at that vCPU's next look; no interrupt is sent."""
        self._kick_word(body, node, arguments[1:], Op.OR, value=REQUEST)
        return NOTHING

    def _check(self, body: Body, node, arguments) -> Value:
        """kvm_check_request(req, vcpu): if the request is there, clear it and answer 1."""
        answer = body.take(node)
        there, done = body.fresh("requested"), body.fresh("done")
        body.row(Op.LET, register=answer)
        with body.temporaries():
            decide(body, self._pending(body, node, arguments[1:]), there, done)
        body.label(there)
        self._kick_word(body, node, arguments[1:], Op.AND, value=~REQUEST)
        body.row(Op.LET, register=answer, value=1)
        body.label(done)
        return Value(types.INT, answer)

    def _kick_word(self, body: Body, node, arguments, op: Op = Op.LOAD, **fields) -> Value:
        """An access to the word that has a vCPU's mode and whether anything is requested of it."""
        named = spelled(arguments[0]) if arguments else "vcpu"
        found, word = re.fullmatch(r"vcpu(\d+)", named), body.take(node)
        if found and int(found[1]) >= self.options.layout.vcpus:
            raise body.error(node, f"`{named}`: there {'is' if self.options.layout.vcpus == 1 else 'are'}"
                                   f" {self.options.layout.vcpus}, numbered from 0 in the order of processes")
        at = {"base": R.TD, "offset": self.options.layout.at("kick", int(found[1]))} if found else {"base": R.KICK}
        body.row(op, register=word, **at, **fields)
        return Value(types.LONG, word)

    def _bug_on(self, body: Body, node, arguments) -> Value:
        answer = body.take(node)
        yes, no, done = body.fresh("bug"), body.fresh("fine"), body.fresh("done")
        branch(body, arguments[0], yes, no)
        body.label(yes)
        dead = body.fresh("dead")

        def bug() -> None:
            self.flow.bug(dead)
            body.label(dead)
        interrupts.gated(body, bug)
        body.row(Op.LET, register=answer, value=1, next=done)
        body.label(no)
        body.row(Op.LET, register=answer)
        body.label(done)
        return Value(types.BOOL, answer)


def _call(called: str) -> Callable:
    def written(body: Body, node, arguments) -> Value:
        calls = body.world.calls
        name = f"{INIT}_apicid" if called == INIT and len(arguments) >= INIT_ARGUMENTS else called
        row, layout, listing = calls.rows[name], calls.options.layout, body.listing
        page, level = _operands(body, node, name, row, arguments)
        if page is not None:
            body.load_value(page, node, R.PAGE)
            body.load_value(page, node, R.GUEST_PAGE)
            index(listing, R.CONTENT, layout.at("content"), 0, layout.content_bytes, text="the page itself")
            if name in ABOUT_PAGES:
                locate_page(listing, layout, ABOUT_PAGES[name], source=R.PAGE)
            else:
                locate(listing, layout, level, leaf=True if name in LEAF_CALLS else None)
            if name == "tdh_mem_page_relocate":
                locate_page(listing, layout, "data", layout.pages)
        interrupts.gated(body, lambda: calls.flow.call(name, body.fresh("answered"), level, body.where))
        _note(body, node, name)
        answer = body.take(node)
        body.row(Op.LET, register=answer, source=R.STATUS)
        return Value(types.UNSIGNED_LONG, answer)
    return written


def _operands(body: Body, node, name: str, row, arguments) -> tuple[Value | None, int]:
    """(page number, level) that a call is about."""
    first = 0 if name.startswith("tdg_") else 1
    if name in ABOUT_PAGES:
        if not arguments:
            raise body.error(node, f"{name} takes the page: {name}(page)")
        argument = arguments[0 if name in PAGE_FIRST or len(arguments) == 1 else 1]
        found, pages = value(body, argument), body.world.calls.options.layout.pages
        if found.local is not None or found.type.kind == "pointer" and found.type.to != types.PAGE:
            raise body.error(argument, f"`{spelled(argument)}`: {name} takes the page's number here")
        if found.constant is not None and not 0 <= found.constant < pages:
            raise body.error(argument, f"{found.constant:#x}: must be the number of a page, below {pages}")
        return body.compute(Operator.AND, found, number(pages - 1), types.UNSIGNED_LONG, node), 0
    if not about_entry(name):
        return None, 0
    if len(arguments) <= first:
        how = f"{name}({'' if first == 0 else 'td, '}gpa{', level' if len(row.levels) > 1 else ''}, ...)"
        raise body.error(node, f"{name} takes the address of a guest page: {how}")
    level = _level(body, arguments[first + 1]) if len(arguments) > first + 1 and len(row.levels) > 1 else row.levels[0]
    if level not in row.levels:
        raise body.error(node, f"level {level}: {name} takes {', '.join(map(str, row.levels))}")
    gpa = value(body, arguments[first])
    pages = body.world.calls.options.layout.pages
    if gpa.constant is not None and (gpa.constant % (1 << PAGE_SHIFT) or not 0 <= gpa.constant >> PAGE_SHIFT < pages):
        raise body.error(arguments[first], f"{gpa.constant:#x}: must be the address of a page of 4096 bytes below {pages << PAGE_SHIFT:#x}")
    found = body.compute(Operator.SHR, gpa, number(PAGE_SHIFT), types.UNSIGNED_LONG, node)
    return body.compute(Operator.AND, found, number(pages - 1), types.UNSIGNED_LONG, node), level


def _level(body: Body, argument) -> int:
    """A level of the module's; an enum pg_level is one more."""
    found = value(body, argument)
    return known(body, argument, "the level") - (found.type == types.PG_LEVEL)


def _of_class(body: Body, found: Value, name: str, node) -> Value:
    """Whether a status is that one, whatever its operand."""
    found = body.compute(Operator.AND, found, number(signed(STATUS_CLASS), types.UNSIGNED_LONG), types.UNSIGNED_LONG, node)
    found = body.compute(Operator.EQ, found, number(signed(STATUSES[name]), types.UNSIGNED_LONG), types.UNSIGNED_LONG, node)
    return found._replace(type=types.BOOL)


def _is_status(name: str) -> Callable:
    return lambda body, node, arguments: _of_class(body, value(body, arguments[0]), name, node)


def _shifted(operator: Operator) -> Callable:
    return lambda body, node, arguments: body.compute(
        operator, body.fitted(value(body, arguments[0]), types.UNSIGNED_LONG, node), number(PAGE_SHIFT), types.UNSIGNED_LONG, node)


def _sept_level(body: Body, node, arguments) -> Value:
    """PG_LEVEL_4K is 1 in the kernel, the module's level is 0."""
    return number(known(body, arguments[0], "the level") - 1)


def _page_mask(body: Body, node, arguments) -> Value:
    """KVM_HPAGE_MASK: the address bits above a page of a level; include/asm/kvm_host.h."""
    return number(-1 << PAGE_SHIFT + 9 * (known(body, arguments[0], "the level") - 1), types.LONG)


# What needs no TD: statuses, addresses, levels.
PLAIN: dict[str, Primitive] = {
    "tdx_operand_busy": Primitive(_is_status("TDX_OPERAND_BUSY")), "tdx_success": Primitive(_is_status("TDX_SUCCESS")),
    "gfn_to_gpa": Primitive(_shifted(Operator.SHL)), "gpa_to_gfn": Primitive(_shifted(Operator.SHR)),
    "pg_level_to_tdx_sept_level": Primitive(_sept_level), "KVM_HPAGE_MASK": Primitive(_page_mask),
    **{name: Primitive(lambda body, node, given: value(body, given[0])) for name in ("page_to_pfn", "to_kvm_tdx", "to_tdx")},
    **{f"IS_{name}": Primitive(_is_status(name)) for name in STATUSES},
}


def constants() -> dict[str, int]:
    """Names of statuses, of their operands and of exit reasons, and the module's levels."""
    return {name: signed(word) for name, word in STATUSES.items()} | {f"TDX_OPERAND_ID_{name}": word for name, word in (OPERANDS | SEPT).items()} | {name: word for word, name in EXIT_REASONS.items()} | {
        "TDX_PS_4K": 0, "TDX_PS_2M": 1, "TDX_PS_1G": 2,
        "TDX_SEAMCALL_STATUS_MASK": signed(STATUS_CLASS), "OUTSIDE_GUEST_MODE": 0, "IN_GUEST_MODE": 1,
        "EXITING_GUEST_MODE": 2, "KVM_REQUEST_WAIT": REQUEST_WAIT, "KVM_REQ_OUTSIDE_GUEST_MODE": REQUEST_WAIT, "KVM_REQ_VM_DEAD": 1,
        "KVM_REQ_UNBLOCK": 2}


