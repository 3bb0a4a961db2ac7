"""Fixtures and settings for all tests."""

import gc
import os
import signal
import tempfile

import hypothesis
import pytest
from hypothesis.internal.conjecture import providers

from tests import leash, sampled
from tests.stage import Stage

leash.hold_all()

# The first example of a test compiles, and a busy machine is no failure; nor is an example that nobody has
# met before: the same examples are tried each time, so that what fails has been changed.
hypothesis.settings.register_profile("patient", deadline=None, derandomize=True, database=None,
                                     max_examples=50, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")
# It would read every module of ours for constants to try as well: for seconds, and which are there is the order of the tests.
providers.is_local_module_file = lambda path: False

# A shell starts what runs in its background with Ctrl-C ignored, and what a test starts would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests measure nothing, so they need not wait for a measurement on this machine, nor it for them.
_LOCKS = tempfile.TemporaryDirectory(prefix="tdx-sept-harness-")       # goes with this process
os.environ["TDX_HARNESS_LOCK"] = os.path.join(_LOCKS.name, "lock")


# Tests are many small objects that live long: walking them again and again took a fourth of the time.
gc.set_threshold(50_000, 50, 50)


# What compiles longest, so that nobody waits for it later: with two workers one begins with the search, the other with the rest.
# (test_compiled_code.py compiles though it may have been kept, and keeps it for all others.)
COMPILING = (
    ("tests/protocol/test_large.py::test_a_touch_below_a_large_page_is_modelled_or_refused_and_never_a_bug_of_kvms",),
    ("tests/kernels/test_compiled_code.py", "tests/commands/test_against.py", "tests/protocol/test_entries.py",
     "tests/engines/test_cells.py::test_a_store_is_seen_late_without_a_fence_and_never_with_one",
     "tests/engines/test_cells.py::test_recorded_runs_have_each_access_of_the_file_within_its_run"))


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc):
    """The tests that a family is left without are two of three of all there are: `make test` does not even make them."""
    config = metafunc.config
    if config.option.markexpr == "not slow" and not any("::" in given for given in config.args):
        metafunc._calls[:] = metafunc._calls[::sampled.share(metafunc.definition.nodeid)]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items, config):
    if config.option.markexpr != "not slow" or any("::" in given for given in config.args):
        sampled.mark(items)
    yield                                # pytest leaves out what is slow
    first, second = ([item for start in starts for item in items if item.nodeid.startswith(start)] for starts in COMPILING)
    begun = {*first, *second}
    rest = [item for item in items if item not in begun]
    half = max(0, len(items) // 2 - len(first))          # xdist gives the first half of all to the first worker
    items[:] = [*first, *rest[:half], *second, *rest[half:]]


def pytest_collection_finish():
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    gc.freeze()


@pytest.fixture(params=["cas", "bts"])
def stage(request):
    return Stage(primitive=request.param)
