"""How fast embeddings are parsed, and 100,000 of them delivered to Parquet and PostgreSQL."""

import json
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import psycopg
from pyarrow import parquet

from benchmarks.test_memory import of_service, watched
from promptmill.config import names
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.steps.parse import PartReader
from support.local_stack import EVERYTHING, running
from support.measurement import Tell
from support.postgres import postgres_server

RUN, ROWS, LINES, LENGTH = "01jbench", 100_000, 5_000, 768
PROMPTMILL = [sys.executable, "-m", "promptmill.cli"]
MOST_PARSING = 2.0
"""Times as long as decoding and encoding the same vectors by hand."""
MOST = 350
"""Megabytes of a process."""


class _Embedding(msgspec.Struct):
    values: list[float]


class _Response(msgspec.Struct):
    embedding: _Embedding


class _Line(msgspec.Struct):
    key: str
    response: _Response


def test_parsing_takes_at_most_twice_as_long_as_decoding_and_encoding(tell: Tell) -> None:
    lines = [make_line(row) for row in range(1, LINES + 1)]
    decode, encode = msgspec.json.Decoder(_Line).decode, msgspec.json.encode

    floor = fastest(lambda: (encode(decode(line)) for line in lines))
    parsing = fastest(lambda: reader().read_results(enumerate(lines)))
    tell(
        f"{LINES:,} embeddings of {LENGTH} numbers",
        [
            {"what": what, "seconds": seconds, "rows_per_second": int(LINES / seconds)}
            for what, seconds in (("floor", floor), ("parsing", parsing))
        ],
    )

    assert parsing <= MOST_PARSING * floor


def test_100000_embeddings_arrive_in_parquet_and_postgresql(tmp_path: Path, tell: Tell) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_bytes(b"".join(b'{"prompt": "product %d"}\n' % row for row in range(ROWS)))
    with postgres_server() as server:
        url = server.database("bench")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        warehouse = {"PROMPTMILL_NAMED_SINKS": json.dumps({"warehouse": url})}
        with running(tmp_path / "stack", settings=warehouse) as stack:
            file = tmp_path / "vectors.parquet"
            sinks = ["--sink", str(file), "--sink", "postgres:warehouse#vectors"]
            config = ["--embedding-config", json.dumps({"output_dimensionality": LENGTH})]
            model = ["--model", "gemini-embedding-2", "--wait"]
            command = [*PROMPTMILL, "submit", str(texts), *model, *config, *sinks]
            started = time.monotonic()
            peaks = {"producer": watched(command, stack.everything, 3_600, f"{ROWS:,} embeddings")}
            seconds = time.monotonic() - started
            for service in EVERYTHING:
                peaks |= of_service(stack, service)
        with psycopg.connect(url) as connection:
            stored = connection.execute("SELECT count(embedding) FROM vectors").fetchone()
    tell(
        f"{ROWS:,} embeddings of {LENGTH} numbers: {seconds:.0f} s, {ROWS / seconds:.0f} rows/s",
        [{"process": name, "peak_MB": peak} for name, peak in peaks.items()],
    )

    assert stored == (ROWS,)
    assert parquet.read_metadata(file).num_rows == ROWS
    assert {name: peak for name, peak in peaks.items() if peak >= MOST} == {}


def make_line(row: int) -> bytes:
    """Return a line as Vertex writes it."""
    rng = random.Random(row)
    values = [round(rng.gauss(0, 0.03), 9) for _ in range(LENGTH)]
    fields = {
        "key": f"{names.tag(RUN)}-{row}-k{row}",
        "request": {
            "content": {"parts": [{"text": f"product {row}"}]},
            "embed_content_config": {"output_dimensionality": LENGTH},
        },
        "response": {"tokenCount": "4", "embedding": {"values": values}},
    }
    return msgspec.json.encode(fields)


def reader() -> PartReader:
    return PartReader(names.tag(RUN), 1, 1, RowSet.first(LINES))


def fastest(make: Callable[[], Iterable[object]]) -> float:
    """Return the seconds of the fastest of three passes."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        deque(make(), maxlen=0)
        seconds.append(time.perf_counter() - started)
    return min(seconds)
