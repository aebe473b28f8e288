"""Encodes results as files of JSON lines, each of a bounded size."""

from collections.abc import Iterable, Iterator

import msgspec

from promptmill.producers.contract.results import Result

MAX_FILE_BYTES = 8 << 20
_encode = msgspec.json.Encoder().encode


def encode_files(results: Iterable[Result]) -> Iterator[bytes]:
    """Yield the content of each file, of about MAX_FILE_BYTES at most."""
    buffer = bytearray()
    for result in results:
        buffer += _encode(result) + b"\n"
        if len(buffer) >= MAX_FILE_BYTES:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)
