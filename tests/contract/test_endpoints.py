"""The port for endpoints: the fake, and Google's client with the emulator, behave alike."""

import uuid
from collections.abc import Callable, Mapping

import httpx
import pytest

from promptmill.config.errors import NotFound
from promptmill.config.settings import load_settings
from promptmill.workers.adapters.endpoints import open_endpoints
from promptmill.workers.fakes import FakeEndpoints
from promptmill.workers.ports.google import Endpoint, Endpoints

PARENT = "projects/p/locations/us-central1"
MODEL = f"{PARENT}/models/456"
Deploy = Callable[[str, Endpoint], Endpoints]


@pytest.fixture(params=["fake", "real"])
def deploy(request: pytest.FixtureRequest) -> Deploy:
    """Add an endpoint, and return the port that finds it."""
    if request.param == "fake":
        return lambda name, endpoint: FakeEndpoints({name: endpoint})
    url = request.getfixturevalue("emulator_url")
    settings = load_settings(vertex_endpoint=url, project="p", location="us-central1")

    def add(name: str, endpoint: Endpoint) -> Endpoints:
        models = [_describe_model(number, model) for number, model in enumerate(endpoint.models)]
        resource = {"deployedModels": models, "labels": endpoint.labels}
        httpx.post(f"{url}/admin/endpoints", json={name: resource}).raise_for_status()
        return open_endpoints(settings)

    return add


def _describe_model(number: int, model: str) -> Mapping[str, str]:
    name, _, version = model.partition("@")
    return {"id": str(number), "model": name} | ({"modelVersionId": version} if version else {})


@pytest.mark.parametrize("models", [(), (f"{MODEL}@2",), (MODEL,), (f"{MODEL}@1", f"{MODEL}@2")])
def test_an_endpoint_names_its_models_with_their_versions(
    deploy: Deploy, models: tuple[str, ...]
) -> None:
    name, labels = f"{PARENT}/endpoints/{uuid.uuid4().int}", {"team": "search"}

    endpoints = deploy(name, Endpoint(models, labels))

    assert endpoints.get(name) == Endpoint(models, labels)


def test_an_endpoint_that_does_not_exist_is_not_found(deploy: Deploy) -> None:
    endpoints = deploy(f"{PARENT}/endpoints/1", Endpoint((), {}))

    with pytest.raises(NotFound, match="404"):
        endpoints.get(f"{PARENT}/endpoints/{uuid.uuid4().int}")
