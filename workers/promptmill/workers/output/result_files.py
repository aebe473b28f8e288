"""Results as the files that hold them: lines of JSON, of a bounded size."""

from collections.abc import Iterable, Iterator

import msgspec

from promptmill.producers.contract.results import Result

MOST_BYTES = 8 << 20
_encode = msgspec.json.Encoder().encode


def encoded(results: Iterable[Result]) -> Iterator[bytes]:
    """Yield the content of one file after the other."""
    held = bytearray()
    for result in results:
        held += _encode(result) + b"\n"
        if len(held) >= MOST_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
