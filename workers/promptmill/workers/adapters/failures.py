"""What the errors of Google's libraries mean.

google.api_core reports errors of the service, google.auth those of credentials. Errors of
requests and urllib3 are those of the connection; REST clients raise them unchanged.
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
"""Errors that every Google client raises. Each package adds its own."""
NO_CREDENTIALS = (
    "no Google credentials: run `gcloud auth application-default login`, "
    "or set GOOGLE_APPLICATION_CREDENTIALS"
)

_REQUEST_PREFIX = re.compile(r"^[A-Z]+ https?://\S+: ")
"""The start of REST clients' messages, which does not help a reader."""
_TRANSIENT_STATUSES = frozenset({408, 409, 429, 499})
_REJECTED_ARGUMENTS = (
    exceptions.DuplicateCredentialArgs,
    exceptions.AsyncRestUnsupportedParameterError,
    ValueError,
)
"""Contradicting arguments or an invalid URL: these calls never reached the network."""
_CONNECT_ERRORS = ("NewConnectionError", "NameResolutionError", "ConnectTimeout")


def http_status(error: Exception) -> int:
    """Return the HTTP status of an error response; 0 without a response, or if it succeeded."""
    code = error.code if isinstance(error, exceptions.GoogleAPICallError) else None
    status = code or getattr(getattr(error, "response", None), "status_code", None)
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
    return not isinstance(error, _REJECTED_ARGUMENTS)


def is_denied(error: Exception) -> bool:
    """Whether the service denied access, or did not accept the credentials."""
    if isinstance(error, auth_exceptions.GoogleAuthError):
        return not is_transient(error)
    return http_status(error) in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


def had_no_effect(error: Exception) -> bool:
    """Whether the failed call certainly changed nothing: refused, or never sent."""
    if isinstance(error, auth_exceptions.GoogleAuthError):
        return True
    if status := http_status(error):
        return 400 <= status < 500 and status not in {408, 499}
    return isinstance(error, OSError) and any(
        error_name in repr(error) for error_name in _CONNECT_ERRORS
    )


def describe_error(error: Exception) -> str:
    """Return the message of the service from its last response, or else the type of the error."""
    if isinstance(error, exceptions.RetryError) and isinstance(error.cause, Exception):
        return describe_error(error.cause)
    if isinstance(error, exceptions.GoogleAPICallError):
        message = _REQUEST_PREFIX.sub("", str(error.message))
        return f"{http_status(error) or type(error).__name__} {message}"
    if isinstance(error, auth_exceptions.GoogleAuthError):
        return f"no token: {error}"
    return f"{http_status(error)} {error}" if http_status(error) else type(error).__name__
