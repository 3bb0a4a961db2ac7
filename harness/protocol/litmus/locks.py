"""Locks, interrupts and RCU in C: the kernel's functions as rows of one table, and guard().

A lock word is the kernel's queued lock (kernels/rwlock.py): a spinlock's and a writer's unlock is a plain store of the byte
that says so, a reader's and a mutex's one locked instruction (kernel/locking/qspinlock.c, qrwlock.c, mutex.c).  Who may
sleep there must hold no spinlock, which is counted where the file calls anything that may sleep.

What a process holds it counts in a register, FIELD bits for each lock and mode: who lets go of a lock has to hold it.
How many spinning locks it holds, and whether its interrupts are off, are registers only where the file looks at them.
"""

from typing import Callable

from pycparser import c_ast

from harness.errors import nearest
from harness.protocol.litmus import interrupts, kvm, rcu, types
from harness.protocol.litmus.body import WORD, Body, Local, Shared, Value, number, spelled
from harness.protocol.litmus.expressions import decide, place, read, value
from harness.protocol.litmus.primitives import NOTHING, Primitive, change, lock, shared, unless_equal, where
from kernels.arithmetic import Operator
from kernels.ops import Op, Register as R
from kernels.rwlock import READER, WAITING, WRITER
from kernels.words import signed

EXCLUSIVE, SHARED = "exclusive", "shared"
# Functions that may sleep; guard(mutex) is one that is seen by `guard`.
SLEEPING = {"cond_resched", "might_sleep", "mutex_lock", "mutex_lock_nested", "down_read", "down_write", "synchronize_rcu",
            "synchronize_rcu_expedited", "synchronize_srcu", "synchronize_srcu_expedited", "guard", "__guard__"}
SPINNING = ("spinlock", "rwlock")
MMU_LOCK = "mmu_lock"            # the name of KVM's, in a file that has it
BYTE = 8                         # bits of a lock word that an unlock stores
MOST = 15                        # of one lock that a process holds
HELD, FIELD = "held", 4          # the register that counts what a process holds, and bits of it for a lock in a mode


# --- taking and dropping ---

def take(body: Body, found: Shared, mode: str) -> None:
    """Wait for a lock."""
    if found.type.kind not in SPINNING:
        _may_sleep(body, None)
    if body.interrupted:
        _poll(body, found, mode)
    elif mode == EXCLUSIVE:
        body.row(Op.MMU_TAKE_EXCLUSIVE, **where(found))
    elif body.interrupts:                        # a reader in an interrupt passes writers that wait (qrwlock.c)
        body.row(Op.ADD, value=READER, **where(found))
        body.row(Op.WAIT_IS, mask=WRITER, match=0, **where(found))
    else:
        next_in, taken = body.fresh("readers"), body.fresh("taken")
        body.row(Op.MMU_TAKE_SHARED, otherwise=next_in, **where(found))
        with body.listing.aside(next_in):
            body.row(Op.WAIT_IS, mask=WRITER, match=0, next=taken, **where(found))
        body.label(taken)
    note(body, found, mode, 1)


def _poll(body: Body, found: Shared, mode: str) -> None:
    """The same of a process that may be interrupted while it waits: each try is an access of its own."""
    again, busy, taken, free = (body.fresh(part) for part in ("again", "busy", "taken", "free"))
    with body.temporaries():
        old = body.take(None)
        body.label(again)
        if mode == EXCLUSIVE:
            body.row(Op.LET, register=old)
            body.row(Op.SWAP, register=old, value=WRITER, next=taken, otherwise=busy, **where(found))
        else:
            body.row(Op.LOAD, register=old, mask=WRITER | WAITING, match=0, next=free, otherwise=busy, **where(found))
            body.label(free)
            body.row(Op.SWAP, register=old, source=old, value=READER, next=taken, otherwise=busy, **where(found))
        body.label(busy)
        body.row(Op.WAIT_IS, mask=-1 if mode == EXCLUSIVE else WRITER | WAITING, match=0, next=again, **where(found))
        body.label(taken)


def drop(body: Body, found: Shared, mode: str) -> None:
    _let_go(body, found, mode)
    if mode == SHARED:
        body.row(Op.MMU_DROP_SHARED, **where(found))
    elif found.type.kind in SPINNING:
        body.row(Op.STORE, width=BYTE, **where(found))
    else:
        body.row(Op.MMU_DROP_EXCLUSIVE, **where(found))


