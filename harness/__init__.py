"""The harness: from a config to a table of what a policy does.

    __main__.py   which command                       errors.py   what a person can mend; exit codes
    commands/     a file a command: arguments in, exit code out
    engines/      run a plan or a scenario            reports/    values -> text, pages, files
    results/      what a run came to: the document, whether to trust it, how to compare it
    experiment/   what is to be run: files checked, everything decided
    protocol/     the module, KVM and the guest as programs; policies and releases as rows
    traces/       text recorded on a real host -> a config, histograms, numbers
    memory/       where every word lies               host/       what this machine is and does meanwhile
    files.py      written whole or not at all         stops.py    Ctrl-C and its like
    printing.py   output that never decides

Each uses only what stands below it:

    __main__ -> commands
    commands -> engines, reports, traces
    traces -> experiment
    engines -> results
    reports -> results
    results -> experiment
    experiment -> protocol
    protocol -> memory
    memory -> kernels
    host -> kernels
    results -> host
    engines -> host

Everybody may use errors.py, files.py, stops.py and printing.py.  No engine knows another, no report knows an engine, and the
package kernels, the compiled half, knows nothing of the harness.

Only commands print and exit; an engine that is asked to stop keeps what it has.  Of them one
file runs plans, on whichever engine the config names; others know the one engine that they are about:

    running.py => any
    explore.py, litmus.py, matrices.py => explore
    litmus_run.py => explore, cells, simulate
    counterexamples.py => explore, replay
    check_outcomes.py => thread_modular
    replay.py => replay
    calibrate.py => processes
    free_calls.py => processes, simulate

tests/test_fence.py reads these lines and the arrows above.

To add something:

    a SEAMCALL      a row in protocol/calls/
    a policy        a row in protocol/policies.py, or a [policy] table in a config
    a guest         a row in protocol/guest_policies.py
    a Dynamic PAMT design   a row in protocol/dpamt.py
    a release       a row in protocol/releases.py
    a workload      a file in configs/
    a number        a row in results/metrics.py
    an invariant    a row in protocol/invariants.py, its predicate in engines/checks.py, and a negative
                    control that it catches
    a counter, a span    a row in protocol/counters.py
    a scenario      a file in configs/explore/
    a command       a row in __main__.py, a file in commands/ with `add(parser)` and `do(options)`
    an engine       of plans: a package in engines/ with `run(plan, progress) -> Measured`, its name in
                    engines.RUN_A_PLAN

Two rules keep results honest.  A number is either measured or marked as an assumption (costs in a
config).  And each check is seen to fail: the suite breaks the entry lock, leaves out TRACK, leaves
out the kick, and expects the run to say so.
"""

CONSOLE = "sept-harness"         # the command of an installed program
