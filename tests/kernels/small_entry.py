"""Entries that are compiled in a moment, for tests of what is kept of them."""

from kernels.compiling import kernel


@kernel(entry=True)
def twice(value):
    return value + value


@kernel(entry=True)
def thrice(value):
    return value + value + value
