"""Lost jobs: those that Vertex has not known for a long time. What becomes of their rows is a person's word.

Nothing is created again by itself: a job that only seems to be gone would be paid for twice.
"""

from collections.abc import Iterator

import msgspec

from promptmill.config.queues import takeover
from promptmill.config.settings import Settings
from promptmill.workers.coordination.notes import OpenJob
from promptmill.workers.dispatch import Flow
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Ended
from promptmill.workers.ports.google import Job
from promptmill.workers.services import Services, build
from promptmill.workers.supervision import abandoned_jobs, alarms, polling


class LostJob(msgspec.Struct, frozen=True):
    """A job that is lost: its ``place`` (run/shard/attempt), its name, and since when (seconds since the epoch)."""

    place: str
    job: str
    since: float


def listed(settings: Settings) -> Iterator[LostJob]:
    """Yield all lost jobs: the entry point of the command line."""
    return map(_told, find(build(settings)))


def release(settings: Settings, place: str, *, again: bool) -> None:
    """End a lost job by a person's word, as ``end`` does: the entry point of the command line."""
    from promptmill.workers.app import make_app

    services = build(settings)
    flow = Flow(make_app(settings, build), services.notes, takeover(settings))
    end(services, flow, place, again=again)


def find(services: Services) -> list[OpenJob]:
    """Return the open jobs that are lost."""
    return [job for job in services.notes.open_jobs(services.settings.parent) if alarms.is_lost(job)]


def end(services: Services, flow: Flow, place: str, *, again: bool) -> None:
    """End the lost job of ``place``; its rows without an answer are tried ``again``, or fail with reason JOB_LOST.

    Output that the job has left in the bucket is collected. Raises ValueError when no lost job is there.
    """
    known = next((job for job in find(services) if _place(job) == place), None)
    if known is None or polling.find(services, known):
        raise ValueError(f"no job at {place[:80]!r} is lost")
    job = Job(known.name, "JOB_STATE_FAILED", error_message="Vertex does not know the job any more")
    ended = Ended(job, records.now(), reason="JOB_LOST", again=again, by_hand=True)
    flow.enqueue(abandoned_jobs.end(services, known, ended))


def _told(job: OpenJob) -> LostJob:
    return LostJob(_place(job), job.name, job.since)


def _place(job: OpenJob) -> str:
    return f"{job.run}/{job.shard}/{job.attempt}"
