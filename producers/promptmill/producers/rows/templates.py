"""Templates that make text of a row: Jinja, in a sandbox, where a column that is not there is an error."""

from pathlib import Path

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from promptmill.config.errors import ConfigurationError
from promptmill.producers.rows.sources import Row

_NAME = "<template>"
_MOST_NAMED = 30
_FAILURES = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
"""What a template may end in when a row's values are not what it expects."""


class Unrendered(Exception):
    """A row does not give what a template asks for; its text says why, without the row's values."""


class MissingColumn(Unrendered):
    """A row lacks a column that a template asks for."""


class Template:
    """A template, compiled once. ``what`` it makes is for errors.

    A name in it is a column, and ``row`` is the whole row, for columns whose names Jinja cannot read: ``{{ row["Unit
    price"] }}``. Jinja's own functions (``range``, ``dict``, …) are away, as one would stand in silently for a column that
    is missing; filters and tests are there. What is null comes out empty. Raises ConfigurationError for a syntax error.
    """

    def __init__(self, text: str, what: str) -> None:
        self.what = what
        try:
            self._needs = meta.find_undeclared_variables(_ENVIRONMENT.parse(text)) - {"row"}
            self._template = _ENVIRONMENT.from_string(text)
        except TemplateSyntaxError as error:
            raise ConfigurationError(f"{what}, line {error.lineno}: {error.message}") from None

    def render(self, row: Row) -> str:
        """Return the text for ``row``; raises MissingColumn, Unrendered."""
        try:
            return self._template.render(row) if "row" in row else self._template.render(row, row=row)
        except UndefinedError as error:
            raise self._missing(row, error) from None
        except _FAILURES as error:
            raise Unrendered(f"{self.what} fails{_place(error)} ({type(error).__name__})") from None

    def _missing(self, row: Row, error: UndefinedError) -> Unrendered:
        if missing := sorted(self._needs - row.keys()):
            return missing_column(self.what, missing[0], row)
        return Unrendered(f"{self.what} fails{_place(error)}: {str(error.message)[:200]}")


def missing_column(what: str, name: str, row: Row) -> MissingColumn:
    """Return the error of a row that lacks the column ``name``, which names the columns there are."""
    named = [str(column) for column in row][:_MOST_NAMED]
    more = f" and {len(row) - len(named)} more" if len(row) > len(named) else ""
    there = f"its columns are {', '.join(named)}{more}" if named else "it has no columns"
    return MissingColumn(f"{what} needs the column {name!r}, which the row does not have; {there}")


def read_template(template: str | Path) -> str:
    """Return the text of a template that is given as text or as the path of its file; raises ConfigurationError."""
    if isinstance(template, str):
        return template
    try:
        return template.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"template {template} cannot be read: {error}") from None


def is_template(text: str) -> bool:
    """Whether ``text`` has anything that Jinja would act on."""
    return any(mark in text for mark in ("{{", "{%", "{#"))


def _shown(value: object) -> object:
    """Null is empty, as in CSV; the repr of bytes would be nonsense that is paid for."""
    if value is None:
        return ""
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("bytes are not text")
    return value


def _place(error: BaseException) -> str:
    """Say in which line of the template it failed; Jinja puts that into the traceback."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _NAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" in line {line}" if line else ""


def _environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(undefined=StrictUndefined, finalize=_shown)
    made.globals.clear()
    del made.filters["random"]  # the same rows under the same idempotency key are the same requests
    return made


_ENVIRONMENT = _environment()
