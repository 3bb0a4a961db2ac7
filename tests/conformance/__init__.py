"""Our rows beside results of the module's own code (tests/vectors/module): `python -m tests.conformance FILE...`.

    reading         a file: which form it is, its release, its lines
    calls           single calls: memory laid, the call made alone, status, end and every word compared
    interleavings   two or three calls: a scenario explored, the sets of outcomes compared
    dynamic_pamt    both with Dynamic PAMT
    abstractions    what the rows leave out on purpose, each with its reason
"""
