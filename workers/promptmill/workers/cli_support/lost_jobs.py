"""Lists and releases lost jobs for the command line."""

from collections.abc import Iterator

import msgspec

from promptmill.config.settings import Settings
from promptmill.workers.app import make_app
from promptmill.workers.coordination.open_jobs import OpenJob
from promptmill.workers.services import build_services
from promptmill.workers.supervision import lost_jobs, wiring


class LostJob(msgspec.Struct, frozen=True):
    """A lost job. ``attempt`` is run/shard/attempt; ``since`` is in seconds since the epoch."""

    attempt: str
    job: str
    since: float


def list_lost_jobs(settings: Settings) -> Iterator[LostJob]:
    """Yield all lost jobs."""
    return map(_describe_job, lost_jobs.find_lost_jobs(build_services(settings).open_jobs))


def release_lost_job(settings: Settings, attempt_path: str, *, retry: bool) -> None:
    """End a lost job on an operator's decision; raises ValueError if it is not lost."""
    services = build_services(settings)
    dispatcher = wiring.make_dispatcher(make_app(settings, build_services), services)
    lost_jobs.end_lost_job(services, dispatcher, attempt_path, retry=retry)


def _describe_job(job: OpenJob) -> LostJob:
    return LostJob(job.slot, job.name, job.since)
