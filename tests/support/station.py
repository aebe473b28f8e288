"""A mill with what its workers note for each other and for people: Redis is in memory, what is sent is kept in a list."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from faults.simulation.memory import Redis
from promptmill.config.queues import takeover_times
from promptmill.config.settings import Settings
from promptmill.producers.contract.status import RunStatus
from promptmill.workers.coordination import progress
from promptmill.workers.dispatch import Dispatcher
from promptmill.workers.facts import snapshot
from promptmill.workers.services import Services
from promptmill.workers.sinks.context import Connectors
from promptmill.workers.supervision import polling
from support.driver import Mill


@dataclass
class Station:
    """The services around a mill; Redis and the bucket go by its clock."""

    mill: Mill
    settings: dict[str, Any] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        mill = self.mill
        connection: Any = _Connection(Redis(mill.clock))
        settings = Settings(
            project="acme", location="here", bucket=mill.bucket.url, **self.settings
        )
        self.services = Services(
            settings,
            connection,
            lambda _: mill.bucket,
            lambda: mill.jobs,
            Connectors(open_callback_broker=lambda: mill.caller),
        )
        self.flow = Dispatcher(self, self.services.leases, takeover_times(settings))

    @property
    def parent(self) -> str:
        """Where the jobs are."""
        return self.services.settings.parent

    @property
    def status(self) -> RunStatus:
        """What a user sees of the one run."""
        (run,) = self.services.index.list_runs(2)
        return self.services.index.get_status(run)

    def submit(self, run: str) -> None:
        """Bring a run so far that its jobs are created and watched."""
        for task in ("plan", "shard", "submit"):
            for step in self.mill.due(run):
                made = self.mill.do(step)
                assert step.task == task
                if task == "submit":
                    index, attempt = step.indices
                    polling.track_job(self.services, self.flow, run, index, attempt, made)
        progress.restore_if_lost(
            self.services.index, self.mill.bucket, snapshot.load_snapshot(self.mill.bucket, run)
        )
        self.sent.clear()

    def look(self) -> polling.PollOutcome:
        """Look at the open jobs once."""
        return polling.poll_open_jobs(self.services)

    def send_task(self, task: str, *, task_id: str, **_: Any) -> None:
        """Take a message, in place of a Celery app."""
        self.sent.append(task_id)


class _Connection:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @contextmanager
    def use_client(self) -> Iterator[Redis]:
        yield self._redis
