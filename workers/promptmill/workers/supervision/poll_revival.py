"""Lets a chain of polls go on soon after the worker died that was at it, so that no run waits for a sweep."""

from contextlib import suppress
from typing import Any

from promptmill.config import queues
from promptmill.config.errors import Transient
from promptmill.workers.dispatch import Dispatcher
from promptmill.workers.runtime.bootsteps import PeriodicStep
from promptmill.workers.supervision import polling


class PollRevival(PeriodicStep):
    """Looks every second, in each worker that polls, whether jobs are open and nobody looks at them: one call to Redis."""

    def include_if(self, parent: Any) -> bool:
        """Only where polls are taken."""
        return queues.POLL in parent.app.amqp.queues

    def interval_seconds(self, parent: Any) -> float:  # noqa: ARG002
        """One second."""
        return 1.0

    def run_once(self, parent: Any) -> None:
        """Look, and start a chain."""
        services = parent.app.services()
        dispatcher = Dispatcher(
            parent.app, services.leases, queues.takeover_times(services.settings)
        )
        with suppress(Transient):
            polling.revive_chain(services, dispatcher)
