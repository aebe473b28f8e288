"""The status of a run in progress, and the report of a completed run."""

import msgspec

from promptmill.producers.pricing.cost import Cost

OPEN_STATES = ("open", "submitting", "queued", "running", "delivering", "cancelling")
END_STATES = ("succeeded", "partially_succeeded", "failed", "cancelled", "expired")


class ShardStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attempt of a shard: its state, its counts, and Google's name and state of its
    job.

    A request that is retried counts as neither succeeded nor failed. ``late`` counts
    answers that came after the job was abandoned. ``deduplicated`` requests share the
    answer of an identical request. ``reused`` requests have an answer of an earlier
    run.
    """

    shard: int
    state: str
    attempt: int = 1
    requests: int = 0
    succeeded: int = 0
    failed: int = 0
    job: str = ""
    job_state: str = ""
    warning: str = ""
    late: int = 0
    deduplicated: int = msgspec.field(default=0, name="copies")
    reused: int = 0


class RunStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """The status of a run.

    Times are in seconds since the epoch. ``deadline`` is in seconds after ``created``.
    ``cost`` is known once the run is divided into shards. First it holds the estimate,
    and at the end the cost.
    """

    run: str
    state: str
    name: str = ""
    model: str = ""
    created: float = 0.0
    deadline: float = 0.0
    ended: float = 0.0
    requests: int = 0
    succeeded: int = 0
    failed: int = 0
    error: str = ""
    warning: str = ""
    shards: list[ShardStatus] = []
    labels: dict[str, str] = {}
    cost: Cost | None = None

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
        return [self.warning, *shard_warnings] if self.warning else shard_warnings

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
    """The report of a completed run: counts, tokens, failures by reason, and times.

    ``seconds`` has ``total``, ``vertex``, ``overhead``, and the overhead by stage.
    ``vertex`` is the time from the first job creation to the end of the last job.
    ``overhead`` is the rest. ``unaccounted`` requests have no result: anything but 0 is
    a bug. ``cost`` is None in reports of older versions. ``deduplicated`` and
    ``reused`` are those of ``RunStatus``.
    """

    run: str
    state: str
    name: str
    model: str
    requests: int
    succeeded: int
    failed: int
    unaccounted: int
    duplicates: int
    unknown: int
    unreadable: int
    jobs: int
    failures: dict[str, int]
    tokens: dict[str, int]
    seconds: dict[str, float]
    vertex_seconds: float
    overhead_seconds: float
    results: str
    sinks: list[str]
    error: str = ""
    cost: Cost | None = None
    deduplicated: int = msgspec.field(default=0, name="copies")
    reused: int = 0
