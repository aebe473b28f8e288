import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.emulator import importer
from promptmill.emulator.errors import JobFailed
from promptmill.emulator.importer import ImportedRows, ImportLimits
from promptmill.emulator.memory_storage import MemoryStorage

FEW = ImportLimits(requests=5, file_bytes=10_000)


def request(**more: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]} | more


def nested(levels: int) -> Any:
    return {"a": nested(levels - 1)} if levels else 1


def load(*rows: Any, lines: io.BytesIO | None = None) -> ImportedRows:
    storage = MemoryStorage("in")
    storage.objects["gs://in/a.jsonl"] = b"".join(
        row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows
    )
    return importer.import_objects(storage, ["gs://in/a.jsonl"], lines or io.BytesIO(), FEW)


def test_rows_come_back_as_they_were_sent() -> None:
    rows = [{"key": f"k{n}", "request": request(), "shop": {"id": n}} for n in range(5)]

    imported = load(*rows)

    assert [imported.read_row(index) for index in range(len(imported))] == rows


def test_blank_lines_and_a_missing_last_newline_are_no_rows() -> None:
    imported = load(
        b"\n",
        {"request": request()},
        b"  \n",
        json.dumps({"request": request(), "key": "z"}).encode(),
    )

    assert len(imported) == 2
    assert imported.read_row(1)["key"] == "z"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([b"{broken\n"], "JSON"),
        ([b"[1]\n"], "object"),
        ([{"key": "k"}], "request"),
        ([{"request": "hi"}], "request"),
        ([], "no rows"),
        (
            [{"request": request(tools=[{"googleSearch": {}}])}],
            "Cannot store struct 'request.tools.googleSearch' with no fields",
        ),
        (
            [{"request": request(generationConfig={"responseJsonSchema": {"$defs": {"a": 1}}})}],
            'Invalid field name "$defs".',
        ),
        ([{"request": request(), "my shop": 1}], "my shop"),
        ([{"request": request(), "deep": nested(16)}], "at least 16 compared to the maximum"),
        (
            [{"request": request(), "a": 1}, {"request": request(), "a": [1]}],
            "Repeated field must be imported as a JSON array. Field: a",
        ),
        (
            [{"request": request(), "a": {"b": 1}}, {"request": request(), "a": 1}],
            "This field: a is not a record.",
        ),
        (
            [{"request": request(), "a": [{"b": 1}]}, {"request": request(), "a": ["x"]}],
            "This field: a is not a record.",
        ),
        (
            [{"request": request(), "a": [None]}],
            "Only optional fields can be set to NULL. Field: a",
        ),
        ([{"request": request(), "a": [[1]]}], "Array inside an array. Field: a"),
        ([{"request": request(tools=[{"url_context": {}}])}], "request.tools.url_context"),
        (
            [{"request": request()}, {"request": {"contents": {"role": "user"}}}],
            "Repeated field must be imported as a JSON array. Field: request.contents",
        ),
        ([{"request": request()}] * 6, "more than 5 requests"),
        ([{"request": request(text="x" * 11_000)}], "larger than 10000 bytes"),
    ],
)
def test_one_bad_line_fails_the_whole_file(rows: list[Any], reason: str) -> None:
    with pytest.raises(JobFailed) as failed:
        load(*rows)

    assert failed.value.code == 3
    assert failed.value.message.startswith("Failed to import data. ")
    assert reason in failed.value.message


def test_the_bad_line_is_named() -> None:
    with pytest.raises(JobFailed, match="line 2"):
        load({"request": request()}, {"key": "k"})


def test_fifteen_levels_nulls_and_empty_arrays_are_accepted() -> None:
    load(
        {"request": request(), "deep": nested(15), "a": None, "b": []},
        {"request": request(), "a": 1, "b": [1]},
    )


def test_several_objects_and_wildcards_make_one_job() -> None:
    storage = MemoryStorage("in")
    for name in ("x/1", "x/2", "y"):
        storage.objects[f"gs://in/{name}.jsonl"] = json.dumps(
            {"request": request(), "key": name}
        ).encode()

    imported = importer.import_objects(
        storage, ["gs://in/x/*.jsonl", "gs://in/y.jsonl"], io.BytesIO(), FEW
    )

    assert [imported.read_row(index)["key"] for index in range(3)] == ["x/1", "x/2", "y"]


def test_an_input_that_does_not_exist_fails_the_job() -> None:
    with pytest.raises(JobFailed, match="Not found"):
        importer.import_objects(MemoryStorage("in"), ["gs://in/none.jsonl"], io.BytesIO(), FEW)


@given(st.integers(1, 200), st.text(max_size=8))
def test_the_order_is_a_permutation_that_the_seed_decides(size: int, seed: str) -> None:
    imported = ImportedRows(io.BytesIO())
    for _ in range(size):
        imported.append_line(b"{}\n")

    assert sorted(imported.shuffle_indexes(seed)) == list(range(size))
    assert imported.shuffle_indexes(seed) == imported.shuffle_indexes(seed)
