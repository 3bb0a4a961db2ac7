"""Who looks at a mutant of a call: the tests of single calls, asked directly, about that call in that release.

`about` finds them by their arguments, so that a new test is asked without being listed here; `of_all` are the tests
of those files that are about no single call, for what the others let through.
`whole_files` runs whole files by pytest in this process.
"""

import contextlib
import functools
import inspect
import io
import itertools
from pathlib import Path
from typing import Callable

from harness.protocol.releases import BY_NAME
from harness.protocol.seamcalls import Seamcall
from tests.conformance.calls import compare, world
from tests.conformance.reading import read
from tests.protocol import (
    test_allowed, test_cache_wb, test_entries, test_fields, test_host_priority, test_large_pages_by_address, test_orders, test_packages,
    test_seamcalls, test_ways_out,
)
from tests.protocol.orders import Order

RESULTS = Path(__file__).parent.parent / "vectors/module"
MODULES = (test_orders, test_seamcalls, test_ways_out, test_host_priority, test_allowed, test_entries, test_packages,
           test_large_pages_by_address, test_fields, test_cache_wb)
# These ask about the tests themselves.
NOT_ASKED = ("mended", "every_call_of_every_release", "every_call_that_looks", "calls_are_those")


@functools.cache
def cases() -> list[tuple[Callable, dict]]:
    """Every test of the modules with every set of its arguments; but for those that need a fixture."""
    found = []
    for module in MODULES:
        for name, test in inspect.getmembers(module, inspect.isfunction):
            if not name.startswith("test_") or test.__module__ != module.__name__ or any(word in name for word in NOT_ASKED):
                continue
            sets = [_sets(mark) for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
            if set(inspect.signature(test).parameters) == {name for each in sets for name in each[0]}:
                found += [(test, functools.reduce(dict.__or__, chosen, {})) for chosen in itertools.product(*sets)]
    return found


def _sets(mark) -> list[dict]:
    names, values = mark.args
    names = [name.strip() for name in names.split(",")]
    sets = []
    for value in values:
        value = getattr(value, "values", value) if type(value).__name__ == "ParameterSet" else value
        sets.append(dict(zip(names, value if len(names) > 1 or isinstance(value, tuple) else (value,))))
    return sets


def _calls(arguments: dict) -> set[str]:
    """The calls that a test is about by its arguments."""
    found = set()
    for value in arguments.values():
        name = {Order: lambda: value.call, Seamcall: lambda: value.name}.get(type(value), lambda: value)()
        if isinstance(name, str) and name.startswith(("tdh_", "tdg_", "td_exit")):
            found.add(name.partition(",")[0])
    return found


def _releases(arguments: dict) -> set[str]:
    return {value for value in arguments.values() if isinstance(value, str) and value in BY_NAME}


def about(release: str, call: str) -> str:
    """The first test about a call in a release that fails, and why; "" if none does."""
    return _first((test, arguments) for test, arguments in cases()
                  if call in _calls(arguments) and _releases(arguments) <= {release})


def of_all(release: str) -> str:
    """The same of tests that are about no single call."""
    return _first((test, arguments) for test, arguments in cases()
                  if not _calls(arguments) and _releases(arguments) <= {release})


def of_the_module(release: str, call: str) -> str:
    """The first result of the module's own code that a call no longer has; "" if there is none."""
    path = RESULTS / f"calls-{release}.csv.gz"
    if not path.exists():
        return ""
    world.cache_clear()
    vectors = read(path)
    lines = [line for line in vectors.lines if line["call"] == call]
    return next((f"the module's own result differs: {each.difference}" for each in compare(vectors._replace(lines=lines))
                 if each.difference and not each.covered), "")


def _first(tests) -> str:
    for test, arguments in tests:
        try:
            test(**arguments)
        except BaseException as failure:
            said = str(failure).splitlines()
            return f"{test.__name__}: {type(failure).__name__} {said[0] if said else ''}"
    return ""


def whole_files(*files: str) -> str:
    """The first test of these files that fails; "" if none does."""
    import pytest
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", *files])
    if not code:
        return ""
    failed = [line for line in said.getvalue().splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0] if failed else f"pytest ended with {code}"
