"""The command line, as a process of its own or in this one."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

from harness.__main__ import main
from tests.tries import LIMIT_S

ROOT = Path(__file__).parent.parent
SHORT = ("--set", "duration_s=0.3", "--set", "warmup_s=0.1")


def harness(*arguments, cwd=ROOT, **keys) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "harness", *map(str, arguments)], cwd=cwd, timeout=LIMIT_S,
                          capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, **keys)


def inside(*arguments, cwd=ROOT) -> subprocess.CompletedProcess:
    """The same in this process, which saves half a second of start."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(list(map(str, arguments)))
        except SystemExit as ended:              # argparse
            code = ended.code
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def command(capsys, *arguments) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command in this process."""
    code = main(list(map(str, arguments)))
    captured = capsys.readouterr()
    return code, captured.out, captured.err
