"""Captures of live checks: written, read, and judged again."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.config.errors import PromptmillError
from promptmill.workers.live import beliefs, capture, rows
from promptmill.workers.live.evidence import Evidence, OutputFile, plan_evidence

ROOT = Path(__file__).parents[4]
CAPTURES = sorted((ROOT / "tests" / "captures" / "live").glob("*.json"))


def make_evidence(*lines: str) -> Evidence:
    evidence = plan_evidence("gemini-3.5-flash-lite", "global", rows.build_lines())
    evidence.main.name = "projects/secret-project/locations/global/batchPredictionJobs/12345678901"
    evidence.main.resources = [
        {"name": evidence.main.name, "state": "JOB_STATE_SUCCEEDED", "displayName": "x"}
    ]
    evidence.main.seconds = [1.0]
    evidence.files = [OutputFile("predictions.jsonl", list(lines))]
    return evidence


def encode(evidence: Evidence) -> bytes:
    findings = beliefs.judge_beliefs(evidence)
    made = capture.make_capture(evidence, findings, 1.0, {"Vertex AI": 3})
    return capture.encode_capture(made, {"secret-project": "example-project"})


def test_a_capture_is_read_back_without_the_names_in_it() -> None:
    evidence = make_evidence('{"key":"x","status":"in secret-project"}')
    folder = "gs://secret-project-bucket/prediction-model-2026-12-01T00:00:00Z"
    evidence.main.resources[0]["outputInfo"] = {"gcsOutputDirectory": folder}

    data = encode(evidence)

    read = capture.decode_capture(data)

    assert b"secret-project" not in data
    assert read.evidence.main.resources[0]["state"] == "JOB_STATE_SUCCEEDED"
    assert capture.name_capture(read).endswith("-global-gemini-3.5-flash-lite.json")
    assert capture.encode_capture(read) == data


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"promptmill_live_capture": 1}'])
def test_any_other_file_is_refused(data: bytes) -> None:
    with pytest.raises(PromptmillError, match="not a capture"):
        capture.decode_capture(data)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["key", "status", "request", "response", "candidates", "usageMetadata"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(st.lists(JSON_VALUES, max_size=4), st.dictionaries(st.text(max_size=5), JSON_VALUES))
def test_whatever_google_sends_gets_a_verdict(lines: list[object], stats: object) -> None:
    evidence = make_evidence(*(msgspec.json.encode(line).decode() for line in lines), "not JSON")
    evidence.main.resources[0] |= {"completionStats": stats, "outputInfo": stats, "error": stats}

    findings = beliefs.judge_beliefs(evidence)

    assert len(findings) == len(beliefs.BELIEFS)
    read = capture.decode_capture(encode(evidence)).evidence
    assert read.files is not None
    assert len(read.files[0].lines) == len(lines) + 1


@pytest.mark.parametrize("file", CAPTURES, ids=lambda file: file.stem)
def test_the_verdicts_of_a_live_check_follow_from_its_evidence(file: Path) -> None:
    read = capture.decode_capture(file.read_bytes())

    assert capture.encode_capture(read) == file.read_bytes()
    assert beliefs.judge_beliefs(read.evidence) == read.findings
