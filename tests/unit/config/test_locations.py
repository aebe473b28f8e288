import google.auth
import pytest
from google.auth.credentials import AnonymousCredentials
from hypothesis import given
from hypothesis import strategies as st

from promptmill.config.locations import (
    GLOBAL,
    MULTI_REGIONS,
    REGIONS,
    find_closest,
    get_api_host,
    is_location,
)
from promptmill.config.settings import load_settings
from promptmill.emulator.hosts import require_host
from promptmill.workers.adapters import vertex

LOCATIONS = (GLOBAL, *MULTI_REGIONS, *REGIONS)
OTHER_HOSTS = {
    "global": "aiplatform.googleapis.com",
    "us": "aiplatform.us.rep.googleapis.com",
    "eu": "aiplatform.eu.rep.googleapis.com",
}


@pytest.mark.parametrize("location", LOCATIONS)
def test_every_location_has_its_api_host_and_parent(location: str) -> None:
    assert get_api_host(location) == OTHER_HOSTS.get(
        location, f"{location}-aiplatform.googleapis.com"
    )
    require_host(get_api_host(location), location)
    settings = load_settings(project="acme", location=location)
    assert settings.parent == f"projects/acme/locations/{location}"


@pytest.mark.parametrize("location", LOCATIONS)
def test_workers_call_the_host_of_their_location(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    monkeypatch.setattr(google.auth, "default", lambda *_, **__: (credentials, "acme"))
    jobs = vertex.open_jobs(load_settings(project="acme", location=location))
    assert jobs._client.api_endpoint == get_api_host(location)


@given(st.text(max_size=30))
def test_a_closest_location_is_always_valid(text: str) -> None:
    assert is_location(find_closest(text))


def test_an_empty_location_is_global() -> None:
    assert load_settings(location="").location == "global"
