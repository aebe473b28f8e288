"""The rows of files of results that count: those that no other file answers better."""

from collections.abc import Iterator

import msgspec

from promptmill.config import names
from promptmill.producers.contract.results import Result
from promptmill.workers.facts import records
from promptmill.workers.facts.records import ResultFile, Settled, unpack
from promptmill.workers.ports.google import Bucket

_decode = msgspec.json.Decoder(Result).decode


def kept_lines(data: bytes, file: ResultFile, first_row: int) -> bytes:
    """Return the lines of ``file``, which holds ``data``, that count, of a shard that begins with ``first_row``."""
    if not file.drops:
        return data
    return b"".join(line + b"\n" for line, _ in _kept(data, file, first_row))


def kept_results(bucket: Bucket, file: ResultFile, first_row: int) -> Iterator[Result]:
    """Return the results of ``file`` that count."""
    return (result for _, result in _kept(bucket.read(file.name), file, first_row))


def shard_results(bucket: Bucket, run: str, index: int, first_row: int) -> Iterator[Result]:
    """Yield the results of a shard, which begins with ``first_row``, of all its attempts; raises NotFound before its end."""
    attempt, goes_on = 1, True
    while goes_on:
        settled = records.get(bucket, names.shard(run, index, attempt) + "settled.json", Settled)
        for file in settled.files:
            yield from kept_results(bucket, file, first_row)
        attempt, goes_on = attempt + 1, settled.retried > 0


def _kept(data: bytes, file: ResultFile, first_row: int) -> Iterator[tuple[bytes, Result]]:
    drop_succeeded, drop_failed = unpack(file.drop_succeeded), unpack(file.drop_failed)
    for line in data.split(b"\n")[:-1]:
        result = _decode(line)
        drop = drop_succeeded if result.succeeded else drop_failed
        if not drop >> (result.row - first_row) & 1:
            yield line, result
