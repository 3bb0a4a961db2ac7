"""The protocol as data: SEAMCALL rows and KVM flows, and how they become programs.

    seamcalls.py   THE TABLE: every call as a row of phrases, put together and written as subroutines
    sources.py     where a call is to be read in a release
    calls/         its rows by noun, each with its source
    phrases/       the words of that table, and the micro-ops each becomes
    call.py        a call while it is written: taking locks, checking owners, getting out
    locate.py      registers that a call finds set: where the words of a page are
    frames.py      the same of the host's 2 MiB and 1 GiB around it, where a placement says which; what is given back passes on
    flows/         what KVM and the guest do around the calls
    seamcall_abi.py   what an answer means: layout, decoding of TDH.VP.ENTER's, retries, faults
    errnos.py         which errno the kernel makes of an answer, by site
    statuses.py    what each status and operand id means, and whether trying again can help
    leaves.py      every call by number and by name, and what it leaves in registers
    answers.py     who gives an answer and who may hold the lock
    kept_answers.py   what that needs of the rows, kept in answers.json
    spelling.py    numbers, names and log lines, as people have them, -> answers
    faults.py      injected faults as micro-ops; none in a program without them
    counters.py    what programs count and time, with its meaning; nothing else is
    invariants.py  what must be true of every run: the table
    counted_answers.py  the ways a call can end: the kind of each, and its name
    assemble.py    from rows with names to rows with numbers
    litmus/        C litmus tests as programs
    liveness.py    which registers may still be read at a row
    contexts.py    the same by what decides where an actor goes on, too
    store_buffers.py  which stores wait in a store buffer (x86-TSO)
    contention.py  which calls can make each other BUSY, read off the rows
    shared_ranges.py  the same of PAMT entries of ranges that TDs share, under a design of Dynamic PAMT
    kvm_locks.py   what KVM's own locks keep apart
    policy.py      the language of policies: sites, responses, switches
    policies.py    what the host does on BUSY, as rows
    dpamt.py       how the kernel gets and puts page pairs (Dynamic PAMT): designs, as rows
    guest_policies.py  what a guest makes of the answers of ACCEPT, as rows
    releases.py    what differs between releases of the module, as rows

Read seamcalls.py first, then calls/memory.py; it can be laid beside the module's C files.  `python -m harness explain
tdh_mem_range_block` prints what a row becomes.

To add a call: a row in a file of calls/.  Its phrases say which locks it takes in which mode, which states
it allows and what it writes; getting out is derived.  If a phrase is missing, add one to phrases/:
a value with `emit(call)`, and `locks()` if it takes any.  A new micro-op should be the last resort.

Why a call's way out is derived: the module's own code has one exit ladder per call, and the order
in which locks are dropped is visible to others.  Written by hand, a ladder is where a table drifts
from its source without anybody noticing.  Here the assembler knows at each row what is held, so a
failure drops just that, in the row's release order, and a killed worker's locks can be named.
"""
