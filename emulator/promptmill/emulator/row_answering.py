"""Answers the rows of a job in output order, if possible concurrently."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import starmap

from . import output
from .clock import Clock
from .embedding import embed_request
from .errors import RowRefused
from .importer import ImportedRows
from .json_types import JsonObject
from .model_table import find_model
from .output_faults import OutputFaults
from .responders import Responder


@dataclass(frozen=True)
class AnsweredRow:
    """One row and its output line."""

    row_index: int
    row: JsonObject
    line: JsonObject

    @property
    def is_successful(self) -> bool:
        """Whether the row succeeded, and is therefore billed."""
        return not self.line.get("status")


@dataclass
class Tally:
    """What the rows of a job used so far."""

    successful: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def add_row(self, answered_row: AnsweredRow) -> None:
        """Count a row; thoughts count as output."""
        self.successful += answered_row.is_successful
        response = answered_row.line["response"]
        usage = response.get("usageMetadata", {})
        input_tokens = usage.get("promptTokenCount", int(response.get("tokenCount", 0)))
        self.input_tokens += input_tokens
        self.output_tokens += usage.get("totalTokenCount", input_tokens) - input_tokens


@dataclass(frozen=True)
class RowAnswerer:
    """Answers rows as one model, with the faults of one job."""

    responder: Responder
    clock: Clock
    model: str
    output_faults: OutputFaults

    def answer_rows(
        self, imported: ImportedRows, row_indexes: Iterable[int]
    ) -> Iterator[AnsweredRow]:
        """Yield the answers to these rows, in order. Memory use is constant."""
        rows = ((row_index, imported.read_row(row_index)) for row_index in row_indexes)
        answer_row = partial(self._answer_row, imported)
        if self.responder.concurrency == 1:
            return starmap(answer_row, rows)
        return _map_in_order(answer_row, rows, self.responder.concurrency)

    def _answer_row(self, imported: ImportedRows, row_index: int, row: JsonObject) -> AnsweredRow:
        try:
            imported.refuse_row(row)
            self.output_faults.raise_for_row(row_index, row)
            line = self._make_line(row_index, row)
        except RowRefused as error:
            line = output.make_failed_line(row, error, self.clock.now())
        return AnsweredRow(row_index, row, line)

    def _make_line(self, row_index: int, row: JsonObject) -> JsonObject:
        moment, model = self.clock.now(), find_model(self.model)
        if model is not None and model.embeds:
            return output.make_embedded_line(row, embed_request(row["request"], model))
        response = self.responder.answer_request(row["request"], self.model, moment)
        altered_response = self.output_faults.alter_response(row_index, row, response)
        return output.make_answered_line(row, altered_response, moment)


def _map_in_order(
    answer_row: Callable[[int, JsonObject], AnsweredRow],
    rows: Iterable[tuple[int, JsonObject]],
    concurrency: int,
) -> Iterator[AnsweredRow]:
    pending: deque[Future[AnsweredRow]] = deque()
    with ThreadPoolExecutor(concurrency) as pool:
        for row_index, row in rows:
            pending.append(pool.submit(answer_row, row_index, row))
            if len(pending) >= 2 * concurrency:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
