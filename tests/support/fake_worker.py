"""A pipeline with coordination and supervision. Redis is in memory; sent tasks go to a list."""

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
    """The services of a worker over a pipeline. Redis and the bucket use its clock."""

    pipeline: FakePipeline
    settings: dict[str, Any] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        pipeline = self.pipeline
        connection: Any = _Connection(Redis(pipeline.clock))
        named = {"project": "acme", "location": "global", **self.settings}
        settings = Settings(bucket=pipeline.bucket.url, **named)
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
        """The chain of polls of open jobs."""
        return wiring.make_chain(self.services, self.flow)

    def sweep(self, *, thorough: bool = True) -> list[str]:
        """Sweep, and return the messages about repairs."""
        return [
            found.message
            for found in sweep.repair_runs(self.services, self.flow, thorough=thorough)
        ]

    def plan(self) -> list[str]:
        """Return the messages of a dry run."""
        return [found.message for found in sweep.plan_repairs(self.services)]

    @property
    def parent(self) -> str:
        """The parent of the jobs at Vertex."""
        return self.services.settings.parent

    @property
    def status(self) -> RunStatus:
        """The status of the only run."""
        (run,) = self.services.index.list_runs(2)
        return self.services.index.get_status(run)

    def submit(self, run: str) -> None:
        """Run all steps until the jobs are created and polled."""
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
        """Poll the open jobs once."""
        return wiring.make_polling(self.services).poll_open_jobs()

    def send_task(self, task: str, *, task_id: str, **_: Any) -> None:
        """Record a task, in place of a Celery app."""
        self.sent.append(task_id)


class _Connection:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @contextmanager
    def use_client(self) -> Iterator[Redis]:
        yield self._redis
