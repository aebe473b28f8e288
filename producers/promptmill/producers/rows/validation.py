"""Validates the requests of a run without sending them."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from promptmill.config.errors import InvalidRequest
from promptmill.producers.requests.chunks import KeyRegistry
from promptmill.producers.requests.embedding_requests import EmbeddingForm
from promptmill.producers.requests.encode import Prompt, encode_lines
from promptmill.producers.requests.model_checks import ModelChecks

MAX_FINDINGS = 10_000
_PLACEHOLDER_RUN = "01jvalidate"


class Finding(NamedTuple):
    """A problem of a row."""

    row: int
    """Number of the row, counted from 1."""
    key: str
    """Key of the row. Empty for a missing or duplicate key."""
    reason: str
    """What the problem is, for example ``the prompt is empty``."""
    stops: bool = False
    """Whether the problem prevents the whole run, not only this row."""


class Validation(NamedTuple):
    """The problems of the rows of a run."""

    rows: int
    """Number of rows that were validated."""
    problem_count: int
    """Number of problems in all rows."""
    findings: list[Finding]
    """The first 10,000 problems, in order of their rows."""
    stops: bool
    """Whether the whole run would be refused: for a finding, or with no valid row."""

    @property
    def ok(self) -> bool:
        """Whether every row can be sent."""
        return not self.problem_count and not self.stops


def validate_prompts(
    prompts: Iterable[Prompt],
    max_bytes: int,
    schema: bytes = b"",
    form: EmbeddingForm | None = None,
    model_checks: ModelChecks | None = None,
) -> Validation:
    """Return the problems of ``prompts``, each of at most ``max_bytes``; raises PromptmillError.

    Prompts are read one at a time. ``schema`` is an encoded ``responseSchema``, or empty.
    ``form`` is that of embedding requests. ``model_checks`` applies the rules of the model.
    """
    checker = _PromptChecker(form)
    findings: list[Finding] = []
    count, stops = 0, False
    for finding in checker.find_problems(prompts, max_bytes, schema, model_checks):
        count += 1
        stops = stops or finding.stops
        if len(findings) < MAX_FINDINGS:
            findings.append(finding)
    return Validation(checker.rows, count, sorted(findings), stops or not checker.sendable)


def _unreadable_row(error: InvalidRequest, row: int) -> Finding:
    """Return the problem of a row after which nothing can be read."""
    reason = f"{error.message}; later rows are not checked"
    return Finding(row, error.key or "", reason, stops=True)


def _report_duplicates(keys: KeyRegistry) -> Iterator[Finding]:
    for row, first_row in keys.find_duplicates():
        reason = (
            f"the key is the same as in row {first_row}; give each row its own key "
            "(a row without a key has its row number)"
        )
        yield Finding(row, "", reason, stops=True)


class _PromptChecker:
    def __init__(self, form: EmbeddingForm | None) -> None:
        self._form = form
        self.rows = self.sendable = 0
        self._row_errors: list[InvalidRequest] = []

    def find_problems(
        self, prompts: Iterable[Prompt], max_bytes: int, schema: bytes, checks: ModelChecks | None
    ) -> Iterator[Finding]:
        keys = KeyRegistry()
        lines = encode_lines(
            _PLACEHOLDER_RUN,
            self._count_rows(prompts),
            max_bytes,
            schema,
            self._row_errors.append,
            checks,
            form=self._form,
        )
        try:
            for line in keys.record_lines(lines):
                yield from self._drain_row_errors()
                if line.refusal:
                    yield Finding(line.row, line.key, line.refusal)
                self.sendable += not line.refusal
        except InvalidRequest as error:
            self.rows = error.row or self.rows + 1
            yield from self._drain_row_errors()
            yield _unreadable_row(error, self.rows)
        yield from self._drain_row_errors()
        yield from _report_duplicates(keys)

    def _count_rows(self, prompts: Iterable[Prompt]) -> Iterator[Prompt]:
        for self.rows, prompt in enumerate(prompts, 1):
            yield prompt

    def _drain_row_errors(self) -> Iterator[Finding]:
        """Yield the problems of earlier rows that became no line."""
        for error in self._row_errors:
            yield Finding(error.row or self.rows, error.key or "", error.message, stops=True)
        self._row_errors.clear()
