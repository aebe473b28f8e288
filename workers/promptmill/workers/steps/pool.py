"""Stores pooled calls in batches, and decides which batches make up a run.

- A batch is named after its first call and written once. A worker that finds the batch
  written takes its content from there. So each call is in one batch, even if several
  workers store the same calls.
- A cut lists the batches of one run. Cuts of a pool are numbered, and the first writer of a
  number decides. A batch is never cut twice, even if a slow worker writes it again.
- Batches are kept for a while after their run is complete: they record which calls the run
  contains.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import msgspec

from promptmill.config import names
from promptmill.producers.contract.messages import PooledCall, decode_pooled_call
from promptmill.workers.facts import records
from promptmill.workers.facts.fact import Fact
from promptmill.workers.facts.records import Cut
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.ports.google import Bucket, ObjectInfo

MAX_CALLS = 2000
MAX_BYTES = 4 << 20


class PoolEntry(NamedTuple):
    """One call of ``enqueue``, and its position in the Redis stream."""

    stream_id: bytes
    pooled: PooledCall


class Batch(msgspec.Struct, frozen=True):
    """Encoded calls of one pool with the same options, and their stream ids."""

    stream_ids: list[bytes] = msgspec.field(name="places")
    calls: list[bytes]

    @property
    def unique_calls(self) -> list[PooledCall]:
        """The decoded calls, without duplicate deliveries."""
        decoded = [decode_pooled_call(call) for call in self.calls]
        return list({pooled.id: pooled for pooled in decoded}.values())


class BatchSize(NamedTuple):
    """The number of requests in a batch, and their bytes before compression."""

    requests: int
    size: int


class PoolLimits(NamedTuple):
    """A run is cut when a pool reaches this many requests, bytes or seconds of age."""

    requests: int
    size: int
    seconds: float


class StoredBatch(NamedTuple):
    """A stored batch, its size, and the stream ids of its calls."""

    id: str
    size: BatchSize
    stream_ids: list[bytes]


def store_calls(bucket: Bucket, calls: Iterable[PoolEntry]) -> Iterator[StoredBatch]:
    """Store calls from the head of the stream, as one batch for each pool and options."""
    groups: dict[tuple[str, str], list[PoolEntry]] = {}
    for call in calls:
        options = hashlib.sha256(call.pooled.run).hexdigest()[:16]
        groups.setdefault((call.pooled.pool, options), []).append(call)
    for (pool, options), group in groups.items():
        yield _store_batch(bucket, names.batch(pool, options, group[0].pooled.id), group)


def _store_batch(bucket: Bucket, name: str, group: list[PoolEntry]) -> StoredBatch:
    batch = Batch(
        [call.stream_id for call in group], [msgspec.msgpack.encode(call.pooled) for call in group]
    )
    if not bucket.create(name, msgspec.msgpack.encode(batch)):
        batch = read_batch(bucket, name)
        if group[0].stream_id not in batch.stream_ids:  # a duplicate delivery of the call
            return StoredBatch(group[0].pooled.id, batch_size(batch), [group[0].stream_id])
    return StoredBatch(group[0].pooled.id, batch_size(batch), batch.stream_ids)


def read_batch(bucket: Bucket, name: str) -> Batch:
    """Read a batch; raises NotFound."""
    return decode_batch(bucket.read(name))


def decode_batch(data: bytes) -> Batch:
    """Decode a stored batch."""
    return msgspec.msgpack.decode(data, type=Batch)


def batch_size(batch: Batch) -> BatchSize:
    """Return the requests and bytes of the unique calls of a batch."""
    calls = batch.unique_calls
    return BatchSize(sum(call.requests for call in calls), sum(call.size for call in calls))


class Pool(NamedTuple):
    """The batches of one pool and options by id, oldest first, and its cuts by number."""

    pool: str
    options: str
    batches: dict[str, ObjectInfo]
    cuts: dict[int, Cut]

    @property
    def free_batches(self) -> list[ObjectInfo]:
        """The batches that are in no cut, oldest first."""
        taken = {batch for pool_cut in self.cuts.values() for batch in pool_cut.batches}
        return [stored for batch, stored in self.batches.items() if batch not in taken]

    @property
    def remaining_cuts(self) -> list[Cut]:
        """The cuts that still have batches."""
        return [
            cut for cut in self.cuts.values() if not self.batches.keys().isdisjoint(cut.batches)
        ]


def load_pools(bucket: Bucket) -> Iterator[Pool]:
    """Yield the pools that have batches."""
    batches_by_pool: dict[tuple[str, str], dict[str, ObjectInfo]] = {}
    for stored in bucket.list(names.POOLS):
        pool, _, remainder = stored.name.removeprefix(names.POOLS).partition("/")
        options, _, batch = remainder.partition("/")
        if names.BATCH.fullmatch(batch):
            batches_by_pool.setdefault((pool, options), {})[batch] = stored
    for (pool, options), batches in batches_by_pool.items():
        oldest_first = dict(sorted(batches.items(), key=lambda item: (item[1].updated, item[0])))
        yield Pool(pool, options, oldest_first, _load_cuts(bucket, pool, options))


def _load_cuts(bucket: Bucket, pool: str, options: str) -> dict[int, Cut]:
    cuts_by_number = {}
    for stored in bucket.list(names.cuts(pool, options)):
        number = int(stored.name.rpartition("/")[2].removesuffix(".json"))
        # A bucket is hashable by identity, which its protocol does not say.
        cuts_by_number[number] = _read_cut(bucket, stored.name)  # type: ignore[arg-type]
    return cuts_by_number


@lru_cache(maxsize=1024)
def _read_cut(bucket: Bucket, name: str) -> Cut:
    """Read a cut. It never changes, so each process reads it once."""
    return Fact(bucket, name, Cut).get()


def select_batches(
    free_batches: list[ObjectInfo], sizes: dict[str, BatchSize], age: float, limits: PoolLimits
) -> list[str]:
    """Return the ids of the batches that make up the next run; none if no limit is reached.

    The batches stay within the limits, unless the first one alone exceeds these.
    """
    batch_ids = [stored.name.rpartition("/")[2] for stored in free_batches]
    total_requests = sum(sizes[batch_id].requests for batch_id in batch_ids)
    total_bytes = sum(sizes[batch_id].size for batch_id in batch_ids)
    if not batch_ids or (
        total_requests < limits.requests and total_bytes < limits.size and age < limits.seconds
    ):
        return []
    chosen: list[str] = []
    total_requests = total_bytes = 0
    for batch_id in batch_ids:
        total_requests += sizes[batch_id].requests
        total_bytes += sizes[batch_id].size
        if chosen and (total_requests > limits.requests or total_bytes > limits.size):
            break
        chosen.append(batch_id)
    return chosen


def pool_age(bucket: Bucket, free_batches: list[ObjectInfo]) -> float:
    """Return the seconds since the oldest batch was stored, by the bucket's clock."""
    return records.object_age(bucket, free_batches[0], "pools-clock") if free_batches else 0.0


