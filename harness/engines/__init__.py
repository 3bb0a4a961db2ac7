"""Engines: ways to run a plan, `run(plan, progress) -> Measured`, or a scenario, `run(scenario)`.

    searching.py   the tables of a search through the interleavings of a scenario
    fairness.py    fair schedules that never end
    explore.py     every interleaving of a scenario (or many single ones), breadth-first: verdicts
    turns.py       a scenario as real processes: by the turns of a schedule, or all at once
    processes.py   a worker process per actor, in real time on real processors; its coordinator
    worker.py      the life of one such process
    patience.py    whether worker processes have had their chance
    watchdog.py    hangs and deadlocks, as seen from outside
    simulate.py    all actors in one loop, in virtual time

An engine decides when which actor's `step` is called, and what time means.  It knows no call and no
policy: those are in the plan's program.
"""
