"""Numbers and tables as a person reads them."""

import pytest

from harness.reports import text


@pytest.mark.parametrize("part, whole, shown", [
    (0, 0, "-"), (None, None, "-"), (0, 3, "<100"), (0, 1000, "<0.3"), (0, 208_366, "<0.0014"),
    (5, 1000, "0.5"),
])
def test_none_of_n_is_shown_with_its_upper_bound(part, whole, shown):
    """Rule of three: none seen in n says, with 95 % confidence, that the share is at most 3/n."""
    assert text.share_of(part, whole) == shown


@pytest.mark.parametrize("value, said", [
    (None, "-"), (0, "0"), (0.0, "0"), (7, "7"), (7.0, "7"), (0.004, "<.01"), (-0.004, "<.01"), (0.0123, "0.0123"), (1.2345, "1.23"),
    (99.96, "100"), (100.4, "100"), (100.5001, "101"), (123.4, "123"), (1234.5678, "1235"), (0.01, "0.01"), (-5.25, "-5.25"),
    (999_999, "999999"), (1_000_000, "1M"), (1_234_567, "1.23M"), (999_999.6, "1M"), (999_400_000, "999M"), (999_900_000, "1G"), (1e9, "1G"), (1.5e9, "1.5G"), (2.5e9, "2.5G"),
])
def test_a_number_takes_six_characters(value, said):
    assert text.number(value) == said and len(said) <= 6


@pytest.mark.parametrize("whole, times, said", [(3, 100, "<100"), (4, 100, "<75"), (30, 100, "<10"), (31, 100, "<9.7"),
                                                (301, 100, "<1"), (1000, 1e6, "<3000"), (1, 1, "<1"), (1, 1e6, "<1M"),
                                                (0, 100, "<100"), (3_000_000, 100, "<0.0001")])
def test_a_bound_is_rounded_to_two_digits(whole, times, said):
    assert text.none_seen(whole, times) == said


@pytest.mark.parametrize("value, said", [(3.0, "+3.0 %"), (-19.94, "-19.9 %"), (900, "10 times"), (1150, "12.5 times")])
def test_a_change_of_ten_times_is_a_ratio(value, said):
    assert text.signed_percent(value) == said


def test_a_line_is_broken_at_spaces_and_the_rest_is_indented():
    assert text.wrap("aa bb cc", 5) == "aa bb\n    cc"
    assert text.wrap("a" * 200) == "a" * 200 and text.wrap("") == ""
    assert text.wrap("  aa bb", 4) == "  aa\n    bb"


def test_headings_become_one_line_where_they_are_keys():
    assert text.one_line("BUSY,\n% of\ntries") == "BUSY, % of tries"
    rows = [{"call": "a", "BUSY\n%": "1"}]
    assert text.formatted(rows, "csv").splitlines()[0] == "call,BUSY %"
    assert '"BUSY %": "1"' in text.table_of(rows, "json")
    assert text.formatted([], "table") == "none"


def test_words_stand_left_and_numbers_right_and_leading_blanks_stay():
    lines = text.formatted([{"a": "  x", "b": "1", "c": "y"}, {"a": "long", "b": "100", "c": "zz"}], "table", words=(0, -1)).splitlines()
    assert lines[2:] == ["  x     1  y", "long  100  zz"]


def test_shares_are_in_percent_times_in_microseconds_and_nothing_is_a_dash():
    assert (text.percent(0.125), text.percent(0), text.percent(None)) == ("12.5", "0", "-")
    assert (text.microseconds(2500), text.microseconds(0), text.microseconds(None)) == ("2.5", "0", "-")
    assert [text.count(number, "vCPU") for number in (0, 1, 2)] == ["0 vCPUs", "1 vCPU", "2 vCPUs"]


def test_github_has_a_pipe_table_with_headings_of_one_line():
    said = text.formatted([{"a\nb": "x", "c\nd": "1"}], "github").splitlines()
    assert said[0].split() == ["|", "a", "b", "|", "c", "d", "|"] and set(said[1]) <= set("|-: ")


def test_no_cell_of_a_csv_begins_a_formula_or_forges_a_line():
    cells = ["=HYPERLINK(1)", "+cmd", "-1+cmd|x", "@sum", "\tx", "a\x1b[31m", "-3.2 %", "+1.5 %", "-", "=", "-EBUSY", "1", -5]
    said = text.formatted([{"=head": cell} for cell in cells], "csv").splitlines()
    assert said == ["'=head", "'=HYPERLINK(1)", "'+cmd", "'-1+cmd|x", "'@sum", "'\\tx", "a\\x1b[31m", "-3.2 %", "+1.5 %", "-", "=", "-EBUSY", "1", "-5"]


# --- the width of a terminal -------------------------------------------------------------------

ROWS = [{"policy": "kick_on_busy", **{f"column {number}": "123456" for number in range(8)}, "what it means": "one word after the other " * 4}]


@pytest.mark.parametrize("columns", [60, 80, 100, 250])
def test_a_table_fits_the_terminal_and_keeps_every_word(monkeypatch, columns):
    monkeypatch.setattr(text, "width", lambda: columns)
    table = text.formatted(ROWS, "table", words=(0, -1))
    assert max(map(len, table.splitlines())) <= columns
    assert table.split().count("after") == 4 and table.split().count("123456") == 8
    assert table.count("kick_on_busy") == (1 if columns > 100 else 2 if columns > 60 else 3)


def test_without_a_terminal_there_are_100_columns_and_with_one_its_own(monkeypatch):
    class Terminal:
        def isatty(self):
            return True
    monkeypatch.setenv("COLUMNS", "83")
    assert text.width() == 100
    monkeypatch.setattr(text.printing.sys, "stdout", Terminal())
    assert text.width() == 83 and max(map(len, text.wrap("word " * 60).splitlines())) <= 83
    monkeypatch.setenv("COLUMNS", "300")
    assert text.width() == 300 and max(map(len, text.wrap("word " * 60).splitlines())) <= 100
    monkeypatch.setenv("COLUMNS", "5")
    assert text.width() == text.NARROWEST
