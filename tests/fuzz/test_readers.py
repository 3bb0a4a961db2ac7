"""Whatever a file, an argument or a line of standard input holds: it is read, or refused in one line."""

import json
import os
from random import Random

import pytest
from hypothesis import given, settings, strategies

from harness.errors import ResultError, UsageError
from harness.results import history
from tests.fuzz.damage import CONTROL
from tests.fuzz.readers import NIGHT, READERS, badly_met, well_said

OF_FILES = [name for name, reader in READERS.items() if reader.ending]
SEEDS = strategies.integers(0, 1 << 40)


def holds(tmp_path, name, seed):
    reader = READERS[name]
    path = tmp_path / f"input.{reader.ending}" if reader.ending else None
    assert not badly_met(reader, reader.make(Random(seed)), path)


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_input_is_read_or_refused_in_one_line(tmp_path_factory, name):
    @settings(max_examples=40)
    @given(SEEDS)
    def check(seed):
        holds(folder, name, seed)
    folder = tmp_path_factory.mktemp("fuzz")
    check()


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_thousands_of_damaged_inputs_are_read_or_refused_in_one_line(tmp_path_factory, name):
    @settings(max_examples=3_000)
    @given(SEEDS)
    def check(seed):
        holds(folder, name, seed)
    folder = tmp_path_factory.mktemp("fuzz")
    check()


def refused(name: str, path) -> str:
    """What a reader says of a file that is no text of the right kind."""
    assert not badly_met(READERS[name], None, path)
    with pytest.raises(UsageError) as caught:
        READERS[name].read(str(path))
    return str(caught.value)


@pytest.mark.parametrize("name", OF_FILES)
def test_what_is_no_file_is_not_waited_for_and_said_by_its_kind(tmp_path, name):
    path = tmp_path / f"input.{READERS[name].ending}"
    os.mkfifo(path)
    assert "is a FIFO; must be a file" in refused(name, path)
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "is a device; must be a file" in refused(name, path)
    path.unlink()
    path.symlink_to(path.name)
    assert "Too many levels of symbolic links" in refused(name, path)
    path.unlink()
    path.mkdir()
    assert ("no such file" if name == "result" else "is a folder; must be a file") in refused(name, path)


@pytest.mark.parametrize("name", [name for name in OF_FILES if name != "trace"])       # that is read line by line
def test_a_file_of_a_terabyte_is_refused_before_it_is_read(tmp_path, name):
    path = tmp_path / f"input.{READERS[name].ending}"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    assert "MiB; must be at most that" in refused(name, path)


def test_a_schedule_that_is_too_long_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "input.json"
    path.write_bytes(b" " * (5 << 20))
    assert "input.json: is longer than 4 MiB; must be at most that" in refused("schedule", path)


@pytest.mark.parametrize("name", OF_FILES)
def test_a_path_that_is_too_long_is_shortened_in_its_line(tmp_path, name):
    path = tmp_path / ("x" * 3_000) / f"input.{READERS[name].ending}"
    said = refused(name, path)
    assert "File name too long" in said and len(said) <= 300


@pytest.mark.parametrize("name, text, says", [
    ("config", "policy = 'kick_on_busy'\ntd.vcpus = " + "9" * 5_000, "td.vcpus = 99999999999999999999...: must be a number of at most 40"),
    ("config", "policy = 'kick_on_busy'\nduration_s = inf", "duration_s = inf: must be a finite number"),
    ("config", "policy = 'kick_on_busy'\nduration_s = nan", "duration_s = nan: must be a finite number"),
    ("config", "policy = " + "[" * 1_500 + "]" * 1_500, "nested too deep; must be at most 50 levels"),
    ("config", "policy = " + "[" * 60 + "]" * 60, "nested too deep; must be at most 50 levels"),
    ("config", "policy = {base = 'kick_on_busy', name = \"a\\nb\"}", "must be letters, digits"),
    ("scenario", "name = \"a\\nb\"\n[actors]\nvcpu0 = 'tdg_mem_page_accept 3'", "must be letters, digits"),
    ("calibration", "machine = 5", "machine = 5: must be a table"),
    ("calibration", "measured_on = 5", "measured_on = 5: must be text"),
    ("module", "[module]\nbase = '1.5.05'\naccess = '" + "9" * 5_000 + "'", "module.access: must be a number of at most 40 digits"),
    ("schedule", '{"schema": "tdx-sept-harness/schedule/1", "name": "x"}', "module: is missing; must be text"),
    ("schedule", '{"schema": "tdx-sept-harness/schedule/2"}', "schema = 'tdx-sept-harness/schedule/2': must be"),
    ("schedule", '{"schema": "\\ud800"}', "schema: must be whole characters (UTF-8)"),
    ("result", '{"schema": NaN}', "schema = nan: must be a finite number"),
    ("litmus", "C x\n{}\nP0(int *x) { WRITE_ONCE(*x, 1); }\nexists " + "(" * 1_500, "nested too deeply"),
    ("sweep", "policy = 'kick_on_busy'\n[sweep]\n'" + "a." * 1_500 + "b' = [1]", "nested too deep; must be at most 50 levels"),
    ("sweep", f"policy = 'kick_on_busy'\n[sweep]\nseed = {[*range(200)]}\nduration_s = {[*range(1, 200)]}",
     "sweep: its lists have 39800 combinations; must be at most 10000"),
    ("litmus", "C a\x1b[31m\n{}\nP0(int *x) { WRITE_ONCE(*x, 1); }\nexists (x=1)", "1:3: the name must be at most 200 printable letters"),
    ("litmus", "C x\n{ int x = " + "9" * 5_000 + "; }", "must be a number of at most 40 digits"),
])
def test_a_value_that_nobody_can_use_is_refused_by_its_key(tmp_path, name, text, says):
    path = tmp_path / f"input.{READERS[name].ending}"
    path.write_text(text)
    assert says in refused(name, path)


def test_a_damaged_line_costs_a_history_that_line_only(tmp_path):
    path, good = tmp_path / "series.jsonl", json.dumps(NIGHT)
    bad = ["[" * 1_500, '{"a": ' + "9" * 5_000 + "}", '{"schema": "\\ud800"}', json.dumps({**NIGHT, "commit": 5}), good[:40], "\x1b[31m"]
    path.write_text("\n".join([good, *bad, good, ""]))
    nights, problems = history.read(path)
    assert len(nights) == 2
    assert [problem.partition(": skipped: ")[0] for problem in problems] == [f"{path}: line {number}" for number in range(2, 8)]
    assert all(map(well_said, problems))


def test_a_mistake_is_one_printable_line_that_keeps_its_beginning_and_its_end():
    for kind in (UsageError, ResultError):
        said = str(kind(f"/{'f' * 4_000}/x.toml: key{CONTROL} = {'v ' * 3_000}: must be at most 3"))
        assert well_said(said) and said.startswith("/fff") and said.endswith(": must be at most 3") and "x.toml: key" in said
        assert "\\x1b[31m" in said
