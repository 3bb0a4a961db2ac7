"""C's integer types: width, sign, and what a value becomes in them.

A value is kept as a signed 64-bit number, extended from its type's width by its sign.  A shared word
takes 64 bits of memory whatever its type, so that no two share one; what is stored in it is first made
to fit its type.
"""

import re
from dataclasses import dataclass, field


READERS = 8                      # processes that may read in one SRCU domain: kernels/moves.py's ACTORS_MAX


@dataclass(frozen=True)
class Type:
    """An integer, a pointer (`to` is what it points to), or a struct (`fields`).

    words   64-bit words that an object of this type takes
    kind    "integer", "pointer", "struct", "void", or what may be done with it: "atomic", "spinlock",
            "rwlock", "mutex", "rwsem", "srcu"
    """

    name: str
    bits: int = 64
    signed: bool = True
    kind: str = "integer"
    to: "Type | None" = None
    fields: tuple[tuple[str, "Type"], ...] = field(default=(), repr=False)
    count: int = 0               # of an array

    @property
    def words(self) -> int:
        if self.count:
            return self.count * self.to.words
        if self.kind == "srcu":
            return 2 * READERS + 1
        return sum(of.words for _, of in self.fields) if self.kind == "struct" else 1

    def field_at(self, name: str) -> "tuple[int, Type] | None":
        """(words before it, type) of a field."""
        before = 0
        for known, of in self.fields:
            if known == name:
                return before, of
            before += of.words
        return None

    def fit(self, value: int) -> int:
        """What a number becomes in this type."""
        if self.kind == "pointer" or self.bits == 64:
            return (value + (1 << 63)) % (1 << 64) - (1 << 63)
        value %= 1 << self.bits
        return value - (1 << self.bits) if self.signed and value >> self.bits - 1 else value

    def __str__(self) -> str:
        return self.name


VOID = Type("void", kind="void")
INT, UNSIGNED, LONG, UNSIGNED_LONG = (Type(name, bits, signed) for name, bits, signed in (
    ("int", 32, True), ("unsigned int", 32, False), ("long", 64, True), ("unsigned long", 64, False)))
BOOL = Type("bool", 8, False)
# What the kernel and C call them.  Atomics: include/linux/types.h; locks: spinlock_types.h, rwlock_types.h.
NAMES = {
    "char": Type("char", 8), "signed char": Type("signed char", 8), "unsigned char": Type("unsigned char", 8, False),
    "short": Type("short", 16), "unsigned short": Type("unsigned short", 16, False),
    "int": INT, "unsigned": UNSIGNED, "unsigned int": UNSIGNED, "signed": INT, "long": LONG, "unsigned long": UNSIGNED_LONG,
    "long long": LONG, "unsigned long long": UNSIGNED_LONG, "bool": BOOL, "_Bool": BOOL, "void": VOID,
    **{f"{sign}{bits}": Type(f"{sign}{bits}", bits, sign == "s") for sign in "us" for bits in (8, 16, 32, 64)},
    **{f"{'u' * (not signed)}int{bits}_t": Type(f"{'u' * (not signed)}int{bits}_t", bits, signed)
       for signed in (True, False) for bits in (8, 16, 32, 64)},
    **{name: Type(name, 64, False) for name in ("gfn_t", "gpa_t", "hpa_t", "hfn_t", "kvm_pfn_t", "size_t", "uintptr_t")},
    "intptr_t": Type("intptr_t", 64),
    "atomic_t": Type("atomic_t", 32, kind="atomic"), "refcount_t": Type("refcount_t", 32, kind="atomic"),
    "atomic64_t": Type("atomic64_t", 64, kind="atomic"), "atomic_long_t": Type("atomic_long_t", 64, kind="atomic"),
    "spinlock_t": Type("spinlock_t", kind="spinlock"), "raw_spinlock_t": Type("raw_spinlock_t", kind="spinlock"),
    "rwlock_t": Type("rwlock_t", kind="rwlock"),
}
STRUCTS = {"mutex": Type("struct mutex", kind="mutex"), "srcu_struct": Type("struct srcu_struct", kind="srcu"),
           "rw_semaphore": Type("struct rw_semaphore", kind="rwsem")}
