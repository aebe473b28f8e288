"""Templates that make text of a row: Jinja, in a sandbox, where a column that is not there is an error."""

from pathlib import Path

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from promptmill.config.errors import ConfigurationError
from promptmill.producers.rows.sources import Row

_TEMPLATE_FILENAME = "<template>"
_MAX_COLUMNS_LISTED = 30
_RENDER_FAILURES = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)
"""What a template may end in when a row's values are not what it expects."""


class RenderError(Exception):
    """A row does not give what a template asks for; its text says why, without the row's values."""


class MissingColumn(RenderError):
    """A row lacks a column that a template asks for."""


class Template:
    """A template, compiled once. ``subject`` it makes is for errors.

    A name in it is a column, and ``row`` is the whole row, for columns whose names Jinja cannot read: ``{{ row["Unit
    price"] }}``. Jinja's own functions (``range``, ``dict``, …) are away, as one would stand in silently for a column that
    is missing; filters and tests are there. What is null comes out empty. Raises ConfigurationError for a syntax error.
    """

    def __init__(self, text: str, subject: str) -> None:
        self.subject = subject
        try:
            self._required_columns = meta.find_undeclared_variables(_ENVIRONMENT.parse(text)) - {
                "row"
            }
            self._template = _ENVIRONMENT.from_string(text)
        except TemplateSyntaxError as error:
            raise ConfigurationError(f"{subject}, line {error.lineno}: {error.message}") from None

    def render(self, row: Row) -> str:
        """Return the text for ``row``; raises MissingColumn, Unrendered."""
        try:
            return (
                self._template.render(row) if "row" in row else self._template.render(row, row=row)
            )
        except UndefinedError as error:
            raise self._explain_undefined(row, error) from None
        except _RENDER_FAILURES as error:
            raise RenderError(
                f"{self.subject} fails{_describe_line(error)} ({type(error).__name__})"
            ) from None

    def _explain_undefined(self, row: Row, error: UndefinedError) -> RenderError:
        if missing := sorted(self._required_columns - row.keys()):
            return missing_column_error(self.subject, missing[0], row)
        return RenderError(
            f"{self.subject} fails{_describe_line(error)}: {str(error.message)[:200]}"
        )


def missing_column_error(subject: str, name: str, row: Row) -> MissingColumn:
    """Return the error of a row that lacks the column ``name``, which names the columns there are."""
    listed_columns = [str(column) for column in row][:_MAX_COLUMNS_LISTED]
    more = f" and {len(row) - len(listed_columns)} more" if len(row) > len(listed_columns) else ""
    available = (
        f"its columns are {', '.join(listed_columns)}{more}"
        if listed_columns
        else "it has no columns"
    )
    return MissingColumn(
        f"{subject} needs the column {name!r}, which the row does not have; {available}"
    )


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


def _finalize_value(value: object) -> object:
    """Null is empty, as in CSV; the repr of bytes would be nonsense that is paid for."""
    if value is None:
        return ""
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("bytes are not text")
    return value


def _describe_line(error: BaseException) -> str:
    """Say in which line of the template it failed; Jinja puts that into the traceback."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _TEMPLATE_FILENAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" in line {line}" if line else ""


def _build_environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, finalize=_finalize_value)
    environment.globals.clear()
    del environment.filters[
        "random"
    ]  # the same rows under the same idempotency key are the same requests
    return environment


_ENVIRONMENT = _build_environment()
