"""Experiments: what is to be run - files checked, everything decided before anything starts.

    config.py            What a config may say, as models
    schemas.py           JSON Schema of configs and scenarios
    config_file.py       Configs as TOML files: read, changed by `--set KEY=VALUE`, and checked before anything is started
    shipped.py           Configs, scenarios and litmus tests that come with the program, by name
    published.py         Published timings of real hosts as rows, and `machine.costs = "published"`
    assumed.py           Costs that nobody has published or measured: what each leans on, how far it may be from the truth
    sensitivity.py       Plans of experiments over those costs, for `sweep --sensitivity`
    plan.py              A plan: everything about a run that is decided before it starts, the same for every engine
    choices.py           The random choices of a program as tables, from which a driver draws with one random word each
    scenario.py          Scenarios: small worlds with every interleaving explored
    scenario_keys.py     What their files may say, as models
    scenario_file.py     Scenario files: read, checked, and turned into scenarios
    scenario_scripts.py  Scripts of a scenario, from the words of its file
    scenario_grades.py   [[expect]]: how the outcomes of a scenario are graded
    litmus.py            C litmus tests as scenarios
    litmus_names.py      What a condition of one may name, and its values
    litmus_processes.py  Its processes: kinds of actors, who interrupts whom
    litmus_rows.py       Its processes as rows, with the calls that they make
    litmus_loops.py      A process that goes round for ever on its own
    litmus_refused.py    The module's calls that succeed in no interleaving of one
    litmus_start.py      The initial state of a C litmus test
    litmus_td.py         What it says of the TD; words that are nearly known ones
    world.py             A scenario's world as arrays: memory at its start, its actors' registers, what each is to do
    schedule.py          Schedules: who executes how many rows, in which order, as a file
"""
