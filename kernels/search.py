"""Every interleaving of a few actors: breadth-first over stored states, each `step` taken once.

Small worlds.  A scenario touches a few dozen words and a few dozen rows, so almost everything in one
state is the same as in another.  Three tables hold what differs, each entry once:

    locals      an actor's registers (those that are still going to be read, and PC)
    memories    the words that anybody has changed so far, as they differ from the start
    states      one number per actor into locals, one into memories, one for the scheduler

What an actor does next depends on its own registers and on the memory, not on the others' registers.
So `step` is called once for each pair of those (an *arc* of the table `moves`), and the product over
the other actors, which is where the states are, costs one look into a hash table each.  States are
stored whole: there are no collisions to reckon with.

A *move* is one access to a contested word and all that follows up to the next one: registers, marks,
and accesses that no other actor can tell the order of.  Which those are is assumed and held against
what happens: a byte is contested once two actors have accessed it, somebody has changed it, and the
accesses are not all additions whose results nobody uses (readers that count in and out).  The first
access that breaks an assumption ends the search with RESTART, and it begins again knowing better.
(Why nothing is missed: take any order of the actors in which an assumption breaks, up to the access
that breaks it.  Uncontested accesses in it can be moved up to the contested one they follow without
anybody reading anything else, so the search meets the same access.)

Of states that differ only in which of several *alike* actors is which (kernels/symmetry.py), one is kept:
the one in which their locals are in the order in which they were first met.  A byte that one of them has
accessed counts as accessed by all of them.

The scheduler is an argument: every move in turn (BREADTH), a random one (RANDOM), by priorities that
change a few times (PCT), or as given (GIVEN).
"""

import numpy as np

from kernels import atomics, stepping
from kernels.symmetry import LEADER, LEFT, NAME, NOTHING_READ, PEERS, ROLE, exchanged, minds
from kernels.compiling import kernel
from kernels.guest import PAGE_MASK
from kernels.machine import BLOCKED, step
from kernels.ops import (
    NOTHING, OF_ROW, OP_TABLE, REGISTERS, STEPPING, TRANSLATION, TRANSLATIONS, ZEROED, Fact, Kind, Op, Register,
)
from kernels.words import HP_READER, SHAREX_READER

# How `search` ended.
FINISHED, RESTART, FULL, PAUSED, RUN_ENDED, ENDLESS = 0, 1, 2, 3, 4, 5

BREADTH, RANDOM, PCT, GIVEN = 0, 1, 2, 3         # schedulers

# Flags of a move.
CANNOT = 1                       # the actor has to wait
BUG = 2                          # KVM_BUG_ON
HALTED = 4                       # a sanity check of the module failed
COUNTED = 8                      # first of the flags of counters, one each

ACTORS_MAX = 8
BRANCHES_MAX = 64                # outcomes of one choice
ROWS_MAX = 50_000                # rows of one move; more is a loop that nobody else can end
SETTLE = BRANCHES_MAX            # a move that makes no access of its own: up to the first contested one
EMPTY = 0                        # in an index; entries are row + 1

# Where an actor stands (`fanout`): how many moves it has, or
OVER, DOWN = 0, -1               # its script is over; the module is down

# Named elements of `counts`.
(N_LOCALS, N_MEMORIES, N_STATES, N_MOVES, N_ARCS, N_CELLS, NEXT, TRANSITIONS, STEPS,
 LOCAL_MASK, MEMORY_MASK, STATE_MASK, MOVE_MASK, FULL_TABLE, TOP, TOLD_APART,
 LEFT_OUT) = range(17)
COUNTS = 17
ROOM = ACTORS_MAX * BRANCHES_MAX                 # rows that one state may need
# With actors that are alike a move needs up to ACTORS_MAX rows more of some tables; it has two outcomes at most.
ALIKE_BRANCHES_MAX = 2
assert ACTORS_MAX * ALIKE_BRANCHES_MAX * (1 + ACTORS_MAX) <= ROOM

