"""Lines of input files that Google accepted or refused have the same end here."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from promptmill.producers import Promptmill
from promptmill.producers.requests.encode import encode_lines
from promptmill.producers.rows.validation import Validation, validate_prompts
from support.captures import read_inputs
from support.importer_rule import import_lines

LINES = read_inputs()
REFUSALS = {
    "url-context": "tools[].url_context",
    "numeric-keys": "a field named '0'",
    "boolean-names": "a field named 'y', which Vertex's importer reads as a boolean",
    "numeric-stop": "request.contents[].parts[].text",
}
"""Lines that are refused whatever the model, and the place that the message names."""
SAVED = ("search-empty",)
"""Lines that Google refuses, and that are rewritten so that it does not."""
OF_A_MODEL = [line for line in LINES if "model" in line or line["id"] == "three-candidates"]
"""Lines whose end depends on the model."""
ACCEPTED = [
    line
    for line in LINES
    if line not in OF_A_MODEL and ("refused" not in line or line["id"] in SAVED)
    and "content" not in line["line"]["request"]
]  # fmt: skip


def validate(line: dict[str, Any]) -> Validation:
    return validate_prompts([line["line"]], 10_000)


@pytest.mark.parametrize("line", ACCEPTED, ids=lambda line: line["id"])
def test_a_line_that_google_takes_is_sent_so_that_the_importer_takes_it(
    line: dict[str, Any],
) -> None:
    (sent,) = encode_lines("01jtest", [line["line"]], 10_000)
    decoded = msgspec.json.decode(sent.data)

    assert validate(line).ok
    assert import_lines([decoded]) == [decoded]
    assert all(isinstance(content["parts"], list) for content in decoded["request"]["contents"])


@pytest.mark.parametrize(
    "line", [line for line in LINES if line["id"] in REFUSALS], ids=lambda line: line["id"]
)
def test_a_line_that_google_refuses_is_refused_with_its_place(line: dict[str, Any]) -> None:
    (finding,) = validate(line).findings

    assert REFUSALS[line["id"]] in finding.reason


@pytest.mark.parametrize("line", OF_A_MODEL, ids=lambda line: line["id"])
def test_a_line_that_one_model_refuses_can_be_sent_to_another(line: dict[str, Any]) -> None:
    assert validate(line).ok


def test_google_s_sample_file_is_valid(tmp_path: Path) -> None:
    sample = next(line["line"] for line in LINES if line["id"] == "parts-object")
    file = tmp_path / "prompts.jsonl"
    file.write_bytes(
        b"".join(msgspec.json.encode(sample | {"id": row}) + b"\n" for row in range(1, 4))
    )

    seen = Promptmill(broker_url="redis://127.0.0.1:1/0", model="gemini-3.8-flash").validate(file)

    assert (seen.rows, seen.findings, seen.ok) == (3, [], True)


def test_every_captured_line_is_tested() -> None:
    tested = {line["id"] for line in [*ACCEPTED, *OF_A_MODEL]} | REFUSALS.keys()

    assert {line["id"] for line in LINES} - tested == {"embedding"}
