"""The completions under completions/ are of the parser as it is, and complete what they should."""

import shutil
import subprocess

import pytest

from tests.docs.completions import FILES, FOLDER, completion


@pytest.mark.parametrize("shell", FILES)
def test_they_are_as_the_parser_is_now(shell):
    assert (FOLDER / FILES[shell]).read_text() == completion(shell), "make docs"


def completed(words: list[str]) -> set[str]:
    """What bash offers behind these words."""
    script = (f"source {FOLDER / FILES['bash']}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1};"
              " $(complete -p sept-harness | sed 's/.*-F \\([^ ]*\\) .*/\\1/'); printf '%s\\n' \"${COMPREPLY[@]}\"")
    return set(subprocess.run(["bash", "-c", script], capture_output=True, text=True).stdout.split())


def test_bash_completes_commands_and_options():
    if not shutil.which("bash"):
        return
    assert {"run", "explore", "schema"} <= completed(["sept-harness", "''"])
    assert completed(["sept-harness", "comp"]) == {"compare"}
    assert {"--repeats", "--runs"} <= completed(["sept-harness", "run", "--r"])
    assert completed(["sept-harness", "explore", "--memory-model", "t"]) == {"tso"}


def test_zsh_completes_each_of_several_arguments():
    """From the second on too: zsh's _arguments wants such a spec to begin with a star."""
    text = (FOLDER / FILES["zsh"]).read_text()
    assert '"*:a TOML file, a folder' in text and '"(*)' not in text
