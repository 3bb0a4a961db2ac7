"""Experiments: what is to be run - files checked, everything decided before anything starts.

    config.py          Configs: TOML files, checked before anything is started
    invariants.py      What must be true of every run, as named predicates; a result counts the violations of each
    plan.py            A plan: everything about a run that is decided before it starts, the same for every engine
    scenario.py        Scenarios: small worlds whose every interleaving is explored, as TOML files
    scenario_file.py   Scenario files: read, checked, and turned into scenarios; what is wrong with one is said in one line
    schedule.py        Schedules: who executes how many rows, in which order, as a file
    world.py           A scenario's world as arrays: memory at its start, its actors' registers, and what each is to do
"""
