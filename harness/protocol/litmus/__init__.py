"""C litmus tests as programs: a .litmus file -> processes in C -> rows of micro-ops.

    text.py         the parts of a file: name, initial state, processes, condition; where each stands
    conditions.py   `exists`, `~exists`, `forall`: parsed, and held against a final state
    types.py        C's integer types: width, sign, and what a value becomes in them
    body.py         what expressions and statements of one process share
    preprocess.py   macros and #if, by pcpp; kernel.h: the macros that the kernel's headers would bring
    kvm.py          struct kvm and struct kvm_tdx
    source.py       a body made ready for pycparser, which parses it
    expressions.py  C expressions -> rows
    statements.py   C statements -> rows
    functions.py    calls: of a helper function, of the kernel's, of the module's
    primitives.py   the kernel's accesses, barriers and read-modify-writes, as rows of one table
    locks.py        its locks, guards and read sides        } the same
    interrupts.py   interrupts off and on                   }
    assertions.py   WARN_ON_ONCE, BUG_ON, what prints       }
    tdx.py          SEAMCALLs and TDCALLs as functions that answer their status
    scripted.py     KVM's own flows as rows that choose their pages themselves, for virtual time
    rcu.py          read sides of RCU and SRCU, and the wait for them

The form is that of the kernel's tools/memory-model (herd7, klitmus7); what goes beyond it - loops,
goto, helper functions, SEAMCALLs - is what drafts of KVM use.
"""
