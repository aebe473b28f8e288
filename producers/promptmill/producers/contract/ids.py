"""Ids of runs, and of what is to be told apart before it is in one."""

import hashlib

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id() -> str:
    """Return an id that nobody else has, and that sorts by time."""
    from ulid import ULID

    return str(ULID()).lower()


def make_run_id(idempotency_key: str | None) -> str:
    """Return a new id for a run, or the one that belongs to the idempotency key."""
    if idempotency_key is None:
        return new_id()
    number = int.from_bytes(hashlib.sha256(idempotency_key.encode()).digest()[:16], "big")
    return "k" + "".join(_ALPHABET[number >> 5 * position & 31] for position in range(25))
