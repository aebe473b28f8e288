"""The actions of a sweep. Each describes itself, before and after it is applied."""

from dataclasses import dataclass
from typing import ClassVar

from promptmill.workers.facts.snapshot import RunSnapshot
from promptmill.workers.facts.step import Step
from promptmill.workers.ports.google import Job


@dataclass(frozen=True)
class Action:
    """An action on a run, or on the whole deployment if ``run`` is empty.

    ``verbs``: the infinitive and the past tense of what it does.
    """

    run: str
    verbs: ClassVar[tuple[str, str]] = ("", "")

    @property
    def target(self) -> str:
        """The object of the action, and the reason."""
        raise NotImplementedError

    @property
    def plan_text(self) -> str:
        """Text for a dry run."""
        return f"would {self.verbs[0]} {self.target}"

    @property
    def done_text(self) -> str:
        """Text after the action was applied."""
        return f"{self.verbs[1]} {self.target}"


@dataclass(frozen=True)
class StepAction(Action):
    """An action that sends a step."""

    step: Step
    verbs = ("send", "sent")

    @property
    def target(self) -> str:
        """The step."""
        return self.step.id


@dataclass(frozen=True)
class AttemptAction(Action):
    """An action on the job of an attempt."""

    shard: int
    attempt: int


@dataclass(frozen=True)
class Report(Action):
    """Report a problem that only a user or operator can fix."""

    message: str

    @property
    def plan_text(self) -> str:
        """The message."""
        return self.message

    @property
    def done_text(self) -> str:
        """The message."""
        return self.message


@dataclass(frozen=True)
class ReleaseSlot(Action):
    """Release the slot of an ended job, which a crash left behind in Redis."""

    slot: str
    is_taken: bool
    job_name: str
    verbs = ("release", "released")

    @property
    def target(self) -> str:
        """The slot."""
        return f"the slot of job {self.slot}, which has ended"


@dataclass(frozen=True)
class WarnIncomplete(Action):
    """Warn users of a run that was not sent completely."""

    message: str
    chunks: int
    sealed: int | None
    verbs = ("warn:", "warned:")

    @property
    def target(self) -> str:
        """The warning."""
        return self.message


@dataclass(frozen=True)
class RestoreRun(Action):
    """Write a run that Redis has lost into the index again."""

    snapshot: RunSnapshot
    verbs = ("restore", "restored")

    @property
    def target(self) -> str:
        """The run."""
        return "the run in Redis"


@dataclass(frozen=True)
class ExpireRun(Action):
    """End a run whose deadline has passed."""

    verbs = ("end", "ended")

    @property
    def target(self) -> str:
        """The run."""
        return "the run: its deadline has passed"


@dataclass(frozen=True)
class AbandonJob(AttemptAction):
    """End the attempt of a job that does not stop, so that its run can end."""

    verbs = ("abandon", "abandoned")

    @property
    def target(self) -> str:
        """The job."""
        return f"the job of shard {self.shard}, attempt {self.attempt}, which does not stop"


@dataclass(frozen=True)
class SendStep(StepAction):
    """Enqueue a step that is neither queued nor running."""


@dataclass(frozen=True)
class ResumePolling(StepAction):
    """Poll the job of a ``poll`` step again."""


@dataclass(frozen=True)
class AdoptJob(AttemptAction):
    """Record a job that a crash left unrecorded."""

    job_name: str
    verbs = ("adopt", "adopted")

    @property
    def target(self) -> str:
        """The job."""
        return f"job {self.job_name}"


@dataclass(frozen=True)
class CancelOrphan(Action):
    """Cancel a job whose answers no run waits for."""

    job_name: str
    recorded_name: str
    verbs = ("cancel", "cancelled")

    @property
    def target(self) -> str:
        """The job."""
        return describe_orphan(self.job_name, self.recorded_name)


@dataclass(frozen=True)
class ForgetJob(Action):
    """Stop checking an abandoned job."""

    marker: str
    verbs = ("stop checking", "stopped checking")

    @property
    def target(self) -> str:
        """The job."""
        return f"abandoned job {self.marker}"


@dataclass(frozen=True)
class HarvestJob(AttemptAction):
    """Store the late answers of an abandoned job that has ended."""

    job: Job
    verbs = ("keep", "keeps")

    @property
    def target(self) -> str:
        """The job."""
        return f"the answers of abandoned job {self.job.name}, which ended as {self.job.state}"


@dataclass(frozen=True)
class CancelAbandoned(Action):
    """Cancel an abandoned job again."""

    job_name: str
    verbs = ("cancel", "cancelled")

    @property
    def target(self) -> str:
        """The job."""
        return f"abandoned job {self.job_name} again"


@dataclass(frozen=True)
class SweepPools(Action):
    """Enqueue ``pool``, which stores collected calls and cuts runs."""

    verbs = ("send", "sent")

    @property
    def target(self) -> str:
        """The task."""
        return "pool: it stores collected calls and cuts runs"


def describe_orphan(job_name: str, recorded_name: str) -> str:
    """Return a job and why no run waits for it."""
    reason = f"a duplicate of {recorded_name}" if recorded_name else "which no run waits for"
    return f"{job_name}, {reason}"
