"""`machine.step` in plain Python, with every access to memory written down.

The functions are those of kernels/, uncompiled; only what they end in, atomics.py, is replaced by functions
that access an array and keep a list.  So the list says what the compiled micro-op accesses, and how wide.
"""

import types
from typing import NamedTuple

import numpy as np

from kernels import arithmetic, epoch, guest, locks, machine, rwlock, stepping
from kernels.ops import Access
from kernels.words import TDEL, TDHP

MODULES = (arithmetic, epoch, guest, locks, rwlock, stepping, machine)       # each uses those before it only
BITS = (8, 16, 32, 64)


class Touched(NamedTuple):
    """One access: what it does, to which bytes."""

    access: Access
    address: int
    bytes: int


class Recorder:
    """`step` in Python, on memory that remembers what was done to it."""

    def __init__(self):
        self.memory, self.touched = np.zeros(0, np.uint8), []
        self._step = self._uncompiled()

    def step(self, rows: np.ndarray, pc: int, registers: np.ndarray, memory: np.ndarray) -> tuple[int, int, list[Touched]]:
        """(next row, signal, accesses); registers and memory (uint8, its first byte at address 0) are changed."""
        self.memory, self.touched = memory, []
        row = types.SimpleNamespace(**{name: rows[pc][name] for name in rows.dtype.names})
        then, signal = self._step({np.uint32(pc): row}, np.uint32(pc), registers, 0)
        return int(then), int(signal), self.touched

    def _word(self, access: Access, address, bits: int) -> np.ndarray:
        address = int(address)
        self.touched.append(Touched(access, address, bits // 8))
        return self.memory[address:address + bits // 8].view(f"u{bits // 8}")

    def _load(self, bits: int):
        return lambda address: _signed(self._word(Access.LOAD, address, bits)[0])

    def _store(self, bits: int):
        def store(address, value):
            self._word(Access.STORE, address, bits)[0] = _bits(value, bits)
        return store

    def _change(self, bits: int, operation):
        def change(address, *operands):
            word = self._word(Access.CHANGE, address, bits)
            before = int(word[0])
            word[0] = operation(before, *(_bits(operand, bits) for operand in operands)) & (1 << bits) - 1
            return _signed(before)
        return change

    def _bit(self, mask: int, set_: bool):
        change = self._change(64, lambda word: word | mask if set_ else word & ~mask)
        return lambda address: change(address) & mask

    def _zero(self, address, size):
        self.touched.append(Touched(Access.STORE, int(address), int(size)))
        self.memory[int(address):int(address) + int(size)] = 0

    def _uncompiled(self):
        operations = {
            "fetch_add": lambda word, value: word + value, "fetch_or": lambda word, value: word | value,
            "fetch_and": lambda word, value: word & value, "exchange": lambda word, value: value,
            "compare_swap": lambda word, expected, new: new if word == expected else word,
        }
        atomics = types.SimpleNamespace(zero=self._zero, fence=lambda: None)
        for bits in BITS:
            setattr(atomics, f"load{bits}", self._load(bits))
            setattr(atomics, f"store{bits}", self._store(bits))
            for name, operation in operations.items():
                setattr(atomics, f"{name}{bits}", self._change(bits, operation))
        replaced = {"atomics": atomics}
        bit_operations = {f"{verb}_{name}": self._bit(mask, verb == "set")
                          for verb in ("set", "reset") for name, mask in (("tdel", TDEL), ("tdhp", TDHP))}
        for module in MODULES:
            names = {**vars(module), **replaced, **(bit_operations if module is locks else {})}
            for name, value in vars(module).items():
                code = getattr(getattr(value, "py_func", None), "__code__", None)
                if code is not None and value.py_func.__module__ == module.__name__:
                    names[name] = types.FunctionType(code, names)
            replaced[module.__name__.rpartition(".")[2]] = types.SimpleNamespace(**names)
            replaced |= {name: value for name, value in names.items() if isinstance(value, types.FunctionType)
                         and name in ("mix",)}
        return replaced["machine"].step


def _signed(word) -> np.int64:
    return np.int64(int(word) - (1 << 64) if int(word) >> 63 else int(word))


def _bits(value, bits: int) -> int:
    return int(value) & (1 << bits) - 1
