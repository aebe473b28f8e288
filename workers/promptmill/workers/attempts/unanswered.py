"""The rows of an attempt that no part answers by key: joined by their request, refused, missing, copies, or put off."""

from collections.abc import Iterable, Iterator

import msgspec

from promptmill.config import names
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.results import Error, Result
from promptmill.producers.requests.encode import WireKey, split_wire_key
from promptmill.workers.attempts import adjustments
from promptmill.workers.attempts.deduplication import Answers, Copies
from promptmill.workers.facts.records import Counts, Ended, Plan, ResultFile
from promptmill.workers.facts.request_lines import RowLine, lines
from promptmill.workers.output import failure_reasons
from promptmill.workers.output.counts import Tally
from promptmill.workers.output.effective_rows import kept_results
from promptmill.workers.output.merge_parts import Resolution
from promptmill.workers.output.result_files import encoded
from promptmill.workers.output.unkeyed import Rows, Unkeyed, decode_unkeyed
from promptmill.workers.ports.google import Bucket
from promptmill.workers.steps.shard import wanted_rows


class Rest:
    """The rows that no part answers: joined by their request, refused by lint, missing, or put off; and then the copies."""

    def __init__(
        self,
        bucket: Bucket,
        manifest: Manifest,
        index: int,
        attempt: int,
        plan: Plan,
        resolution: Resolution,
        ended: Ended,
        last: bool,
        copies: Copies,
    ) -> None:
        self._bucket = bucket
        self._run, self._index, self._attempt = manifest.run, index, attempt
        self._rows = plan.shards[index]
        self.first_row = self._rows.first_row
        self._ended = ended
        self._last = last
        self._passing = failure_reasons.PASSING | ({ended.reason} if ended.again else frozenset())
        self._done = resolution.answered | resolution.again
        self._tally = Tally(plan.thresholds)
        self.copies = copies.without(self._done)
        self.wanted = wanted_rows(bucket, manifest, index, attempt, self._rows) & ~self.copies.rows
        self.mended = adjustments.load(bucket, manifest.run, index, attempt)
        self.cut_off = 0
        self.invalid: dict[int, str] = {}
        self.again = resolution.again
        self.files: list[ResultFile] = []

    def counts(self) -> Counts:
        """Return what was counted while writing."""
        return self._tally.counts()

    def write(self, unkeyed_parts: list[int], parts: range) -> None:
        """Write the results of these rows, as files of a bounded size.

        Twins of this step may disagree on what the rest is, when the run is cancelled or output replaced between them;
        then they write files of other names, and the fact that is written first says which count.
        """
        self._write(self._final(self._results(unkeyed_parts)), parts)

    def write_copies(self, files: list[ResultFile], parts: range) -> int:
        """Write the results of the copies, whose answers are in ``files`` or in those of the rest; return how many they are.

        The copies of a row that is put off are put off with it.
        """
        self.again = self.copies.along(self.again)
        left = self.copies.without(self.again)
        if left:
            with Answers(left, self.first_row) as answers:
                for file in [*files, *self.files]:
                    answers.keep(kept_results(self._bucket, file, self.first_row))
                self._write(answers.of(lines(self._bucket, self._run, self._rows)), parts)
        return len(left)

    def _write(self, results: Iterable[Result], parts: range) -> None:
        for data in encoded(self._counted(results)):
            name = names.rest(self._run, self._index, self._attempt, parts.start, len(self.files), last=self._last)
            self._bucket.write(name, data)
            self.files.append(ResultFile(name))

    def _counted(self, results: Iterable[Result]) -> Iterator[Result]:
        for result in results:
            self._tally.add(result)
            yield result

    def _final(self, results: Iterable[Result]) -> Iterator[Result]:
        for result in results:
            if self._put_off(result):
                self._tally.meter.add(result.usage)
            else:
                yield result

    def _put_off(self, result: Result) -> bool:
        """Leave a row to the next attempt, if it may do better there."""
        place = self._place(result.row)
        row = 1 << place
        if self._last or result.error is None:
            return False
        if not (result.error.reason in self._passing or self.cut_off & row or place in self.invalid):
            return False
        self.again |= row
        return True

    def _place(self, row: int) -> int:
        return row - self._rows.first_row

    def _results(self, unkeyed_parts: list[int]) -> Iterator[Result]:
        if unkeyed_parts:
            yield from self._joined(unkeyed_parts)
        if self.wanted & ~self._done:
            yield from map(self._unanswered, self._open_lines())

    def _open_lines(self) -> Iterator[RowLine]:
        left = (self.wanted & ~self._done).to_bytes((self._rows.requests + 7) // 8, "little")
        for line in lines(self._bucket, self._run, self._rows):
            byte, bit = divmod(line.row - self._rows.first_row, 8)
            if left[byte] >> bit & 1:
                yield line

    def _joined(self, parts: Iterable[int]) -> Iterator[Result]:
        asked = (self.mended.apply(line.data, self._place(line.row)) for line in self._open_lines() if not line.refused)
        waiting = Rows(asked)
        for wanted in ("succeeded", "failed"):
            for unkeyed in self._unkeyed(parts):
                if unkeyed.result.state != wanted:
                    continue
                if found := waiting.take(unkeyed.hash):
                    yield self._with_key(unkeyed, *found)
                else:
                    self._tally.states["unknown"] += 1

    def _unkeyed(self, parts: Iterable[int]) -> Iterator[Unkeyed]:
        for part in parts:
            data = self._bucket.read(names.unkeyed(self._run, self._index, self._attempt, part))
            yield from map(decode_unkeyed, data.split(b"\n")[:-1])

    def _with_key(self, unkeyed: Unkeyed, key: WireKey, metadata: str | None) -> Result:
        self._done |= 1 << (key.row - self._rows.first_row)
        place = self._place(key.row)
        self.cut_off |= unkeyed.cut_off << place
        if unkeyed.invalid and unkeyed.result.error and not self.mended.repair.rows >> place & 1:
            self.invalid[place] = unkeyed.result.error.message
        return unkeyed.of_row(key, metadata)

    def _unanswered(self, line: RowLine) -> Result:
        wire = _decode_refused(line.data)
        key = split_wire_key(wire.key) or WireKey("", line.row, str(line.row))
        if line.refused:
            error = Error("INVALID_REQUEST", f"row {line.row}: {wire.error}")
        else:
            error = failure_reasons.of_missing(self._ended.job, self._ended.reason)
        metadata = None if wire.metadata is None else msgspec.json.decode(wire.metadata)
        return Result(key=key.key, row=line.row, state="failed", attempt=self._attempt, metadata=metadata, error=error)


class _Refused(msgspec.Struct):
    key: str
    metadata: str | None = None
    error: str = ""


_decode_refused = msgspec.json.Decoder(_Refused).decode
