"""Faults at random instants: requests to stop, readers that leave, full disks; and what a command makes of them.

    python -m tests.faults --rounds 200 --seed 7

Each round starts one command as a process group of its own, waits for a random time, does what the fault is, and
judges what is left: the exit code, what was kept and named, that nobody printed a traceback, that nothing is left
among the temporary files, and that no process of the group lives on.  What is left over is ended by its process id.

    faults.py        the faults, one row each
    commands.py      what they happen to, every command of the program among it
    loaded.py        a process that has loaded all, of which rounds within the work are forked
    started.py       a command that was started, and what can be done to it
    judging.py       one round, and what is wrong with its end
    test_faults.py   a few rounds with a fixed seed (make test); that what is wrong is seen
    __main__.py      the command: rounds of each fault, with a seed that is printed
"""
