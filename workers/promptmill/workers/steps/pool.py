"""Stores what was collected for pools, in batches, and says which batches make one run.

A batch is named by the first call in it that nobody had stored yet, and written once; what a worker read after a copy of it
was stored is not written but taken from there. So each call is in one batch, whoever stores at the same time. Which batches
make a run is decided by the first cut of its number, and a batch of a former cut is never cut again, should a worker that
stood still write it once more. Its batches are kept for a while after its run is whole: they tell which calls are in them.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import msgspec

from promptmill.config import names
from promptmill.config.errors import NotFound
from promptmill.producers.contract.messages import Pooled, decode_pooled
from promptmill.workers.facts import records
from promptmill.workers.ports.google import Bucket, Stored

MOST_CALLS = 2000
MOST_BYTES = 4 << 20


class Call(NamedTuple):
    """What one call of ``collect`` sent, and its place in the stream that it came by."""

    place: bytes
    pooled: Pooled


class Batch(msgspec.Struct, frozen=True):
    """Calls of one pool with the same options, encoded, and their places in the stream."""

    places: list[bytes]
    calls: list[bytes]

    @property
    def content(self) -> list[Pooled]:
        """What the calls sent, each once."""
        decoded = [decode_pooled(call) for call in self.calls]
        return list({one.id: one for one in decoded}.values())


class Size(NamedTuple):
    """How many requests a batch has, and how many bytes they take before compression."""

    requests: int
    size: int


class Cut(msgspec.Struct, frozen=True):
    """Which batches of a pool make a run, opened ``at``, and the limits that its chunks are made with."""

    run: str
    pool: str
    options: str
    batches: list[str]
    at: float
    chunk_bytes: int
    max_request_bytes: int


class Limits(NamedTuple):
    """When a run is cut: at so many requests, bytes or seconds."""

    requests: int
    size: int
    seconds: float


class Kept(NamedTuple):
    """A batch that is stored, its size, and the places of what is in it."""

    id: str
    size: Size
    places: list[bytes]


def keep(bucket: Bucket, calls: Iterable[Call]) -> Iterator[Kept]:
    """Store calls that were read from the beginning of the stream, a batch for each pool and options."""
    groups: dict[tuple[str, str], list[Call]] = {}
    for call in calls:
        options = hashlib.sha256(call.pooled.run).hexdigest()[:16]
        groups.setdefault((call.pooled.pool, options), []).append(call)
    for (pool, options), group in groups.items():
        yield _keep(bucket, names.batch(pool, options, group[0].pooled.id), group)


def _keep(bucket: Bucket, name: str, group: list[Call]) -> Kept:
    batch = Batch([call.place for call in group], [msgspec.msgpack.encode(call.pooled) for call in group])
    if not bucket.create(name, msgspec.msgpack.encode(batch)):
        batch = read(bucket, name)
        if group[0].place not in batch.places:  # the same call came twice
            return Kept(group[0].pooled.id, size(batch), [group[0].place])
    return Kept(group[0].pooled.id, size(batch), batch.places)


def read(bucket: Bucket, name: str) -> Batch:
    """Read a batch; raises NotFound."""
    return decode(bucket.read(name))


def decode(data: bytes) -> Batch:
    """Return a batch as it was stored."""
    return msgspec.msgpack.decode(data, type=Batch)


def size(batch: Batch) -> Size:
    """Return the size of a batch."""
    content = batch.content
    return Size(sum(one.requests for one in content), sum(one.size for one in content))


class Pool(NamedTuple):
    """The batches of one pool and options, by id and oldest first, and its cuts."""

    pool: str
    options: str
    batches: dict[str, Stored]
    cuts: dict[int, Cut]

    @property
    def free(self) -> list[Stored]:
        """The batches that are in no cut, oldest first."""
        cut = {batch for one in self.cuts.values() for batch in one.batches}
        return [stored for batch, stored in self.batches.items() if batch not in cut]

    @property
    def left(self) -> list[Cut]:
        """The cuts of which batches are left."""
        return [cut for cut in self.cuts.values() if not self.batches.keys().isdisjoint(cut.batches)]


def pools(bucket: Bucket) -> Iterator[Pool]:
    """Yield the pools that have batches."""
    found: dict[tuple[str, str], dict[str, Stored]] = {}
    for stored in bucket.list(names.POOLS):
        pool, _, rest = stored.name.removeprefix(names.POOLS).partition("/")
        options, _, batch = rest.partition("/")
        if names.BATCH.fullmatch(batch):
            found.setdefault((pool, options), {})[batch] = stored
    for (pool, options), batches in found.items():
        oldest_first = dict(sorted(batches.items(), key=lambda one: (one[1].updated, one[0])))
        yield Pool(pool, options, oldest_first, _cuts(bucket, pool, options))


def _cuts(bucket: Bucket, pool: str, options: str) -> dict[int, Cut]:
    found = {}
    for stored in bucket.list(names.cuts(pool, options)):
        number = int(stored.name.rpartition("/")[2].removesuffix(".json"))
        found[number] = _read_cut(bucket, stored.name)  # type: ignore[arg-type]  # a bucket is itself
    return found


@lru_cache(maxsize=1024)
def _read_cut(bucket: Bucket, name: str) -> Cut:
    """Read a cut, which never changes, once in a process."""
    return records.get(bucket, name, Cut)


def due(free: list[Stored], sizes: dict[str, Size], age: float, limits: Limits) -> list[str]:
    """Return the batches that make a run now, if any do: not more than the limits, but one at least."""
    ids = [stored.name.rpartition("/")[2] for stored in free]
    requests, bytes_ = sum(sizes[one].requests for one in ids), sum(sizes[one].size for one in ids)
    if not ids or (requests < limits.requests and bytes_ < limits.size and age < limits.seconds):
        return []
    chosen: list[str] = []
    requests = bytes_ = 0
    for one in ids:
        requests, bytes_ = requests + sizes[one].requests, bytes_ + sizes[one].size
        if chosen and (requests > limits.requests or bytes_ > limits.size):
            break
        chosen.append(one)
    return chosen


def age(bucket: Bucket, free: list[Stored]) -> float:
    """Return the seconds since the oldest batch was stored, by the bucket's clock."""
    return records.age(bucket, free[0], "pools-clock") if free else 0.0


def cut(bucket: Bucket, pool: Pool, made: Cut) -> Cut:
    """Write the next cut of a pool, and return it, or the one that another worker made in its place."""
    number = max(pool.cuts, default=-1) + 1
    name = names.cut(pool.pool, pool.options, number)
    made = records.keep(bucket, name, made)
    pool.cuts[number] = made
    return made


def open_run(bucket: Bucket, cut: Cut) -> None:
    """Write down in the run's own folder what it is made of."""
    records.put(bucket, names.cut_of(cut.run), cut)


def forget_cuts(bucket: Bucket, older_than: float, now: float) -> None:
    """Delete old cuts, but for the last of each pool: the next one's number follows from it."""
    stored = list(bucket.list(names.CUTS))
    for one, following in pairwise(stored):
        same = one.name.rpartition("/")[0] == following.name.rpartition("/")[0]
        if same and now - one.updated > older_than and not _has_batches(bucket, one.name):
            bucket.delete(one.name)


def _has_batches(bucket: Bucket, name: str) -> bool:
    try:
        made = records.get(bucket, name, Cut)
    except NotFound:
        return False
    return any(bucket.find(names.batch(made.pool, made.options, batch)) for batch in made.batches)
