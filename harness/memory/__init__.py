"""Memory: where every word lies.

    block.py    Shared memory: the block that actors share, and a fresh TD written into it
    layout.py   Shared memory: one block, laid out by one table, and a fresh TD written into it
    placement.py  Where physical pages lie: which 2 MiB and which 1 GiB of the host each page of each TD is in
    sparse.py   Shared memory for one process, in which a TD of a terabyte costs what is touched of it
    tables.py   Large tables that are seldom filled: zeroed arrays that take memory as they are written
"""
