"""Checks the answers of a run by its response schema."""

from collections.abc import Iterable
from datetime import datetime, time
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from promptmill.config.errors import ConfigurationError
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.results import Error, Result

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

REASON = "SCHEMA_INVALID"
_MOST = 3
_MESSAGE = 300
_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode = msgspec.json.Decoder().decode


class Judge:
    """Tells answers that fit a JSON schema from those that do not; raises ConfigurationError for what is no schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        import jsonschema_rs

        try:
            self._validator = jsonschema_rs.validator_for(
                schema,
                mask="the value",  # what is told of an invalid answer has none of its values
                validate_formats=True,
                formats={"date-time": _is_datetime, "time": _is_time},
                offline=True,  # a schema comes in a message: nothing is fetched because of it
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            words = str(error).partition("\n")[0][:_MESSAGE]
            raise ConfigurationError(f"response_schema is not a JSON schema: {words}") from None

    def judged(self, result: Result) -> Result:
        """Return a result with its answer ``parsed``, or as a failure that keeps the text, which was paid for."""
        if not result.succeeded:
            return result
        try:
            value = _decode(result.text)
        except _NO_JSON as error:
            return _failure(result, f"the answer is not JSON: {error}")
        try:
            if self._validator.is_valid(value):
                return msgspec.structs.replace(result, parsed=value)
            return _failure(result, _words(self._validator.iter_errors(value)))
        except ValueError as error:  # such as one that is nested too deep
            return _failure(result, str(error))


def judge(run: Manifest) -> Judge | None:
    """Return the judge of a run's answers, or None when they may be anything."""
    return None if run.response_schema is None else Judge(run.response_schema)


def _failure(result: Result, message: str) -> Result:
    return msgspec.structs.replace(result, state="failed", error=Error(REASON, message[:_MESSAGE]))


def _words(errors: "Iterable[ValidationError]") -> str:
    """What is wrong at which place: names of the answer's fields and rules of the schema, but no value."""
    told = [f"/{'/'.join(map(str, error.instance_path))}: {error.message}" for error in islice(errors, _MOST)]
    return "; ".join(told)


def _is_datetime(text: str) -> bool:
    """Whether pydantic takes it for a point in time: the validator's own rule wants a time zone, which models leave out."""
    return _reads(datetime, text)


def _is_time(text: str) -> bool:
    return _reads(time, text)


def _reads(kind: type[datetime] | type[time], text: str) -> bool:
    try:
        kind.fromisoformat(text)
    except ValueError:
        return False
    return True
