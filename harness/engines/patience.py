"""Whether worker processes have had their chance: time that counts for each is the time that it could use.

A worker that is ready to run and kept off its processor by others (a busy machine, a hypervisor that runs
another guest) has not been slow and does not hang; it has not been there.  So before the engine says that
somebody is stuck it waits until everybody has had some time: what a worker ran, and all the time in which
it slept or was stopped, but not what it waited for a processor.
"""

from typing import Iterable, NamedTuple

from harness import readings

LIMIT_S = 60.0                   # whatever the machine does, nobody is waited for longer than that


class Seen(NamedTuple):
    """A worker at one look."""

    ready: bool                  # it runs, or waits for its processor
    ran_s: float


def see(pid: int) -> Seen | None:
    """None if it has ended, or if the kernel does not say."""
    state, worker = readings.state(pid), readings.worker(pid)
    if state is None or state == "Z" or worker is None:
        return None
    return Seen(state == "R", worker.ran_s)


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
            self.had_s[pid] += min(passed, seen.ran_s - before.ran_s) if waits else passed
            self.last[pid] = seen
            least = min(least, self.had_s[pid])
        return least
