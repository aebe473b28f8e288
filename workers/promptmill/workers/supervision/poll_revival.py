"""Restarts the chain of polls within seconds of a worker's death; a sweep would take longer."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from promptmill.config import queues
from promptmill.config.errors import Transient
from promptmill.workers.runtime.bootsteps import PeriodicStep
from promptmill.workers.supervision import wiring

if TYPE_CHECKING:
    from celery.worker.consumer.consumer import Consumer


class PollRevival(PeriodicStep):
    """Checks every second whether polling has stopped, in each worker that polls.

    The check is one call to Redis.
    """

    def include_if(self, parent: "Consumer") -> bool:
        """Only in workers that take polls."""
        return queues.POLL in parent.app.amqp.queues

    def interval_seconds(self, parent: "Consumer") -> float:  # noqa: ARG002
        """One second."""
        return 1.0

    def run_once(self, parent: Any) -> None:
        """Check, and start a chain if needed."""
        services = parent.app.services()
        dispatcher = wiring.make_dispatcher(parent.app, services)
        with suppress(Transient):
            wiring.make_chain(services, dispatcher).revive_chain()
