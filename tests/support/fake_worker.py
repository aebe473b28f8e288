"""A mill with what its workers note for each other and for people: Redis is in memory, what is sent is kept in a list."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from faults.simulation.memory import Redis
from promptmill.config.queues import takeover_times
from promptmill.config.settings import Settings
from promptmill.producers.contract.status import RunStatus
from promptmill.producers.pools import PoolQueue
from promptmill.workers.coordination import progress
from promptmill.workers.dispatch import Dispatcher
from promptmill.workers.facts import snapshot
from promptmill.workers.services import Services
from promptmill.workers.sinks.context import Connectors
from promptmill.workers.supervision import sweep, wiring
from promptmill.workers.supervision.poll_chain import PollChain
from promptmill.workers.supervision.polling import PollOutcome
from support.fake_pipeline import FakePipeline


@dataclass
class FakeWorker:
    """The services around a mill; Redis and the bucket go by its clock."""

    pipeline: FakePipeline
    settings: dict[str, Any] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        pipeline = self.pipeline
        connection: Any = _Connection(Redis(pipeline.clock))
        settings = Settings(
            project="acme", location="here", bucket=pipeline.bucket.url, **self.settings
        )
        self.services = Services(
            settings,
            connection,
            lambda _: pipeline.bucket,
            lambda: pipeline.jobs,
            Connectors(open_callback_broker=lambda: pipeline.caller),
            lambda: PoolQueue(connection),
        )
        self.flow = Dispatcher(self, self.services.leases, takeover_times(settings))

    @property
    def chain(self) -> PollChain:
        """The chain of polls."""
        return wiring.make_chain(self.services, self.flow)

    def sweep(self, *, thorough: bool = True) -> list[str]:
        """Sweep, and return what was found and done."""
        return [
            found.message
            for found in sweep.repair_runs(self.services, self.flow, thorough=thorough)
        ]

    def plan(self) -> list[str]:
        """Return what a dry run says."""
        return [found.message for found in sweep.plan_repairs(self.services)]

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
            for step in self.pipeline.due(run):
                made = self.pipeline.do(step)
                assert step.task == task
                if task == "submit":
                    index, attempt = step.indices
                    self.chain.track_job(run, index, attempt, made)
        progress.restore_run(
            self.services.index,
            self.pipeline.bucket,
            snapshot.load_snapshot(self.pipeline.bucket, run),
        )
        self.sent.clear()

    def look(self) -> PollOutcome:
        """Look at the open jobs once."""
        return wiring.make_polling(self.services).poll_open_jobs()

    def send_task(self, task: str, *, task_id: str, **_: Any) -> None:
        """Take a message, in place of a Celery app."""
        self.sent.append(task_id)


class _Connection:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @contextmanager
    def use_client(self) -> Iterator[Redis]:
        yield self._redis
