"""What calls take that run freely: the fit finds what is there."""

import numpy as np
import pytest

from harness.commands import free_calls

BARE, MOVED, ZEROED = np.array([180.0, 130, 210, 240, 140, 300]), np.array([10.0, 2, 8, 5, 2, 1]), np.array([0, 1, 0, 0, 0, 0])


@pytest.mark.parametrize("share, transfer, page", [(1.4, 15.0, 100), (1.0, 50.0, 0), (0.8, 0.0, 30)])
def test_what_is_there_is_found(share, transfer, page):
    found = free_calls.fit(share * BARE + transfer * MOVED + page * ZEROED, BARE, MOVED, ZEROED)
    assert (found.rows_share, found.transfer_ns, found.page_ns) == pytest.approx((share, transfer, page), abs=1e-9)
    assert found.misfit_share < 1e-9


@pytest.mark.parametrize("page", [-40, 60])
def test_nothing_costs_less_than_nothing(page):
    found = free_calls.fit(1.5 * BARE - 3 * MOVED + page * ZEROED, BARE, MOVED, ZEROED)
    assert found.transfer_ns == 0 and 1 < found.rows_share < 1.5 and (found.page_ns > 0) == (page > 0)


def test_without_calls_rows_cost_what_they_did_and_a_line_a_hand_over(monkeypatch):
    for engine in (free_calls.coordinator, free_calls.simulation):
        monkeypatch.setattr(engine, "run", lambda plan: None)
    monkeypatch.setattr(free_calls, "medians", lambda measured: {"tdh_mem_track": 200.0})
    monkeypatch.setattr(free_calls, "_plan", lambda **keys: None)
    assert free_calls.measure({"noticed_ns": 70.0, "page_zero_ns": 30.0}) == free_calls.Found(1.0, 70.0, 0.0, 1.0)
