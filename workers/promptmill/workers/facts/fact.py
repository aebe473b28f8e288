"""A fact: a small JSON object in the bucket that is written once."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import tee
from typing import Generic, Protocol, TypeVar

import msgspec

from promptmill.config.errors import NotFound
from promptmill.workers.ports.google import Bucket, ObjectInfo

T = TypeVar("T", bound=msgspec.Struct)
T_co = TypeVar("T_co", bound=msgspec.Struct, covariant=True)


class ReadableFact(Protocol[T_co]):
    """The part of a fact that ``read_facts`` needs: facts of several types fit in one list."""

    @property
    def name(self) -> str:
        """The name of the object."""
        ...

    def decode(self, data: bytes) -> T_co:
        """Decode the bytes of the object."""
        ...


@dataclass(frozen=True)
class Fact(Generic[T]):
    """The object ``name`` of a bucket, which holds a ``fact_type`` as JSON."""

    bucket: Bucket
    name: str
    fact_type: type[T]

    def exists(self) -> bool:
        """Return whether the fact exists."""
        return self.bucket.find(self.name) is not None

    def find_object(self) -> ObjectInfo | None:
        """Return size, generation and update time of the object, or None."""
        return self.bucket.find(self.name)

    def get(self) -> T:
        """Read the fact; raises NotFound."""
        return self.decode(self.bucket.read(self.name))

    def find(self) -> T | None:
        """Read the fact; returns None if it does not exist."""
        try:
            return self.get()
        except NotFound:
            return None

    def create(self, value: T) -> bool:
        """Write the fact; returns False and changes nothing if it exists."""
        return self.bucket.create(self.name, encode_fact(value))

    def create_or_get(self, value: T) -> T:
        """Write the fact, or read the one that was written first."""
        return value if self.create(value) else self.get()

    def get_or_create(self, make: Callable[[], T]) -> T:
        """Read the fact, or make and write it; returns what the first writer wrote."""
        value = self.find()
        return self.create_or_get(make()) if value is None else value

    def replace(self, value: T, generation: int) -> None:
        """Overwrite this generation of the fact; raises Conflict if there is a newer one."""
        self.bucket.replace(self.name, encode_fact(value), generation)

    def decode(self, data: bytes) -> T:
        """Decode the bytes of the object."""
        return msgspec.json.decode(data, type=self.fact_type)


def encode_fact(value: msgspec.Struct) -> bytes:
    """Return the bytes of a fact."""
    return msgspec.json.encode(value)


def read_facts(bucket: Bucket, facts: Iterable[ReadableFact[T]]) -> Iterator[T]:
    """Yield facts in the given order; raises NotFound at a missing one.

    A few are read at once.
    """
    to_read, to_decode = tee(facts)
    contents = bucket.read_each(fact.name for fact in to_read)
    for fact, data in zip(to_decode, contents, strict=True):
        yield fact.decode(data)
