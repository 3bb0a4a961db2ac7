"""Compiled code: the module's words and locks, and the machine that executes programs of micro-ops.

Nothing here knows of KVM, of policies or of configs; harness/ decides what is run, this package runs
it.  In reading order:

    words.py      what every bit, status and operand id means (plain Python)
    statuses.py   every status and operand id of every release, as rows (plain Python)
    compiling.py  how kernels are compiled: when they are needed
    numba_side.py what a kernel becomes then, and with which settings
    cache.py      where compiled code is kept, and what of it is believed
    short_compiler.py the short way through Numba's compiler
    numba_known.py what Numba knows of Python and NumPy for it
    plain_calls.py how kernels call each other
    atomics.py    one shared word, one instruction
    instructions.py the same for LLVM
    locks.py      the module's four locks: single steps, and the whole operations made of them
    epoch.py      TLB tracking          } rules of the module,
    stepping.py   zero-step mitigation  } each on a few words
    rwlock.py     KVM's mmu_lock        } rules of the surroundings
    arithmetic.py C's operators on two registers, for programs that were written in C
    guest.py      what a guest remembers and keeps in its pages
    ops.py        the table of micro-ops, the registers, the format of a row
    machine.py    `step`: executes one micro-op
    answers.py    the kinds of answers that a call can end with
    record.py     counters and histograms that an actor writes while it runs
    blame.py      who held the lock that an actor was refused, and whether it was preempted
    durations.py  how long something takes
    dice.py       how an actor's choices come out
    arrivals.py   an open loop: when the next thing is meant to begin
    marks.py      the rows that `step` leaves to a driver, interpreted once for all drivers
    clock_checks.py two processors' clocks compared, and the pace of one (for the coordinator)
    realtime.py   `run`: calls `step` for one actor in real time
    cells.py      one actor of many small worlds, side by side with others in real time
    cells_logged.py the same with a clock, for a trace
    wheel.py      who is next in virtual time                     }
    lines.py      what it costs to reach a cache line             } for
    simulated.py  processors that are shared, who waits, interrupts } simulate.py
    simulate.py   `run`: calls `step` for all actors, in virtual time
    pingpong.py   a cache line's way between two processors, and a processor's gaps         } for
    in_turn.py    `timed`: calls `step` for actors that take turns, which never meet        } calibration
    symmetry.py   actors that may change places              } for
    buffers.py    store buffers of x86-TSO, behind an actor's registers
    contexts.py   which registers are still read, by row and return address
    independence.py accesses in an order that nobody can tell any more
    moves.py      one move of an actor; `take`: one turn     } search.py
    interned.py   tables of rows, each once, to which several threads may add
    packed.py     rows of small numbers in few words
    states.py     the tables of a search                     }
    search.py     `search`: every interleaving of a few actors
    judging.py    what of it never ends: one pass over the states
    unwinding.py  the same with each actor as itself, where those that are alike were exchanged
    connected.py  strongly connected components of what it has found

Three nouns.  A *word* is shared memory: an address and a width, only ever touched by one atomic
instruction at a time.  A *micro-op* is a row of a program with at most one such access.  An *actor*
is a file of registers that walks through a program.

Why programs of micro-ops and not a function per SEAMCALL: what has to be right is what others can
see between any two accesses.  A compiled function can be run, but it cannot be stopped between two
of its instructions, taken back, tried in another order or explained.  A row can.  So the protocol is
data, `step` is its only interpreter, and everything that wants to execute it - processes in real
time, a simulator, a search through all interleavings - calls that one function.  What `step` cannot know
(time, choices, what is recorded) is a row too, and is interpreted once as well: marks.py, where what a
driver makes of it is an argument.  A step costs a few
nanoseconds, which is little beside a locked instruction (`make bench`).

What Numba punishes, and what the code here does about it:

    shared memory through arrays     loads are moved out of loops, so words are addresses (atomics)
    arrays that cross a call         counted with locked instructions, so nothing is counted (numba_side)
    mixing signed and unsigned       becomes floating point, so every word is a signed int64
    wrappers for Python              as dear to compile as the function, so only entries have them
    many small functions             Numba spends tens of ms on each; most of that is left out (short_compiler)
    a target that must be loaded     a row that runs on into the one behind says so (ROW's `straight`):
                                     a branch that the processor foresees, and nothing to wait for
    a cache that looks at one file   would miss a change in a helper (`compiling.source_hash`)
    being imported                   takes longer than most commands, so it is when something is compiled (`Deferred`)
"""
