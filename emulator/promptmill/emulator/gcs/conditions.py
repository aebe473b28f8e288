"""Preconditions of a call on the stored object."""

from collections.abc import Mapping
from dataclasses import dataclass

from .errors import RequestRefused
from .index import StoredObject

METAGENERATION = 1
"""The metageneration of every object: metadata cannot be changed."""
_UNMET_MESSAGE = "At least one of the pre-conditions you specified did not hold."


@dataclass(frozen=True)
class Conditions:
    """The preconditions of one call. 0 stands for a missing object."""

    generation: int | None = None
    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    def check_object(self, stored: StoredObject | None) -> None:
        """Raise RequestRefused 412, or 304 for `not_match`, unless they hold."""
        generation, metageneration = (stored.generation, METAGENERATION) if stored else (0, 0)
        if self.generation_match not in {None, generation} or self.metageneration_match not in {
            None,
            metageneration,
        }:
            raise RequestRefused(412, _UNMET_MESSAGE)
        if (
            self.generation_not_match == generation
            or self.metageneration_not_match == metageneration
        ):
            raise RequestRefused(304, _UNMET_MESSAGE)


def from_query(query: Mapping[str, str]) -> Conditions:
    """Return the conditions in the query of a call. Raises RequestRefused 400."""
    if not any(name in query for name in _PARAMETERS):
        return NO_CONDITIONS
    return Conditions(*(_parse_number(name, query.get(name)) for name in _PARAMETERS))


NO_CONDITIONS = Conditions()
_PARAMETERS = (
    "generation",
    "ifGenerationMatch",
    "ifGenerationNotMatch",
    "ifMetagenerationMatch",
    "ifMetagenerationNotMatch",
)


def _parse_number(name: str, text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        raise RequestRefused(400, f"Invalid value for {name}: {text!r}.") from None
