"""Lets a chain of polls go on soon after the worker died that was at it, so that no run waits for a sweep."""

from contextlib import suppress
from typing import Any

from promptmill.config import queues
from promptmill.config.errors import Transient
from promptmill.workers.dispatch import Flow
from promptmill.workers.runtime.bootsteps import Periodic
from promptmill.workers.supervision import polling


class Revival(Periodic):
    """Looks every second, in each worker that polls, whether jobs are open and nobody looks at them: one call to Redis."""

    def include_if(self, parent: Any) -> bool:
        """Only where polls are taken."""
        return queues.POLL in parent.app.amqp.queues

    def period(self, parent: Any) -> float:  # noqa: ARG002
        """One second."""
        return 1.0

    def act(self, parent: Any) -> None:
        """Look, and start a chain."""
        services = parent.app.services()
        flow = Flow(parent.app, services.notes, queues.takeover(services.settings))
        with suppress(Transient):
            polling.revive(services, flow)
