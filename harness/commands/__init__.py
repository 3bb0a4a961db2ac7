"""Commands: arguments in, exit code out; the only room that prints, exits or catches Ctrl-C.

    calibrate.py        What micro-ops cost on this machine, measured, as a file that a config's machine.costs can name
    check_outcomes.py   `run --check-outcomes`: could what a real run has met come out of any interleaving at all?
    decode.py           Answers of the module in whatever form people have them, from arguments or a log, taken apart
    doctor.py           What a machine is like before anything is measured on it, and what to do about it
    explore.py          The commands `explore` and `replay`, from their arguments to what they print
    nightly.py          A night: run a folder of configs in blocks, judge each, look for changes, confirm them, and tell
    progress.py         Progress of long work: one line on a terminal, nothing in a log.  The drawing is tqdm's
    session.py          A session: configs run in interleaved blocks, with a budget, and gone on with after an interruption
    sweep.py            A sweep: one config run for every combination of some of its values, as one table or one picture
    validate.py         Does virtual time agree with real time?  The same workloads under both, side by side
"""
