"""A snapshot of the facts of a run, from one listing. The next steps follow from it."""

import re
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Generic, TypeVar

import msgspec

from promptmill.producers.contract.messages import Manifest, Seal
from promptmill.workers.facts.fact import Fact, read_facts
from promptmill.workers.facts.records import Parts, Plan, Settled
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.ports.google import Bucket, ObjectInfo

T = TypeVar("T", bound=msgspec.Struct)
View = TypeVar("View")


class AttemptFacts(msgspec.Struct):
    """The facts of one attempt that exist.

    ``parts`` has the numbers of the expected parts. ``files`` is the number of result
    files to deliver. ``has_retries`` is true if rows are left for a next attempt, whose job
    may be created from ``retry_at`` on, by the bucket's clock.
    """

    input: bool = False
    job: bool = False
    ended: bool = False
    parts: range | None = None
    parsed: set[int] = msgspec.field(default_factory=set)
    files: int | None = None
    has_retries: bool = False
    delivered: set[tuple[int, int]] = msgspec.field(default_factory=set)
    retry_at: float = 0.0


class RunSnapshot(msgspec.Struct):
    """The facts of a run that exist.

    The keys of ``attempts`` are (shard, attempt); an attempt without facts is missing.
    """

    run: str
    manifest: Manifest | None = None
    chunks: set[int] = msgspec.field(default_factory=set)
    sealed: int | None = None
    plan: Plan | None = None
    aborted: bool = False
    cancelled: bool = False
    reported: bool = False
    attempts: dict[tuple[int, int], AttemptFacts] = msgspec.field(default_factory=dict)

    def retry_time(self, shard: int, attempt: int) -> float:
        """Return when the job of an attempt may be created, by the bucket's clock; 0 is always."""
        previous = self.attempts.get((shard, attempt - 1))
        return previous.retry_at if previous and not self.cancelled else 0.0

    @property
    def is_whole(self) -> bool:
        """Whether the bucket holds every chunk that the seal counts."""
        return self.sealed is not None and len(self.chunks) >= self.sealed


class SnapshotReader:
    """Reads the facts whose content a snapshot needs, and caches what it needs of them.

    A generation of a fact never changes. Without the cache, each snapshot of a run of 1,000
    shards would read 2,000 facts again. Snapshots of 1,000 small runs would read 3,000.
    """

    _MAX_RUNS = 2_000
    """The cache holds the facts of this many runs, a few kilobytes each."""
    _MAX_ATTEMPTS = 20_000
    """The cache holds the facts of this many attempts, about 200 bytes each."""

    def __init__(self, bucket: Bucket) -> None:
        self.manifest = _FactCache(bucket, Manifest, self._MAX_RUNS, lambda manifest: manifest)
        self.chunks = _FactCache(bucket, Seal, self._MAX_RUNS, lambda seal: len(seal.chunks))
        self.plan = _FactCache(bucket, Plan, self._MAX_RUNS, lambda plan: plan)
        self.parts = _FactCache(bucket, Parts, self._MAX_ATTEMPTS, lambda parts: parts.part_numbers)
        self.settled = _FactCache(
            bucket,
            Settled,
            self._MAX_ATTEMPTS,
            lambda settled: (len(settled.files), settled.retried > 0, settled.delay_seconds),
        )


class _FactCache(Generic[T, View]):
    """Reads one kind of fact and caches a view of the ``limit`` most recently used."""

    def __init__(
        self, bucket: Bucket, fact_type: type[T], limit: int, view: Callable[[T], View]
    ) -> None:
        self._bucket = bucket
        self._fact_type = fact_type
        self._limit = limit
        self._view = view
        self._views: dict[tuple[str, int], View] = {}

    def __call__(self, stored: Iterable[ObjectInfo]) -> list[View]:
        """Return the view of each fact. New facts are read, a few at once."""
        keys = [(stored_object.name, stored_object.generation) for stored_object in stored]
        new_keys = [key for key in keys if key not in self._views]
        new_facts = (Fact(self._bucket, name, self._fact_type) for name, _ in new_keys)
        for key, fact in zip(new_keys, read_facts(self._bucket, new_facts), strict=True):
            self._views[key] = self._view(fact)
        views = [self._views.pop(key) for key in keys]
        self._views.update(zip(keys, views, strict=True))
        for oldest in list(islice(self._views, max(len(self._views) - self._limit, 0))):
            del self._views[oldest]
        return views


_CHUNK = re.compile(r"chunks/(\d{8})")
_SHARD = re.compile(
    r"shards/(\d{4,})/(\d+)/"
    r"(?:(input|job|ended|parts|settled)\.json|parsed/(\d+)\.json|delivered/(\d+)-(\d+)\.json)"
)
_EXISTENCE_FIELDS = {
    "aborted.json": "aborted",
    "cancelled.json": "cancelled",
    "report.json": "reported",
}
"""Facts of a run that only need to exist, and their fields."""


def load_snapshot(bucket: Bucket, run: str, reader: SnapshotReader | None = None) -> RunSnapshot:
    """Return a snapshot of a run, from one listing and the content of a few facts.

    A ``reader`` that has read the run before has most of these facts cached.
    """
    snapshot, reader = RunSnapshot(run), reader or SnapshotReader(bucket)
    folder = RunFolder(bucket, run).path
    with_parts: list[tuple[AttemptFacts, ObjectInfo]] = []
    with_settled: list[tuple[AttemptFacts, ObjectInfo]] = []
    for stored in bucket.list(folder):
        fact_name = stored.name.removeprefix(folder)
        match = _SHARD.fullmatch(fact_name)
        if not match:
            _add_run_fact(snapshot, reader, stored, fact_name)
            continue
        attempt_facts = snapshot.attempts.setdefault((int(match[1]), int(match[2])), AttemptFacts())
        if match[3] == "parts":
            with_parts.append((attempt_facts, stored))
        elif match[3] == "settled":
            with_settled.append((attempt_facts, stored))
        else:
            _add_attempt_fact(attempt_facts, match)
    all_parts = reader.parts(stored for _, stored in with_parts)
    for (attempt_facts, _), parts in zip(with_parts, all_parts, strict=True):
        attempt_facts.parts = parts
    all_settled = reader.settled(stored for _, stored in with_settled)
    for (attempt_facts, stored), settled in zip(with_settled, all_settled, strict=True):
        attempt_facts.files, attempt_facts.has_retries, delay_seconds = settled
        attempt_facts.retry_at = stored.updated + delay_seconds if delay_seconds else 0.0
    return snapshot


def _add_run_fact(
    snapshot: RunSnapshot, reader: SnapshotReader, stored: ObjectInfo, fact_name: str
) -> None:
    if match := _CHUNK.fullmatch(fact_name):
        snapshot.chunks.add(int(match[1]))
    elif fact_name == "run.json":
        [snapshot.manifest] = reader.manifest([stored])
    elif fact_name == "seal.json":
        [snapshot.sealed] = reader.chunks([stored])
    elif fact_name == "plan.json":
        [snapshot.plan] = reader.plan([stored])
    elif field := _EXISTENCE_FIELDS.get(fact_name):
        setattr(snapshot, field, True)


def _add_attempt_fact(attempt_facts: AttemptFacts, match: re.Match[str]) -> None:
    fact, parsed, sink, part = match[3], match[4], match[5], match[6]
    if parsed:
        attempt_facts.parsed.add(int(parsed))
    elif sink:
        attempt_facts.delivered.add((int(sink), int(part)))
    else:
        setattr(attempt_facts, fact, True)
