"""Which facts of a run exist, as one listing tells: what is due follows from that."""

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
    """Which facts exist of a shard's attempt; ``parts`` are the numbers, ``files`` is how many of each there are to be."""

    input: bool = False
    job: bool = False
    ended: bool = False
    parts: range | None = None
    parsed: set[int] = msgspec.field(default_factory=set)
    files: int | None = None
    again: bool = False
    delivered: set[tuple[int, int]] = msgspec.field(default_factory=set)


class RunSnapshot(msgspec.Struct):
    """Which facts exist of a run; ``attempts`` is by shard and attempt, and lacks those of which there is nothing yet."""

    run: str
    manifest: Manifest | None = None
    chunks: set[int] = msgspec.field(default_factory=set)
    sealed: int | None = None
    plan: Plan | None = None
    aborted: bool = False
    cancelled: bool = False
    reported: bool = False
    attempts: dict[tuple[int, int], AttemptFacts] = msgspec.field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether every chunk that the seal speaks of is there."""
        return self.sealed is not None and len(self.chunks) >= self.sealed


class SnapshotReader:
    """Reads the facts that say how many of something there are to be, each generation of them once.

    A fact never changes, and a look at a run of a thousand shards would read two thousand of them again, a look at a
    thousand small runs three thousand.
    """

    _MAX_RUNS = 2_000
    """Runs of which the facts are kept in mind, some kilobytes each."""
    _MAX_ATTEMPTS = 20_000
    """Attempts of shards of which the facts are kept in mind, some 200 bytes each."""

    def __init__(self, bucket: Bucket) -> None:
        self.manifest = _FactCache(bucket, Manifest, self._MAX_RUNS, lambda manifest: manifest)
        self.chunks = _FactCache(bucket, Seal, self._MAX_RUNS, lambda seal: len(seal.chunks))
        self.plan = _FactCache(bucket, Plan, self._MAX_RUNS, lambda plan: plan)
        self.parts = _FactCache(bucket, Parts, self._MAX_ATTEMPTS, lambda parts: parts.part_numbers)
        self.settled = _FactCache(
            bucket,
            Settled,
            self._MAX_ATTEMPTS,
            lambda settled: (len(settled.files), settled.retried > 0),
        )


class _FactCache(Generic[T, View]):
    """Reads one kind of fact, and keeps in mind what there is to be seen in the ``limit`` that were asked for last."""

    def __init__(
        self, bucket: Bucket, fact_type: type[T], limit: int, view: Callable[[T], View]
    ) -> None:
        self._bucket = bucket
        self._fact_type = fact_type
        self._limit = limit
        self._view = view
        self._views: dict[tuple[str, int], View] = {}

    def __call__(self, stored: Iterable[ObjectInfo]) -> list[View]:
        """Return what there is to be seen in each of these facts; those that are new are read, some at once."""
        keys = [(stored_object.name, stored_object.generation) for stored_object in stored]
        new_keys = [key for key in keys if key not in self._views]
        for key, fact in zip(
            new_keys,
            read_facts(
                self._bucket, (Fact(self._bucket, name, self._fact_type) for name, _ in new_keys)
            ),
            strict=True,
        ):
            self._views[key] = self._view(fact)
        views = [self._views.pop(key) for key in keys]
        self._views.update(zip(keys, views, strict=True))
        for oldest in list(islice(self._views, max(len(self._views) - self._limit, 0))):
            del self._views[oldest]
        return views


_CHUNK = re.compile(r"chunks/(\d{8})")
_SHARD = re.compile(
    r"shards/(\d{4,})/(\d+)/(?:(input|job|ended|parts|settled)\.json|parsed/(\d+)\.json|delivered/(\d+)-(\d+)\.json)"
)


def load_snapshot(bucket: Bucket, run: str, reader: SnapshotReader | None = None) -> RunSnapshot:
    """Return which facts of a run exist, from one listing and the few facts that say how many of something there are.

    A ``reader`` that looked at the run before spares reading most of them.
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
    for (attempt_facts, _), parts in zip(
        with_parts, reader.parts(stored for _, stored in with_parts), strict=True
    ):
        attempt_facts.parts = parts
    for (attempt_facts, _), (files, again) in zip(
        with_settled, reader.settled(stored for _, stored in with_settled), strict=True
    ):
        attempt_facts.files, attempt_facts.again = files, again
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
    elif fact_name == "aborted.json":
        snapshot.aborted = True
    elif fact_name == "cancelled.json":
        snapshot.cancelled = True
    elif fact_name == "report.json":
        snapshot.reported = True


def _add_attempt_fact(attempt_facts: AttemptFacts, match: re.Match[str]) -> None:
    fact, parsed, sink, part = match[3], match[4], match[5], match[6]
    if parsed:
        attempt_facts.parsed.add(int(parsed))
    elif sink:
        attempt_facts.delivered.add((int(sink), int(part)))
    else:
        setattr(attempt_facts, fact, True)
