"""What is known about a run while it goes on, and when it is done."""

import msgspec

from promptmill.producers.pricing.cost import Cost

OPEN_STATES = ("open", "submitting", "queued", "running", "delivering", "cancelling")
END_STATES = ("succeeded", "partially_succeeded", "failed", "cancelled", "expired")


class ShardStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attempt of a shard: how far it is, its counts, and its job (Google's name and state).

    ``requests`` are those of this attempt; those that are to be tried again count as neither succeeded nor failed.
    ``warning`` says what people should know of it; ``late`` answers came after its job was given up.
    ``deduplicated`` of the requests have the answer of another that asks the same, ``reused`` ones that of an earlier run.
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
    """A run: its state, counts and shards; times in seconds since the epoch, ``deadline`` in seconds since ``created``.

    ``cost`` has the estimate once the run is divided into shards, and what it cost when it is done.
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
        """Whether every request of the run has its final state and is delivered."""
        return self.state in END_STATES

    @property
    def warnings(self) -> list[str]:
        """What people should know of the run, a sentence each."""
        shard_warnings = [
            f"shard {shard.shard}, attempt {shard.attempt}: {shard.warning}"
            for shard in self.shards
            if shard.warning
        ]
        return [self.warning, *shard_warnings] if self.warning else shard_warnings

    @property
    def late(self) -> int:
        """Number of answers that came too late for the results, and are kept beside them."""
        return sum(shard.late for shard in self.shards)

    @property
    def deduplicated(self) -> int:
        """Number of requests that have the answer of another that asks the same, as far as it is there."""
        return sum(shard.deduplicated for shard in self.shards)

    @property
    def reused(self) -> int:
        """Number of requests that have the answer of an earlier run, as far as it is there."""
        return sum(shard.reused for shard in self.shards)

    @property
    def jobs(self) -> int:
        """Number of jobs created."""
        return sum(bool(shard.job) for shard in self.shards)


def derive_state(shards: list[ShardStatus], sealed: bool, cancelling: bool = False) -> str:
    """Return the state of a run that is not done from the states of its shards."""
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
    """A finished run: counts that add up, tokens, failures by reason, and where the time went.

    ``seconds`` has the whole (``total``), what Vertex took from the first creation to the last end (``vertex``), ours
    (``overhead``, the rest), and ours by stage. ``unaccounted`` is 0 or something is wrong with Promptmill. ``cost`` is
    what it cost, beside the estimate; None in reports of old. ``deduplicated`` requests have the answer of another that asks the
    same, ``reused`` ones that of an earlier run.
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
