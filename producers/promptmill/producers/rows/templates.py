"""Jinja templates that render a row as text, in a sandbox.

A missing column is an error.
"""

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
"""Errors of a template for unexpected values in a row."""


class RenderError(Exception):
    """A row does not fit a template. The message never quotes values of the row."""


class MissingColumn(RenderError):
    """A row has no column that the template needs."""


class Template:
    """A compiled template. Error messages name its ``subject``.

    A name in the template is a column. ``row`` is the whole row, for column names that
    are not identifiers: ``{{ row["Unit price"] }}``. Jinja's global functions, such as
    ``range``, are removed, because one could hide a missing column. Filters and tests
    work. Null renders as empty text. Raises ConfigurationError for a syntax error.
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
        """Return the text for ``row``; raises MissingColumn, RenderError."""
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
        problem = str(error.message)[:200]
        return RenderError(f"{self.subject} fails{_describe_line(error)}: {problem}")


def missing_column_error(subject: str, name: str, row: Row) -> MissingColumn:
    """Return the error for a missing column. It lists the existing columns."""
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
    """Return the text of a template: a text, or the path of a file.

    Raises ConfigurationError.
    """
    if isinstance(template, str):
        return template
    try:
        return template.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"template {template} cannot be read: {error}") from None


def is_template(text: str) -> bool:
    """Whether ``text`` contains Jinja syntax."""
    return any(mark in text for mark in ("{{", "{%", "{#"))


def _finalize_value(value: object) -> object:
    """Render null as empty text, as in CSV. Refuse bytes, whose repr is useless."""
    if value is None:
        return ""
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("bytes are not text")
    return value


def _describe_line(error: BaseException) -> str:
    """Return the failed line of the template, from the traceback."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _TEMPLATE_FILENAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" in line {line}" if line else ""


def _build_environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, finalize=_finalize_value)
    environment.globals.clear()
    del environment.filters["random"]  # the same rows must make the same requests
    return environment


_ENVIRONMENT = _build_environment()
