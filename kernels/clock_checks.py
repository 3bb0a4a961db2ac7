"""Is the actors' clock one clock, and does the processor keep its pace?

`exchange` is played by two processes, pinned to one processor each: one asks, the other answers with
the time it read, over one shared word.  The answer was read between the question and its arrival, so
the fastest of many exchanges bounds how far the two clocks are apart.  `observe` reads the clock
beside the system's own and times a fixed piece of work.  Both are for the coordinator, before and
after a run; actors never come here.
"""

from kernels import atomics
from kernels.compiling import kernel
from kernels.guest import mix

ASKED, ENDED = 1, 2              # of the word; anything greater is an answer
WORK = 2000                      # dependent steps of a piece of work, some 10 us
BATCHES = 60


@kernel(entry=True)
def exchange(word, answers, rounds, patience_ticks):
    """Ask or answer up to `rounds` times over the word at an address.

    answers   whether this is the side that answers (until the other ends it, or for `patience_ticks`)
    Returns (how far the other clock is ahead, how far that may be off either way), both in ticks;
    the second is -1 if nothing was exchanged in time, or for the side that answers.
    """
    until = atomics.ticks() + patience_ticks
    ahead, error = 0, -1
    if answers:
        while atomics.ticks() < until:
            if atomics.load64(word) == ASKED:
                atomics.exchange64(word, atomics.ticks())
            elif atomics.load64(word) == ENDED:
                break
        return ahead, error
    for _ in range(rounds):
        asked = atomics.ticks()
        atomics.exchange64(word, ASKED)
        answer, now = ASKED, asked
        while answer == ASKED and now < until:
            answer = atomics.load64(word)
            now = atomics.ticks()
        if answer == ASKED:
            break
        if error < 0 or now - asked < 2 * error:
            error = (now - asked + 1) // 2
            ahead = answer - asked - error
    atomics.store64(word, ENDED)
    return ahead, error


@kernel(entry=True)
def observe(seed):
    """The clock beside the system's, and the processor's pace, each as the best of many tries.

    Returns (ticks, CLOCK_MONOTONIC in ns at the same moment, ticks that a fixed piece of work takes,
    a word to be ignored).  Other loads can only delay a try, so the best one does not see them.
    """
    pace, gap = 1 << 62, 1 << 62
    ticks, nanoseconds, word = 0, 0, seed
    for _ in range(BATCHES):
        began = atomics.ticks()
        for _ in range(WORK):
            word = mix(word)
        before = atomics.ticks()
        pace = min(pace, before - began)
        now_ns = atomics.monotonic_ns()
        after = atomics.ticks()
        if after - before < gap:
            gap = after - before
            ticks, nanoseconds = before + gap // 2, now_ns
    return ticks, nanoseconds, pace, word
