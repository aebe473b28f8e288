"""Connections to the Redis that holds Promptmill's own keys."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from promptmill.config.errors import Transient
from promptmill.config.urls import mask_password

KEY_PREFIX = "promptmill:"
"""Prefix of Promptmill's own keys. Celery's keys do not have it."""


class Connection:
    """A connection to Redis, opened at first use. A ``binary`` one returns bytes."""

    def __init__(self, url: str, *, binary: bool = False) -> None:
        self._url = url
        self._options = {"decode_responses": not binary, "health_check_interval": 10}

    def __repr__(self) -> str:
        return f"Connection({mask_password(self._url)!r})"

    @cached_property
    def _client(self) -> Any:
        import redis

        return redis.Redis.from_url(self._url, **self._options)

    @contextmanager
    def use_client(self) -> Iterator[Any]:
        """Yield the client; raises Transient if Redis does not answer."""
        import redis

        try:
            yield self._client
        except redis.RedisError as error:
            raise Transient(
                f"Redis at {mask_password(self._url)} does not answer: {error}; "
                "start Redis or check CELERY_BROKER_URL"
            ) from error
