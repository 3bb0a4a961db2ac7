"""Tests, in the rooms of what they test: tests/commands/test_run.py is of harness/commands/run.py.

    kernels/      words, locks, TLB epochs, zero-step, who caused a BUSY, the compiled code itself
    memory/       what lies where, and memory that is taken as it is touched
    protocol/     order of locks, statuses and writes of every call; flows, policies, releases, faults
    experiment/   configs, scenarios, plans, choices
    results/      what may be said of a few blocks, when not to believe a run, changes from night to night
    engines/      real processes, virtual time against theory, every interleaving against counts by hand
    reports/      tables, pages, plots                    host/      what the machine is
    commands/     what a person can get wrong, what is printed, exit codes
    faults/       faults at random instants: `make test-faults`; a few in the suite
    fuzz/         damaged inputs for every reader
    test_fence    who may import whom, print, exit        test_files
    bench/        `make bench`; asserts nothing            soak       `make soak`: no correct run is failed
    large         `make explore-large`: searches of millions of states

What they share:

    stage         actors moved micro-op by micro-op       scene      the actors of a plan, moved by a test
    ready         for each call, a TD in which it succeeds
    made          results made by hand                    nights     simulated histories
    tries         real processes, run until they show what a test looks for
    command_line  the command line, as a process or in this one
    leash         what a test run starts ends with it

Nothing here asserts on seconds, or on what a run of real processes gets done in some: a busy machine is no
failure.  Who needs something to have happened asks for another run until it has (tries.py).
"""
