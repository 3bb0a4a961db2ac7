"""The commands in README and docs/ are run, and print what is shown of them."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from tests.command_line import inside
from tests.docs.pages import BARE, ROOT, Block, Command, blocks, files
from tests.traces.test_import import trace
from tests.tries import LIMIT_S

# A page shows what seconds of measuring print; the words are the same after a moment of it.
MOMENT = ("--set", "duration_s=1", "--set", "warmup_s=0.1")
SHORT = {"run": MOMENT, "sweep": ("--set", "duration_s=0.0005", "--set", "warmup_s=0", "--set", "repeats=1"), "nightly": ()}
LITMUS = ("--runs", "100k")
WHAT_OCCURRED = ("DEGRADED", "KVM_BUG_ONs, ", "blocks that would show ", "    ")         # lines of a shape that are there, or as long, if that occurred
TRIES = 3                        # of a block of real processes, in which what is shown did not occur
FOR_A_SHELL = set("|<>&;*?[{$`")
JUDGED = (0, 1, 3, 4)            # exit codes of commands that did what they are for
HISTOGRAM = '{"type": "hist", "data": {"@ns": {"tdh_mem_track": [{"min": 4096, "max": 8191, "count": 3}]}}}\n'
# What a reader of a page has recorded.
RECORDED = {"trace.txt": "\n".join(trace("trace-cmd")) + "\n", "trace.json": HISTOGRAM}


def shortened(command: Command, how: str) -> str:
    """The words of a command for bash, with less to do where that changes no line that is shown."""
    kind = command.arguments[0]
    if ".litmus" in command.words and kind == "run":
        return f"{command.words} {' '.join(LITMUS)}"
    if kind == "sweep" and command.printed:              # in virtual time: numbers to the last digit
        return command.words
    words, _, target = command.words.partition(" > ")
    return " ".join([words, *SHORT.get(kind, ()), *(["> " + target] if target else [])])


def run(block: Block, folder) -> str:
    """Run the commands of a block; the first line that is not printed with what was, or ""."""
    for name in ("configs", "examples"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    for name, text in (*RECORDED.items(), *files(block.page).items()):
        (folder / name).write_text(text)
    env = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    for command in block.commands:
        words = shortened(command, block.how)
        done = inside(*shlex.split(words), cwd=folder) if not FOR_A_SHELL & set(words) else subprocess.run(
            ["bash", "-c", BARE + words], cwd=folder, capture_output=True, text=True, timeout=10 * LIMIT_S, env=env)
        assert done.returncode in JUDGED, f"{command.words}: {done.stderr}"
        assert "Traceback" not in done.stderr, f"{command.words}: {done.stderr}"
        if line := missing(command.printed, done.stdout, block.how):
            return f"not printed by {command.words}: {line}\n\n{done.stdout}"
    return ""


def compared(line: str, how: str) -> str:
    """What of a line has to be the same."""
    line = re.sub(r"[0-9.]+ m?s$", "", line.rstrip())          # how long a search took
    if how == "shape":
        line = re.sub(r"-{3,}|\(.*?\)", "", line)          # rules; numbers of runs, names
        line = re.sub(r"\bcommit [0-9a-f]{12}", "commit", line)
        line = re.sub(r"\b(?:vcpu|host)\d+\b", "actor", line)        # who was first
        line = re.sub(r"<?[-+.]?\d[\d.]*[MG]?( ?%)?", "", line)
        return " ".join(word for word in line.split() if word not in ("-", "~", "s", "ms", "us"))
    return line


def missing(shown: list[str], text: str, how: str) -> str:
    """The first line of those shown that is not printed, or not in that order; "" if there is none."""
    lines = [compared(line, how) for line in text.splitlines()]
    at = 0
    for line in shown:
        wanted = compared(line, how)
        if line.strip() == "..." or how == "shape" and (len(wanted.split()) < 2 or line.startswith(WHAT_OCCURRED)):
            continue
        found = next((number for number in range(at, len(lines)) if lines[number] == wanted), None)
        if found is None:
            return line
        at = found if how == "shape" else found + 1
    return ""


def _once() -> list:
    """Every block that is run here; those that say the same as one before only once."""
    found = {}
    for block in blocks():
        if block.how != "no":
            found.setdefault(tuple((command.words, *command.printed) for command in block.commands), block)
    return [pytest.param(block, id=block.name, marks=[pytest.mark.slow] if block.slow else []) for block in found.values()]


@pytest.mark.parametrize("block", _once())
def test_a_block_is_run_and_prints_what_is_shown(block, tmp_path):
    for _ in range(TRIES if block.how == "shape" else 1):
        tries = tmp_path / str(len(list(tmp_path.iterdir())))
        tries.mkdir()
        if not (problem := run(block, tries)):
            return
    raise AssertionError(problem)


def test_a_line_that_is_not_printed_is_seen():
    assert missing(["one", "...", "three"], "one\ntwo\nthree\n", "lines") == ""
    assert missing(["one", "three"], "three\none\n", "lines") == "three"
    assert missing(["one", "three"], "one\nthree 3\n", "lines") == "three"
    shown = ["a rate  12.5 %  <.01", "BUSY, most: 4"]
    assert missing(shown, "a rate   3  2.4\nBUSY, most: 77M\n", "shape") == ""
    assert missing(["the first 2 s into it on host0"], "the first 3 s into it on vcpu2\n", "shape") == ""
    assert missing(shown, "no rate  3  2.4\nBUSY, most: 77M\n", "shape") != ""


def test_a_command_that_fails_is_seen(tmp_path):
    with pytest.raises(AssertionError, match="no_such_call"):
        run(Block("README.md", [Command("explain no_such_call", [])]), tmp_path)
