"""What the errors of psycopg mean, by their SQLSTATE (postgresql.org/docs/current/errcodes-appendix.html)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from promptmill.config.errors import Denied, Permanent, PromptmillError, Transient
from promptmill.workers.ports.database import Rejected

FOREIGN = (psycopg.Error, psycopg.Warning, OSError)
_PASSING_CLASSES = ("08", "40", "53", "57", "58")
"""Of SQLSTATEs: connection, rollback (deadlock, serialization), resources (disk full), operator (shutdown), system."""
_PASSING = ("55P03", "25006", "25P03", "25P04")
"""A lock that is held too long, a server that takes no writes just now, a session that was idle for too long."""
_TURNED_AWAY = ("FATAL:", "no password supplied", "certificate")
_BUSY = ("the database system is", "too many", "remaining connection slots", "cannot connect now")
"""How a server says that it starts, stops, or has no more room."""
_DENIED_CLASS = "28"
_DENIED = "42501"
_UNFIT_CLASSES = ("21", "22", "23", "44")
"""Values that their columns or constraints do not take; the words of these quote the values."""


@contextmanager
def translated(where: str) -> Iterator[None]:
    """The one place where the library's errors become ours. They are not chained: a traceback would show what they quote."""
    try:
        yield
    except FOREIGN as error:
        raise _translation(where, error) from None


def _translation(where: str, error: Exception) -> PromptmillError:
    state = getattr(error, "sqlstate", None) or ""
    if state.startswith(_UNFIT_CLASSES):
        return Rejected(f"{where}: {_unfit(error)}")
    if state.startswith(_PASSING_CLASSES) or state in _PASSING:
        return Transient(f"{where}: {_words(error)}")
    if state.startswith(_DENIED_CLASS) or state == _DENIED or (not state and _is_turned_away(error)):
        return Denied(f"{where}: {_words(error)}")
    if state or not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | OSError):
        return Permanent(f"{where}: {_words(error)}")
    return Transient(f"{where}: {_words(error)}")


def _is_turned_away(error: Exception) -> bool:
    """Whether the server answered and let nobody in: psycopg tells no SQLSTATE of what fails while it connects."""
    words = str(error)
    return any(mark in words for mark in _TURNED_AWAY) and not any(mark in words for mark in _BUSY)


def _words(error: Exception) -> str:
    """Return what people should read of an error: the server's own words, or those of a connection that failed."""
    told = getattr(getattr(error, "diag", None), "message_primary", None)
    if not told and isinstance(error, psycopg.OperationalError):
        told = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {told}" if told else type(error).__name__


def _unfit(error: Any) -> str:
    """Say what does not fit, by names alone."""
    names = [f"{kind} {name}" for kind in ("column", "constraint", "datatype") if (name := _named_by(error, kind))]
    return " ".join([type(error).__name__, *names])


def _named_by(error: Any, kind: str) -> str:
    """Return the name of a column, constraint or type. The context of a COPY names the column, then quotes the value."""
    if name := getattr(error.diag, f"{kind}_name", None):
        return str(name)
    context = error.diag.context or ""
    if kind == "column" and context.startswith("COPY ") and ", column " in context:
        return str(context.split(", column ", 1)[1].split(":", 1)[0])
    return ""
