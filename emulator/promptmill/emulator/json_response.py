"""HTTP responses with a JSON body."""

import msgspec
from starlette.responses import Response


def json_response(content: object, status: int = 200) -> Response:
    """Return a response with Google's JSON content type."""
    return Response(
        msgspec.json.encode(content), status, media_type="application/json; charset=UTF-8"
    )
