"""A job, its states over time and its ending. Pure: the time is an argument."""

from dataclasses import dataclass

import msgspec

from .clock import format_timestamp
from .faults import FaultRule
from .job_spec import JobSpec
from .json_types import JsonObject

QUEUED = "JOB_STATE_QUEUED"
PENDING = "JOB_STATE_PENDING"
RUNNING = "JOB_STATE_RUNNING"
SUCCEEDED = "JOB_STATE_SUCCEEDED"
FAILED = "JOB_STATE_FAILED"
CANCELLING = "JOB_STATE_CANCELLING"
CANCELLED = "JOB_STATE_CANCELLED"
EXPIRED = "JOB_STATE_EXPIRED"
PARTIALLY_SUCCEEDED = "JOB_STATE_PARTIALLY_SUCCEEDED"
END_STATES = frozenset({SUCCEEDED, FAILED, CANCELLED, EXPIRED, PARTIALLY_SUCCEEDED})
STATES = END_STATES | {
    QUEUED,
    PENDING,
    RUNNING,
    CANCELLING,
    "JOB_STATE_PAUSED",
    "JOB_STATE_UPDATING",
}

MAX_QUEUE_SECONDS = 72 * 3600.0
"""A job that does not start within 72 hours expires (Google's batch inference page)."""

_ANSWERED_SHARES = {"PARTIALLY_SUCCEEDED": 0.5, "CANCELLED": 0.5, "EXPIRED": 0.0, "FAILED": 0.0}
_ERROR_STATUSES = {
    "PARTIALLY_SUCCEEDED": (13, "Some requests could not be processed."),
    "CANCELLED": (1, "CANCELED"),
    "EXPIRED": (4, "The job did not finish in time."),
    "FAILED": (13, "System error. Please try this operation again."),
    "export": (
        13,
        "Failed to export data. Error encountered during execution. "
        "Retrying may solve the problem.",
    ),
}
_DATASET_MESSAGE = (
    "Failed to import data. Not found: Dataset example-tp:llm_bp_tenant_dataset_7924783555308 "
    "was not found in location US at [2:1]"
)
"""Observed live, 2024-07: a fault of Google's own project, under the code of a bad input."""


class Schedule(msgspec.Struct, frozen=True):
    """When a job changes its state, in seconds since the epoch.

    PENDING until `pending`, QUEUED until `starts`, RUNNING until `ends`. RUNNING lasts
    longer if the execution does. Without `starts` the job stays QUEUED until it expires
    at `ends`. This order was observed live, 2024-07.
    """

    pending: float
    starts: float | None
    ends: float


class Outcome(msgspec.Struct, frozen=True):
    """The result of executing a job, recorded before the job ends."""

    ready: float
    state: str
    requests: int = 0
    successful: int = 0
    failed: int = 0
    billed: int = 0
    published: bool = False
    """Whether the job has `outputInfo`."""
    exported: float = 1.0
    """Share of the lines that are written."""
    input_tokens: int = 0
    output_tokens: int = 0
    early: bool = False
    code: int = 0
    message: str = ""


class Job(msgspec.Struct, frozen=True):
    """One batch prediction job; `name` is its resource name."""

    name: str
    spec: JobSpec
    created: float
    schedule: Schedule
    rules: list[FaultRule] = []
    unlisted_until: float = 0.0
    cancelled: float | None = None
    deleted: bool = False
    outcome: Outcome | None = None

    @property
    def id(self) -> str:
        """The number that the server assigned."""
        return self.name.rsplit("/", 1)[-1]

    @property
    def location(self) -> str:
        """The location in its name."""
        return self.name.split("/")[3]

    @property
    def output_directory(self) -> str:
        """The job's own output folder."""
        return f"{self.spec.output_prefix}/prediction-model-{format_timestamp(self.created)}"


# A job is PENDING for a tenth of its latency, between 1 ms and 1 s.
def plan_schedule(created: float, latency: float, queue_seconds: float) -> Schedule:
    """Return the schedule of a job that ends after `latency`, `queue_seconds` of it QUEUED."""
    pending = created + max(0.001, min(1.0, latency / 10))
    starts = pending + queue_seconds
    return Schedule(pending, starts, max(created + latency, starts))


def state_at(job: Job, now: float) -> str:
    """Return the state at `now`."""
    end = end_time(job)
    if job.outcome is not None and end is not None and now >= end:
        return job.outcome.state
    if job.cancelled is not None:
        return CANCELLING
    if now < job.schedule.pending:
        return PENDING
    if job.schedule.starts is None:
        return EXPIRED if now >= job.schedule.ends else QUEUED
    return QUEUED if now < job.schedule.starts else RUNNING


