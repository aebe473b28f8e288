import io
from pathlib import Path

import pytest

from promptmill.config.errors import InvalidRequest, PromptmillError
from promptmill.producers.rows import prompt_files
from promptmill.producers.rows.prompt_files import read_prompts


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_a_text_file_has_one_prompt_a_line_and_empty_lines_are_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, "p.txt", "good morning\n\n  see you soon \r\nüber".encode())

    assert list(read_prompts(path)) == ["good morning", "see you soon", "über"]


def test_a_text_file_may_have_lines_that_look_like_json(tmp_path: Path) -> None:
    assert list(read_prompts(written(tmp_path, "p.txt", b'{"what": "is this?"}\n'))) == [
        '{"what": "is this?"}'
    ]


def test_rows_in_googles_shape_come_as_they_are(tmp_path: Path) -> None:
    row = b'{"key": "sku-1", "metadata": {"shop": 7}, "request": {"contents": [{"parts": [{"text": "hi"}]}]}}\n'

    (prompt,) = read_prompts(written(tmp_path, "p.jsonl", row))

    assert prompt == {
        "key": "sku-1",
        "metadata": {"shop": 7},
        "request": {"contents": [{"parts": [{"text": "hi"}]}]},
    }


@pytest.mark.parametrize("extra", ["", '"key": "k", "metadata": {"a": 1}, '])
def test_a_request_that_stands_alone_becomes_a_row(tmp_path: Path, extra: str) -> None:
    line = f'{{{extra}"contents": [{{"parts": [{{"text": "hi"}}]}}], "labels": {{"a": "b"}}}}'

    (prompt,) = read_prompts(written(tmp_path, "p.jsonl", line.encode()))

    own = {"key": "k", "metadata": {"a": 1}} if extra else {}
    assert prompt == own | {
        "request": {"contents": [{"parts": [{"text": "hi"}]}], "labels": {"a": "b"}}
    }


def test_a_json_line_may_be_a_string_or_a_plain_prompt(tmp_path: Path) -> None:
    path = written(tmp_path, "p.ndjson", b'"hello"\n{"prompt": "hello"}\n')

    assert list(read_prompts(path)) == ["hello", {"prompt": "hello"}]


def test_a_byte_order_mark_is_not_part_of_the_first_prompt(tmp_path: Path) -> None:
    assert list(read_prompts(written(tmp_path, "p.txt", b"\xef\xbb\xbfhello\n"))) == ["hello"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"{oops", "p.jsonl line 3: not valid JSON"),
        (b"[1, 2]", "p.jsonl line 3: a line must be a JSON object, not a list"),
        (b"7", "p.jsonl line 3: a line must be a JSON object, not a number"),
        (b'{"prompt": "\xff"}', "p.jsonl line 3: not valid JSON"),
        (b"[" * 100_000, "p.jsonl line 3: not valid JSON"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: bytes, complaint: str) -> None:
    prompts = read_prompts(written(tmp_path, "p.jsonl", b'{"prompt": "fine"}\n\n' + line + b"\n"))

    assert next(prompts) == {"prompt": "fine"}
    with pytest.raises(InvalidRequest) as caught:
        next(prompts)
    assert str(caught.value).startswith(complaint)
    assert caught.value.row == 2


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"^p\.txt line 2: the line is not UTF-8"):
        list(read_prompts(written(tmp_path, "p.txt", b"fine\nna\xefve\n")))


def test_a_line_without_end_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_files, "MAX_LINE_BYTES", 1000)

    with pytest.raises(InvalidRequest, match="line 2: the line is longer"):
        list(read_prompts(written(tmp_path, "p.txt", b"fine\n" + b"x" * 5000)))


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.jsonl.gz", "rows.json"])
def test_a_file_of_another_kind_is_refused_before_it_is_paid_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(PromptmillError, match=r"a file of prompts must be .jsonl"):
        next(read_prompts(written(tmp_path, name, b"review,stars\n")))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PromptmillError, match=r"nowhere.txt cannot be read: No such file"):
        next(read_prompts(tmp_path / "nowhere.txt"))


def test_an_empty_file_has_no_prompts(tmp_path: Path) -> None:
    assert list(read_prompts(written(tmp_path, "p.jsonl", b"\n\n"))) == []


@pytest.mark.parametrize(
    ("data", "expected"), [(b'{"prompt": "x"}\n', [{"prompt": "x"}]), (b"tell me\n", ["tell me"])]
)
def test_the_first_line_of_standard_input_tells_what_it_is(
    monkeypatch: pytest.MonkeyPatch, data: bytes, expected: list[object]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    assert list(read_prompts("-")) == expected
