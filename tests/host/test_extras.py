"""harness/host/extras.py: the line for a package that is missing can be typed where the program is installed."""

import sys
import tomllib
from pathlib import Path

import pytest

from harness.host import extras


@pytest.mark.parametrize("mark, command", [
    ("pipx_metadata.json", "pipx inject tdx-sept-harness jinja2 matplotlib"),
    ("uv-receipt.toml", "uv pip install --python {python} jinja2 matplotlib"),
    ("pyvenv.cfg", "{python} -m pip install jinja2 matplotlib"),
])
def test_the_line_is_of_the_tool_that_has_made_the_environment(mark, command, tmp_path, monkeypatch):
    (tmp_path / mark).touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert str(extras.missing("report", "report")) == (
        f"report: jinja2 and matplotlib are not installed; `{command.format(python=sys.executable)}` does it")


@pytest.mark.parametrize("extra", ["report", "cluster"])
def test_the_packages_are_those_of_pyproject(extra):
    stated = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    names = [line.split(">=")[0] for line in stated]
    assert str(extras.missing("x", extra)).endswith(f"install {' '.join(names)}` does it")