# Named elements of `limits`: states to expand before PAUSED; preemptions allowed, or -1; length of a
# run; whether to forget the counts that lost tries leave; 2 if time may run out where a row asks
# (Op.OVERDUE), 1 if it never does; words that a memory has room for; whether some actors are alike.
LIMITS = PAUSE_STATES, PREEMPTIONS, RUN_MOVES, FORGET, TIME_OUTCOMES, WORDS, ALIKE = range(7)

SPANS = np.array([info.bytes for info in OP_TABLE], np.int64)
KINDS = np.array([info.kind for info in OP_TABLE], np.int64)
COUNTING = np.array([Fact.COUNTS in info.facts for info in OP_TABLE])        # where all are such, order does not show

assert ACTORS_MAX * BRANCHES_MAX < 1 << 15       # a way (actor, branch) fits 16 bits

MIX = -7046029254386353131


@kernel
def fold(hash_, word):
    """A hash of everything so far and `word`."""
    hash_ = (hash_ ^ word) * MIX
    return hash_ ^ (hash_ >> 29 & 0x7FFFFFFFF)


@kernel
def intern(table, index, counts, count_at, mask_at):
    """The row of a table that equals its first unused row; that row itself, now used, if none does.

    table    (rows, columns); a column that is 0 may as well not be there
    index    hashed rows + 1 (int32, EMPTY where there is none); of it mask + 1 elements are in use
    counts   [count_at]: rows in use; [mask_at]: the mask; both are kept here
    """
    fresh = counts[count_at]
    if 2 * (fresh + 1) > counts[mask_at]:
        while 2 * (fresh + 1) > counts[mask_at]:
            counts[mask_at] = 4 * counts[mask_at] + 3
        for slot in range(counts[mask_at] + 1):
            index[slot] = EMPTY
        for row in range(fresh):
            slot = hash_of(table, row) & counts[mask_at]
            while index[slot] != EMPTY:
                slot = slot + 1 & counts[mask_at]
            index[slot] = row + 1
    slot = hash_of(table, fresh) & counts[mask_at]
    while index[slot] != EMPTY:
        row = np.int64(index[slot]) - 1
        same = True
        for column in range(table.shape[1]):
            same &= table[row, column] == table[fresh, column]
        if same:
            return row
        slot = slot + 1 & counts[mask_at]
    index[slot] = fresh + 1
    counts[count_at] = fresh + 1
    return fresh


@kernel
def hash_of(table, row):
    hash_ = np.int64(0)
    for column in range(table.shape[1]):
        word = np.int64(table[row, column])
        if word != 0:
            hash_ += fold(column + 1, word)
    return fold(0, hash_)


@kernel
def place_of(row, op, registers):
    """(first byte, bytes, first word, words) that a row accesses; bytes are < 0 where only this actor does."""
    span = SPANS[op]
    where = registers[row.base] + row.offset
    if span == OF_ROW:
        span = np.int64(row.width) // 8
    elif span == ZEROED:
        span = row.value
    first = where >> 3
    if span == TRANSLATION:
        first += registers[Register.GUEST_PAGE] & PAGE_MASK & row.value - 1
    # A translation that is forgotten has been noted as changed when it was remembered.
    words = 0 if span == NOTHING or span == TRANSLATIONS else 3 if span == STEPPING else 1
    return where, span, first, words


@kernel
def word_at(base, first, place):
    """Where the `place`-th word that may change lies, in words: of the mitigation, its list's next one."""
    if place < 2:
        return first + place
    return first + 2 + stepping.listed_count(base + 8 * first)


@kernel
def note_word(base, cell, initial_block, cell_at, cell_of, initial, counts):
    """Make a word part of the state, because somebody has changed it."""
    if cell_of[cell] == 0:
        cell_at[counts[N_CELLS]] = 8 * cell
        initial[counts[N_CELLS]] = initial_block[cell]
        counts[N_CELLS] += 1
        cell_of[cell] = counts[N_CELLS]


