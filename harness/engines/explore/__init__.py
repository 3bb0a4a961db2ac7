"""Engine explore: every interleaving of a scenario, breadth-first, or many single ones: verdicts.

    checkpoint.py A search that was interrupted, as a file: `--resume` goes on from it
    counted.py    How many rows the turns of a way really have
    fairness.py   Runs that never end although everybody who can move does, again and again: cycles of a finished search
    forgetting.py What a large search does not distinguish
    kept.py       What a search has found, as JSON that is read back
    lock_order.py The order in which processes of C litmus tests take their locks, and a cycle in it
    owned.py      Which actors are alike, and which words are an actor's own
    search.py     The engine that tries every interleaving of a scenario: breadth-first, states kept whole
    stored.py     What a search stores: its tables as arrays, how wide each number is in them, and how to read them
    threads.py    One search by several threads: a level's states are shared out, and the next level begins when all of them are expanded
    ways.py       Ways through a finished search, as schedules with each actor's true number
    tables.py     A search in progress: its tables, the world it takes place in, and how to read what it has found
"""
