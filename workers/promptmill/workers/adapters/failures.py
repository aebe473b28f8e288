"""What the errors of Google's libraries mean, whichever of their layers raised them.

google.api_core speaks for the service, google.auth for the credentials, requests and urllib3 for the connection; over REST
the last two come through as they are.
"""

import json
import re
from http import HTTPStatus

import requests
import urllib3
from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions

FOREIGN = (
    exceptions.GoogleAPIError,
    exceptions.AsyncRestUnsupportedParameterError,
    auth_exceptions.GoogleAuthError,
    urllib3.exceptions.HTTPError,
    json.JSONDecodeError,
    OSError,  # requests' own errors too
)
"""Every error that a client of Google's raises on purpose, beside those of its own package."""

_URL = re.compile(r"^[A-Z]+ https?://\S+: ")
"""With which the REST clients begin a message, and which says nothing to a reader."""
_MAY_PASS = frozenset({408, 409, 429, 499})
_NOT_SENT = ("NewConnectionError", "NameResolutionError", "ConnectTimeout")


def code(error: Exception) -> int:
    """Return the HTTP status of a refusal; 0 when there was no answer, or a good one that came to harm."""
    told = error.code if isinstance(error, exceptions.GoogleAPICallError) else None
    if told is None:
        told = getattr(getattr(error, "response", None), "status_code", None)
    return int(told) if told and told >= HTTPStatus.BAD_REQUEST else 0


def may_pass(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, auth_exceptions.GoogleAuthError):
        return isinstance(error, auth_exceptions.TransportError) or bool(error.retryable)
    if status := code(error):
        return status in _MAY_PASS or (status >= 500 and status != HTTPStatus.NOT_IMPLEMENTED)
    if isinstance(error, json.JSONDecodeError | requests.JSONDecodeError):
        return True
    # What never reached the network: arguments that contradict each other, a URL that is none.
    return not isinstance(
        error, exceptions.DuplicateCredentialArgs | exceptions.AsyncRestUnsupportedParameterError | ValueError
    )


def is_denied(error: Exception) -> bool:
    """Whether the service knows us, and did not let us do this, or does not know us (any more)."""
    if isinstance(error, auth_exceptions.GoogleAuthError):
        return not may_pass(error)
    return code(error) in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


def had_no_effect(error: Exception) -> bool:
    """Whether a call that failed so surely changed nothing: it was refused, or never left this machine."""
    if isinstance(error, auth_exceptions.GoogleAuthError):
        return True
    if status := code(error):
        return 400 <= status < 500 and status not in {408, 499}
    return isinstance(error, OSError) and any(mark in repr(error) for mark in _NOT_SENT)


def words(error: Exception) -> str:
    """Return what people should read of an error: what the service said (last, of many tries), else the kind of error."""
    if isinstance(error, exceptions.RetryError) and isinstance(error.cause, Exception):
        return words(error.cause)
    if isinstance(error, exceptions.GoogleAPICallError):
        return f"{code(error) or type(error).__name__} {_URL.sub('', str(error.message))}"
    if isinstance(error, auth_exceptions.GoogleAuthError):
        return f"no token: {error}"
    return f"{code(error)} {error}" if code(error) else type(error).__name__
