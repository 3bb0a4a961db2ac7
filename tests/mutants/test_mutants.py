"""Mutants that have survived once are killed: each is made in a fork, and the tests about its call are asked."""

import re

import pytest

from tests import stage
from tests.mutants import calls, equivalents, rows, steps
from tests.mutants.running import KILLED, SAME, SURVIVED, UNMADE, in_forks

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
    chosen = next(each for each in steps.mutants(("1.5.05",)) if each.call == "tdh_mem_sept_add" and each.what == "mask with a higher bit")
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