def create_cut(bucket: Bucket, pool: Pool, new_cut: Cut) -> Cut:
    """Write the next cut of a pool; returns the one of another worker that was first."""
    number = max(pool.cuts, default=-1) + 1
    name = names.cut(pool.pool, pool.options, number)
    return pool.cuts.setdefault(number, Fact(bucket, name, Cut).create_or_get(new_cut))


def open_run(bucket: Bucket, cut: Cut) -> None:
    """Record the cut in the folder of its run."""
    RunFolder(bucket, cut.run).cut.create(cut)


def delete_old_cuts(bucket: Bucket, older_than: float, now: float) -> None:
    """Delete old cuts, except the last one of each pool: it determines the next number."""
    stored_cuts = list(bucket.list(names.CUTS))
    for current, following in pairwise(stored_cuts):
        same_pool = current.name.rpartition("/")[0] == following.name.rpartition("/")[0]
        if (
            same_pool
            and now - current.updated > older_than
            and not _has_batches(bucket, current.name)
        ):
            bucket.delete(current.name)


def _has_batches(bucket: Bucket, name: str) -> bool:
    old_cut = Fact(bucket, name, Cut).find()
    return old_cut is not None and any(
        bucket.find(names.batch(old_cut.pool, old_cut.options, batch)) for batch in old_cut.batches
    )