def end_time(job: Job) -> float | None:
    """Return when the job ends; None while its execution is running."""
    if job.schedule.starts is None and job.cancelled is None:
        return job.schedule.ends
    if job.outcome is None:
        return None
    if job.cancelled is not None:
        return job.outcome.ready
    earliest_end = job.schedule.starts if job.outcome.early else job.schedule.ends
    return max(earliest_end or 0.0, job.outcome.ready)


def has_started(job: Job, now: float) -> bool:
    """Return whether the job was RUNNING at or before `now`."""
    until = now if job.cancelled is None else min(now, job.cancelled)
    return job.schedule.starts is not None and until >= job.schedule.starts


def progress_at(job: Job, now: float) -> float:
    """Return the elapsed share of the running time, 0 to 1."""
    if job.schedule.starts is None or now <= job.schedule.starts:
        return 0.0
    duration = max(0.001, job.schedule.ends - job.schedule.starts)
    return min(1.0, (now - job.schedule.starts) / duration)


def to_resource(job: Job, now: float) -> JsonObject:
    """Return the job in Google's JSON."""
    state = state_at(job, now)
    spec: JsonObject = msgspec.to_builtins(job.spec)
    own_fields = {"name": job.name, "state": state, "modelVersionId": "1"}
    resource = spec | own_fields | _time_fields(job, now, state)
    if stats := completion_stats(job, now):
        resource["completionStats"] = {name: str(count) for name, count in stats.items() if count}
    if job.outcome is not None and state in END_STATES:
        resource |= _ending_fields(job, job.outcome, state)
    return resource


def completion_stats(job: Job, now: float) -> dict[str, int]:
    """Return the counts of requests; empty before the start.

    While RUNNING they grow with the elapsed time.
    """
    if not has_started(job, now):
        return {}
    if job.outcome is None:
        return {"incompleteCount": -1}
    share = 1.0 if state_at(job, now) in END_STATES else progress_at(job, now)
    successful, failed = int(job.outcome.successful * share), int(job.outcome.failed * share)
    incomplete = job.outcome.requests - successful - failed
    return {"successfulCount": successful, "failedCount": failed, "incompleteCount": incomplete}


def _time_fields(job: Job, now: float, state: str) -> dict[str, str]:
    moments = {"createTime": job.created}
    if has_started(job, now) and job.schedule.starts is not None:
        moments["startTime"] = job.schedule.starts
    if job.cancelled is not None and state == CANCELLING:
        moments["updateTime"] = job.cancelled
    end = end_time(job)
    if state in END_STATES and end is not None:
        moments["endTime"] = end
    moments["updateTime"] = max(moments.values())
    return {name: format_timestamp(moment) for name, moment in moments.items()}


def _ending_fields(job: Job, outcome: Outcome, state: str) -> JsonObject:
    fields: JsonObject = {}
    if outcome.published and job.spec.output_table:
        dataset, _, table = job.spec.output_table.rpartition(".")
        fields["outputInfo"] = {"bigqueryOutputDataset": dataset, "bigqueryOutputTable": table}
    elif outcome.published:
        fields["outputInfo"] = {"gcsOutputDirectory": job.output_directory}
    status = {"code": outcome.code, "message": outcome.message}
    if outcome.code and state == PARTIALLY_SUCCEEDED:
        fields["partialFailures"] = [status]
    elif outcome.code:
        fields["error"] = status
    return fields


@dataclass(frozen=True)
class JobEnding:
    """The last state of a job, and the share of its rows (0 to 1) that it answers."""

    state: str
    share: float = 1.0
    code: int = 0
    message: str = ""
    exported: float = 1.0
    has_output: bool = True


def decide_ending(job: Job) -> JobEnding:
    """Return how a job ends. A cancelled one answers and bills rows in proportion to its time."""
    if job.cancelled is not None:
        return JobEnding(CANCELLED, progress_at(job, job.cancelled), *_ERROR_STATUSES["CANCELLED"])
    endings = (_ending_of(rule) for rule in job.rules if rule.on == "job")
    return next(filter(None, endings), JobEnding(SUCCEEDED))


def find_dataset_fault(job: Job) -> str:
    """Return the message with which the job fails before any row, or ""."""
    rules = (rule for rule in job.rules if rule.on == "job" and rule.fault == "dataset")
    return next((rule.message or _DATASET_MESSAGE for rule in rules), "")


def _ending_of(rule: FaultRule) -> JobEnding | None:
    if rule.fault not in _ERROR_STATUSES:
        return None
    code, message = _ERROR_STATUSES[rule.fault]
    status = rule.code or code, rule.message or message
    if rule.fault == "export":
        return JobEnding(FAILED, 1.0, *status, rule.share or 0.0, rule.where == "same")
    share = _ANSWERED_SHARES[rule.fault] if rule.share is None else rule.share
    state = f"JOB_STATE_{rule.fault}"
    return JobEnding(state, share, *status, has_output=state != FAILED)
