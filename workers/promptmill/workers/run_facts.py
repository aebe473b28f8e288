"""Which facts of a run exist, as one listing tells: what is due follows from that."""

import functools
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from promptmill.config import names
from promptmill.producers.messages import Manifest, Seal
from promptmill.workers import facts
from promptmill.workers.facts import Parts, Plan, Settled
from promptmill.workers.ports import Bucket, Stored

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
        self.manifest = _reading(bucket, Manifest, self._RUNS, lambda manifest: manifest)
        self.chunks = _reading(bucket, Seal, self._RUNS, lambda seal: len(seal.chunks))
        self.plan = _reading(bucket, Plan, self._RUNS, lambda plan: plan)
        self.parts = _reading(bucket, Parts, self._SHARDS, lambda parts: parts.numbers)
        self.settled = _reading(bucket, Settled, self._SHARDS, lambda found: (len(found.files), found.retried > 0))


def _reading(bucket: Bucket, kind: type[Fact], most: int, view: Callable[[Fact], Seen]) -> Callable[[Stored], Seen]:
    """Return what reads one kind of fact, and keeps in mind what there is to be seen in so many of them."""

    @functools.lru_cache(most)
    def read(name: str, _generation: int) -> Seen:
        return view(facts.get(bucket, name, kind))

    return lambda stored: read(stored.name, stored.generation)


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
    for stored in bucket.list(folder):
        place = stored.name.removeprefix(folder)
        if found := _SHARD.fullmatch(place):
            _note_shard(known, reader, stored, found)
        else:
            _note(known, reader, stored, place)
    return known


def _note(known: RunFacts, reader: Reader, stored: Stored, place: str) -> None:
    if found := _CHUNK.fullmatch(place):
        known.chunks.add(int(found[1]))
    elif place == "run.json":
        known.manifest = reader.manifest(stored)
    elif place == "seal.json":
        known.sealed = reader.chunks(stored)
    elif place == "plan.json":
        known.plan = reader.plan(stored)
    elif place == "aborted.json":
        known.aborted = True
    elif place == "cancelled.json":
        known.cancelled = True
    elif place == "report.json":
        known.reported = True


def _note_shard(known: RunFacts, reader: Reader, stored: Stored, found: re.Match[str]) -> None:
    shard = known.shards.setdefault((int(found[1]), int(found[2])), ShardFacts())
    fact, parsed, sink, part = found[3], found[4], found[5], found[6]
    if parsed:
        shard.parsed.add(int(parsed))
    elif sink:
        shard.delivered.add((int(sink), int(part)))
    elif fact == "parts":
        shard.parts = reader.parts(stored)
    elif fact == "settled":
        shard.files, shard.again = reader.settled(stored)
    else:
        setattr(shard, fact, True)
