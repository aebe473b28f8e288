"""The rows of a file of results that count: those that no other file answers better."""

from collections.abc import Iterator

import msgspec

from promptmill.producers.results import Result
from promptmill.workers.facts import ResultFile, unpack
from promptmill.workers.ports import Bucket

_decode = msgspec.json.Decoder(Result).decode


def kept_lines(bucket: Bucket, file: ResultFile, first_row: int) -> bytes:
    """Return the lines of ``file`` that count, of a shard that begins with ``first_row``."""
    data = bucket.read(file.name)
    if not file.drop_succeeded and not file.drop_failed:
        return data
    return b"".join(line + b"\n" for line, _ in _kept(data, file, first_row))


def kept_results(bucket: Bucket, file: ResultFile, first_row: int) -> Iterator[Result]:
    """Return the results of ``file`` that count."""
    return (result for _, result in _kept(bucket.read(file.name), file, first_row))


def _kept(data: bytes, file: ResultFile, first_row: int) -> Iterator[tuple[bytes, Result]]:
    drop_succeeded, drop_failed = unpack(file.drop_succeeded), unpack(file.drop_failed)
    for line in data.split(b"\n")[:-1]:
        result = _decode(line)
        drop = drop_succeeded if result.succeeded else drop_failed
        if not drop >> (result.row - first_row) & 1:
            yield line, result
