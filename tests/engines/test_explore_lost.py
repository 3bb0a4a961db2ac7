"""A move or a state that a search has made and that is not in its tables when it is judged: a fault of the program, exit code 70."""

import pytest

from harness.engines.explore.tables import Search
from harness.errors import UNEXPECTED
from tests.command_line import ROOT, command


@pytest.mark.parametrize("of, number", [(lambda tables: tables.moves, 2), (lambda tables: tables.states.table, 1)])
def test_a_move_or_a_state_that_is_lost_ends_the_program(capsys, tmp_path, monkeypatch, of, number):
    """The first move behind those of its two actors to where the search begins, and the first state it leads to: each way goes there."""
    search = Search.search

    def loses_one(self, *given):
        ending = search(self, *given)
        of(self.tables).rows[number, 0] ^= 1 << 20           # as if it were another one's
        return ending
    monkeypatch.setattr(Search, "search", loses_one)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, out, err = command(capsys, "explore", ROOT / "configs/explore/fault_zap.toml", "--module", "1.5.24", "--out", tmp_path / "out")
    assert code == UNEXPECTED and out == "" and len(err.splitlines()) == 1
    assert err.startswith("a fault of this program: AssertionError: fault_zap: what a search has made is not in its tables")
    assert "what a search has made is not in its tables" in next(tmp_path.glob("harness-unexpected-*.txt")).read_text()
