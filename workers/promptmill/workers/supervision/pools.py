"""Stores collected calls in the bucket, cuts runs from pools, and finds stalled cuts."""

import time
from collections.abc import Iterator
from typing import Any

import structlog

from promptmill.config import names
from promptmill.config.errors import MessageRefused, NewerVersion
from promptmill.producers.contract.ids import new_id
from promptmill.producers.contract.messages import decode_manifest, decode_pooled_call
from promptmill.producers.submission import Submission
from promptmill.workers import steps
from promptmill.workers.facts import dead_letters, records
from promptmill.workers.facts.records import Cut
from promptmill.workers.facts.step import Step
from promptmill.workers.services import Services
from promptmill.workers.steps.cut import CutReader
from promptmill.workers.steps.pool import (
    MAX_BYTES,
    MAX_CALLS,
    BatchSize,
    Pool,
    PoolEntry,
    PoolLimits,
)
from promptmill.workers.supervision.chunk_store import ChunkStore

_log = structlog.get_logger(__name__)
_CLAIM_SECONDS = 30.0
"""Seconds for which one worker at most stores collected calls."""
_MAX_STORE_SECONDS = 60.0
"""Seconds after which a worker leaves the remaining calls to the next task."""
_KEEP_BATCHES = 3600.0
"""Seconds for which the batches of a cut are kept. If a worker died between storing and removing
a call, only its batch shows that the call is stored already."""
_KEEP_CUTS = 7 * 86_400.0
"""Seconds for which a worker may hang between reading a batch and writing it."""


def store_calls(services: Services) -> None:
    """Store all collected calls. One worker at a time does so: another would repeat its work."""
    started = time.monotonic()
    services.pending_calls.reset_wakeup()
    while services.pending_calls.count_calls() and time.monotonic() - started < _MAX_STORE_SECONDS:
        if not services.claims.try_claim("pooling", _CLAIM_SECONDS):
            return
        try:
            if not _store_batches(services):
                return
        finally:
            services.claims.release_claim("pooling")


def _store_batches(services: Services) -> bool:
    """Store one batch of each pool. Returns whether there was anything to store."""
    refused: list[bytes] = []
    batches = list(
        steps.pool.store_calls(services.bucket, _limit_calls(_decode_calls(services, refused)))
    )
    for batch in batches:
        services.pool_sizes.set_batch_size(batch.id, *batch.size)
        services.pending_calls.remove_calls(batch.stream_ids)
    if refused:
        _log.error("pooled_calls_unreadable", calls=len(refused))
        services.pending_calls.remove_calls(refused)
    return bool(batches)


def _decode_calls(services: Services, refused: list[bytes]) -> Iterator[PoolEntry]:
    """Yield the collected calls, and add invalid ones to ``refused``."""
    for stream_id, data in services.pending_calls.iter_calls():
        try:
            pooled = decode_pooled_call(data)
            decode_manifest(pooled.run)
        except NewerVersion:
            continue  # a newer worker stores it
        except MessageRefused:
            refused.append(stream_id)
        else:
            yield PoolEntry(stream_id, pooled)


def _limit_calls(calls: Iterator[PoolEntry]) -> Iterator[PoolEntry]:
    size = 0
    for number, call in enumerate(calls, 1):
        yield call
        size += len(call.pooled.data)
        if size >= MAX_BYTES or number >= MAX_CALLS:
            return


def sweep_pools(services: Services) -> list[Step]:
    """Cut the runs that are due. Returns the ``cut`` steps of all unfinished cuts."""
    parked = dead_letters.parked_steps(services.bucket)
    cut_steps = [
        Step("cut", cut.run)
        for pool in steps.pool.load_pools(services.bucket)
        for cut in _cut_pool(services, pool)
    ]
    if services.claims.try_claim("old-cuts", 3600):
        steps.pool.delete_old_cuts(services.bucket, _KEEP_CUTS, records.current_time())
    return [step for step in cut_steps if step.id not in parked]


def _cut_pool(services: Services, pool: Pool) -> Iterator[Cut]:
    """Cut the runs of one pool that are due. Yields the unfinished cuts.

    Deletes the batches of cuts that finished a while ago.
    """
    _create_cuts(services, pool)
    for cut in pool.remaining_cuts:
        if not steps.cut.is_done(services.bucket, cut):
            steps.pool.open_run(services.bucket, cut)
            yield cut
        elif records.current_time() - cut.at > _KEEP_BATCHES:
            steps.cut.delete_batches(services.bucket, cut)


def _create_cuts(services: Services, pool: Pool) -> None:
    settings = services.settings
    limits = PoolLimits(settings.pool_requests, settings.pool_bytes, settings.pool_seconds)
    sizes = _load_sizes(services, pool)
    age = steps.pool.pool_age(services.bucket, pool.free_batches)
    max_bytes = settings.chunk_bytes, settings.max_request_bytes
    while batches := steps.pool.select_batches(pool.free_batches, sizes, age, limits):
        now = records.current_time()
        new_cut = Cut(new_id(), pool.pool, pool.options, batches, now, *max_bytes)
        steps.pool.create_cut(services.bucket, pool, new_cut)


def _load_sizes(services: Services, pool: Pool) -> dict[str, BatchSize]:
    """Return the sizes of the uncut batches. Reads the batches whose size Redis lost."""
    ids = [stored.name.rpartition("/")[2] for stored in pool.free_batches]
    sizes = dict(zip(ids, services.pool_sizes.get_batch_sizes(ids), strict=True))
    for batch in ids:
        if sizes[batch] is None:
            size = steps.pool.batch_size(
                steps.pool.read_batch(services.bucket, names.batch(pool.pool, pool.options, batch))
            )
            services.pool_sizes.set_batch_size(batch, *size)
            sizes[batch] = size
    return {batch: BatchSize(*size) for batch, size in sizes.items() if size is not None}


def make_run(services: Services, run: str) -> bool:
    """Make the run of a cut. Returns whether this call completed it."""
    cut = steps.cut.load_cut(services.bucket, run)
    if steps.cut.is_done(services.bucket, cut):
        return False
    reader, chunk_store = CutReader(services.bucket, cut), ChunkStore(services)
    sender: Any = chunk_store
    submission = Submission(reader.manifest, services.index, sender, None, cut.chunk_bytes)
    submission.send_lines(reader.read_requests())
    services.index.record_pooled_keys(cut.pool, run, reader.keys)
    reader.mark_done()
    if reader.refused_count:
        _log.error("pooled_requests_invalid", run=run, requests=reader.refused_count)
    return chunk_store.is_whole


def is_due(services: Services) -> bool:
    """Whether pools have calls to store, or batches, which are kept for a while after a cut."""
    if services.pending_calls.count_calls():
        return True
    return next(iter(services.bucket.list(names.POOLS)), None) is not None
