"""The batch job service, independent of HTTP."""

import contextlib
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from . import filters, paging
from .clock import Clock
from .errors import INTERNAL, ApiError
from .execution import JobAbandoned, JobExecutor
from .faults import FaultRule, Faults
from .job_spec import JobSpec, read_spec
from .jobs import (
    CANCELLED,
    CANCELLING,
    END_STATES,
    FAILED,
    MAX_QUEUE_SECONDS,
    Job,
    Outcome,
    Schedule,
    has_started,
    plan_schedule,
    state_at,
    to_resource,
)
from .json_types import JsonObject
from .model_table import find_model
from .models import require_model
from .registry import JobRegistry
from .workers import Workers


@dataclass(frozen=True)
class ServiceOptions:
    """Durations of jobs in emulated seconds, and extra models.

    `today` is the ISO date that decides which models are retired; by default the real one.
    """

    latency: float = 5.0
    queue_seconds: float = 0.0
    models: tuple[str, ...] = ()
    today: str = ""


@dataclass
class JobService:
    """The service. Calls run in one thread, executions in others."""

    clock: Clock
    registry: JobRegistry
    executor: JobExecutor
    options: ServiceOptions = field(default_factory=ServiceOptions)
    faults: Faults = field(default_factory=Faults)
    workers: Workers = field(default_factory=Workers)
    endpoints: dict[str, JsonObject] = field(default_factory=dict)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)

    def resume_jobs(self) -> None:
        """Execute all jobs that have no outcome, after a restart."""
        for job in self.registry.list_jobs():
            if job.outcome is None and not job.deleted:
                self._submit_job(job)

    def create_job(self, parent: str, body: bytes) -> JsonObject:
        """Create a job under `projects/P/locations/L`. Raises ApiError."""
        spec = read_spec(body)
        location = parent.rpartition("/")[2]
        today = self.options.today or datetime.now(UTC).date().isoformat()
        tuned_models = self._list_deployed_models()
        require_model(spec.model, location, today, (*self.options.models, *tuned_models))
        _refuse_tables(spec, location)
        now = round(self.clock.now(), 6)
        job = self._build_job(parent, spec, now)
        self.registry.add_job(job)
        self._submit_job(job)
        return to_resource(job, now)

    def _build_job(self, parent: str, spec: JobSpec, now: float) -> Job:
        rules = self.faults.take_job_rules(spec, now)
        number = str(10**18 + secrets.randbelow(8 * 10**18))
        unlisted_seconds = [rule.seconds or 0 for rule in rules if rule.fault == "stale-list"]
        return Job(
            name=f"{parent}/batchPredictionJobs/{number}",
            spec=msgspec.structs.replace(spec, name="", state=0, create_time="", update_time=""),
            created=now,
            schedule=_schedule_with_faults(now, self.options, rules),
            rules=[rule for rule in rules if rule.on != "list"],
            unlisted_until=now + max(unlisted_seconds, default=0),
        )

    def _list_deployed_models(self) -> list[str]:
        """Return the models of all endpoints, with and without their versions."""
        deployed = [
            each for endpoint in self.endpoints.values() for each in endpoint["deployedModels"]
        ]
        names = [str(each["model"]) for each in deployed]
        return [*names, *(f"{name}@*" for name in names)]

    def get_endpoint(self, name: str) -> JsonObject:
        """Return an endpoint that a test has added. Raises ApiError 404."""
        if name not in self.endpoints:
            raise ApiError(404, f"The Endpoint {name!r} is not found.")
        return {"name": name, "displayName": "tuned"} | self.endpoints[name]

    def find_job(self, name: str) -> Job | None:
        """Return the job with this name, unless it was deleted."""
        job = self.registry.find_job(name)
        return None if job is None or job.deleted else job

    def get_job(self, name: str) -> JsonObject:
        """Return a job. Raises ApiError 404."""
        return to_resource(self._require_job(name), self.clock.now())

    def list_jobs(self, parent: str, query: paging.ListQuery) -> JsonObject:
        """Return one page of jobs, newest first. Raises ApiError 400."""
        now, matches = self.clock.now(), filters.parse_filter(query.filter)
        visible = [
            job
            for job in self.registry.list_jobs()
            if _is_listed(job, parent, now) and matches(job, now)
        ]
        page, token = paging.cut_page(visible, query)
        resources = [paging.apply_read_mask(to_resource(job, now), query.read_mask) for job in page]
        return {"batchPredictionJobs": resources} | ({"nextPageToken": token} if token else {})

    def cancel_job(self, name: str) -> JsonObject:
        """Cancel a job. Raises ApiError 400 if it has ended."""
        now = self.clock.now()
        state = state_at(self._require_job(name), now)
        if state in END_STATES:
            message = f"The batch prediction job is in state {state} and cannot be cancelled."
            raise ApiError(400, message, "FAILED_PRECONDITION")
        if state != CANCELLING:
            self._submit_job(
                self.registry.update_job(name, lambda job: _with_cancellation(job, now))
            )
        return {}

    def delete_job(self, name: str) -> JsonObject:
        """Delete a job and return a finished operation. Raises ApiError 400 before its end."""
        if state_at(self._require_job(name), self.clock.now()) not in END_STATES:
            message = "The batch prediction job has not ended; cancel it first."
            raise ApiError(400, message, "FAILED_PRECONDITION")
        self.registry.update_job(name, lambda job: msgspec.structs.replace(job, deleted=True))
        parent = name.split("/batchPredictionJobs/")[0]
        empty = {"@type": "type.googleapis.com/google.protobuf.Empty"}
        operation_name = f"{parent}/operations/{secrets.randbelow(10**18)}"
        return {"name": operation_name, "done": True, "response": empty}

    def _require_job(self, name: str) -> Job:
        job = self.find_job(name)
        if job is None:
            raise ApiError(404, f"The BatchPredictionJob does not exist: {name}.")
        return job

    def _submit_job(self, job: Job) -> None:
        never_starts = job.schedule.starts is None and job.cancelled is None
        if job.outcome is None and not never_starts:
            self.workers.submit(lambda: self._run_job(job))

    def _run_job(self, job: Job) -> None:
        control = _JobControl(self, job)
        with self._locks.setdefault(job.name, threading.Lock()), contextlib.suppress(JobAbandoned):
            if control.is_abandoned():
                return
            try:
                self.executor.run_job(job, control)
            except JobAbandoned:
                raise
            except Exception as error:  # noqa: BLE001 - the job must end
                message = f"System error. Please try this operation again. (emulator: {error!r})"
                control.record_outcome(
                    Outcome(self.clock.now(), FAILED, code=INTERNAL, message=message)
                )


