"""The host: what this machine is, and what it does while something is measured.

    clocks.py        Questions to the actors' clock, asked by the coordinator before and after a run
    conditions.py    Under which conditions a run was measured: what lies between two readings, as a part of its result
    extras.py        Packages that only some commands need: what to type where they are missing
    fingerprint.py   What a result says of the machine it was made on
    lock.py          One measurement at a time on a machine: two runs at once would measure each other
    procfs.py        What Linux says about the machine and about our workers: readers, and nothing else
    surroundings.py  What of its surroundings an unexpected failure is due to, as one line
"""
