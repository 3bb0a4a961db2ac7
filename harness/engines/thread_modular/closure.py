"""All actors: what each may find when the others have done what they can do.

A *pair* is an actor's stand and a view: the actor may stand there while the followed words are so.  From
the pairs at the start everything follows: an actor's own move leads from a pair to pairs; and where a
move changes the view, all who may stand at the view before may find the view behind.  Two things keep
out what cannot be:

    compatible    who holds a lock exclusively is not there together with another holder of it
    justified     an actor holds each locked entry, each frozen mirror entry and mmu_lock, and these are
                  there together

Of actors at other pages only what they do to shared words and which locks they hold matters; as pages
are alike, they do there what is done here.
"""

import time
from collections import defaultdict

from harness.engines.thread_modular.actor import (
    ALIVE, BARRED, INSIDE, LOCKS, MMU_LOCK, OVER_PRIORITY, REFUSED_BY, Actors, Contended,
)
from harness.engines.thread_modular.views import OTHER_PAGE, OTHER_TD, SAME_PAGE, Change, Views
from harness.engines.thread_modular.words import COLLECTED, ELSEWHERE, FREE, HERE, PARKING, SPIN, Words
from harness.experiment.plan import Actor, Plan
from kernels.ops import OP_TABLE, Op, Register as R

COLLECTED_MAX = 256


