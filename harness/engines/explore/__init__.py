"""Engine explore: every interleaving of a scenario, breadth-first, or many single ones: verdicts.

    fairness.py   Runs that never end although everybody who can move does, again and again: cycles of a finished search
    kept.py       What a search has found, as JSON that is read back
    lock_order.py The order in which processes of C litmus tests take their locks, and a cycle in it
    owned.py      Which actors are alike, and which words are an actor's own
    search.py     The engine that tries every interleaving of a scenario: breadth-first, states kept whole
    tso.py        C litmus tests under x86-TSO, with store buffers
    ways.py       Ways through a finished search, as schedules with each actor's true number
    tables.py     A search in progress: its tables, the world it takes place in, and how to read what it has found
"""
