"""Holds lines back while a later row can still keep their texts from being converted.

The importer decides by all texts of a field; see ``converted_texts``. A row whose text
could be converted waits for another row that keeps the field a text. The lines after it
wait too, because lines are sent in order. Without such a row nothing is held.
"""

from collections.abc import Collection, Iterable, Sequence

from promptmill.producers.requests.converted_texts import RowTexts, describe_converted
from promptmill.producers.requests.request_line import RequestLine

MAX_HELD_LINES = 10_000
MAX_HELD_BYTES = 16 << 20


class HeldLines:
    """Lines in order, from the first row whose texts could be converted.

    ``plain_paths`` are the fields that sent rows keep as text. A release extends them.
    """

    def __init__(self, plain_paths: set[str]) -> None:
        self._plain_paths = plain_paths
        self._clear()

    def _clear(self) -> None:
        self.lines: list[RequestLine] = []
        self._size = 0
        self._wanted: set[str] = set()
        self._offered: set[str] = set()

    def add_line(self, line: RequestLine) -> Sequence[RequestLine]:
        """Add a line; return the lines that can be sent now, in order."""
        self.lines.append(line)
        self._size += len(line.data)
        if line.texts:
            self._wanted |= line.texts.converted.keys()
            self._offered |= line.texts.plain
        is_full = len(self.lines) >= MAX_HELD_LINES or self._size >= MAX_HELD_BYTES
        return self.release_lines() if is_full or self._is_settled() else ()

    def _is_settled(self) -> bool:
        self._wanted -= self._plain_paths
        return self._wanted <= self._offered

    def release_lines(self) -> Sequence[RequestLine]:
        """Return all held lines. Rows whose texts would be converted are refused."""
        lines, plain_paths = self.lines, self._plain_paths
        kept = _select_kept([line.texts for line in lines if line.texts], plain_paths)
        plain_paths.update(*(texts.plain for texts in kept))
        self._clear()
        return [_refuse_converted(line, plain_paths) for line in lines]


def _select_kept(rows: list[RowTexts], plain_paths: Collection[str]) -> list[RowTexts]:
    """Return the largest set of rows that keep each other's fields as text."""
    while True:
        offered = set(plain_paths).union(*(texts.plain for texts in rows))
        kept = [texts for texts in rows if texts.converted.keys() <= offered]
        if len(kept) == len(rows):
            return kept
        rows = kept


def _refuse_converted(line: RequestLine, plain_paths: Collection[str]) -> RequestLine:
    converted: Iterable[tuple[str, str]] = line.texts.converted.items() if line.texts else ()
    for path, text in converted:
        if path not in plain_paths:
            return line.refuse_request(describe_converted(path, text))
    return line