class Closure:
    """Every pair of one plan and one page."""

    def __init__(self, plan: Plan, page: int):
        self.words = Words(plan, page)
        self.views = Views(self.words)
        self.actors = Actors(plan, self.words)
        self.plan, self.tds, self.machine_end = plan, plan.layout.tds, plan.layout.first_td
        self.kinds = _kinds(plan)
        self.many = {actors[0].number: len(actors) > 1 for actors in self.kinds}
        self.mmu, self.epoch = (self.words.number[name] for name in ("mmu_lock", "epoch"))
        self.mmu_offset = plan.layout.at("mmu_lock")
        self.requested: set[int] = set()                     # locks for which a host has asked for priority
        began, self.begun = time.perf_counter(), 1
        while not self._close():
            self.actors.forget()
            self.begun += 1
        self.seconds = time.perf_counter() - began

    @property
    def answers(self) -> set[tuple[str, str]]:
        """(call, answer) of all that any call may answer."""
        program = self.plan.program
        return {(program.calls[call], program.answers[answer].name) for call, answer in self.actors.answers}

    @property
    def entries(self) -> set[int]:
        """Words that the page's SEPT entry may be."""
        return {self.views.words[view][self.words.number["sept.0"]] for view in self.pairs}

    def _close(self) -> bool:
        """Find all pairs; False if that has to begin again, knowing better what matters."""
        self.pairs: dict[int, dict[int, int]] = defaultdict(dict)            # view -> held -> stands, as bits
        self.here: dict[int, set[Change]] = defaultdict(set)                 # view -> changes by actors at this page
        self.outside: dict[int, set[Change]] = defaultdict(set)              # shared words -> by those at others
        self.arrivals: dict[int, set[tuple]] = defaultdict(set)              # shared words -> who comes from another page
        self.seen: dict[int, list[int]] = defaultdict(list)                  # shared words -> views
        self.met: dict[int, set[int]] = defaultdict(set)                     # view -> held, justified or not
        self.hopes: dict[int, set[tuple]] = defaultdict(set)                 # view -> (held, view) of moves, justified or not
        self.unjustified: dict[int, dict[int, int]] = defaultdict(dict)
        self.promised: dict[tuple, set[tuple]] = defaultdict(set)            # changes, once an actor is behind them
        self.tries: dict[int, set[int]] = defaultdict(set)                   # view -> stands that may still be refused
        self.holders: dict[int, set[int]] = defaultdict(set)                 # lock -> held
        self.takers: dict[int, set[tuple]] = defaultdict(set)                # lock -> pairs that look for host priority
        self.all_held: set[int] = set()
        self.collected: dict[int, set[int]] = defaultdict(set)               # word -> values
        self.readers: dict[int, set[tuple]] = defaultdict(set)               # word -> pairs that read it
        self._compatible: dict[tuple, bool] = {}
        self.waiting: dict[tuple, int] = {}                                  # (view, held) -> stands
        try:
            for actors in self.kinds:
                self._go(self.views.fresh, self.actors.begin(actors[0], self.plan.start(actors[0])))
            while self.waiting:
                view, held = key = next(iter(self.waiting))
                self._arrive(view, held, self.waiting.pop(key))
        except Contended:
            return False
        return True

    def _wait(self, view: int, held: int, stands: int) -> None:
        key = view, held
        self.waiting[key] = self.waiting.get(key, 0) | stands

    # --- pairs ---

    def _go(self, view, groups, change: tuple | None = None) -> None:
        """Some stands are to be found at a view; `change` (view before, Change) is how that came to be."""
        if change:
            self._hope(change[0], change[1].held, view)
        for held, stands in groups:
            if change and held in self.pairs[view]:
                self._publish(*change, view)
            elif change:
                self.promised[view, held].add(change)
            self._wait(view, held, stands)

    def _hope(self, before, mover: int, behind) -> None:
        """Who may be here before a move may be here behind it, and may be who justifies it."""
        if before != behind and (mover, behind) not in self.hopes[before]:
            self.hopes[before].add((mover, behind))
            for held in list(self.met[before]):
                if self._are_compatible(held, mover):
                    self._wait(behind, held, 0)

    def _arrive(self, view, held: int, stands) -> None:
        if held not in self.met[view]:
            self._meet(view, held)
        if not stands:
            return
        if held not in self.pairs[view]:
            if not self._justified(view, held):
                self.unjustified[view][held] = self.unjustified[view].get(held, 0) | stands
                return
            self.pairs[view][held] = 0
            for change in self.promised.pop((view, held), ()):
                self._publish(*change, view)
        new = stands & ~self.pairs[view][held]
        if not new:
            return
        self.pairs[view][held] |= new
        shared = self.views.shared[view]
        if view not in self.seen[shared]:
            self.seen[shared].append(view)
            for arrival in list(self.arrivals[shared]):
                self._come(view, *arrival)
        for change in list(self.here[view]):
            if self._are_compatible(held, change.held):
                self._wait(self.views.changed(view, change.places), held, new)
        for change in list(self.outside[shared]):
            if self._are_compatible(held, change.held, OTHER_PAGE):
                self._wait(self.views.changed(view, change.outside), held, new)
        while new:
            lowest = new & -new
            new ^= lowest
            self._move(lowest.bit_length() - 1, view)

    def _meet(self, view, held: int) -> None:
        """An actor that holds this may be here: see which actors are justified by that, and which may be refused."""
        self.met[view].add(held)
        for mover, behind in list(self.hopes[view]):
            if self._are_compatible(held, mover):
                self._wait(behind, held, 0)
        self._justify(view)
        if held not in self.all_held:
            self.all_held.add(held)
            for what in self.actors.held[held][1]:
                self.holders[what].add(held)
            for other in list(self.unjustified):
                self._justify(other)
            for other in list(self.tries):
                self._refuse(other)
        self._refuse(view)

    def _justify(self, view) -> None:
        for held, stands in list(self.unjustified.get(view, {}).items()):
            if self._justified(view, held):
                del self.unjustified[view][held]
                self._wait(view, held, stands)

    def _justified(self, view, held: int) -> bool:
        return self._owners(view, self.views.owned[view], [(held, SAME_PAGE)])

    def _owners(self, view, wanted, there) -> bool:
        """Whether what is wanted can be held by those who are there and others who can be there with them."""
        if not wanted:
            return True
        (offset, where), *others = wanted
        for held, place in there:
            if self.actors.held[held][1].get(offset) and where in (None, place) and not (
                    place and offset in self.words.own):
                return self._owners(view, others, there)
        for place in (SAME_PAGE,) if offset in self.words.own else (SAME_PAGE, OTHER_PAGE):
            if where in (None, place):
                for held in self.holders[offset]:
                    if (self.actors.held[held][1][offset] and (place or held in self.met[view])
                            and all(self._are_compatible(other, held, max(place, at)) for other, at in there)
                            and self._owners(view, others, [*there, (held, place)])):
                        return True
        return False

    def _are_compatible(self, one: int, other: int, where: int = SAME_PAGE) -> bool:
        """Whether two actors that hold these can be there at once; `where` the other one is."""
        key = one, other, where
        if key not in self._compatible:
            self._compatible[key] = self._find_compatible(*key)
        return self._compatible[key]

    def _find_compatible(self, one: int, other: int, where: int) -> bool:
        (actor, held), (other_actor, other_held) = self.actors.held[one], self.actors.held[other]
        if where != OTHER_TD and actor == other_actor and not self.many[actor]:
            return False
        for what in held.keys() & other_held.keys():
            apart = (where != SAME_PAGE and what in self.words.own
                     or where == OTHER_TD and not 0 <= what < self.machine_end)
            if not apart and (held[what] or other_held[what]):
                return False
        return True

    # --- what others do ---

    def _publish(self, before, change: Change, behind) -> None:
        """A move may happen: all who may be there find what it leaves."""
        if change.places and change not in self.here[before]:
            self.here[before].add(change)
            for held, stands in list(self.pairs[before].items()):
                if self._are_compatible(held, change.held):
                    self._wait(behind, held, stands)
        if not change.outside:
            return
        for shared in self.views.from_outside(before):
            if change not in self.outside[shared]:
                self.outside[shared].add(change)
                for view in list(self.seen[shared]):
                    for held, stands in list(self.pairs[view].items()):
                        if self._are_compatible(held, change.held, OTHER_PAGE):
                            self._wait(self.views.changed(view, change.outside), held, stands)

    def _come(self, view, held: int, groups) -> None:
        """Who holds mmu_lock at another page goes on to this one."""
        change = Change(held, ((self.mmu, HERE),), ())
        self._go(self.views.changed(view, change.places), groups, (view, change))

    # --- moves ---

    def _move(self, number: int, view) -> None:
        """An actor's own moves from where it stands."""
        stand = self.actors.stands[number]
        row = self.actors.rows[stand.pc]
        if row.op == Op.RESET:
            fresh = tuple(enumerate(self.words.view))
            self._change(number, view, fresh, fresh, private=())
        elif row.op == Op.END:
            self._kicked(number, view)
        elif R.PAGE in row.writes:
            self._next_page(number, view)
        elif row.op in LOCKS:
            self._lock(number, view)
        elif row.op in MMU_LOCK:
            self._mmu_lock(number, view)
        else:
            self._access(number, view)

    def _change(self, number: int, view, places, outside=(), target=None, **differs) -> None:
        stand = self.actors.stands[number]
        groups = self.actors.on(number, self.actors.rows[stand.pc].next if target is None else target, **differs)
        self._settle(number, view, places, outside, groups)

    def _settle(self, number: int, view, places, outside, groups) -> None:
        """Stands behind a move that changes places; those of `outside` for actors at other pages too."""
        words = self.views.words[view]
        places = tuple([each for each in places if words[each[0]] != each[1]])
        held = self.actors.stands[number].held
        change = (view, Change(held, places, tuple(outside))) if places or outside else None
        self._go(self.views.changed(view, places) if places else view, groups, change)

    def _kicked(self, number: int, view) -> None:
        """All vCPUs have left the guest.  Who holds mmu_lock for write knows more: TRACK is made under it, so no vCPU
        is left of the epoch before; and entry is barred under it, so with that none comes back."""
        stand = self.actors.stands[number]
        marks, places = None, ()
        if self.actors.held[stand.held][1].get(self.mmu_offset):
            places = ((self.epoch, 0),)
            if (BARRED, True) in stand.marks:
                marks = stand.marks | {(INSIDE, True)}
        self._change(number, view, places, places, marks=marks)

    def _next_page(self, number: int, view) -> None:
        """With mmu_lock in hand from page to page: stay here, go elsewhere, or come from there."""
        stand = self.actors.stands[number]
        groups = self.actors.on(number, self.actors.rows[stand.pc].next)
        self._go(view, groups)
        if self.views.words[view][self.mmu] != HERE:
            return
        away = Change(stand.held, ((self.mmu, ELSEWHERE),), ())
        gone = self.views.changed(view, away.places)
        self._publish(view, away, gone)
        shared = self.views.shared[gone]
        arrival = stand.held, groups
        if arrival not in self.arrivals[shared]:
            self.arrivals[shared].add(arrival)
            for other in list(self.seen[shared]):
                self._come(other, *arrival)

    def _lock(self, number: int, view) -> None:
        stand = self.actors.stands[number]
        row, offset = self.actors.rows[stand.pc], self.actors.offset(stand)
        self._go(view, self.actors.on(number, row.next))
        if row.op in REFUSED_BY:
            if OP_TABLE[row.op].outcomes == 3:
                self.takers[offset].add((number, view))
                if offset in self.requested:
                    self._go(view, self.actors.on(number, row.priority))
            self.tries[view].add(number)
            self._refuse(view, (number,))
        elif row.op == Op.HP_REQUEST and offset not in self.requested:
            self.requested.add(offset)
            for taker, at in list(self.takers[offset]):
                self._go(at, self.actors.on(taker, self.actors.rows[self.actors.stands[taker].pc].priority))

    def _refuse(self, view, numbers=None) -> None:
        """The tries to take a lock that another actor may hold."""
        for number in list(self.tries.get(view, ())) if numbers is None else numbers:
            stand = self.actors.stands[number]
            if self._may_be_held(stand, view, self.actors.offset(stand)):
                self.tries[view].discard(number)
                self._go(view, self.actors.on(number, self.actors.rows[stand.pc].otherwise))

    def _may_be_held(self, stand, view, offset: int) -> bool:
        """Whether a lock may be held in a way that refuses.  Over host priority also one that was held a moment
        ago does: its holder has taken the priority away."""
        op = self.actors.rows[stand.pc].op
        for held in self.holders[offset]:
            if self.actors.held[held][1][offset] in REFUSED_BY[op]:
                if ((op in OVER_PRIORITY or held in self.met[view]) and self._are_compatible(stand.held, held)
                        or offset not in self.words.own and self._are_compatible(stand.held, held, OTHER_PAGE)
                        or self.tds > 1 and offset < self.machine_end
                        and self._are_compatible(stand.held, held, OTHER_TD)):
                    return True
        return False

    def _mmu_lock(self, number: int, view) -> None:
        op = self.actors.rows[self.actors.stands[number].pc].op
        if op == Op.MMU_DROP_EXCLUSIVE:
            self._change(number, view, ((self.mmu, FREE),), ((self.mmu, FREE),))
        elif op == Op.MMU_DROP_SHARED:
            marks = self.actors.stands[number].marks
            if self.actors.published:
                marks = frozenset(mark for mark in marks if mark[0] not in self.words.mirrors)
            self._change(number, view, (), marks=marks)
        elif self.views.words[view][self.mmu] == FREE:
            exclusively = op == Op.MMU_TAKE_EXCLUSIVE
            self._change(number, view, ((self.mmu, HERE),) * exclusively, ((self.mmu, ELSEWHERE),) * exclusively)

    def _access(self, number: int, view) -> None:
        stand = self.actors.stands[number]
        offset = self.actors.offset(stand)
        word, known = offset >> 3, self.words.known(offset)
        if known == SPIN:
            self._go(view, self.actors.knowing(number, None))
        elif known == PARKING:
            self._wait_for_end(number, view, offset)
        elif known == COLLECTED:
            if word not in self.collected:
                self.collected[word].add(int(self.words.first[word]))
            self.readers[word].add((number, view))
            for value in list(self.collected[word]):
                self._collect(number, view, word, value)
        elif self.words.by_word[word] in self.words.derived:
            self._tracking(number, view, offset)
        else:
            place = self.words.by_word[word]
            before = self.views.words[view][place]
            after, groups = self.actors.with_word(number, before)
            places = ((place, self.words.as_followed(place, after)),)
            if places[0][1] == before:
                self._go(view, groups)
            else:
                self._settle(number, view, places, places if place < self.words.shared else (), groups)

    def _wait_for_end(self, number: int, view, offset: int) -> None:
        stand = self.actors.stands[number]
        row = self.actors.rows[stand.pc]
        if offset == self.actors.parked:                     # all others are parked
            self._go(view, self.actors.on(number, row.next, None, stand.marks - {(ALIVE, False)} | {(ALIVE, True)}))
            return
        for private in (None, ()):                           # let go, with or without a fresh TD
            self._go(view, self.actors.on(number, row.next, private, stand.marks | {(ALIVE, False)}))

    def _collect(self, number: int, view, word: int, value: int) -> None:
        after, groups = self.actors.with_word(number, value)
        self._go(view, groups)
        if after not in self.collected[word]:
            self.collected[word].add(after)
            assert len(self.collected[word]) < COLLECTED_MAX, self.plan.layout.name_of(word << 3)
            for reader, at in list(self.readers[word]):
                self._collect(reader, at, word, after)

    def _tracking(self, number: int, view, offset: int) -> None:
        """The epoch and the pages' bepochs: see words.py."""
        stand = self.actors.stands[number]
        row, place = self.actors.rows[stand.pc], self.words.by_word[offset >> 3]
        whole = offset & 7 == 0
        if row.op != Op.STORE:
            self._go(view, self.actors.knowing(number, self.views.words[view][place] if whole else None))
        elif place != self.epoch:
            blocked = ((place, int(row.source != R.ZERO)),)
            self._change(number, view, blocked, blocked if place < self.words.shared else ())
        elif whole:                                          # TDH.MNG.INIT
            self._change(number, view, ((place, 0),), ((place, 0),))
        else:                                                # TDH.MEM.TRACK
            old = 0 if (INSIDE, True) in stand.marks else 1
            new = tuple((each, old if each == place else 0) for each in sorted(self.words.derived))
            self._change(number, view, new, new)


def _kinds(plan: Plan) -> list[list[Actor]]:
    """The actors of the first TD, those together that do the same."""
    workload, kinds = plan.config.workload, {}
    for actor in plan.actors:
        if actor.td == 0:
            vcpu = actor.kind == "vcpu"
            spams = vcpu and actor.index >= plan.layout.vcpus - workload.spammers
            helps = vcpu and workload.string_pages > 1 and actor.index % 2
            rebuilds = actor.index == 0 and (not vcpu or not workload.hosts)
            kinds.setdefault((vcpu, spams, helps, rebuilds), []).append(actor)
    return list(kinds.values())
