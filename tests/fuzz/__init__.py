"""Damaged inputs for every reader: each is met by one line and exit code 2, or read.

    damage.py        what is done to a valid document: one generator for all readers
    readers.py       the readers, a valid document for each, and what well met means
    test_shown.py    what a file says is escaped wherever it is shown
    test_readers.py  a few hundred inputs a reader (make test), thousands (make test-slow)

    python -m tests.fuzz --examples 1000 --seed 7     prints how many inputs each reader met badly
"""
