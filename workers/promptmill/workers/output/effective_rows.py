"""The rows of files of results that count: those that no other file answers better."""

from collections.abc import Iterator

import msgspec

from promptmill.config import names
from promptmill.producers.contract.results import Result
from promptmill.workers.facts import records
from promptmill.workers.facts.records import ResultFile, Settled, unpack_rows
from promptmill.workers.ports.google import Bucket

_decode = msgspec.json.Decoder(Result).decode


def effective_lines(data: bytes, file: ResultFile, first_row: int) -> bytes:
    """Return the lines of ``file``, which holds ``data``, that count, of a shard that begins with ``first_row``."""
    if not file.has_drops:
        return data
    return b"".join(line + b"\n" for line, _ in _effective_rows(data, file, first_row))


def effective_results(bucket: Bucket, file: ResultFile, first_row: int) -> Iterator[Result]:
    """Return the results of ``file`` that count."""
    return (result for _, result in _effective_rows(bucket.read(file.name), file, first_row))


def shard_results(bucket: Bucket, run: str, shard: int, first_row: int) -> Iterator[Result]:
    """Yield the results of a shard, which begins with ``first_row``, of all its attempts; raises NotFound before its end."""
    attempt, has_next = 1, True
    while has_next:
        settled = records.get_fact(
            bucket, names.shard(run, shard, attempt) + "settled.json", Settled
        )
        for file in settled.files:
            yield from effective_results(bucket, file, first_row)
        attempt, has_next = attempt + 1, settled.retried > 0


def _effective_rows(
    data: bytes, file: ResultFile, first_row: int
) -> Iterator[tuple[bytes, Result]]:
    drop_succeeded, drop_failed = unpack_rows(file.drop_succeeded), unpack_rows(file.drop_failed)
    for line in data.split(b"\n")[:-1]:
        result = _decode(line)
        drop = drop_succeeded if result.succeeded else drop_failed
        if not drop >> (result.row - first_row) & 1:
            yield line, result
