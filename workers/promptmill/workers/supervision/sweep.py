"""Finds and repairs stalled work: reads the state, decides, and handles each action.

Re-queues stalled steps, restores state that Redis lost, and adopts or cancels untracked jobs.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from promptmill.config import names
from promptmill.config.errors import Permanent
from promptmill.workers.coordination.open_jobs import OpenJob
from promptmill.workers.dispatch import Dispatcher
from promptmill.workers.facts import dead_letters, records
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.ports.google import ObjectInfo
from promptmill.workers.services import Services
from promptmill.workers.supervision import (
    abandoned_jobs,
    decisions,
    job_slots,
    lost_jobs,
    orphaned_jobs,
    pools,
)
from promptmill.workers.supervision.actions import Action, Report, SweepPools
from promptmill.workers.supervision.applier import ActionApplier
from promptmill.workers.supervision.decisions import RunView
from promptmill.workers.supervision.job_slots import Reservations

_ORPHAN_CHECK_SECONDS = 600.0
"""Seconds between two checks for untracked jobs."""


class Finding(NamedTuple):
    """A message about a run, or about the deployment if ``run`` is empty."""

    run: str
    message: str


def repair_runs(
    services: Services, dispatcher: Dispatcher, *, thorough: bool = False
) -> Iterator[Finding]:
    """Sweep all open runs, and yield the actions that were applied.

    ``thorough`` includes runs and untracked jobs that were checked recently.
    """
    applier = ActionApplier(services, dispatcher, thorough=thorough)
    return Sweep(services, applier.apply_action, read_bucket_clock, thorough=thorough).run_sweep()


def plan_repairs(services: Services) -> Iterator[Finding]:
    """Yield the actions of a thorough sweep without applying them. Writes nothing.

    Redis supplies the time, because reading the bucket's clock requires a write.
    """
    return Sweep(
        services,
        lambda action: action.plan_text,
        lambda _: services.open_jobs.server_time(),
        thorough=True,
    ).run_sweep()


class Sweep:
    """One sweep. ``handle`` receives each action and returns its message, which may be empty."""

    def __init__(
        self,
        services: Services,
        handle: Callable[[Action], str],
        read_clock: Callable[[RunFolder], float],
        *,
        thorough: bool,
    ) -> None:
        self._services = services
        self._handle = handle
        self._read_clock = read_clock
        self._thorough = thorough

    def run_sweep(self) -> Iterator[Finding]:
        """Sweep, and yield findings."""
        bucket, claims = self._services.bucket, self._services.claims
        # Before the open runs: a slot that is taken later may belong to a newer run.
        reservations = job_slots.load_reservations(self._services.open_jobs)
        parked = dead_letters.parked_steps(bucket)
        open_runs = [stored.name.removeprefix(names.OPEN) for stored in bucket.list(names.OPEN)]
        interval = self._services.settings.reconcile_interval / 2
        for run in open_runs:
            if self._thorough or claims.try_claim(f"{run}.sweep", interval):
                yield from self._sweep_run(run, reservations, parked)
        yield from self._handle_all(decisions.decide_closed(reservations, set(open_runs)))
        yield from self._sweep_deployment()

    def _sweep_run(
        self, run: str, reservations: Reservations, parked: set[str]
    ) -> Iterator[Finding]:
        """Sweep one run. An invalid run id or unreadable facts must not stop the others."""
        try:
            view = load_view(self._services, run, reservations, parked)
            now = self._read_clock(self._services.run_folder(run)) if view.needs_clock else 0.0
            actions = decisions.decide_actions(view, self._services.settings, now)
            yield from self._handle_all(actions)
        except (Permanent, ValueError) as error:
            yield Finding(run, f"cannot be checked: {error}")

    def _sweep_deployment(self) -> Iterator[Finding]:
        if self._thorough:
            lost = lost_jobs.find_lost_jobs(self._services.open_jobs)
            yield from self._handle_all(map(_report_lost, lost))
        if self._thorough or self._services.claims.try_claim("strays", _ORPHAN_CHECK_SECONDS):
            yield from self._sweep_jobs()
        if pools.is_due(self._services):
            yield from self._handle_all([SweepPools("")])

    def _sweep_jobs(self) -> Iterator[Finding]:
        bucket, jobs = self._services.bucket, self._services.jobs
        orphans = map(decisions.decide_orphans, orphaned_jobs.load_attempt_jobs(bucket, jobs))
        abandoned = map(decisions.decide_abandoned, abandoned_jobs.load_abandoned(bucket, jobs))
        return self._handle_all(chain.from_iterable(chain(orphans, abandoned)))

    def _handle_all(self, actions: Iterable[Action]) -> Iterator[Finding]:
        for action in actions:
            if message := self._handle(action):
                yield Finding(action.run, message)


def load_view(
    services: Services, run: str, reservations: Reservations, parked: set[str]
) -> RunView:
    """Read what decides about a run."""
    snapshot = services.load_snapshot(run)
    folder = services.run_folder(run)
    opened = cancelled = None
    if decisions.depends_on_opening(snapshot):
        opened = folder.manifest.find_object()
    if decisions.depends_on_cancellation(snapshot):
        cancelled = folder.cancelled.find_object()
    return RunView(
        snapshot,
        reservations,
        services.open_jobs.list_slots() if decisions.has_submit_steps(snapshot) else set(),
        parked,
        is_indexed=services.index.find_manifest(run) is not None,
        opened_at=_time_of(opened),
        cancelled_at=_time_of(cancelled),
    )


def read_bucket_clock(folder: RunFolder) -> float:
    """Return the time by the bucket's clock, which sets the times of its objects."""
    return records.read_clock(folder.bucket, f"{folder.path}clock")


def _time_of(stored: ObjectInfo | None) -> float | None:
    return stored.updated if stored else None


def _report_lost(job: OpenJob) -> Action:
    return Report(
        job.run,
        f"Vertex no longer has job {job.name}; end or retry it with promptmill lost-jobs",
    )
