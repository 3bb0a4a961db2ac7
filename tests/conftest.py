"""Fixtures and settings for all tests."""

import gc
import os
import signal
import tempfile

import hypothesis
import pytest

from tests import leash, sampled
from tests.stage import Stage

leash.hold_all()

# The first example of a test compiles, and a busy machine is no failure; nor is an example that nobody has
# met before: the same examples are tried each time, so that what fails has been changed.
hypothesis.settings.register_profile("patient", deadline=None, derandomize=True, database=None,
                                     max_examples=50, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

# A shell starts what runs in its background with Ctrl-C ignored, and what a test starts would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests measure nothing, so they need not wait for a measurement on this machine, nor it for them.
_LOCKS = tempfile.TemporaryDirectory(prefix="tdx-sept-harness-")       # goes with this process
os.environ["TDX_HARNESS_LOCK"] = os.path.join(_LOCKS.name, "lock")


# Tests are many small objects that live long: walking them again and again took a fourth of the time.
gc.set_threshold(50_000, 50, 50)


# What these compile, they compile though it may have been kept, and keep it for all others.
FIRST = "tests/kernels/test_compiled_code.py"


@pytest.hookimpl(tryfirst=True)          # before pytest leaves out what is slow
def pytest_collection_modifyitems(items):
    sampled.mark(items)
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))


def pytest_collection_finish():
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    gc.freeze()


@pytest.fixture(params=["cas", "bts"])
def stage(request):
    return Stage(primitive=request.param)
