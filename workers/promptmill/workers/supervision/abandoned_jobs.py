"""Jobs that are to stop and do not: given up after a while, so that their run can end, and looked after all the same.

What Vertex bills is collected whenever it comes. A run that is done is never opened again for it: late answers have a place
of their own.
"""

from collections.abc import Iterator

import structlog

from promptmill.config import names
from promptmill.config.errors import NotFound
from promptmill.workers import steps
from promptmill.workers.coordination.open_jobs import OpenJob
from promptmill.workers.dispatch import Dispatcher
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Created, Ended
from promptmill.workers.facts.snapshot import RunSnapshot
from promptmill.workers.facts.step import Step
from promptmill.workers.ports.google import Job, ObjectInfo
from promptmill.workers.services import Services
from promptmill.workers.supervision import polling

_log = structlog.get_logger(__name__)
_WATCH_SECONDS = 7 * 86_400.0
"""Seconds after which nothing is expected of a job any more: it waits for 72 hours at most, and runs for 24."""


def abandon_jobs(
    services: Services, dispatcher: Dispatcher | None, snapshot: RunSnapshot
) -> Iterator[str]:
    """Give up the open jobs of a run that was to end so long ago, by the bucket's clock; says what was done.

    Without a ``dispatcher`` only says what would be done.
    """
    if not steps.cancel.has_stuck_jobs(
        services.bucket, snapshot, services.settings.give_up_seconds
    ):
        return
    for attempt_ref in steps.cancel.open_attempts(snapshot):
        name = records.get_fact(
            services.bucket, names.shard(snapshot.run, *attempt_ref) + "job.json", Created
        ).name
        if dispatcher:
            ended = steps.cancel.build_abandoned(services.run_folder(snapshot.run), name)
            dispatcher.enqueue_steps(
                end_job(services, OpenJob(name, snapshot.run, *attempt_ref), ended)
            )
            snapshot.attempts[attempt_ref].ended = True
            _log.warning(
                "a job that does not end was given up",
                run=snapshot.run,
                shard=attempt_ref[0],
                job=name,
            )
        yield f"{'gave' if dispatcher else 'would give'} up job {name}, which does not end"


def end_job(services: Services, open_job: OpenJob, ended: Ended) -> list[Step]:
    """End a job for which Vertex told no end; from now on it is looked after here. Returns what is to be done next."""
    services.bucket.create(names.abandoned_job(open_job.run, open_job.shard, open_job.attempt), b"")
    return polling.record_end(services, open_job, ended)


def check_abandoned(services: Services, dispatcher: Dispatcher) -> Iterator[tuple[str, str]]:
    """Look at all jobs that were given up: has one ended after all, its answers are kept. Yields runs and what was done."""
    for marker in services.bucket.list(names.ABANDONED_JOBS):
        run, shard, attempt = marker.name.removeprefix(names.ABANDONED_JOBS).split("/")
        for message in _check_marker(
            services, dispatcher, marker, Step("harvest", run, (int(shard), int(attempt)))
        ):
            yield run, message


def _check_marker(
    services: Services, dispatcher: Dispatcher, marker: ObjectInfo, step: Step
) -> Iterator[str]:
    folder = names.shard(step.run, *step.indices)
    if services.bucket.find(folder + "settled.json") is None:
        return
    ended = records.get_fact(services.bucket, folder + "ended.json", Ended)
    if (
        not ended.by_hand
        or records.object_age(services.bucket, marker, folder + "clock") > _WATCH_SECONDS
    ):
        services.bucket.delete(marker.name)
        return
    job = _find_job(services, ended.job.name)
    if job and job.has_ended:
        records.create_fact(
            services.bucket, folder + "late.json", Ended(job, records.current_time())
        )
        if dispatcher.enqueue_stalled([step]):
            yield f"job {job.name}, which was given up, has ended after all as {job.state}"
    elif job:
        services.jobs.cancel(job.name)


def _find_job(services: Services, name: str) -> Job | None:
    try:
        return services.jobs.get(name)
    except NotFound:
        return None
