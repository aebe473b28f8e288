"""What a run of an embedding model can be told, and what is refused before anything is sent."""

from pathlib import Path
from typing import Any

import pytest

from promptmill.config.errors import ConfigurationError, PromptmillWarning
from promptmill.config.settings import load_settings
from promptmill.producers import Promptmill
from promptmill.producers.contract.messages import RUN_VERSION, VERSION
from promptmill.producers.run_options import build_manifest
from promptmill.workers.sinks.context import filled_fields

MODEL = "gemini-embedding-2"
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
MILL = {"broker_url": "redis://127.0.0.1:1", "bucket": "gs://b", "location": "global"}


def mill(**settings: Any) -> Promptmill:
    return Promptmill(**MILL | settings)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"response_schema": SCHEMA}, "response_schema: an embedding has no text"),
        ({"retry_max_tokens": 100}, "retry_max_tokens: an embedding has no output tokens"),
        ({"keep": "response"}, "keep: the answer has nothing but the embedding"),
        ({"embedding_config": {"temperature": 0}}, "embedding_config: unknown field"),
        ({"embedding_config": {"output_dimensionality": 4096}}, "from 1 to 3072, not 4096"),
        ({"embedding_config": "768"}, "embedding_config: must be a dict"),
    ],
)
def test_options_that_embeddings_cannot_have_are_refused_by_name(options: Any, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        mill().submit(["a"], model=MODEL, **options)


def test_rows_of_an_embedding_model_have_no_generation_config() -> None:
    with pytest.raises(ConfigurationError, match="generation_config: use embedding_config"):
        mill().submit_rows(
            [{"text": "a"}],
            template="{{ text }}",
            model=MODEL,
            generation_config={"temperature": 0},
        )


def test_another_model_has_no_embedding_config() -> None:
    with pytest.raises(ConfigurationError, match="makes no embeddings; use gemini-embedding-001"):
        mill().submit(["a"], model="gemini-3.8-flash", embedding_config={"title": "t"})


def test_an_older_worker_refuses_a_run_of_embeddings_in_place_of_paying_for_it_again() -> None:
    settings = load_settings(**MILL)
    config = {"outputDimensionality": 768}

    embedding, _ = build_manifest(settings, "r", {"model": MODEL, "embedding_config": config})
    plain, _ = build_manifest(settings, "r", {"model": "gemini-3.8-flash"})

    assert (embedding.v, plain.v) == (RUN_VERSION, VERSION)
    assert embedding.embedding_config == {"output_dimensionality": 768}
    assert [sorted(filled_fields(each)) for each in (embedding, plain)] == [["embedding"], []]


def test_an_estimate_has_input_alone_and_a_limit_of_rows_of_its_own() -> None:
    estimate = mill(max_embeddings_per_job=3, max_requests_per_job=1).estimate(
        ["four" * 10] * 7, model=MODEL
    )

    assert (estimate.jobs, estimate.input_tokens, estimate.output_tokens) == (3, 70, 0)
    assert estimate.usd is not None


def test_templates_and_files_make_embedding_requests(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"content": {"parts": [{"text": "a"}]}, "key": "k"}\n{"prompt": "b"}\n')

    assert mill().validate([{"text": "a"}], template="{{ text }}", model=MODEL).ok
    assert mill().validate(str(file), model=MODEL).ok
    assert not mill().validate(str(file), model="gemini-3.8-flash").ok


def test_what_the_model_ignores_is_a_warning() -> None:
    with pytest.warns(PromptmillWarning, match="title has no effect"):
        mill().validate(["a"], model=MODEL, embedding_config={"title": "t"})
