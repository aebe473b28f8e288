"""Which models have jobs where and when: refusals in Google's words."""

from datetime import date
from typing import Any

import pytest

from promptmill.emulator.errors import ApiError
from promptmill.emulator.hosts import require_host
from promptmill.emulator.model_table import MODELS, Model, find_model
from promptmill.emulator.models import require_model
from unit.emulator.stand import Stand

TODAY = "2026-12-01"
TABLES: dict[str, Any] = {
    "inputConfig": {
        "instancesFormat": "bigquery",
        "bigquerySource": {"inputUri": "bq://acme.shop.requests"},
    },
}


def create(name: str, location: str, today: str = TODAY, **more: Any) -> str:
    """Return the refusal of a job, or "" if it is created."""
    stand = Stand(at_once=False, today=today)
    model = f"publishers/google/models/{name}"
    try:
        stand.create(f"projects/p/locations/{location}", model=model, **more)
    except ApiError as error:
        return f"{error.code} {error.status}: {error.message}"
    return ""


@pytest.mark.parametrize(
    ("name", "location"),
    [
        ("gemini-3.8-flash", "global"),
        ("gemini-3.8-flash", "us"),
        ("gemini-3.8-flash", "eu"),
        ("gemini-3-flash-preview", "global"),
        ("gemini-embedding-001", "us-central1"),
        ("gemini-embedding-2", "eu"),
    ],
)
def test_a_model_has_jobs_where_google_offers_it(name: str, location: str) -> None:
    assert create(name, location) == ""


@pytest.mark.parametrize(
    ("name", "location"),
    [
        ("gemini-3.8-flash", "us-central1"),
        ("gemini-3.1-flash-lite", "europe-west4"),
        ("gemini-3-flash-preview", "us"),
        ("gemini-embedding-001", "global"),
        ("gemini-embedding-2", "us-central1"),
    ],
)
def test_a_model_has_no_jobs_elsewhere(name: str, location: str) -> None:
    assert create(name, location) == "404 NOT_FOUND: MODEL_NOT_SUPPORTED_FOR_BATCH"


@pytest.mark.parametrize(
    "name",
    [
        "gemini-does-not-exist",
        "gemini-3-flash",
        "gemini-3.1-pro",
        "gemini-2.5-flash",
        "gemini-2.0-flash-001",
    ],
)
def test_unknown_and_retired_models_do_not_exist(name: str) -> None:
    refusal = create(name, "global")

    assert refusal == f"404 NOT_FOUND: The PublisherModel {name} does not exist."


def test_a_preview_that_was_shut_down_is_not_supported() -> None:
    assert create("gemini-3-pro-preview", "global") == (
        "400 INVALID_ARGUMENT: Do not support publisher model gemini-3-pro-preview"
    )


def test_the_date_decides_which_models_are_retired() -> None:
    assert create("gemini-3.1-flash-lite", "global", "2027-05-06") == ""
    assert "does not exist" in create("gemini-3.1-flash-lite", "global", "2027-05-07")


def test_extra_models_have_jobs_everywhere() -> None:
    resource = "publishers/google/models/gemini-2.5-flash"

    assert require_model(resource, "us-east5", TODAY, ["gemini-2.5-*"]) == "gemini-2.5-flash"


def test_tables_need_another_location_than_global() -> None:
    assert create("gemini-3.8-flash", "global", **TABLES).startswith("400 INVALID_ARGUMENT")
    assert create("gemini-3.8-flash", "us", **TABLES) == ""


@pytest.mark.parametrize(
    ("host", "location", "is_served"),
    [
        ("127.0.0.1:8080", "eu", True),
        ("aiplatform.googleapis.com", "global", True),
        ("aiplatform.eu.rep.googleapis.com", "eu", True),
        ("europe-west1-aiplatform.googleapis.com:443", "europe-west1", True),
        ("us-aiplatform.googleapis.com", "us", False),
        ("aiplatform.googleapis.com", "us", False),
        ("aiplatform.us.rep.googleapis.com", "eu", False),
    ],
)
def test_a_multi_region_has_a_host_of_its_own(host: str, location: str, is_served: bool) -> None:
    try:
        require_host(host, location)
        refusal = ""
    except ApiError as error:
        refusal = f"{error.code} {error.message}"

    assert refusal == ("" if is_served else "400 Invalid hostname")


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_every_row_has_a_source_and_a_date(model: Model) -> None:
    assert find_model(model.name) is model
    assert model.source
    assert date.fromisoformat(model.checked)
    assert model.is_retired(model.checked) == (model.stage == "retired")
