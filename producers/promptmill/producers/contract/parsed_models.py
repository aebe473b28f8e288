"""Makes objects of a caller's own type of the answers of a run with a response schema."""

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
    """Yield results whose ``parsed`` is of ``model_type``, as pydantic makes it; what it refuses becomes a failure."""
    from pydantic import (
        TypeAdapter,
        ValidationError,
    )  # takes longer to import than all of the producer

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
    """What is wrong at which place, without the values."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    messages = [
        f"{'/'.join(map(str, detail['loc'])) or 'the answer'}: {detail['msg']}"
        for detail in errors[:_MAX_ERRORS]
    ]
    return "; ".join(messages)[:_MAX_MESSAGE_CHARS]
