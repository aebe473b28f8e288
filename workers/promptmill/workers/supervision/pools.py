"""Brings what was collected into the bucket, cuts runs from it, and finds what of that stands still."""

import time
from collections.abc import Iterator
from typing import Any

import structlog

from promptmill.config import names
from promptmill.config.errors import MessageRefused, NewerVersion
from promptmill.producers.contract.ids import new_id
from promptmill.producers.contract.messages import decode_manifest, decode_pooled
from promptmill.producers.submission import Submission
from promptmill.workers import steps
from promptmill.workers.facts import dead_letters, records
from promptmill.workers.facts.step import Step
from promptmill.workers.services import Services
from promptmill.workers.steps.cut import Gathering
from promptmill.workers.steps.pool import MOST_BYTES, MOST_CALLS, Call, Cut, Limits, Pool, Size
from promptmill.workers.supervision.chunk_store import Keeper

_log = structlog.get_logger(__name__)
_TURN = 30.0
"""Seconds for which one worker alone takes what was collected, unless it is through before."""
_LONGEST = 60.0
"""Seconds after which a worker leaves what waits to the next."""
_KEEP_BATCHES = 3600.0
"""Seconds for which the batches of a cut stay: a call may be in one and in the stream still, as its worker died, and only
the batch tells it from those that came later."""
_KEEP_CUTS = 7 * 86_400.0
"""Seconds for which a worker may stand still with a batch that it has read and not written."""


def store(services: Services) -> None:
    """Store all that waits; of two workers, one: another would read the same, and find it stored."""
    began = time.monotonic()
    services.collected.begin()
    while services.collected.count() and time.monotonic() - began < _LONGEST:
        if not services.notes.claim("pooling", _TURN):
            return
        try:
            if not _store_some(services):
                return
        finally:
            services.notes.forget("pooling")


def _store_some(services: Services) -> bool:
    """Store one batch of each pool; whether there was anything to store."""
    refused: list[bytes] = []
    kept = list(steps.pool.keep(services.bucket, _some(_calls(services, refused))))
    for batch in kept:
        services.notes.note_batch(batch.id, *batch.size)
        services.collected.remove(batch.places)
    if refused:
        _log.error("what was collected cannot be read, and is thrown away", calls=len(refused))
        services.collected.remove(refused)
    return bool(kept)


def _calls(services: Services, refused: list[bytes]) -> Iterator[Call]:
    """Yield what waits. What is newer is left alone, all with the same options: nobody else divides it into batches."""
    for place, data in services.collected.waiting():
        try:
            pooled = decode_pooled(data)
            decode_manifest(pooled.run)
        except NewerVersion:
            continue
        except MessageRefused:
            refused.append(place)
        else:
            yield Call(place, pooled)


def _some(calls: Iterator[Call]) -> Iterator[Call]:
    size = 0
    for number, call in enumerate(calls, 1):
        yield call
        size += len(call.pooled.data)
        if size >= MOST_BYTES or number >= MOST_CALLS:
            return


def sweep(services: Services) -> list[Step]:
    """Cut the runs that are due; returns the steps that make the runs of all cuts that are under way."""
    parked = dead_letters.steps(services.bucket)
    found = [Step("cut", one.run) for pool in steps.pool.pools(services.bucket) for one in _cuts(services, pool)]
    if services.notes.claim("old-cuts", 3600):
        steps.pool.forget_cuts(services.bucket, _KEEP_CUTS, records.now())
    return [step for step in found if step.id not in parked]


def _cuts(services: Services, pool: Pool) -> Iterator[Cut]:
    """Cut the runs of one pool that are due; yields the cuts that are under way, and clears away those done long ago."""
    settings = services.settings
    limits = Limits(settings.pool_requests, settings.pool_bytes, settings.pool_seconds)
    sizes = _sizes(services, pool)
    age = steps.pool.age(services.bucket, pool.free)
    while batches := steps.pool.due(pool.free, sizes, age, limits):
        made = Cut(
            new_id(), pool.pool, pool.options, batches, records.now(), settings.chunk_bytes,
            settings.max_request_bytes,
        )  # fmt: skip
        steps.pool.cut(services.bucket, pool, made)
    for cut in pool.left:
        if not steps.cut.is_done(services.bucket, cut):
            steps.pool.open_run(services.bucket, cut)
            yield cut
        elif records.now() - cut.at > _KEEP_BATCHES:
            steps.cut.clear(services.bucket, cut)


def _sizes(services: Services, pool: Pool) -> dict[str, Size]:
    """Return the sizes of the batches that are not cut; those that Redis has lost are read."""
    ids = [stored.name.rpartition("/")[2] for stored in pool.free]
    found = dict(zip(ids, services.notes.batch_sizes(ids), strict=True))
    for batch in ids:
        if found[batch] is None:
            size = steps.pool.size(steps.pool.read(services.bucket, names.batch(pool.pool, pool.options, batch)))
            services.notes.note_batch(batch, *size)
            found[batch] = size
    return {batch: Size(*size) for batch, size in found.items() if size is not None}


def make(services: Services, run: str) -> bool:
    """Make the run of a cut; returns whether it was this that made it whole."""
    bucket = services.bucket
    cut = steps.cut.load(bucket, run)
    if steps.cut.is_done(bucket, cut):
        return False
    gathering, keeper = Gathering(bucket, cut), Keeper(services)
    sender: Any = keeper
    Submission(gathering.manifest, services.index, sender, None, cut.chunk_bytes).send(gathering.lines())
    services.index.note_pooled(cut.pool, run, gathering.keys)
    gathering.end()
    if gathering.refused:
        _log.error(
            "what was collected holds what cannot be a request, and is passed over", run=run, n=gathering.refused
        )
    return keeper.whole


def is_due(services: Services) -> bool:
    """Whether pools are to be looked after: calls wait, or there are batches, which stay for a while after their cut."""
    return bool(services.collected.count()) or next(iter(services.bucket.list(names.POOLS)), None) is not None
