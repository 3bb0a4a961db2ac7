"""Results: what a run came to - the document, whether to trust it, how to compare it.

    measured.py       What an engine hands over when a run has ended
    document.py       A Result from it: records added up, rates made of counts
    schema.py         The shape of result.json, with types
    consistency.py    What must be true of a whole result: counts that add up, quantiles that ascend
    store.py          A folder for each run, with result.json in it, written whole or not at all
    litmus.py        What a search of a litmus test comes to
    metrics.py        The numbers of a result, as rows: the one table that all others choose from
    counted.py        What the answers of SEAMCALLs amount to: the naive decoding's mistakes, injected faults
    trust.py          Whether to believe a result: VALID, DEGRADED, UNTRUSTWORTHY
    expectations.py   Whether a result is what its config expects
    grading.py        What a search found, held against what the scenario expects
    matrix.py         Policies or releases side by side: which invariants each keeps
    comparison.py     Policies side by side: medians, totals, differences to a baseline
    before_after.py   A policy before and after a change
    inference.py      What can be said of two policies from a few blocks of runs
    identity.py       What makes two results comparable, and one series of nights the same series
    histogram.py      Histograms that outlive their run; percentiles
    merging.py        Histograms of several results added up, and written for HdrHistogram's tools
    pruning.py        Folders of old nights, deleted on request
    history.py        The memory of nightly jobs, one file per series
    changes.py        Has a series of nights changed?
"""
