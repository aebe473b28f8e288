"""Checks the answers of a run by its response schema."""

from collections.abc import Iterable
from datetime import datetime, time
from itertools import islice
from typing import TYPE_CHECKING, Any

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
    """Tells answers that fit a JSON schema from those that do not; raises ConfigurationError for what is no schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        import jsonschema_rs

        try:
            self._compiled_schema = jsonschema_rs.validator_for(
                schema,
                mask="the value",  # what is told of an invalid answer has none of its values
                validate_formats=True,
                formats={"date-time": _is_datetime, "time": _is_time},
                offline=True,  # a schema comes in a message: nothing is fetched because of it
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            first_line = str(error).partition("\n")[0][:_MAX_MESSAGE]
            raise ConfigurationError(
                f"response_schema is not a JSON schema: {first_line}"
            ) from None

    def validate_result(self, result: Result) -> Result:
        """Return a result with its answer ``parsed``, or as a failure that keeps the text, which was paid for."""
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
        except ValueError as error:  # such as one that is nested too deep
            return _fail_result(result, str(error))


def make_validator(manifest: Manifest) -> Validator | None:
    """Return the judge of a run's answers, or None when they may be anything."""
    return None if manifest.response_schema is None else Validator(manifest.response_schema)


def _fail_result(result: Result, message: str) -> Result:
    return msgspec.structs.replace(
        result, state="failed", error=Error(FailureReason.SCHEMA_INVALID, message[:_MAX_MESSAGE])
    )


def _describe_errors(errors: "Iterable[ValidationError]") -> str:
    """What is wrong at which place: names of the answer's fields and rules of the schema, but no value."""
    messages = [
        f"/{'/'.join(map(str, error.instance_path))}: {error.message}"
        for error in islice(errors, _MAX_ERRORS)
    ]
    return "; ".join(messages)


def _is_datetime(text: str) -> bool:
    """Whether pydantic takes it for a point in time: the validator's own rule wants a time zone, which models leave out."""
    return _can_parse(datetime, text)


def _is_time(text: str) -> bool:
    return _can_parse(time, text)


def _can_parse(kind: type[datetime] | type[time], text: str) -> bool:
    try:
        kind.fromisoformat(text)
    except ValueError:
        return False
    return True