@kernel
def note_bytes(where, span, who, change, shows, contested, accessors, changed, ordered, ghosts):
    """Note an access by `who` (actors as bits); whether a byte turns out to be contested that was not known to be."""
    news = False
    for byte in range(where, where + span):
        accessors[byte] |= who
        changed[byte] |= change
        ordered[byte] |= shows
        several = accessors[byte] & accessors[byte] - 1
        if (several != 0 and changed[byte] != 0 and ordered[byte] != 0 and ghosts[byte] == 0
                and contested[byte] == 0):
            contested[byte] = 1
            news = True
    return news


@kernel
def is_contested(where, span, kind, contested):
    if kind == Kind.WAIT:
        return True
    for byte in range(where, where + span):
        if contested[byte] != 0:
            return True
    return False


@kernel
def drive(row, op, registers, actor, branch, fresh, scripts, script_values, choices, leave, limits):
    """A row that only a driver can see to: (next row, whether the move's own step is still to come).

    The next row is -1 where a move has to end before this row.
    """
    if op == Op.CHOOSE:
        if choices[row.value] > 0:
            if not fresh:
                return np.int64(-1), fresh
            registers[row.register] = branch
            return np.int64(row.next), False
        draws = registers[Register.DRAWS]
        if draws >= scripts[actor, 1]:
            registers[Register.DRAWS] = scripts[actor, 1] + 1
            return leave[actor], fresh
        registers[row.register] = script_values[scripts[actor, 0] + draws]
        registers[Register.DRAWS] = draws + 1
    elif op == Op.OVERDUE:
        if limits[TIME_OUTCOMES] > 1:
            if not fresh:
                return np.int64(-1), fresh
            registers[row.register] = branch
            return np.int64(row.next), False
        registers[row.register] = 0
    elif op == Op.POLL:
        # A vCPU stops once it has left, a host before it would choose.
        last = scripts[actor, 1] - (1 if leave[actor] == 0 else 0)
        registers[Register.STOPPING] = 1 if registers[Register.DRAWS] > last else 0
    elif op == Op.CALL_BEGIN:
        registers[Register.CALL] = row.value
    return np.int64(row.next), fresh


@kernel
def add_twins(local, alike, locals_, fanout, local_index, twins, counts):
    """Note for an actor's locals what each actor alike would have in its place: twins[local, place], + 1."""
    mine = locals_[local, REGISTERS]
    for place in range(alike.shape[0]):
        if alike[place, LEADER] != alike[mine, LEADER]:
            continue
        row = local
        if place != mine:
            fresh = counts[N_LOCALS]
            for register in range(REGISTERS):
                locals_[fresh, register] = locals_[local, register]
            locals_[fresh, Register.ME] = alike[place, NAME]
            locals_[fresh, Register.ROLE] = alike[place, ROLE]
            locals_[fresh, REGISTERS] = place
            row = intern(locals_, local_index, counts, N_LOCALS, LOCAL_MASK)
            fanout[row] = fanout[local]
        twins[local, place] = row + 1
    for place in range(alike.shape[0]):
        if twins[local, place] != 0:
            for other in range(alike.shape[0]):
                twins[twins[local, place] - 1, other] = twins[local, other]


@kernel
def exchange_names(memory, place, alike, memories, memory_index, swapped, ghosts, cell_at, counts):
    """Memory with the names of the actor at `place` and of the one before it that it is alike to exchanged."""
    if swapped[memory, place] != 0:
        return np.int64(swapped[memory, place]) - 1
    fresh = counts[N_MEMORIES]
    one, other = alike[place, NAME], alike[alike[place, LEFT], NAME]
    for cell in range(counts[N_CELLS]):
        word = memories[memory, cell]
        memories[fresh, cell] = exchanged(word, one, other) if ghosts[cell_at[cell]] != 0 else word
    row = intern(memories, memory_index, counts, N_MEMORIES, MEMORY_MASK)
    swapped[memory, place], swapped[row, place] = row + 1, memory + 1
    return row


