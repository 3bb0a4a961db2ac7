"""Colour: of verdicts, on a terminal that wants it, and nowhere else."""

import os
import pty
import subprocess
import sys

import pytest

from harness import printing
from tests.command_line import ROOT

SHOW = ("import sys; from harness import printing; printing.prepare();"
        "print('PASS  a: 1\\nDEGRADED: load\\nFAILED: b\\nPASSED by'); sys.stdout.flush()")


def printed(environment: dict) -> str:
    """What a terminal gets."""
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", SHOW], stdout=theirs, cwd=ROOT, env=os.environ | {"TERM": "xterm"} | environment, check=True)
    os.close(theirs)
    return os.read(ours, 10_000).decode().replace("\r\n", "\n")


def test_verdicts_are_coloured_on_a_terminal():
    text = printed({})
    assert "\x1b[32mPASS\x1b[0m  a: 1\n" in text and "\x1b[33mDEGRADED\x1b[0m: load" in text and "\x1b[31mFAILED\x1b[0m" in text
    assert "PASSED by" in text


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_not_where_it_is_not_wanted(environment):
    assert "\x1b" not in printed(environment)


def test_not_in_a_pipe():
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, cwd=ROOT)
    assert "\x1b" not in done.stdout and done.stdout.startswith("PASS  a: 1")


def test_only_whole_words_at_the_beginning_of_a_line():
    assert printing.coloured("it is FAILED\nFAILURE") == "it is FAILED\nFAILURE"
