"""Vertex AI's endpoints in memory."""

from promptmill.config.errors import NotFound
from promptmill.workers.ports.google import Endpoint


class FakeEndpoints:
    """``Endpoints`` in memory. ``endpoints`` holds them by name, and may change."""

    def __init__(self, endpoints: dict[str, Endpoint] | None = None) -> None:
        self.endpoints = endpoints or {}

    def get(self, name: str) -> Endpoint:
        """Return an endpoint."""
        if name not in self.endpoints:
            raise NotFound(f"Vertex: 404 endpoint {name} does not exist")
        return self.endpoints[name]
