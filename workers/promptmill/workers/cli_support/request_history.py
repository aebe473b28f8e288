"""Collects the history of one request from the facts of its run."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NamedTuple, TypedDict

import msgspec

from promptmill.config.errors import PromptmillError, RunNotFound
from promptmill.config.settings import Settings
from promptmill.config.urls import mask_password
from promptmill.producers.contract.messages import decode_chunk
from promptmill.producers.contract.results import Result
from promptmill.producers.requests.encode import split_wire_key
from promptmill.workers.attempts.rows import wanted_rows
from promptmill.workers.facts.records import ResultFile, Settled, ShardPlan
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.facts.run_folder import AttemptFolder, RunFolder
from promptmill.workers.facts.snapshot import RunSnapshot, load_snapshot
from promptmill.workers.output.effective_rows import effective_results
from promptmill.workers.ports.google import Bucket
from promptmill.workers.services import build_services


class Delivery(TypedDict):
    """The delivery of a result to one sink; ``at`` is 0 until then."""

    sink: str
    at: float


class JobHistory(TypedDict):
    """The job of an attempt; fields are empty or 0 until they are known."""

    job: str
    created: float
    refusal: str
    job_state: str
    ended: float
    error: str


class Outcome(TypedDict):
    """The result of an attempt, as JSON, and its deliveries."""

    is_retried: bool
    result: dict[str, Any] | None
    delivered: list[Delivery]


class AttemptHistory(JobHistory, Outcome):
    """One attempt at a request; ``attempt`` is 0 for an answer of an earlier run."""

    attempt: int


def show_request(settings: Settings, run: str, key: str) -> dict[str, Any]:
    """Return the history of a request: the entry point ``show``."""
    return request_history(build_services(settings).bucket, run, key)


def request_history(bucket: Bucket, run: str, key: str) -> dict[str, Any]:
    """Return the request with a key, its chunk and shard, and its attempts with results.

    Raises RunNotFound, or PromptmillError if the run has no such key.
    """
    snapshot = load_snapshot(bucket, run)
    if snapshot.manifest is None:
        raise RunNotFound(
            f"the bucket has no run {run!r}; promptmill list shows the runs in the index"
        )
    folder = RunFolder(bucket, run)
    location = _find_request(folder, snapshot, key)
    if location is None:
        raise PromptmillError(
            f"run {run} has no request with key {key!r} in the chunks that it has stored so far"
        )
    place = {"run": run, "key": key, "row": location.row, "chunk": location.chunk}
    request = _describe_request(location.line)
    return place | request | _describe_attempts(folder, snapshot, location.row)


def _describe_attempts(run: RunFolder, snapshot: RunSnapshot, row: int) -> dict[str, object]:
    if (shard := _shard_of(snapshot, row)) is None:
        return {"state": "waiting", "attempts": []}
    attempts = list(_attempt_history(run, snapshot, shard, row))
    return {"shard": shard, "state": _final_state(attempts), "attempts": attempts}


def _final_state(attempts: list[AttemptHistory]) -> str:
    for attempt in attempts:
        if attempt["result"] and not attempt["is_retried"]:
            return str(attempt["result"]["state"])
    return "waiting"


class _RequestLocation(NamedTuple):
    row: int
    chunk: int
    line: bytes


def _find_request(run: RunFolder, snapshot: RunSnapshot, key: str) -> _RequestLocation | None:
    needle = msgspec.json.encode(f"-{key}")[1:]
    for chunk in _chunks_to_search(run, snapshot, key):
        content = decode_chunk(run.bucket.read(run.chunk(chunk)))
        lines = content.decompress_lines()
        if needle not in lines:
            continue
        for row, line in enumerate(lines.split(b"\n")[:-1], content.first_row):
            if needle in line and _key_of(line) == key:
                return _RequestLocation(row, chunk, line)
    return None


def _chunks_to_search(run: RunFolder, snapshot: RunSnapshot, key: str) -> list[int]:
    """Return the chunks to search. If the key is a row number, that row's chunk is first."""
    chunks = sorted(snapshot.chunks)
    if snapshot.sealed is None or not (key.isascii() and key.isdigit() and len(key) < 16):
        return chunks
    ends = accumulate(size.requests for size in run.seal.get().chunks)
    likely = next((chunk for chunk, end in enumerate(ends) if int(key) <= end), None)
    return sorted(chunks, key=lambda chunk: (chunk != likely, chunk))


