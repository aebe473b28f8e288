"""Looks at every request of a run as submitting it would, and spends nothing."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from promptmill.config.errors import InvalidRequest
from promptmill.producers.requests.chunks import KeyRegistry
from promptmill.producers.requests.encode import Prompt, encode_lines

MAX_FINDINGS = 10_000
_PLACEHOLDER_RUN = "01jvalidate"


class Finding(NamedTuple):
    """What is wrong with a row (from 1): the row alone cannot be sent, or no row of the run when it ``stops`` it.

    ``key`` is "" where the row has none, and where it has that of a row before.
    """

    row: int
    key: str
    reason: str
    stops: bool = False


class Validation(NamedTuple):
    """How many ``rows`` there are, how many of them were ``count`` to be wrong, and the first 10,000 findings, by row.

    ``stops``: the run would be refused as a whole, for one of the findings or as no row of it can be sent.
    """

    rows: int
    found: int
    findings: list[Finding]
    stops: bool

    @property
    def ok(self) -> bool:
        """Whether every row can be sent."""
        return not self.found and not self.stops


def validate_prompts(prompts: Iterable[Prompt], max_bytes: int, schema: bytes = b"") -> Validation:
    """Return what is wrong with ``prompts``, of which each may take ``max_bytes``, holding no more than the findings.

    ``schema`` is the encoded ``responseSchema`` of every request, if there is one.

    Raises PromptmillError where the prompts cannot be read at all.
    """
    checker = _PromptChecker()
    findings: list[Finding] = []
    count, stops = 0, False
    for finding in checker.find_problems(prompts, max_bytes, schema):
        count += 1
        stops = stops or finding.stops
        if len(findings) < MAX_FINDINGS:
            findings.append(finding)
    return Validation(checker.rows, count, sorted(findings), stops or not checker.sendable)


class _PromptChecker:
    def __init__(self) -> None:
        self.rows = self.sendable = 0
        self._row_errors: list[InvalidRequest] = []

    def find_problems(
        self, prompts: Iterable[Prompt], max_bytes: int, schema: bytes
    ) -> Iterator[Finding]:
        keys = KeyRegistry()
        lines = encode_lines(
            _PLACEHOLDER_RUN, self._count_rows(prompts), max_bytes, schema, self._row_errors.append
        )
        try:
            for line in keys.record_lines(lines):
                yield from self._drain_row_errors()
                if line.refusal:
                    yield Finding(line.row, line.key, line.refusal)
                self.sendable += not line.refusal
        except InvalidRequest as error:  # what comes after it cannot be read
            self._row_errors.append(error)
            self.rows = error.row or self.rows + 1
        yield from self._drain_row_errors()
        for row, first_row in keys.find_duplicates():
            yield Finding(
                row, "", f"the key is that of row {first_row}; give each row its own", stops=True
            )

    def _count_rows(self, prompts: Iterable[Prompt]) -> Iterator[Prompt]:
        for self.rows, prompt in enumerate(prompts, 1):
            yield prompt

    def _drain_row_errors(self) -> Iterator[Finding]:
        """Those of the rows before this one, of which none becomes a line."""
        for error in self._row_errors:
            yield Finding(error.row or self.rows, error.key or "", error.message, stops=True)
        self._row_errors.clear()
