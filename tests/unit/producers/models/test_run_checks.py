from datetime import date, timedelta

import pytest

from promptmill.config.errors import ConfigurationError
from promptmill.producers.models.model_table import MODELS, Stage
from promptmill.producers.models.run_checks import RETIREMENT_NOTICE, check_run

TODAY = date(2026, 12, 1)
TUNED = "projects/acme/locations/us-central1/models/123"


def check(
    model: str,
    location: str = "",
    *,
    tables: bool = False,
    today: date = TODAY,
    refuse: bool = True,
) -> list[str]:
    return check_run(model, tables=tables, location=location, today=today, refuse=refuse)


@pytest.mark.parametrize(
    ("model", "location", "places"),
    [
        ("gemini-3.8-flash", "us-central1", "us, global or eu"),
        ("gemini-3-flash-preview", "us-central1", "global"),
        ("gemini-3.1-pro-preview", "eu", "global"),
        ("gemini-embedding-2", "europe-west4", "eu, global or us"),
        ("gemini-embedding-001", "global", "europe-west1 or europe-west4"),
    ],
)
def test_a_model_in_a_location_without_it_is_refused_with_those_that_have_it(
    model: str, location: str, places: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check(model, location)
    message = str(refused.value)
    assert message.startswith(f"model {model} has no batch jobs in {location}; set GOOGLE_CLOUD_")
    assert f"{places}; PROMPTMILL_MODEL_CHECKS=warn" in message


@pytest.mark.parametrize(
    "model", [row for row in MODELS.values() if row.stage is not Stage.retired]
)
def test_every_model_is_accepted_where_it_is_and_where_the_location_is_unknown(
    model: object,
) -> None:
    name = getattr(model, "name", "")
    for location in ("", *MODELS[name].locations):
        assert check(name, location) == []


def test_a_model_that_regions_serve_online_is_sent_there_with_a_warning() -> None:
    (warning,) = check("gemini-3.5-flash", "us-central1")
    assert (
        "not confirmed; if they are refused, set GOOGLE_CLOUD_LOCATION to us, global or eu"
        in warning
    )


@pytest.mark.parametrize("name", [row.name for row in MODELS.values() if row.successor])
def test_a_retired_model_is_refused_with_date_and_successor(name: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check(name, "us-central1")
    assert f"was retired on {MODELS[name].retires}; use {MODELS[name].successor}" in str(
        refused.value
    )
    assert MODELS[MODELS[name].successor].stage is not Stage.retired


def test_a_retirement_is_announced_sixty_days_before() -> None:
    day = date.fromisoformat(MODELS["gemini-3.8-flash"].retires)
    assert check("gemini-3.8-flash", today=day - RETIREMENT_NOTICE - timedelta(1)) == []
    (warning,) = check("gemini-3.8-flash", today=day - RETIREMENT_NOTICE)
    assert warning == f"model gemini-3.8-flash may be retired from {day} on; see promptmill models"
    (warning,) = check("gemini-3.8-flash", today=day)
    assert "may be retired since" in warning


def test_an_unknown_model_is_sent_with_a_warning_that_names_the_closest_one() -> None:
    (warning,) = check("gemini-3-flash", "us-central1")
    assert warning.startswith("model gemini-3-flash is not in the table of known models")
    assert warning.endswith("did you mean gemini-3-flash-preview?")


def test_tables_are_refused_in_global_and_for_models_without_the_region() -> None:
    with pytest.raises(ConfigurationError, match="jobs in global cannot read or write BigQuery"):
        check("gemini-3.8-flash", "global", tables=True)
    with pytest.raises(ConfigurationError, match="flash has no batch jobs in us-c"):
        check("gemini-3.8-flash", "us-central1", tables=True)
    with pytest.raises(ConfigurationError, match="gemini-embedding-001 cannot read or write"):
        check("gemini-embedding-001", "us-central1", tables=True)


def test_tables_in_a_multi_region_are_sent_with_a_warning() -> None:
    assert check("gemini-3.8-flash", "eu", tables=True) == [
        "BigQuery tables for jobs in eu are not confirmed by Google's pages; try a few rows first, "
        "and leave out the option tables if Google refuses their job"
    ]


def test_a_number_is_treated_as_a_tuned_model_without_its_location() -> None:
    (warning,) = check("1234567890", "us-central1")
    assert "is it projects/PROJECT/locations/LOCATION/models/1234567890?" in warning


def test_a_tuned_model_must_be_where_the_jobs_are() -> None:
    assert check(TUNED, "us-central1") == []
    with pytest.raises(ConfigurationError, match="set GOOGLE_CLOUD_LOCATION to us-central1"):
        check(TUNED, "global")


def test_refusals_can_be_turned_into_warnings() -> None:
    texts = check("gemini-2.5-flash", "global", tables=True, refuse=False)
    assert [text.partition(";")[0] for text in texts] == [
        "model gemini-2.5-flash was retired on 2026-10-20",
        "jobs in global cannot read or write BigQuery tables",
    ]
