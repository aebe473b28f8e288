"""Preconditions: what a call demands of the object that is there."""

from collections.abc import Mapping
from dataclasses import dataclass

from .errors import Refused
from .index import Stored

METAGENERATION = 1
"""That of every object: its metadata cannot be changed."""
_UNMET = "At least one of the pre-conditions you specified did not hold."


@dataclass(frozen=True)
class Conditions:
    """Those of one call. 0 stands for an object that is not there."""

    generation: int | None = None
    match: int | None = None
    no_match: int | None = None
    metageneration_match: int | None = None
    metageneration_no_match: int | None = None

    def require(self, stored: Stored | None) -> None:
        """Raise Refused unless they hold: 412, or 304 for what must *not* be there."""
        generation, metageneration = (stored.generation, METAGENERATION) if stored else (0, 0)
        if self.match not in {None, generation} or self.metageneration_match not in {None, metageneration}:
            raise Refused(412, _UNMET)
        if self.no_match == generation or self.metageneration_no_match == metageneration:
            raise Refused(304, _UNMET)


def read(query: Mapping[str, str]) -> Conditions:
    """The conditions among the parameters of a call. Raises Refused 400."""
    if not any(name in query for name in _NAMES):
        return NONE
    return Conditions(*(_number(name, query.get(name)) for name in _NAMES))


NONE = Conditions()
_NAMES = (
    "generation",
    "ifGenerationMatch",
    "ifGenerationNotMatch",
    "ifMetagenerationMatch",
    "ifMetagenerationNotMatch",
)


def _number(name: str, text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        raise Refused(400, f"Invalid value for {name}: {text!r}.") from None
