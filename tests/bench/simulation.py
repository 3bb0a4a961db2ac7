"""How fast virtual time is: micro-ops a second on one processor, beside SimPy's events a second.

Both sides are timed in turn, several rounds, in processor time; what else goes on in the machine can
only make a round slower, so the best round counts.  The simulator runs a whole workload (kick_on_busy,
four hosts, a hot set); SimPy as many processes that do nothing but wait, which is the least it can do.
One micro-op is what one SimPy event would have to stand for.
"""

import time

import simpy
from tabulate import tabulate

from harness.engines.simulate import simulation
from harness.experiment.plan import make_plan
from kernels import simulate as loop, simulated
from tests.stage import config

# vCPUs -> the goal in millions of micro-ops a second
SIZES = {2: None, 16: 25, 128: None, 1024: 10, 4096: None}
ROUNDS = 5
MICRO_OPS = 10_000_000           # of a round ...
FIRST_TOUCHES = 5_000_000        # ... after so many, in which memory is touched for the first time
SIMPY_EVENTS = 100_000


class Simulated:
    """A simulation that goes on for as long as it is asked to."""

    def __init__(self, vcpus: int):
        self.running = simulation.Simulation(make_plan(config(
            "kick_on_busy", engine="simulate", duration_s=1000.0, warmup_s=0.0,
            td={"vcpus": vcpus, "memory_mib": 64},
            workload={"hosts": 4, "removals_per_s": 50_000.0, "accept_first": 0.9, "hot_pages": 1024},
            costs_ns={"invalidate": 2_000, "guest_work": 200})))
        self.running.start()
        self.rate(FIRST_TOUCHES)

    def rate(self, micro_ops: int) -> tuple[float, float]:
        """(micro-ops, turns in the queue) per second of processor time."""
        control = self.running.control
        steps, turns, began = int(control[simulated.STEPS]), int(control[simulated.TURNS]), time.process_time()
        while control[simulated.STEPS] < steps + micro_ops:
            reason = self.running.move(micro_ops)
            assert reason == loop.TURN or self.running.goes_on(reason), "the simulation has ended"
        seconds = time.process_time() - began
        return (int(control[simulated.STEPS]) - steps) / seconds, (int(control[simulated.TURNS]) - turns) / seconds


def simpy_rate(processes: int) -> float:
    """Events per second of processor time of processes that wait in turn."""
    environment, done = simpy.Environment(), 0

    def wait(number):
        nonlocal done
        while True:
            yield environment.timeout(10 + number % 7)
            done += 1

    for number in range(processes):
        environment.process(wait(number))
    while done < processes:
        environment.step()
    before, began = done, time.process_time()
    while done < before + SIMPY_EVENTS:
        environment.step()
    return (done - before) / (time.process_time() - began)


def rows() -> list[list[str]]:
    """A row for each size."""
    found = []
    for vcpus, goal in SIZES.items():
        ours, rounds, theirs = Simulated(vcpus), [], []
        for _ in range(ROUNDS):
            rounds.append(ours.rate(MICRO_OPS))
            theirs.append(simpy_rate(vcpus))
        (micro_ops, turns), events = max(rounds), max(theirs)
        slowest = min(micro_ops for micro_ops, _ in rounds)
        found.append([str(vcpus), f"{micro_ops / 1e6:.1f}", f"{slowest / 1e6:.1f}", f"{turns / 1e6:.1f}",
                      f"{events / 1e6:.2f}", f"{micro_ops / events:.0f}",
                      f"{goal or '-'}" + " M/s, ratio 10"])
    return found


HEADERS = ["vCPUs", "micro-ops\nM/s, best", "worst\nround", "turns in\nthe queue", "SimPy\nevents", "ratio", "goal"]


def table() -> str:
    return tabulate(rows(), headers=HEADERS, disable_numparse=True, colalign=("right",) * 6 + ("left",))


if __name__ == "__main__":
    print(table())
