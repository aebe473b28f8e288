from collections.abc import Iterator
from typing import cast

import pytest

from promptmill.cli import doctor
from promptmill.config.errors import PromptmillError
from promptmill.config.settings import Settings, load_settings
from promptmill.producers import checks
from promptmill.producers.checks import Check
from promptmill.workers.cli_support.checks import probe_bucket
from promptmill.workers.ports.google import Bucket, ObjectInfo


class Shelf:
    """As much of a bucket as is looked at; a careless one lets a second writer replace an object."""

    url = "gs://shelf"

    def __init__(self, careless: bool) -> None:
        self.objects: dict[str, bytes] = {}
        self._careless = careless

    def create(self, name: str, data: bytes) -> bool:
        if name in self.objects and not self._careless:
            return False
        self.objects[name] = data
        return True

    def read(self, name: str) -> bytes:
        return self.objects[name]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return (
            ObjectInfo(name, len(data), 1, 0.0)
            for name, data in self.objects.items()
            if name.startswith(prefix)
        )

    def delete(self, name: str) -> None:
        del self.objects[name]


def test_probing_a_bucket_leaves_nothing_behind() -> None:
    shelf = Shelf(careless=False)

    assert probe_bucket(cast("Bucket", shelf)).startswith("gs://shelf: objects can be created")
    assert shelf.objects == {}


def test_a_bucket_that_lets_two_writers_create_one_object_fails_the_probe() -> None:
    shelf = Shelf(careless=True)

    with pytest.raises(PromptmillError, match="two writers"):
        probe_bucket(cast("Bucket", shelf))
    assert shelf.objects == {}


@pytest.mark.parametrize(("ok", "mark"), [(True, "✓"), (False, "✗"), (None, "–")])
def test_a_check_is_a_line_with_its_remedy_below(ok: bool | None, mark: str) -> None:
    text = doctor.format_check(Check("broker", ok, "is away", "start it"))

    first, second = text.splitlines()
    assert first.split() == [mark, "broker", "is", "away"]
    assert second.strip() == "fix: start it"


@pytest.mark.parametrize(
    ("celery", "kombu", "right"),
    [
        ("5.6.3", "5.7.0", True),
        ("5.7.0", "5.7.0", False),
        ("5.6.3", "5.6.2", False),
        ("5.7.1", "5.10.0", True),
    ],
)
def test_versions_that_lose_messages_or_workers_are_found(
    celery: str, kombu: str, right: bool
) -> None:
    check = checks.check_versions(celery, kombu)

    assert check.ok is right
    assert bool(check.remedy) is not right


@pytest.mark.parametrize(
    ("seconds", "endpoint", "told"),
    [(120, "", False), (119, "", True), (3, "http://127.0.0.1:1", False)],
)
def test_a_settle_time_that_leaves_a_creation_too_little_is_told(
    seconds: float, endpoint: str, told: bool
) -> None:
    found = list(
        checks.check_creation_visibility(
            Settings(
                creation_visibility_seconds=seconds, create_timeout=60, vertex_endpoint=endpoint
            )
        )
    )

    assert [check.remedy for check in found] == [
        "export PROMPTMILL_CREATION_VISIBILITY_SECONDS=120"
    ] * told


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({}, set[str]()),
        ({"aof_enabled": 0}, {"persistence"}),
        ({"maxmemory_policy": "allkeys-lru"}, {"eviction"}),
        ({"redis_version": "6.0.16"}, {"broker"}),
    ],
)
def test_a_redis_that_may_lose_messages_is_found(
    change: dict[str, object], broken: set[str]
) -> None:
    info = {"redis_version": "7.2.4", "aof_enabled": 1, "maxmemory_policy": "noeviction"} | change

    found = list(checks.check_redis_server("redis://r", info))

    assert {check.name for check in found if not check.ok} == broken
    assert all(bool(check.remedy) is not check.ok for check in found)


@pytest.mark.parametrize(
    ("options", "suggested"),
    [
        ({"project": "acme-project", "bucket": "gs://acme"}, True),
        ({"project": "acme-project"}, False),
        ({"bucket": "gs://acme"}, False),
        ({"project": "p", "bucket": "gs://b", "vertex_endpoint": "http://127.0.0.1:1"}, False),
    ],
)
def test_the_live_check_is_suggested_where_google_is_configured(
    options: dict[str, str], suggested: bool
) -> None:
    suggestions = list(doctor.suggest_live_check(Settings(**options)))  # type: ignore[arg-type]

    assert ["promptmill doctor --live" in check.message for check in suggestions] == (
        [True] * suggested
    )
    assert all(check.ok is None for check in suggestions)


@pytest.mark.parametrize(
    ("model", "location", "ok", "remedy"),
    [
        ("gemini-3-flash-preview", "global", True, ""),
        ("gemini-3-flash-preview", "us-central1", False, "set GOOGLE_CLOUD_LOCATION to global"),
        ("gemini-3-flash", "global", None, "did you mean gemini-3-flash-preview?"),
        ("claude-x", "global", False, "Promptmill runs Gemini models"),
        ("", "global", None, ""),
    ],
)
def test_the_default_model_is_checked_in_the_location(
    model: str, location: str, ok: bool | None, remedy: str
) -> None:
    (check,) = checks.check_model(load_settings(model=model, location=location))
    assert (check.name, check.ok, check.remedy) == ("model", ok, remedy)
