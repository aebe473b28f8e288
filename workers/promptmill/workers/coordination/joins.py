"""Joins: sets of finished tasks, from which the last one learns that it is the last."""

from promptmill.producers.contract.connection import KEY_PREFIX, Connection

_KEY_TTL = 30 * 86_400


class Joins:
    """Joins in Redis. Every method may raise Transient."""

    def __init__(self, connection: Connection) -> None:
        self._open_redis = connection.use_client

    def add_member(self, run: str, join: str, member: str) -> int:
        """Add a finished ``member`` to a join of a run, and return how many it has."""
        key = f"{KEY_PREFIX}run:{run}:{join}"
        with self._open_redis() as redis, redis.pipeline(transaction=False) as pipe:
            pipe.sadd(key, member)
            pipe.scard(key)
            pipe.expire(key, _KEY_TTL)
            return int(pipe.execute()[1])
