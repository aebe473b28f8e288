"""One page of a bucket's objects."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import Refused
from .index import Index, Stored, after

MOST = 1000
"""Items of a page, prefixes included."""


@dataclass
class Page:
    """Objects, what stands for others below a delimiter, and where the next page begins, if there is one."""

    objects: list[Stored] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    next: bytes = b""

    @property
    def token(self) -> str:
        """The name of the next page."""
        return base64.urlsafe_b64encode(self.next).decode()


def page(index: Index, bucket: str, query: Mapping[str, str]) -> Page:
    """The page that the parameters of a list call ask for. Raises Refused 400."""
    prefix, delimiter = query.get("prefix", "").encode(), query.get("delimiter", "").encode()
    start = max(query.get("startOffset", "").encode(), _read_token(query.get("pageToken", "")))
    end, room = query.get("endOffset", "").encode(), _size(query.get("maxResults"))
    found = Page()
    while True:
        for stored in index.named(bucket, prefix, start, end, room + 1):
            name = stored.name.encode()
            if not room:
                found.next = name
                return found
            room -= 1
            if common := _common(name, prefix, delimiter):
                found.prefixes.append(common.decode())
                start = after(common)
                break
            found.objects.append(stored)
        else:
            return found


def _common(name: bytes, prefix: bytes, delimiter: bytes) -> bytes:
    """What a name has in common with all that are listed as one prefix; b"" if it is listed itself."""
    place = name.find(delimiter, len(prefix)) if delimiter else -1
    return name[: place + len(delimiter)] if place >= 0 else b""


def _size(asked: str | None) -> int:
    if asked is not None and not asked.isdecimal():
        raise Refused(400, f"Invalid value for maxResults: {asked!r}.")
    return min(int(asked or 0) or MOST, MOST)


def _read_token(token: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(token)
    except (binascii.Error, ValueError):
        raise Refused(400, f"Invalid page token: {token!r}.") from None
