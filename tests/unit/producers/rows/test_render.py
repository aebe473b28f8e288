"""How a row becomes a request."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from promptmill.config.errors import ConfigurationError, InvalidRequest
from promptmill.producers.requests.encode import encode_lines
from promptmill.producers.requests.request_line import RequestLine
from promptmill.producers.rows.render import RowTemplate
from promptmill.producers.rows.sources import MalformedRow, RowSource

ROW = {"id": "r-1", "text": "fine", "shop": 7, "photo": "gs://acme/a b.jpg", "tone": "kind"}


def lines(
    rows: list[Any],
    *,
    same_columns: bool = False,
    template: str | Path = "{{ text }}",
    **options: Any,
) -> list[RequestLine]:
    prompts = RowTemplate(template, **options).render_prompts(RowSource(iter(rows), same_columns))
    return list(encode_lines("01jtest", prompts, 10_000))


def request(**options: Any) -> Any:
    (line,) = lines([ROW], **options)
    assert not line.refusal, line.refusal
    return msgspec.json.decode(line.data)["request"]


def refusal(row: Any, **options: Any) -> str:
    good, bad = lines([ROW, row], **options)
    assert not good.refusal
    assert "request" not in msgspec.json.decode(bad.data)
    return bad.refusal


def test_a_row_becomes_a_prompt_with_its_key_and_metadata() -> None:
    (line,) = lines([ROW], template="Classify: {{ text }}", key="id", metadata=["shop"])

    held = msgspec.json.decode(line.data)
    assert line.key == "r-1"
    assert msgspec.json.decode(held["metadata"]) == {"shop": 7}
    assert held["request"] == {
        "contents": [{"role": "user", "parts": [{"text": "Classify: fine"}]}]
    }


@pytest.mark.parametrize(
    ("key", "made"), [(None, "1"), ("id", "r-1"), ("shop", "7"), ("{{ shop }}/{{ id }}", "7/r-1")]
)
def test_a_key_is_the_number_of_the_row_or_a_column_or_a_template(
    key: str | None, made: str
) -> None:
    assert lines([ROW], key=key)[0].key == made


@pytest.mark.parametrize(
    ("media", "part"),
    [
        ("photo", ("gs://acme/a b.jpg", "image/jpeg")),
        ("{{ photo }}", ("gs://acme/a b.jpg", "image/jpeg")),
        ({"uri": "photo", "mime_type": "image/png"}, ("gs://acme/a b.jpg", "image/png")),
        ({"uri": "gs://acme/{{ id }}.webp"}, ("gs://acme/r-1.webp", "image/webp")),
        (
            {"uri": "gs://acme/{{ id }}", "mime_type": "{{ 'video/mp4' }}"},
            ("gs://acme/r-1", "video/mp4"),
        ),
        ("gs://acme/{{ id }}.PDF", ("gs://acme/r-1.PDF", "application/pdf")),
    ],
)
def test_files_go_before_the_text_by_uri_and_type(media: Any, part: tuple[str, str]) -> None:
    parts = request(media=[media])["contents"][0]["parts"]

    assert parts == [{"fileData": {"fileUri": part[0], "mimeType": part[1]}}, {"text": "fine"}]


@pytest.mark.parametrize(
    ("instruction", "made"),
    [
        ("Be brief.", {"parts": [{"text": "Be brief."}]}),
        ("Be {{ tone }}.", {"parts": [{"text": "Be kind."}]}),
        ({"parts": [{"text": "Be {{ literal }}."}]}, {"parts": [{"text": "Be {{ literal }}."}]}),
    ],
)
def test_a_system_instruction_goes_along(instruction: Any, made: Any) -> None:
    assert request(system_instruction=instruction)["systemInstruction"] == made


def test_a_generation_config_is_the_same_for_all_rows() -> None:
    config = {"temperature": 0, "maxOutputTokens": 256}

    assert request(generation_config=config)["generationConfig"] == config


def test_a_template_may_be_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("Say: {{ text }}\n")

    assert request(template=path)["contents"][0]["parts"] == [{"text": "Say: fine"}]


@pytest.mark.parametrize(
    ("row", "options", "told"),
    [
        (
            {"id": "r-2"},
            {},
            "the template needs the column 'text', which the row does not have; its columns are id",
        ),
        ({"text": "  "}, {}, "the prompt is empty"),
        ({"text": "half \udce9"}, {}, "not JSON"),
        ({"text": "a"}, {"metadata": ["shop"]}, "the metadata needs the column 'shop'"),
        ({"text": "a"}, {"media": ["photo"]}, "the URI of media 1 needs the column 'photo'"),
        ({"text": "a", "photo": None}, {"media": ["{{ photo }}"]}, "the URI of media 1 is empty"),
        ({"text": "a", "photo": "gs://b/x"}, {"media": ["photo"]}, "set its mime_type"),
        ({"text": "a", "photo": "x.jpg"}, {"media": ["photo"]}, "must be a gs:// URI"),
        (
            {"text": "a"},
            {"system_instruction": "{{ tone }}"},
            "the system instruction needs the column 'tone'",
        ),
        (
            MalformedRow({"text": "a"}, "line 3: there are 3 values"),
            {},
            "line 3: there are 3 values",
        ),
        ({"text": "x" * 10_000}, {}, "PROMPTMILL_MAX_REQUEST_BYTES"),
    ],
)
def test_a_row_that_cannot_be_rendered_or_sent_is_set_apart(
    row: Any, options: Any, told: str
) -> None:
    assert told in refusal(row, **options)


def test_a_row_that_is_set_apart_keeps_its_key() -> None:
    broken = [MalformedRow({"id": "r-2"}, "cut short"), {"id": "r-3"}]

    assert [line.key for line in lines(broken, key="id")] == ["r-2", "r-3"]


@pytest.mark.parametrize(
    ("row", "key", "told"),
    [
        ({"text": "a"}, "id", "^row 2: the key needs the column 'id'"),
        (
            {"text": "a", "id": None},
            "id",
            "^row 2: the key is empty: the row has no value in the column 'id'",
        ),
        (
            {"text": "a", "id": ""},
            "{{ id }}",
            "^row 2: a key must be a string of 1 to 512 characters",
        ),
        (MalformedRow({}, "line 2 is not JSON"), "id", "^row 2: line 2 is not JSON; the key needs"),
        (MalformedRow({"id": ""}, "cut short"), "{{ id }}", "^row 2: cut short"),
    ],
)
def test_a_row_without_a_key_stops_everything_and_is_named(row: Any, key: str, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        lines([ROW, row], key=key)


@pytest.mark.parametrize(
    "options", [{"template": "{{ txt }}"}, {"key": "review"}, {"metadata": ["shops"]}]
)
def test_a_column_that_no_row_of_a_table_has_stops_everything_at_the_first(options: Any) -> None:
    read: list[int] = []

    def rows() -> Any:
        for number in range(1, 4):
            read.append(number)
            yield ROW

    with pytest.raises(
        InvalidRequest, match=r"^row 1: .* its columns are id, text, shop, photo, tone"
    ):
        lines(rows(), same_columns=True, **options)
    assert read == [1]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"template": "{{ text"}, "the template, line 1"),
        ({"key": "{{ id"}, "the key, line 1"),
        (
            {"media": [{"uri": "{{ photo }}", "type": "image/png"}]},
            "media 1 must have a uri, and optionally a mime_type, not type",
        ),
        ({"media": [{}]}, "not nothing"),
        ({"media": "photo"}, "media a list of files"),
        ({"metadata": "shop"}, "metadata must be a list of columns"),
        (
            {"generation_config": {"responseSchema": {"$ref": "a"}}},
            "generationConfig: .* a field named '\\$ref'",
        ),
        ({"generation_config": {"temperature": object()}}, "generationConfig is not JSON"),
        ({"generation_config": {"thinkingConfig": {}}}, "is an empty object"),
        ({"system_instruction": {"parts": [{}]}}, "systemInstruction: .* is an empty object"),
    ],
)
def test_what_no_row_could_be_sent_with_is_refused_before_a_row_is_read(
    options: Any, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        RowTemplate(**{"template": "{{ text }}", **options})
