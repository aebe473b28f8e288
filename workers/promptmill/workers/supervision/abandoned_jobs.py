"""Jobs that are to stop and do not: given up after a while, so that their run can end, and looked after all the same.

What Vertex bills is collected whenever it comes. A run that is done is never opened again for it: late answers have a place
of their own.
"""

from collections.abc import Iterator

import structlog

from promptmill.config import names
from promptmill.config.errors import NotFound
from promptmill.workers import steps
from promptmill.workers.coordination.notes import OpenJob
from promptmill.workers.dispatch import Flow
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Created, Ended
from promptmill.workers.facts.snapshot import RunFacts
from promptmill.workers.facts.step import Step
from promptmill.workers.ports.google import Job, Stored
from promptmill.workers.services import Services
from promptmill.workers.supervision import polling

_log = structlog.get_logger(__name__)
_LOOKED_AFTER = 7 * 86_400.0
"""Seconds after which nothing is expected of a job any more: it waits for 72 hours at most, and runs for 24."""


def give_up(services: Services, flow: Flow | None, known: RunFacts) -> Iterator[str]:
    """Give up the open jobs of a run that was to end so long ago, by the bucket's clock; says what was done.

    Without a ``flow`` only says what would be done.
    """
    if not steps.cancel.has_waited(services.bucket, known, services.settings.give_up_seconds):
        return
    for place in steps.cancel.open_places(known):
        name = records.get(services.bucket, names.shard(known.run, *place) + "job.json", Created).name
        if flow:
            ended = steps.cancel.ended_by_hand(services.bucket, known.run, name)
            flow.enqueue(end(services, OpenJob(name, known.run, *place), ended))
            known.shards[place].ended = True
            _log.warning("a job that does not end was given up", run=known.run, shard=place[0], job=name)
        yield f"{'gave' if flow else 'would give'} up job {name}, which does not end"


def end(services: Services, known: OpenJob, ended: Ended) -> list[Step]:
    """End a job for which Vertex told no end; from now on it is looked after here. Returns what is to be done next."""
    services.bucket.create(names.given_up(known.run, known.shard, known.attempt), b"")
    return polling.end(services, known, ended)


def look_after(services: Services, flow: Flow) -> Iterator[tuple[str, str]]:
    """Look at all jobs that were given up: has one ended after all, its answers are kept. Yields runs and what was done."""
    for marker in services.bucket.list(names.GIVEN_UP):
        run, index, attempt = marker.name.removeprefix(names.GIVEN_UP).split("/")
        for words in _look_after(services, flow, marker, Step("harvest", run, (int(index), int(attempt)))):
            yield run, words


def _look_after(services: Services, flow: Flow, marker: Stored, step: Step) -> Iterator[str]:
    folder = names.shard(step.run, *step.place)
    if services.bucket.find(folder + "settled.json") is None:
        return
    ended = records.get(services.bucket, folder + "ended.json", Ended)
    if not ended.by_hand or records.age(services.bucket, marker, folder + "clock") > _LOOKED_AFTER:
        services.bucket.delete(marker.name)
        return
    job = _ask(services, ended.job.name)
    if job and job.ended:
        records.put(services.bucket, folder + "late.json", Ended(job, records.now()))
        if flow.enqueue_stalled([step]):
            yield f"job {job.name}, which was given up, has ended after all as {job.state}"
    elif job:
        services.jobs.cancel(job.name)


def _ask(services: Services, name: str) -> Job | None:
    try:
        return services.jobs.get(name)
    except NotFound:
        return None
