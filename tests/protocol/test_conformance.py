"""The rows beside results of the module's own code: a sample of each file here, all of them when slow."""

import gzip

import pytest

from tests.command_line import ROOT
from tests.conformance.__main__ import main

VECTORS = ROOT / "tests/vectors/module"
FILES = sorted(path for path in VECTORS.glob("*.csv.gz") if not path.name.startswith("dpamt"))


def sampled(path, tmp_path, every: int):
    """Each so many lines of a file, and all of its comments."""
    lines = gzip.open(path, "rt").read().splitlines()
    head = [line for number, line in enumerate(lines) if line.startswith("#") or number and lines[number - 1].startswith("#")]
    body = [line for line in lines if line not in head]
    small = tmp_path / path.name.removesuffix(".gz")
    small.write_text("\n".join(head + body[::every]) + "\n")
    return small


SAMPLED = [path for path in FILES if path.name.startswith("calls") or "1.5.34" in path.name]


@pytest.mark.parametrize("path", SAMPLED, ids=lambda path: path.name.removesuffix(".csv.gz"))
def test_a_sample_agrees(path, tmp_path, capsys):
    """Of calls every fortieth line; a scenario's lines belong together, so of interleavings one file whole."""
    assert main([str(sampled(path, tmp_path, 40 if path.name.startswith("calls") else 1))]) == 0
    out = capsys.readouterr().out
    assert " 0 differ" in out and " 0 compared" not in out


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix(".csv.gz"))
def test_all_agree(path, tmp_path, capsys):
    assert main([str(sampled(path, tmp_path, 1))]) == 0


def test_what_cannot_be_compared_is_no_agreement(tmp_path, capsys):
    assert main([str(sampled(VECTORS / "dpamt-calls-1.5.24.csv.gz", tmp_path, 1))]) == 2
    assert "nothing in it could be compared" in capsys.readouterr().err
    assert main([str(tmp_path / "none.csv")]) == 2
