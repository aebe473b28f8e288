"""The encoded request of one row."""

from typing import NamedTuple

import msgspec

from promptmill.producers.pricing.tokens import RequestTokens
from promptmill.producers.requests.converted_texts import RowTexts

REQUEST_FIELD = b',"request":'
"""Start of the request. Inside a string these quotes would be escaped."""
_encode_json = msgspec.json.Encoder().encode


class RequestLine(NamedTuple):
    """An encoded request. ``row`` counts from 1; ``data`` is the wire line.

    ``refusal`` is the reason of an invalid row, or empty. ``is_repeat`` marks a request
    that repeats an earlier one. ``texts`` are set if the importer could convert a text
    of the row.
    """

    row: int
    key: str
    data: bytes
    refusal: str = ""
    tokens: RequestTokens = RequestTokens()
    is_repeat: bool = False
    texts: RowTexts | None = None

    def refuse_request(self, refusal: str) -> "RequestLine":
        """Return the refused line of this row."""
        prefix = self.data[: self.data.find(REQUEST_FIELD) + 1]
        return refuse_row(self.row, self.key, prefix, refusal)


def refuse_row(row: int, key: str, prefix: bytes, refusal: str) -> RequestLine:
    """Return the line of a row that cannot be sent. ``prefix`` is its part before ``request``."""
    return RequestLine(row, key, prefix + b'"error":' + _encode_json(refusal) + b"}\n", refusal)