NAMES["tdp_ptep_t"] = Type("tdp_ptep_t", 64, False, "pointer", NAMES["u64"])       # arch/x86/kvm/mmu/spte.h
PAGE = Type("struct page", kind="opaque")        # stands for the number of its frame
_INTEGER = re.compile(r"(?P<digits>0[xX][0-9a-fA-F]+|0[bB][01]+|(?P<octal>0[0-7]+)|(?P<decimal>[0-9]+))(?P<suffix>[uU]?[lL]{0,2}|[lL]{1,2}[uU])")
LOCKS = ("spinlock", "rwlock", "mutex", "rwsem")
# Names that pycparser must know as types.
TYPEDEFS = tuple(name for name in NAMES if name.isidentifier() and name not in (
    "char", "short", "int", "unsigned", "signed", "long", "void", "_Bool"))


def literal(written: str) -> tuple[int, bool, str] | None:
    """(value, whether it is decimal, suffix in small letters) of an integer constant of C; None of what is none."""
    found = _INTEGER.fullmatch(written)
    return (int(found["digits"], 8 if found["octal"] else 0), bool(found["decimal"]), found["suffix"].lower()) if found else None


def lock_words(of: Type) -> list[int]:
    """Which words of an object are locks."""
    if of.count:
        return [place * of.to.words + word for place in range(of.count) for word in lock_words(of.to)]
    if of.kind != "struct":
        return [0] if of.kind in LOCKS else []
    found, before = [], 0
    for _, each in of.fields:
        found += [before + word for word in lock_words(each)]
        before += each.words
    return found


def within(of: Type) -> list[tuple[Type, int]]:
    """(type, words before it) of an object and of all that is in it."""
    parts = [(of.to, place * of.to.words) for place in range(of.count)] if of.count else [(each, of.field_at(name)[0]) for name, each in of.fields]
    return [(of, 0)] + [(inner, before + more) for part, before in parts for inner, more in within(part)]


def word_name(of: Type, word: int) -> str:
    """What stands behind an object's name for one of its words: "", `[1]`, `.f`."""
    if of.count:
        return f"[{word // of.to.words}]{word_name(of.to, word % of.to.words)}"
    if of.kind != "struct":
        return f"[{word}]" if of.words > 1 else ""
    for name, each in of.fields:
        if word < each.words:
            return f".{name}{word_name(each, word)}"
        word -= each.words
    raise IndexError(word)


def pointer(to: Type) -> Type:
    return Type(f"{to.name} *", 64, False, "pointer", to)


def enum(name: str) -> Type:
    """An enum is an int; its name tells a level of the kernel's (PG_LEVEL) from one of the module's."""
    return Type(f"enum {name}", 32, True)


PG_LEVEL = enum("pg_level")      # arch/x86/include/asm/pgtable_types.h
PG_LEVELS = {"PG_LEVEL_4K": 1, "PG_LEVEL_2M": 2, "PG_LEVEL_1G": 3}


def alike(one: Type, other: Type) -> bool:
    """Whether a word of one type may be taken for one of the other: where both are numbers, of as many bits and of one sign, if that shows."""
    numbers = [each for each in (one, other) if each.kind in ("integer", "atomic")]
    return len(numbers) < 2 or one.bits == other.bits and (one.signed == other.signed or one.bits == 64)


def array(of: Type, count: int) -> Type:
    return Type(f"{of.name}[{count}]", of.bits, of.signed, "array", of, count=count)


def promoted(one: Type) -> Type:
    """What a narrow integer becomes in an expression."""
    return INT if one.kind not in ("pointer",) and one.bits < 32 else one


def common(one: Type, other: Type) -> Type:
    """The type in which two operands meet (C11 6.3.1.8)."""
    one, other = promoted(one), promoted(other)
    for each in (one, other):
        if each.kind == "pointer":
            return each
    bits = max(one.bits, other.bits)
    signed = all(each.signed for each in (one, other) if each.bits == bits)
    return {(32, True): INT, (32, False): UNSIGNED, (64, True): LONG, (64, False): UNSIGNED_LONG}[bits, signed]
