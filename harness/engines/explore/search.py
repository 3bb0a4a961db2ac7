"""The engine that tries every interleaving of a scenario: breadth-first, states kept whole.

`run(scenario)` searches (kernels/search.py says how) and says what was found: the outcomes with the
shortest way to each, deadlocks, livelocks, violated invariants, and how much of everything was seen.
`sample(scenario, ...)` makes many single runs instead, for scenarios that are too large.

Three ways not to end.  A deadlock is a state in which an actor is not done and none can move.  A livelock
is a state from which no schedule whatever leads to an end, though an actor can always move: BUSY for
ever.  Starvation is a schedule that never ends although it is fair - everybody who is able to move again and
again does - where another would end: two that get into each other's way each time, a hold as short as
it may be (fairness.py).  A schedule that only stops giving an actor turns is none of these.
"""

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.engines import checks, frames
from harness.engines.explore import checkpoint, fairness, lock_order
from harness.engines.explore.counted import counted, counted_cycle
from harness.engines.explore.tables import BUFFER_MOST, CHANGES_MAX, DEADLOCK, DONE, MEMORY_MIB, RUN_MOVES_MAX, Ending, Search
from harness.engines.explore.threads import TICK_S
from harness.engines.explore.ways import Stands, Unproved, Unwound, Ways
from harness.errors import UsageError
from harness.experiment.scenario import Scenario
from harness.experiment.schedule import Turn
from harness.files import reason
from harness.protocol.counters import EVENTS
from kernels import judging, moves, search as kernel, states, symmetry as alike

DEPTH_MAX = CHANGES_MAX + 1       # of PCT
JUDGED_AT_ONCE = 200_000          # states: within a second or so
LOCK_ORDER = "lock_order"
CYCLES = LIVELOCK, STARVATION = "livelock", "starvation"     # how none does; asked of a search without bounds only


@dataclass
class Found:
    """What a search has found."""

    scenario: Scenario
    how: str                                 # "every interleaving", "10000 random runs" ...
    complete: bool
    stopped: str = ""                        # why it is not complete
    states: int = 0
    expanded: int = 0                        # states that the search has gone on from
    transitions: int = 0
    left_out: int = 0                        # moves that would have been one preemption too many
    executed: int = 0                        # moves that `step` was called for
    depth: int = 0
    buffered: int = 0                        # stores in one store buffer, at most
    bytes: int = 0                           # of the tables that are in use at its end
    runs: int = 0
    seconds: float = 0.0
    endings: list[Ending] = field(default_factory=list)
    violations: dict[str, list[Turn]] = field(default_factory=dict)      # invariant -> a way there
    checked: tuple[str, ...] = ()
    cycles: dict[str, list[Turn]] = field(default_factory=dict)      # what repeats for ever behind a violation
    interrupted: bool = False
    kept: str = ""                           # the file that an interrupted search is in
    lock_order: str = ""                     # a cycle in it, in words
    answered: set = field(default_factory=set)       # (call, answer) of every call that has ended
    entries: set[str] = field(default_factory=set)   # what SEPT entries of 4K pages have spelled
    alike: list[tuple[str, ...]] = field(default_factory=list)       # actors of which one order was searched


PRIVATE_LOOP = "an actor runs in a loop that touches nothing"


def run(scenario: Scenario, memory_mib: int = MEMORY_MIB, reduce: bool = True, preemptions: int = -1,
        tick=lambda *_, **__: None, forget: int | None = None, symmetry: bool | None = None, jobs: int = 1,
        spill: Path | None = None, kept: Path | None = None, resume: bool = False) -> Found:
    """Everything that can happen in a scenario.

    tick     called now and then with how many states are done and how many are known (`of`: what they are, if not searched)
    reduce   whether accesses without a visible order are part of the step before
    forget   bits: what of that which nobody can tell any more is not distinguished, moves.LOST_TRIES, moves.ENTRIES (default:
             both, if `reduce`), and from the first state on moves.CONTEXTS, moves.ORDERS (default: both once there are many states)
    symmetry whether of actors that are alike one order is enough (default: as `reduce`)
    jobs     threads that share each level that is worth it: of actors that are alike, one
    spill    a folder for files in which the tables lie, so that they may be larger than the memory
    kept     a file that a search which is interrupted is kept in; resume: whether to go on from it
    """
    search = Search(scenario, memory_mib, reduce, preemptions, forget, symmetry, spill)
    goes_on = bool(resume and kept and checkpoint.resume(search, kept))
    if reduce and not goes_on:
        search.scout()
    ending = search.search(tick, jobs, goes_on)
    try:
        with _judging(tick, int(search.counts[states.N_STATES])):
            found = _found(search, ending, memory_mib)
    except Unproved:
        del search                       # its tables
        return run(scenario, memory_mib, reduce, preemptions, tick, forget, False, jobs, spill, kept)
    if kept:
        _keep(search, kept)
    found.kept = str(kept) if kept and search.interrupted else ""
    return found


