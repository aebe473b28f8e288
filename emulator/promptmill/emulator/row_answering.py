"""Answers every row of a job, in the order of the output, several at once where the responder likes it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from . import output
from .clock import Clock
from .errors import RowRefused
from .importer import ImportedRows
from .output_faults import OutputFaults
from .responders import Responder


@dataclass(frozen=True)
class AnsweredRow:
    """One row with the line that answers it."""

    row_index: int
    row: dict[str, Any]
    line: dict[str, Any]

    @property
    def is_successful(self) -> bool:
        """Whether it is charged."""
        return not self.line["status"]


@dataclass(frozen=True)
class RowAnswerer:
    """Who answers, as which model, with which faults."""

    responder: Responder
    clock: Clock
    model: str
    output_faults: OutputFaults

    def answer_rows(
        self, imported: ImportedRows, row_indexes: Iterable[int]
    ) -> Iterator[AnsweredRow]:
        """The answers to the rows with these indexes, in their order; memory does not grow with their number."""
        rows = ((row_index, imported.read_row(row_index)) for row_index in row_indexes)
        if self.responder.concurrency == 1:
            return (self._answer_row(index, row) for index, row in rows)
        return _map_in_order(self._answer_row, rows, self.responder.concurrency)

    def _answer_row(self, row_index: int, row: dict[str, Any]) -> AnsweredRow:
        try:
            self.output_faults.raise_for_row(row_index, row)
            response = self.responder.answer_request(row["request"], self.model, self.clock.now())
        except RowRefused as error:
            return AnsweredRow(
                row_index, row, output.make_failed_line(row, error, self.clock.now())
            )
        altered_response = self.output_faults.alter_response(row_index, row, response)
        return AnsweredRow(
            row_index, row, output.make_answered_line(row, altered_response, self.clock.now())
        )


def _map_in_order(
    answer_row: Callable[[int, dict[str, Any]], AnsweredRow],
    rows: Iterable[tuple[int, dict[str, Any]]],
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
