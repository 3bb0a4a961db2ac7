"""Mutants that have survived once are killed: each is made in a fork, and the tests about its call are asked."""

import collections
import os
import re
import subprocess
import time

import pytest

from kernels.ops import Op
from kernels.words import ENTRY_STATES
from tests import stage
from tests.mutants import calls, equivalents, rows, sources, steps
from tests.mutants.running import KILLED, SAME, SURVIVED, UNIMPORTED, UNMADE, in_forks
from tests.mutants.values import Values

ONCE_SURVIVED = (
    r"1.5.24 tdh_vp_enter: .* behind ",                              # counts itself in behind the epoch's lock
    r"1.5.24 tdh_mem_range_block: .*Become.* behind ",               # the epoch before the entry
    r"1.5.24 tdh_mem_page_remove: .*Implicit.* behind Tracked",      # the page's lock behind the tracking check
    r"1.5.24 tdh_mem_rd: given back ",
    r"1.5.24 tdh_mem_sept_remove: .* given back after ",
)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ONCE_SURVIVED)
def test_a_mutant_that_has_survived_once_is_killed(pattern):
    chosen = [mutant for mutant in rows.mutants(("1.5.24",)) if re.search(pattern, mutant.name)]
    assert chosen
    calls.warm_up()
    verdicts = [each for each in in_forks(chosen, calls.judge, jobs=1, limit_s=120) if not equivalents.reason(each.name)]
    assert [each.name for each in verdicts if each.verdict not in (KILLED, SAME)] == []
    assert any(each.verdict == KILLED for each in verdicts)


def test_a_mutant_that_nobody_is_asked_about_survives(monkeypatch):
    """The other way round: with no test to ask, it is not called killed."""
    monkeypatch.setattr(calls.judges, "about", lambda release, call: "")
    monkeypatch.setattr(calls.judges, "of_the_module", lambda release, call: "")
    monkeypatch.setattr(calls.judges, "of_all", lambda release: "")
    chosen = [mutant for mutant in rows.mutants(("1.5.24",)) if "tdh_mem_track: 0" in mutant.name][:1]
    assert {each.verdict for each in in_forks(chosen, calls.judge, jobs=1, limit_s=120)} <= {SURVIVED, SAME}


def test_a_program_with_other_rows_at_the_place_of_a_mutant_stays_as_it_is(monkeypatch):
    """No test is said to have killed what was not made: with checks of ownership each lock is more rows."""
    monkeypatch.setattr(steps, "HELD", {"tdh_mem_sept_add"})
    chosen = next(each for each in steps.mutants(("1.5.05",)) if each.what == "mask with a higher bit")
    monkeypatch.setattr(stage, "ONLY", ("tdh_mem_sept_add",))
    programs = []
    for edit in (None, lambda listing, _release: chosen.edit(listing)):
        monkeypatch.setattr(stage, "EDIT", edit)
        stage.stage_program.cache_clear()
        programs += [stage.Stage(release="1.5.05", owners=owners).program.rows.tobytes() for owners in (False, True)]
    stage.stage_program.cache_clear()
    assert programs[0] != programs[2] and programs[1] == programs[3]


