"""The recipes under examples/: read, their commands parsed, and run as far as this machine can."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from harness.__main__ import parser
from tests.command_line import harness
from tests.docs.pages import ROOT

EXAMPLES = ROOT / "examples"
FILES = [path for path in sorted(EXAMPLES.rglob("*")) if path.is_file() and path.suffix != ".bt"]
COMMAND = re.compile(r"python -m harness (nightly|run|worker) ([^|>\n]*)")
MOMENT = ("--set", "duration_s=0.05", "--set", "warmup_s=0.02")


def test_every_recipe_is_linked():
    page = (ROOT / "docs/nightly.md").read_text()
    for path in FILES:
        assert f"examples/{path.relative_to(EXAMPLES).parts[0]}" in page or path.suffix == ".timer", path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_its_commands_can_be_parsed(path):
    for command, rest in COMMAND.findall(path.read_text()):
        words = [word for word in shlex.split(re.sub(r"\$\{\w+:-(\w+)\}", r"\1", rest)) if not word.endswith("|| cat")]
        parser(command).parse_args([command, *words])


def test_recipes_that_measure_name_the_lock_and_processors_of_their_own():
    for path in FILES:
        if COMMAND.search(path.read_text()):
            assert "TDX_HARNESS_LOCK" in path.read_text() and re.search("AllowedCPUs=|taskset|isolcpus=", path.read_text()), path


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in FILES if re.search("harness (nightly|run) ", path.read_text())], ids=lambda path: path.name)
def test_its_commands_are_run(path, tmp_path):
    """By sh, as the service would, in a folder that has what a checkout has; shortened, and one block."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for command, rest in COMMAND.findall(path.read_text()):
        less = f"{' '.join(MOMENT)} " + ("--blocks 1" if command == "nightly" else "")
        words = re.sub(r"--budget \S+", "", rest) if command == "nightly" else rest.replace("10m", "1m")
        done = subprocess.run(["sh", "-c", f"{sys.executable} -m harness {command} {words} {less}"], cwd=tmp_path, capture_output=True,
                              text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
        assert done.returncode in (0, 1, 3, 4), done.stderr
        if command == "nightly":
            night = next((tmp_path / "results").glob("nightly-*"))
            assert {"junit.xml", "summary.md"} <= {each.name for each in night.iterdir()}
            assert list((tmp_path / "history").glob("*.jsonl"))


def test_there_are_commands_in_them():
    assert sum(len(COMMAND.findall(path.read_text())) for path in FILES) >= 5


def test_the_units_are_valid():
    """The program that a unit starts is not here; everything else is checked."""
    if not shutil.which("systemd-analyze"):
        return
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", EXAMPLES / "sept-nightly.service", EXAMPLES / "sept-nightly.timer",
                           EXAMPLES / "sept-worker.service"],
                          capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if re.search("sept-(nightly|worker)", line) and "is not executable" not in line]
    assert not said


@pytest.mark.slow
def test_lkps_parse_reads_what_run_prints(tmp_path):
    done = harness("run", "configs/kick_on_busy.toml", "configs/kick_vcpus.toml", "--format", "csv", "--out", tmp_path,
                   "--set", "engine=simulate", "--set", "duration_s=0.002", "--set", "warmup_s=0")
    parsed = subprocess.run(["sh", EXAMPLES / "lkp/parse"], input=done.stdout, capture_output=True, text=True, check=True)
    assert re.search(r"^kick_on_busy\.removals_per_s: [\d.]+$", parsed.stdout, re.MULTILINE)
    assert re.search(r"^kick_vcpus\.busy_per_attempt_percent: ", parsed.stdout, re.MULTILINE)


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix in (".yml", ".yaml")], ids=lambda path: path.name)
def test_it_is_indented_by_two_and_has_no_tabs(path):
    for line in path.read_text().splitlines():
        assert "\t" not in line and (len(line) - len(line.lstrip())) % 2 == 0, line
