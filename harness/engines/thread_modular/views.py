"""Views: what the followed words may be at once, by number, and what follows from that."""

from typing import NamedTuple

from harness.engines.thread_modular.words import ELSEWHERE, FREE, HERE, Words

SAME_PAGE, OTHER_PAGE, OTHER_TD = range(3)       # where another actor is


class Change(NamedTuple):
    """What a move does to a view: ((place, value), ...); `outside` is what it does for actors at other pages."""

    held: int
    places: tuple[tuple[int, int], ...]
    outside: tuple[tuple[int, int], ...]


class Views:
    """Views by number: what is in them, and what follows from that."""

    def __init__(self, words: Words):
        self.rules = words
        self.mmu = words.number["mmu_lock"]
        self.words: list[tuple[int, ...]] = []
        self.shared: list[int] = []              # a number for the shared words
        self.owned: list[list[tuple]] = []       # what an actor must hold: (offset, where the holder is, or None)
        self._numbers: dict[tuple, int] = {}
        self._shared: dict[tuple, int] = {}
        self._changed: dict[tuple, int] = {}
        self.fresh = self.number(words.view)

    def number(self, view: tuple) -> int:
        if view not in self._numbers:
            self._numbers[view] = len(self.words)
            self.words.append(view)
            self.shared.append(self._shared_number(view[:self.rules.shared]))
            owned = [(offset, None) for offset in self.rules.owned(view)]
            if view[self.mmu] != FREE:
                owned.append((self.rules.layout.at("mmu_lock"), SAME_PAGE if view[self.mmu] == HERE else OTHER_PAGE))
            self.owned.append(owned)
        return self._numbers[view]

    def _shared_number(self, shared: tuple) -> int:
        return self._shared.setdefault(shared, len(self._shared))

    def changed(self, view: int, places) -> int:
        key = view, places
        if key not in self._changed:
            self._changed[key] = self.number(_replaced(self.words[view], places))
        return self._changed[key]

    def from_outside(self, view: int) -> list[int]:
        """The shared words as actors at another page have them, by number."""
        shared = self.words[view][:self.rules.shared]
        owners = {FREE: (FREE,), HERE: (ELSEWHERE,), ELSEWHERE: (HERE, ELSEWHERE)}[shared[self.mmu]]
        return [self._shared_number(_replaced(shared, ((self.mmu, owner),))) for owner in owners]


def _replaced(view: tuple, places) -> tuple:
    view = list(view)
    for place, value in places:
        view[place] = value
    return tuple(view)
