"""Counts of alarms, by kind."""

from promptmill.producers.contract.connection import KEY_PREFIX, Connection


class AlarmCounts:
    """Counters in Redis. Every method may raise Transient."""

    def __init__(self, connection: Connection) -> None:
        self._open_redis = connection.use_client

    def count_alarm(self, kind: str) -> None:
        """Count one alarm. ``kind`` is a state of a job, or ``open`` for a run."""
        with self._open_redis() as redis:
            redis.hincrby(f"{KEY_PREFIX}alarms", kind, 1)

    def load_counts(self) -> dict[str, int]:
        """Return the count of each kind."""
        with self._open_redis() as redis:
            counts = redis.hgetall(f"{KEY_PREFIX}alarms")
            return {kind: int(count) for kind, count in counts.items()}
