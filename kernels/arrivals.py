"""An open loop: things to do arrive by themselves, whatever became of the last one (a Poisson process).

In a closed loop an actor does the next thing when the last is done; a stall of a second then delays
one thing by a second, and all that would have come meanwhile are never asked for.  Percentiles hide
the stall.  Here each arrival has the time at which it was meant to begin.  An actor that is late
begins at once, and its spans count from the intended time, so that the stall shows in all of them.
"""

from kernels import atomics
from kernels.compiling import kernel
from kernels.record import WORD


@kernel
def arrive(record, at, span, other, next_interval, now):
    """Has the next thing arrived?  Then its span begins, at the time that was intended.

    other           a span that must not last into the next arrival, + 1; 0: none
    next_interval   ticks from this arrival to the one behind it
    Returns how many ticks it is still away; 0 or less: it has arrived.
    """
    intended = record + WORD * (at.intended + span)
    when = atomics.load64(intended)
    if when == 0:                # the first one of this actor is there as soon as it looks
        when = now
    if when <= now:
        atomics.store64(record + WORD * (at.span_start + span), when)
        if other != 0:
            atomics.store64(record + WORD * (at.span_start + other - 1), 0)
        atomics.store64(intended, when + next_interval)
    return when - now
