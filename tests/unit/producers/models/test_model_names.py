import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.config.errors import ConfigurationError
from promptmill.producers.models.model_names import ModelKind, find_similar, parse_model

TUNED = "projects/acme/locations/us-central1/models/123"
WORDS = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("text", "kind", "resource", "location"),
    [
        (
            "gemini-3.8-flash",
            ModelKind.publisher,
            "publishers/google/models/gemini-3.8-flash",
            "",
        ),
        (
            "projects/acme/locations/eu/publishers/google/models/gemini-3.8-flash",
            ModelKind.publisher,
            "projects/acme/locations/eu/publishers/google/models/gemini-3.8-flash",
            "eu",
        ),
        (TUNED, ModelKind.tuned, TUNED, "us-central1"),
        (f"{TUNED}@2", ModelKind.tuned, f"{TUNED}@2", "us-central1"),
        (
            "projects/acme/locations/eu/endpoints/77",
            ModelKind.endpoint,
            "projects/acme/locations/eu/endpoints/77",
            "eu",
        ),
    ],
)
def test_every_form_of_a_name_becomes_its_resource(
    text: str, kind: ModelKind, resource: str, location: str
) -> None:
    name = parse_model(text)
    assert (name.kind, name.resource, name.location) == (kind, resource, location)


@pytest.mark.parametrize(
    "model",
    [
        "claude-sonnet-4-5",
        "claude-opus-4-1@20250805",
        "publishers/anthropic/models/claude-sonnet-4-5",
        "projects/acme/locations/us-east5/publishers/meta/models/llama-4-scout",
        "llama-3.3-70b-instruct-maas",
        "meta/llama-4-maverick",
        "gpt-oss-120b-maas",
        "openai/gpt-oss-20b-maas",
        "mistral-large",
        "deepseek-v3.1-maas",
    ],
)
def test_partner_models_are_refused_with_the_reason(model: str) -> None:
    with pytest.raises(ConfigurationError, match="partner models have other request formats"):
        parse_model(model)


@pytest.mark.parametrize(
    "model",
    [
        "models/gemini-3.8-flash",
        "tunedModels/my-model-abc",
        "https://generativelanguage.googleapis.com/v1beta/models/gemini-3.8-flash",
    ],
)
def test_models_of_the_developer_api_are_refused_with_the_reason(model: str) -> None:
    with pytest.raises(ConfigurationError, match="a job could not be found after a crash"):
        parse_model(model)


@pytest.mark.parametrize("text", ["", "a b", "gemini/3.8", "projects/p/models/1", "vertex_ai/x"])
def test_other_text_is_no_name(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a model name"):
        parse_model(text)


@given(WORDS, WORDS, WORDS, st.sampled_from(["models", "endpoints", "publishers/google/models"]))
def test_a_resource_stays_as_it_is(project: str, location: str, name: str, kind: str) -> None:
    resource = f"projects/{project}/locations/{location}/{kind}/{name}"
    parsed = parse_model(resource)
    assert (parsed.resource, parsed.location, parsed.name) == (resource, location, name)


@given(st.text(max_size=60) | st.from_regex(r"projects/\w*/locations/.{0,20}", fullmatch=True))
def test_any_text_is_a_model_or_a_clear_error(text: str) -> None:
    try:
        assert parse_model(text).resource.endswith(parse_model(text).name)
    except ConfigurationError as error:
        assert str(error).startswith("model ")


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("gemini-3-flash", "gemini-3-flash-preview"),
        ("gemini-3.1-pro", "gemini-3.1-pro-preview"),
        ("gemini-3.1-flash-image-preview", "gemini-3.1-flash-image"),
        ("gemini-3.8-flesh", "gemini-3.8-flash"),
        ("x", ""),
    ],
)
def test_the_closest_known_name_is_found(name: str, similar: str) -> None:
    assert find_similar(name) == similar
