"""JSON answers over HTTP."""

from typing import Any

import msgspec
from starlette.responses import Response


def json_response(content: Any, status: int = 200) -> Response:
    """An answer as Google's servers send it."""
    return Response(
        msgspec.json.encode(content), status, media_type="application/json; charset=UTF-8"
    )
