"""The facts of a run: small objects, written once, from which everything that comes next follows."""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import tee
from typing import TypeVar

import msgspec

from promptmill.config.errors import NotFound
from promptmill.producers.pricing.tokens import TokenTotals
from promptmill.workers.costs.plan_cost import PlanCost
from promptmill.workers.ports.google import Bucket, Job, ObjectInfo

T = TypeVar("T", bound=msgspec.Struct)


class ShardPlan(msgspec.Struct, frozen=True):
    """Rows ``first_row`` … ``first_row + requests - 1``, which lie in chunks ``first_chunk`` … ``last_chunk``."""

    first_row: int
    requests: int
    first_chunk: int
    last_chunk: int


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """The shards of a run, and what it may cost; ``copies`` of its requests are the same as one before them."""

    shards: list[ShardPlan]
    at: float
    money: PlanCost | None = None
    copies: int = 0

    @property
    def price_thresholds(self) -> list[int]:
        """Input tokens above which a request has another price."""
        return self.money.prices.thresholds if self.money and self.money.prices else [0]


class Input(msgspec.Struct, frozen=True, omit_defaults=True):
    """A whole input file: its lines, its bytes, and how many rows of the shard were refused by lint.

    ``tokens``: what the lines of a later attempt may use, where the run has a limit of costs. ``copies`` rows are left out,
    as another one asks the same, and ``reused`` ones as an earlier run has their answer.
    """

    requests: int
    size: int
    refused: int
    at: float
    tokens: TokenTotals | None = None
    copies: int = 0
    reused: int = 0


class Intent(msgspec.Struct, frozen=True):
    """Who is about to create the job; ``owner`` is empty when it surely was not created."""

    owner: str


class Created(msgspec.Struct, frozen=True):
    """The job of an attempt; without a name when Vertex refused to create it, or there was nothing to send."""

    name: str
    at: float
    refusal: str = ""


class Ended(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a job ended, and when that was seen.

    ``reason`` is that of rows without an answer, where the job's own state does not tell it; with ``again`` they are
    tried once more, whatever the reason. ``by_hand``: Vertex did not say so, it was given up.
    """

    job: Job
    at: float
    reason: str = ""
    again: bool = False
    by_hand: bool = False


class Harvested(msgspec.Struct, frozen=True):
    """How many answers of a job that was given up came after all."""

    answers: int
    at: float


class PartRange(msgspec.Struct, frozen=True, array_like=True):
    """Bytes ``start`` to ``end`` of one generation of an output object."""

    name: str
    generation: int
    start: int
    end: int


class Parts(msgspec.Struct, frozen=True, omit_defaults=True):
    """The ranges of a job's output that are parsed side by side; those before ``first`` are of files that were replaced."""

    parts: list[PartRange]
    at: float
    first: int = 0

    @property
    def part_numbers(self) -> range:
        """The numbers of the parts that count."""
        return range(self.first, len(self.parts))


class Counts(msgspec.Struct, frozen=True):
    """What was counted: rows by state, failures by reason, tokens by kind, and lines that are no answer to any row.

    ``tokens`` are by Google's names, ``billed`` by what is paid for them (see ``billing``).
    """

    succeeded: int = 0
    failed: int = 0
    failures: dict[str, int] = {}
    tokens: dict[str, int] = {}
    duplicates: int = 0
    unknown: int = 0
    unreadable: int = 0
    billed: dict[str, int] = {}

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            *(
                _add_values(left, right)
                for left, right in zip(counts_tuple(self), counts_tuple(other), strict=True)
            )  # type: ignore[arg-type]
        )


class Parsed(msgspec.Struct, frozen=True):
    """One part, parsed: its counts, and packed bitmaps of the rows of the shard that it answers.

    ``passing`` are those of the failed rows that a second try can mend; ``cut_off`` those that need more tokens for it, and
    ``invalid`` those that need to hear what was wrong.
    """

    counts: Counts
    succeeded: bytes
    failed: bytes
    passing: bytes
    unkeyed: int
    unreadable_at: list[int]
    at: float
    cut_off: bytes = b""
    invalid: bytes = b""


