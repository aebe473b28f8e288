"""Which models accept a job, where and when."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from .errors import ApiError
from .model_table import Model, find_model

_PUBLISHER_MODEL = re.compile(
    r"^(?:projects/[^/]+/locations/[^/]+/)?publishers/google/models/([^/]+)$"
)
_OTHER_MODEL = re.compile(
    r"^(projects/[^/]+/locations/[^/]+/(publishers/[^/]+/)?|publishers/[^/]+/)models/[^/]+$"
)


# `resource` is `publishers/google/models/NAME`, optionally after a project and location.
# `extra_models` holds shell patterns of additional short names, or of whole resources for
# tuned models. They have jobs everywhere.
def require_model(
    resource: str, location: str, today: str, extra_models: Iterable[str] = ()
) -> str:
    """Return a model's short name. Raises ApiError 404, or 400 if it is not a model resource."""
    patterns = tuple(extra_models)
    if _matches_any(resource, patterns):
        return resource.rsplit("/", 1)[-1]
    match = _PUBLISHER_MODEL.match(resource)
    if not match:
        raise _resource_error(resource)
    if not _matches_any(match[1], patterns):
        _require_offer(match[1], location, today)
    return match[1]


def _require_offer(name: str, location: str, today: str) -> None:
    model = find_model(name)
    if model is None or model.is_retired(today):
        raise _missing_model(name, model)
    if location not in model.locations:
        # Observed live from single regions, June to October 2026.
        raise ApiError(404, "MODEL_NOT_SUPPORTED_FOR_BATCH")


def _missing_model(name: str, model: Model | None) -> ApiError:
    """Return the answer observed live: another one for a preview that was shut down."""
    if model is not None and name.endswith("-preview"):
        return ApiError(400, f"Do not support publisher model {name}")
    return ApiError(404, f"The PublisherModel {name} does not exist.")


def _matches_any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _resource_error(resource: str) -> ApiError:
    if _OTHER_MODEL.match(resource):
        return ApiError(404, f"The Model {resource!r} is not found.")
    return ApiError(400, f"Invalid resource field value in the request: model {resource!r}.")
