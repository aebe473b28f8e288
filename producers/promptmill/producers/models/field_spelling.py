"""The two spellings of Google's field names: camelCase and snake_case. Google accepts both."""

import re
from collections.abc import Iterable, Iterator

_CAPITAL = re.compile("[A-Z]")


def to_snake_case(field: str) -> str:
    """Return the snake_case form of a field name."""
    return _CAPITAL.sub(lambda capital: f"_{capital[0].lower()}", field)


def list_spellings(fields: Iterable[str]) -> Iterator[str]:
    """Yield each camelCase name and its snake_case form."""
    for field in fields:
        yield field
        yield to_snake_case(field)
