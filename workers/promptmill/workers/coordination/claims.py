"""Claims: the right to do something that one worker should do at a time, or once in a while."""

from promptmill.producers.contract.connection import KEY_PREFIX, Connection


class Claims:
    """Claims in Redis. Every method may raise Transient."""

    def __init__(self, connection: Connection) -> None:
        self._open_redis = connection.use_client

    def try_claim(self, name: str, seconds: float) -> bool:
        """Claim ``name`` for ``seconds``. False while another worker has it."""
        with self._open_redis() as redis:
            return bool(redis.set(claim_key(name), "queued", nx=True, px=int(seconds * 1000)))

    def release_claim(self, name: str) -> None:
        """End a claim before its time is over."""
        with self._open_redis() as redis:
            redis.delete(claim_key(name))


def claim_key(name: str) -> str:
    """Return the key of a claim, or of the state of a step."""
    return f"{KEY_PREFIX}step:{name}"
