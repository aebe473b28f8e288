"""Celery signatures as a run carries them: whom its workers call when it ends, and who gets its results in slices."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from promptmill.config.errors import ConfigurationError
from promptmill.producers.contract.messages import Signature, SinkSpec

MAX_BYTES = 16 * 1024
"""All signatures of a run together, as JSON: they travel with each of its chunks."""
OPTIONS = ("queue", "priority", "countdown", "expires", "time_limit", "soft_time_limit", "ignore_result", "shadow")
"""What a callback's options may be; others would change how it is sent, or who it is."""

Given = Mapping[str, Any] | Iterable[Mapping[str, Any]] | None
"""A signature or a chain of Celery's, its dict form, or several of them."""


def chains(name: str, given: Given) -> list[list[Signature]]:
    """Return what was given as the option ``name``, each signature as a chain of one task or more.

    Raises ConfigurationError for what is no signature, cannot be JSON, or is a group or a chord.
    """
    found = [_chain(name, one, {}) for one in _listed(given)]
    if len(msgspec.json.encode(found)) > MAX_BYTES:
        raise ConfigurationError(
            f"{name}: signatures may take {MAX_BYTES:,} bytes; give your task an id to look things up by"
        )
    return found


def sinks(given: Given) -> list[SinkSpec]:
    """Return the sinks that hand slices of results to the signatures given as ``link_results``."""
    return [
        SinkSpec("celery", f"celery:{chain[0].task}", {"chain": msgspec.to_builtins(chain), "number": number})
        for number, chain in enumerate(chains("link_results", given))
    ]


def _listed(given: Given) -> list[object]:
    if given is None:
        return []
    return [given] if isinstance(given, Mapping) or not isinstance(given, Iterable) else list(given)


def _chain(name: str, given: object, outer: Mapping[str, Any]) -> list[Signature]:
    if not isinstance(given, Mapping) or not isinstance(task := given.get("task"), str) or not task:
        raise ConfigurationError(
            f"{name} is a Celery signature such as notify.s(), or its dict, not {type(given).__name__}"
        )
    options = {**outer, **(given.get("options") or {})}
    if task == "celery.chain":
        tasks = (given.get("kwargs") or {}).get("tasks") or ()
        if not tasks:
            raise ConfigurationError(f"{name}: a chain has at least one task")
        return [one for inner in tasks for one in _chain(name, inner, options)]
    if task.startswith("celery."):
        raise ConfigurationError(f"{name}: {task} cannot be called; give several signatures, or a task that starts it")
    if strange := options.keys() - set(OPTIONS):
        raise ConfigurationError(f"{name}: {task} has option {min(strange)}; a callback may have {', '.join(OPTIONS)}")
    args, kwargs, options = _plain(name, task, [list(given.get("args") or ()), given.get("kwargs") or {}, options])
    return [Signature(task, args, kwargs, options, bool(given.get("immutable")))]


def _plain(name: str, task: str, values: list[Any]) -> Any:
    """Return the values as JSON has them; what JSON cannot hold is refused, not changed on its way."""
    try:
        return json.loads(json.dumps(values, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        raise ConfigurationError(f"{name}: the arguments and options of {task} must be JSON values") from None
