"""Types of the facts of a run.

A fact is a small object that is written once. The facts that exist determine the next
steps.
"""

import time

import msgspec

from promptmill.producers.pricing.tokens import TokenTotals
from promptmill.workers.costs.plan_cost import PlanCost
from promptmill.workers.ports.google import Bucket, Job, ObjectInfo


class ShardPlan(msgspec.Struct, frozen=True):
    """The rows of one shard: ``requests`` rows from ``first_row`` on.

    The chunks ``first_chunk`` to ``last_chunk``, both included, hold them.
    """

    first_row: int
    requests: int
    first_chunk: int
    last_chunk: int


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """The shards of a run and its cost plan.

    ``deduplicated`` is the number of requests that repeat an earlier request.
    ``warnings`` are those about the model and the requests, one sentence each. ``model`` is
    the model behind an endpoint; empty for a run that names its model.
    """

    shards: list[ShardPlan]
    at: float
    money: PlanCost | None = None
    deduplicated: int = msgspec.field(default=0, name="copies")
    warnings: list[str] = []
    model: str = ""

    @property
    def price_thresholds(self) -> list[int]:
        """Numbers of input tokens above which a request has another price."""
        return self.money.prices.thresholds if self.money and self.money.prices else [0]


class Input(msgspec.Struct, frozen=True, omit_defaults=True):
    """A complete input file: its lines, its bytes, and the rows that validation refused.

    ``tokens`` bounds the usage of a retry in a run with a cost limit. ``deduplicated`` rows
    are omitted because another row has the same request. ``reused`` rows are omitted
    because an earlier run answered them.
    """

    requests: int
    size: int
    refused: int
    at: float
    tokens: TokenTotals | None = None
    deduplicated: int = msgspec.field(default=0, name="copies")
    reused: int = 0


class Intent(msgspec.Struct, frozen=True):
    """A lease on creating the job; ``owner`` is empty when certainly nothing was created."""

    owner: str


class Created(msgspec.Struct, frozen=True):
    """The job of an attempt.

    The name is empty if Vertex refused to create the job or there was nothing to send.
    """

    name: str
    at: float
    refusal: str = ""


