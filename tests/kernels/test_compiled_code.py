"""What Numba and LLVM made of the kernels: the instructions, and what must not be there."""

import re

import numpy as np
import pytest

from harness.engines.processes.coordinator import _compile
from harness.engines.processes.worker import Drive
from harness.memory.block import Memory
from harness.experiment.plan import make_plan
from kernels import atomics, compiling, locks, numba_side, realtime, rwlock
from kernels.compiling import for_python
from tests.stage import config
from tests.tries import LIMIT_S

pytestmark = pytest.mark.skipif(not atomics.X86, reason="counts x86 instructions")


@pytest.fixture(scope="module")
def run_assembly() -> str:
    """The compiled driver with `step` inlined; compiled afresh, as cached code cannot be inspected, and kept for all tests after it."""
    plan = make_plan(config())
    memory = Memory(plan.layout)
    fresh = numba_side.dispatcher(realtime.run.py_func, entry=True, inline=True)
    fresh._cache.load_overload = lambda *_: fresh._cache.claim()
    original, realtime.run = realtime.run, fresh
    try:
        _compile(plan, Drive(plan, memory, ticks_per_ns=1.0, crowded=False))
    finally:
        realtime.run = original
    [assembly] = fresh.inspect_asm().values()
    return assembly[:assembly.index("cpython")]


def locked(assembly: str) -> list[str]:
    """Mnemonics of locked instructions, in order; xchg with memory locks by itself."""
    found = re.findall(r"^\s+(?:lock\s+(\w+)\s|(xchg\w+)\s+\S+, \S*\()", assembly, re.MULTILINE)
    return [one or other for one, other in found]


def test_no_reference_is_counted_in_the_hot_code(run_assembly):
    assert "NRT" not in run_assembly and "incref" not in run_assembly


def test_nothing_is_called_in_the_hot_code_but_libc(run_assembly):
    """sched_yield, usleep and memcpy are called through registers; no kernel is left un-inlined."""
    assert not re.findall(r"call\w*\s+\$?_ZN", run_assembly)


def test_every_step_of_a_lock_is_in_the_hot_code_with_its_instruction(run_assembly):
    found = locked(run_assembly)
    for instruction, least in {
        "btsq": 2, "btrq": 2,                            # TDEL and TDHP, primitive bts
        "xaddw": 5,                                      # shared take and drop of both kinds; refcounts
        "cmpxchgw": 2, "orw": 1, "andw": 2, "xchgw": 2, "cmpxchgl": 1, "xaddq": 1, "cmpxchgq": 4,
    }.items():
        assert found.count(instruction) >= least, (instruction, found)
    assert len(found) <= 52, "more locked instructions than micro-ops can account for"


# One locked instruction for each step; the `cas` primitive's loop is peeled by the compiler.
STEPS = [
    (locks.sharex_take_shared, (), ["xaddw"]),
    (locks.sharex_take_exclusive, (), ["cmpxchgw"]),
    (locks.sharex_drop_shared, (), ["xaddw"]),
    (locks.sharex_drop_exclusive, (), ["xchgw"]),
    (locks.hp_take_shared, (), ["xaddw"]),
    (locks.hp_clear, (), ["andw"]),
    (locks.hp_request, (), ["orw"]),
    (locks.hp_take_exclusive, (), ["cmpxchgw"]),
    (locks.hp_take_exclusive_over_priority, (), ["cmpxchgw"]),
    (locks.hp_drop_shared, (), ["xaddw"]),
    (locks.hp_check_exclusive, (), []),
    (locks.hp_drop_exclusive, (), ["andw"]),
    (locks.entry_see_priority, (), []),
    (locks.entry_check, (), []),
    (locks.mutex_take, (), ["cmpxchgb"]),
    (locks.mutex_drop, (), ["cmpxchgb"]),
    (rwlock.drop_shared, (), ["addq"]),
    (rwlock.drop_exclusive, (), ["andq"]),
]


@pytest.mark.parametrize("step, arguments, instructions", STEPS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_step_is_one_locked_instruction_or_a_load(step, arguments, instructions):
    cell = np.zeros(1, np.uint64)
    function = for_python(step)
    function(cell.ctypes.data, *arguments)
    [assembly] = function.inspect_asm().values()
    assert locked(assembly[:assembly.index("cpython")]) == instructions


@pytest.mark.parametrize("step, bts", [
    (locks.entry_take, ("btsq", "$11")), (locks.entry_request_priority, ("btsq", "$52")),
    (locks.entry_clear_priority, ("btrq", "$52")), (locks.entry_drop, ("btrq", "$11")),
], ids=lambda value: getattr(value, "__name__", ""))
def test_entry_steps_are_the_modules_own_instruction_or_a_compare_and_swap(step, bts):
    cell, tally = np.zeros(1, np.uint64), np.zeros(1, np.int64)
    function = for_python(step)
    function(cell.ctypes.data, locks.BTS, tally)
    [assembly] = function.inspect_asm().values()
    assembly = assembly[:assembly.index("cpython")]
    assert re.search(rf"lock\s+{bts[0]}\s+\{bts[1]},", assembly)
    assert set(locked(assembly)) == {bts[0], "cmpxchgq"}


def test_a_changed_kernel_source_is_another_cache_directory(tmp_path, monkeypatch):
    before = compiling.source_hash()
    for path in compiling.Path(compiling.__file__).parent.glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(compiling, "__file__", str(tmp_path / "compiling.py"))
    assert compiling.source_hash() == before
    (tmp_path / "words.py").write_text((tmp_path / "words.py").read_text() + "\n# changed\n")
    assert compiling.source_hash() != before


def test_shared_loads_are_not_moved_out_of_a_loop():
    """The loop ends because another process changes the word: nothing in it does."""
    import multiprocessing
    import time

    from harness.memory.layout import Layout

    memory = Memory(Layout(1, 1, 512, 0))
    address = memory.base + memory.layout.at("parked")
    spin = for_python(spin_until)
    spin(address, 0)                                     # compile before forking
    worker = multiprocessing.get_context("fork").Process(target=spin, args=(address, 1))
    worker.start()
    time.sleep(0.05)
    memory.set_word(memory.layout.at("parked"), 1)
    worker.join(LIMIT_S)
    worker.kill()
    worker.join()
    assert worker.exitcode == 0


@compiling.kernel
def spin_until(address, wanted):
    while atomics.load64(address) != wanted:
        pass
