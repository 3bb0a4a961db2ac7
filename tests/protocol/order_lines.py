"""Reads the lines of orders.py: from "X.TDR/SH OPS/SH ..." to single accesses, of a success and of each failure.

A line is first a list of `Part`s: one lock that is taken or given back, one word that is looked at or written.
`success` and `failure` are the accesses, as (verb of tests/accesses.py, name of a word, value or None).
"""

import re
from dataclasses import dataclass

from tests.protocol.orders import TRAITS, Difference, Order, like

TAKE, LOOK, WRITE, DROP = "take", "look", "write", "drop"
SH, EX = "SH", "EX"

# What it takes to get each kind of lock, to lose it, and to give it back.  Source: tdx_locks.h.
TAKES = {("hp", SH): ["xadd+4"], ("hp", EX): ["cmpxchg 0>1"], ("promoted", EX): ["cmpxchg 4>1"],
         ("sharex", SH): ["xadd+2"], ("sharex", EX): ["cmpxchg 0>1"], ("mutex", EX): ["cmpxchg 0>1"],
         ("entry", EX): ["bts EL", "btr HP"], ("count", SH): ["add"]}
LOSES = {("hp", SH): ["xadd+4", "or 2"], ("hp", EX): ["cmpxchg 0>1", "or 2"], ("promoted", EX): ["cmpxchg 4>1", "or 2"],
         ("sharex", SH): ["xadd+2"], ("sharex", EX): ["cmpxchg 0>1"], ("mutex", EX): ["cmpxchg 0>1"],
         ("entry", EX): ["bts EL", "bts HP"]}
DROPS = {("hp", SH): ["xadd-4"], ("hp", EX): ["load", "and 2"], ("sharex", SH): ["xadd-2"], ("sharex", EX): ["xchg 0"],
         ("mutex", EX): ["cmpxchg 1>0"], ("entry", EX): ["load", "btr EL"]}
# The same where nobody holds the lock but a host has asked for priority.
OVER_PRIORITY = {("hp", SH): ["xadd+4", "and ~2"], ("hp", EX): ["cmpxchg 0>1", "cmpxchg 2>1"],
                 ("promoted", EX): ["cmpxchg 4>1", "cmpxchg 6>1"]}


COUNTERS = {"mem": "mem_count", "blocked": "blocked_count"}


@dataclass(frozen=True)
class Lock:
    """group: what a line calls it; word: its own word; kind: of TAKES; mode: SH or EX."""

    group: str
    word: str
    kind: str
    mode: str

    @property
    def drops(self):
        if self.kind == "count":
            return [("add", self.word, "-1")]
        kind = {"promoted": "hp", "guest": "entry"}.get(self.kind, self.kind)
        return [(verb, self.word, None) for verb in DROPS[kind, self.mode]]


@dataclass(eq=False)             # distinguished by its place: a line may look twice at one word
class Part:
    """One lock or word of a line.

    token   what it comes from; column: of the line, 0 to 2
    first   a group of locks that is given back before all others if this fails (a helper's own ladder)
    """

    kind: str
    accesses: list
    token: str
    lock: Lock | None = None
    first: str = ""
    column: int = 0


