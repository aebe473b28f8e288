"""How texts and Google's embedding requests become the lines that Vertex reads."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.config.errors import ConfigurationError
from promptmill.producers.models.model_table import MODELS
from promptmill.producers.requests.embedding_requests import (
    TASK_TYPES,
    EmbeddingForm,
    make_form,
    normalize_config,
)
from promptmill.producers.requests.encode import encode_lines
from promptmill.producers.requests.model_checks import ModelChecks
from promptmill.producers.requests.request_line import RequestLine

TEXT_MODEL, MEDIA_MODEL = "gemini-embedding-001", "gemini-embedding-2"
HELLO = {"parts": [{"text": "Hello World"}]}
IMAGE = {"fileData": {"fileUri": "gs://b/a.png", "mimeType": "image/png"}}


def encode(
    *prompts: Any, model: str = TEXT_MODEL, warnings: Any = None, **config: Any
) -> list[RequestLine]:
    warned = [] if warnings is None else warnings
    form = make_form(model, config, ModelChecks(model, warned.append))
    return list(encode_lines("01jtest", prompts, 1 << 20, form=form))


def request(*prompts: Any, **options: Any) -> Any:
    (line,) = encode(*prompts, **options)
    assert line.refusal == ""
    return json.loads(line.data)["request"]


def refusal(request_: Any, **options: Any) -> str:
    (line,) = encode({"key": "k", "request": request_}, **options)
    return line.refusal


def test_a_text_is_sent_as_google_documents_it() -> None:
    assert request("Hello World") == {"content": HELLO}


def test_the_config_of_the_run_is_sent_with_every_row() -> None:
    sent = request("Hello World", output_dimensionality=768, task_type="RETRIEVAL_DOCUMENT")

    assert sent == {
        "content": HELLO,
        "embed_content_config": {"output_dimensionality": 768, "task_type": "RETRIEVAL_DOCUMENT"},
    }


@pytest.mark.parametrize(
    "form",
    [
        "Hello World",
        {"prompt": "Hello World"},
        {"request": {"content": HELLO}},
        {"request": {"content": "Hello World"}},
        {"request": {"content": HELLO | {"role": "user"}}},
        {"request": {"content": {"parts": HELLO["parts"][0]}}},
        {"request": {"contents": [HELLO]}},
        {"request": {"contents": HELLO}},
        {"request": {"content": HELLO, "embedContentConfig": {}}},
        {"request": {"content": HELLO, "embed_content_config": {"title": None}}},
    ],
)
def test_every_way_to_write_a_text_makes_the_same_request(form: Any) -> None:
    assert request(form) == {"content": HELLO}


@pytest.mark.parametrize(
    "config",
    [
        {"embed_content_config": {"output_dimensionality": 768, "task_type": "CLUSTERING"}},
        {"embedContentConfig": {"outputDimensionality": 768, "taskType": "CLUSTERING"}},
    ],
)
def test_names_in_camel_case_become_those_of_googles_page(config: Any) -> None:
    sent = request({"request": {"content": HELLO} | config})

    assert sent["embed_content_config"] == {
        "output_dimensionality": 768,
        "task_type": "CLUSTERING",
    }


def test_a_row_overrides_fields_of_the_run() -> None:
    row = {"content": HELLO, "embed_content_config": {"title": "Title"}}

    sent = request({"request": row}, title="of the run", output_dimensionality=768)

    assert sent["embed_content_config"] == {"title": "Title", "output_dimensionality": 768}


def test_rows_of_one_run_have_one_length() -> None:
    row = {"content": HELLO, "embed_content_config": {"output_dimensionality": 3072}}

    assert "3072 in this row and 768 in the run" in refusal(row, output_dimensionality=768)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (7, "a mapping with content"),
        ({}, "content is missing"),
        ({"content": HELLO, "generationConfig": {"temperature": 0}}, "generation_config has no"),
        ({"content": HELLO, "systemInstruction": HELLO}, "system_instruction has no meaning"),
        ({"content": HELLO, "tools": [{}]}, "tools has no meaning"),
        ({"content": HELLO, "taskType": "CLUSTERING"}, "put it into embed_content_config"),
        ({"content": HELLO, "model": "gemini-embedding-001"}, "unknown field 'model'"),
        ({"content": HELLO, "contents": [HELLO]}, "given twice"),
        ({"content": HELLO, "embedContentConfig": {}, "embed_content_config": {}}, "given twice"),
        ({"contents": [HELLO, HELLO]}, "contents has 2 entries"),
        ({"content": ""}, "the prompt is empty"),
        ({"content": {"parts": []}}, "content must have parts"),
        ({"content": {"parts": [{"text": 7}]}}, "must be a string"),
        ({"content": {"parts": [IMAGE]}}, "use gemini-embedding-2 for media"),
        ({"content": HELLO, "embed_content_config": 7}, "must be a mapping"),
        ({"content": HELLO, "embed_content_config": {"temperature": 0}}, "unknown field"),
        ({"content": HELLO, "embed_content_config": {"document_ocr": True}}, "gemini-embedding-2"),
    ],
)
def test_a_row_that_google_would_refuse_is_refused_with_the_field(
    request_: Any, reason: str
) -> None:
    assert reason in refusal(request_)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("output_dimensionality", 3073, "from 1 to 3072"),
        ("output_dimensionality", 0, "from 1 to 3072"),
        ("output_dimensionality", True, "whole number"),
        ("output_dimensionality", "768", "whole number"),
        ("task_type", "SEARCH", "RETRIEVAL_QUERY"),
        ("title", 7, "a text"),
        ("auto_truncate", "no", "true or false"),
    ],
)
def test_a_value_that_google_would_refuse_is_refused(name: str, value: Any, reason: str) -> None:
    row = {"content": HELLO, "embed_content_config": {name: value}}

    assert reason in refusal(row)
    assert name in refusal(row)
    with pytest.raises(ConfigurationError, match=reason):
        normalize_config({name: value}, MODELS[TEXT_MODEL])


def test_media_are_embedded_by_the_second_model() -> None:
    content = {"parts": [IMAGE, {"text": "a photo"}]}

    assert request({"request": {"content": content}}, model=MEDIA_MODEL) == {"content": content}


def test_fields_that_the_second_model_ignores_are_reported_once() -> None:
    warnings: list[str] = []
    row = {"request": {"content": HELLO, "embed_content_config": {"task_type": "CLUSTERING"}}}

    lines = encode(row, row, model=MEDIA_MODEL, warnings=warnings, title="a title")

    assert [line.refusal for line in lines] == ["", ""]
    assert [warning.partition(" ")[0] for warning in warnings] == [
        "embed_content_config.title",
        "embed_content_config.task_type",
    ]


def test_a_text_beyond_the_models_limit_is_reported_once() -> None:
    warnings: list[str] = []

    encode("short", "x" * 8193, {"prompt": "x" * 9000}, warnings=warnings)

    (warning,) = warnings
    assert "2,048 tokens that gemini-embedding-001 takes" in warning


def test_an_embedding_counts_its_input_up_to_the_models_limit() -> None:
    short, long_, wrapped = encode("a" * 40, "x" * 9000, {"prompt": "a" * 40})

    assert (short.tokens.text, short.tokens.most) == (40, 40)
    assert (long_.tokens.text, long_.tokens.most) == (9000, 2048)
    assert (wrapped.tokens.text, wrapped.tokens.open) == (40, False)


VALUES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just([])
)
CONTENTS = st.recursive(
    VALUES | st.builds(lambda value: {"text": value}, VALUES),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.builds(lambda parts: {"parts": parts}, inner)
        | st.dictionaries(st.sampled_from(["text", "parts", "role", "fileData"]), inner)
    ),
    max_leaves=6,
)
CONFIGS = VALUES | st.dictionaries(
    st.sampled_from(["taskType", "output_dimensionality", "title", "autoTruncate", "x"]),
    VALUES | st.sampled_from(TASK_TYPES),
)


@given(
    st.dictionaries(
        st.sampled_from(["content", "contents", "embed_content_config", "embedContentConfig", "x"]),
        CONTENTS | CONFIGS,
    )
)
def test_any_mapping_is_refused_with_a_reason_or_sent_in_the_documented_form(
    mapping: Any,
) -> None:
    (line,) = encode({"key": "k", "request": mapping})

    sent = msgspec.json.decode(line.data)
    if line.refusal:
        assert sent["error"] == line.refusal
    else:
        assert sent["request"].keys() <= {"content", "embed_content_config"}
        assert sent["request"]["content"]["parts"]
        assert sent["request"].get("embed_content_config") != {}
        assert EmbeddingForm(MODELS[TEXT_MODEL], {}).check_request(sent["request"]) == ""
