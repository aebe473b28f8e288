"""The peak memory of a producer that sends a million rows of a file through a template, and how long it takes."""

import csv
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from benchmarks.test_memory import watched
from support.local_stack import LocalStack, running
from support.measurement import Tell

ROWS = 1_000_000
MOST = {".csv": 150, ".parquet": 225}
"""Megabytes; of those for Parquet, pyarrow's libraries alone take 60 to 75, as the kernel sees fit to map them."""
NO_LIMIT = {"PROMPTMILL_MAX_QUEUED_BYTES": str(4 << 30)}
"""Nobody takes the messages: it is the producer that is measured, not how long it waits."""


def test_a_million_rows_take_no_memory_to_speak_of(tmp_path: Path, tell: Tell) -> None:
    measured: list[dict[str, Any]] = []
    with running(tmp_path / "stack", ("redis",), settings={}) as stack:
        for path in (as_csv(tmp_path / "rows.csv"), as_parquet(tmp_path / "rows.parquet")):
            seconds, megabytes = send(stack, path)
            size = path.stat().st_size / 1e6
            measured.append(
                {
                    "file": path.name,
                    "MB": size,
                    "peak_MB": megabytes,
                    "rows_per_second": int(ROWS / seconds),
                }
            )
    tell(f"{ROWS:,} rows", measured)

    assert [one for one in measured if one["peak_MB"] >= MOST[Path(one["file"]).suffix]] == []


def send(stack: LocalStack, path: Path) -> tuple[float, int]:
    """Send a file with `promptmill submit`; returns the seconds and the peak of that process in MB."""
    options = [
        "--template",
        "Is this review of {{ product }} good? {{ text }}",
        "--key",
        "id",
        "--metadata",
        "shop",
    ]
    command = [sys.executable, "-m", "promptmill.cli", "submit", str(path), *options]
    started = time.monotonic()
    seen = watched(command, stack.everything | NO_LIMIT, 1_800, f"the last of {ROWS:,} rows")
    return time.monotonic() - started, seen


def as_csv(path: Path) -> Path:
    with path.open("w", newline="") as out:
        csv.writer(out).writerow(["id", "product", "shop", "text"])
        csv.writer(out).writerows(row.values() for row in rows())
    return path


def as_parquet(path: Path) -> Path:
    """One group of rows for all, which is the hardest to read."""
    parquet.write_table(pyarrow.Table.from_pylist(list(rows())), path, row_group_size=ROWS)
    return path


def rows() -> Iterator[dict[str, object]]:
    for row in range(ROWS):
        text = f"What I say in this review number {row} is said in many others, in as many words, but for the number."
        yield {"id": f"r-{row}", "product": f"shoe {row % 500}", "shop": row % 20, "text": text}