class Line:
    """A line as a call at a level of a release should do it."""

    def __init__(self, order: Order, release: str, level, differences: list[Difference] = ()):
        self.order, self.release, self.level = order, release, 0 if isinstance(level, str) else level
        self.traits = TRAITS[like(release)]
        self.parents = release != "report-2024"
        self.modes = {"FILTER": self.traits.filter, "PROMOTE": self.traits.promote,
                      "ENTER": EX if release == "report-2024" else SH}
        self.parts: list[Part] = []
        self.held: list[Lock] = self._held_in_guest() if order.call == "td_exit" else []
        texts = [order.take, order.write, order.release]
        for difference in differences:
            texts = [text.replace(difference.module, difference.row) for text in texts]
        self.release_order = texts[2]
        for column, text in enumerate(texts):
            for token in text.split():
                known = len(self.parts)
                self._token(token)
                for part in self.parts[known:]:
                    part.column = column

    def _held_in_guest(self) -> list[Lock]:
        sizes = (".1G", ".2M") if self.parents else ()
        return [*(Lock("TDVPR", "TDVPR" + size, "hp", SH) for size in sizes),
                Lock("TDVPR", "TDVPR", "hp", self.modes["ENTER"]), Lock("TDR", "TDR", "hp", SH),
                Lock("count", "count", "count", SH)]

    # --- a token at a time ---

    def _token(self, token: str) -> None:
        repeat = re.fullmatch(r"(\w+)x\((.*)\)", token)
        if repeat:
            times = {"parts": 512 if self.level else 0, "chunks": 511 if self.level else 0}.get(repeat[1]) \
                if not repeat[1].isdecimal() else int(repeat[1])
            for index in range(times):
                for inner in repeat[2].split(","):
                    self._single(inner, index, token)
        else:
            self._single(token, 0, token)

    def _single(self, text: str, index: int, token: str) -> None:
        name, _, mode = text.partition("/")
        mode = self.modes.get(mode, mode)
        if name.startswith("X."):
            self._explicit(name[2:], mode, token)
        elif name.startswith("F."):
            self._explicit(name[2:], mode, token, unused=True)
        elif name.startswith("I."):
            self._look(name[2:] + ".type", token)
            self._lock(Lock(name[2:], name[2:], "hp", mode), token)
        elif name.startswith("J."):
            self._lock(Lock(name[2:], name[2:], "hp", mode), token)
        elif name == "OPS":
            self._look("tdr_state", token)
            if mode != "-":
                self._lock(Lock("OPS", "OP_STATE", "hp", mode), token)
            self._look("op_state", token, first="OPS")
        elif name == "TREE":
            self._lock(Lock("TREE", "SEPT_TREE", self.traits.tree, mode), token)
            self._walk(token, first="TREE")
        elif name == "WALK":
            self._walk(token)
        elif name == "ENT":
            kind = "guest" if mode == "guest" else "entry"
            self._lock(Lock("ENT", "ENTRY", kind, EX), token)
            self._look("ENTRY", token)
        elif name == "CHILD" and mode == EX:
            self._lock(Lock("CHILD", f"CHILD[{index}]", "entry", EX), token)
        elif name == "LARGE":
            self._lock(Lock("LARGE", "LARGE", "hp", EX), token)
        elif name in ("EPOCH", "KOT"):
            self._lock(Lock(name, {"EPOCH": "epoch_lock", "KOT": "kot_lock"}[name], "sharex", mode), token)
        elif name in ("KET", "WBT"):
            if name == "WBT" or self.parents:            # the report knows no key table
                self._lock(Lock(name, name, "mutex", EX), token)
        elif name == "TRACKED":
            self._look("MAPPED.bepoch", token)
            self.parts.append(Part(LOOK, [("cas", "epoch", None)], token))
        elif name == "GIVEWAY":
            for word in self.traits.gives_way:
                self._look(word, token)
        elif name.startswith("-"):
            self._drop(name[1:], token)
        elif name.startswith("?"):
            word = name[1:]
            self._look(f"{word}[{index}]" if word.startswith(("CHILD", "PART")) else word, token)
        else:
            self._write(text, index, token)

    def _explicit(self, page: str, mode: str, token: str, unused: bool = False) -> None:
        own = page.endswith("@") and self.level
        page, sizes = page.removesuffix("@"), [".1G", ".2M", ""]
        if self.parents:
            for size in sizes[:1 if own else 2]:
                self._lock(Lock(page, page + size, "hp", SH), token, first=page)
                if unused:
                    self._look(f"{page}{size}.type", token, first=page)
        leaf = page + (".2M" if own else "")
        if own:
            self._lock(Lock(page, leaf, "hp", SH), token, first=page)
            self._lock(Lock(page, leaf, "promoted", EX), token, first=page)
        else:
            self._lock(Lock(page, leaf, "hp", mode), token, first=page)
        self._look(leaf + ".type", token, first=page)

    def _walk(self, token: str, first: str = "") -> None:
        for level in range(2, self.level - 1, -1):
            self._look(f"SEPT{level}" if level > self.level else "ENTRY", token, first=first)

    def _look(self, word: str, token: str, first: str = "") -> None:
        self.parts.append(Part(LOOK, [("load", word, None)], token, first=first))

    def _lock(self, lock: Lock, token: str, first: str = "") -> None:
        verbs = self.traits.guest if lock.kind == "guest" else TAKES[lock.kind, lock.mode]
        self.held = [held for held in self.held if held.word != lock.word] + [lock]       # promoted: no longer shared
        self.parts.append(Part(TAKE, [(verb, lock.word, None) for verb in verbs], token, lock, first))

    def _drop(self, group: str, token: str) -> None:
        for lock in dropped(self.held, group.removesuffix("@")):
            self.held.remove(lock)
            self.parts.append(Part(DROP, lock.drops, token, lock))

    def _write(self, text: str, index: int, token: str) -> None:
        if text in ("zero", "invept", "filter"):
            self.parts.append(Part(WRITE, [(text, {"zero": f"CONTENT[{self._zeroed()}]"}.get(text, text), None)], token))
            return
        word, sign, value = re.fullmatch(r"([\w.@]+)(:=|=|\+|-|<|\^)(.*)", text).groups()
        word = word.replace("@", ".2M" if self.level else "")
        word = f"{word}[{index}]" if word.startswith(("CHILD", "PART")) or word == "ROOT" else word
        if word in COUNTERS and not self.traits.counters:
            return
        word = COUNTERS.get(word, word)
        if sign in "+-":
            amount = 512 ** self.level if value == "size" else value
            lock = Lock("count", "count", "count", SH) if word == "count" else None
            self.parts.append(Part(TAKE if lock else WRITE, [("add", word, f"{sign}{amount}")], token, lock))
            if lock:
                self.held.append(lock)
        elif sign == "^":
            self.parts.append(Part(WRITE, [("xchg", word, value)], token))
        elif sign == "<":
            self.parts.append(Part(WRITE, [("cas", word, value)], token))
        elif word == "ENTRY":
            writes = ("store",) if sign == ":=" else self.traits.writes
            self.parts.append(Part(WRITE, [(verb, word, value) for verb in writes], token))
            if not value.endswith("+EL"):
                self.held = [lock for lock in self.held if lock.group != "ENT"]
            if value == "MAPPED+EL" and self.order.call == "tdh_mem_page_promote":
                self.held = [lock for lock in self.held if lock.group != "CHILD"]     # given back with their page
        else:
            self.parts.append(Part(WRITE, [("store", word, value)], token))

    def _zeroed(self) -> int:
        return sum(part.accesses[0][0] == "zero" for part in self.parts)

    # --- accesses ---

    def success(self) -> list:
        return [access for part in self.parts for access in part.accesses]

    def held_before(self, part: Part) -> list[Lock]:
        """The locks that are held when a part begins, in the order in which they were taken."""
        held: list[Lock] = []
        for each in self.parts[:self.parts.index(part)]:
            if each.kind == TAKE:
                held = [lock for lock in held if lock.word != each.lock.word] + [each.lock]
            elif each.kind == DROP:
                held.remove(each.lock)
            elif each.kind == WRITE and each.accesses[0][1] == "ENTRY" and not each.accesses[0][2].endswith("+EL"):
                held = [lock for lock in held if lock.group != "ENT"]
        return held

    def failure(self, part: Part) -> list:
        """The accesses up to a lock that cannot be had or a word that is wrong, and those of the way out."""
        index = self.parts.index(part)
        accesses = [access for each in self.parts[:index] for access in each.accesses]
        held = self.held_before(part)
        if part.kind == TAKE:
            loses = LOSES.get((part.lock.kind, part.lock.mode)) or self.traits.guest[:self.traits.guest.index("bts EL") + 1]
            accesses += [(verb, part.lock.word, None) for verb in loses]
        else:
            accesses += [(verb, word, None) for verb, word, _ in part.accesses]
        return accesses + self._way_out(held, part)

    def _way_out(self, held: list[Lock], part: Part) -> list:
        """The accesses that give all of `held` back where a part fails."""
        accesses, held = [], list(held)
        groups = [part.first] if part.first else []
        groups += [token.removeprefix("-").removesuffix("@") for token in (self.order.fails or self.release_order).split()]
        for group in groups:
            for lock in dropped(held, group):
                held.remove(lock)
                accesses += lock.drops
        assert not held, f"{self.order.call}: nothing says when {held} is given back"
        return accesses

    def ends_at_large_page(self, part: Part) -> tuple[list, Lock | None, dict]:
        """Where the type that a part looks at, of 2 MiB or 1 GiB, says that the page lies in a large one.

        The walk ends at that entry, which is then had in the mode that the page is wanted in.
        Returns the accesses up to the type; the lock if it is to be promoted, or None; and the accesses from there on:
        {"had", "over priority", "busy", "busy over priority"}, or {"had"} alone.
        """
        size = part.accesses[0][1].removesuffix(".type")
        own = [each.lock for each in self.parts if each.token == part.token and each.lock and each.lock.group == part.first][-1]
        upto = [access for each in self.parts[:self.parts.index(part) + 1] for access in each.accesses]
        shared = self.held_before(part)
        if own.mode == SH:
            return upto, None, {"had": self._way_out(shared, part)}
        lock = Lock(own.group, size, "promoted", EX)
        promoted = [lock if each.word == size else each for each in shared]
        had, lost, over = ([(verb, size, None) for verb in verbs["promoted", EX]] for verbs in (TAKES, LOSES, OVER_PRIORITY))
        return upto, lock, {
            "had": had + self._way_out(promoted, part), "over priority": over + self._way_out(promoted, part),
            "busy": lost + self._way_out(shared, part), "busy over priority": over + self._way_out(shared, part)}


SIZES = {"": 0, ".2M": 1, ".1G": 2}


def dropped(held: list[Lock], group: str) -> list[Lock]:
    """Those held locks of a group, in the order in which they are given back: a page's from 4K to 1G."""
    locks = [lock for lock in held if lock.group == group]
    return sorted(locks, key=lambda lock: SIZES[lock.word[len(group):]] if lock.kind in ("hp", "promoted") and
                  lock.word.startswith(group) else 0)
