"""Reads the effective rows of result files: those with no better answer in another file."""

from collections.abc import Iterator

import msgspec

from promptmill.producers.contract.results import Result
from promptmill.workers.facts.records import ResultFile
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.facts.run_folder import FIRST_ATTEMPT, RunFolder
from promptmill.workers.ports.google import Bucket

_decode = msgspec.json.Decoder(Result).decode


def effective_lines(data: bytes, file: ResultFile, first_row: int) -> bytes:
    """Return the effective lines of ``file``, whose content is ``data``.

    ``first_row`` is the first row of the file's shard.
    """
    if not file.has_drops:
        return data
    return b"".join(line + b"\n" for line, _ in _effective_rows(data, file, first_row))


def effective_results(bucket: Bucket, file: ResultFile, first_row: int) -> Iterator[Result]:
    """Yield the effective results of ``file``, in a shard that starts at ``first_row``."""
    return (result for _, result in _effective_rows(bucket.read(file.name), file, first_row))


def shard_results(run: RunFolder, shard: int, first_row: int) -> Iterator[Result]:
    """Yield the final results of all attempts of a shard that starts at ``first_row``.

    Raises NotFound before the shard is settled.
    """
    number, has_next = FIRST_ATTEMPT, True
    while has_next:
        settled = run.attempt(shard, number).settled.get()
        for file in settled.files:
            yield from effective_results(run.bucket, file, first_row)
        number, has_next = number + 1, settled.retried > 0


def _effective_rows(
    data: bytes, file: ResultFile, first_row: int
) -> Iterator[tuple[bytes, Result]]:
    drop_succeeded, drop_failed = (
        RowSet.unpack(file.drop_succeeded),
        RowSet.unpack(file.drop_failed),
    )
    for line in data.split(b"\n")[:-1]:
        result = _decode(line)
        drop = drop_succeeded if result.succeeded else drop_failed
        if result.row - first_row not in drop:
            yield line, result