def _field(body: Body, found: Shared, mode: str) -> int:
    """Where the count of a lock lies in the register HELD, as its lowest bit; 0 of a lock that is not known beforehand."""
    if found.base != R.ZERO:
        return 0
    at = body.held.setdefault((found.offset, mode), FIELD * len(body.held))
    return 1 << at if at < 64 else 0


def _add(body: Body, name: str, by: int) -> None:
    register = body.counter(name)
    body.row(Op.LET, register=register, source=register, value=signed(by))


def note(body: Body, found: Shared, mode: str, by: int) -> None:
    """Keep count of what this process holds."""
    if one := _field(body, found, mode):
        _add(body, HELD, by * one)
    if found.type.kind in SPINNING and body.world.names_used & SLEEPING:
        _add(body, "spinning", by)


def _let_go(body: Body, found: Shared, mode: str) -> None:
    """Note that a lock is let go of; that it is not held is a violation, and is not counted below zero."""
    if not (one := _field(body, found, mode)):
        note(body, found, mode, -1)
        return
    mine, other, gone = (body.fresh(part) for part in ("mine", "not_mine", "gone"))
    body.row(Op.TEST, register=body.counter(HELD), mask=signed(one * MOST), match=0, next=other, otherwise=mine)
    with body.listing.aside(other):
        body.violation("lock_balance")
        body.goto(gone)
    body.label(mine)
    note(body, found, mode, -1)
    body.label(gone)


def _flags(body: Body, argument) -> Local:
    """The local of spin_lock_irqsave(l, flags)."""
    found = place(body, argument)
    if not isinstance(found, Local):
        raise body.error(argument, f"`{spelled(argument)}` must be a local of this process")
    return found


def _take(mode: str, *kinds: str, irq: str = "") -> Callable:
    """irq: "" nothing, "off" interrupts off, "save" what they were is kept in the second argument."""
    def written(body: Body, node, arguments) -> Value:
        found = lock(body, arguments[0], node, *kinds)
        if irq:
            interrupts.off(body, _flags(body, arguments[1]).register if irq == "save" else None)
        take(body, found, mode)
        return NOTHING
    return written


def _drop(mode: str, *kinds: str, irq: str = "") -> Callable:
    def written(body: Body, node, arguments) -> Value:
        drop(body, lock(body, arguments[0], node, *kinds), mode)
        if irq:
            interrupts.on(body, body.load_value(value(body, arguments[1]), node) if irq == "save" else None)
        return NOTHING
    return written


def _answering_zero(write: Callable) -> Callable:
    """mutex_lock_interruptible and _killable: nobody sends a signal."""
    def written(body: Body, node, arguments) -> Value:
        write(body, node, arguments)
        return number(0)
    return written


def _try(mode: str, *kinds: str) -> Callable:
    """A look, then one compare-and-swap."""
    def written(body: Body, node, arguments) -> Value:
        found = lock(body, arguments[0], node, *kinds)
        old, answer = body.take(node), body.take(node)
        failed, done = body.fresh("failed"), body.fresh("done")
        taken = {"source": old, "value": READER} if mode == SHARED else {"value": WRITER}
        body.row(Op.LOAD, register=old, mask=WRITER | WAITING if mode == SHARED else -1, match=0, otherwise=failed, **where(found))
        body.row(Op.SWAP, register=old, otherwise=failed, **taken, **where(found))
        note(body, found, mode, 1)
        body.row(Op.LET, register=answer, value=1, next=done)
        body.label(failed)
        body.row(Op.LET, register=answer)
        body.label(done)
        return Value(types.INT, answer)
    return written


def _downgrade(body: Body, node, arguments) -> Value:
    """downgrade_write: from the writer to a reader, at once."""
    found = lock(body, arguments[0], node, "rwsem")
    body.row(Op.ADD, value=READER - WRITER, **where(found))
    note(body, found, EXCLUSIVE, -1)
    note(body, found, SHARED, 1)
    return NOTHING


def _is_locked(body: Body, node, arguments) -> Value:
    word = read(body, lock(body, arguments[0], node, *types.LOCKS)._replace(type=types.LONG), node)
    return body.compute(Operator.NE, word, number(0), types.LONG, node)._replace(type=types.INT)


