"""The types of a result: what each takes, and that ranges are looked at in files only."""

import pytest
from pydantic import TypeAdapter, ValidationError

from harness.results import schema
from harness.results.consistency import contradictions
from tests.made import made

BIG = 10 ** 400


@pytest.mark.parametrize("kind, good, of_no_file, never", [
    (schema.Count, [0, 5], [-1, 10 ** 22], [1.0, "1", True, None, float("nan")]),
    (schema.Number, [0, 0.0, 2.5, 10 ** 21], [-0.1, 2e21, BIG], [float("nan"), float("inf"), "1", False, None]),
    (schema.Share, [0, 1, 0.5], [-0.1, 1.0001], [float("inf"), "1", None]),
    (schema.Seconds, [1e-6, 5], [0, 0.0, -1], ["1"]),
    (schema.Signed, [-5, 0, 2.5], [-2e21], [float("nan"), "1"]),
    (schema.Moment, ["2026-11-21T03:00:00Z"], [], ["2026-11-21", "2026-13-21T03:00:00Z", "2026-11-21T03:00:00", 5, None]),
    (schema.Status, ["VALID", "DEGRADED", "UNTRUSTWORTHY"], [], ["valid", "VALID ", "", 1]),
    (schema.Buckets, ["", "5:1", "0:3 64:1 1300:99"], [], ["5", "5:0", "5:1 ", " 5:1", "5:1  6:1", "-5:1", "5:-1", "5:1,6:1", "99999:1", 5]),
])
def test_a_value_is_kept_as_it_is_or_refused(kind, good, of_no_file, never):
    adapter = TypeAdapter(kind)
    for value in good:
        kept = adapter.validate_python(value, context=schema.FROM_A_FILE)
        assert kept == value and type(kept) is type(value)
    for value in of_no_file:
        assert adapter.validate_python(value) == value
        with pytest.raises(ValidationError):
            adapter.validate_python(value, context=schema.FROM_A_FILE)
    for value in never:
        with pytest.raises(ValidationError, match="must be"):
            adapter.validate_python(value)


def test_what_was_measured_is_kept_whatever_it_is():
    """A run with a record that was overwritten has a result; ranges are looked at when a file is read."""
    call = schema.Call(**made().seamcalls["tdh_mem_track"].model_dump() | {"attempts": -5})
    assert call.attempts == -5
    assert any("tdh_mem_track" in sentence for sentence in
               contradictions(made().model_copy(update={"seamcalls": {"tdh_mem_track": call}})))


def test_the_document_has_what_was_set_and_keys_that_are_not_known():
    result = made()
    result.block, result.of_tomorrow = None, 5
    document = result.document()
    assert list(document)[0] == "schema" and document["of_tomorrow"] == 5
    assert "simulation" not in document and "entries" not in document and document["faults"] == {}


def test_the_calls_of_the_host_are_those_that_are_no_tdcalls():
    assert {name.partition("_")[0] for name in made().host_calls} == {"tdh"}
    assert set(made().seamcalls) - set(made().host_calls) >= {"tdg_mem_page_accept"}


@pytest.mark.parametrize("percentile, needed", [("p50", 2), ("p90", 10), ("p99", 100), ("p99_9", 1000), ("p99_99", 10_000)])
def test_a_percentile_takes_as_many_samples_as_have_one_beyond_it(percentile, needed):
    assert schema.samples_needed(percentile) == needed


def test_a_net_count_is_without_those_that_met_a_preempted_holder():
    causes = schema.Causes(running=3, gone=4, preempted=5, host_priority=6, recaptured=7)
    assert causes.total() == 25
    assert schema.net_of_preempted(100, causes) == 95 and schema.net_of_preempted(100, None) is None


def test_a_stored_histogram_knows_how_many_values_it_holds():
    assert schema.StoredHistogram(buckets="0:3 64:1 1300:99", sum=1.0, max=2.0).count == 103
    assert schema.StoredHistogram(buckets="", sum=0, max=0).count == 0
