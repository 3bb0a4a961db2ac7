"""The recipes under examples/: read, their commands parsed, and run as far as this machine can."""

import re
import shlex
import shutil
import subprocess

import pytest

from harness.__main__ import parser
from tests.command_line import harness
from tests.docs.pages import ROOT

EXAMPLES = ROOT / "examples"
FILES = [path for path in sorted(EXAMPLES.rglob("*")) if path.is_file() and path.suffix != ".bt"]
COMMAND = re.compile(r"python -m harness (nightly|run) ([^|>\n]*)")


def test_every_recipe_is_linked():
    page = (ROOT / "docs/nightly.md").read_text()
    for path in FILES:
        assert f"examples/{path.relative_to(EXAMPLES).parts[0]}" in page or path.suffix == ".timer", path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_its_commands_can_be_parsed(path):
    for command, rest in COMMAND.findall(path.read_text()):
        words = [word for word in shlex.split(re.sub(r"\$\{\w+:-(\w+)\}", r"\1", rest)) if not word.endswith("|| cat")]
        parser(command).parse_args([command, *words])


def test_there_are_commands_in_them():
    assert sum(len(COMMAND.findall(path.read_text())) for path in FILES) >= 5


def test_the_units_are_valid():
    """The program that a unit starts is not here; everything else is checked."""
    if not shutil.which("systemd-analyze"):
        return
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", EXAMPLES / "sept-nightly.service", EXAMPLES / "sept-nightly.timer"],
                          capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "sept-nightly" in line and "is not executable" not in line]
    assert not said


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