def _dec_and_lock(kind: str, saves: bool = False) -> Callable:
    """1 with the lock held if the count came to zero; include/linux/spinlock.h, lib/dec_and_lock.c.  `saves`: with interrupts off then."""
    def written(body: Body, node, arguments) -> Value:
        target, found = shared(body, arguments[0], node), lock(body, arguments[1], node, kind)
        answer = body.take(node)
        slow, zero, more, done = (body.fresh(part) for part in ("slow", "zero", "more", "done"))
        with body.temporaries():
            went = unless_equal(body, target, number(-1), number(1, types.LONG), node)
            decide(body, went, more, slow)
        body.label(slow)
        flags = _flags(body, arguments[2]).register if saves else None
        if saves:
            interrupts.off(body, flags)
        take(body, found, EXCLUSIVE)
        with body.temporaries():
            old, _ = change(body, target, Operator.SUB, number(1), node)
            last = body.compute(Operator.EQ, old, number(1), types.LONG, node)
            unlock = body.fresh("unlock")
            decide(body, last, zero, unlock)
        body.label(unlock)
        drop(body, found, EXCLUSIVE)
        if saves:
            interrupts.on(body, flags)
        body.label(more)
        body.row(Op.LET, register=answer, next=done)
        body.label(zero)
        body.row(Op.LET, register=answer, value=1)
        body.label(done)
        return Value(types.INT, answer)
    return written


# --- waiting for another, sleeping ---

def either(body: Body, node, arguments) -> Value:
    """A hint of what others want (need_resched, rwlock_needbreak): both answers are tried; real runs have 0."""
    answer = body.take(node)
    body.listing.choose(answer, "either")
    return Value(types.INT, answer)


def _may_sleep(body: Body, node) -> None:
    """Nothing that may sleep is called with a spinlock held."""
    if not body.world.names_used & SLEEPING:
        return
    with body.temporaries():
        free = body.compute(Operator.EQ, Value(types.LONG, body.counter("spinning")), number(0), types.LONG, node)
        body.must(free, "sleeps_in_atomic")


def _cond_resched(body: Body, node, arguments) -> Value:
    _may_sleep(body, node)
    return NOTHING


def _resched_lock(mode: str, *kinds: str) -> Callable:
    """cond_resched_lock and relatives: another waits or not; if it does the lock is let go and taken again, and 1 is answered."""
    def written(body: Body, node, arguments) -> Value:
        found = lock(body, arguments[0], node, *kinds)
        answer = either(body, node, arguments)
        yes, no = body.fresh("yields"), body.fresh("goes_on")
        decide(body, answer, yes, no)
        body.label(yes)
        drop(body, found, mode)
        take(body, found, mode)
        body.label(no)
        return answer
    return written


# --- guards ---

# name: mode, kinds of lock, interrupts
GUARDS = {
    **{f"{prefix}spinlock{suffix}": (EXCLUSIVE, ("spinlock",), irq) for prefix in ("", "raw_")
       for suffix, irq in (("", ""), ("_irq", "off"), ("_irqsave", "save"), ("_bh", ""))},
    **{f"{name}_lock{suffix}": (mode, ("rwlock",), irq) for name, mode in (("read", SHARED), ("write", EXCLUSIVE))
       for suffix, irq in (("", ""), ("_irq", "off"), ("_irqsave", "save"))},
    "mutex": (EXCLUSIVE, ("mutex",), ""), "rwsem_read": (SHARED, ("rwsem",), ""), "rwsem_write": (EXCLUSIVE, ("rwsem",), ""),
}
SRCU_KINDS = ("", "_nmisafe", "_notrace")
READ_SIDES = {"rcu": 0, "srcu": 1}               # arguments of their guards


