"""Answers every row of a job, in the order of the output, several at once where the responder likes it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from . import output
from .clock import Clock
from .disturbances import Script
from .errors import RowRefused
from .importer import Imported
from .responders import Responder


@dataclass(frozen=True)
class Answered:
    """One row with the line that answers it."""

    index: int
    row: dict[str, Any]
    line: dict[str, Any]

    @property
    def successful(self) -> bool:
        """Whether it is charged."""
        return not self.line["status"]


@dataclass(frozen=True)
class Answering:
    """Who answers, as which model, with which faults."""

    responder: Responder
    clock: Clock
    model: str
    script: Script

    def answers(self, imported: Imported, indexes: Iterable[int]) -> Iterator[Answered]:
        """The answers to the rows with these indexes, in their order; memory does not grow with their number."""
        rows = ((index, imported.row(index)) for index in indexes)
        if self.responder.concurrency == 1:
            return (self._answer(index, row) for index, row in rows)
        return _in_order(self._answer, rows, self.responder.concurrency)

    def _answer(self, index: int, row: dict[str, Any]) -> Answered:
        try:
            self.script.refuse(index, row)
            response = self.responder.answer(row["request"], self.model, self.clock.now())
        except RowRefused as error:
            return Answered(index, row, output.failed_line(row, error, self.clock.now()))
        altered = self.script.alter(index, row, response)
        return Answered(index, row, output.answered_line(row, altered, self.clock.now()))


def _in_order(
    answer: Callable[[int, dict[str, Any]], Answered], rows: Iterable[tuple[int, dict[str, Any]]], concurrency: int
) -> Iterator[Answered]:
    window: deque[Future[Answered]] = deque()
    with ThreadPoolExecutor(concurrency) as pool:
        for index, row in rows:
            window.append(pool.submit(answer, index, row))
            if len(window) >= 2 * concurrency:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