class Ended(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a job ended, and when a worker saw it.

    ``reason`` overrides the failure reason of rows without an answer. ``retry`` retries
    these rows regardless of the reason. ``by_hand`` marks an abandoned job: its end was
    not reported by Vertex.
    """

    job: Job
    at: float
    reason: str = ""
    retry: bool = msgspec.field(default=False, name="again")
    by_hand: bool = False


class Harvested(msgspec.Struct, frozen=True):
    """The number of late answers of an abandoned job."""

    answers: int
    at: float


class PartRange(msgspec.Struct, frozen=True, array_like=True):
    """Bytes ``start`` to ``end`` of one generation of an output object."""

    name: str
    generation: int
    start: int
    end: int


class Parts(msgspec.Struct, frozen=True, omit_defaults=True):
    """The ranges of a job's output, parsed concurrently.

    Ranges before ``first`` are of files that were replaced since. They do not count.
    """

    parts: list[PartRange]
    at: float
    first: int = 0

    @property
    def part_numbers(self) -> range:
        """The numbers of the parts that count."""
        return range(self.first, len(self.parts))


class Counts(msgspec.Struct, frozen=True):
    """Counts of rows by state, failures by reason, tokens by kind, and unusable lines.

    ``tokens`` has Google's names as keys. ``billed`` has price classes: see ``costs.usage``.
    ``unkept`` counts lines with paid parts that the run does not keep, by part. ``models``
    counts lines by ``modelVersion``.
    """

    succeeded: int = 0
    failed: int = 0
    failures: dict[str, int] = {}
    tokens: dict[str, int] = {}
    duplicates: int = 0
    unknown: int = 0
    unreadable: int = 0
    billed: dict[str, int] = {}
    unkept: dict[str, int] = {}
    models: dict[str, int] = {}

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            *(
                _add_values(left, right)
                for left, right in zip(counts_tuple(self), counts_tuple(other), strict=True)
            )  # type: ignore[arg-type]
        )


class Parsed(msgspec.Struct, frozen=True):
    """The counts of one parsed part, and packed sets of the rows that it answers.

    ``transient_rows`` are the failed rows that are worth a retry. Of these, ``cut_off``
    need more tokens, ``invalid`` need feedback on their schema error, and ``unbilled``
    failed before the model was asked.
    """

    counts: Counts
    succeeded: bytes
    failed: bytes
    transient_rows: bytes = msgspec.field(name="passing")
    unkeyed: int
    unreadable_at: list[int]
    at: float
    cut_off: bytes = b""
    invalid: bytes = b""
    unbilled: bytes = b""


class RetryDelay(msgspec.Struct, frozen=True, omit_defaults=True):
    """The wait before the job of the next attempt is created, and its cause.

    It is ``seconds`` long and starts when the fact is stored, by the bucket's clock.
    ``streak`` is the number of attempts in a row with a delay. ``since`` is when the first
    attempt in a row ended that was not billed; 0 if this one was billed.
    """

    seconds: float
    cause: str
    streak: int = 1
    since: float = 0.0


class ResultFile(msgspec.Struct, frozen=True):
    """A file of results, and packed sets of rows to skip: another file has their result."""

    name: str
    drop_succeeded: bytes = b""
    drop_failed: bytes = b""

    @property
    def has_drops(self) -> bool:
        """Whether any row is to be skipped."""
        return bool(self.drop_succeeded or self.drop_failed)


class Settled(msgspec.Struct, frozen=True):
    """The outcome of an attempt: its files of final results, their counts, and its retries.

    ``retried_rows`` is the packed set of the ``retried`` rows of the next attempt. Of
    these, ``raised_rows`` get more tokens and ``feedback_rows`` get feedback on their
    schema error. ``deduplicated`` rows have the answer of another row, ``reused`` rows
    that of an earlier run. ``unbilled_attempts`` of the shard so far do not count towards
    ``max_attempts``.
    """

    files: list[ResultFile]
    counts: Counts
    requests: int
    at: float
    retried_rows: bytes = msgspec.field(default=b"", name="again")
    retried: int = 0
    raised_rows: bytes = msgspec.field(default=b"", name="raised")
    feedback_rows: bytes = msgspec.field(default=b"", name="repaired")
    deduplicated: int = msgspec.field(default=0, name="copies")
    reused: int = 0
    delay: RetryDelay | None = None
    unbilled_attempts: int = 0

    @property
    def delay_seconds(self) -> float:
        """Seconds before the job of the next attempt may be created."""
        return self.delay.seconds if self.delay else 0.0


class Delivered(msgspec.Struct, frozen=True):
    """One file of results is in one sink."""

    at: float


class Called(msgspec.Struct, frozen=True, omit_defaults=True):
    """One callback was sent, or was refused permanently: ``refusal`` is the reason."""

    at: float
    refusal: str = ""


class Cancelled(msgspec.Struct, frozen=True, omit_defaults=True):
    """The run ends early: a user cancelled it, or its deadline passed.

    Rows without an answer fail with ``reason``; it is empty if a user cancelled.
    """

    at: float
    reason: str = ""

    @property
    def error_message(self) -> str:
        """The message that users see."""
        return "the run's deadline passed" if self.reason else "the run was cancelled"


class Aborted(msgspec.Struct, frozen=True):
    """Why a run is never submitted, and its state: ``failed``, ``cancelled`` or ``expired``.

    ``over_budget`` is true if its estimated cost exceeds a limit.
    """

    reason: str
    state: str
    at: float
    over_budget: bool = False


class Cut(msgspec.Struct, frozen=True):
    """The batches of a pool that make up the run opened ``at``, and the limits of its chunks."""

    run: str
    pool: str
    options: str
    batches: list[str]
    at: float
    chunk_bytes: int
    max_request_bytes: int


def counts_tuple(counts: Counts) -> tuple[int | dict[str, int], ...]:
    """Return the counts in the order of their fields."""
    return msgspec.structs.astuple(counts)


def _add_values(left: int | dict[str, int], right: int | dict[str, int]) -> int | dict[str, int]:
    if isinstance(left, dict) and isinstance(right, dict):
        return {
            name: left.get(name, 0) + right.get(name, 0)
            for name in sorted(left.keys() | right.keys())
        }
    assert isinstance(left, int) and isinstance(right, int)  # noqa: S101
    return left + right


def current_time() -> float:
    """Return the time by this worker's clock, in seconds; no decision depends on it."""
    return time.time()


# For decisions that could cost money or answers: a worker's clock may be wrong.
def object_age(bucket: Bucket, stored: ObjectInfo, clock: str) -> float:
    """Return the age of an object in seconds, by the bucket's clock."""
    now = read_clock(bucket, clock)
    return now - stored.updated if now else 0.0


def read_clock(bucket: Bucket, clock: str) -> float:
    """Write the object ``clock`` and return its update time in seconds, or 0 if it is unknown."""
    bucket.write(clock, b"")
    probe = bucket.find(clock)
    return probe.updated if probe else 0.0
