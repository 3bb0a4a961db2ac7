"""`--format json` on every command that prints an answer."""

import json

import pytest

from harness.__main__ import COMMANDS, parser
from tests.command_line import command

WITHOUT = {                      # why
    "schema": "prints JSON Schema, and nothing else",
    "report": "writes a page and prints nothing",
    "worker": "runs until it is stopped, and says on stderr what it does",
}


def formats(name: str) -> tuple[str, ...]:
    [group] = [action for action in parser(name)._actions if action.dest == "command"]
    chosen = [action.choices for action in group.choices[name]._actions if "--format" in action.option_strings]
    return tuple(chosen[0]) if chosen else ()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_prints_json_or_says_here_why_it_does_not(name):
    assert ("json" in formats(name)) != (name in WITHOUT)


@pytest.mark.parametrize("arguments, keys", [
    (("explain", "tdh_mem_range_block"), {"call", "about", "module", "source", "locks", "rows"}),
    (("policies", "--guests"), {"guest", "meaning", "busy_4k", "source"}),
    (("configs", "litmus/classic/SB"), {"name", "question"}),
    (("contention", "--resource", "SEPT_TREE", "--pairs"), {"a", "b", "resource", "a_mode", "b_mode"}),
    (("explore", "configs/explore/accept_block.toml", "--module", "1.5.05"), {"name", "outcomes", "invariants", "failures", "states_count"}),
    (("explore", "configs/litmus/classic/SB.litmus"), {"name", "states", "observation", "unexpected"}),
])
def test_what_is_printed_is_one_document(capsys, arguments, keys):
    code, out, _ = command(capsys, *arguments, "--format", "json")
    found = json.loads(out)
    [first, *_] = found if isinstance(found, list) else [found]
    assert code == 0 and keys <= first.keys(), first.keys()


SHORT = ("--set", "engine=simulate", "--set", "duration_s=0.0002", "--set", "warmup_s=0")


@pytest.mark.parametrize("arguments, documents", [
    (("run", "kick_vcpus", *SHORT), 1), (("run", "kick_vcpus", "retry16", *SHORT), 2), (("run", "kick_vcpus", *SHORT, "--repeats", "2"), 2),
    (("sweep", "scale/policies", "--policies", "kick_vcpus", "--set", "sweep.td.vcpus=[2, 4]", "--set", "repeats=1", *SHORT), 2)])
def test_several_runs_are_one_document_too(capsys, tmp_path, arguments, documents):
    code, out, _ = command(capsys, *arguments, "--out", str(tmp_path), "--format", "json")
    found = json.loads(out)
    assert code == 0 and (len(found) == documents if isinstance(found, list) else documents == 1)


def test_what_was_there_already_is_in_the_document(capsys, tmp_path):
    asked = ("run", "kick_vcpus", *SHORT, "--out", str(tmp_path), "--format", "json", "--repeats")
    command(capsys, *asked, "1")
    _, out, _ = command(capsys, *asked, "2", "--resume")
    assert [result["seed"] for result in json.loads(out)] == [1, 2]


def test_a_search_as_json_has_each_outcome_with_answers_words_and_grade(capsys):
    _, out, _ = command(capsys, "explore", "configs/explore/accept_block.toml", "--module", "1.5.05", "--format", "json")
    [found] = json.loads(out)
    assert found["complete"] and len(found["outcomes"]) == 6
    assert {outcome["grade"] for outcome in found["outcomes"]} == {"acceptable", "interesting"}
    assert all(set(outcome["answers"]) == {"vcpu0", "host0"} for outcome in found["outcomes"])


def test_a_search_has_no_csv(capsys):
    code, _, err = command(capsys, "explore", "configs/explore/accept_block.toml", "--format", "csv")
    assert code == 2 and err.count("\n") == 1 and "allowed: table, json" in err
