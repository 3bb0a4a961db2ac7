"""The files of nightly jobs: what is appended is read again, what is damaged is named and skipped."""

import json

import numpy as np
import pytest

from harness.results import changes, history
from harness.results.identity import Identity


def key(machine="m1", **keys):
    return history.key_of("kick_vcpus", Identity(**{
        "engine": "processes", "module": "1.5.05", "primitive": "cas", "workload": "w", "machine": machine,
        "policy": "kick_vcpus", "words": "p"} | keys))


def night(series, index, values=(1.0, 2.0, 3.0), **keys):
    return history.Night(series=series, night=f"2026-{1 + index // 28:02d}-{1 + index % 28:02d}T03:00:00Z",
                         commit=f"c{index}", verdict=keys.pop("verdict", "VALID"),
                         values={"removals_per_s": list(values)}, **keys)


def test_what_is_appended_is_read_again(tmp_path):
    series = history.open_series(tmp_path, key())
    wanted = [night(key(), index) for index in range(3)]
    for each in wanted:
        history.append(series, each)
    again = history.open_series(tmp_path, key())
    assert again.nights == wanted and not again.problems
    assert all(json.loads(line)["schema"] == history.SCHEMA for line in again.path.read_text().splitlines())


def test_another_machine_release_or_workload_is_a_series_of_its_own(tmp_path):
    keys = [key(), key("m2"), key(module="1.5.20"), key(workload="v"), key(words="q"), key(engine="simulate")]
    assert len({history.path_of(tmp_path, each) for each in keys}) == len(keys)


def test_a_machine_change_starts_anew_and_does_not_alarm(tmp_path):
    """Forty nights on one machine, then a machine that is a fifth faster."""
    random = np.random.default_rng(6)
    alarms = 0
    for index in range(80):
        speed, name = (100.0, "m1") if index < 40 else (120.0, "m2")
        series = history.open_series(tmp_path, key(name))
        history.append(series, night(key(name), index, speed * (1 + 0.05 * random.standard_normal(7))))
        alarms += changes.suspect([value for _, value in series.known("removals_per_s")]) is not None
    assert alarms <= 1
    assert sorted(len(series.nights) for series in history.folder_series(tmp_path)) == [40, 40]


@pytest.mark.parametrize("line, says", [
    ('{"schema": "tdx-sept-harness/hist', "not JSON (damaged or cut off)"),
    ("\x00\x00\x00", "not JSON"),
    ("[]", "schema = None"),
    ('{"schema": "tdx-sept-harness/history/2"}', "must be 'tdx-sept-harness/history/1'"),
    ('{"schema": "tdx-sept-harness/history/1"}', "series: field required"),
])
def test_a_bad_line_is_named_and_skipped_and_the_rest_is_used(tmp_path, line, says):
    series = history.open_series(tmp_path, key())
    history.append(series, night(key(), 0))
    with open(series.path, "a") as file:
        file.write(line + "\n")
    history.append(series, night(key(), 1))
    again = history.open_series(tmp_path, key())
    assert [each.commit for each in again.nights] == ["c0", "c1"]
    [problem] = again.problems
    assert problem.startswith(f"{series.path}: line 2: skipped: ") and says in problem


@pytest.mark.parametrize("change, says", [
    ({"values": {"removals_per_s": [1, "x"]}}, "values.removals_per_s.1"),
    ({"values": {"removals_per_s": [float("nan")]}}, "values.removals_per_s.0"),
    ({"night": "yesterday"}, "night = 'yesterday': string should match"),
    ({"verdict": "GOOD"}, "verdict = 'GOOD': must be VALID, DEGRADED or UNTRUSTWORTHY"),
    ({"alarms": [{"metric": "x"}]}, "alarms.0"),
    ({"series": key("m2").model_dump()}, "of another series"),
    ({"values": {"busy_per_attempt_percent": [3.0, 101.0]}}, "values.busy_per_attempt_percent = 101: must be at most 100"),
    ({"rerun": {"removals_per_s": [-1.0]}}, "rerun.removals_per_s = -1: must be at least 0"),
])
def test_a_line_that_is_wrong_inside_is_not_half_used(tmp_path, change, says):
    series = history.open_series(tmp_path, key())
    document = {"schema": history.SCHEMA, **night(key(), 0).model_dump(), **change}
    series.path.write_text(json.dumps(document) + "\n")
    nights_, [problem] = history.read(series.path, key())
    assert nights_ == [] and says in problem


def test_a_line_that_was_cut_off_does_not_take_the_next_with_it(tmp_path):
    series = history.open_series(tmp_path, key())
    history.append(series, night(key(), 0))
    whole = series.path.read_bytes()
    series.path.write_bytes(whole + whole[:100])             # a crash while writing
    history.append(history.open_series(tmp_path, key()), night(key(), 2))
    again = history.open_series(tmp_path, key())
    assert [each.commit for each in again.nights] == ["c0", "c2"] and len(again.problems) == 1


def test_untrustworthy_nights_count_for_nothing(tmp_path):
    series = history.open_series(tmp_path, key())
    for index, verdict in enumerate(["VALID", "UNTRUSTWORTHY", "DEGRADED"]):
        history.append(series, night(key(), index, verdict=verdict))
    assert [each.commit for each, _ in series.known("removals_per_s")] == ["c0", "c2"]


def test_the_search_starts_where_the_last_alarm_of_that_metric_was_seen_from(tmp_path):
    series = history.open_series(tmp_path, key())
    for index in range(10):
        alarms = [history.Alarm(metric="removals_per_s", kind="step", since=night(key(), 6).night, before=1.0,
                                after=2.0, first_bad="c6", last_good="c5")] if index == 8 else []
        history.append(series, night(key(), index, alarms=alarms))
    assert series.start("removals_per_s") == 6 and series.start("bugs_per_s") == 0


def test_what_is_fatal_and_happened_in_one_block_counts_for_the_night(tmp_path):
    """A trimmed mean of five blocks would leave out the one in which it happened."""
    series = history.open_series(tmp_path, key())
    values = {"bugs_per_s": [0.0, 0.0, 10.0, 0.0, 0.0], "removals_per_s": [5.0, 5.0, 100.0, 5.0, 5.0]}
    history.append(series, night(key(), 0).model_copy(update={"values": values}))
    assert [value for _, value in series.known("bugs_per_s")] == [2.0]
    assert [value for _, value in series.known("removals_per_s")] == [5.0]


def test_a_line_has_every_field_of_what_makes_a_series():
    assert list(history.Key.model_fields) == ["name", *Identity._fields]
