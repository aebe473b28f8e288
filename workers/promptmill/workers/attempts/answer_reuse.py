"""Finds answers in earlier runs, so that their requests are not sent again.

Used by runs with the option ``reuse_answers``. A row gets the answer of the newest done
run with the same request, model and response schema. The answers are stored before the
shard's input is written, so every worker uses the same ones.
"""

import hashlib
import heapq
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import starmap
from operator import attrgetter

import msgspec
import zstandard

from promptmill.config import names
from promptmill.config.errors import MessageRefused, NotFound
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.results import Result
from promptmill.workers.attempts.deduplication import (
    DIGEST_BYTES,
    AnswerStore,
    RequestIndex,
    request_digest,
    split_digests,
)
from promptmill.workers.facts.records import ShardPlan
from promptmill.workers.facts.request_lines import RequestLine, read_lines
from promptmill.workers.facts.row_lists import DeduplicatedRows, ReusedRows
from promptmill.workers.facts.row_set import DamagedRowSet, RowSet
from promptmill.workers.facts.run_folder import AttemptFolder, RunFolder
from promptmill.workers.output.effective_rows import shard_results
from promptmill.workers.output.result_files import encode_files
from promptmill.workers.ports.google import Bucket

MAX_RUNS = 1000
"""Maximum runs to search, newest first. Each costs a shard a few reads, however small it is."""
MAX_REQUESTS = 50_000_000
"""Maximum requests to search. It takes about a minute, well within a task's time limit."""
_FIRST_READ_COST = 20
"""Cost of the first search of a run, relative to reading the hashes that it stores."""
_UNREADABLE = NotFound, MessageRefused, msgspec.MsgspecError, zstandard.ZstdError, DamagedRowSet
"""Errors of a run that is damaged or being deleted.

Requests whose answers cannot be read are sent again.
"""


def load_reused(attempt: AttemptFolder, manifest: Manifest) -> ReusedRows:
    """Return the reused answers of an attempt. Only a shard's first attempt has any."""
    if not manifest.reuse_answers or not attempt.is_first:
        return ReusedRows()
    return attempt.reused.find() or ReusedRows()


def reuse_answers(attempt: AttemptFolder, manifest: Manifest, shard_plan: ShardPlan) -> ReusedRows:
    """Return the answers of earlier runs for an attempt. Searches only once."""
    if manifest.reuse_answers and attempt.is_first and not attempt.reused.exists():
        is_cancelled = attempt.run.cancelled.exists()
        reused = ReusedRows() if is_cancelled else _find_answers(attempt, manifest, shard_plan)
        attempt.reused.create(reused)
    return load_reused(attempt, manifest)


def mark_done(bucket: Bucket, manifest: Manifest) -> None:
    """Mark a run as done, so that later runs find its answers. All of them must be settled."""
    bucket.create(names.done(_compatibility_key(manifest), manifest.run), b"")


def _compatibility_key(manifest: Manifest) -> str:
    """Return a hash that is equal for two runs if they may share answers."""
    content = [manifest.model, manifest.response_schema, *([manifest.keep] * bool(manifest.keep))]
    return _hash_content(msgspec.json.encode(content, order="sorted"))


