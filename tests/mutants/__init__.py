"""Mutants: the program with one thing wrong, which some test must see.

    python -m tests.mutants                        all of them
    python -m tests.mutants --only 'vp_enter'      those with a name that matches
    python -m tests.mutants --list                 their names
    python -m tests.mutants --kind rows --releases 1.5.05 --jobs 2
    python -m tests.mutants --sample 100 --seed 7  a hundred of each kind, by chance

    rows        THE TABLE: phrases, locks, modes, operands, states, release orders
    steps       the micro-ops that the rows become: so what the phrases write
    sources     lines of kernels/, harness/results/ and others, changed in the text
    values      which values a register can have at a row: the other bits of its sets nothing can show
    judges      the tests that are asked
    running     a fork and a process group for each, so that nothing is left of it
    equivalents mutants that no test can tell from the original, each with its reason

The first two are made in memory, in a fork for each mutant, from the tables themselves: a new row has
its mutants by itself.  The last are made in a copy of the tree in a temporary directory, and pytest is run there.

A mutant is *killed* when a test fails, *the same* when it becomes the very same micro-ops, *equivalent* when
equivalents.py says why nobody can see it, and else has *survived*: then a test is missing.  Exit code 1 if any has.
*not made* is one of which no program comes, *did not import* one with a file that cannot be imported, so that no test has
begun; neither says anything about the tests.  *not seen* are those that are not tried, as the rows themselves say that
nothing can show them.
"""
