"""Celery signatures as a run carries them: whom its workers call when it ends, and who gets its results in slices."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from promptmill.config.errors import ConfigurationError
from promptmill.producers.contract.messages import Signature, SinkSpec

MAX_SIGNATURE_BYTES = 16 * 1024
"""All signatures of a run together, as JSON: they travel with each of its chunks."""
SIGNATURE_OPTIONS = (
    "queue",
    "priority",
    "countdown",
    "expires",
    "time_limit",
    "soft_time_limit",
    "ignore_result",
    "shadow",
)
"""What a callback's options may be; others would change how it is sent, or who it is."""

Signatures = Mapping[str, Any] | Iterable[Mapping[str, Any]] | None
"""A signature or a chain of Celery's, its dict form, or several of them."""


def parse_chains(name: str, signatures: Signatures) -> list[list[Signature]]:
    """Return what was given as the option ``name``, each signature as a chain of one task or more.

    Raises ConfigurationError for what is no signature, cannot be JSON, or is a group or a chord.
    """
    chains = [_parse_chain(name, signature, {}) for signature in _as_list(signatures)]
    if len(msgspec.json.encode(chains)) > MAX_SIGNATURE_BYTES:
        raise ConfigurationError(
            f"{name}: signatures may take {MAX_SIGNATURE_BYTES:,} bytes; give your task an id to look things up by"
        )
    return chains


def build_result_sinks(signatures: Signatures) -> list[SinkSpec]:
    """Return the sinks that hand slices of results to the signatures given as ``link_results``."""
    return [
        SinkSpec(
            "celery",
            f"celery:{chain[0].task}",
            {"chain": msgspec.to_builtins(chain), "number": number},
        )
        for number, chain in enumerate(parse_chains("link_results", signatures))
    ]


def _as_list(signatures: Signatures) -> list[object]:
    if signatures is None:
        return []
    return (
        [signatures]
        if isinstance(signatures, Mapping) or not isinstance(signatures, Iterable)
        else list(signatures)
    )


def _parse_chain(name: str, signature: object, outer_options: Mapping[str, Any]) -> list[Signature]:
    if (
        not isinstance(signature, Mapping)
        or not isinstance(task := signature.get("task"), str)
        or not task
    ):
        raise ConfigurationError(
            f"{name} is a Celery signature such as notify.s(), or its dict, not {type(signature).__name__}"
        )
    options = {**outer_options, **(signature.get("options") or {})}
    if task == "celery.chain":
        tasks = (signature.get("kwargs") or {}).get("tasks") or ()
        if not tasks:
            raise ConfigurationError(f"{name}: a chain has at least one task")
        return [link for subtask in tasks for link in _parse_chain(name, subtask, options)]
    if task.startswith("celery."):
        raise ConfigurationError(
            f"{name}: {task} cannot be called; give several signatures, or a task that starts it"
        )
    if unknown_options := options.keys() - set(SIGNATURE_OPTIONS):
        raise ConfigurationError(
            f"{name}: {task} has option {min(unknown_options)}; a callback may have {', '.join(SIGNATURE_OPTIONS)}"
        )
    args, kwargs, options = _to_json_values(
        name, task, [list(signature.get("args") or ()), signature.get("kwargs") or {}, options]
    )
    return [Signature(task, args, kwargs, options, bool(signature.get("immutable")))]


def _to_json_values(name: str, task: str, values: list[Any]) -> Any:
    """Return the values as JSON has them; what JSON cannot hold is refused, not changed on its way."""
    try:
        return json.loads(json.dumps(values, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        raise ConfigurationError(
            f"{name}: the arguments and options of {task} must be JSON values"
        ) from None
