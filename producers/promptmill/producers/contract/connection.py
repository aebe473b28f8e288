"""The one way to Redis for what Promptmill itself keeps there."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from promptmill.config.errors import Transient
from promptmill.config.urls import mask_password

KEY_PREFIX = "promptmill:"
"""How every key of ours begins; Celery's own do not."""


class Connection:
    """A Redis, connected to at the first use; one that is ``binary`` answers in bytes."""

    def __init__(self, url: str, *, binary: bool = False) -> None:
        self._url = url
        self._binary = binary

    def __repr__(self) -> str:
        return f"Connection({mask_password(self._url)!r})"

    @cached_property
    def _client(self) -> Any:
        import redis

        return redis.Redis.from_url(
            self._url, decode_responses=not self._binary, health_check_interval=10
        )

    @contextmanager
    def use_client(self) -> Iterator[Any]:
        """Yield the client; raises Transient when Redis does not answer within."""
        import redis

        try:
            yield self._client
        except redis.RedisError as error:
            raise Transient(
                f"Redis at {mask_password(self._url)} does not answer: {error}"
            ) from error
