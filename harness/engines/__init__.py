"""Engines: ways to run a plan, `run(plan, progress) -> Measured`, or a scenario, `run(scenario) -> Found`.

    processes/   a worker process per actor, in real time on real processors
    simulate/    all actors in one loop, in virtual time
    explore/     every interleaving of a scenario (or many single ones): verdicts
    thread_modular/  which answers a plan's runs can give at all, however many actors, however long
    replay/      a scenario as real processes: by the turns of a schedule, or all at once
    cells.py         C litmus tests as real processes, millions of times
    whereabouts.py   what an actor is doing, and what it holds
    frames.py        who owns the host's frames at the end: one of the invariants
    checks.py        the invariants, looked up in a run's counters, answers and memory

An engine decides when which actor's `step` is called, and what time means.  It knows no call and no
policy: those are in the plan's program.  No engine knows another.
"""

import importlib

RUN_A_PLAN = {"processes": "processes.coordinator", "simulate": "simulate.simulation"}     # config's `engine`


def load(name: str):
    """The module of an engine that runs plans; loaded only when it is used."""
    return importlib.import_module(f"{__name__}.{RUN_A_PLAN[name]}")
