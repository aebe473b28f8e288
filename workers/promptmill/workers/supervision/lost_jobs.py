"""Lost jobs: those that Vertex has not known for a long time. What becomes of their rows is a person's word.

Nothing is created again by itself: a job that only seems to be gone would be paid for twice.
"""

from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.workers.coordination.open_jobs import OpenJob
from promptmill.workers.dispatch import Dispatcher
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Ended
from promptmill.workers.ports.google import Job
from promptmill.workers.services import Services
from promptmill.workers.supervision import abandoned_jobs, alarms, polling


def find_lost_jobs(services: Services) -> list[OpenJob]:
    """Return the open jobs that are lost."""
    return [job for job in services.open_jobs.list_jobs() if alarms.is_lost(job)]


def end_lost_job(
    services: Services, dispatcher: Dispatcher, attempt_path: str, *, again: bool
) -> None:
    """End the lost job of ``attempt_path``; its rows without an answer are tried ``again``, or fail with reason JOB_LOST.

    Output that the job has left in the bucket is collected. Raises ValueError when no lost job is there.
    """
    open_job = next(
        (job for job in find_lost_jobs(services) if attempt_path_of(job) == attempt_path), None
    )
    if open_job is None or polling.find_job(services, open_job):
        raise ValueError(f"no job at {attempt_path[:80]!r} is lost")
    job = Job(
        open_job.name, "JOB_STATE_FAILED", error_message="Vertex does not know the job any more"
    )
    ended = Ended(
        job, records.current_time(), reason=FailureReason.JOB_LOST, again=again, by_hand=True
    )
    dispatcher.enqueue_steps(abandoned_jobs.end_job(services, open_job, ended))


def attempt_path_of(job: OpenJob) -> str:
    """Return run/shard/attempt of a job."""
    return f"{job.run}/{job.shard}/{job.attempt}"