class ResultFile(msgspec.Struct, frozen=True):
    """A file of results; the rows of the packed bitmaps are answered elsewhere and are to be passed over."""

    name: str
    drop_succeeded: bytes = b""
    drop_failed: bytes = b""

    @property
    def has_drops(self) -> bool:
        """Whether there are any."""
        return bool(self.drop_succeeded or self.drop_failed)


class Settled(msgspec.Struct, frozen=True):
    """What became of every row of an attempt: the files that hold final results, their counts, and who is tried again.

    ``again`` is the packed bitmap of the rows of the next attempt, ``retried`` their number; ``raised`` those of them that
    get more tokens, ``repaired`` those that hear what was wrong with their answer. ``copies`` rows have another's answer,
    ``reused`` ones that of an earlier run.
    """

    files: list[ResultFile]
    counts: Counts
    requests: int
    at: float
    again: bytes = b""
    retried: int = 0
    raised: bytes = b""
    repaired: bytes = b""
    copies: int = 0
    reused: int = 0


class Delivered(msgspec.Struct, frozen=True):
    """That one file of results is in one sink."""

    at: float


class Called(msgspec.Struct, frozen=True, omit_defaults=True):
    """That one callback is sent, or why it never will be."""

    at: float
    refusal: str = ""


class Cancelled(msgspec.Struct, frozen=True, omit_defaults=True):
    """That the run is to end with what it has: somebody wants it, or for a ``reason`` that its rows then have."""

    at: float
    reason: str = ""

    @property
    def error_message(self) -> str:
        """What people are told."""
        return "the run's deadline passed" if self.reason else "the run was cancelled"


class Aborted(msgspec.Struct, frozen=True):
    """Why a run will never be submitted, and its state: ``failed``, ``cancelled`` or ``expired``.

    ``over_budget``: it may cost too much.
    """

    reason: str
    state: str
    at: float
    over_budget: bool = False


class Cut(msgspec.Struct, frozen=True):
    """Which batches of a pool make a run, opened ``at``, and the limits that its chunks are made with."""

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
    """Return the time by this worker's clock, for facts that say when; nothing is decided by it."""
    return time.time()


def object_age(bucket: Bucket, stored: ObjectInfo, clock: str) -> float:
    """Return the age of an object in seconds, by the bucket's clock.

    For decisions that could cost money or answers: a worker's clock may be wrong.
    """
    now = read_clock(bucket, clock)
    return now - stored.updated if now else 0.0


def read_clock(bucket: Bucket, clock: str) -> float:
    """Return the time by the bucket's clock: when the object ``clock`` is written; or 0."""
    bucket.write(clock, b"")
    probe = bucket.find(clock)
    return probe.updated if probe else 0.0


def encode_fact(fact: msgspec.Struct) -> bytes:
    """Return a fact as it is stored."""
    return msgspec.json.encode(fact)


def create_fact(bucket: Bucket, name: str, fact: msgspec.Struct) -> bool:
    """Write a fact; False when it is there already, which is then the truth."""
    return bucket.create(name, encode_fact(fact))


def create_or_get(bucket: Bucket, name: str, fact: T) -> T:
    """Write a fact, and return the truth: it, or the one that was there first."""
    return fact if create_fact(bucket, name, fact) else get_fact(bucket, name, type(fact))


def get_or_create(bucket: Bucket, name: str, fact_type: type[T], create: Callable[[], T]) -> T:
    """Return a fact, which is made if nobody has made it; of two who do so at once, the first has made the truth."""
    try:
        return get_fact(bucket, name, fact_type)
    except NotFound:
        pass
    return create_or_get(bucket, name, create())


def get_fact(bucket: Bucket, name: str, fact_type: type[T]) -> T:
    """Read a fact; raises NotFound."""
    return msgspec.json.decode(bucket.read(name), type=fact_type)


def get_facts(bucket: Bucket, names_and_types: Iterable[tuple[str, type[T]]]) -> Iterator[T]:
    """Yield facts, each by its name and kind, in the order in which they are wanted; raises NotFound at the turn of one."""
    to_read, to_decode = tee(names_and_types)
    for (_, fact_type), data in zip(
        to_decode, bucket.read_each(name for name, _ in to_read), strict=True
    ):
        yield msgspec.json.decode(data, type=fact_type)
