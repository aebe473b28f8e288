"""Vertex AI's endpoints behind the ``Endpoints`` port."""

from typing import Any

from google.cloud import aiplatform_v1

from promptmill.config.settings import Settings
from promptmill.workers.adapters.vertex import TIMEOUT, make_client, translate_errors
from promptmill.workers.ports.google import Endpoint


def open_endpoints(settings: Settings) -> "VertexEndpoints":
    """Connect to Vertex in the settings' location. Raises ConfigurationError."""
    return VertexEndpoints(make_client(aiplatform_v1.EndpointServiceClient, settings))


class VertexEndpoints:
    """The endpoints of one location."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def get(self, name: str) -> Endpoint:
        """Return an endpoint."""
        with translate_errors():
            endpoint = self._client.get_endpoint(name=name, timeout=TIMEOUT)
        models = tuple(map(_pin_version, endpoint.deployed_models))
        return Endpoint(models, dict(endpoint.labels))


def _pin_version(deployed: aiplatform_v1.DeployedModel) -> str:
    """Return the model with its version, as in ``models/123@2``."""
    version = deployed.model_version_id
    return (
        f"{deployed.model}@{version}" if version and "@" not in deployed.model else deployed.model
    )
