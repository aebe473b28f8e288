"""Cloud Storage in memory, for tests without a server."""

import io
from fnmatch import fnmatchcase
from typing import IO

from .storage import split_uri


class MemoryStorage:
    """Objects by URI. Only `buckets` exist; `read_only` ones reject writes."""

    def __init__(self, *buckets: str) -> None:
        self.buckets = set(buckets)
        self.read_only: set[str] = set()
        self.objects: dict[str, bytes] = {}

    def has_bucket(self, bucket: str) -> bool:
        """Return whether the bucket is one of `buckets`."""
        return bucket in self.buckets

    def expand_uri(self, uri: str) -> list[str]:
        """Return the objects that match a URI; `*` also matches slashes."""
        return sorted(object_uri for object_uri in self.objects if fnmatchcase(object_uri, uri))

    def open_object(self, uri: str) -> IO[bytes]:
        """Open the bytes of an object. Raises FileNotFoundError."""
        if uri not in self.objects:
            raise FileNotFoundError(uri)
        return io.BytesIO(self.objects[uri])

    def write_object(self, uri: str, content: IO[bytes]) -> None:
        """Store a file. Raises PermissionError in a read-only bucket, or FileNotFoundError."""
        bucket, _ = split_uri(uri)
        if bucket in self.read_only:
            raise PermissionError(uri)
        if bucket not in self.buckets:
            raise FileNotFoundError(uri)
        content.seek(0)
        self.objects[uri] = content.read()
