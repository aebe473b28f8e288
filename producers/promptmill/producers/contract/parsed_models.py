"""Converts answers into the caller's own type, by pydantic.

An answer that pydantic refuses becomes a failure with reason SCHEMA_INVALID.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.producers.contract.results import Error, Result

if TYPE_CHECKING:
    from pydantic import ValidationError

_MAX_ERRORS = 3
_MAX_MESSAGE_CHARS = 500


def parse_results(results: Iterable[Result], model_type: Any) -> Iterator[Result]:
    """Yield results whose ``parsed`` is an instance of ``model_type``."""
    from pydantic import TypeAdapter, ValidationError  # slower to import than the producer

    adapter: TypeAdapter[Any] = TypeAdapter(model_type)
    for result in results:
        if not result.succeeded:
            yield result
            continue
        try:
            yield msgspec.structs.replace(result, parsed=adapter.validate_python(result.parsed))
        except ValidationError as error:
            schema_error = Error(FailureReason.SCHEMA_INVALID, _describe_errors(error))
            yield msgspec.structs.replace(result, state="failed", error=schema_error)


def _describe_errors(error: "ValidationError") -> str:
    """Return the errors with their location, without values."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    messages = [
        f"{'/'.join(map(str, detail['loc'])) or 'the answer'}: {detail['msg']}"
        for detail in errors[:_MAX_ERRORS]
    ]
    return "; ".join(messages)[:_MAX_MESSAGE_CHARS]
