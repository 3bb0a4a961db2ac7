"""The samples in README and docs/ are what is printed."""

import re
import subprocess
import sys
import tempfile

import pytest

from tests.docs.pages import ROOT, samples
from tests.tries import LIMIT_S

RUN = [sample for sample in samples() if sample.how != "no" and not sample.first]
# A sample shows what seconds of measuring print; its words are the same after a moment of it.
SHORT = {"run": ["--set", "duration_s=1", "--set", "warmup_s=0.1"]}
WHAT_OCCURRED = ("DEGRADED", "KVM_BUG_ONs, ", "    ")         # lines of a shape that are there, or as long, if that occurred
TRIES = 3                        # of a sample of real processes, in which what is shown did not occur
WHERE = ("run", "nightly", "explore", "import-trace")          # these write files


def printed(arguments: list[str]) -> str:
    """What a command prints; where it writes files, into a folder that is gone afterwards."""
    command, *rest = arguments
    with tempfile.TemporaryDirectory() as folder:
        out = ["--out", folder] if command in WHERE and "--out" not in rest else []
        words = " ".join(map(_quoted, [command, *rest, *out, *SHORT.get(command, [])]))
        done = subprocess.run(["bash", "-c", f"{sys.executable} -m harness {words}"], cwd=ROOT, capture_output=True,
                              text=True, timeout=10 * LIMIT_S)
    assert done.returncode in (0, 1, 3), done.stderr
    return done.stdout


def _quoted(word: str) -> str:
    """For bash, which is to expand file names."""
    return word if word.startswith("configs/") else "'" + word.replace("'", "'\\''") + "'"


def compared(line: str, how: str) -> str:
    """What of a line has to be the same."""
    line = re.sub(r"[0-9.]+ m?s$", "", line.rstrip())          # how long a search took
    if how == "shape":
        line = re.sub(r"-{3,}|\(.*?\)", "", line)          # rules; numbers of runs, names
        line = re.sub(r"<?[-+.]?\d[\d.]*[MG]?( ?%)?", "", line)
        return " ".join(word for word in line.split() if word not in ("-", "~", "s", "ms", "us"))
    return line


def missing(sample, text: str) -> str:
    """The first line of a sample that is not printed, or not in that order; "" if there is none."""
    lines = [compared(line, sample.how) for line in text.splitlines()]
    at = 0
    for line in sample.printed:
        wanted = compared(line, sample.how)
        if line.strip() == "..." or sample.how == "shape" and (len(wanted.split()) < 2 or line.startswith(WHAT_OCCURRED)):
            continue
        found = next((number for number in range(at, len(lines)) if lines[number] == wanted), None)
        if found is None:
            return line
        at = found if sample.how == "shape" else found + 1
    return ""


@pytest.mark.parametrize("sample", [
    pytest.param(sample, id=sample.name, marks=[pytest.mark.slow] if sample.slow else []) for sample in RUN])
def test_a_sample_is_what_is_printed(sample):
    for _ in range(TRIES if sample.how == "shape" else 1):
        text = printed(sample.arguments)
        if not (line := missing(sample, text)):
            return
    raise AssertionError(f"not printed: {line}\n\n{text}")


def test_a_line_that_is_not_printed_is_seen():
    sample = RUN[0]._replace(printed=["one", "...", "three"], how="lines")
    assert missing(sample, "one\ntwo\nthree\n") == ""
    assert missing(sample, "three\none\n") == "three" and missing(sample, "one\nthree 3\n") == "three"
    shape = sample._replace(printed=["a rate  12.5 %  <.01", "BUSY, most: 4"], how="shape")
    assert missing(shape, "a rate   3  2.4\nBUSY, most: 77M\n") == "" and missing(shape, "no rate  3  2.4\nBUSY, most: 77M\n") != ""
