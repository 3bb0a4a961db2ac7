"""Completions for bash and zsh of the installed command, from its own parser: python -m tests.docs.completions writes them."""

import re
from pathlib import Path

import shtab

import harness
from harness.__main__ import parser

FOLDER = Path(__file__).parent.parent.parent / "completions"
FILES = {"bash": f"{harness.CONSOLE}.bash", "zsh": f"_{harness.CONSOLE}"}
# Arguments that name files.
PATHS = {"CONFIG", "RESULT", "SCHEDULE", "FILE", "NEW", "REAL.json"}


def completion(shell: str) -> str:
    top = parser("*", console=True)
    for command in top._subparsers._group_actions[0].choices.values():
        for action in command._actions:
            if action.metavar in PATHS:
                action.complete = shtab.FILE
            elif action.metavar == "DIR":
                action.complete = shtab.DIRECTORY
    made = shtab.complete(top, shell=shell, root_prefix="sept_harness")
    # shtab 1.13 has zsh complete the first of several arguments only: "(*):" is one that excludes the rest, "*:" all.
    return re.sub(r'"\(\*\)::?', '"*:', made)


def write() -> None:
    for shell, name in FILES.items():
        (FOLDER / name).write_text(completion(shell))


if __name__ == "__main__":
    write()
