"""Embeddings: Google's line for each request, and vectors that are close for similar texts."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.emulator.embedding import embed_request, make_vector
from promptmill.emulator.errors import RowRefused
from promptmill.emulator.model_table import MODELS
from unit.emulator.stand import Stand, row

MODEL = MODELS["gemini-embedding-2"]
EMBEDDING_MODEL = f"publishers/google/models/{MODEL.name}"


def embedding_request(text: str, **config: Any) -> dict[str, Any]:
    request: dict[str, Any] = {"content": {"parts": [{"text": text}]}}
    return request | ({"embed_content_config": config} if config else {})


def similarity(first: str, second: str) -> float:
    vectors = make_vector(first, 256), make_vector(second, 256)
    return sum(a * b for a, b in zip(*vectors, strict=True))


def test_a_line_has_the_key_the_request_and_the_vector_but_no_status() -> None:
    request = embedding_request("Hello World", output_dimensionality=8, task_type="CLUSTERING")
    stand = Stand()
    stand.input({"key": "id_1", "request": request})

    ended = stand.look(stand.create(model=EMBEDDING_MODEL), at=3600)

    assert ended["completionStats"] == {"successfulCount": "1"}
    (line,) = stand.output()
    assert list(line) == ["key", "request", "response"]
    assert (line["key"], line["request"]) == ("id_1", request)
    assert line["response"]["tokenCount"] == "2"
    assert len(line["response"]["embedding"]["values"]) == 8


def test_a_vector_has_the_models_length_unless_the_request_names_one() -> None:
    response = embed_request(embedding_request("hi"), MODEL)

    assert len(response["embedding"]["values"]) == 3072


@given(st.text(max_size=60), st.integers(1, 300))
def test_vectors_have_length_one_and_depend_on_the_text_only(text: str, dimensions: int) -> None:
    values = make_vector(text, dimensions)

    assert math.isclose(math.hypot(*values), 1, abs_tol=1e-6)
    assert values == make_vector(text, dimensions)


def test_texts_with_the_same_words_are_close() -> None:
    kettle = "A quiet electric kettle of steel"

    near = similarity("quiet kettles of steel", kettle)
    far = similarity("A bicycle for mountain roads", kettle)

    assert near > far + 0.3


@pytest.mark.parametrize(
    "request_",
    [
        row("k")["request"],
        {},
        {"content": {"parts": []}},
        {"content": {"parts": [{"text": ""}]}},
        {"content": {"parts": [{"text": 42}]}},
        embedding_request("x", output_dimensionality=3073),
        embedding_request("x", task_type="SEARCH"),
        embedding_request("x", temperature=1),
        embedding_request("x") | {"embed_content_config": 7},
        embedding_request("x" * 40_000, auto_truncate=False),
    ],
)
def test_a_request_of_another_form_is_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(RowRefused) as refused:
        embed_request(request_, MODEL)

    assert refused.value.code == 400


def test_only_the_second_model_embeds_files() -> None:
    file = {"fileUri": "gs://source/a.jpg", "mimeType": "image/jpeg"}
    request = {"content": {"parts": [{"fileData": file}]}}

    assert embed_request(request, MODEL)["embedding"]
    with pytest.raises(RowRefused, match="text only"):
        embed_request(request, MODELS["gemini-embedding-001"])


def test_a_model_without_embeddings_refuses_the_form() -> None:
    stand = Stand()
    stand.input({"key": "k", "request": embedding_request("x")})

    stand.look(stand.create(), at=3600)

    assert 'Unknown name \\"content\\"' in stand.output()[0]["status"]


def test_a_long_text_counts_up_to_the_models_limit() -> None:
    assert embed_request(embedding_request("x" * 40_000), MODEL)["tokenCount"] == "8192"


def test_an_embedding_job_takes_more_rows_than_others() -> None:
    stand = Stand()  # its limit for other jobs is 5,000 rows
    stand.input(
        *(
            {"key": f"k{n}", "request": embedding_request("x", output_dimensionality=1)}
            for n in range(5001)
        )
    )

    ended = stand.look(stand.create(model=EMBEDDING_MODEL), at=3600)

    assert ended["completionStats"] == {"successfulCount": "5001"}
