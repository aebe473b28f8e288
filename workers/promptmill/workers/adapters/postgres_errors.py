"""What the errors of psycopg mean, by their SQLSTATE (postgresql.org/docs/current/errcodes-appendix.html)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from promptmill.config.errors import Denied, Permanent, PromptmillError, Transient
from promptmill.workers.ports.database import RowsRejected

POSTGRES_ERRORS = (psycopg.Error, psycopg.Warning, OSError)
_TRANSIENT_CLASSES = ("08", "40", "53", "57", "58")
"""Of SQLSTATEs: connection, rollback (deadlock, serialization), resources (disk full), operator (shutdown), system."""
_TRANSIENT_STATES = ("55P03", "25006", "25P03", "25P04")
"""A lock that is held too long, a server that takes no writes just now, a session that was idle for too long."""
_ACCESS_DENIED_TEXTS = ("FATAL:", "no password supplied", "certificate")
_SERVER_BUSY_TEXTS = (
    "the database system is",
    "too many",
    "remaining connection slots",
    "cannot connect now",
)
"""How a server says that it starts, stops, or has no more room."""
_AUTHORIZATION_CLASS = "28"
_INSUFFICIENT_PRIVILEGE = "42501"
_DATA_ERROR_CLASSES = ("21", "22", "23", "44")
"""Values that their columns or constraints do not take; the words of these quote the values."""


@contextmanager
def translate_errors(database_name: str) -> Iterator[None]:
    """The one place where the library's errors become ours. They are not chained: a traceback would show what they quote."""
    try:
        yield
    except POSTGRES_ERRORS as error:
        raise _classify_error(database_name, error) from None


def _classify_error(database_name: str, error: Exception) -> PromptmillError:
    sqlstate = getattr(error, "sqlstate", None) or ""
    if sqlstate.startswith(_DATA_ERROR_CLASSES):
        return RowsRejected(f"{database_name}: {_rejection_message(error)}")
    if sqlstate.startswith(_TRANSIENT_CLASSES) or sqlstate in _TRANSIENT_STATES:
        return Transient(f"{database_name}: {_error_message(error)}")
    if (
        sqlstate.startswith(_AUTHORIZATION_CLASS)
        or sqlstate == _INSUFFICIENT_PRIVILEGE
        or (not sqlstate and _is_access_denied(error))
    ):
        return Denied(f"{database_name}: {_error_message(error)}")
    if sqlstate or not isinstance(
        error, psycopg.OperationalError | psycopg.InterfaceError | OSError
    ):
        return Permanent(f"{database_name}: {_error_message(error)}")
    return Transient(f"{database_name}: {_error_message(error)}")


def _is_access_denied(error: Exception) -> bool:
    """Whether the server answered and let nobody in: psycopg tells no SQLSTATE of what fails while it connects."""
    message = str(error)
    return any(text in message for text in _ACCESS_DENIED_TEXTS) and not any(
        mark in message for mark in _SERVER_BUSY_TEXTS
    )


def _error_message(error: Exception) -> str:
    """Return what people should read of an error: the server's own words, or those of a connection that failed."""
    message = getattr(getattr(error, "diag", None), "message_primary", None)
    if not message and isinstance(error, psycopg.OperationalError):
        message = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _rejection_message(error: Any) -> str:
    """Say what does not fit, by names alone."""
    names = [
        f"{kind} {name}"
        for kind in ("column", "constraint", "datatype")
        if (name := _object_name(error, kind))
    ]
    return " ".join([type(error).__name__, *names])


def _object_name(error: Any, kind: str) -> str:
    """Return the name of a column, constraint or type. The context of a COPY names the column, then quotes the value."""
    if name := getattr(error.diag, f"{kind}_name", None):
        return str(name)
    context = error.diag.context or ""
    if kind == "column" and context.startswith("COPY ") and ", column " in context:
        return str(context.split(", column ", 1)[1].split(":", 1)[0])
    return ""
