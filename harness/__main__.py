"""Which command: each is a file of commands/ by its name, loaded when it is chosen.

    add(parser)   its arguments            do(options)   what it does; returns an exit code (errors.py)
"""

import argparse
import importlib
import sys

from harness.errors import DONE, INTERRUPTED, USAGE, UsageError

COMMANDS = {
    "run": "run one or more configs and tabulate BUSY, retries, zero-step, kicks",
    "explore": "try every interleaving of small scenarios, with verdicts",
    "replay": "run a schedule again, step by step, and as real processes",
    "compare": "put results side by side, with intervals and differences",
    "nightly": "run a folder of configs, judge them and look for changes",
    "report": "one self-contained HTML page of results",
    "histograms": "add up the histograms of results; export them",
    "sweep": "run a config for every combination of its [sweep] values, as one table",
    "policies": "list the policies, with their sources",
    "seamcalls": "list the calls of the module, or what differs by release",
    "contention": "which calls can make each other BUSY, on what",
    "doctor": "what is wrong with this machine, and what to do about it",
    "explain": "print the micro-ops of a call",
    "decode": "explain answers of SEAMCALLs and TDCALLs, by hand or from a log",
}
PURPOSE = ("Stress harness for the Secure-EPT locks of the TDX module: what does each KVM policy for"
           " TDX_OPERAND_BUSY really do?")


class Arguments(argparse.ArgumentParser):
    """argparse, but a mistake is a UsageError like any other."""

    def error(self, message):
        raise UsageError(f"{self.prog}: {message}")


def parser(chosen: str | None) -> Arguments:
    """All commands, with the arguments of the chosen one."""
    top = Arguments(prog="python -m harness", description=PURPOSE)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Arguments)
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose)
        if name == chosen:
            file = importlib.import_module(f"harness.commands.{name}")
            file.add(command)
            command.set_defaults(do=file.do)
    return top


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    try:
        top = parser(next((word for word in given if not word.startswith("-")), None))
        options = top.parse_args(given)
        if options.command is None:
            top.print_help()
            return DONE
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
    except KeyboardInterrupt:
        return INTERRUPTED           # between runs; an engine keeps what it has measured itself
    except BrokenPipeError:
        sys.stderr.close()           # the reader of our output has gone; nothing is left to say
        return DONE


if __name__ == "__main__":
    sys.exit(main())
