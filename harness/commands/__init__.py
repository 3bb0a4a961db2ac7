"""Commands: arguments in, exit code out; the only room that prints and exits.

Each command of __main__.py is a file with `add(parser)` and `do(options)`; below `do` there are values only.

    run.py          configs in interleaved blocks, with a table for each run as it ends
    explore.py      search the scenarios of files, judge each, save and show what should not be
    replay.py       a saved schedule again, step by step and as real processes; the words must be the same
    compare.py      saved results side by side
    nightly.py      run a folder of configs in blocks, judge each, look for changes, confirm and report them
    report.py       results as one HTML page
    histograms.py   those of several results added up, and exported
    sweep.py        one config run for every combination of some of its values, as one table or one picture
    worker.py       this machine for the tasks of `--cluster`
    schema.py       JSON Schema of configs and scenarios
    configs.py      what is shipped, with the question that each answers
    policies.py     each with its responses, its meaning and its source
    seamcalls.py    the calls of a release, or what differs between two
    contention.py   which calls can make each other BUSY, on what
    doctor.py       what this machine is like before anything is measured on it, and what to do about it
    import_trace.py what was recorded on a real host, as a config, histograms and numbers
    explain.py      the micro-ops of a call
    decode.py       answers of SEAMCALLs and TDCALLs in whatever form people have them, explained

What they are made of:

    arguments.py        arguments that several commands take, and the refusals that several share
    running.py          what run, sweep and nightly share: one run after the other, results kept and judged
    jobs.py             `--jobs N`, `--cluster`, `--resume`, `--list`: tasks that a fresh process can repeat
    cluster.py          `--cluster`: which worker gets which task, what becomes of the task of a worker that died
    task.py             a task of a cluster: this program started as a process of its own
    session.py          configs in interleaved blocks, with a budget, and gone on with after an interruption
    progress.py         the line on a terminal, and a line now and then in a log
    check_outcomes.py   `run --check-outcomes`: could the answers of a run come out of any interleaving at all?
    counterexamples.py  what `explore` shows and saves of a search
    matrices.py         what `explore` compares: policies, or releases of the module, invariant by invariant
    litmus_run.py       what `run` does with them: litmus7's histogram, held against what `explore` finds
    litmus.py           what `explore` does with C litmus tests: herd7's report, and what herd7 does not say
    judging.py          one config's night: what looks changed, whether a rerun confirms it, all in words
    calibrate.py        `doctor --calibrate`: what micro-ops cost here, as a file for machine.costs
    sequences.py        what rows cost in whole calls and flows, for calibrate.py
    free_calls.py       the same beside another processor, and what a line costs
    validate.py         `doctor --validate`: real and virtual time over the same workloads
"""
