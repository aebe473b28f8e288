"""Results as Parquet hold what the results do."""

from pathlib import Path

import msgspec
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from promptmill.producers.contract.results import Error, Result
from promptmill.workers.fakes import MemoryBucket
from promptmill.workers.sinks.files import BucketSink, FileSink
from promptmill.workers.sinks.parquet import PARQUET, SCHEMA

RESULTS = [
    Result(
        "a", 1, "succeeded", text="é\0\u2028", usage={"totalTokenCount": 3}, metadata={"shop": 7}
    ),
    Result("b", 2, "failed", attempt=3, error=Error("SAFETY", "blocked")),
    Result("c", 3, "succeeded", text="good", finish_reason="STOP", model_version="m"),
]
PARTS = {
    f"0000-1-{place:05d}": msgspec.json.encode(result) + b"\n"
    for place, result in enumerate(RESULTS)
} | {"0001-1-00000": b""}


def rows(data: bytes) -> list[dict[str, object]]:
    return parquet.read_table(pa.BufferReader(data), schema=SCHEMA).to_pylist()  # type: ignore[no-any-return]


def test_a_part_in_a_bucket_has_the_same_columns_and_bytes_every_time() -> None:
    bucket = MemoryBucket("gs://acme/out")
    seen = set()
    for _ in range(2):
        BucketSink(bucket, "run", PARQUET).deliver("0000-1-00000", b"".join(PARTS.values()))
        seen.add(bucket.read("run/0000-1-00000.parquet"))

    (data,) = seen
    found = rows(data)
    assert [(row["run"], row["key"], row["row"], row["text"]) for row in found] == [
        ("run", "a", 1, "é\0\u2028"), ("run", "b", 2, None), ("run", "c", 3, "good"),
    ]  # fmt: skip
    assert (found[0]["usage"], found[0]["metadata"]) == ('{"totalTokenCount":3}', '{"shop":7}')
    assert (found[1]["error_reason"], found[1]["error_message"], found[1]["attempt"]) == (
        "SAFETY",
        "blocked",
        3,
    )


def test_a_local_file_has_all_parts_in_the_order_of_the_run(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "out.parquet", "run", PARQUET)
    sink.check()
    for part in sorted(PARTS, reverse=True):
        sink.deliver(part, PARTS[part])

    sink.finish(sorted(PARTS))

    assert [row["key"] for row in rows((tmp_path / "out.parquet").read_bytes())] == ["a", "b", "c"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_kept_parts_are_json_and_a_vector_is_a_list() -> None:
    kept = Result("a", 1, "succeeded", response={"candidates": []}, embedding=[0.5, -1.0])

    (row,) = rows(PARQUET.encode("run", msgspec.json.encode(kept) + b"\n"))

    assert (row["response"], row["embedding"]) == ('{"candidates":[]}', [0.5, -1.0])


def test_a_part_of_an_older_worker_without_some_columns_joins_the_others(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "out.parquet", "run", PARQUET)
    sink.check()
    for part, lines in PARTS.items():
        sink.deliver(part, lines)
    (old_part,) = tmp_path.glob(".out.parquet.run/0000-1-00001.parquet")
    parquet.write_table(
        parquet.read_table(old_part).drop_columns(["response", "embedding"]), old_part
    )

    sink.finish(sorted(PARTS))

    joined = rows((tmp_path / "out.parquet").read_bytes())
    assert [(row["key"], row["response"]) for row in joined] == [
        ("a", None),
        ("b", None),
        ("c", None),
    ]


VECTORS = st.none() | st.lists(
    st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1
)


@given(st.lists(VECTORS, max_size=6))
def test_any_vectors_are_read_back_as_they_were_and_a_failed_row_has_none(
    vectors: list[list[float] | None],
) -> None:
    results = [
        Result(str(row), row, "succeeded" if vector else "failed", embedding=vector)
        for row, vector in enumerate(vectors, 1)
    ]

    found = rows(
        PARQUET.encode("run", b"".join(msgspec.json.encode(each) + b"\n" for each in results))
    )

    assert [row["embedding"] for row in found] == vectors