@dataclass(frozen=True)
class _JobControl:
    service: JobService
    job: Job

    def is_abandoned(self) -> bool:
        job = self.service.registry.find_job(self.job.name)
        return job is None or job.deleted or job.cancelled != self.job.cancelled

    def record_outcome(self, outcome: Outcome) -> None:
        def apply_outcome(job: Job) -> Job:
            if job.cancelled != self.job.cancelled:
                return job
            return msgspec.structs.replace(job, outcome=outcome)

        self.service.registry.update_job(self.job.name, apply_outcome)


def _refuse_tables(spec: JobSpec, location: str) -> None:
    """Raise ApiError 400 for tables in `global`, and for those of embeddings (Google's pages)."""
    if not spec.input_table and not spec.output_table:
        return
    if location == "global":
        raise ApiError(400, "BigQuery tables are not supported in location global.")
    model = find_model(spec.model)
    if model is not None and model.embeds:
        raise ApiError(400, "BigQuery tables are not supported for embeddings.")


def _is_listed(job: Job, parent: str, now: float) -> bool:
    is_visible = not job.deleted and job.unlisted_until <= now
    return is_visible and job.name.startswith(f"{parent}/batchPredictionJobs/")


def _with_cancellation(job: Job, now: float) -> Job:
    """Cancel a job. One that has started is executed again, up to its progress."""
    outcome = None if has_started(job, now) else Outcome(now, CANCELLED, code=1, message="CANCELED")
    return msgspec.structs.replace(job, cancelled=now, outcome=outcome)


def _schedule_with_faults(
    now: float, options: ServiceOptions, rules: Iterable[FaultRule]
) -> Schedule:
    schedule = plan_schedule(now, options.latency, options.queue_seconds)
    for rule in rules:
        if rule.fault == "queued" and rule.seconds is not None:
            schedule = plan_schedule(
                now, options.latency + rule.seconds, options.queue_seconds + rule.seconds
            )
        elif rule.fault == "queued":
            schedule = Schedule(now, None, now + MAX_QUEUE_SECONDS)
        elif rule.fault == "EXPIRED" and not rule.share:
            schedule = Schedule(now, None, schedule.ends)
    return schedule
