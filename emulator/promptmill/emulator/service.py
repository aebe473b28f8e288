"""The batch job service: what each call does, free of HTTP."""

import contextlib
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from . import filters, paging
from .clock import Clock
from .errors import INTERNAL, ApiError
from .execution import Abandoned, Execution
from .faults import Faults, Rule
from .jobs import (
    CANCELLED,
    CANCELLING,
    ENDED,
    FAILED,
    MAX_QUEUE_SECONDS,
    Job,
    Outcome,
    Schedule,
    plan,
    started,
    state_at,
    to_resource,
)
from .models import require_model
from .registry import Registry
from .specs import read_spec
from .workers import Workers


@dataclass(frozen=True)
class Options:
    """How long jobs take, in emulated seconds, and which models exist besides Gemini's."""

    latency: float = 5.0
    queue_seconds: float = 0.0
    models: tuple[str, ...] = ()


@dataclass
class Service:
    """Jobs and everything that happens to them. Calls come from one thread, work is done in others."""

    clock: Clock
    registry: Registry
    execution: Execution
    options: Options = field(default_factory=Options)
    faults: Faults = field(default_factory=Faults)
    workers: Workers = field(default_factory=Workers)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)

    def resume(self) -> None:
        """Take up the work of all jobs that have none to show, after a restart."""
        for job in self.registry.all():
            if job.outcome is None and not job.deleted:
                self._submit(job)

    def create(self, parent: str, body: bytes) -> dict[str, Any]:
        """Make a job under `projects/P/locations/L`. Raises ApiError."""
        spec = read_spec(body)
        require_model(spec.model, self.options.models)
        now = round(self.clock.now(), 6)
        rules = self.faults.take_job(spec)
        number = str(10**18 + secrets.randbelow(8 * 10**18))
        job = Job(
            name=f"{parent}/batchPredictionJobs/{number}",
            spec=msgspec.structs.replace(spec, name="", state=0, create_time="", update_time=""),
            created=now,
            schedule=_scheduled(now, self.options, rules),
            rules=[rule for rule in rules if rule.on != "list"],
            unlisted_until=now + max((rule.seconds or 0 for rule in rules if rule.fault == "stale-list"), default=0),
        )
        self.registry.add(job)
        self._submit(job)
        return to_resource(job, now)

    def find(self, name: str) -> Job | None:
        """The job of that name, if a call can see it."""
        job = self.registry.find(name)
        return None if job is None or job.deleted else job

    def get(self, name: str) -> dict[str, Any]:
        """One job. Raises ApiError 404."""
        return to_resource(self._require(name), self.clock.now())

    def list(self, parent: str, query: paging.Query) -> dict[str, Any]:
        """One page of the jobs under a parent, newest first. Raises ApiError 400."""
        now, meant = self.clock.now(), filters.parse(query.filter)
        visible = [job for job in self.registry.all() if _listed(job, parent, now) and meant(job, now)]
        page, token = paging.cut(visible, query)
        resources = [paging.masked(to_resource(job, now), query.read_mask) for job in page]
        return {"batchPredictionJobs": resources} | ({"nextPageToken": token} if token else {})

    def cancel(self, name: str) -> dict[str, Any]:
        """Ask for a job's end. Raises ApiError 400 for one that has ended."""
        now = self.clock.now()
        state = state_at(self._require(name), now)
        if state in ENDED:
            message = f"The batch prediction job is in state {state} and cannot be cancelled."
            raise ApiError(400, message, "FAILED_PRECONDITION")
        if state != CANCELLING:
            self._submit(self.registry.update(name, lambda job: _cancelled(job, now)))
        return {}

    def delete(self, name: str) -> dict[str, Any]:
        """Forget a job that has ended; answers a finished operation. Raises ApiError 400 for one that has not."""
        if state_at(self._require(name), self.clock.now()) not in ENDED:
            raise ApiError(400, "The batch prediction job has not ended; cancel it first.", "FAILED_PRECONDITION")
        self.registry.update(name, lambda job: msgspec.structs.replace(job, deleted=True))
        parent = name.split("/batchPredictionJobs/")[0]
        empty = {"@type": "type.googleapis.com/google.protobuf.Empty"}
        return {"name": f"{parent}/operations/{secrets.randbelow(10**18)}", "done": True, "response": empty}

    def _require(self, name: str) -> Job:
        job = self.find(name)
        if job is None:
            raise ApiError(404, f"The BatchPredictionJob does not exist: {name}.")
        return job

    def _submit(self, job: Job) -> None:
        waits_for_ever = job.schedule.starts is None and job.cancelled is None
        if job.outcome is None and not waits_for_ever:
            self.workers.submit(lambda: self._work(job))

    def _work(self, job: Job) -> None:
        control = _Control(self, job)
        with self._locks.setdefault(job.name, threading.Lock()), contextlib.suppress(Abandoned):
            if control.abandoned():
                return
            try:
                self.execution.run(job, control)
            except Abandoned:
                raise
            except Exception as error:  # noqa: BLE001 - a job must end, and say why, whatever happened
                message = f"System error. Please try this operation again. (emulator: {error!r})"
                control.finish(Outcome(self.clock.now(), FAILED, code=INTERNAL, message=message))


@dataclass(frozen=True)
class _Control:
    service: Service
    job: Job

    def abandoned(self) -> bool:
        job = self.service.registry.find(self.job.name)
        return job is None or job.deleted or job.cancelled != self.job.cancelled

    def finish(self, outcome: Outcome) -> None:
        def taken(job: Job) -> Job:
            return msgspec.structs.replace(job, outcome=outcome) if job.cancelled == self.job.cancelled else job

        self.service.registry.update(self.job.name, taken)


def _listed(job: Job, parent: str, now: float) -> bool:
    return not job.deleted and job.unlisted_until <= now and job.name.startswith(f"{parent}/batchPredictionJobs/")


def _cancelled(job: Job, now: float) -> Job:
    """A job that has not started ends at once; the work of any other is done anew, up to where it had come."""
    outcome = None if started(job, now) else Outcome(now, CANCELLED, code=1, message="CANCELED")
    return msgspec.structs.replace(job, cancelled=now, outcome=outcome)


def _scheduled(now: float, options: Options, rules: Iterable[Rule]) -> Schedule:
    schedule = plan(now, options.latency, options.queue_seconds)
    for rule in rules:
        if rule.fault == "queued" and rule.seconds is not None:
            schedule = plan(now, options.latency + rule.seconds, options.queue_seconds + rule.seconds)
        elif rule.fault == "queued":
            schedule = Schedule(now, None, now + MAX_QUEUE_SECONDS)
        elif rule.fault == "EXPIRED" and not rule.share:
            schedule = Schedule(now, None, schedule.ends)
    return schedule