def test_what_no_program_comes_of_is_not_called_killed(monkeypatch):
    monkeypatch.setattr(calls, "make", lambda mutant: 1 // 0)
    chosen = next(mutant for mutant in rows.mutants(("1.5.24",)) if "tdh_mem_track: 0" in mutant.name)
    assert [each.verdict for each in in_forks([chosen], calls.judge, jobs=1, limit_s=120)] == [UNMADE]


# --- which mutants there are ---

def test_each_bit_of_a_set_that_can_be_asked_has_one_mutant(monkeypatch):
    """Its ends, those between and those beyond: whether one has was once left to the precedence of > before &."""
    monkeypatch.setattr(steps, "HELD", {"tdh_mem_range_block"})
    made = list(steps.mutants(("1.5.24",)))
    listing = steps.listing_of("1.5.24", "tdh_mem_range_block")
    values = Values(listing.program(), "1.5.24", "tdh_mem_range_block")
    places = {label: place for place, row in enumerate(listing.rows) for label in row.labels}
    alike = collections.defaultdict(list)                # rows that are the same at two levels are changed at one
    for place, row in enumerate(listing.rows):
        if row.op in (Op.IN, Op.READ_ENTRY) and row.mask > 0 and row.call == "tdh_mem_range_block":
            alike[row.text, row.mask].append(place)
    assert len(alike) > 3
    for (text, _), rows_alike in alike.items():
        changes = [each for each in made if each.label in places and each.what.startswith("mask")
                   and places[each.label] + each.place in rows_alike]
        for bit in range(len(ENTRY_STATES)):
            of_bit = [each for each in changes if steps.changed_bit(listing.rows[rows_alike[0]], each.what) == bit]
            assert len({each.what for each in of_bit}) == 1, (text, bit)
            asked = any(values.asked(place) >> bit & 1 for place in rows_alike)
            assert any(not each.unseen for each in of_bit) == asked, (text, bit)


@pytest.mark.parametrize("call", ["tdh_mem_page_relocate", "tdh_mem_page_remove"])
def test_no_call_is_asked_about_a_value_that_is_said_to_be_impossible(call, monkeypatch):
    monkeypatch.setattr(stage, "ONLY", (call,))
    stage.stage_program.cache_clear()
    asked = {Op.IN: lambda actor, row: int(actor.registers[row.source]), Op.READ_ENTRY: lambda actor, row: int(actor.registers[steps.R.STATE]),
             Op.LOAD_IN: lambda actor, row: actor.stage.memory.word(int(actor.registers[row.base]) + row.offset, row.width)}
    values, met = None, 0
    for state in (state.name for state in ENTRY_STATES if state.leaf):
        for op_state in range(1, 11):
            setting = stage.Stage(release="1.5.24")
            values = values or Values(setting.program, "1.5.24", call)
            setting.map_page(3, state)
            setting.set_word("op_state", op_state, width=64)
            actor = setting.actor("host0").begin(call, 3)
            while actor.row.op != Op.CALL_END:
                row, place = actor.row, int(actor.registers[steps.R.PC])
                if row.op != Op.READ_ENTRY and row.op in asked:
                    met += 1
                    assert values.asked(place) >> asked[row.op](actor, row) & 1, (row.text, state, op_state)
                actor.step()
                if row.op == Op.READ_ENTRY:
                    assert values.asked(place) >> asked[row.op](actor, row) & 1, (row.text, state)
    stage.stage_program.cache_clear()
    assert met > 200


@pytest.mark.slow
def test_each_entry_of_equivalents_is_about_a_mutant_that_is_tried():
    """One about none is of a row that has gone, or says what is derived from the rows by now."""
    releases = ("1.5.05", "1.5.24", "1.5.34")
    made = [*rows.mutants(releases), *(each for each in steps.mutants(releases) if not each.unseen), *sources.mutants()]
    names = "\n".join(each.name for each in made)
    assert [pattern for pattern, _ in equivalents.EQUIVALENT if not re.search(pattern, names)] == []


# --- how they are run ---

def _gone(pid: int) -> bool:
    """Whether a process is over, within a second."""
    until = time.monotonic() + 1
    while time.monotonic() < until:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def _starts_one_that_never_ends(tmp_path):
    class Endless:
        name = "endless"

    def judge(_mutant):
        started = subprocess.Popen(["sleep", "1000"])
        (tmp_path / "pid.part").write_text(str(started.pid))
        os.rename(tmp_path / "pid.part", tmp_path / "pid")
        started.wait()
        return SURVIVED, ""
    return Endless(), judge


def test_a_mutant_whose_time_is_up_is_killed_with_all_that_it_has_started(tmp_path):
    mutant, judge = _starts_one_that_never_ends(tmp_path)
    verdict, = in_forks([mutant], judge, jobs=1, limit_s=0.3)
    assert verdict == ("endless", KILLED, "not done in 0.3 s")
    assert _gone(int((tmp_path / "pid").read_text()))


def test_ctrl_c_leaves_no_mutant_running(tmp_path):
    mutant, judge = _starts_one_that_never_ends(tmp_path)

    class Quick:
        name = "quick"

    def first(each):
        while isinstance(each, Quick) and not (tmp_path / "pid").exists():
            time.sleep(0.01)
        return (SURVIVED, "") if isinstance(each, Quick) else judge(each)

    verdicts = in_forks([mutant, Quick()], first, jobs=2, limit_s=60)
    assert next(verdicts).name == "quick"
    with pytest.raises(KeyboardInterrupt):
        verdicts.throw(KeyboardInterrupt)
    assert _gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("code, said, verdict", [
    (0, "", SURVIVED), (1, "FAILED tests/a.py::test_b", KILLED), (-11, "", KILLED),
    (2, "ERROR tests/a.py", UNIMPORTED), (4, "ImportError while loading conftest", UNIMPORTED), (3, "INTERNALERROR", UNMADE), (5, "", UNMADE),
])
def test_what_pytest_answers_is_no_more_than_it_says(code, said, verdict, monkeypatch):
    """A file that cannot be imported has been seen by no test."""
    mutant = next(sources.mutants())
    monkeypatch.setattr(sources, "ask", lambda folder, *arguments: (code, said))
    monkeypatch.setattr(sources, "copy", lambda folder: _only(folder, mutant.target.file))
    assert sources.judge(mutant)[0] == verdict


def _only(folder, file):
    (folder / file).parent.mkdir(parents=True)
    (folder / file).write_text((sources.ROOT / file).read_text())
    return folder


def test_no_mutant_is_tried_of_a_tree_that_itself_cannot_be_collected(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "copy", lambda folder: folder)
    for code, said, refused in ((0, "ok", ""), (4, "no such file: x", "no such file: x"), (2, "x\n1 error", "1 error")):
        monkeypatch.setattr(sources, "ask", lambda folder, *arguments, code=code, said=said: (code, said))
        assert sources.refused(tmp_path, sources.TARGETS).endswith(refused) and bool(sources.refused(tmp_path, sources.TARGETS)) == bool(refused)