def _found(search: Search, ending: int, memory_mib: int) -> Found:
    """What a search that has come to its end has found.  Raises Unproved."""
    scenario, preemptions = search.scenario, search.preemptions
    how = "every interleaving" if preemptions < 0 else f"every interleaving with at most {preemptions} preemptions"
    counts = search.counts
    cut = bool(counts[states.LEFT_OUT])
    found = Found(scenario, how, ending == moves.FINISHED and not cut,
                  _why(ending, memory_mib) or f"at most {preemptions} preemptions" * cut)
    found.expanded, found.left_out = int(counts[states.NEXT]), int(counts[states.LEFT_OUT])
    found.states, found.transitions = int(counts[states.N_STATES]), int(counts[states.TRANSITIONS])
    found.executed, found.seconds, found.depth = int(counts[states.N_MOVES]), search.seconds, search.depth()
    found.bytes, found.buffered = search.bytes_used(), search.buffered()
    found.interrupted = search.interrupted
    found.alike = [tuple(scenario.scripts[place].actor.name for place in places) for places in search.groups]
    found.answered = search.answers()
    found.entries = search.entries()
    try:
        _judge(search, found)
    except KeyboardInterrupt:            # all is searched, and kept: only what was judged is not
        search.interrupted = found.interrupted = True
        found.complete, found.stopped, found.checked = False, "interrupted while it was judged", ()
    return found


@contextmanager
def _judging(tick, count: int):
    """Ticks from a thread of its own meanwhile: to judge tens of millions of states takes minutes of compiled code."""
    if count < JUDGED_AT_ONCE:
        yield
        return
    over = threading.Event()

    def say():
        while not over.wait(TICK_S):
            tick(0, count, of="states judged")
    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _keep(search: Search, path: Path) -> None:
    """Raises UsageError."""
    try:
        if search.interrupted:
            checkpoint.keep(search, path)
        else:
            path.unlink(missing_ok=True)
    except OSError as problem:
        raise UsageError(f"--out {path.parent}: cannot be written: {reason(problem)}") from None


def sample(scenario: Scenario, runs: int, seed: int, depth: int = 0, memory_mib: int = MEMORY_MIB,
           tick=lambda *_: None) -> Found:
    """Many single runs: each step any actor's, or (with a depth) that of the highest priority.

    depth   of PCT (Burckhardt et al., ASPLOS 2010): priorities are drawn for each run and change at
            depth - 1 steps; a run hits a bug of that depth with probability 1 / (n k^(depth - 1)) or
            more, for n actors and k steps
    """
    search = Search(scenario, memory_mib)
    search.scout()
    found = Found(scenario, f"{runs} random run{'s' * (runs != 1)}, seed {seed}", False)
    source, began, longest, cut, newest = np.random.default_rng(seed), time.perf_counter(), 1, 0, 0
    endings: dict[tuple, Ending] = {}
    room = search.settle() == kernel.RUN_ENDED
    try:
        for number in range(1, runs + 1):
            tick(number - 1, runs)
            room = room and search.sample(kernel.PCT if depth else kernel.RANDOM, _deal(search, source, depth, longest))
            if not room:
                break
            found.runs = number
            longest, new = max(longest, int(search.counts[states.STEPS])), _note(search, found, endings)
            cut += search.counts[states.STEPS] >= RUN_MOVES_MAX
            newest = number if new else newest
    except KeyboardInterrupt:
        found.interrupted = True
    found.seconds, found.depth = time.perf_counter() - began, longest
    found.transitions = int(search.counts[states.TRANSITIONS])
    found.endings = sorted(endings.values(), key=lambda ending: (ending.kind, ending.answers, ending.words))
    # A run says nothing of all schedules.
    found.checked = tuple(name for name in checked(scenario) if name not in (*CYCLES, LOCK_ORDER))
    found.answered, found.entries = search.answers(), search.entries()
    found.stopped = _sampled(found, newest, cut) + ("" if room else f"; {_why(moves.FULL, memory_mib)}")
    if depth:
        times = "once" if depth == 2 else f"{depth - 1} times"
        found.how = f"{runs} run{'s' * (runs != 1)} by priorities that change {times}, seed {seed}"
        found.stopped += _bound(search.actors, longest, depth, found.runs)
    return found


