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

GOOGLE_ERRORS = (
    exceptions.GoogleAPIError,
    exceptions.AsyncRestUnsupportedParameterError,
    auth_exceptions.GoogleAuthError,
    urllib3.exceptions.HTTPError,
    json.JSONDecodeError,
    OSError,  # requests' own errors too
)
"""Every error that a client of Google's raises on purpose, beside those of its own package."""

_REQUEST_PREFIX = re.compile(r"^[A-Z]+ https?://\S+: ")
"""With which the REST clients begin a message, and which says nothing to a reader."""
_TRANSIENT_STATUSES = frozenset({408, 409, 429, 499})
_CONNECT_ERRORS = ("NewConnectionError", "NameResolutionError", "ConnectTimeout")


def http_status(error: Exception) -> int:
    """Return the HTTP status of a refusal; 0 when there was no answer, or a good one that came to harm."""
    status = error.code if isinstance(error, exceptions.GoogleAPICallError) else None
    if status is None:
        status = getattr(getattr(error, "response", None), "status_code", None)
    return int(status) if status and status >= HTTPStatus.BAD_REQUEST else 0


def is_transient(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, auth_exceptions.GoogleAuthError):
        return isinstance(error, auth_exceptions.TransportError) or bool(error.retryable)
    if status := http_status(error):
        return status in _TRANSIENT_STATUSES or (
            status >= 500 and status != HTTPStatus.NOT_IMPLEMENTED
        )
    if isinstance(error, json.JSONDecodeError | requests.JSONDecodeError):
        return True
    # What never reached the network: arguments that contradict each other, a URL that is none.
    return not isinstance(
        error,
        exceptions.DuplicateCredentialArgs
        | exceptions.AsyncRestUnsupportedParameterError
        | ValueError,
    )


def is_denied(error: Exception) -> bool:
    """Whether the service knows us, and did not let us do this, or does not know us (any more)."""
    if isinstance(error, auth_exceptions.GoogleAuthError):
        return not is_transient(error)
    return http_status(error) in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


def had_no_effect(error: Exception) -> bool:
    """Whether a call that failed so surely changed nothing: it was refused, or never left this machine."""
    if isinstance(error, auth_exceptions.GoogleAuthError):
        return True
    if status := http_status(error):
        return 400 <= status < 500 and status not in {408, 499}
    return isinstance(error, OSError) and any(
        error_name in repr(error) for error_name in _CONNECT_ERRORS
    )


def describe_error(error: Exception) -> str:
    """Return what people should read of an error: what the service said (last, of many tries), else the kind of error."""
    if isinstance(error, exceptions.RetryError) and isinstance(error.cause, Exception):
        return describe_error(error.cause)
    if isinstance(error, exceptions.GoogleAPICallError):
        return f"{http_status(error) or type(error).__name__} {_REQUEST_PREFIX.sub('', str(error.message))}"
    if isinstance(error, auth_exceptions.GoogleAuthError):
        return f"no token: {error}"
    return f"{http_status(error)} {error}" if http_status(error) else type(error).__name__
