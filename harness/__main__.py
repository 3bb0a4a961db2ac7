"""Which command: each is a file of commands/ by its name, loaded when it is chosen.

    add(parser)   its arguments            do(options)   what it does; returns an exit code (errors.py)
"""

import _signal               # what the module signal is made of, without the ten milliseconds of its enumerations
import os
import sys

import harness

EARLY = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT)       # stops.SIGNALS, before that can be loaded
if __name__ == "__main__" or sys.argv[0].endswith(f"/{harness.CONSOLE}"):      # nothing is there to be kept yet: no word, and the right code
    for number in EARLY:
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, lambda given, _frame: os._exit(128 + given))

import argparse
import errno
import gc
import importlib.util
import tempfile
import traceback
from pathlib import Path

from harness import printing, stops
from harness.errors import (
    DONE, INTERRUPTED, NOT_PRINTED, READER_GONE, UNEXPECTED, USAGE, UsageError, escaped, meant, nearest, program, shortened,
)
from harness.host import surroundings

# Commands with a verdict: their exit code says it whether or not it could be printed.
JUDGE = ("run", "explore", "replay", "nightly", "sweep", "doctor", "compare")
COMMANDS = {
    "run": "run one or more configs and tabulate BUSY, retries, zero-step, kicks",
    "explore": "try every interleaving of small scenarios, with verdicts",
    "replay": "run a schedule again, step by step, and as real processes",
    "compare": "put results side by side, with intervals and differences",
    "nightly": "run a folder of configs, judge them and look for changes",
    "report": "one self-contained HTML page of results",
    "histograms": "add up the histograms of results; export them",
    "sweep": "run a config for every combination of its [sweep] values, as one table",
    "worker": "compute for `--cluster` on this machine, or be its scheduler",
    "configs": "list the configs and scenarios that are shipped, with the question each answers",
    "schema": "JSON Schema of configs and scenarios, for editors",
    "policies": "list the policies, with their sources",
    "seamcalls": "list the calls of the module, or what differs by release",
    "contention": "which calls can make each other BUSY, on what",
    "doctor": "what is wrong with this machine, and what to do about it",
    "import-trace": "make a config, histograms and numbers of a real host's trace",
    "explain": "print the micro-ops of a call",
    "decode": "explain answers of SEAMCALLs and TDCALLs, by hand or from a log",
}
PURPOSE = ("Stress harness for the Secure-EPT locks of the TDX module: what does each KVM policy for"
           " TDX_OPERAND_BUSY really do?")


class Arguments(argparse.ArgumentParser):
    """argparse, but a mistake is a UsageError like any other."""

    def error(self, message):
        raise UsageError(f"{self.prog}: {message}")

    def parse_known_args(self, args=None, namespace=None):
        """Of a command: what it does not take is a mistake of that command, with the option that was meant."""
        namespace, left = super().parse_known_args(args, namespace)
        if left:
            word = next((word for word in left if word.startswith("-")), left[0])
            self.error(f"{word}: not an argument of this command{nearest(word.partition('=')[0], self._option_string_actions)}")
        return namespace, left

    def _check_value(self, action, value):
        """A choice that is misspelled: what was meant first."""
        if action.choices is not None and value not in action.choices:
            said = f"{value!r}: {meant(value, action.choices)}must be {', '.join(map(str, action.choices))}"
            raise argparse.ArgumentError(action, said)

    def _get_value(self, action, arg_string):
        """Of an option that is given "", as by a shell's variable that is not set: refused, and not taken for this folder."""
        if action.option_strings and not arg_string:
            raise argparse.ArgumentError(action, "is empty; must be given a value, or be left out")
        return super()._get_value(action, arg_string)


def parser(chosen: str | None, console: bool = False) -> Arguments:
    """The chosen command with its arguments; without one all commands, with "*" all of them with their arguments.

    console   named as an installed program is
    """
    top = Arguments(prog=harness.CONSOLE if console else program(), description=PURPOSE)
    top.add_argument("--version", action="store_true", help="version of this program, commit, Numba, newest module known")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Arguments)
    for name in [chosen] if chosen in COMMANDS else COMMANDS:        # each takes half a millisecond
        command = commands.add_parser(name, help=COMMANDS[name])
        if chosen in (name, "*"):
            file = importlib.import_module(f"harness.commands.{name.replace('-', '_')}")
            file.add(command)
            command.set_defaults(do=file.do)
    return top


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    with stops.listen():
        try:
            return _do(given)
        except KeyboardInterrupt:        # between runs; an engine keeps what it has measured itself
            return INTERRUPTED
        except Exception as problem:
            if stops.raised():           # and a library has made an exception of its own out of it
                return INTERRUPTED
            if line := surroundings.missing(problem) or _of_an_argument(problem, given):
                print(line, file=sys.stderr)
                return USAGE
            print(_unexpected(problem), file=sys.stderr)
            return UNEXPECTED


