"""The harness: from a config to a table of what a policy does.

    policy.py       the language of policies: sites, responses, switches
    policies.py     what the host does on BUSY, as rows               -> Policy
    releases.py     what differs between releases of the module, as rows   -> Release
    config.py       a TOML file, checked                              -> Config
    memory.py       where every word lies                             -> Layout, Memory
    sparse.py       the same block for one process: takes what is touched
    protocol/       SEAMCALLs and KVM's flows as programs             -> Program
    plan.py         everything decided before a run                   -> Plan
    prices.py       what a simulated machine costs, and where each number is from
    holders.py      which locks every row holds, for whoever is refused
    invariants.py   what must hold after any run
    answers.py      what the answers come to: naive decoding, injected faults
    readings.py     what Linux says of the machine and of workers
    conditions.py   what that means for a run
    clocks.py       what is asked of the clock itself
    seal.py         is a worker's record whole
    judge.py        is a result to be believed, is it as expected
    scenario.py     a small world whose every interleaving is tried   Scenario
    scenario_file.py  such worlds as TOML files                     -> Scenario
    shape.py        what every reader of a result counts on, with types
    files.py        result.json, written whole or not at all
    histogram.py    histograms that outlive their run
    schedule.py     who executes how many rows, in which order: a counterexample -> Schedule
    results.py      what a run measured, as one document of one shape -> result
    engines/        run a plan                                        -> Measured
                    or a scenario                                     -> Found
    verdict.py      what a search found against what its scenario expects
    identity.py     what makes results comparable
    blocks.py       interleaved blocks, budget, going on        configs -> Session
    metrics.py      the numbers that are compared, as rows
    statistics.py   intervals and differences over blocks (SciPy)
    report.py       tables that a person reads
    module_tables.py  the module's calls, differences of releases, the contention matrix
    merge.py        histograms of several results, and as an HdrHistogram log
    doctor.py       what is wrong with a machine, before anything is measured
    compare.py      policies side by side                       results -> Table
    changes.py      has a series of nights changed?
    history.py      the memory of nightly jobs, JSON lines
    exports.py      JUnit XML, KTAP and others, of a night
    nightly.py      run, judge, look for changes, confirm, tell
    plots.py        the plots of the page
    page.py         one HTML page                               Table -> text
    sweep.py        one config for every combination of some values, as a table or a picture
    calibrate.py    what micro-ops cost on this machine, as a file
    validate.py     real and virtual time side by side
    explain.py      the micro-ops of a call, printed
    decode.py       an answer of a SEAMCALL, taken apart
    explored.py     tables of outcomes, counterexamples and policies
    exploring.py    the commands `explore` and `replay`
    outcomes.py     `run --check-outcomes`: could what a run has met come out at all?
    __main__.py     the command line; the only place that prints errors and exits

Each uses only what stands above it (and errors.py, machine.py, only_one.py, progress.py, which use
nothing); the compiled half, the package kernels, knows of none of them.  tests/test_layers.py holds this.

To add something:

    a SEAMCALL      a row in protocol/seamcalls.py
    a policy        a row in policies.py, or a [policy] table in a config
    a workload      a file in configs/
    a metric        a row in metrics.py
    a check         a row in invariants.py, its predicate, and a negative control that it catches
    a scenario      a file in configs/explore/
    an engine       of plans: a module in engines/ with `run(plan, progress) -> Measured`, its name in
                    config.ENGINES

Two rules keep results honest.  A number is either measured or marked as an assumption (costs in a
config).  And each check is seen to fail: the suite breaks the entry lock, leaves out TRACK, leaves
out the kick, and expects the run to say so.
"""
