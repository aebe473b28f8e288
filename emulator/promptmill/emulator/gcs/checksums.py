"""The checksums of an object: computed, and declared by the client."""

import base64
import hashlib
from collections.abc import Iterable, Mapping

import google_crc32c

from .errors import RequestRefused

DeclaredChecksums = dict[str, str]
"""`crc32c` and `md5` in base64, if the client declared them."""


class Checksums:
    """CRC32C and MD5, computed chunk by chunk."""

    def __init__(self) -> None:
        self._crc32c = 0
        self._md5 = hashlib.md5(usedforsecurity=False)

    def add_chunk(self, chunk: bytes) -> None:
        """Add the next bytes."""
        self._crc32c = google_crc32c.extend(self._crc32c, chunk)
        self._md5.update(chunk)

    @property
    def crc32c(self) -> str:
        """In base64, as in Google's metadata."""
        return base64.b64encode(self._crc32c.to_bytes(4, "big")).decode()

    @property
    def md5(self) -> str:
        """In base64, as in Google's metadata."""
        return base64.b64encode(self._md5.digest()).decode()

    def require_match(self, declared: DeclaredChecksums) -> None:
        """Raise RequestRefused 400 if a declared checksum differs."""
        for kind, computed in (("crc32c", self.crc32c), ("md5", self.md5)):
            if declared.get(kind, computed) != computed:
                name = kind.upper() + (" hash" if kind == "md5" else "")
                provided = f'Provided {name} "{declared[kind]}"'
                calculated = f'calculated {name} "{computed}"'
                raise RequestRefused(400, f"{provided} doesn't match {calculated}.")


def from_headers(headers: Iterable[tuple[bytes, bytes]]) -> DeclaredChecksums:
    """Return the checksums in `x-goog-hash` (repeatable) and `content-md5`."""
    declared: DeclaredChecksums = {}
    for name, value in headers:
        if name == b"x-goog-hash":
            pairs = (pair.strip().partition("=") for pair in value.decode("latin-1").split(","))
            declared |= {kind: digest for kind, _, digest in pairs}
        elif name == b"content-md5":
            declared["md5"] = value.decode("latin-1")
    return declared


def from_metadata(metadata: Mapping[str, object]) -> DeclaredChecksums:
    """Return the checksums in an object's metadata."""
    names = {"crc32c": metadata.get("crc32c"), "md5": metadata.get("md5Hash")}
    return {kind: str(digest) for kind, digest in names.items() if digest}
