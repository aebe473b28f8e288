"""What single models refuse, although other models accept it."""

from .errors import RowRefused
from .gemini import check_request
from .json_types import JsonObject
from .model_table import PENALTIES, Model
from .request_fields import get_field, list_items
from .thinking import read_thinking_config

UNSPECIFIED_LEVEL = "THINKING_LEVEL_UNSPECIFIED"
"""The same as no level."""


def check_model_request(request: JsonObject, model: Model | None) -> None:
    """Raise RowRefused (400) for a request that Gemini, or this model, rejects.

    A model that the table does not have has no rules of its own.
    """
    check_request(request)
    config = get_field(request, "generationConfig") or {}
    if thinking_config := read_thinking_config(config):
        _check_thinking(thinking_config, model)
    if model is not None:
        _check_fields(config, model)
        _check_output_limit(config, model)
        _check_last_turn(request, model)


def _check_thinking(config: JsonObject, model: Model | None) -> None:
    level, budget = get_field(config, "thinkingLevel"), get_field(config, "thinkingBudget")
    level = None if level == UNSPECIFIED_LEVEL else level
    if level is not None and budget is not None:
        raise RowRefused(400, "You can only set only one of thinking budget and thinking level.")
    if budget is not None and (not isinstance(budget, int) or isinstance(budget, bool)):
        raise RowRefused(
            400,
            f"Invalid value at 'generation_config.thinking_config.thinking_budget' "
            f'(TYPE_INT32), "{budget}"',
        )
    if level is not None and model is not None:
        _check_level(str(level), model)


def _check_level(level: str, model: Model) -> None:
    if not model.thinking_levels:
        raise RowRefused(400, _unsupported("thinking_level"))
    if level.upper() not in model.thinking_levels:
        raise RowRefused(400, _unsupported(f"thinking_level {level}"))


def _check_fields(config: JsonObject, model: Model) -> None:
    for name in model.refused_fields:
        if get_field(config, name) is None:
            continue
        if name in PENALTIES:
            raise RowRefused(400, "Penalty is not enabled for this model")
        raise RowRefused(400, _unsupported(name))


def _check_output_limit(config: JsonObject, model: Model) -> None:
    limit, most = get_field(config, "maxOutputTokens"), model.max_output_tokens
    if limit is not None and most and limit > most:
        raise RowRefused(
            400,
            f"Unable to submit request because it has a maxOutputTokens value of {limit} but the "
            f"supported range is from 1 (inclusive) to {most + 1} (exclusive). Update the value "
            "and try again.",
        )


def _check_last_turn(request: JsonObject, model: Model) -> None:
    turns = list_items(request["contents"])
    if not model.accepts_model_turn_last and get_field(turns[-1], "role") == "model":
        raise RowRefused(400, _unsupported("a last turn of the role model"))


def _unsupported(name: str) -> str:
    return f"Unable to submit request because {name} is not supported by this model."
