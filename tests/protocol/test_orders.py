"""The order of each call's accesses, per release, against the module's (orders.py): in success and on every way out."""

import functools

import pytest

from harness.protocol.releases import RELEASES
from harness.protocol.seamcalls import seamcalls
from tests.by_release import by_release
from tests.protocol.alone import CASE_ANSWERS, Try
from tests.protocol.order_lines import Line
from tests.protocol.orders import DIFFERENCES, NO_LINE, ORDERS, differences_of, within
from tests.ready import levels


# --- every line in every release ---

def lines() -> list:
    """(release, order, level) of every line of every release that the program has."""
    found = []
    for release in RELEASES:
        rows = {row.name: row for row in seamcalls(release)}
        for order in ORDERS:
            call = order.call.partition(",")[0]
            if not within(release.name, order) or call != "td_exit" and call not in rows:
                continue
            for level in (0,) if call == "td_exit" else levels(rows[call]):
                found.append((release.name, order, level))
    return found


LINES = lines()
IDS = [f"{release}-{order.call.replace(', ', ':').replace(' ', '_')}-{level}" for release, order, level in LINES]
every_line = pytest.mark.parametrize("release, order, level", by_release(LINES, IDS))


@functools.cache
def line_of(release, order, level, module=False) -> Line:
    """A line as the row has it today, or as the module has it."""
    return Line(order, release, level, () if module else differences_of(order.call, release))


def test_every_call_of_every_release_has_a_line_for_that_release():
    for release in RELEASES:
        known = [order.call for order in ORDERS if within(release.name, order)]
        assert len(known) == len(set(known)), f"two lines for one call in {release.name}"
        missing = {row.name for row in seamcalls(release)} - set(known)
        without = {name for name in missing if name.startswith(NO_LINE)}
        assert missing == without, f"{release.name}: no line in orders.py for {sorted(missing - without)}"
    every = {row.name for release in RELEASES for row in seamcalls(release)}
    assert all(any(name.startswith(prefix) for name in every) for prefix in NO_LINE)


@every_line
def test_a_call_alone_does_what_its_line_says_in_that_order(release, order, level):
    tried = Try(release, order.call, level)
    accesses, answer = tried.run()
    assert answer == CASE_ANSWERS.get(tried.case, "TDX_SUCCESS")
    assert not tried.differences(line_of(release, order, level).success(), accesses)


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda each: f"{each.calls[0]}:{each.module.strip()}")
def test_a_difference_that_has_been_mended_is_deleted(difference):
    """Each is seen in every release that it is said of: without it the line is not what the row does."""
    seen = 0
    for release, order, level in LINES:
        known = differences_of(order.call, release)
        if difference not in known:
            continue
        without = Line(order, release, level, [each for each in known if each is not difference])
        if without.success() == line_of(release, order, level).success():
            continue
        tried = Try(release, order.call, level)
        seen += 1
        assert tried.differences(without.success(), tried.run()[0]), f"mended in {release}: delete this difference"
    assert seen, "it is said of no release that the program has"

