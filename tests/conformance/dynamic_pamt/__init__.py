"""With Dynamic PAMT: single calls, and interleavings, in a world of 2 MiB ranges that have a pair of PAMT pages or not.

    R       data pages of the TD, from guest page 0 on; R2 the 2 MiB behind them
    S, T    data pages of two other TDs
    P       pages that are there to be given, pair(X)0 and pair(X)1 among them
    sept    the TD's SEPT pages of level 1

The addresses of a file are these names; what is wrong with an address itself is not modelled.  Names of a page:
R+3, pair(R)0.  Names of words: R.1g, R.2m (lock words), R.2m.type or R.type, R.2m.count, R.2m.pages, R.entries,
R+3.4k (a lock word), R+3.type, bit(R+3); a word that is not there (the PAMT entry of a page without a pair) has no value.

    world.py           pages by name, the words about them, a call's registers
    calls.py           a single call, made and compared
    interleavings.py   every outcome of two or three calls at once
"""
