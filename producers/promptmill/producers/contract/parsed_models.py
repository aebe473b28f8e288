"""Makes objects of a caller's own type of the answers of a run with a response schema."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from promptmill.producers.contract.results import Error, Result

if TYPE_CHECKING:
    from pydantic import ValidationError

_MOST = 3
_MESSAGE = 500


def results(untyped: Iterable[Result], kind: Any) -> Iterator[Result]:
    """Yield results whose ``parsed`` is of ``kind``, as pydantic makes it; what it refuses becomes a failure."""
    from pydantic import TypeAdapter, ValidationError  # takes longer to import than all of the producer

    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    for result in untyped:
        if not result.succeeded:
            yield result
            continue
        try:
            yield msgspec.structs.replace(result, parsed=adapter.validate_python(result.parsed))
        except ValidationError as error:
            refused = Error("SCHEMA_INVALID", _words(error))
            yield msgspec.structs.replace(result, state="failed", error=refused)


def _words(error: "ValidationError") -> str:
    """What is wrong at which place, without the values."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    told = [f"{'/'.join(map(str, one['loc'])) or 'the answer'}: {one['msg']}" for one in found[:_MOST]]
    return "; ".join(told)[:_MESSAGE]