def _hash_content(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _find_answers(attempt: AttemptFolder, manifest: Manifest, shard_plan: ShardPlan) -> ReusedRows:
    wanted = _WantedAnswers(read_lines(attempt.run, shard_plan), shard_plan)
    with AnswerStore(wanted.deduplicated, shard_plan.first_row) as answers:
        for earlier_run in _earlier_runs(attempt.bucket, manifest):
            if not wanted.remaining or wanted.scanned_requests >= MAX_REQUESTS:
                break
            with suppress(*_UNREADABLE):  # answers read before the error are still valid
                answers.add_results(_read_answers(earlier_run, wanted, shard_plan.first_row))
        results = answers.results_for(read_lines(attempt.run, shard_plan))
        return _write_results(attempt, shard_plan, results)


def _earlier_runs(bucket: Bucket, manifest: Manifest) -> Iterator[RunFolder]:
    """Yield the done runs that may share answers, newest first."""
    done_markers = bucket.list(names.all_done(_compatibility_key(manifest)))
    newest = heapq.nlargest(MAX_RUNS, done_markers, key=attrgetter("updated", "name"))
    return (RunFolder(bucket, stored.name.rpartition("/")[2]) for stored in newest)


class _WantedAnswers:
    """The requests of a shard that still need an answer. Uses about 130 bytes per row."""

    def __init__(self, lines: Iterable[RequestLine], shard_plan: ShardPlan) -> None:
        self._requests = RequestIndex()
        self.scanned_requests = 0
        self.deduplicated = DeduplicatedRows([], [])
        for line in lines:
            row_offset = line.row - shard_plan.first_row
            if (
                not line.refused
                and (first_offset := self._requests.add_request(line.data, row_offset)) >= 0
            ):
                self.deduplicated.rows.append(row_offset)
                self.deduplicated.firsts.append(first_offset)
        self.remaining = len(self._requests)
        self._answered = bytearray(shard_plan.requests)

    def match_rows(self, digests: bytes) -> "array[int]":
        """Return for each hash the offset of the first row that needs its answer, or -1."""
        return array("q", starmap(self._find_unanswered, split_digests(digests)))

    def _find_unanswered(self, low: int, high: int) -> int:
        row_offset = self._requests.find_row(low, high)
        return -1 if row_offset < 0 or self._answered[row_offset] else row_offset

    def take_answer(self, row_offset: int) -> bool:
        """Record that a row has an answer. Returns False if it already had one."""
        if self._answered[row_offset]:
            return False
        self._answered[row_offset] = 1
        self.remaining -= 1
        return True


def _read_answers(run: RunFolder, wanted: _WantedAnswers, first_row: int) -> Iterator[Result]:
    """Yield the needed answers of a run, for the first row of each. Raises ``_UNREADABLE``."""
    for shard, shard_plan in enumerate(run.plan.get().shards):
        if not wanted.remaining or wanted.scanned_requests >= MAX_REQUESTS:
            return
        row_offsets = wanted.match_rows(_load_digests(run, shard, shard_plan, wanted))
        if max(row_offsets) < 0:
            continue
        for result in shard_results(run, shard, shard_plan.first_row):
            row_offset = row_offsets[result.row - shard_plan.first_row]
            if row_offset >= 0 and wanted.take_answer(row_offset):
                yield msgspec.structs.replace(result, row=first_row + row_offset, attempt=0)


def _load_digests(
    run: RunFolder, shard: int, shard_plan: ShardPlan, wanted: _WantedAnswers
) -> bytes:
    """Return the hashes of a shard's requests, zeros if failed. Stores them for later runs."""
    bucket, name = run.bucket, run.answered(shard)
    wanted.scanned_requests += shard_plan.requests
    with suppress(NotFound):
        if len(stored_digests := bucket.read(name)) == shard_plan.requests * DIGEST_BYTES:
            return stored_digests
    wanted.scanned_requests += shard_plan.requests * (_FIRST_READ_COST - 1)
    digests = bytearray(shard_plan.requests * DIGEST_BYTES)
    succeeded = bytearray(shard_plan.requests)
    for result in shard_results(run, shard, shard_plan.first_row):
        succeeded[result.row - shard_plan.first_row] = result.succeeded
    for row_offset, line in enumerate(read_lines(run, shard_plan)):
        if succeeded[row_offset]:
            start = row_offset * DIGEST_BYTES
            digests[start : start + DIGEST_BYTES] = request_digest(line.data)
    bucket.write(name, bytes(digests))
    return bytes(digests)


def _write_results(
    attempt: AttemptFolder, shard_plan: ShardPlan, results: Iterator[Result]
) -> ReusedRows:
    """Write results to files named by a hash of their content."""
    row_offsets, files = array("I"), []
    # A duplicate delivery of this step may find other answers, and must not replace these.
    for data in encode_files(_record_rows(results, shard_plan.first_row, row_offsets)):
        files.append(attempt.results_file(f"reused-{_hash_content(data)}"))
        attempt.bucket.write(files[-1], data)
    rows = RowSet.of(row_offsets)
    return ReusedRows(rows.pack(), len(rows), files)


def _record_rows(results: Iterator[Result], first_row: int, rows: "array[int]") -> Iterator[Result]:
    for result in results:
        rows.append(result.row - first_row)
        yield result
