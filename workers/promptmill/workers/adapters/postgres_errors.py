"""What the errors of psycopg mean, by SQLSTATE.

See https://www.postgresql.org/docs/current/errcodes-appendix.html.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from promptmill.config.errors import Denied, Permanent, PromptmillError, Transient
from promptmill.workers.ports.database import RowsRejected

POSTGRES_ERRORS = (psycopg.Error, psycopg.Warning, OSError)
_TRANSIENT_CLASSES = ("08", "40", "53", "57", "58")
"""SQLSTATE classes: connection, rollback, resources, operator intervention, system."""
_TRANSIENT_STATES = ("55P03", "25006", "25P03", "25P04")
"""Lock timeout, read-only server, idle session timeouts."""
_ACCESS_DENIED_TEXTS = ("FATAL:", "no password supplied", "certificate")
_SERVER_BUSY_TEXTS = (
    "the database system is",
    "too many",
    "remaining connection slots",
    "cannot connect now",
)
"""Parts of messages of a server that starts, stops, or has too many connections."""
_CONNECTION_ERRORS = (psycopg.OperationalError, psycopg.InterfaceError, OSError)
_AUTHORIZATION_CLASS = "28"
_INSUFFICIENT_PRIVILEGE = "42501"
_DATA_ERROR_CLASSES = ("21", "22", "23", "44")
"""Values that columns or constraints reject. Their messages quote the values."""


@contextmanager
def translate_errors(database_name: str) -> Iterator[None]:
    """Translate the library's errors. Not chained, as a traceback would quote values."""
    try:
        yield
    except POSTGRES_ERRORS as error:
        raise _classify_error(database_name, error) from None


def _classify_error(database_name: str, error: Exception) -> PromptmillError:
    sqlstate = getattr(error, "sqlstate", None) or ""
    if sqlstate.startswith(_DATA_ERROR_CLASSES):
        return RowsRejected(f"{database_name}: {_rejection_message(error)}")
    message = f"{database_name}: {_error_message(error)}"
    if sqlstate.startswith(_TRANSIENT_CLASSES) or sqlstate in _TRANSIENT_STATES:
        return Transient(message)
    if _is_denied(error, sqlstate):
        return Denied(message)
    if sqlstate or not isinstance(error, _CONNECTION_ERRORS):
        return Permanent(message)
    return Transient(message)


def _is_denied(error: Exception, sqlstate: str) -> bool:
    if not sqlstate:
        return _is_access_denied(error)
    return sqlstate.startswith(_AUTHORIZATION_CLASS) or sqlstate == _INSUFFICIENT_PRIVILEGE


def _is_access_denied(error: Exception) -> bool:
    """Whether the server denied a connection. psycopg has no SQLSTATE for these errors."""
    message = str(error)
    is_busy = any(text in message for text in _SERVER_BUSY_TEXTS)
    return not is_busy and any(text in message for text in _ACCESS_DENIED_TEXTS)


def _error_message(error: Exception) -> str:
    message = getattr(getattr(error, "diag", None), "message_primary", None)
    if not message and isinstance(error, psycopg.OperationalError):
        message = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _rejection_message(error: Exception) -> str:
    """Return which column, constraint or type rejected a value, without the value."""
    names = [
        f"{kind} {name}"
        for kind in ("column", "constraint", "datatype")
        if (name := _object_name(error, kind))
    ]
    return " ".join([type(error).__name__, *names])


def _object_name(error: Exception, kind: str) -> str:
    """Return the name of a column, constraint or type.

    The context of a COPY has the column's name, followed by the value.
    """
    if not isinstance(error, psycopg.Error):
        return ""
    if name := getattr(error.diag, f"{kind}_name", None):
        return str(name)
    context = error.diag.context or ""
    if kind == "column" and context.startswith("COPY ") and ", column " in context:
        return str(context.split(", column ", 1)[1].split(":", 1)[0])
    return ""
