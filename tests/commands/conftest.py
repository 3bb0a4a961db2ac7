"""Results that several commands are tried on."""

import pytest

from harness.results import store
from tests.command_line import ROOT, SHORT, harness

SIDE_BY_SIDE = ("retry16", "kick_vcpus", "kick_on_busy")


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """One short run of every policy, in one go; not so short where nobody got to run in it."""
    paths = sorted(ROOT / f"configs/{name}.toml" for name in SIDE_BY_SIDE)
    for duration_s in (0.1, 0.3, 1, 3, 10, 10):
        out = tmp_path_factory.mktemp("results")
        run = harness("run", *paths, "-v", *SHORT, "--set", f"duration_s={duration_s}", "--out", out)
        assert run.returncode == 0, run.stderr
        saved = sorted(out.glob("*/result.json"))
        if all(store.read(path).seamcalls["tdh_vp_enter"].success for path in saved):
            break
    return run, saved
