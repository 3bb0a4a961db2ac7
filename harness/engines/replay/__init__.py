"""Engine replay: a scenario as real processes, by the turns of a schedule or all at once.

    processes.py   The engine that runs scenarios as real processes: one for each actor
"""
