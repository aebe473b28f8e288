"""Buckets and objects in Google's JSON."""

from datetime import UTC, datetime
from urllib.parse import quote

from ..json_types import JsonObject
from .conditions import METAGENERATION
from .errors import RequestRefused
from .index import StoredBucket, StoredObject

WRITABLE_FIELDS = (
    "contentType",
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "customTime",
    "metadata",
)
"""Metadata fields that the writer of an object may set."""

_OPTIONAL_HEADERS = {
    "Content-Encoding": "contentEncoding",
    "Content-Disposition": "contentDisposition",
    "Content-Language": "contentLanguage",
    "Cache-Control": "cacheControl",
}
"""Headers of a download, and the metadata fields that they show if set."""


_WEEK = 7 * 24 * 3600
_BUCKET_FIELDS = {
    "projectNumber": "0",
    "storageClass": "STANDARD",
    "metageneration": "1",
    "etag": "CAE=",
}


def bucket_resource(bucket: StoredBucket, base_url: str) -> JsonObject:
    """Return a bucket's JSON; `base_url` is the URL of this server."""
    created_time = format_timestamp(bucket.created)
    return {
        "kind": "storage#bucket",
        "id": bucket.name,
        "name": bucket.name,
        "selfLink": f"{base_url}/storage/v1/b/{bucket.name}",
        "location": bucket.location,
        "locationType": "region" if "-" in bucket.location else "multi-region",
        "softDeletePolicy": {"retentionDurationSeconds": str(bucket.soft_delete)},
        **_BUCKET_FIELDS,
        "timeCreated": created_time,
        "updated": created_time,
    }


def read_bucket_settings(fields: JsonObject) -> tuple[str, int]:
    """Return location and soft delete of a new bucket, in Google's default if not given.

    The defaults are `US` and 7 days (docs.cloud.google.com/storage/docs/soft-delete).
    Raises RequestRefused 400 for a retention that is not a number.
    """
    policy = fields.get("softDeletePolicy")
    seconds = policy.get("retentionDurationSeconds", 0) if isinstance(policy, dict) else _WEEK
    if not str(seconds).isdecimal():
        raise RequestRefused(400, f"Invalid retentionDurationSeconds: {seconds!r}")
    return str(fields.get("location") or "US").upper(), int(str(seconds))


def object_resource(stored: StoredObject, base_url: str) -> JsonObject:
    """Return an object's JSON; `base_url` is the URL of this server."""
    generation, created_time = str(stored.generation), format_timestamp(stored.generation)
    path = f"storage/v1/b/{stored.bucket}/o/{quote(stored.name, safe='')}"
    return {
        "kind": "storage#object",
        "id": f"{stored.bucket}/{stored.name}/{generation}",
        "selfLink": f"{base_url}/{path}",
        "mediaLink": f"{base_url}/download/{path}?generation={generation}&alt=media",
        "name": stored.name,
        "bucket": stored.bucket,
        "generation": generation,
        "metageneration": str(METAGENERATION),
        "storageClass": "STANDARD",
        "size": str(stored.size),
        "md5Hash": stored.md5,
        "crc32c": stored.crc32c,
        "etag": object_etag(stored),
        "timeCreated": created_time,
        "updated": created_time,
        **stored.metadata,
    }


def media_headers(stored: StoredObject) -> dict[str, str]:
    """Return the headers of a download."""
    metadata = stored.metadata
    return {
        "Content-Type": metadata.get("contentType", "application/octet-stream"),
        "ETag": object_etag(stored),
        "X-Goog-Generation": str(stored.generation),
        "X-Goog-Metageneration": str(METAGENERATION),
        "X-Goog-Storage-Class": "STANDARD",
        "X-Goog-Stored-Content-Encoding": metadata.get("contentEncoding", "identity"),
        "X-Goog-Stored-Content-Length": str(stored.size),
        "X-Goog-Hash": f"crc32c={stored.crc32c},md5={stored.md5}",
        **_optional_headers(metadata),
    }


def _optional_headers(metadata: JsonObject) -> dict[str, str]:
    values = {header: metadata.get(field) for header, field in _OPTIONAL_HEADERS.items()}
    return {header: value for header, value in values.items() if value}


def object_etag(stored: StoredObject) -> str:
    """Return an identifier that changes with the object."""
    return f"{stored.generation:x}/{METAGENERATION}"


def format_timestamp(moment: int) -> str:
    """Format microseconds since the epoch as RFC 3339 with milliseconds."""
    return datetime.fromtimestamp(moment / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
