"""Mutants that have survived once are killed: each is made in a fork, and the tests about its call are asked."""

import re

import pytest

from tests.mutants import calls, equivalents, rows
from tests.mutants.running import KILLED, SAME, SURVIVED, in_forks

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
    chosen = [mutant for mutant in rows.mutants(("1.5.24",)) if "tdh_mem_track: 0" in mutant.name][:2]
    assert {each.verdict for each in in_forks(chosen, calls.judge, jobs=1, limit_s=120)} <= {SURVIVED, SAME}
