"""docs/commands.md: every command with its arguments and options, from the parser: python -m tests.docs.commands writes it."""

import argparse

from harness.__main__ import COMMANDS, parser
from harness.reports.text import markdown
from tests.docs.pages import ROOT

PAGE = ROOT / "docs/commands.md"
# Where to read on.
GUIDES = {
    "run": "[How to read a run](reading_a_run.md); [C litmus tests](litmus.md#on-real-processors) on real processors.",
    "explore": "[Every interleaving](exploring.md); [C litmus tests](litmus.md).",
    "replay": "[Reading a counterexample](exploring.md#reading-a-counterexample).",
    "compare": "[Comparing policies](comparing.md); `--columns` and `--sort` take the [keys of columns](columns.md).",
    "nightly": "[Nightly jobs](nightly.md).",
    "report": "[Comparing policies](comparing.md).",
    "histograms": "[Latencies](reading_a_run.md#latencies).",
    "sweep": "[In virtual time](virtual_time.md); [all processors, many machines](jobs.md).",
    "worker": "[All processors, many machines](jobs.md#other-machines).",
    "configs": "[Workloads](workloads.md).",
    "schema": "[Config files](config.md); the same as [a page](keys.md).",
    "policies": "[What each policy does](policies_compared.md); [guests](guests.md).",
    "seamcalls": "[Releases of the module](modules.md); the same as [a page](calls.md).",
    "contention": "[Who contends with whom](modules.md#who-contends-with-whom).",
    "doctor": "[When not to believe a run](trust.md); `--validate`: [what agrees with reality](virtual_time.md#what-agrees-with-reality).",
    "import-trace": "[Numbers from real hosts](real_hosts.md).",
    "explain": "[Reading a counterexample](exploring.md#reading-a-counterexample).",
    "decode": "[Decode an answer](answers.md); `--list` as [a page](statuses.md).",
}


def page() -> str:
    top = parser("*")
    choices = top._subparsers._group_actions[0].choices
    lines = ["# Commands", "",
             "Made by `make docs` from the parser. `sept-harness` (installed) and `python -m harness` (in the checkout) are the"
             " same; `--help` behind a command says what is said here, `--version` which program this is: release, commit,"
             " Numba, newest modules known. [Exit codes](exit_codes.md) and [files](files.md) have pages of their own.", "",
             *markdown(("command", "what it does"), [(f"[{name}](#{name})", purpose) for name, purpose in COMMANDS.items()]),
             "Completions for bash and zsh are in [completions/](../completions): `source completions/sept-harness.bash`, or put"
             " `_sept-harness` into a folder of `$fpath`. A wheel puts both below `share/` of what it is installed into"
             " (`share/bash-completion/completions/sept-harness`, `share/zsh/site-functions/_sept-harness`): where the shells look, if that is"
             " the system or `~/.local`. With pipx it is `$(pipx environment --value PIPX_LOCAL_VENVS)/tdx-sept-harness`, with uv"
             " `$(uv tool dir)/tdx-sept-harness`: source the file from there.", ""]
    for name, purpose in COMMANDS.items():
        lines += [f"## {name}", "", f"{purpose[0].upper()}{purpose[1:]}. {GUIDES[name]}", "",
                  *markdown(("argument", "meaning"), [
                      (f"`{_spelled(action)}`", action.help) for action in choices[name]._actions
                      if not isinstance(action, argparse._HelpAction)])]
    return "\n".join(lines).rstrip("\n") + "\n"


def _spelled(action: argparse.Action) -> str:
    """`-v, --verbose`, `--set KEY=VALUE`, `CONFIG...`, `[NAME...]`."""
    word = action.metavar or "|".join(map(str, action.choices or ())) if action.nargs != 0 else ""
    word = {"+": f"{word}...", "*": f"[{word}...]", "?": f"[{word}]", 2: f"{word} {word}"}.get(action.nargs, word)
    return f"{', '.join(action.option_strings)} {word}".strip()


if __name__ == "__main__":
    PAGE.write_text(page())