def _sampled(found: Found, newest: int, cut: int) -> str:
    """What runs say of all that can happen.  newest: the last run with an ending that was new; cut: so many cut off."""
    share = _share([ending.count for ending in found.endings])
    says = (f"{len(found.endings)} ending{'s' * (len(found.endings) != 1)}, the last new one in run {newest}; {share} of runs would end in one"
            " not seen yet")
    if cut:
        says += f"; {cut} of the runs {'was' if cut == 1 else 'were'} cut off after {RUN_MOVES_MAX} steps"
    return says


def _bound(actors: int, steps: int, depth: int, runs: int) -> str:
    """How likely so many runs are to hit a bug of a depth, where the longest of them had so many steps."""
    bound = min(1 - (1 - 1 / (actors * steps ** (depth - 1))) ** runs, 0.999)        # as it is printed, never certain
    return (f"; a bug of depth {depth} is hit with probability {bound:.3g} or more"
            f" ({actors} actors, {steps} steps)")


def _share(counts: list[int]) -> str:
    """The share of runs with an ending not seen yet, from the endings seen once (Good and Turing, 1953)."""
    once, runs = counts.count(1), sum(counts)
    if not runs:
        return "an unknown share"
    return f"about {100 * once / runs:.2g} %" if once else f"probably less than {100 / runs:.2g} %"


def _deal(search: Search, source, depth: int, steps: int) -> np.ndarray:
    """Run.dice of one run: its random state, and PCT's priorities and change points."""
    dice = np.zeros_like(search.run.dice)
    dice[0] = source.integers(1 << 62)
    dice[1] = max(0, depth - 1)
    dice[3:3 + search.actors] = 1 + source.permutation(search.actors)
    first = 3 + moves.ACTORS_MAX
    dice[first:first + max(0, depth - 1)] = np.sort(source.integers(steps, size=max(0, depth - 1)))
    return dice


def _note(search: Search, found: Found, endings: dict) -> bool:
    """Note how a run has ended and what it has violated; whether the ending is new."""
    steps = int(search.counts[states.STEPS])
    _note_settling(search, found)
    for flag, (name, (step, _, _)) in enumerate(zip(_flags(search), search.events)):
        if step and name not in found.violations:
            ways = search.run.path[:int(step)].copy()
            found.violations[name] = search.shrink(ways, lambda flag=flag: int(search.events[flag, 0]))
    if steps >= RUN_MOVES_MAX:
        return False
    ending = search.ending_of(search.run.here)
    key = (ending.kind, ending.answers, ending.words)
    kept = endings.setdefault(key, ending)
    kept.count += 1
    if kept.turns:
        return False
    kept.turns = search.turns(steps)
    memory, bad = int(search.run.here[search.actors]), []
    if ending.kind == DEADLOCK:
        bad.append(DEADLOCK)
    elif ending.kind == DONE:
        real = search.put(memory)
        dead = real.word(search.scenario.layout.at("vm_dead"))
        bad += [name for name, check in QUIET.items() if check(search, real) and not (
            name == "quiet_mirror" and (dead or not search.scenario.uses_flows))]
    for name in bad:
        found.violations.setdefault(name, kept.turns)
    return True


def _flags(search: Search) -> list[str]:
    """The invariants that moves violate, as their flags are numbered."""
    return ["no_bug", "no_halt", *(EVENTS[name] for name in search.violations)]


def _note_settling(search: Search, found: Found) -> None:
    """What is violated before any actor has made an access with a visible order."""
    for name, turns in zip(_flags(search), search.settling_met.tolist()):
        if turns:
            found.violations.setdefault(name, search.settling[:turns])


def _why(ending: int, memory_mib: int) -> str:
    return {moves.FINISHED: "", kernel.PAUSED: "interrupted",
            moves.FULL: f"the tables are full; --memory-mib {memory_mib} is the limit",
            moves.CRAMPED: f"a store buffer holds more than {BUFFER_MOST} stores",
            moves.ENDLESS: PRIVATE_LOOP}[ending]


def _judge(search: Search, found: Found) -> None:
    ways = Ways(search)
    _endings(ways, found, search.ended())
    fair = False
    if search.preemptions < 0:           # within a bound, what spins is kept from who could end it
        fair = _starvation(ways, found, _livelock(ways, found, search.marks()))
    _note_settling(search, found)
    for name, (state, way, _) in zip(_flags(search), search.events):
        if state and name not in found.violations:
            found.violations[name] = ways.way_to(int(state) - 1, int(way))
    if search.scenario.held_locks and DEADLOCK not in found.violations:
        _lock_order(ways, found)
    if search.forget & moves.CONTEXTS:
        _count(search, found)
    left = {LIVELOCK: search.preemptions >= 0, STARVATION: not fair}
    found.checked = tuple(name for name in checked(search.scenario) if not left.get(name))


