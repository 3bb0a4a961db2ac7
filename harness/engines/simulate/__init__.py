"""Engine simulate: all actors in one loop, in virtual time.

    prices.py       The simulated machine in numbers: what each micro-op costs, and where each number comes from
    simulation.py   The engine of virtual time: all actors of a plan in one loop, under a clock of its own
    small.py        Litmus tests in virtual time: how long their processes take on the simulated machine
"""
