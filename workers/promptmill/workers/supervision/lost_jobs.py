"""Lost jobs: those that Vertex has not known for a long time. What becomes of their rows is a person's word.

Nothing is created again by itself: a job that only seems to be gone would be paid for twice.
"""

from collections.abc import Iterator

import msgspec

from promptmill.config.queues import takeover_times
from promptmill.config.settings import Settings
from promptmill.workers.coordination.notes import OpenJob
from promptmill.workers.dispatch import Dispatcher
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Ended
from promptmill.workers.ports.google import Job
from promptmill.workers.services import Services, build_services
from promptmill.workers.supervision import abandoned_jobs, alarms, polling


class LostJob(msgspec.Struct, frozen=True):
    """A job that is lost: its ``attempt_path`` (run/shard/attempt), its name, and since when (seconds since the epoch)."""

    place: str
    job: str
    since: float


def list_lost_jobs(settings: Settings) -> Iterator[LostJob]:
    """Yield all lost jobs: the entry point of the command line."""
    return map(_describe_job, find_lost_jobs(build_services(settings)))


def release_lost_job(settings: Settings, attempt_path: str, *, again: bool) -> None:
    """End a lost job by a person's word, as ``end_lost_job`` does: the entry point of the command line."""
    from promptmill.workers.app import make_app

    services = build_services(settings)
    dispatcher = Dispatcher(
        make_app(settings, build_services), services.notes, takeover_times(settings)
    )
    end_lost_job(services, dispatcher, attempt_path, again=again)


def find_lost_jobs(services: Services) -> list[OpenJob]:
    """Return the open jobs that are lost."""
    return [
        job for job in services.notes.list_jobs(services.settings.parent) if alarms.is_lost(job)
    ]


def end_lost_job(
    services: Services, dispatcher: Dispatcher, attempt_path: str, *, again: bool
) -> None:
    """End the lost job of ``attempt_path``; its rows without an answer are tried ``again``, or fail with reason JOB_LOST.

    Output that the job has left in the bucket is collected. Raises ValueError when no lost job is there.
    """
    open_job = next(
        (job for job in find_lost_jobs(services) if _attempt_path(job) == attempt_path), None
    )
    if open_job is None or polling.find_job(services, open_job):
        raise ValueError(f"no job at {attempt_path[:80]!r} is lost")
    job = Job(
        open_job.name, "JOB_STATE_FAILED", error_message="Vertex does not know the job any more"
    )
    ended = Ended(job, records.current_time(), reason="JOB_LOST", again=again, by_hand=True)
    dispatcher.enqueue_steps(abandoned_jobs.end_job(services, open_job, ended))


def _describe_job(job: OpenJob) -> LostJob:
    return LostJob(_attempt_path(job), job.name, job.since)


def _attempt_path(job: OpenJob) -> str:
    return f"{job.run}/{job.shard}/{job.attempt}"
