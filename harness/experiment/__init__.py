"""Experiments: what is to be run - files checked, everything decided before anything starts.

    config.py          Configs: TOML files, checked before anything is started
    plan.py            A plan: everything about a run that is decided before it starts, the same for every engine
    scenario.py        Scenarios: small worlds whose every interleaving is explored, as TOML files
    scenario_file.py   Scenario files: read, checked, and turned into scenarios; what is wrong with one is said in one line
    schedule.py        Schedules: who executes how many rows, in which order; run again step by step, with every word
"""
