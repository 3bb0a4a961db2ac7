"""The rows beside results of the module's own code: a sample in each run, all of them in `make test-slow`."""

import csv
import gzip
from pathlib import Path

import pytest

from tests.conformance.__main__ import COMPARE, main
from tests.conformance.abstractions import ABSTRACTIONS, FREE, SAME, covering
from tests.conformance.interleavings import group
from tests.conformance.reading import CALLS, DPAMT_CALLS, DPAMT_INTERLEAVINGS, LOCK_WORDS, Line, read

FILES = sorted(Path("tests/vectors/module").glob("*.csv.gz"))
EACH_CALL = 80                   # the sample: of the single calls every so many-th,
EACH_SCENARIO = 24               # of the scenarios every so many-th

named = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix(".csv.gz"))


def sampled(path: Path):
    """A part of a file: of single calls at least one line of each call."""
    vectors = read(path)
    if vectors.form in (CALLS, DPAMT_CALLS):
        first = {line["call"]: line for line in reversed(vectors.lines)}
        return vectors._replace(lines=[*first.values(), *vectors.lines[::EACH_CALL]])
    scenarios = list(group(vectors.lines).values())[::EACH_SCENARIO]
    return vectors._replace(lines=[line for lines in scenarios for line in lines])


def differences(vectors) -> list[str]:
    return [each.difference for each in COMPARE[vectors.form](vectors) if each.difference and not each.covered]


@named
def test_a_sample_agrees(path):
    compared = list(COMPARE[(vectors := sampled(path)).form](vectors))
    assert compared
    assert [each.difference for each in compared if each.difference and not each.covered] == []


@pytest.mark.slow
@named
def test_all_agree(path):
    assert differences(read(path)) == []


@pytest.mark.slow
def test_each_abstraction_is_needed():
    covered = {each.covered for path in FILES for vectors in [read(path)] if vectors.form in (CALLS, DPAMT_CALLS)
               for each in COMPARE[vectors.form](vectors)}
    assert covered >= {abstraction.name for abstraction in ABSTRACTIONS}


# --- the command -----------------------------------------------------------------------------

def rows_of(path: Path) -> list[list[str]]:
    return list(csv.reader(gzip.decompress(path.read_bytes()).decode().splitlines()))


def written(path: Path, rows) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return str(path)


def part(name: str, lines: int) -> list[list[str]]:
    """Explanation, columns and the first lines of a file of ours."""
    return rows_of(Path("tests/vectors/module") / f"{name}.csv.gz")[:2 + lines]


def changed(rows, place: int, column: str, value: str):
    """One cell of the last line but `place` changed."""
    rows = [list(row) for row in rows]
    rows[-1 - place][rows[1].index(column)] = value
    return rows


def test_what_agrees_is_0(tmp_path, capsys):
    assert main([written(tmp_path / "calls-1.5.24.csv", part("calls-1.5.24", 5))]) == 0
    assert "release 1.5.24, 5 compared, 0 differ" in capsys.readouterr().out


@pytest.mark.parametrize("column, value, said", [
    ("status", "0x1", "status 0x1"), ("end", "halt", "end halt"), ("after", "tdr.fatal=1", "tdr.fatal 1, here as before"),
    ("call", "tdh_mem_page_agu", "no row of tdh_mem_page_agu"),
])
def test_a_call_that_differs_is_1_with_an_example(tmp_path, capsys, column, value, said):
    rows = changed(part("calls-1.5.24", 5), 0, column, value)
    assert main([written(tmp_path / "calls-1.5.24.csv", rows)]) == 1
    out = capsys.readouterr().out
    assert "5 compared, 1 differ" in out and said in out


def test_a_call_about_no_entry_is_the_same_at_any_level(tmp_path, capsys):
    line = ["tdh_mem_track", "1", "FREE", "0", "0", "tdr.4k=0x1", "0x8000020000000001", "return", "tdr.4k=0x7"]
    assert main([written(tmp_path / "some.csv", [["# of 2.0.16"], list(CALLS), line])]) == 0
    assert "release 2.0.16, 1 compared, 0 differ" in capsys.readouterr().out


