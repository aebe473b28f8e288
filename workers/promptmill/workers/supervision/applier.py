"""Applies the actions of a sweep."""

import structlog

from promptmill.workers import steps
from promptmill.workers.coordination import progress
from promptmill.workers.coordination.open_jobs import OpenJob
from promptmill.workers.dispatch import Dispatcher
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Created, Ended
from promptmill.workers.facts.run_folder import AttemptFolder
from promptmill.workers.facts.step import Step
from promptmill.workers.services import Services
from promptmill.workers.supervision import wiring
from promptmill.workers.supervision.actions import (
    AbandonJob,
    Action,
    AdoptJob,
    AttemptAction,
    CancelAbandoned,
    CancelOrphan,
    ExpireRun,
    ForgetJob,
    HarvestJob,
    ReleaseSlot,
    RestoreRun,
    ResumePolling,
    SendStep,
    SweepPools,
    WarnIncomplete,
)

_log = structlog.get_logger(__name__)
_WARN_ONCE_SECONDS = 30 * 86_400.0


class ActionApplier:
    """Applies actions. ``thorough`` also reports warnings that were issued before."""

    def __init__(self, services: Services, dispatcher: Dispatcher, *, thorough: bool) -> None:
        self._services = services
        self._dispatcher = dispatcher
        self._thorough = thorough

    def apply_action(self, action: Action) -> str:
        """Apply an action. Returns a text for users, or an empty one for routine actions."""
        match action:
            case ReleaseSlot():
                return self._release_slot(action)
            case WarnIncomplete():
                return self._warn_incomplete(action)
            case RestoreRun():
                progress.restore_run(self._services.index, self._services.bucket, action.snapshot)
            case ExpireRun():
                self._expire_run(action.run)
            case AbandonJob():
                self._abandon_job(action)
            case SendStep(step=step):
                return action.done_text if self._dispatcher.enqueue_stalled([step]) else ""
            case ResumePolling(step=step):
                return self._resume_polling(action.run, step)
            case SweepPools():
                self._dispatcher.enqueue_pool()
                return action.done_text if self._thorough else ""
            case _:
                return self._apply_to_orphan(action)
        return action.done_text

    def _apply_to_orphan(self, action: Action) -> str:
        services = self._services
        match action:
            case AdoptJob():
                created = Created(action.job_name, records.current_time())
                _attempt_folder(services, action).job.create(created)
            case CancelOrphan(job_name=name) | CancelAbandoned(job_name=name):
                services.jobs.cancel(name)
            case ForgetJob(marker=marker):
                services.bucket.delete(marker)
            case HarvestJob():
                return self._harvest_job(action)
        return "" if isinstance(action, ForgetJob | CancelAbandoned) else action.done_text

    def _release_slot(self, action: ReleaseSlot) -> str:
        if action.is_taken:
            self._services.open_jobs.free_slot(action.slot)
        if action.job_name:
            self._services.open_jobs.remove_job(action.job_name)
        return ""

    def _warn_incomplete(self, action: WarnIncomplete) -> str:
        if self._services.claims.try_claim(f"{action.run}.late", _WARN_ONCE_SECONDS):
            self._services.index.set_run_warning(action.run, action.message)
            _log.warning(
                "run_incomplete", run=action.run, chunks=action.chunks, sealed=action.sealed
            )
            self._services.alarm_counts.count_alarm("open")
        return action.message if self._thorough else ""

    def _expire_run(self, run: str) -> None:
        steps.cancel.expire_run(self._services.run_folder(run))
        self._services.index.record_cancelling(run)
        self._services.index.record_error(run, "the run's deadline passed")

    def _abandon_job(self, action: AbandonJob) -> None:
        folder = _attempt_folder(self._services, action)
        name = folder.job.get().name
        ended = steps.cancel.build_abandoned(folder.run, name)
        open_job = OpenJob(name, action.run, action.shard, action.attempt)
        endings = wiring.make_endings(self._services)
        self._dispatcher.enqueue_steps(endings.abandon_job(open_job, ended))
        _log.warning("job_abandoned", run=action.run, shard=action.shard, job=name)

    def _resume_polling(self, run: str, step: Step) -> str:
        shard, attempt = step.indices
        created = self._services.attempt_folder(run, shard, attempt).job.get()
        chain = wiring.make_chain(self._services, self._dispatcher)
        return "".join(f"sent {sent.id}" for sent in chain.resume_polling(step, created))

    def _harvest_job(self, action: HarvestJob) -> str:
        late_end = _attempt_folder(self._services, action).late_end
        late_end.create(Ended(action.job, records.current_time()))
        step = Step("harvest", action.run, (action.shard, action.attempt))
        return action.done_text if self._dispatcher.enqueue_stalled([step]) else ""


def _attempt_folder(services: Services, action: AttemptAction) -> AttemptFolder:
    return services.attempt_folder(action.run, action.shard, action.attempt)
