"""The accepted models: Google's batch inference page (2026-09-03) and extra ones."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from .errors import ApiError

GEMINI_MODELS = (
    "gemini-3.8-flash",
    "gemini-3.7-flash",
    "gemini-3.6-flash",
    "gemini-3.5-flash",
    "gemini-3.5-flash-lite",
    "gemini-3.1-pro",
    "gemini-3.1-flash-lite",
    "gemini-3.1-flash-lite-image",
    "gemini-3.1-flash-image",
    "gemini-3-pro-image",
    "gemini-3-flash",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-2.5-flash-image",
)

_VERSION_SUFFIX = re.compile(r"(-preview)?(-\d{3}|-\d{2}-\d{4})?$")
_PUBLISHER_MODEL = re.compile(
    r"^(?:projects/[^/]+/locations/[^/]+/)?publishers/google/models/([^/]+)$"
)


# `resource` is `publishers/google/models/NAME`, optionally after a project and location.
# `extra_models` holds shell patterns of additional short names, or of whole resources for
# tuned models.
def require_model(resource: str, extra_models: Iterable[str] = ()) -> str:
    """Return a model's short name. Raises ApiError 404, or 400 if it is not a model resource."""
    patterns = tuple(extra_models)
    if _matches_any(resource, patterns):
        return resource.rsplit("/", 1)[-1]
    match = _PUBLISHER_MODEL.match(resource)
    if not match:
        raise _model_error(resource)
    name = match[1]
    if _VERSION_SUFFIX.sub("", name, count=1) in GEMINI_MODELS or _matches_any(name, patterns):
        return name
    raise ApiError(404, f"Publisher Model `{resource}` not found.")


def _matches_any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _model_error(resource: str) -> ApiError:
    if re.match(r"^projects/[^/]+/locations/[^/]+/(publishers/[^/]+/)?models/[^/]+$", resource):
        return ApiError(404, f"The Model {resource!r} is not found.")
    if re.match(r"^publishers/[^/]+/models/[^/]+$", resource):
        return ApiError(404, f"Publisher Model `{resource}` not found.")
    return ApiError(400, f"Invalid resource field value in the request: model {resource!r}.")
