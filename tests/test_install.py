"""The program as a wheel, installed and used in an empty folder: the command, its configs, the same answers."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.experiment import shipped

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of an installed wheel.  What it needs is taken from the packages of this Python, so without a network."""
    place = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", place / "wheel", ROOT], check=True)
    [wheel] = (place / "wheel").glob("*.whl")
    subprocess.run([*pip, "install", "--no-compile", "--no-deps", "--target", place / "packages", wheel], check=True)
    return place


def sept_harness(installed, *arguments) -> subprocess.CompletedProcess:
    empty = installed / "empty"
    empty.mkdir(exist_ok=True)
    return subprocess.run([sys.executable, installed / "packages/bin/sept-harness", *arguments], cwd=empty, text=True,
                          capture_output=True, env=os.environ | {"PYTHONPATH": str(installed / "packages")})


def test_the_wheel_holds_every_config_and_nothing_of_the_tests(installed):
    inside = installed / "packages/harness/configs"
    assert sorted(path.relative_to(inside) for path in inside.rglob("*") if path.is_file()) == \
        sorted(path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*") if path.is_file())
    assert not (installed / "packages/tests").exists()
    for ours, theirs in (("sept-harness.bash", "bash-completion/completions/sept-harness"), ("_sept-harness", "zsh/site-functions/_sept-harness")):
        assert (installed / "packages/share" / theirs).read_bytes() == (ROOT / "completions" / ours).read_bytes()


def test_an_installed_program_says_its_version_and_the_commit_that_it_was_made_of(installed):
    said = sept_harness(installed, "--version")
    commit = r"commit [0-9a-f]{12}, " if shutil.which("git") and (ROOT / ".git").exists() else ""
    assert re.fullmatch(rf"sept-harness \d+\.\d+\.\d+, {commit}source [0-9a-f]{{12}}, numba [\d.]+; newest modules known: 1\.5\.34 and 2\.0\.18\n",
                        said.stdout), said


@pytest.mark.slow                # it compiles for itself
def test_an_installed_program_runs_and_explores_what_is_shipped(installed):
    ran = sept_harness(installed, "run", "kick_vcpus", "--set", "duration_s=0.2", "--set", "warmup_s=0")
    assert ran.returncode in (0, 3) and "BUSY" in ran.stdout, ran.stderr
    assert list((installed / "empty/results").glob("kick_vcpus*/result.json"))
    explored = sept_harness(installed, "explore", "accept_block")
    assert explored.returncode == 0, explored.stderr
    assert sept_harness(installed, "sweep", "--help").stdout.startswith("usage: sept-harness sweep")
    assert "is a config, not a scenario: sept-harness run " in sept_harness(installed, "explore", "kick_vcpus").stderr


def test_its_configs_can_be_listed_and_copied_and_run_from_there(installed):
    listed = sept_harness(installed, "configs")
    assert all(shipped.name_of(path) in listed.stdout for path in shipped.all_files())
    assert max(map(len, listed.stdout.splitlines())) <= 100
    assert "..." not in listed.stdout                # no question is cut off
    assert sept_harness(installed, "configs", "explore/known", "--copy", "mine").returncode == 0
    assert (installed / "empty/mine/explore/known/size_mismatch.toml").is_file()
    again = sept_harness(installed, "configs", "--copy", "mine")
    assert again.returncode == 2 and again.stderr == "--copy mine: exists; must be a folder that is new or empty\n"


@pytest.mark.slow                # needs the tool and a network
@pytest.mark.parametrize("tool, words, folder", [("pipx", ("pipx", "install"), "PIPX_BIN_DIR"), ("uv", ("uv", "tool", "install"), "UV_TOOL_BIN_DIR")])
def test_pipx_and_uv_install_the_wheel_as_a_tool(installed, tmp_path, tool, words, folder):
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} on this machine")
    [wheel] = (installed / "wheel").glob("*.whl")
    own = os.environ | {name: str(tmp_path / name) for name in ("PIPX_HOME", "PIPX_BIN_DIR", "UV_TOOL_DIR", "UV_TOOL_BIN_DIR")}
    subprocess.run([*words, wheel], check=True, env=own, capture_output=True)
    (tmp_path / "empty").mkdir()

    def said(*arguments) -> str:
        return subprocess.run([tmp_path / folder / "sept-harness", *arguments], cwd=tmp_path / "empty", check=True, env=own, text=True,
                              capture_output=True).stdout
    assert said("--version").startswith("sept-harness ") and said("configs", "--copy", "mine").endswith(" files in mine\n")
    assert "1 litmus test: 1 passed" in said("explore", "mine/litmus/classic/SB.litmus")


def test_a_stranger_called_kernels_is_noticed(tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels/__init__.py").write_text("")
    ended = subprocess.run([sys.executable, "-m", "harness", "policies"], cwd=ROOT, text=True, capture_output=True,
                           env=os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"})
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"kernels: {tmp_path}/kernels is found in place of {ROOT}/kernels: start in another folder")