def guard(body: Body, kind, arguments: list, node) -> None:
    """guard(kind)(lock): taken now, released at the end of the block, on every way out."""
    name = kind.name if isinstance(kind, c_ast.ID) else spelled(kind)
    body.at(node)
    if name in READ_SIDES and len(arguments) == READ_SIDES[name]:
        domain = _domain(body, node, arguments)
        rcu.enter(body, domain)
        body.scopes[-1].guards.append(lambda: rcu.leave(body, domain, node))
        return
    if name in ("irq", "irqsave", "preempt") and not arguments:
        if name == "preempt":
            return
        kept = body.counter(body.fresh("flags")) if name == "irqsave" else None
        interrupts.off(body, kept)
        body.scopes[-1].guards.append(lambda: interrupts.on(body, kept))
        return
    if name not in GUARDS:
        raise body.error(node, f"guard({name}) is not known{nearest(name, (*GUARDS, *READ_SIDES, 'irq', 'irqsave'))}")
    if len(arguments) != 1:
        raise body.error(node, f"guard({name}) takes one lock")
    mode, kinds, irq = GUARDS[name]
    found = lock(body, arguments[0], node, *kinds)
    if found.base != R.ZERO:                     # the pointer may change before the end of the block
        kept = body.counter(body.fresh("guard"))
        body.load_value(Value(types.LONG, found.base), node, kept)
        found = found._replace(base=kept)
    flags = body.counter(body.fresh("flags")) if irq == "save" else None
    if irq:
        interrupts.off(body, flags)
    take(body, found, mode)

    def release() -> None:
        drop(body, found, mode)
        if irq:
            interrupts.on(body, flags)
    body.scopes[-1].guards.append(release)


# --- assertions about locks ---

def _held(*modes: str, negated: bool = False) -> Callable:
    def written(body: Body, node, arguments) -> Value:
        assert_held(body, lock(body, arguments[0], node, *types.LOCKS), node, *modes, negated=negated)
        return NOTHING
    return written


def assert_held(body: Body, found: Shared, node, *modes: str, negated: bool = False) -> None:
    """That this process holds a lock in one of these modes; or `negated`, in none."""
    if found.base != R.ZERO:
        raise body.error(node, "lockdep needs a lock that is known beforehand")
    fields_ = [_field(body, found, mode) for mode in modes]
    if not all(fields_):
        raise body.error(node, f"lockdep knows {64 // FIELD} pairs of lock and mode of a process, this is one more")
    with body.temporaries():
        held = Value(types.LONG, body.counter(HELD))
        fields = number(sum(MOST * each for each in fields_), types.LONG)
        held = body.compute(Operator.AND, held, fields, types.LONG, node)
        if negated:
            held = body.compute(Operator.EQ, held, number(0), types.LONG, node)
        body.must(held, "lockdep")


def mmu_lock(world) -> Shared | None:
    """KVM's mmu_lock, in a file that has one: a word of that name, or of its struct kvm."""
    if MMU_LOCK in world.of_vm:
        return Shared(world.variables[MMU_LOCK][0], R.ZERO, world.of_vm[MMU_LOCK])
    for name, (of, place_) in world.variables.items():
        found = (0, of) if name == MMU_LOCK else of.field_at(MMU_LOCK) if kvm.is_kvm(of) else None
        if found:
            return Shared(found[1], R.ZERO, place_ + WORD * found[0])
    return None


# --- RCU ---

def _domain(body: Body, node, arguments) -> Shared:
    if arguments:
        return lock(body, arguments[0], node, "srcu")
    of, place_ = body.world.variables[rcu.RCU]
    return Shared(of, R.ZERO, place_)


def _rcu(what: str) -> Callable:
    def written(body: Body, node, arguments) -> Value:
        domain = _domain(body, node, arguments)
        if what == "enter":
            rcu.enter(body, domain)
        elif what == "leave":
            rcu.leave(body, domain, node)
        elif what == "down":
            return rcu.down(body, domain, node)
        elif what == "up":
            rcu.up(body, domain, value(body, arguments[1]), node)
        else:
            _may_sleep(body, node)
            rcu.synchronize(body, domain, body.world.processes, node)
        return NOTHING
    return written


# --- the table ---

def _spinlocks() -> dict[str, Primitive]:
    table = {}
    for prefix in ("spin", "raw_spin"):
        for suffix, irq, extra in (("", "", 0), ("_irq", "off", 0), ("_irqsave", "save", 1), ("_bh", "", 0)):
            back = suffix.replace("save", "restore")
            table[f"{prefix}_lock{suffix}"] = Primitive(_take(EXCLUSIVE, "spinlock", irq=irq), 1 + extra)
            table[f"{prefix}_unlock{back}"] = Primitive(_drop(EXCLUSIVE, "spinlock", irq=irq), 1 + extra)
        table[f"{prefix}_lock_nested"] = Primitive(_take(EXCLUSIVE, "spinlock"), 2)
        table[f"{prefix}_trylock"] = Primitive(_try(EXCLUSIVE, "spinlock"))
        table[f"{prefix}_is_locked"] = Primitive(_is_locked)
    return table


