"""Answers of earlier runs, for the rows of a run that wants them (``skip_done``): such a row is not asked again.

A row has the answer of the newest run that is done and was answered the same request, by the same model and to the same
response schema. What is found is written down before the shard's input is, so that all who look at the run see the same.
"""

import hashlib
import heapq
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress

import msgspec
import zstandard

from promptmill.config import names
from promptmill.config.errors import MessageRefused, NotFound
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.results import Result
from promptmill.workers.attempts.deduplication import DIGEST_BYTES, Answers, Asked, Copies, bitmap, digest_of, halves
from promptmill.workers.facts import records
from promptmill.workers.facts.next_steps import FIRST_ATTEMPT
from promptmill.workers.facts.records import Plan, ShardPlan
from promptmill.workers.facts.request_lines import RowLine, lines
from promptmill.workers.output.effective_rows import shard_results
from promptmill.workers.output.result_files import encoded
from promptmill.workers.ports.google import Bucket

MOST_RUNS = 1000
"""So many of the newest runs of a kind are looked through: each costs a shard a few reads, however small it was."""
MOST_REQUESTS = 50_000_000
"""And so many of their requests: about a minute, well within the time that a task may take."""
_FIRST_TIME = 20
"""How many times as long it takes to find what a run was answered, rather than to read what was found before."""
_UNREADABLE = NotFound, MessageRefused, msgspec.MsgspecError, zstandard.ZstdError
"""What a run that is damaged, or being deleted, may raise: what cannot be read of it is asked again."""


class Reused(msgspec.Struct, frozen=True, omit_defaults=True):
    """The ``count`` rows of a shard, as a packed bitmap, that have an answer of an earlier run: results in ``files``."""

    rows: bytes = b""
    count: int = 0
    files: list[str] = []

    @property
    def bitmap(self) -> int:
        """The rows as a bitmap."""
        return records.unpack(self.rows)


def load(bucket: Bucket, manifest: Manifest, index: int, attempt: int) -> Reused:
    """Return what was reused by an attempt: something only by the first, in a run that wants it."""
    if attempt != FIRST_ATTEMPT or not manifest.skip_done:
        return Reused()
    try:
        return records.get(bucket, names.reused(manifest.run, index), Reused)
    except NotFound:
        return Reused()


def reuse(bucket: Bucket, manifest: Manifest, index: int, attempt: int, rows: ShardPlan) -> Reused:
    """Look for answers of earlier runs to the rows of an attempt, or return what was found before."""
    run = manifest.run
    if manifest.skip_done and attempt == FIRST_ATTEMPT and bucket.find(names.reused(run, index)) is None:
        is_cancelled = bucket.find(names.cancelled(run)) is not None
        found = Reused() if is_cancelled else _find(bucket, manifest, index, rows)
        records.put(bucket, names.reused(run, index), found)
    return load(bucket, manifest, index, attempt)


def note_done(bucket: Bucket, manifest: Manifest) -> None:
    """Note that a run has answers, all of which are settled, so that later ones find them."""
    bucket.create(names.done(_kind(manifest), manifest.run), b"")


def _kind(manifest: Manifest) -> str:
    """What is the same in two runs of which one may have the answers of the other."""
    kind = msgspec.json.encode([manifest.model, manifest.response_schema], order="sorted")
    return hashlib.blake2b(kind, digest_size=8).hexdigest()


def _find(bucket: Bucket, manifest: Manifest, index: int, rows: ShardPlan) -> Reused:
    wanted = _Wanted(lines(bucket, manifest.run, rows), rows)
    with Answers(wanted.rows, rows.first_row) as answers:
        for earlier in _earlier(bucket, manifest):
            if not wanted.left or wanted.looked_at >= MOST_REQUESTS:
                break
            with suppress(*_UNREADABLE):  # what was read before holds
                answers.keep(_answers(bucket, earlier, wanted, rows.first_row))
        return _write(bucket, manifest.run, index, rows, answers.of(lines(bucket, manifest.run, rows)))