@kernel
def put_in_order(
    states, state, alike, locals_, fanout, local_index, twins,
    memories, memory_index, swapped, ghosts, cell_at, counts,
):
    """Exchange actors that are alike in a state, until what their leader would have as locals goes up."""
    actors = alike.shape[0]
    for place in range(actors):
        if twins[states[state, place], place] == 0:
            add_twins(np.int64(states[state, place]), alike, locals_, fanout, local_index, twins, counts)
    for place in range(actors):
        right = place
        while alike[right, LEFT] >= 0:
            left, leader = alike[right, LEFT], alike[right, LEADER]
            mine, other = np.int64(states[state, right]), np.int64(states[state, left])
            if twins[other, leader] <= twins[mine, leader]:
                break
            states[state, left] = twins[mine, left] - 1
            states[state, right] = twins[other, right] - 1
            memory = np.int64(states[state, actors])
            states[state, actors] = exchange_names(
                memory, right, alike, memories, memory_index, swapped, ghosts, cell_at, counts)
            right = left


@kernel
def execute(
    rows, live, base, initial_block, registers, actor, branch, scripts, script_values, choices, leave, alike,
    contested, accessors, changed, ordered, ghosts, cell_at, cell_of, initial, counts, counted, answered, limits,
):
    """One move of an actor, in registers and memory: (row it stops at, flags, rows executed, ending).

    The ending is FINISHED; RESTART if an assumption does not hold; FULL or ENDLESS.
    """
    pc = np.uint32(registers[Register.PC])
    flags, executed, read = np.int64(0), 0, np.int64(NOTHING_READ)
    fresh = branch != SETTLE             # the one contested access is still to come
    while True:
        row = rows[pc]
        op = np.int64(row.op)
        kind = KINDS[op]
        if executed > 2 * ROWS_MAX:
            return pc, flags, executed, ENDLESS
        where, span, first, words = place_of(row, op, registers)
        if limits[ALIKE]:
            ghost = span > 0 and ghosts[where] != 0
            if minds(row, op, read, live[pc], alike[actor, PEERS] & alike[actor, PEERS] - 1 != 0, ghost):
                counts[TOLD_APART] = 1
                return pc, flags, executed, RESTART
            if ghost and op != Op.STORE:
                read = np.int64(row.register)
            elif read != NOTHING_READ and live[pc] >> read & 1 == 0:
                read = np.int64(NOTHING_READ)
        if kind == Kind.DRIVER:
            if op == Op.STOP or op == Op.HALT:
                return pc, flags, executed, FINISHED
            then, fresh = drive(row, op, registers, actor, branch, fresh, scripts, script_values, choices, leave,
                                limits)
            if then < 0:
                return pc, flags, executed, FINISHED
            if op == Op.COUNT:
                flags |= counted[row.value]
            elif op == Op.BUG:
                flags |= BUG
            elif op == Op.CALL_END:
                answered[registers[Register.CALL], registers[Register.ANSWER]] = 1
            pc = np.uint32(then)
            executed += 1
            continue

        contests = span > 0 and is_contested(where, span, kind, contested)
        if contests and not fresh:
            return pc, flags, executed, FINISHED
        if counts[N_CELLS] + 3 > limits[WORDS]:
            counts[FULL_TABLE] = 5
            return pc, flags, executed, FULL
        third = word_at(base, first, words - 1) if words > 0 else first
        before, second_before, third_before = np.int64(0), np.int64(0), np.int64(0)
        if words > 0:
            before, third_before = atomics.load64(base + 8 * first), atomics.load64(base + 8 * third)
        if words > 1:
            second_before = atomics.load64(base + 8 * first + 8)

        after, signal = step(rows, pc, registers, base)
        executed += 1
        if limits[FORGET] and after == row.otherwise and (op == Op.SHAREX_TAKE_SHARED or op == Op.HP_TAKE_SHARED):
            # A lost try leaves its count under the exclusive holder, whose release wipes it, and
            # nobody can tell how many there were.
            lost = HP_READER if op == Op.HP_TAKE_SHARED else SHAREX_READER
            atomics.store16(base + where, atomics.load16(base + where) - lost)

        now = before
        if words > 0:
            now = atomics.load64(base + 8 * first)
            if now != before:
                note_word(base, first, initial_block, cell_at, cell_of, initial, counts)
            if atomics.load64(base + 8 * third) != third_before:
                note_word(base, third, initial_block, cell_at, cell_of, initial, counts)
            if words > 1 and atomics.load64(base + 8 * first + 8) != second_before:
                note_word(base, first + 1, initial_block, cell_at, cell_of, initial, counts)
        if span > 0:
            shows = 1
            if COUNTING[op] and signal != BLOCKED and after == row.next:
                shows = 1 if op == Op.ADD and row.register != Register.SINK else 0
            if note_bytes(where, span, alike[actor, PEERS], 1 if now != before else 0, shows, contested, accessors,
                          changed, ordered, ghosts):
                return pc, flags, executed, RESTART
        if signal == BLOCKED:
            return pc, CANNOT if now == before else flags, executed, FINISHED
        if contests:
            fresh = False
        elif executed > ROWS_MAX and span > 0 and ghosts[where] == 0:
            # Contest what a long loop touches, so that it becomes moves that can be seen.
            for byte in range(where, where + span):
                contested[byte] = 1
            return pc, flags, executed, RESTART
        pc = after


