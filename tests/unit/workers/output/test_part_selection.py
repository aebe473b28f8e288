"""Paid parts of an answer are kept on request, and named otherwise."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.config.errors import ConfigurationError, PromptmillError
from promptmill.producers.contract.kept_parts import KEPT_PARTS, normalize_keep
from promptmill.producers.contract.messages import RUN_VERSION, VERSION, Manifest
from promptmill.producers.contract.results import Result
from promptmill.workers.cli_support.kept_results import kept_lines
from promptmill.workers.facts import snapshot
from promptmill.workers.fakes import Script
from promptmill.workers.output.part_selection import select_parts
from support.fake_pipeline import RUN, FakePipeline

GROUNDING = {"webSearchQueries": ["weather"], "searchEntryPoint": {"renderedContent": "<div/>"}}
THOUGHT = {"text": "Let me see.", "thought": True}
SIGNED = {"text": "Sunny.", "thoughtSignature": "AY89"}
CANDIDATE: dict[str, Any] = {
    "content": {"role": "model", "parts": [THOUGHT, SIGNED]},
    "finishReason": "STOP",
    "groundingMetadata": GROUNDING,
    "citationMetadata": {"citations": [{"uri": "https://example.com"}]},
    "urlContextMetadata": {"urlMetadata": [{"retrievedUrl": "https://example.com"}]},
    "avgLogprobs": -0.1,
    "logprobsResult": {"topCandidates": []},
    "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT"}],
}
RESPONSE: dict[str, Any] = {
    "candidates": [CANDIDATE],
    "modelVersion": "gemini-fake",
    "usageMetadata": {"promptTokenCount": 2, "candidatesTokenCount": 1, "totalTokenCount": 3},
}
TWO = RESPONSE | {"candidates": [CANDIDATE, {"content": {"parts": [{"text": "Rain."}]}}]}
SELECTED = {
    "response": RESPONSE,
    "candidates": {"candidates": [CANDIDATE]},
    "citations": {"candidates": [{"citationMetadata": CANDIDATE["citationMetadata"]}]},
    "grounding": {"candidates": [{"groundingMetadata": GROUNDING}]},
    "logprobs": {"candidates": [{"avgLogprobs": -0.1, "logprobsResult": {"topCandidates": []}}]},
    "safety": {"candidates": [{"safetyRatings": CANDIDATE["safetyRatings"]}]},
    "thoughts": {"candidates": [{"content": {"parts": [THOUGHT, SIGNED]}}]},
    "url_context": {"candidates": [{"urlContextMetadata": CANDIDATE["urlContextMetadata"]}]},
}


def run(pipeline: FakePipeline, *prompts: str) -> list[Result]:
    pipeline.drive(pipeline.send(prompts or ["How is the weather?"]))
    return pipeline.results(pipeline.run)


def read_kept(pipeline: FakePipeline, *keep: str) -> list[dict[str, Any] | None]:
    run_snapshot = snapshot.load_snapshot(pipeline.bucket, RUN)
    lines = kept_lines(pipeline.folder(), run_snapshot, normalize_keep(keep))
    results = [msgspec.json.decode(line, type=Result) for line in lines]
    return [result.response for result in sorted(results, key=lambda result: result.row)]


def test_every_name_of_a_part_has_a_case() -> None:
    assert SELECTED.keys() == KEPT_PARTS.keys()


@pytest.mark.parametrize(("name", "expected"), SELECTED.items(), ids=SELECTED)
def test_a_result_has_the_parts_that_the_run_keeps(name: str, expected: dict[str, Any]) -> None:
    (result,) = run(FakePipeline(answer=lambda _: RESPONSE, keep=[name]))

    assert (result.text, result.response) == ("Sunny.", expected)


@pytest.mark.parametrize("keep", ["response", "candidates"])
def test_further_candidates_are_delivered_whole(keep: str) -> None:
    pipeline = FakePipeline(answer=lambda _: TWO, keep=[keep])

    (result,) = run(pipeline)

    assert result.response and result.response["candidates"] == TWO["candidates"]
    assert pipeline.report(RUN).unkept == {}


def test_without_keep_the_report_names_what_the_results_lack_and_where_it_is() -> None:
    pipeline = FakePipeline(answer=lambda _: TWO)

    (result,) = run(pipeline)
    report = pipeline.report(RUN)

    assert result.response is None
    assert report.unkept == {
        "candidates": 1,
        "citations": 1,
        "grounding": 1,
        "logprobs": 1,
        "thoughts": 1,
        "url_context": 1,
    }
    assert len(report.warnings) == 6
    (grounding,) = [text for text in report.warnings if "(grounding)" in text]
    assert grounding.startswith("1 answer has parts that the results lack")
    assert report.results in grounding
    assert "--keep grounding" in grounding


def test_what_is_kept_is_not_named() -> None:
    pipeline = FakePipeline(answer=lambda _: TWO, keep=["grounding", "thoughts"])

    run(pipeline)

    assert pipeline.report(RUN).unkept.keys() == {
        "candidates",
        "citations",
        "logprobs",
        "url_context",
    }


def test_a_plain_answer_leaves_nothing_behind() -> None:
    pipeline = FakePipeline()

    run(pipeline)

    assert (pipeline.report(RUN).unkept, pipeline.report(RUN).warnings) == ({}, [])


def test_an_identical_request_gets_the_kept_parts_too() -> None:
    first, second = run(FakePipeline(answer=lambda _: RESPONSE, keep=["grounding"]), "a", "a")

    assert first.response == second.response == SELECTED["grounding"]


def test_an_answer_without_a_key_has_its_kept_parts() -> None:
    pipeline = FakePipeline(
        script=Script(unkeyed=frozenset({0})), answer=lambda _: RESPONSE, keep=["grounding"]
    )

    (result,) = run(pipeline)

    assert result.response == SELECTED["grounding"]


def test_a_run_reuses_answers_only_of_runs_that_kept_the_same() -> None:
    pipeline = FakePipeline(answer=lambda _: RESPONSE, reuse_answers=True)
    found = []
    for number, keep in enumerate([[], ["grounding"], ["grounding"], ["logprobs"], []]):
        pipeline.run, pipeline.keep = f"01jrun{number}", keep
        (result,) = run(pipeline, "a")
        found.append((result.attempt, bool(result.response)))

    assert found == [(1, False), (1, True), (0, True), (1, True), (0, False)]


def test_parts_that_a_run_did_not_keep_are_read_from_its_raw_output() -> None:
    pipeline = FakePipeline(answer=lambda _: RESPONSE, part_bytes=400)
    run(pipeline, "a", "b", "c")

    assert read_kept(pipeline, "grounding") == [SELECTED["grounding"]] * 3


def test_kept_parts_are_read_from_the_results() -> None:
    pipeline = FakePipeline(answer=lambda _: RESPONSE, keep=["grounding", "logprobs"])
    run(pipeline, "a", "a")

    assert read_kept(pipeline, "grounding") == [SELECTED["grounding"]] * 2


def test_a_raw_output_that_is_gone_is_named() -> None:
    pipeline = FakePipeline(answer=lambda _: RESPONSE)
    run(pipeline)
    for stored in list(pipeline.bucket.list("")):
        if stored.name.endswith("predictions.jsonl"):
            pipeline.bucket.delete(stored.name)

    with pytest.raises(PromptmillError, match=r"predictions\.jsonl no longer exists"):
        read_kept(pipeline, "grounding")


@pytest.mark.parametrize(
    ("keep", "names"),
    [
        ("response", ["response"]),
        (["response", "grounding"], ["response"]),
        (("logprobs", "grounding", "logprobs"), ["grounding", "logprobs"]),
        ((), []),
    ],
)
def test_names_are_normalized(keep: Any, names: list[str]) -> None:
    assert normalize_keep(keep) == names


@pytest.mark.parametrize("keep", ["groundings", ["grounding", "all"], "grounding,logprobs"])
def test_an_unknown_name_is_refused_with_the_list(keep: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"keep: .* use candidates, citations, grounding"):
        normalize_keep(keep)


def test_a_run_that_keeps_parts_is_left_to_workers_that_know_of_them() -> None:
    versions = [Manifest("r", "m", 0.0, keep=keep).with_version().v for keep in ([], ["grounding"])]

    assert versions == [VERSION, RUN_VERSION]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["candidates", "content", "parts", "groundingMetadata", "thought"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(JSON, st.lists(st.sampled_from(sorted(KEPT_PARTS)), unique=True))
def test_any_response_can_be_selected_from(response: Any, keep: list[str]) -> None:
    selected = select_parts(response, normalize_keep(keep))

    assert selected is None or (isinstance(response, dict) and selected.keys() <= response.keys())
