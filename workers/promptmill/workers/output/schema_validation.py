"""Checks answers against the run's response schema."""

from collections.abc import Iterable
from datetime import datetime, time
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from promptmill.config.errors import ConfigurationError
from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.results import Error, Result

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

_MAX_ERRORS = 3
_MAX_MESSAGE = 300
_JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode = msgspec.json.Decoder().decode


class Validator:
    """Validates answers. Raises ConfigurationError if ``schema`` is not a JSON schema."""

    def __init__(self, schema: dict[str, object]) -> None:
        import jsonschema_rs

        try:
            self._compiled_schema = jsonschema_rs.validator_for(
                schema,
                mask="the value",  # errors must not quote the answer
                validate_formats=True,
                formats={"date-time": _is_datetime, "time": _is_time},
                offline=True,  # a schema from a message must not cause requests
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            reason = str(error).partition("\n")[0][:_MAX_MESSAGE]
            raise ConfigurationError(f"response_schema is not a JSON schema: {reason}") from None

    def validate_result(self, result: Result) -> Result:
        """Return the result with ``parsed`` set if its answer is valid, else a failure."""
        if not result.succeeded:
            return result
        try:
            value = _decode(result.text)
        except _JSON_ERRORS as error:
            return _fail_result(result, f"the answer is not JSON: {error}")
        try:
            if self._compiled_schema.is_valid(value):
                return msgspec.structs.replace(result, parsed=value)
            return _fail_result(result, _describe_errors(self._compiled_schema.iter_errors(value)))
        except ValueError as error:  # the answer is nested too deeply, for example
            return _fail_result(result, str(error))


def make_validator(manifest: Manifest) -> Validator | None:
    """Return the validator of a run, or None if it has no response schema."""
    return None if manifest.response_schema is None else Validator(manifest.response_schema)


# A failure keeps the text of the answer, which was paid for.
def _fail_result(result: Result, message: str) -> Result:
    return msgspec.structs.replace(
        result, state="failed", error=Error(FailureReason.SCHEMA_INVALID, message[:_MAX_MESSAGE])
    )


def _describe_errors(errors: "Iterable[ValidationError]") -> str:
    """List the fields that break the schema, and how. No value is quoted."""
    messages = [
        f"/{'/'.join(map(str, error.instance_path))}: {error.message}"
        for error in islice(errors, _MAX_ERRORS)
    ]
    return "; ".join(messages)


# Accepts what pydantic would parse. The validator's own check requires a time zone, which
# models often omit.
def _is_datetime(text: str) -> bool:
    return _can_parse(datetime, text)


def _is_time(text: str) -> bool:
    return _can_parse(time, text)


def _can_parse(kind: type[datetime] | type[time], text: str) -> bool:
    try:
        kind.fromisoformat(text)
    except ValueError:
        return False
    return True
