"""The status of a run in progress, and the report of a completed run."""

import msgspec

from promptmill.producers.pricing.cost import Cost

OPEN_STATES = ("open", "submitting", "queued", "running", "delivering", "cancelling")
END_STATES = ("succeeded", "partially_succeeded", "failed", "cancelled", "expired")


class ShardStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """The status of one attempt of a shard, which is one batch job."""

    shard: int
    """Number of the shard, counted from 0."""
    state: str
    """``planned``, ``sharded``, ``submitted``, ``delivering`` or ``settled``."""
    attempt: int = 1
    """Number of the attempt, counted from 1."""
    requests: int = 0
    """Number of requests in the attempt."""
    succeeded: int = 0
    """Number of answered requests."""
    failed: int = 0
    """Number of failed requests. A request that is retried is in neither count."""
    job: str = ""
    """Google's resource name of the job. Empty before its creation."""
    job_state: str = ""
    """Google's state of the job, such as ``JOB_STATE_RUNNING``."""
    warning: str = ""
    """Warning for operators, or empty."""
    late: int = 0
    """Number of answers that came after the job was abandoned."""
    deduplicated: int = msgspec.field(default=0, name="copies")
    """Number of requests that share the answer of an identical request."""
    reused: int = 0
    """Number of requests with an answer of an earlier run."""


class RunStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """The status of a run at one time."""

    run: str
    """Id of the run."""
    state: str
    """State in progress: ``open``, ``submitting``, ``queued``, ``running``, ``delivering``
    or ``cancelling``. Final state: ``succeeded``, ``partially_succeeded``, ``failed``,
    ``cancelled`` or ``expired``. ``unreadable``: the entry in the index cannot be decoded.
    """
    name: str = ""
    """Name of the run, or empty."""
    model: str = ""
    """Name of the model with its publisher."""
    created: float = 0.0
    """Creation time, in seconds since the epoch."""
    deadline: float = 0.0
    """Time limit in seconds; 0 means none."""
    ended: float = 0.0
    """End time, in seconds since the epoch; 0 while the run is in progress."""
    requests: int = 0
    """Number of submitted requests. 0 until the producer has sent all of them."""
    succeeded: int = 0
    """Number of answered requests so far."""
    failed: int = 0
    """Number of failed requests so far."""
    error: str = ""
    """Last error of the run, or empty."""
    warning: str = ""
    """Warning about an incompletely submitted run, or empty."""
    shards: list[ShardStatus] = []
    """The attempts, by shard and attempt."""
    labels: dict[str, str] = {}
    """Labels of the run."""
    cost: Cost | None = None
    """First the estimate, at the end the cost. None until the shards are planned."""
    report_warnings: list[str] = []
    """Warnings about the model and the requests, and at the end those of the report."""

    @property
    def done(self) -> bool:
        """Whether every request has its final state and is delivered."""
        return self.state in END_STATES

    @property
    def warnings(self) -> list[str]:
        """Warnings for operators, one sentence each."""
        shard_warnings = [
            f"shard {shard.shard}, attempt {shard.attempt}: {shard.warning}"
            for shard in self.shards
            if shard.warning
        ]
        run_warnings = [self.warning] if self.warning else []
        return [*run_warnings, *shard_warnings, *self.report_warnings]

    @property
    def late(self) -> int:
        """Number of answers that came too late for the results. They are stored
        separately.
        """
        return sum(shard.late for shard in self.shards)

    @property
    def deduplicated(self) -> int:
        """Number of requests that share the answer of an identical request, so far."""
        return sum(shard.deduplicated for shard in self.shards)

    @property
    def reused(self) -> int:
        """Number of requests with an answer of an earlier run, so far."""
        return sum(shard.reused for shard in self.shards)

    @property
    def jobs(self) -> int:
        """Number of jobs created."""
        return sum(bool(shard.job) for shard in self.shards)


def derive_state(shards: list[ShardStatus], sealed: bool, cancelling: bool = False) -> str:
    """Return the state of a run in progress from the states of its shards."""
    if cancelling:
        return "cancelling"
    if not sealed:
        return "open"
    states = {shard.state for shard in shards}
    if not shards or states & {"planned", "sharded"}:
        return "submitting"
    if "submitted" in states:
        jobs = {shard.job_state for shard in shards if shard.state == "submitted"}
        return "running" if jobs & {"JOB_STATE_RUNNING"} else "queued"
    return "delivering"


class Report(msgspec.Struct, frozen=True):
    """The report of a completed run: counts, tokens, failures by reason, and times."""

    run: str
    """Id of the run."""
    state: str
    """Final state, as in ``RunStatus.state``."""
    name: str
    """Name of the run, or empty."""
    model: str
    """Name of the model with its publisher."""
    requests: int
    """Number of requests."""
    succeeded: int
    """Number of answered requests."""
    failed: int
    """Number of failed requests."""
    unaccounted: int
    """Number of requests without a result. Anything but 0 is a bug."""
    duplicates: int
    """Number of output lines that repeat the answer of a row."""
    unknown: int
    """Number of output lines that belong to no row of the run."""
    unreadable: int
    """Number of output lines that cannot be decoded."""
    jobs: int
    """Number of jobs created."""
    failures: dict[str, int]
    """Number of failed requests by failure reason."""
    tokens: dict[str, int]
    """Number of tokens, by the names in Google's usageMetadata."""
    seconds: dict[str, float]
    """Seconds by stage, from ``ingest`` to ``finish``. They add up to ``total``."""
    vertex_seconds: float
    """Seconds during which at least one job existed."""
    overhead_seconds: float
    """Total seconds without ``vertex_seconds``."""
    results: str
    """URL of the run's folder in the bucket."""
    sinks: list[str]
    """The sinks that have the results."""
    error: str = ""
    """First error of a job, or why the run was not submitted."""
    cost: Cost | None = None
    """The cost with its estimate. None in reports of older versions."""
    deduplicated: int = msgspec.field(default=0, name="copies")
    """Number of requests that share the answer of an identical request."""
    reused: int = 0
    """Number of requests with an answer of an earlier run."""
    unkept: dict[str, int] = {}
    """Number of answers with paid parts that the results lack, by part; see ``keep``."""
    warnings: list[str] = []
    """Warnings about the answers, one sentence each."""
