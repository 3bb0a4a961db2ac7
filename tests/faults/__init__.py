"""Faults at random instants: requests to stop, readers that leave, full disks; and what a command makes of them.

    python -m tests.faults --rounds 200 --seed 7

Each round starts one command as a process group of its own, waits for a random time, does what the fault is, and
judges what is left: the exit code, what was kept and named, that nobody printed a traceback, and that no process of
the group lives on.  What is left over is ended by its process id.

    faults.py     the faults, one row each, and how a round is judged
    __main__.py   the command: rounds of each fault, with a seed that is printed
"""
