"""Pages of a list call: a cursor that stays right while jobs come and go."""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from .errors import ApiError
from .jobs import Job

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


@dataclass(frozen=True)
class Query:
    """What a list call asks for."""

    filter: str = ""
    page_size: int = 0
    page_token: str = ""
    read_mask: str = ""


def cut(jobs: list[Job], query: Query) -> tuple[list[Job], str]:
    """The page after the query's token, newest job first, and the token of the next page or "".

    Raises ApiError 400 for a token that is not one of ours or belongs to another filter, and for a negative size.
    """
    if query.page_size < 0:
        raise ApiError(400, "page_size must not be negative.")
    ordered = sorted(jobs, key=_place, reverse=True)
    if query.page_token:
        last = _read_token(query)
        ordered = [job for job in ordered if _place(job) < last]
    size = min(query.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    page = ordered[:size]
    return page, _token(page[-1], query) if len(ordered) > size else ""


def masked(resource: dict[str, Any], read_mask: str) -> dict[str, Any]:
    """The top-level fields that the mask names, in either spelling; all for an empty mask or `*`."""
    if read_mask in {"", "*"}:
        return resource
    wanted = {_plain(path.split(".")[0]) for path in read_mask.split(",")}
    return {name: value for name, value in resource.items() if _plain(name) in wanted}


def _place(job: Job) -> tuple[float, str]:
    return job.created, job.id


def _token(job: Job, query: Query) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((*_place(job), _fingerprint(query)))).decode()


def _read_token(query: Query) -> tuple[float, str]:
    try:
        raw = base64.urlsafe_b64decode(query.page_token)
        created, number, fingerprint = msgspec.json.decode(raw, type=tuple[float, str, str])
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, "The page token is not valid.") from error
    if fingerprint != _fingerprint(query):
        raise ApiError(400, "The page token belongs to another filter.")
    return created, number


def _fingerprint(query: Query) -> str:
    return hashlib.blake2b(query.filter.encode(), digest_size=6).hexdigest()


def _plain(name: str) -> str:
    return name.strip().replace("_", "").lower()
