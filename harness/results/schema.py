"""The shape of result.json: what every reader counts on, with types; more keys are welcome.

A result that is damaged inside (a count that is a word, a missing table, NaN) is refused as a whole,
with the key that is wrong, and is never half used.  The checking is pydantic's.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from harness.errors import ResultError

Count = Annotated[int, Field(ge=0)]
Number = Annotated[FiniteFloat, Field(ge=0)]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Seconds = Annotated[FiniteFloat, Field(gt=0)]


class Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class Summary(Part):
    """Of a histogram; quantiles of nothing are null."""

    count: Count
    p50: Number | None
    p99: Number | None
    max: Number | None


class Verdict(Part):
    status: Annotated[str, Field(pattern="^(VALID|DEGRADED|UNTRUSTWORTHY)$")]
    reasons: list[str]


class Workers(Part):
    vcpus: Count
    hosts: Count
    processors: list[int]


class Busy(Part):
    per_attempt: Share | None
    per_operation: Share | None
    per_time: Number | None
    retries_max: Count


class Call(Part):
    attempts: Count
    success: Count
    busy: Count
    busy_by_operand: dict[str, Count]
    operations: Count
    retries: Summary
    latency_ns: Summary


class ZeroStep(Part):
    private_faults: Count
    armed: Count
    armed_per_million_faults: Number | None
    synthetic_exits: Count


class Kicks(Part):
    broadcasts: Count
    guest_time_lost_share: Number
    guest_time_lost_ns: Summary


class Hangs(Part):
    count: Count


class Throughput(Part):
    removals_per_s: Number


class Spans(Part):
    removal: Summary


class Counters(Part):
    removals: Count


class Block(Part):
    """Where a run stands in its session (blocks.py); absent from results made otherwise."""

    session: str
    plan: str
    number: Count
    order: Count
    of: Count


class Result(Part):
    name: str
    engine: str
    module: str
    policy: str
    primitive: str
    seed: Count
    verdict: Verdict
    started_at: str
    measured_s: Seconds
    interrupted: bool
    workers: Workers
    busy: Busy
    seamcalls: dict[str, Call]
    zero_step: ZeroStep
    kicks: Kicks
    bugs: dict[str, Count]
    hangs: Hangs
    invariants: dict[str, Count | None]
    throughput: Throughput
    spans_ns: Spans
    counters: Counters
    config: dict
    machine: dict
    block: Block | None = None


def check(result: dict, path) -> None:
    """Raises ResultError naming the file and the first key that is not as it must be."""
    try:
        Result.model_validate(result)
    except ValidationError as errors:
        error = errors.errors(include_url=False)[0]
        key = ".".join(map(str, error["loc"]))
        given = "" if error["type"] == "missing" else f" = {str(error['input'])[:60]!r}"
        raise ResultError(f"{path}: {key}{given}: {error['msg'].lower()}"
                          " (damaged, or of another version)") from None
