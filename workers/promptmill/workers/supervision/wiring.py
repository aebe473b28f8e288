"""Builds the classes of this package from the services of a process."""

from promptmill.config.queues import takeover_times
from promptmill.workers.dispatch import Dispatcher
from promptmill.workers.services import Services
from promptmill.workers.supervision.alarms import JobAlarms
from promptmill.workers.supervision.job_endings import JobEndings
from promptmill.workers.supervision.poll_chain import PollChain
from promptmill.workers.supervision.polling import Polling


def make_dispatcher(app: object, services: Services) -> Dispatcher:
    """Make the dispatcher of a Celery app."""
    return Dispatcher(app, services.leases, takeover_times(services.settings))


def make_chain(services: Services, dispatcher: Dispatcher) -> PollChain:
    """Make the chain of polls. Opens no Vertex client."""
    return PollChain(services.open_jobs, services.settings, dispatcher)


def make_endings(services: Services) -> JobEndings:
    """Make the recorder of job ends. Opens no Vertex client."""
    return JobEndings(services.bucket, services.index, services.open_jobs, _make_alarms(services))


def make_polling(services: Services) -> Polling:
    """Make the poller of open jobs."""
    alarms, endings = _make_alarms(services), make_endings(services)
    return Polling(services.jobs, services.open_jobs, services.bucket, alarms, endings)


def _make_alarms(services: Services) -> JobAlarms:
    return JobAlarms(services.open_jobs, services.index, services.alarm_counts, services.settings)
