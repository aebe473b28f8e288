"""Which facts of a run exist, as one listing tells: what is due follows from that."""

import re
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Generic, TypeVar

import msgspec

from promptmill.config import names
from promptmill.producers.contract.messages import Manifest, Seal
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Parts, Plan, Settled
from promptmill.workers.ports.google import Bucket, Stored

Fact = TypeVar("Fact", bound=msgspec.Struct)
Seen = TypeVar("Seen")


class ShardFacts(msgspec.Struct):
    """Which facts exist of a shard's attempt; ``parts`` are the numbers, ``files`` is how many of each there are to be."""

    input: bool = False
    job: bool = False
    ended: bool = False
    parts: range | None = None
    parsed: set[int] = msgspec.field(default_factory=set)
    files: int | None = None
    again: bool = False
    delivered: set[tuple[int, int]] = msgspec.field(default_factory=set)


class RunFacts(msgspec.Struct):
    """Which facts exist of a run; ``shards`` is by shard and attempt, and lacks those of which there is nothing yet."""

    run: str
    manifest: Manifest | None = None
    chunks: set[int] = msgspec.field(default_factory=set)
    sealed: int | None = None
    plan: Plan | None = None
    aborted: bool = False
    cancelled: bool = False
    reported: bool = False
    shards: dict[tuple[int, int], ShardFacts] = msgspec.field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether every chunk that the seal speaks of is there."""
        return self.sealed is not None and len(self.chunks) >= self.sealed


class Reader:
    """Reads the facts that say how many of something there are to be, each generation of them once.

    A fact never changes, and a look at a run of a thousand shards would read two thousand of them again, a look at a
    thousand small runs three thousand.
    """

    _RUNS = 2_000
    """Runs of which the facts are kept in mind, some kilobytes each."""
    _SHARDS = 20_000
    """Attempts of shards of which the facts are kept in mind, some 200 bytes each."""

    def __init__(self, bucket: Bucket) -> None:
        self.manifest = _Reading(bucket, Manifest, self._RUNS, lambda manifest: manifest)
        self.chunks = _Reading(bucket, Seal, self._RUNS, lambda seal: len(seal.chunks))
        self.plan = _Reading(bucket, Plan, self._RUNS, lambda plan: plan)
        self.parts = _Reading(bucket, Parts, self._SHARDS, lambda parts: parts.numbers)
        self.settled = _Reading(bucket, Settled, self._SHARDS, lambda found: (len(found.files), found.retried > 0))


class _Reading(Generic[Fact, Seen]):
    """Reads one kind of fact, and keeps in mind what there is to be seen in the ``most`` that were asked for last."""

    def __init__(self, bucket: Bucket, kind: type[Fact], most: int, view: Callable[[Fact], Seen]) -> None:
        self._bucket = bucket
        self._kind = kind
        self._most = most
        self._view = view
        self._seen: dict[tuple[str, int], Seen] = {}

    def __call__(self, stored: Iterable[Stored]) -> list[Seen]:
        """Return what there is to be seen in each of these facts; those that are new are read, some at once."""
        keys = [(one.name, one.generation) for one in stored]
        new = [key for key in keys if key not in self._seen]
        for key, fact in zip(new, records.get_each(self._bucket, ((name, self._kind) for name, _ in new)), strict=True):
            self._seen[key] = self._view(fact)
        found = [self._seen.pop(key) for key in keys]
        self._seen.update(zip(keys, found, strict=True))
        for oldest in list(islice(self._seen, max(len(self._seen) - self._most, 0))):
            del self._seen[oldest]
        return found


_CHUNK = re.compile(r"chunks/(\d{8})")
_SHARD = re.compile(
    r"shards/(\d{4,})/(\d+)/(?:(input|job|ended|parts|settled)\.json|parsed/(\d+)\.json|delivered/(\d+)-(\d+)\.json)"
)


def load(bucket: Bucket, run: str, reader: Reader | None = None) -> RunFacts:
    """Return which facts of a run exist, from one listing and the few facts that say how many of something there are.

    A ``reader`` that looked at the run before spares reading most of them.
    """
    known, reader = RunFacts(run), reader or Reader(bucket)
    folder = names.folder(run)
    divided: list[tuple[ShardFacts, Stored]] = []
    settled: list[tuple[ShardFacts, Stored]] = []
    for stored in bucket.list(folder):
        place = stored.name.removeprefix(folder)
        found = _SHARD.fullmatch(place)
        if not found:
            _note(known, reader, stored, place)
            continue
        shard = known.shards.setdefault((int(found[1]), int(found[2])), ShardFacts())
        if found[3] == "parts":
            divided.append((shard, stored))
        elif found[3] == "settled":
            settled.append((shard, stored))
        else:
            _note_shard(shard, found)
    for (shard, _), parts in zip(divided, reader.parts(stored for _, stored in divided), strict=True):
        shard.parts = parts
    for (shard, _), (files, again) in zip(settled, reader.settled(stored for _, stored in settled), strict=True):
        shard.files, shard.again = files, again
    return known


def _note(known: RunFacts, reader: Reader, stored: Stored, place: str) -> None:
    if found := _CHUNK.fullmatch(place):
        known.chunks.add(int(found[1]))
    elif place == "run.json":
        [known.manifest] = reader.manifest([stored])
    elif place == "seal.json":
        [known.sealed] = reader.chunks([stored])
    elif place == "plan.json":
        [known.plan] = reader.plan([stored])
    elif place == "aborted.json":
        known.aborted = True
    elif place == "cancelled.json":
        known.cancelled = True
    elif place == "report.json":
        known.reported = True


def _note_shard(shard: ShardFacts, found: re.Match[str]) -> None:
    fact, parsed, sink, part = found[3], found[4], found[5], found[6]
    if parsed:
        shard.parsed.add(int(parsed))
    elif sink:
        shard.delivered.add((int(sink), int(part)))
    else:
        setattr(shard, fact, True)
