"""Results: what a run came to - the document, whether to trust it, how to compare it.

    changes.py      Has a series of nights changed?  Pure functions over numbers; nothing here runs or reads anything
    comparison.py   Policies side by side: medians over blocks, differences to a baseline, and what cannot be said
    counted.py      What the answers of a run's SEAMCALLs come to: the naive decoding's mistakes, and injected faults
    document.py     Results: what a run measured, as one JSON document of one shape for all engines
    grading.py      What a search found, held against what the scenario expects: grades, invariants, failures
    histogram.py    Histograms that outlive their run: in nanoseconds or counts, so that those of other runs and machines fit
    history.py      The memory of nightly jobs: one file of JSON lines per series, one line per night
    identity.py     What makes two results comparable, and one series of nights the same series
    inference.py    What can be said about two policies from a few blocks of runs.  The statistics are SciPy's
    merging.py      Histograms of several results added up, and written as a log that HdrHistogram's tools read
    metrics.py      The numbers that policies are compared by, as rows: one table for `run`, `compare`, `nightly` and `report`
    schema.py       The shape of result.json: what every reader counts on, with types; more keys are welcome
    store.py        Result files: a folder for each run, with result.json in it, written whole or not at all
    trust.py        Whether to believe a result, and whether it is what its config expects
"""
