"""Decides which failed rows of an attempt go to the next one, and when its job may start.

``max_attempts`` bounds the attempts that may be billed. Failures before the model was
asked do not count: they are retried for a limited time.
"""

from typing import NamedTuple

from promptmill.producers.contract.failure_reasons import RETRIED_ONCE
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.results import Error
from promptmill.workers.facts.records import Ended, Parsed, RetryDelay, Settled
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.facts.run_folder import AttemptFolder
from promptmill.workers.output import failure_reasons

_MAX_DELAY_SECONDS = 3600.0
_MAX_MESSAGE = 200
_PROVISIONING = "Google is provisioning service agents"


class DelayLimits(NamedTuple):
    """Seconds before the job of a retry, and seconds in which unbilled failures are retried."""

    delay_seconds: float = 300.0
    unbilled_seconds: float = 3600.0


class RetryHistory(NamedTuple):
    """The outcome of the attempt before, if any, and when this attempt ended."""

    previous: Settled | None = None
    ended_at: float = 0.0

    @property
    def unbilled_attempts(self) -> int:
        """The number of earlier attempts that were not billed."""
        return self.previous.unbilled_attempts if self.previous else 0

    @property
    def delay(self) -> RetryDelay:
        """The delay of this attempt; of 0 seconds if it had none."""
        delay = self.previous.delay if self.previous else None
        return delay or RetryDelay(0.0, "", streak=0)

    @property
    def unbilled_since(self) -> float:
        """When the first of the attempts in a row ended that were not billed."""
        return self.delay.since or self.ended_at


class RetryRules(NamedTuple):
    """Which failures of an attempt are retried, and when.

    ``is_last``: no further attempt may be billed. ``can_wait``: failures that were not
    billed are retried nevertheless. ``reasons`` are retried although they are permanent.
    """

    ended: Ended
    limits: DelayLimits
    history: RetryHistory
    is_last: bool
    can_wait: bool
    reasons: frozenset[str]

    @property
    def retries_any(self) -> bool:
        """Whether any failure is retried."""
        return self.can_wait or not self.is_last

    def allows_retry(self, error: Error, *, can_adjust: bool) -> bool:
        """Whether a row with this error is retried. ``can_adjust``: its request can change."""
        if self.can_wait and failure_reasons.is_unbilled(error):
            return True
        is_retryable = failure_reasons.is_transient(error) or error.reason in self.reasons
        return not self.is_last and (can_adjust or is_retryable)

    def select_rows(self, parsed: Parsed) -> RowSet:
        """Return the failed rows of a part that are retried."""
        unbilled_rows = RowSet.unpack(parsed.unbilled) if self.can_wait else RowSet()
        if self.is_last:
            return unbilled_rows
        return unbilled_rows | RowSet.unpack(parsed.transient_rows)

    def count_unbilled(self, retried: RowSet, unbilled: RowSet) -> int:
        """Return the number of attempts so far that do not count towards ``max_attempts``."""
        is_unbilled = self.can_wait and bool(retried) and retried == unbilled
        return self.history.unbilled_attempts + is_unbilled

    def make_delay(self, retried: RowSet, unbilled: RowSet) -> RetryDelay | None:
        """Return the delay before the next job; None if it may be created at once.

        It is constant if rows were not billed, and doubles with each job in a row that an
        error at Google stopped.
        """
        is_interrupted = failure_reasons.is_interrupted(self.ended.job)
        if not retried or not (unbilled or is_interrupted):
            return None
        streak = self.history.delay.streak + 1
        cause = self._describe_error() if is_interrupted else _PROVISIONING
        if unbilled:
            since = self.history.unbilled_since
            return RetryDelay(self.limits.delay_seconds, cause, streak, since)
        return RetryDelay(self._backoff_seconds(streak), cause, streak)

    def _describe_error(self) -> str:
        message = self.ended.job.error_message[:_MAX_MESSAGE]
        return f"an error at Google stopped the last job: {message}"

    def _backoff_seconds(self, streak: int) -> float:
        longest = max(self.limits.delay_seconds, _MAX_DELAY_SECONDS)
        return min(self.limits.delay_seconds * 2.0 ** min(streak - 1, 20), longest)


def load_rules(
    attempt: AttemptFolder, manifest: Manifest, ended: Ended, limits: DelayLimits
) -> RetryRules:
    """Return the rules for the failed rows of an attempt that has ended."""
    history = _load_history(attempt)
    is_cancelled = attempt.run.cancelled.exists()
    billable_attempts = attempt.number - history.unbilled_attempts
    is_exhausted = billable_attempts >= manifest.max_attempts and not ended.retry
    waited = history.ended_at - history.unbilled_since
    return RetryRules(
        ended,
        limits,
        history,
        is_last=is_exhausted or is_cancelled,
        can_wait=waited < limits.unbilled_seconds and not is_cancelled,
        reasons=_retried_reasons(attempt, ended),
    )


def _load_history(attempt: AttemptFolder) -> RetryHistory:
    stored_end = attempt.ended.find_object()
    previous = None if attempt.is_first else attempt.previous.settled.get()
    return RetryHistory(previous, stored_end.updated if stored_end else 0.0)


def _retried_reasons(attempt: AttemptFolder, ended: Ended) -> frozenset[str]:
    reasons: frozenset[str] = RETRIED_ONCE if attempt.is_first else frozenset()
    return reasons | {ended.reason} if ended.retry else reasons
