"""Real processes, run until they show what a test looks for.

What a run gets done in a fixed time is the scheduler's affair: on a busy machine one worker of five may be
all that ever ran in 0.1 s.  So a test that needs something to have happened asks for another run, and a
longer one each time, until it has.  What must never be is asserted of every one of them (`always`).
"""

from harness.results.schema import Result

TRIES, LONGEST_S = 40, 5.0
LIMIT_S = 600                    # for a process that is to end: no machine is that slow


def until(seen, run, always=lambda result: None, first_s=0.1, longest_s=LONGEST_S) -> Result:
    """The first result of run(duration_s) of which seen(result) is true."""
    for attempt in range(TRIES):
        result = run(min(longest_s, first_s * 1.5 ** attempt))
        always(result)
        if seen(result):
            return result
    raise AssertionError(f"not seen in {TRIES} runs; counters of the last: {result.counters},"
                         f" bugs {result.bugs}, invariants {result.invariants}, {result.verdict}")