def check_kernels() -> None:
    """The compiled half must be this program's own: its name is a common one.  Raises UsageError."""
    ours = Path(__file__).parent.parent / "kernels"
    found = importlib.util.find_spec("kernels")
    where = Path(found.origin).parent if found and found.origin else None
    if where != ours:
        raise UsageError(f"kernels: {where or 'no package'} is found in place of {ours}: start in another folder,"
                         " or take it out of PYTHONPATH")


def version() -> str:
    """One line."""
    from harness.host.fingerprint import versions
    from harness.protocol.releases import NAMES, NEWEST, find
    two = [name for name in NAMES if name.startswith("2.")][-1]
    return f"{harness.CONSOLE} {versions()}; newest modules known: {find(NEWEST).name} and {two}"


def _chosen(given: list[str]) -> str | None:
    """The command that the arguments begin with; "*" if it stands behind options, as `--help` there is about all commands."""
    words = [word for word in given if not word.startswith("-")]
    return ("*" if given[0] != words[0] else words[0]) if words else None


def _do(given: list[str]) -> int:
    try:
        check_kernels()
        top = parser(_chosen(given))
        options = top.parse_args(given)
        if options.version:
            print(version())
            return DONE
        if options.command is None:
            top.print_help()
            return DONE
        gc.freeze()                      # what is loaded stays, and is not looked at again
        gc.enable()
        return options.do(options)
    except UsageError as mistake:
        print(mistake, file=sys.stderr)
        return USAGE
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in ("harness", "kernels"):
            raise
        print(f"{missing.name} is not installed for {sys.executable}: `make run` creates .venv/bin/python, which has it",
              file=sys.stderr)
        return USAGE


def _of_an_argument(problem: Exception, given: list[str]) -> str | None:
    """One line on a path of the arguments that the system refuses; None if it is something else."""
    if not isinstance(problem, OSError) or not isinstance(problem.filename, str):
        return None
    refused = os.path.abspath(problem.filename)
    words = [os.path.abspath(word.rpartition("=")[2]) for word in given if word]
    if not any(refused == word or refused.startswith(f"{word}/") for word in words):
        return None
    return str(UsageError(f"{problem.filename}: {problem.strerror}"))


def _unexpected(problem: Exception) -> str:
    """One line on an unexpected exception; the traceback is in a file."""
    said = shortened(escaped(f"{type(problem).__name__}: {problem}"), 160)
    try:
        handle, path = tempfile.mkstemp(prefix="harness-unexpected-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(" ".join(sys.argv) + "\n" + "".join(traceback.format_exception(problem)))
        where = f"where it came from is in {path}"
    except OSError as full:
        where = f"where it came from cannot be kept: {full.strerror}"
    return f"a fault of this program: {said}; {where}"


def _ended(code: int, judges: bool) -> int:
    """The exit code of the process: of a request to stop, or of what could not be printed, if nothing else is to be said."""
    if code == INTERRUPTED:
        return stops.exit_code(INTERRUPTED)
    problem = printing.lost()
    if problem is None or code != DONE or judges:
        return code
    if problem.errno == errno.EPIPE:
        return READER_GONE
    print(f"standard output: {problem.strerror}", file=sys.stderr)
    return NOT_PRINTED


def run() -> None:
    """The program, from its arguments to its exit code."""
    gc.disable()                         # until the command is loaded, which leaves nothing to collect
    printing.prepare()
    surroundings.prepare()
    code, judges = INTERRUPTED, _chosen(sys.argv[1:]) in JUDGE
    try:
        stops.hear()
        code = main()
        stops.ignore()               # all is kept; what is left is to say so
    except SystemExit:               # argparse has printed help, and nothing else was to be done
        code, judges = DONE, False
    except KeyboardInterrupt:        # it is raised once: the next ones are heard, and change nothing
        stops.ignore()
    code = _ended(code, judges)
    # Python ends by SIGINT, with whatever code, if the last text that it has executed ended with KeyboardInterrupt
    # (pythonrun.c, run_eval_code_obj): that of a namedtuple, say, while modules were loaded.
    exec("")
    sys.stderr.flush()
    sys.exit(code)


if __name__ == "__main__":
    run()
