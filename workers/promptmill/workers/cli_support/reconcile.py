"""Runs one sweep from outside a worker, for the command line."""

from collections.abc import Iterator

from promptmill.config.queues import takeover_times
from promptmill.config.settings import Settings
from promptmill.workers.app import make_app
from promptmill.workers.dispatch import Dispatcher
from promptmill.workers.services import build_services
from promptmill.workers.supervision import pools, sweep
from promptmill.workers.supervision.sweep import Finding


def reconcile_runs(settings: Settings, *, dry_run: bool = False) -> Iterator[Finding]:
    """Sweep now and yield what was found and done. Changes nothing when ``dry_run``."""
    services = build_services(settings)
    dispatcher = (
        None
        if dry_run
        else Dispatcher(
            make_app(settings, build_services), services.leases, takeover_times(settings)
        )
    )
    yield from sweep.sweep_runs(services, dispatcher, thorough=True)
    if pools.is_due(services):
        if dispatcher:
            dispatcher.enqueue_pool()
        yield Finding(
            "",
            f"{'had' if dispatcher else 'would have'} pools looked after: what was collected is stored and cut into runs",
        )