@kernel(entry=True)
def search(
    rows, live, base, initial_block,                      # the program and the memory
    actors, scripts, script_values, choices, leave, alike,        # what each actor is to do
    contested, accessors, changed, ordered, ghosts,       # bytes
    cell_at, cell_of, initial,                            # words
    locals_, fanout, local_index, twins,
    memories, memory_index, swapped,
    states, parents, ways, first_arc, state_index,
    move_key, move_to, move_flags, move_rows, move_index,
    arcs, movers,
    counts, events, counted, answered,
    scheduler, limits, here, path, path_rows, dice, registers, candidates,
):
    """Search until something is to be said; call again to go on.

    rows            (R,) of ops.ROW
    live            int64 (R,): bit r is set where register r is still read, at or behind the row
    base            address of memory; its words are changed
    initial_block   int64: memory as it was at the start, as words
    actors          number of actors
    scripts         int64 (actors, 2): where an actor's script lies in script_values, and its length
    choices         int64 (choices,): outcomes to branch into, or 0: the next element of the script
    leave           int64 (actors,): where a vCPU goes on whose script is over; 0 for a host
    alike           int64 (actors, columns): see kernels/symmetry.py
    contested ..    uint8 by byte of memory: known to be contested; which actors accessed it (bits);
                    whether it was changed; whether in ways whose order shows; ghosts: never contested
    cell_at         int64: where the words that were changed lie; cell_of: int32 (words of memory),
                    the place in cell_at + 1; initial: int64, their values at the start
    locals_ ...     the tables; see the top of this file and `intern`
    fanout          int8: how many moves an actor has in each of the locals; OVER or DOWN
    twins           int32 (locals, actors), of actors that are alike: see `add_twins`; 0 where not known
    swapped         int32 (memories, actors): see `exchange_names`; 0 where not known
    arcs, movers    int32: the state that a move leads to, by first_arc; int8: whose move it is
    events          int64 (flags, 3): the first state (run: step) in which a move had the flag, + 1;
                    its way, its move
    counted         int64 (counters,): the flag of each counter, or 0
    answered        uint8 (calls, answers): 1 where a call has ended in an answer
    limits          int64: see LIMITS
    here            int32 (actors + 2,): the state of a run (RANDOM, PCT, GIVEN)
    path            int16: the ways a run has taken (or GIVEN: has to take)
    path_rows       int32: rows executed in each
    dice            int64 (3 + ACTORS_MAX + depth,): random state, then PCT's priorities and change points
    registers       int64 (REGISTERS,) scratch; candidates: int64 (ACTORS_MAX * BRANCHES_MAX, 2) scratch
    Returns an ending.
    """
    memory_at, scheduler_at = actors, actors + 1
    paused_at = counts[NEXT] + limits[PAUSE_STATES]
    preemptions = limits[PREEMPTIONS]
    while True:
        # --- where: the next state to expand, or the state that a run has reached ---
        at = counts[NEXT]
        if scheduler == BREADTH:
            if at == counts[N_STATES]:
                return FINISHED
            if at == paused_at:
                return PAUSED
            first_arc[at] = counts[N_ARCS]
            for column in range(actors + 2):
                here[column] = states[at, column]
        elif counts[STEPS] >= limits[RUN_MOVES]:
            return RUN_ENDED
        if (counts[N_LOCALS] + ROOM > locals_.shape[0] or counts[N_MEMORIES] + ROOM > memories.shape[0]
                or counts[N_STATES] + ROOM > states.shape[0] or counts[N_MOVES] + ROOM > move_key.shape[0]
                or counts[N_ARCS] + ROOM > arcs.shape[0]):
            return FULL

        # --- which moves are there ---
        memory, found, down = np.int64(here[memory_at]), 0, False
        for actor in range(actors):
            down |= fanout[here[actor]] == DOWN
        for actor in range(0 if down else actors):
            local = np.int64(here[actor])
            branches = np.int64(fanout[local])
            if scheduler == GIVEN:
                branches = min(branches, 1) if path[counts[STEPS]] >> 8 == actor else 0
            for each in range(branches):
                branch = np.int64(path[counts[STEPS]] & 0xFF) if scheduler == GIVEN else each
                known = counts[N_MOVES]
                move_key[known, 0] = memory << 33 | local << 7 | branch
                move = intern(move_key, move_index, counts, N_MOVES, MOVE_MASK)
                if move == known:
                    # It has not been made before: put the world into this state, and make it.
                    for cell in range(counts[N_CELLS]):
                        atomics.store64(base + cell_at[cell], initial[cell] ^ memories[memory, cell])
                    for register in range(REGISTERS):
                        registers[register] = locals_[local, register]
                    pc, flags, executed, ending = execute(
                        rows, live, base, initial_block, registers, actor, branch, scripts, script_values, choices,
                        leave, alike, contested, accessors, changed, ordered, ghosts, cell_at, cell_of, initial, counts,
                        counted, answered, limits)
                    if ending != FINISHED:
                        return ending
                    registers[Register.PC] = pc
                    fresh = counts[N_LOCALS]
                    for register in range(REGISTERS):
                        keep = live[pc] >> register & 1 != 0 if register < 64 else register != Register.CONTENDED
                        locals_[fresh, register] = registers[register] if keep else 0
                    locals_[fresh, REGISTERS] = actor
                    move_to[move, 0] = intern(locals_, local_index, counts, N_LOCALS, LOCAL_MASK)
                    op = rows[pc].op
                    fanout[move_to[move, 0]] = (
                        OVER if op == Op.STOP else DOWN if op == Op.HALT else choices[rows[pc].value]
                        if op == Op.CHOOSE else limits[TIME_OUTCOMES] if op == Op.OVERDUE else 1)
                    fresh = counts[N_MEMORIES]
                    for cell in range(counts[N_CELLS]):
                        memories[fresh, cell] = atomics.load64(base + cell_at[cell]) ^ initial[cell]
                    move_to[move, 1] = intern(memories, memory_index, counts, N_MEMORIES, MEMORY_MASK)
                    move_flags[move] = flags | (HALTED if op == Op.HALT else 0)
                    move_rows[move] = executed
                if move_flags[move] & CANNOT == 0:
                    candidates[found, 0] = actor << 8 | branch
                    candidates[found, 1] = move
                    found += 1

        # --- which of them are taken ---
        chosen, behind = 0, found
        if scheduler == GIVEN and found == 0:
            path_rows[counts[STEPS]] = 0             # a way that cannot be taken is passed over
            counts[STEPS] += 1
            continue
        if scheduler != BREADTH:
            if found == 0:
                return RUN_ENDED
            if scheduler != GIVEN:
                chosen = choose(scheduler, found, candidates, counts, dice)
            behind = chosen + 1
        last, used = np.int64(here[scheduler_at] & 0xFF) - 1, np.int64(here[scheduler_at] >> 8)
        could = False                    # whether the actor that moved last could go on
        for candidate in range(found):
            could |= candidates[candidate, 0] >> 8 == last
        for candidate in range(chosen, behind):
            way, move = candidates[candidate, 0], candidates[candidate, 1]
            actor, note = way >> 8, np.int64(0)
            if preemptions >= 0:
                spent = used + (1 if could and actor != last else 0)
                if spent > preemptions:
                    counts[LEFT_OUT] += 1
                    continue
                note = spent << 8 | actor + 1
            counts[TRANSITIONS] += 1
            flags = move_flags[move] >> 1
            if flags != 0:
                for flag in range(events.shape[0]):
                    if flags >> flag & 1 and events[flag, 0] == 0:
                        events[flag, 0] = at + 1 if scheduler == BREADTH else counts[STEPS] + 1
                        events[flag, 1] = way
                        events[flag, 2] = move
            if scheduler != BREADTH:
                path[counts[STEPS]] = way
                path_rows[counts[STEPS]] = move_rows[move]
                counts[STEPS] += 1
                here[actor] = move_to[move, 0]
                here[memory_at] = move_to[move, 1]
                continue
            known = counts[N_STATES]
            for column in range(actors):
                states[known, column] = here[column]
            states[known, actor] = move_to[move, 0]
            states[known, memory_at] = move_to[move, 1]
            states[known, scheduler_at] = note
            if limits[ALIKE]:
                put_in_order(states, known, alike, locals_, fanout, local_index, twins,
                             memories, memory_index, swapped, ghosts, cell_at, counts)
            reached = intern(states, state_index, counts, N_STATES, STATE_MASK)
            if reached == known:
                parents[reached] = at
                ways[reached] = way
            arcs[counts[N_ARCS]] = reached
            movers[counts[N_ARCS]] = actor
            counts[N_ARCS] += 1
        if scheduler == BREADTH:
            counts[NEXT] += 1


