"""Estimates the thought tokens of a request, and finds limits that leave no room for them.

Thoughts are billed as output and count against ``maxOutputTokens`` (observed online,
2026-09: Gemini 3.6 Flash used 478 of 496 output tokens for thoughts). The numbers by
level are a rough assumption: see ``THOUGHT_TOKENS``.
"""

from collections.abc import Mapping
from typing import Any

from promptmill.producers.models.model_table import THOUGHT_TOKENS, Model, find_model
from promptmill.producers.pricing.tokens import ESTIMATED_OUTPUT_TOKENS

_HIGHEST = max(THOUGHT_TOKENS.values())


class ThoughtCounter:
    """Estimates the thought tokens of requests to one model.

    A model that the table does not know counts as one that does not think.
    """

    def __init__(self, model_name: str = "") -> None:
        self._model = find_model(model_name)
        self._thinks = self._model is not None and self._model.thinks
        self.default = _default_tokens(self._model)
        """Thought tokens of a request without a thinking config."""

    def count_thoughts(self, request: Mapping[str, Any]) -> int:
        """Return the estimated thought tokens of a request."""
        config = find_config(request)
        thinking = get_field(config, "thinkingConfig", "thinking_config") if config else None
        return self._count_configured(thinking) if isinstance(thinking, Mapping) else self.default

    def find_shortage(self, request: Mapping[str, Any]) -> str:
        """Return a warning if a request's output limit leaves no room after thinking, or ""."""
        limit = get_field(find_config(request), "maxOutputTokens", "max_output_tokens")
        if type(limit) is not int or not 0 < limit <= _HIGHEST:
            return ""
        thoughts = self.count_thoughts(request)
        return self._describe_shortage(request, limit, thoughts) if limit <= thoughts else ""

    def _count_configured(self, thinking: Mapping[str, Any]) -> int:
        budget = get_field(thinking, "thinkingBudget", "thinking_budget")
        level = _level_tokens(self._read_level(thinking))
        if isinstance(budget, int) and budget >= 0:  # -1 leaves the amount to the model
            return min(budget, max(level, THOUGHT_TOKENS["MEDIUM"])) if self._thinks else 0
        return level

    def _read_level(self, thinking: Mapping[str, Any]) -> str:
        """Return the level of a thinking config, by default that of the model; "" without one."""
        if self._model is None or not self._thinks:
            return ""
        level = get_field(thinking, "thinkingLevel", "thinking_level")
        named = level.upper() if isinstance(level, str) else ""
        is_known = named in THOUGHT_TOKENS or named in self._model.thinking_levels
        return named if is_known else self._model.default_thinking_level

    def _describe_shortage(self, request: Mapping[str, Any], limit: int, thoughts: int) -> str:
        thinking = get_field(find_config(request), "thinkingConfig", "thinking_config")
        level = self._read_level(thinking if isinstance(thinking, Mapping) else {})
        remedies = f"maxOutputTokens {thoughts + ESTIMATED_OUTPUT_TOKENS} or more"
        if lower := self._find_lower_level(limit):
            remedies = f"thinkingConfig.thinkingLevel {lower}, or {remedies}"
        return (
            f"maxOutputTokens {limit} leaves no room for thinking at level {level}, about "
            f"{thoughts} tokens: expect truncated answers (MAX_TOKENS) that are billed; "
            f"set {remedies}"
        )

    def _find_lower_level(self, limit: int) -> str:
        """Return the highest level of the model whose thoughts are below a limit, or ""."""
        levels = self._model.thinking_levels if self._model else ()
        fitting = [level for level in levels if _level_tokens(level) < limit]
        return max(fitting, key=_level_tokens, default="")


def find_config(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the generation config of a request, in either spelling."""
    config = get_field(request, "generationConfig", "generation_config")
    return config if isinstance(config, Mapping) else None


def get_field(message: Mapping[str, Any] | None, name: str, snake_name: str) -> Any:
    """Return a field of a message, in either spelling, or None."""
    if message is None:
        return None
    return message[name] if name in message else message.get(snake_name)


def _default_tokens(model: Model | None) -> int:
    return _level_tokens(model.default_thinking_level) if model and model.thinks else 0


def _level_tokens(level: str) -> int:
    """Return the thought tokens of a level. A level that was not measured counts as the highest."""
    return THOUGHT_TOKENS.get(level, _HIGHEST) if level else 0