def _count(search: Search, found: Found) -> None:
    """Give the turns of all ways their true numbers of rows."""
    for ending in found.endings:
        ending.turns = counted(search.scenario, ending.turns, search.world.arrays.contexts)
    for name, turns in found.violations.items():
        found.violations[name], cycle = counted_cycle(search.scenario, turns, found.cycles.get(name, []), search.world.arrays.contexts)
        if cycle:
            found.cycles[name] = cycle


def _lock_order(ways: Ways, found: Found) -> None:
    """Look for locks that are taken in both orders, though nobody has waited for ever: the way to where the cycle is closed."""
    search = ways.search
    edges = lock_order.cycle(search)
    if edges:
        rows = search.stored.rows(slice(0, int(search.counts[states.N_STATES])))
        at = max(int(np.flatnonzero(rows[:, edge.process] == edge.local)[0]) for edge in edges)
        found.violations[LOCK_ORDER], found.lock_order = ways.way_to(at), lock_order.spelled(search.scenario, edges)


def _livelock(ways: Ways, found: Found, marks: np.ndarray | None) -> np.ndarray:
    """Look for states that cannot end; returns those that can and lie on a cycle.  marks: of Search.marks."""
    search = ways.search
    if marks is None:
        return np.zeros(0, np.int64)
    doomed = np.flatnonzero(marks & judging.ENDS == 0)
    if len(doomed):
        state = int(doomed[0])
        if state == 0 and LIVELOCK not in search.scenario.must_violate and not search.scenario.may_never_end:
            raise UsageError(f"{search.scenario.name}: actors: no schedule lets all scripts end;"
                             ' if that is what is to be shown, must_violate = ["livelock"]')
        found.violations[LIVELOCK], found.cycles[LIVELOCK] = _cycle(ways, state)
    return np.flatnonzero(marks & (judging.ENDS | judging.CYCLE) == judging.ENDS | judging.CYCLE)


def _starvation(ways: Ways, found: Found, cyclic: np.ndarray) -> bool:
    """Look for a fair cycle among the states that are on one and can end; whether that was possible."""
    search = ways.search
    if search.groups and search.counts[states.NEXT] < search.counts[states.N_STATES]:
        return False
    if not len(cyclic):
        return True
    first_arc, arcs, movers = search.arcs_among(cyclic)
    alive = np.ones(len(cyclic), bool)
    if search.groups:
        # Whether all of those that are alike have a turn is asked of each of them.  Where one could move and none of them
        # has a move that stays, there is no need to ask.
        classes = search.world.arrays.alike[:, alike.LEADER].astype(np.int8)
        classes = np.concatenate([classes, np.zeros(moves.ACTORS_MAX - len(classes), np.int8)])
        alive = fairness.in_fair_sets(first_arc, arcs, np.concatenate([classes, classes + moves.ACTORS_MAX])[movers], alive)
        if not alive.any():
            return True
    graph = ways.unwound(cyclic[alive]) if search.groups else Unwound(first_arc, arcs, movers, alive, cyclic)
    members = fairness.fair_states(graph.first_arc, graph.arcs, graph.movers, graph.alive)
    if len(members):
        state, stands = graph.state_of(int(members[0]))
        found.violations[STARVATION], _ = ways.walk_to(state, lambda who: who == (stands or who))
        trip = fairness.round_trip(graph.first_arc, graph.arcs, graph.movers, members)
        found.cycles[STARVATION] = [turn for node, place in trip for turn in ways.turns(*graph.state_of(node), place)]
    return True


def checked(scenario: Scenario) -> tuple[str, ...]:
    """The invariants that a search of every interleaving looks for."""
    counted = tuple(EVENTS[name] for name in scenario.program.counters if name in EVENTS)
    names = ("no_bug", "no_halt", DEADLOCK, *CYCLES, *[LOCK_ORDER] * bool(scenario.held_locks), *counted, *QUIET)
    if not scenario.file.dpamt:
        names = tuple(name for name in names if name not in ("pamt_counted", "pamt_priority"))
    if not scenario.uses_flows:
        names = tuple(name for name in names if name not in ("no_bug", "quiet_mirror"))
    if not scenario.layout.passing:
        names = tuple(name for name in names if name != "quiet_frames")
    return names


