"""Nothing that identifies a customer survives, and the same thing keeps one placeholder."""

import re
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from promptmill.workers.live import redaction
from promptmill.workers.live.redaction import Redactor

PROJECTS = st.from_regex(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", fullmatch=True)
BUCKETS = st.from_regex(r"[a-z0-9][a-z0-9._-]{1,40}[a-z0-9]", fullmatch=True)
ACCOUNTS = st.from_regex(
    r"[a-z0-9.+-]{1,10}@[a-z0-9-]{1,10}\.(iam\.gserviceaccount\.)?com", fullmatch=True
)
NUMBERS = st.from_regex(r"[1-9][0-9]{10,18}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


@st.composite
def identities(draw: st.DrawFn) -> dict[str, str]:
    return {
        "project": draw(PROJECTS),
        "bucket": draw(BUCKETS),
        "account": draw(ACCOUNTS),
        "number": draw(NUMBERS),
        "response": draw(st.from_regex(r"[A-Za-z0-9_-]{12,22}", fullmatch=True)),
    }


@st.composite
def evidence_texts(draw: st.DrawFn, found: dict[str, str]) -> Any:
    """Return JSON as Google sends it, with every identity somewhere, also inside other text."""
    number, project = found["number"], found["project"]
    line = {"response": {"responseId": found["response"], "text": draw(TEXTS) + found["account"]}}
    return {
        "name": f"projects/{number}/locations/global/batchPredictionJobs/{number}",
        "uris": [f"gs://{found['bucket']}/{draw(TEXTS)}", f"bq://{project}.d.t"],
        "error": {
            "message": f"{draw(TEXTS)}service-{number}@gcp-sa-aiplatform.iam.gserviceaccount.com"
        },
        "lines": [msgspec.json.encode(line).decode(), draw(TEXTS) + project.upper()],
    }


@given(st.data())
def test_no_identity_survives(data: st.DataObject) -> None:
    found = data.draw(identities())
    value = data.draw(evidence_texts(found))
    secrets = redaction.collect_secrets(found["project"], f"gs://{found['bucket']}/promptmill")

    redacted = Redactor(secrets).redact_value(value)

    assert redaction.list_leaks(redacted, found.values()) == []
    assert redacted["name"].count("/") == value["name"].count("/")


@given(st.data())
def test_a_second_redaction_changes_nothing(data: st.DataObject) -> None:
    found = data.draw(identities())
    value = data.draw(evidence_texts(found))
    once = Redactor(redaction.collect_secrets(found["project"], "")).redact_value(value)

    assert Redactor().redact_value(once) == once


def test_the_same_thing_keeps_its_placeholder_and_others_get_their_own() -> None:
    text = "projects/1234567890123/x projects/9876543210987/x projects/1234567890123/y"

    first, second, third = (part.split("/")[1] for part in Redactor().redact_text(text).split())

    assert first == third != second


def test_numbers_of_an_answer_stay_as_they_were() -> None:
    text = '{"avgLogprobs":-0.07164737701416016,"totalTokenCount":123456,"temperature":1.0}'

    assert Redactor().redact_text(text) == text


def test_a_short_name_is_only_replaced_where_it_stands_alone() -> None:
    redacted = Redactor({"acme": "example-project"}).redact_text("acme acmeology gs://acme-data")

    assert re.fullmatch(r"example-project acmeology gs://example-bucket-1", redacted)
