"""Runs one sweep outside a worker, for the command line."""

from collections.abc import Iterator

from promptmill.config.settings import Settings
from promptmill.workers.app import make_app
from promptmill.workers.services import build_services
from promptmill.workers.supervision import sweep, wiring
from promptmill.workers.supervision.sweep import Finding


def reconcile_runs(settings: Settings, *, dry_run: bool = False) -> Iterator[Finding]:
    """Run a sweep and yield its findings; ``dry_run`` changes nothing."""
    services = build_services(settings)
    if dry_run:
        return sweep.plan_repairs(services)
    dispatcher = wiring.make_dispatcher(make_app(settings, build_services), services)
    return sweep.repair_runs(services, dispatcher, thorough=True)