# With everybody done: see engines/checks.py.  Each takes (search, memory) and counts violations.
QUIET = {
    "quiet_locks": lambda search, memory: checks.locks_held(search.scenario, memory) + search.scenario.locks_held(memory),
    "quiet_counts": lambda search, memory: checks.counts_left(search.scenario, memory),
    "pamt_counted": lambda search, memory: checks.pairs_miscounted(search.scenario, memory)
    if search.scenario.counts_pairs else 0,
    "pamt_priority": lambda search, memory: checks.priority_on_ranges(memory) if search.scenario.file.dpamt else 0,
    "quiet_mirror": lambda search, memory: checks.mirror_differs(memory),
    "quiet_frames": lambda search, memory: frames.misplaced(memory, entries=search.scenario.uses_flows),
}


def _endings(ways: Ways, found: Found, ended) -> None:
    """The different endings; and the invariants of quiet memory, in each memory that an ending has."""
    search = ways.search
    actors, rows = search.actors, search.stored.rows(ended)
    unique, first, counts = np.unique(rows[:, :actors + 1], axis=0, return_index=True, return_counts=True)
    by_key: dict[tuple, Ending] = {}
    shortest: dict[tuple, tuple] = {}            # a state, and who has to be where
    rearranged: set[tuple] = set()
    quiet_bad: dict[str, int] = {}
    looked: set[int] = set()
    for row, where, count in zip(unique, first, counts):
        state, kind = int(ended[where]), ""
        for to, ending in _each(ways, state, row, rearranged):
            kind = ending.kind
            key = (ending.kind, ending.answers, ending.words)
            kept = by_key.setdefault(key, ending)
            kept.count += int(count)
            shortest[key] = min(shortest.get(key, (state, to)), (state, to))
        if kind == DEADLOCK and ways.is_in_loop(state):
            raise Unproved               # the loop itself may have been stuck earlier, waiting for another that comes before
        if kind == DEADLOCK:
            found_at = quiet_bad.setdefault(DEADLOCK, state)
            quiet_bad[DEADLOCK] = min(found_at, state)
        memory = int(row[actors])
        if kind == DONE and memory not in looked:
            looked.add(memory)
            real = search.put(memory)
            dead = real.word(search.scenario.layout.at("vm_dead"))
            for name, check in QUIET.items():
                if name == "quiet_mirror" and (dead or not search.scenario.uses_flows):
                    continue
                if check(search, real) and state < quiet_bad.get(name, state + 1):
                    quiet_bad[name] = state
    for key, ending in by_key.items():
        state, to = shortest[key]
        ending.turns, _ = ways.walk_to(state, lambda stands, to=to: stands == to)
        found.endings.append(ending)
    found.endings.sort(key=lambda ending: (ending.kind, ending.answers, ending.words))
    for name, state in quiet_bad.items():
        found.violations[name] = ways.way_to(state)


def _each(ways: Ways, state: int, row, rearranged: set):
    """An ending, and those in which actors that are alike are exchanged, unless they have been `rearranged` to
    before: (by place, the actor there; the ending)."""
    search = ways.search
    if not search.groups:
        yield tuple(range(search.actors)), search.ending_of(row)
        return
    for to in ways.arrangements(state):
        stands, memory = ways.rearranged(row, to)
        if (stands, memory) not in rearranged:
            rearranged.add((stands, memory))
            yield to, search.ending_of((*stands, row[search.actors]))


def _cycle(ways: Ways, state: int) -> tuple[list[Turn], list[Turn]]:
    """Of a state that cannot end: (the way into a cycle behind it, the cycle), everybody taking turns fairly."""
    turns, stands = ways.walk_to(state)
    seen: dict[tuple[int, Stands, int], int] = {}
    last = -1
    while (state, stands, last) not in seen:
        seen[state, stands, last] = len(turns)
        moves = {made[0].actor: (made, then, after) for made, then, after in reversed([*ways.moves(state, stands)])}
        last = next(actor for actor in [*range(last + 1, len(stands)), *range(last + 1)] if actor in moves)
        made, state, stands = moves[last]
        turns += made
    begin = seen[state, stands, last]
    return turns[:begin], turns[begin:]


def interleavings(search: Search) -> int:
    """How many different schedules there are, of a finished search without cycles."""
    assert not search.groups, "of alike actors one order was searched"
    ways = {}
    for state in range(int(search.counts[states.N_STATES]) - 1, -1, -1):
        arcs = search.successors(np.array([state]))[1][:, kernel.THEN].tolist()
        assert all(arc > state for arc in arcs), "a cycle"
        ways[state] = sum(ways[arc] for arc in arcs) if arcs else 1
    return ways[0]