def test_what_an_abstraction_covers_is_counted_apart_from_what_agrees(tmp_path, capsys):
    rows = part("calls-1.5.24", 5)
    line = rows[-1][:]
    line[rows[1].index("before")] += ";op_state=0xd"
    line[rows[1].index("status")] = "0x1"
    assert main([written(tmp_path / "calls-1.5.24.csv", [*rows, line])]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[3].split() == ["tdh_mem_range_block", "6", "5", "1", "0"] and "1 x no such op_state" in out


@pytest.mark.parametrize("call, status, before, words, covered", [
    ("tdh_mem_page_promote", "0x0", "", {"children": (SAME, FREE)}, True),
    ("tdh_mem_page_promote", "0x0", "", {"children": (SAME, "0x0")}, False),
    ("tdh_mem_page_promote", "0x0", "", {"children": (SAME, FREE), "entry": ("0x1", "0x2")}, False),
    ("tdh_mem_page_demote", "0x8000020000000001", "", {"entry0": ("0x80000000000004f7@data", SAME)}, True),
    ("tdh_mem_page_demote", "0x8000020000000001", "", {"entry0": ("0x1", "0x2")}, False),
    ("tdh_mem_page_demote", "0x0", "", {"entry0": ("0x80000000000004f7@data", SAME)}, False),
    ("tdh_phymem_page_reclaim", "0xc000060700000000", "data.4k.type=0x4", {"status": ("0xc000060700000000", "0x0")}, True),
    ("tdh_phymem_page_reclaim", "0x0", "data.4k.type=0x4", {"status": ("0x0", "0xc000040000000000")}, False),
    ("tdh_mng_vpflushdone", "0x0", "", {"kot_state": (SAME, "0x2"), "wb": (SAME, "0x1")}, True),
    ("tdh_mng_vpflushdone", "0x0", "", {"kot_state": ("0x3", "0x2")}, False),
])
def test_an_abstraction_covers_what_it_is_about_and_nothing_else(call, status, before, words, covered):
    line = Line("some.csv:3", {"call": call, "status": status, "end": "return", "before": before})
    assert bool(covering("1.5.24", line, words)) == covered


def test_an_entry_that_the_start_does_not_name_is_that_of_the_calls(tmp_path, capsys):
    columns = list(DPAMT_INTERLEAVINGS)
    line = ["1", "block alone", "1.5.24", "tdh_mem_range_block gpa=0x0 level=1", "", "", "R=reg", "0xc0000b0d00000001", "", "",
            "return", "gpa0=0x80e0000000000000 FREE"]
    main([written(tmp_path / "some.csv", [columns, line])])
    assert "release 1.5.24, 1 compared" in capsys.readouterr().out


def test_an_outcome_that_is_missing_or_too_much_differs(tmp_path, capsys):
    rows = part("interleavings-1.5.24", 400)
    place = rows[1].index("scenario")
    first = [row for row in rows[2:] if row[place] == rows[2][place]]
    assert len(first) > 1
    assert main([written(tmp_path / "some.csv", [*rows[:2], *first])]) == 0
    assert main([written(tmp_path / "some.csv", [*rows[:2], *first[1:]])]) == 1
    assert "only here:" in capsys.readouterr().out
    more = list(first[0])
    more[rows[1].index("td_epoch")] = "77"
    assert main([written(tmp_path / "some.csv", [*rows[:2], *first, more])]) == 1
    assert "not here:" in capsys.readouterr().out


def scenario(number: int, release: str):
    """Explanation, columns and the lines of a scenario of interleavings-RELEASE."""
    rows = part(f"interleavings-{release}", 1000)
    place = rows[1].index("scenario")
    known = list(dict.fromkeys(row[place] for row in rows[2:]))
    return [*rows[:2], *(row for row in rows[2:] if row[place] == known[number])]


def test_a_file_may_be_of_several_releases(tmp_path, capsys):
    rows = [*scenario(0, "1.5.05"), *scenario(0, "1.5.34")[2:]]
    assert main([written(tmp_path / "some.csv", rows)]) == 0
    assert "release 1.5.05, 1.5.34, 2 compared, 0 differ" in capsys.readouterr().out
    rows[-1] = [cell.replace("1.5.34", "1.5.35") for cell in rows[-1]]
    assert main([written(tmp_path / "some.csv", rows)]) == 2
    assert f"some.csv:{len(rows)}: release = '1.5.35': did you mean 1.5.34? must be one of" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_keeps_no_other_from_being_compared(tmp_path, capsys):
    good = written(tmp_path / "calls-1.5.24.csv", part("calls-1.5.24", 2))
    assert main([str(tmp_path / "none.csv"), good]) == 2
    both = capsys.readouterr()
    assert "2 compared, 0 differ" in both.out and both.err.count("\n") == 1


def test_the_release_of_single_calls_can_be_said(tmp_path, capsys):
    path = written(tmp_path / "some.csv", part("calls-1.5.24", 2)[1:])
    assert main(["--release", "1.5.24", path]) == 0 and "release 1.5.24" in capsys.readouterr().out
    assert main(["--release", "1.5.7", path]) == 2 and "did you mean 1.5.06?" in capsys.readouterr().err


def test_a_file_that_begins_with_a_byte_order_mark_is_read(tmp_path):
    path = Path(written(tmp_path / "calls-1.5.24.csv", part("calls-1.5.24", 2)))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert main([str(path)]) == 0


LOCKS = [*LOCK_WORDS], ["sharex", "sharex_acquire_shared", "0x1", "BUSY", "0x3", "0"]


@pytest.mark.parametrize("cell, value, code, said", [
    (3, "BUSY", 0, "1 compared, 0 differ"), (3, "SUCCESS", 1, "cas: result SUCCESS, here BUSY; bts: result"),
    (4, "0x1", 1, "word_after 0x1, here 0x3"), (5, "1", 1, "halts 1, here 0"),
    (1, "sharex_take", 2, "operation = 'sharex_take': must be one of"), (2, "0x10000", 2, "does not fit the 16-bit lock word"),
])
def test_lock_words_are_read_too(tmp_path, capsys, cell, value, code, said):
    rows = [list(row) for row in LOCKS]
    rows[1][cell] = value
    assert main([written(tmp_path / "locks.csv", rows)]) == code
    assert said in "".join(capsys.readouterr())


@pytest.mark.parametrize("rows, sentence", [
    ([["a", "b"]], "columns = 'a,b': must be those of"),
    ([], "columns = ''"),
    ([list(CALLS), ["tdh_mem_track"]], "some.csv:2: 1 cells: must be 9"),
    ([list(CALLS)], "neither its name nor its explanation says a release: say --release, one of 1.5.01"),
    ([["# of 1.5.24"], list(CALLS)], "nothing in it could be compared"),
    ([["# of 1.5.07"], list(CALLS)], "release = '1.5.07': did you mean 1.5.06? must be one of"),
    ([["# of 1.5.24"], list(CALLS), ["tdh_mem_page_aug", "x", "FREE", "0", "0", "", "0x0", "return", ""]],
     "must be a number"),
    ([["# of 1.5.24"], list(CALLS), ["tdh_mem_page_aug", "0", "FREE", "0", "0", "op_state", "0x0", "return", ""]],
     "must be NAME=VALUE"),
    ([["# of 1.5.24"], list(CALLS), ["tdh_mem_page_aug", "3", "FREE", "0", "0", "", "0x0", "return", ""]],
     "level = 3: must be from 0 to 2"),
    ([["# of 1.5.24"], list(CALLS), ["tdh_mem_page_aug", "0", "FREE", "2", "0", "", "0x0", "return", ""]],
     "el = '2': must be 0 or 1"),
    ([["# of 1.5.24"], list(CALLS), ["tdh_mem_sept_rd", "2", "FREE", "0", "0", "parent=FREE", "0x0", "return", ""]],
     "before = 'parent=FREE': must be one of"),
    ([["# of 1.5.24"], list(CALLS), ["tdh_mem_page_promote", "1", "NL_MAPPED", "0", "0", "children=mapped,512:EL", "0x0",
                                     "return", ""]], "before = '512:EL': must be INDEX:WHAT, of an index below 512"),
    ([["# of 1.5.24"], list(DPAMT_CALLS), ["tdh_phymem_pamt_add", "range=R", "", "0x0", "return", "", ""]],
     "args = 'rdx=': must be a page such as"),
])
def test_a_file_that_cannot_be_read_is_2_in_one_line(tmp_path, capsys, rows, sentence):
    assert main([written(tmp_path / "some.csv", rows)]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


def test_a_file_that_is_not_there_or_no_text_is_2(tmp_path, capsys):
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("calls.csv", "binary.csv"):
        assert main([str(tmp_path / name)]) == 2
        assert name in capsys.readouterr().err
