"""Buckets and objects in Google's JSON."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from .conditions import METAGENERATION
from .index import Stored

DESCRIBING = (
    "contentType",
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "customTime",
    "metadata",
)
"""What the writer of an object may say of it."""


def of_bucket(name: str, created: int, base: str) -> dict[str, Any]:
    """A bucket; `base` is the URL at which the caller reaches this server."""
    moment = timestamp(created)
    return {
        "kind": "storage#bucket",
        "id": name,
        "name": name,
        "selfLink": f"{base}/storage/v1/b/{name}",
        "projectNumber": "0",
        "location": "US",
        "locationType": "multi-region",
        "storageClass": "STANDARD",
        "metageneration": "1",
        "etag": "CAE=",
        "timeCreated": moment,
        "updated": moment,
    }


def of_object(stored: Stored, base: str) -> dict[str, Any]:
    """An object; `base` is the URL at which the caller reaches this server."""
    generation, moment = str(stored.generation), timestamp(stored.generation)
    path = f"storage/v1/b/{stored.bucket}/o/{quote(stored.name, safe='')}"
    return {
        "kind": "storage#object",
        "id": f"{stored.bucket}/{stored.name}/{generation}",
        "selfLink": f"{base}/{path}",
        "mediaLink": f"{base}/download/{path}?generation={generation}&alt=media",
        "name": stored.name,
        "bucket": stored.bucket,
        "generation": generation,
        "metageneration": str(METAGENERATION),
        "storageClass": "STANDARD",
        "size": str(stored.size),
        "md5Hash": stored.md5,
        "crc32c": stored.crc32c,
        "etag": etag(stored),
        "timeCreated": moment,
        "updated": moment,
        **stored.about,
    }


def media_headers(stored: Stored) -> dict[str, str]:
    """What a download tells of its object."""
    about = stored.about
    optional = {
        "Content-Encoding": about.get("contentEncoding"),
        "Content-Disposition": about.get("contentDisposition"),
        "Content-Language": about.get("contentLanguage"),
        "Cache-Control": about.get("cacheControl"),
    }
    return {
        "Content-Type": about.get("contentType", "application/octet-stream"),
        "ETag": etag(stored),
        "X-Goog-Generation": str(stored.generation),
        "X-Goog-Metageneration": str(METAGENERATION),
        "X-Goog-Storage-Class": "STANDARD",
        "X-Goog-Stored-Content-Encoding": about.get("contentEncoding", "identity"),
        "X-Goog-Stored-Content-Length": str(stored.size),
        "X-Goog-Hash": f"crc32c={stored.crc32c},md5={stored.md5}",
    } | {name: value for name, value in optional.items() if value}


def etag(stored: Stored) -> str:
    """A word that changes with the object."""
    return f"{stored.generation:x}/{METAGENERATION}"


def timestamp(moment: int) -> str:
    """A moment in microseconds since the epoch in RFC 3339, to the millisecond, as Google writes it."""
    return datetime.fromtimestamp(moment / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
