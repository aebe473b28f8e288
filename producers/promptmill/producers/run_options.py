"""Checks the options of a run; each raises ConfigurationError that names the option."""

import re

from promptmill.config import spans
from promptmill.config.errors import ConfigurationError
from promptmill.producers.contract.messages import MAX_ATTEMPTS
from promptmill.producers.pricing import prices

_MODEL = re.compile(
    r"(publishers/[\w.-]+/models/|projects/[\w.:-]+/locations/[\w-]+/(publishers/[\w.-]+/)?models/)?[\w.@-]+"
)


def check_max_attempts(number: int) -> int:
    """Check how often a request is tried."""
    if not 1 <= number <= MAX_ATTEMPTS:
        raise ConfigurationError(f"max_attempts is a number from 1 to {MAX_ATTEMPTS}, not {number}")
    return number


def check_retry_tokens(number: int) -> int:
    """Check a budget of tokens; 0: none."""
    if not isinstance(number, int) or number < 0:
        raise ConfigurationError(f"retry_max_tokens is a number of tokens, not {number!r}")
    return number


def parse_deadline(deadline: str | float) -> float:
    """Return the seconds of a deadline."""
    try:
        parsed = spans.parse_duration(str(deadline))
    except ValueError:
        parsed = 0.0
    if not parsed:
        raise ConfigurationError(
            f"deadline is a span of time such as 90m, 36h or 2d, not {deadline!r}"
        )
    return parsed


def check_cost_limit(requested: float | None, setting: float) -> float:
    """Return the limit of costs: what is ``requested`` for, else the ``setting``; 0, for none, may only be a setting."""
    usd = setting if requested is None else requested
    try:
        amount = prices.to_picodollars(usd)
    except ValueError:
        amount = 0
    if not amount and (requested is not None or usd):
        raise ConfigurationError(f"max_cost_usd is an amount of dollars above 0, not {usd!r}")
    return float(usd)


def normalize_model(model: str) -> str:
    """Return a model's name with its publisher."""
    if not _MODEL.fullmatch(model):
        raise ConfigurationError(f"model {model!r} is not a model's name, such as gemini-3.8-flash")
    return model if "/" in model else f"publishers/google/models/{model}"


def check_reuse_answers(reuse_answers: bool, *, repeat_identical: bool) -> bool:
    """Check whether answers of earlier runs are wanted."""
    if reuse_answers and repeat_identical:
        raise ConfigurationError(
            "reuse_answers gives identical requests one answer, repeat_identical wants several: name one"
        )
    return reuse_answers
