"""Lost jobs, which Vertex has not known for a long time. An operator decides about their rows.

They are not replaced automatically: a job that only seems lost would be billed twice.
"""

from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.workers.coordination.open_jobs import OpenJob, OpenJobs
from promptmill.workers.dispatch import Dispatcher
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Ended
from promptmill.workers.ports.google import Job
from promptmill.workers.services import Services
from promptmill.workers.supervision import alarms, polling, wiring


def find_lost_jobs(open_jobs: OpenJobs) -> list[OpenJob]:
    """Return the open jobs that are lost."""
    return [job for job in open_jobs.list_jobs() if alarms.is_lost(job)]


def end_lost_job(
    services: Services, dispatcher: Dispatcher, attempt_path: str, *, retry: bool
) -> None:
    """End the lost job of ``attempt_path`` (``run/shard/attempt``).

    Its unanswered rows are retried if ``retry``, or fail with reason JOB_LOST. Output that
    it left in the bucket is collected. Raises ValueError if no job there is lost.
    """
    open_job = _find_lost_job(services, attempt_path)
    job = Job(open_job.name, "JOB_STATE_FAILED", error_message="Vertex no longer has the job")
    ended = Ended(
        job, records.current_time(), reason=FailureReason.JOB_LOST, retry=retry, by_hand=True
    )
    dispatcher.enqueue_steps(wiring.make_endings(services).abandon_job(open_job, ended))


def _find_lost_job(services: Services, attempt_path: str) -> OpenJob:
    lost_jobs = find_lost_jobs(services.open_jobs)
    open_job = next((job for job in lost_jobs if job.slot == attempt_path), None)
    if open_job is None or polling.find_job(services.jobs, services.bucket, open_job):
        raise ValueError(
            f"no job at {attempt_path[:80]!r} is lost; list lost jobs with promptmill lost-jobs"
        )
    return open_job
