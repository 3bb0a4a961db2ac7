"""The queue of virtual time against the plainest one: a sorted list of (time, order of asking)."""

import bisect

import numpy as np
import pytest

from kernels import wheel
from kernels.compiling import kernel

PUSH, POP, REMOVE, HORIZON = range(4)
NODES = 50


@kernel(entry=True)
def play(queue, moves, answers):
    """Execute moves (what, node, time) one after another; answers[i] is what move i gave."""
    for index in range(len(moves)):
        what, node, time = moves[index, 0], moves[index, 1], moves[index, 2]
        if what == PUSH:
            wheel.push(queue, node, time)
        elif what == POP:
            answers[index] = wheel.pop(queue)
        elif what == REMOVE:
            wheel.remove(queue, node)
        else:
            answers[index] = wheel.horizon(queue)


class Plain:
    """A sorted list, played with random moves: many equal times, distances of every size."""

    def __init__(self, seed: int, farthest: int):
        self.random, self.farthest = np.random.default_rng(seed), farthest
        self.waiting, self.free, self.now, self.order = [], list(range(NODES)), 0, 0

    def move(self):
        """((what, node, time), answer)"""
        what = self.random.choice([PUSH, POP, REMOVE, HORIZON], p=[0.48, 0.4, 0.06, 0.06])
        if what == PUSH and self.free:
            node = self.free.pop(self.random.integers(len(self.free)))
            time = self.now + int(self.random.integers(3)) * int(self.farthest ** self.random.random())
            bisect.insort(self.waiting, (time, self.order, node))
            self.order += 1
            return (PUSH, node, time), 0
        if what == REMOVE and self.waiting:
            _, _, node = self.waiting.pop(self.random.integers(len(self.waiting)))
            self.free.append(node)
            return (REMOVE, node, 0), 0
        if what == HORIZON:
            return (HORIZON, 0, 0), self.waiting[0][0] if self.waiting else wheel.NEVER
        if not self.waiting:
            return (POP, 0, 0), wheel.NOBODY
        self.now, _, node = self.waiting.pop(0)
        self.free.append(node)
        return (POP, 0, 0), node


@pytest.mark.parametrize("farthest", [3, 1 << 10, 1 << 21, 1 << 45])
def test_nodes_come_out_in_the_order_of_time_and_then_of_asking(farthest):
    plain = Plain(farthest % 97, farthest)
    moves, expected = zip(*(plain.move() for _ in range(8_000)))
    moves, answers = np.array(moves, np.int64), np.zeros(len(moves), np.int64)
    play(wheel.make(NODES), moves, answers)
    exact = moves[:, 0] != HORIZON
    assert (answers[exact] == np.array(expected)[exact]).all()
    horizons, nexts = answers[~exact], np.array(expected)[~exact]
    assert (horizons <= nexts).all(), "an actor would be overtaken"
    assert (horizons == nexts).any()


def test_the_clock_is_the_time_of_the_last_one_that_came_out():
    queue, answers = wheel.make(2), np.zeros(3, np.int64)
    play(queue, np.array([(PUSH, 0, 123_456_789_012), (PUSH, 1, 5), (POP, 0, 0)], np.int64), answers)
    assert answers[2] == 1 and queue.clock[0] == 5
    play(queue, np.array([(POP, 0, 0)], np.int64), answers)
    assert answers[0] == 0 and queue.clock[0] == 123_456_789_012
