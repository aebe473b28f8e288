"""Lists the objects of a bucket, page by page."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import RequestRefused
from .index import ObjectIndex, StoredObject, end_of_prefix

MAX_RESULTS = 1000
"""Maximum items of a page, prefixes included."""


@dataclass
class ObjectPage:
    """One page: objects, common prefixes, and the first name of the next page."""

    objects: list[StoredObject] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    next_name: bytes = b""

    @property
    def next_page_token(self) -> str:
        """The token of the next page."""
        return base64.urlsafe_b64encode(self.next_name).decode()


def list_page(index: ObjectIndex, bucket: str, query: Mapping[str, str]) -> ObjectPage:
    """Return the page that a list call selects. Raises RequestRefused 400."""
    prefix, delimiter = query.get("prefix", "").encode(), query.get("delimiter", "").encode()
    start = max(query.get("startOffset", "").encode(), _read_token(query.get("pageToken", "")))
    end, remaining = query.get("endOffset", "").encode(), _page_size(query.get("maxResults"))
    result = ObjectPage()
    while True:
        for stored in index.list_objects(bucket, prefix, start, end, remaining + 1):
            name = stored.name.encode()
            if not remaining:
                result.next_name = name
                return result
            remaining -= 1
            if common_prefix := _common_prefix(name, prefix, delimiter):
                result.prefixes.append(common_prefix.decode())
                start = end_of_prefix(common_prefix)
                break
            result.objects.append(stored)
        else:
            return result


def _common_prefix(name: bytes, prefix: bytes, delimiter: bytes) -> bytes:
    """Return the prefix that stands for a name; b"" if the name is listed itself."""
    position = name.find(delimiter, len(prefix)) if delimiter else -1
    return name[: position + len(delimiter)] if position >= 0 else b""


def _page_size(max_results: str | None) -> int:
    if max_results is not None and not max_results.isdecimal():
        raise RequestRefused(400, f"Invalid value for maxResults: {max_results!r}.")
    return min(int(max_results or 0) or MAX_RESULTS, MAX_RESULTS)


def _read_token(token: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(token)
    except (binascii.Error, ValueError):
        raise RequestRefused(400, f"Invalid page token: {token!r}.") from None
