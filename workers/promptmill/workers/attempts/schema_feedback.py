"""Answers that did not fit the response schema: what was wrong with each, and the request that says so."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from promptmill.config import names
from promptmill.workers.facts import records
from promptmill.workers.ports.google import Bucket

_WORDS = "\n\nYour last answer to this did not fit the response schema ({error}). Answer again, with JSON that fits it."
_UNTOLD = "it is not what the schema says"
_MOST_ERRORS = 10_000
_USER = (b'"user"', b"null")


class Repairs(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was wrong with answers: for the row at ``places[i]`` in its shard, ``errors[which[i]]``."""

    errors: list[str] = []
    places: list[int] = []
    which: list[int] = []

    def by_place(self) -> dict[int, str]:
        """Return the error of each row; many rows have the same."""
        return {place: self.errors[which] for place, which in zip(self.places, self.which, strict=True)}


class Repair(NamedTuple):
    """The rows of an attempt (a bitmap) that hear what was wrong with their last answer, by their places in the shard."""

    rows: int = 0
    errors: dict[int, str] = {}  # noqa: RUF012 - never changed

    def apply(self, line: bytes, place: int) -> bytes:
        """Return the wire line of the row at ``place`` as this attempt asks it."""
        return repaired(line, self.errors.get(place, _UNTOLD)) if self.rows >> place & 1 else line


def load(bucket: Bucket, run: str, index: int, attempt: int, rows: int) -> Repair:
    """Return the repair of an attempt, whose ``rows`` the attempt before has told."""
    if not rows:
        return Repair()
    return Repair(rows, records.get(bucket, names.repairs(run, index, attempt - 1), Repairs).by_place())


def keep(bucket: Bucket, run: str, index: int, attempt: int, errors: Iterable[tuple[int, str]]) -> None:
    """Write down, once, what was wrong in an attempt (and in those before) with rows that are tried again.

    The requests of the next attempt have these words in them, so they may not change: another version of the validator,
    in another worker, may say it otherwise. Where a row comes twice, its first error counts.
    """
    known: dict[str, int] = {}
    found: dict[int, int] = {}
    for place, error in errors:
        told = error if error in known or len(known) < _MOST_ERRORS else _UNTOLD
        found.setdefault(place, known.setdefault(told, len(known)))
    records.put(bucket, names.repairs(run, index, attempt), Repairs(list(known), list(found), list(found.values())))


def repaired(line: bytes, error: str) -> bytes:
    """Return a wire line whose prompt ends with what was wrong; every other byte of it stays as it is."""
    wire = _fields(line)
    request = _fields(wire["request"])
    contents = _items(request["contents"])
    last = _fields(contents[-1])
    said = {"text": _WORDS.format(error=error)}
    if bytes(last.get("role", _USER[0])) in _USER:
        last["parts"] = _raw([*_items(last["parts"]), said])
        contents[-1] = _raw(last)
    else:
        contents.append(_raw({"role": "user", "parts": [said]}))
    return _encode(wire | {"request": request | {"contents": contents}})


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))
