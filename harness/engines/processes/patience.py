"""Whether worker processes have had their chance: time that counts for each is the time that it could use.

A worker that is ready to run and kept off its processor by others (a busy machine, a hypervisor that runs
another guest) has not been slow and does not hang; it has not been there.  So before the engine says that
an actor is stuck it waits until every worker has had some time: what a worker ran, and all the time in which
it slept or was stopped, but not what it waited for a processor.  A worker that waits for another looks for
what it waits for and gives its processor up at once, so each turn that it had there counts as TURN_S.
"""

from typing import Iterable, NamedTuple

from harness.host import procfs

TURN_S = 0.005                   # about what the scheduler gives to who does not give it up
LIMIT_S = 60.0                   # whatever the machine does, no worker is waited for longer than that


class Seen(NamedTuple):
    """A worker at one look."""

    ready: bool                  # it runs, or waits for its processor
    ran_s: float
    turns: int                   # how often it was put on its processor


def see(pid: int) -> Seen | None:
    """None if it has ended, or if the kernel does not say."""
    state, turns = procfs.state(pid), procfs.turns(pid)
    if state is None or state == "Z" or turns is None:
        return None
    return Seen(state == "R", *turns)


class Patience:
    """Adds up, look by look, the time that each worker has had since the beginning."""

    def __init__(self, now: float, pids: Iterable[int], see=see):
        self.began = self.at = now
        self.see = see
        self.last = {pid: see(pid) for pid in pids}
        self.had_s = dict.fromkeys(self.last, 0.0)

    def look(self, now: float, pids: Iterable[int]) -> float:
        """The time that the one who has had least of it has had, among the workers that still live (`pids`)."""
        passed, self.at = now - self.at, now
        if now - self.began > LIMIT_S:
            return now - self.began
        least = now - self.began
        for pid in pids:
            before, seen = self.last[pid], self.see(pid)
            # Whoever sleeps or is stopped is not kept from anything; nor is one of whom nothing is known.
            waits = before is not None and seen is not None and before.ready and seen.ready
            self.had_s[pid] += min(passed, max(seen.ran_s - before.ran_s, (seen.turns - before.turns) * TURN_S)) \
                if waits else passed
            self.last[pid] = seen
            least = min(least, self.had_s[pid])
        return least
