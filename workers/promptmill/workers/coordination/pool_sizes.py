"""The sizes of batches in pools, so that workers need not read the batches."""

from collections.abc import Sequence

from promptmill.producers.contract.connection import KEY_PREFIX, Connection

_SIZE_TTL = 86_400


class PoolSizes:
    """Sizes of batches in Redis. Every method may raise Transient."""

    def __init__(self, connection: Connection) -> None:
        self._open_redis = connection.use_client

    def set_batch_size(self, batch: str, requests: int, size: int) -> None:
        """Store the size of a batch of a pool."""
        with self._open_redis() as redis:
            redis.set(f"{KEY_PREFIX}batch:{batch}", f"{requests} {size}", ex=_SIZE_TTL)

    def get_batch_sizes(self, batches: Sequence[str]) -> list[tuple[int, int] | None]:
        """Return the requests and bytes of each batch, or None if they are not stored."""
        if not batches:
            return []
        with self._open_redis() as redis:
            values = redis.mget([f"{KEY_PREFIX}batch:{batch}" for batch in batches])
        return [
            (int(value.split()[0]), int(value.split()[1])) if value else None for value in values
        ]
