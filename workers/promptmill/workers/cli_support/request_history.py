"""One request's whole story, from the facts of its run."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NamedTuple

import msgspec

from promptmill.config import names
from promptmill.config.errors import NotFound, PromptmillError, RunNotFound
from promptmill.config.settings import Settings
from promptmill.config.urls import masked
from promptmill.producers.contract.messages import Manifest, Seal, SinkSpec, decode_chunk
from promptmill.producers.contract.results import Result
from promptmill.producers.requests.encode import split_wire_key
from promptmill.workers.facts import records, snapshot
from promptmill.workers.facts.next_steps import FIRST_ATTEMPT
from promptmill.workers.facts.records import Created, Delivered, Ended, Parsed, ResultFile, Settled, ShardPlan
from promptmill.workers.facts.snapshot import RunFacts
from promptmill.workers.output.effective_rows import kept_results
from promptmill.workers.ports.google import Bucket
from promptmill.workers.services import build
from promptmill.workers.steps.shard import wanted_rows


def show(settings: Settings, run: str, key: str) -> dict[str, Any]:
    """Return the story of the request of a run with this key: the entry point of the command line."""
    return tell(build(settings).bucket, run, key)


def tell(bucket: Bucket, run: str, key: str) -> dict[str, Any]:
    """Return all that is known of a request: itself, where it lies, each attempt with its job and result, deliveries.

    Chunks are read one by one until the key is found; a key that is a row's number is looked for there first. Of results
    only the part is read that has the row. Raises RunNotFound, PromptmillError when the run has no such key.
    """
    known = snapshot.load(bucket, run)
    if known.manifest is None:
        raise RunNotFound(f"no run {run!r} is in the bucket")
    place = _find(bucket, known, key)
    if place is None:
        raise PromptmillError(f"run {run} has no request with key {key!r}, as far as its chunks are stored")
    story = {"run": run, "key": key, "row": place.row, "chunk": place.chunk, **_request(place.line)}
    shard = _shard_of(known, place.row)
    if shard is None:
        return story | {"state": "waiting", "attempts": []}
    attempts = list(_attempts(bucket, known, shard, place.row))
    last = next((one["result"] for one in attempts if one["result"] and not one["tried_again"]), None)
    return story | {"shard": shard, "state": last["state"] if last else "waiting", "attempts": attempts}


class _Place(NamedTuple):
    row: int
    chunk: int
    line: bytes


def _find(bucket: Bucket, known: RunFacts, key: str) -> _Place | None:
    needle = msgspec.json.encode(f"-{key}")[1:]
    for chunk in _likely_first(bucket, known, key):
        held = decode_chunk(bucket.read(names.chunk(known.run, chunk)))
        lines = held.lines()
        if needle not in lines:
            continue
        for row, line in enumerate(lines.split(b"\n")[:-1], held.first_row):
            if needle in line and _key_of(line) == key:
                return _Place(row, chunk, line)
    return None


def _likely_first(bucket: Bucket, known: RunFacts, key: str) -> list[int]:
    """Return the chunks to look into; that of the row whose number the key is comes first."""
    chunks = sorted(known.chunks)
    if known.sealed is None or not (key.isascii() and key.isdigit() and len(key) < 16):
        return chunks
    ends = accumulate(size.requests for size in records.get(bucket, names.seal(known.run), Seal).chunks)
    likely = next((index for index, end in enumerate(ends) if int(key) <= end), None)
    return sorted(chunks, key=lambda index: (index != likely, index))


class _Keyed(msgspec.Struct):
    key: str


_decode_key = msgspec.json.Decoder(_Keyed).decode


def _key_of(line: bytes) -> str:
    parts = split_wire_key(_decode_key(line).key)
    return parts.key if parts else ""


def _request(line: bytes) -> dict[str, Any]:
    wire = msgspec.json.decode(line)
    metadata = wire.get("metadata")
    return {
        "metadata": msgspec.json.decode(metadata) if metadata else None,
        "request": wire.get("request"),
        "refused": wire.get("error", ""),
    }


def _shard_of(known: RunFacts, row: int) -> int | None:
    shards = known.plan.shards if known.plan else []
    return next(
        (index for index, one in enumerate(shards) if one.first_row <= row < one.first_row + one.requests), None
    )


def _attempts(bucket: Bucket, known: RunFacts, shard: int, row: int) -> Iterator[dict[str, Any]]:
    assert known.plan is not None and known.manifest is not None  # noqa: S101
    rows = known.plan.shards[shard]
    for index, attempt in sorted(place for place in known.shards if place[0] == shard):
        is_asked = wanted_rows(bucket, known.manifest, index, attempt, rows) >> (row - rows.first_row) & 1
        if not is_asked and attempt > FIRST_ATTEMPT:
            continue
        is_reused = not is_asked  # the first attempt is for all rows but these
        folder = names.shard(known.run, index, attempt)
        created = None if is_reused else _fact(bucket, folder + "job.json", Created)
        ended = None if is_reused else _fact(bucket, folder + "ended.json", Ended)
        settled = _fact(bucket, folder + "settled.json", Settled)
        again = bool(settled and records.unpack(settled.again) >> (row - rows.first_row) & 1)
        found = _result(bucket, folder, settled, rows, row, again=again) if settled else None
        yield {
            "attempt": 0 if is_reused else attempt,
            "job": created.name if created else "",
            "created": created.at if created else 0.0,
            "refusal": created.refusal if created else "",
            "job_state": ended.job.state if ended else "",
            "ended": ended.at if ended else 0.0,
            "error": ended.job.error_message if ended else "",
            "tried_again": again,
            "result": msgspec.to_builtins(found.result) if found else None,
            "delivered": list(_deliveries(bucket, known, (index, attempt), found.file)) if found and not again else [],
        }


def _fact(bucket: Bucket, name: str, kind: type[records.T]) -> records.T | None:
    try:
        return records.get(bucket, name, kind)
    except NotFound:
        return None


class _Found(NamedTuple):
    file: int
    result: Result


def _result(bucket: Bucket, folder: str, settled: Settled, rows: ShardPlan, row: int, *, again: bool) -> _Found | None:
    """Return a row's result and in which file of its attempt it is; files that cannot have it are not read.

    That of a row that is tried ``again`` is passed over in its file, which tells all the same why it was.
    """
    for number, file in enumerate(settled.files):
        if _may_have(bucket, folder, file.name, row - rows.first_row):
            whole = ResultFile(file.name) if again else file
            for result in kept_results(bucket, whole, rows.first_row):
                if result.row == row:
                    return _Found(number, result)
    return None


def _may_have(bucket: Bucket, folder: str, file: str, bit: int) -> bool:
    """Whether a file may have a row, by the bitmaps of its part; files without any have rows that no part answered."""
    part = file.rpartition("/")[2].removesuffix(".jsonl")
    parsed = _fact(bucket, f"{folder}parsed/{part}.json", Parsed)
    return parsed is None or bool((records.unpack(parsed.succeeded) | records.unpack(parsed.failed)) >> bit & 1)


def _deliveries(bucket: Bucket, known: RunFacts, place: tuple[int, int], file: int) -> Iterator[dict[str, Any]]:
    manifest: Manifest | None = known.manifest
    sinks: list[SinkSpec] = manifest.sinks if manifest else []
    for number, sink in enumerate(sinks):
        delivered = _fact(bucket, names.delivered(known.run, *place, number, file), Delivered)
        yield {"sink": masked(sink.url), "at": delivered.at if delivered else 0.0}