def _readers_and_writers() -> dict[str, Primitive]:
    table = {}
    for name, mode in (("read", SHARED), ("write", EXCLUSIVE)):
        for suffix, irq, extra in (("", "", 0), ("_irq", "off", 0), ("_irqsave", "save", 1), ("_bh", "", 0)):
            back = suffix.replace("save", "restore")
            table[f"{name}_lock{suffix}"] = Primitive(_take(mode, "rwlock", irq=irq), 1 + extra)
            table[f"{name}_unlock{back}"] = Primitive(_drop(mode, "rwlock", irq=irq), 1 + extra)
        table |= {
            f"{name}_trylock": Primitive(_try(mode, "rwlock")), f"down_{name}": Primitive(_take(mode, "rwsem")),
            f"up_{name}": Primitive(_drop(mode, "rwsem")), f"down_{name}_trylock": Primitive(_try(mode, "rwsem")),
            f"cond_resched_rwlock_{name}": Primitive(_resched_lock(mode, "rwlock"))}
    return table | {"downgrade_write": Primitive(_downgrade)}


def _mutexes() -> dict[str, Primitive]:
    taken = _take(EXCLUSIVE, "mutex")
    return {
        "mutex_lock": Primitive(taken), "mutex_lock_nested": Primitive(taken, 2),
        "mutex_lock_killable": Primitive(_answering_zero(taken)), "mutex_lock_interruptible": Primitive(_answering_zero(taken)),
        "mutex_unlock": Primitive(_drop(EXCLUSIVE, "mutex")), "mutex_trylock": Primitive(_try(EXCLUSIVE, "mutex")),
        "mutex_is_locked": Primitive(_is_locked)}


LOCKS: dict[str, Primitive] = _spinlocks() | _readers_and_writers() | _mutexes() | {
    **{f"{family}_dec_and_{name}": Primitive(_dec_and_lock(kind), 2) for family in ("atomic", "atomic64", "atomic_long", "refcount")
       for name, kind in (("lock", "spinlock"), ("raw_lock", "spinlock"), ("mutex_lock", "mutex"))},
    **{f"{family}_dec_and_{name}_irqsave": Primitive(_dec_and_lock("spinlock", True), 3) for family in ("atomic", "refcount")
       for name in ("lock", "raw_lock")},
    "cond_resched_lock": Primitive(_resched_lock(EXCLUSIVE, "spinlock")),
    "need_resched": Primitive(either, 0), "spin_needbreak": Primitive(either), "rwlock_needbreak": Primitive(either),
    "cond_resched": Primitive(_cond_resched, 0), "might_sleep": Primitive(_cond_resched, 0),
    "rcu_read_lock": Primitive(_rcu("enter"), 0), "rcu_read_unlock": Primitive(_rcu("leave"), 0),
    "synchronize_rcu": Primitive(_rcu("wait"), 0), "synchronize_rcu_expedited": Primitive(_rcu("wait"), 0),
    **{f"srcu_read_lock{kind}": Primitive(_rcu("enter"), 1) for kind in SRCU_KINDS},
    **{f"srcu_read_unlock{kind}": Primitive(_rcu("leave"), 1, 2) for kind in SRCU_KINDS},
    rcu.DOWN: Primitive(_rcu("down"), 1), "srcu_up_read": Primitive(_rcu("up"), 2),
    "synchronize_srcu": Primitive(_rcu("wait"), 1), "synchronize_srcu_expedited": Primitive(_rcu("wait"), 1),
    "lockdep_assert_held": Primitive(_held(EXCLUSIVE, SHARED)), "lockdep_assert_held_once": Primitive(_held(EXCLUSIVE, SHARED)),
    "assert_spin_locked": Primitive(_held(EXCLUSIVE)), "lockdep_assert_held_read": Primitive(_held(SHARED)),
    "lockdep_assert_held_write": Primitive(_held(EXCLUSIVE)),
    "lockdep_assert_not_held": Primitive(_held(EXCLUSIVE, SHARED, negated=True)),
}
