"""Calls of a litmus test that never succeed: listed with who makes them, where, and with all that they answer."""

import json

import pytest

from harness.engines.explore import search
from harness.engines.replay.steps import execute
from harness.experiment import litmus
from harness.experiment.litmus_refused import Refused, refused
from harness.experiment.schedule import Schedule
from tests.command_line import ROOT, command

BLOCK = "C t\n{ %s }\nP0()\n{\n\tu64 err;\n\n\terr = tdh_mem_range_block(td, 0x3000, 0, NULL, NULL);\n}\nforall (true)\n"
ADDS = ("C t\n{ module = 1.5.24; dynamic_pamt = true; %s }\nstatic int add(void)\n{\n\treturn !!tdh_phymem_pamt_add(0x3000);\n}\n"
        "P0() { int a = add(); }\nP1() { int a = add(); u64 b = tdh_phymem_pamt_add(0x3000); }\nforall (true)\n")
FREE = "TDX_EPT_ENTRY_STATE_INCORRECT|RCX"


def never(text: str) -> list[Refused]:
    test = litmus.parse(text, "t")
    return refused(test, search.run(test).answered)


def test_a_call_that_never_succeeds_is_listed_with_its_process_its_line_and_its_answers():
    assert never(BLOCK % "page 3 = MAPPED;") == []
    assert never(BLOCK % "page 3 = FREE;") == [Refused("tdh_mem_range_block", ("P0",), (7,), (FREE,))]


def test_a_place_where_it_never_succeeds_is_listed_beside_one_where_it_does():
    """The names of calls were all that was looked at."""
    both = BLOCK.replace("(td, 0x3000", "(td, 0x4000").replace("}\nforall", "\tif (!err)\n\t\terr = tdh_mem_range_block(td, 0x3000, 0, NULL, NULL);\n}\nforall")
    assert never(both % "page 3 = FREE; page 4 = MAPPED;") == [Refused("tdh_mem_range_block", ("P0",), (9,), (FREE,))]
    assert never(both % "page 3 = MAPPED; page 4 = MAPPED;") == []
    assert never(both % "page 3 = MAPPED; page 4 = FREE;") == [Refused("tdh_mem_range_block", ("P0",), (7,), (FREE,))]


def test_that_kvm_s_own_flow_succeeds_does_not_hide_a_call_of_the_file_that_never_does():
    text = "C t\n{ page 3 = FREE; page 4 = MAPPED; }\nP0() { fault(0x3000); }\nP1() { u64 e = tdh_mem_page_aug(td, %s, 0, page); }\nforall (true)\n"
    [found] = never(text % "0x4000")
    assert found[:3] == ("tdh_mem_page_aug", ("P1",), (4,)) and never(text % "0x5000") == []


def test_a_note_of_an_answer_is_no_call_of_a_trace():
    test = litmus.parse(ADDS % "pairs = false;", "t")
    found = search.run(test)
    accesses, _ = execute(Schedule(test, found.endings[0].turns))
    begun, ended = (sum(map(bool, each)) for each in ([access.begins for access in accesses], [access.status for access in accesses]))
    assert begun == ended == 3


def test_a_page_that_is_not_named_is_free_whether_others_are_or_not():
    """Without any there was no page table, and each call failed in its walk."""
    assert never(BLOCK % "") == never(BLOCK % "page 4 = MAPPED;") == never(BLOCK % "page 3 = FREE;")


def test_a_helper_is_of_every_process_that_calls_it_and_busy_stands_behind():
    """Without `pairs = false` the pair is there already."""
    assert never(ADDS % "pairs = false;") == []
    assert never(ADDS % "") == [Refused("tdh_phymem_pamt_add", ("P0", "P1"), (5, 8), ("TDX_HPA_RANGE_NOT_FREE|RCX", "TDX_OPERAND_BUSY|RCX"))]


def test_what_is_made_by_a_macro_of_the_kernel_is_a_call_and_what_is_never_made_is_not_listed():
    made = "tdh_do_no_vcpus(tdh_mem_range_block, kvm, td, 0x3000, 0, NULL, NULL)"
    text = "C t\n{ }\nP0() { int r = 0; u64 err; if (%s) err = %s; }\nforall (true)\n"
    assert [each.call for each in never(text % ("!r", made))] == ["tdh_mem_range_block"]
    assert never(text % ("r", made)) == []


@pytest.mark.parametrize("name, answers", [
    ("split-ignored", "P0's tdg_mem_page_accept (line 18): EXIT_REASON_EPT_VIOLATION"),
    ("cache-wb-resumed", "P0's tdh_phymem_cache_wb (line 20): TDX_INTERRUPTED_RESUMABLE"), ("mirror-race", "")])
def test_explore_says_it_in_a_line_of_its_own(capsys, tmp_path, name, answers):
    path = str(ROOT / f"configs/litmus/kvm/{name}.litmus")
    _, out, _ = command(capsys, "explore", path, "--out", str(tmp_path))
    assert f"\nNever succeeds: {answers}\nInvariants" in out if answers else "Never succeeds" not in out
    _, out, _ = command(capsys, "explore", path, "--out", str(tmp_path), "--random", "5")
    assert "Never succeeds" not in out               # some runs cannot tell
    _, out, _ = command(capsys, "explore", path, "--out", str(tmp_path), "--format", "json")
    assert [each["call"] for each in json.loads(out)[0]["never_succeeds"]] == ([answers.split()[1]] if answers else [])
