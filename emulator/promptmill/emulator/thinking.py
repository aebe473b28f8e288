"""Thinking: how many tokens the thoughts of a request take."""

from .json_types import JsonObject
from .model_table import Model
from .request_fields import get_field

TOKENS_BY_LEVEL = {"MINIMAL": (0, 0), "LOW": (20, 240), "MEDIUM": (240, 520), "HIGH": (700, 2000)}
"""Fewest and most tokens of a short prompt. Measured online with Gemini 3.6 and 3.7 Flash in
September 2026: 119 to 234 at LOW, 302 to 414 at MEDIUM, 686 to 944 at HIGH."""


def read_thinking_config(generation_config: object) -> JsonObject:
    """Return `thinkingConfig`, or an empty object."""
    config = get_field(generation_config, "thinkingConfig")
    return config if isinstance(config, dict) else {}


def count_thought_tokens(config: JsonObject, model: Model | None, digest: str) -> int:
    """Return the tokens of the thoughts; the same request, by its digest, has the same number.

    `config` is the `thinkingConfig`. A `thinkingBudget` is the upper limit; a negative one
    leaves it to the model.
    """
    level = get_field(config, "thinkingLevel")
    default_level = model.default_thinking_level if model else ""
    fewest, most = TOKENS_BY_LEVEL.get(
        str(level).upper(), TOKENS_BY_LEVEL.get(default_level, (0, 0))
    )
    count = fewest + int(digest[:8], 16) % (most - fewest + 1)
    budget = get_field(config, "thinkingBudget")
    return count if budget is None or budget < 0 else min(count, int(budget))
