"""Pages of a list call. The cursor stays valid while jobs are added or deleted."""

import base64
import binascii
import hashlib
from dataclasses import dataclass

import msgspec

from .errors import ApiError
from .jobs import Job
from .json_types import JsonObject

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


@dataclass(frozen=True)
class ListQuery:
    """The parameters of a list call."""

    filter: str = ""
    page_size: int = 0
    page_token: str = ""
    read_mask: str = ""


def cut_page(jobs: list[Job], query: ListQuery) -> tuple[list[Job], str]:
    """Return a page of jobs, newest first, and the next token or "". Raises ApiError 400."""
    if query.page_size < 0:
        raise ApiError(400, "page_size must not be negative.")
    ordered = sorted(jobs, key=_sort_key, reverse=True)
    if query.page_token:
        last_key = _read_token(query)
        ordered = [job for job in ordered if _sort_key(job) < last_key]
    size = min(query.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    page = ordered[:size]
    return page, _make_token(page[-1], query) if len(ordered) > size else ""


def apply_read_mask(resource: JsonObject, read_mask: str) -> JsonObject:
    """Return the top-level fields in the mask; an empty mask or `*` means all."""
    if read_mask in {"", "*"}:
        return resource
    mask_names = {_normalize_name(path.split(".")[0]) for path in read_mask.split(",")}
    return {name: value for name, value in resource.items() if _normalize_name(name) in mask_names}


def _sort_key(job: Job) -> tuple[float, str]:
    return job.created, job.id


def _make_token(job: Job, query: ListQuery) -> str:
    return base64.urlsafe_b64encode(
        msgspec.json.encode((*_sort_key(job), _filter_fingerprint(query)))
    ).decode()


def _read_token(query: ListQuery) -> tuple[float, str]:
    try:
        raw = base64.urlsafe_b64decode(query.page_token)
        created, number, fingerprint = msgspec.json.decode(raw, type=tuple[float, str, str])
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, "The page token is not valid.") from error
    if fingerprint != _filter_fingerprint(query):
        raise ApiError(400, "The page token belongs to another filter.")
    return created, number


def _filter_fingerprint(query: ListQuery) -> str:
    return hashlib.blake2b(query.filter.encode(), digest_size=6).hexdigest()


def _normalize_name(name: str) -> str:
    return name.strip().replace("_", "").lower()
