"""Ids of runs and of enqueue calls."""

import hashlib

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id() -> str:
    """Return a unique id. Ids sort by time."""
    from ulid import ULID

    return str(ULID()).lower()


def make_run_id(idempotency_key: str | None) -> str:
    """Return a new run id, or the id that belongs to the idempotency key."""
    return new_id() if idempotency_key is None else _hash_key(idempotency_key)


def _hash_key(idempotency_key: str) -> str:
    number = int.from_bytes(hashlib.sha256(idempotency_key.encode()).digest()[:16], "big")
    return "k" + "".join(_ALPHABET[number >> 5 * position & 31] for position in range(25))
