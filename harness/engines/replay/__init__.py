"""Engine replay: a scenario again, by the turns of a schedule or all at once.

    steps.py       A schedule again, step by step, with every word: what each row of it reads and writes
    processes.py   The engine that runs scenarios as real processes: one for each actor
"""
