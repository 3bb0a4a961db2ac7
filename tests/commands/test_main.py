"""The table of commands: help, and what a mistake in the arguments gets."""

import subprocess
import sys

import pytest

from harness.__main__ import COMMANDS, main
from tests.command_line import ROOT, harness, inside
from tests.tries import LIMIT_S


def test_alone_it_prints_help_and_so_does_help():
    alone, help_ = harness(), harness("--help")
    assert alone.returncode == help_.returncode == 0
    assert alone.stdout == help_.stdout and all(f"\n    {name} " in alone.stdout or f"\n    {name}\n" in alone.stdout
                                                for name in COMMANDS)
    assert inside("--help", "run").stdout.count("\n    ") >= len(COMMANDS)          # help of all, whatever stands behind it


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_its_arguments_are(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0 and f"usage: python -m harness {name}" in capsys.readouterr().out


def test_help_is_quick():
    """Counted in imports, which do not depend on how busy the machine is (make bench has the seconds)."""
    timed = subprocess.run([sys.executable, "-X", "importtime", "-m", "harness", "--help"], cwd=ROOT,
                           capture_output=True, text=True, timeout=LIMIT_S)
    assert timed.returncode == 0
    modules = [line.rpartition("|")[2].strip() for line in timed.stderr.splitlines()]
    assert not {"numba", "numpy", "pydantic", "llvmlite"} & set(modules)


@pytest.mark.parametrize("arguments, says", [
    (["rum"], "'rum': did you mean run? must be run, explore, "),
    (["xyzzy"], "'xyzzy': must be run, explore, "),
    (["run", "kick_vcpus", "--formt", "json"], "--formt: not an argument of this command; did you mean --format?"),
    (["run", "kick_vcpus", "--policy=retry16"], "--policy=retry16: not an argument of this command; did you mean --policies?"),
    (["compare", "x", "--across", "engin"], "'engin': did you mean engine? must be engine, "),
    (["schema", "config", "more"], "more: not an argument of this command"),
    (["run"], "CONFIG"),
    (["run", "configs/nowhere.toml"], "no such file"),
    (["run", "configs/kick_vcpus.toml", "--set", "td.vcpus=0"], "td.vcpus = 0: must be at least 1"),
    (["run", "configs/kick_vcpus.toml", "--set", "policy=kick_vcpu"], "did you mean kick_vcpus?"),
    (["run", "configs/kick_vcpus.toml", "--repeats", "0"], "--repeats 0: must be at least 1"),
    (["run", "configs/kick_vcpus.toml", "--repeats", "many"], "--repeats"),
    (["run", "configs/kick_vcpus.toml", "--out", "Makefile"], "is a file; must be a folder"),
    (["run", "configs/kick_vcpus.toml", "--format", "xml"], "xml"),
    (["run", "configs/kick_vcpus.toml", "--set", "td.memory_mib=1048576"], "must be at most"),
    (["compare", "nowhere.json"], "no such file"),
    (["explain", "tdh_mem_range_blok"], "did you mean tdh_mem_range_block?"),
])
def test_a_mistake_is_one_line_on_stderr_with_exit_code_2_and_writes_nothing(arguments, says, tmp_path):
    if arguments[0] == "run" and "--out" not in arguments:
        arguments = [*arguments, "--out", tmp_path / "new"]
    result = inside(*arguments)
    assert result.returncode == 2
    assert says in result.stderr and result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr and not result.stdout
    assert not (tmp_path / "new").exists()
