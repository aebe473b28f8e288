"""What a webhook sink needs of the web: to post a body, and to test a connection."""

from collections.abc import Callable, Mapping
from typing import NamedTuple


class Endpoint(NamedTuple):
    """A server to post to. Only ``name`` may be shown; ``url`` and ``secret`` may not.

    ``allow_private``: the workers' settings name its host, which may be in a private network.
    """

    name: str
    url: str
    secret: str
    allow_private: bool = False

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r})"


class WebResponse(NamedTuple):
    """The status that a server returned, and the seconds of its Retry-After header."""

    status: int
    retry_after: float = 0.0


class WebClient(NamedTuple):
    """Posts a body and returns the response, or only connects. Raises Transient, Permanent."""

    post: Callable[[Endpoint, bytes, Mapping[str, str]], WebResponse]
    connect: Callable[[Endpoint], None]