def _earlier(bucket: Bucket, manifest: Manifest) -> list[str]:
    """Return the runs that are done and of the same kind, the newest first."""
    done = bucket.list(names.all_done(_kind(manifest)))
    newest = heapq.nlargest(MOST_RUNS, done, key=lambda one: (one.updated, one.name))
    return [stored.name.rpartition("/")[2] for stored in newest]


class _Wanted:
    """What the rows of a shard ask, and which of it has no answer yet; holds some 130 bytes a row."""

    def __init__(self, lines: Iterable[RowLine], rows: ShardPlan) -> None:
        self._asked = Asked()
        self.looked_at = 0
        self.rows = Copies([], [])
        for line in lines:
            place = line.row - rows.first_row
            if not line.refused and (first := self._asked.note(line.data, place)) >= 0:
                self.rows.places.append(place)
                self.rows.firsts.append(first)
        self.left = len(self._asked)
        self._answered = bytearray(rows.requests)

    def among(self, answered: bytes) -> "array[int]":
        """Return for each row of another shard the place of the first row that wants its answer, or -1."""
        return array("q", (self._find(*each) for each in halves(answered)))

    def _find(self, low: int, high: int) -> int:
        place = self._asked.find(low, high)
        return -1 if place < 0 or self._answered[place] else place

    def take(self, place: int) -> bool:
        """Say that there is an answer; False if there was one before."""
        if self._answered[place]:
            return False
        self._answered[place] = 1
        self.left -= 1
        return True


def _answers(bucket: Bucket, run: str, wanted: _Wanted, first_row: int) -> Iterator[Result]:
    """Yield the answers of a run that are wanted, each as that of the first row that wants it; raises ``_UNREADABLE``."""
    for index, rows in enumerate(records.get(bucket, names.plan(run), Plan).shards):
        if not wanted.left or wanted.looked_at >= MOST_REQUESTS:
            return
        places = wanted.among(_answered(bucket, run, index, rows, wanted))
        if max(places) < 0:
            continue
        for result in shard_results(bucket, run, index, rows.first_row):
            place = places[result.row - rows.first_row]
            if place >= 0 and wanted.take(place):
                yield msgspec.structs.replace(result, row=first_row + place, attempt=0)


def _answered(bucket: Bucket, run: str, index: int, rows: ShardPlan, wanted: _Wanted) -> bytes:
    """Return the hashes of what the rows of a shard of a run that is done were answered, and zeros for those that were not.

    They are kept for the runs that come after.
    """
    name = names.answered(run, index)
    wanted.looked_at += rows.requests
    with suppress(NotFound):
        if len(found := bucket.read(name)) == rows.requests * DIGEST_BYTES:
            return found
    wanted.looked_at += rows.requests * (_FIRST_TIME - 1)
    hashes = bytearray(rows.requests * DIGEST_BYTES)
    succeeded = bytearray(rows.requests)
    for result in shard_results(bucket, run, index, rows.first_row):
        succeeded[result.row - rows.first_row] = result.succeeded
    for place, line in enumerate(lines(bucket, run, rows)):
        if succeeded[place]:
            hashes[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES] = digest_of(line.data)
    bucket.write(name, bytes(hashes))
    return bytes(hashes)


def _write(bucket: Bucket, run: str, index: int, rows: ShardPlan, results: Iterator[Result]) -> Reused:
    """Write results into files that have the names of their content: twins of this step may have found other answers."""
    places, files = array("I"), []

    def noted() -> Iterator[Result]:
        for result in results:
            places.append(result.row - rows.first_row)
            yield result

    for data in encoded(noted()):
        files.append(names.reused_results(run, index, hashlib.blake2b(data, digest_size=8).hexdigest()))
        bucket.write(files[-1], data)
    found = bitmap(places)
    return Reused(records.pack(found), found.bit_count(), files)
