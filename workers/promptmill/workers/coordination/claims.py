"""Claims: exclusive rights of one worker to do something for a while."""

from promptmill.producers.contract.connection import KEY_PREFIX, Connection


class Claims:
    """Claims in Redis. Every method may raise Transient."""

    def __init__(self, connection: Connection) -> None:
        self._open_redis = connection.use_client

    def try_claim(self, name: str, seconds: float) -> bool:
        """Claim ``name`` for ``seconds``. False while it is claimed."""
        with self._open_redis() as redis:
            return bool(redis.set(claim_key(name), "queued", nx=True, px=int(seconds * 1000)))

    def release_claim(self, name: str) -> None:
        """Release a claim before it expires."""
        with self._open_redis() as redis:
            redis.delete(claim_key(name))


def claim_key(name: str) -> str:
    """Return the key of a claim, or of the state of a step."""
    return f"{KEY_PREFIX}step:{name}"