class _RequestKey(msgspec.Struct):
    key: str


_decode_key = msgspec.json.Decoder(_RequestKey).decode


def _key_of(line: bytes) -> str:
    parts = split_wire_key(_decode_key(line).key)
    return parts.key if parts else ""


def _describe_request(line: bytes) -> dict[str, object]:
    wire = msgspec.json.decode(line)
    metadata = wire.get("metadata")
    return {
        "metadata": msgspec.json.decode(metadata) if metadata else None,
        "request": wire.get("request"),
        "refused": wire.get("error", ""),
    }


def _shard_of(snapshot: RunSnapshot, row: int) -> int | None:
    shards = snapshot.plan.shards if snapshot.plan else []
    return next(
        (
            shard
            for shard, shard_plan in enumerate(shards)
            if shard_plan.first_row <= row < shard_plan.first_row + shard_plan.requests
        ),
        None,
    )


def _attempt_history(
    run: RunFolder, snapshot: RunSnapshot, shard: int, row: int
) -> Iterator[AttemptHistory]:
    assert snapshot.plan is not None and snapshot.manifest is not None  # noqa: S101
    rows = snapshot.plan.shards[shard]
    sink_urls = [mask_password(sink.url) for sink in snapshot.manifest.sinks]
    for attempt_ref in sorted(ref for ref in snapshot.attempts if ref[0] == shard):
        attempt = run.attempt(*attempt_ref)
        is_asked = row - rows.first_row in wanted_rows(attempt, snapshot.manifest, rows)
        if is_asked or attempt.is_first:  # its job omits only rows that an earlier run answered
            yield {
                "attempt": attempt.number if is_asked else 0,
                **_describe_job(attempt if is_asked else None),
                **_describe_outcome(attempt, rows, row, sink_urls),
            }


def _describe_job(attempt: AttemptFolder | None) -> JobHistory:
    created = attempt.job.find() if attempt else None
    ended = attempt.ended.find() if attempt else None
    return {
        "job": created.name if created else "",
        "created": created.at if created else 0.0,
        "refusal": created.refusal if created else "",
        "job_state": ended.job.state if ended else "",
        "ended": ended.at if ended else 0.0,
        "error": ended.job.error_message if ended else "",
    }


def _describe_outcome(
    attempt: AttemptFolder, rows: ShardPlan, row: int, sink_urls: list[str]
) -> Outcome:
    """Return the result of a row and its deliveries, or empty ones before ``settle``."""
    settled = attempt.settled.find()
    is_retried = settled is not None and row - rows.first_row in RowSet.unpack(settled.retried_rows)
    row_result = (
        _find_result(attempt, settled, rows, row, is_retried=is_retried) if settled else None
    )
    return {
        "is_retried": is_retried,
        "result": msgspec.to_builtins(row_result.result) if row_result else None,
        "delivered": list(_delivery_history(attempt, row_result.file, sink_urls))
        if row_result and not is_retried
        else [],
    }


class _RowResult(NamedTuple):
    file: int
    result: Result


def _find_result(
    attempt: AttemptFolder, settled: Settled, rows: ShardPlan, row: int, *, is_retried: bool
) -> _RowResult | None:
    """Return the result of a row and the number of its file.

    A file drops the result of a row that is retried. ``is_retried`` returns it nevertheless.
    """
    for number, file in enumerate(settled.files):
        if _may_have_row(attempt, file.name, row - rows.first_row):
            result_file = ResultFile(file.name) if is_retried else file
            for result in effective_results(attempt.bucket, result_file, rows.first_row):
                if result.row == row:
                    return _RowResult(number, result)
    return None


def _may_have_row(attempt: AttemptFolder, file: str, row_offset: int) -> bool:
    """Return whether a file may contain a row, by the row sets of its part.

    A file without row sets has results of rows that no part answers: it may contain any row.
    """
    parsed = attempt.parsed_of(file).find()
    return parsed is None or (
        row_offset in RowSet.unpack(parsed.succeeded) | RowSet.unpack(parsed.failed)
    )


def _delivery_history(attempt: AttemptFolder, file: int, urls: list[str]) -> Iterator[Delivery]:
    for number, url in enumerate(urls):
        delivered = attempt.delivered(number, file).find()
        yield {"sink": url, "at": delivered.at if delivered else 0.0}