@kernel
def choose(scheduler, found, candidates, counts, dice):
    """The candidate that a run goes on with: any one (RANDOM), or one of the highest priority (PCT)."""
    first, several = 0, found
    if scheduler == PCT:
        # At a change point, the actor that has moved last drops below all others.
        for change in range(dice[1]):
            if counts[STEPS] == dice[3 + ACTORS_MAX + change]:
                dice[3 + counts[TOP]] = -1 - change
        for candidate in range(found):
            if dice[3 + (candidates[candidate, 0] >> 8)] > dice[3 + (candidates[first, 0] >> 8)]:
                first = candidate
        counts[TOP] = candidates[first, 0] >> 8
        several = 0
        for candidate in range(found):
            several += 1 if candidates[candidate, 0] >> 8 == counts[TOP] else 0
    dice[0] = fold(dice[0] + MIX, counts[STEPS])
    return first + ((dice[0] >> 20 & 0xFFFFFFFF) * several >> 32)


@kernel(entry=True)
def mark_ending(states_count, first_arc, arcs, ends):
    """ends[s] becomes 1 wherever some schedule leads from state s to one that is marked 1 already.

    first_arc   (states + 1,): where a state's arcs begin;  arcs: the states they lead to
    Returns how often the arcs were gone through.
    """
    rounds = 0
    more = True
    while more:
        more = False
        rounds += 1
        for state in range(states_count - 1, -1, -1):
            if ends[state] == 0:
                for arc in range(first_arc[state], first_arc[state + 1]):
                    if ends[arcs[arc]] != 0:
                        ends[state] = 1
                        more = True
                        break
    return rounds


assert BLOCKED < 0 and len(OP_TABLE) == len(SPANS)
