"""How a job is to end: well, unless it was cancelled or a fault says otherwise. Pure."""

from dataclasses import dataclass

from .jobs import CANCELLED, SUCCEEDED, Job, progress_at

_ANSWERED_SHARES = {"PARTIALLY_SUCCEEDED": 0.5, "CANCELLED": 0.5, "EXPIRED": 0.0, "FAILED": 0.0}
_ERROR_STATUSES = {
    "PARTIALLY_SUCCEEDED": (13, "Some requests could not be processed."),
    "CANCELLED": (1, "CANCELED"),
    "EXPIRED": (4, "The job did not finish in time."),
    "FAILED": (13, "System error. Please try this operation again."),
}


@dataclass(frozen=True)
class JobEnding:
    """The last state of a job, and the share of its rows (0 to 1) that are answered before."""

    state: str
    share: float = 1.0
    code: int = 0
    message: str = ""


def decide_ending(job: Job) -> JobEnding:
    """A job that was cancelled has answered as much as its time allowed; what is complete is returned and charged."""
    if job.cancelled is not None:
        return JobEnding(CANCELLED, progress_at(job, job.cancelled), *_ERROR_STATUSES["CANCELLED"])
    for rule in job.rules:
        if rule.on == "job" and rule.fault in _ANSWERED_SHARES:
            code, message = _ERROR_STATUSES[rule.fault]
            share = _ANSWERED_SHARES[rule.fault] if rule.share is None else rule.share
            return JobEnding(
                f"JOB_STATE_{rule.fault}", share, rule.code or code, rule.message or message
            )
    return JobEnding(SUCCEEDED)
